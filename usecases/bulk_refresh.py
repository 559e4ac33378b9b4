"""Bulk refresh: one question about all symbols of a dataset, for what has come since the last one.

Here: the first day of the question, and which symbols are asked by name instead. Not here: the
requests themselves (marketdata/market_ingest.py).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta

from marketdata.calendars import utc_now
from marketdata.dataset_ingest import DatasetFeed
from marketdata.ingest import IngestContext
from marketdata.instruments import ListedInstrument
from marketdata.market_ingest import load_changes, load_market
from marketdata.planning import asked_through, snapshot_request
from marketdata.ports import Days
from resources.clients import Client
from resources.opening import Stores
from usecases.instruments import every_symbol, listed_symbols
from usecases.load_plan import LoadPlan, LoadRequest
from usecases.loading import feed_of

AHEAD = timedelta(days=30)
"""How far ahead a calendar of actions is read: they are announced before their day."""
LOOKS_BACK = timedelta(days=30)
"""How far back it is read again: a provider lists and corrects actions after their day too."""
LONGEST_GAP = timedelta(days=13)
"""After a longer gap each symbol is asked by name: a calendar takes one request a day, and FRED
reports changes of two weeks only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BulkRefresh:
    """The result of one answer about all symbols, and what remains to do.

    Attributes:
        figures: Figures of the answer.
        stored: Number of its rows by symbol; symbols without rows are left out.
        plan: Requests by name, for symbols that have changed or of which nothing is known yet.
    """

    figures: Mapping[str, int | str]
    stored: Mapping[str, int]
    plan: LoadPlan


async def bulk_refresh(
    context: IngestContext, stores: Stores, load: LoadRequest, client: Client
) -> BulkRefresh:
    """Ask for all symbols at once what has come since the last time.

    Args:
        context: Context of the run.
        stores: The database.
        load: Request for a dataset with a bulk refresh; its first day, if any, is the oldest day
            from which it may ask.
        client: The provider's client.

    Raises:
        ProviderError: The request failed.
        StorageError: The database failed.
    """
    dataset = load.dataset
    names = every_symbol(stores, dataset, client.name)
    listed, unknown = listed_symbols(stores, dataset, client.name, names)
    ids = [instrument.instrument_id for instrument in listed]
    ledger = stores.coverage.ledger(dataset.name, client.name, ids)
    through = {
        instrument_id: asked_through(dataset, ledger.get(instrument_id, {}))
        for instrument_id in ids
    }
    now = utc_now()
    today = now.astimezone(dataset.zone).date()
    oldest = load.wanted.start or today - LONGEST_GAP
    followed = [
        instrument
        for instrument in listed
        if (through[instrument.instrument_id] or date.min) >= oldest
    ]
    bulk = _BulkAnswer()
    if followed:
        start = min(through[instrument.instrument_id] or today for instrument in followed)
        feed, days = feed_of(dataset, client), Days(start=start, end=today)
        if dataset.bulk_rows is not None:
            bulk = await _rows_of_all(context, feed, followed, days)
        elif dataset.bulk_changes is not None:
            bulk = await _changes_of_all(context, feed, followed, days)
    requests = [
        snapshot_request(dataset, instrument, through[instrument.instrument_id], now)
        for instrument in listed
        if instrument.instrument_id not in bulk.settled
    ]
    plan = LoadPlan(load=load, requests=requests, unknown=unknown)
    return BulkRefresh(figures=bulk.figures, stored=bulk.stored, plan=plan)


@dataclass(frozen=True, slots=True, kw_only=True)
class _BulkAnswer:
    """What one answer about all symbols has settled.

    Attributes:
        settled: Ids of instruments that need not be asked for by name.
    """

    figures: Mapping[str, int | str] = field(default_factory=dict[str, int | str])
    stored: Mapping[str, int] = field(default_factory=dict[str, int])
    settled: frozenset[int] = frozenset()


async def _rows_of_all(
    context: IngestContext,
    feed: DatasetFeed,
    followed: Sequence[ListedInstrument],
    days: Days,
) -> _BulkAnswer:
    """Store all symbols' rows around some days."""
    around = Days(start=days.start - LOOKS_BACK, end=days.end + AHEAD)
    loaded = await load_market(context, feed, followed, around)
    return _BulkAnswer(
        figures={
            "market_from": around.start.isoformat(),
            "market_rows": loaded.load.rows,
            "market_rows_inserted": loaded.load.inserted,
            "market_rows_restated": loaded.load.restated,
            "market_requests": loaded.requests,
        },
        stored={
            instrument.ticker: loaded.stored[instrument.instrument_id]
            for instrument in followed
            if instrument.instrument_id in loaded.stored
        },
        settled=frozenset(instrument.instrument_id for instrument in followed),
    )


async def _changes_of_all(
    context: IngestContext,
    feed: DatasetFeed,
    followed: Sequence[ListedInstrument],
    days: Days,
) -> _BulkAnswer:
    """Ask which symbols have changed, and note that the others have not."""
    same = await load_changes(context, feed, followed, days)
    return _BulkAnswer(
        figures={"changed": len(followed) - len(same), "unchanged": len(same)},
        settled=same,
    )
