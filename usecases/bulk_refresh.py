"""Bulk refresh: one question about all symbols of a dataset, for what has come since the last one.

Here: the first day of the question, and which symbols are asked by name instead. Not here: the
requests themselves (marketdata/market_ingest.py).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta

from marketdata.calendars import utc_now
from marketdata.ingest import IngestContext
from marketdata.market_ingest import MarketLoad, confirm_unchanged, load_market, post_market
from marketdata.planning import asked_through, snapshot_request
from marketdata.ports import Days
from marketdata.recovery import errors
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
    recent = [day for day in through.values() if day is not None and day >= oldest]
    figures: dict[str, int | str] = {}
    stored: dict[str, int] = {}
    by_name = listed
    if recent:
        feed, start = feed_of(dataset, client), min(recent)
        followed = [
            instrument
            for instrument in listed
            if (through[instrument.instrument_id] or date.min) >= oldest
        ]
        if dataset.bulk_rows is not None:
            days = Days(start=start - LOOKS_BACK, end=today + AHEAD)
            loaded = await load_market(context, feed, followed, days)
            figures |= _market_figures(loaded, days.start)
            stored |= {
                instrument.ticker: loaded.stored[instrument.instrument_id]
                for instrument in followed
                if instrument.instrument_id in loaded.stored
            }
            by_name = [instrument for instrument in listed if instrument not in followed]
        elif dataset.bulk_changes is not None:
            since_midnight = datetime.combine(start, time(), dataset.zone)
            try:
                changes = await dataset.bulk_changes(client.api, since_midnight)
            except errors.ProviderError as error:
                await post_market(context, feed, Days(start=start, end=today), error)
                raise
            same = [
                instrument for instrument in followed if instrument.symbol not in changes.symbols
            ]
            await confirm_unchanged(context, feed, same, start, changes)
            figures |= {"changed": len(followed) - len(same), "unchanged": len(same)}
            by_name = [instrument for instrument in listed if instrument not in same]
    requests = [
        snapshot_request(dataset, instrument, through[instrument.instrument_id], now)
        for instrument in by_name
    ]
    plan = LoadPlan(load=load, requests=requests, unknown=unknown)
    return BulkRefresh(figures=figures, stored=stored, plan=plan)


def _market_figures(loaded: MarketLoad, start: date) -> dict[str, int | str]:
    return {
        "market_from": start.isoformat(),
        "market_rows": loaded.load.rows,
        "market_rows_inserted": loaded.load.inserted,
        "market_rows_restated": loaded.load.restated,
        "market_requests": loaded.requests,
    }
