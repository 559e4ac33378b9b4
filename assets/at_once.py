"""A dataset asked for all its subjects at once: what has come since it was last asked.

Here: from which day on, and who has to be asked by name instead. Not here: the requests
themselves (marketdata/feeds.py).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta

from assets.dataset_work import DatasetWork, every_subject, listed_subjects
from assets.failures import Metadata
from marketdata.calendars import calendar, utc_now
from marketdata.dataset_planning import asked_through, state_request
from marketdata.datasets import Dataset
from marketdata.feeds import DatasetFeed, MarketLoad
from marketdata.ingest import IngestContext
from marketdata.recovery import errors
from resources.clients import Client
from resources.opening import Stores

AHEAD = timedelta(days=30)
"""Actions are announced before their day: so far ahead the calendar is read."""
LOOKS_BACK = timedelta(days=30)
"""So far back it is read again: a provider lists and corrects actions after their day too."""
LONGEST_GAP = timedelta(days=13)
"""After a longer pause each subject is asked by name: a calendar takes one request a day, and FRED
tells changes of two weeks only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedAtOnce:
    """What one answer about all subjects has brought, and what it leaves to do.

    Attributes:
        figures: Of the answer.
        stored: Rows of it, by subject; who had none is not named.
        work: Subjects that have changed, or of which nothing is known yet: they are asked by name.
    """

    figures: Metadata
    stored: Mapping[str, int]
    work: DatasetWork


async def ask_at_once(
    context: IngestContext, stores: Stores, dataset: Dataset, client: Client, since: date | None
) -> AskedAtOnce:
    """Ask for all subjects at once what has come since the last time.

    Args:
        context: What the run shares.
        stores: The database.
        dataset: One that can be asked so; of any other each subject is asked by name.
        client: The provider.
        since: First day instead of the day of the last answer.

    Raises:
        ProviderError: The answer could not be had.
        StorageError: The database failed.
    """
    names = every_subject(stores, dataset, client.name)
    listed, unknown = listed_subjects(stores, dataset, client.name, names)
    ids = [one.instrument_id for one in listed]
    ledger = stores.coverage.ledger(dataset.name, client.name, ids)
    asked = {one: asked_through(dataset, ledger.get(one, {})) for one in ids}
    today = utc_now().astimezone(dataset.zone).date()
    oldest = since or today - LONGEST_GAP
    days = [day for day in asked.values() if day is not None and day >= oldest]
    figures: Metadata = {}
    stored: Mapping[str, int] = {}
    left = listed
    if days:
        feed, start = DatasetFeed(dataset, client.api, calendar()), min(days)
        known = [one for one in listed if (asked[one.instrument_id] or date.min) >= oldest]
        if dataset.market is not None:
            loaded = await feed.load_market(context, known, start - LOOKS_BACK, today + AHEAD)
            figures = _market_figures(loaded, start - LOOKS_BACK)
            stored = {
                one.ticker: loaded.touched[one.instrument_id]
                for one in known
                if one.instrument_id in loaded.touched
            }
            left = [one for one in listed if one not in known]
        elif dataset.changes is not None:
            try:
                since_midnight = datetime.combine(start, time(), dataset.zone)
                changes = await dataset.changes(client.api, since_midnight)
            except errors.ProviderError as error:
                await feed.post_market(context, start, today, error)
                raise
            same = [one for one in known if one.symbol not in changes.symbols]
            await feed.confirm(context, same, start, changes)
            figures = {"changed": len(known) - len(same), "unchanged": len(same)}
            left = [one for one in listed if one not in same]
    now = utc_now()
    requests = [state_request(dataset, one, asked[one.instrument_id], now) for one in left]
    work = DatasetWork(requests=requests, complete=[], unknown=unknown)
    return AskedAtOnce(figures=figures, stored=stored, work=work)


def _market_figures(loaded: MarketLoad, start: date) -> Metadata:
    return {
        "market_from": start.isoformat(),
        "market_rows": loaded.load.rows,
        "market_rows_inserted": loaded.load.inserted,
        "market_rows_restated": loaded.load.restated,
        "market_requests": loaded.requests,
    }
