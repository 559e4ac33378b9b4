"""A dataset asked for all its subjects at once: what has come since it was last asked.

Here: from which day on, and who has to be asked by name instead. Not here: the requests
themselves (marketdata/feeds.py).
"""

from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta

from assets.dataset_work import DatasetWork, every_subject, listed_subjects
from assets.failures import Metadata
from marketdata.calendars import calendar, utc_now
from marketdata.dataset_planning import asked_through, state_request
from marketdata.datasets import Dataset
from marketdata.feeds import DatasetFeed
from marketdata.ingest import IngestContext
from marketdata.instruments import ListedInstrument
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


async def ask_at_once(
    context: IngestContext, stores: Stores, dataset: Dataset, client: Client, since: str
) -> tuple[Metadata, DatasetWork]:
    """Ask for all subjects at once what has come since the last time.

    Args:
        context: What the run shares.
        stores: The database.
        dataset: One that can be asked so; of any other each subject is asked by name.
        client: The provider.
        since: First day (ISO date) instead of the day of the last answer.

    Returns:
        Figures of the answer, and the work that is left: subjects that have changed, or of which
        nothing is known yet.

    Raises:
        ProviderError: The answer could not be had.
        StorageError: The database failed.
    """
    names = every_subject(stores, dataset, client.name)
    listed, unknown = listed_subjects(stores, dataset, client.name, names)
    ids = [one.instrument_id for one in listed]
    ledger = stores.coverage.ledger(dataset.ledger(client.name), ids)
    asked = {one: asked_through(dataset, ledger.get(one, {})) for one in ids}
    oldest = date.fromisoformat(since) if since else utc_now().date() - LONGEST_GAP
    days = [day for day in asked.values() if day is not None and day >= oldest]
    figures: Metadata = {}
    left = listed
    if days:
        feed, start = DatasetFeed(dataset, client.api, calendar()), min(days)
        known = [one for one in listed if (asked[one.instrument_id] or date.min) >= oldest]
        if dataset.market is not None:
            figures = await _market(context, feed, known, start - LOOKS_BACK)
            left = [one for one in listed if one not in known]
        elif dataset.changes is not None:
            try:
                changes = await dataset.changes(client.api, datetime.combine(start, time(), UTC))
            except errors.ProviderError as error:
                await feed.post_market(context, start, utc_now().date(), error)
                raise
            same = [one for one in known if one.symbol not in changes.symbols]
            await feed.confirm(context, same, start, changes)
            figures = {"changed": len(known) - len(same), "unchanged": len(same)}
            left = [one for one in listed if one not in same]
    now = utc_now()
    requests = [state_request(dataset, one, asked[one.instrument_id], now) for one in left]
    return figures, DatasetWork(requests=requests, complete=[], unknown=unknown)


async def _market(
    context: IngestContext, feed: DatasetFeed, listed: Sequence[ListedInstrument], start: date
) -> Metadata:
    loaded = await feed.load_market(context, listed, start, utc_now().date() + AHEAD)
    return {
        "market_from": start.isoformat(),
        "market_rows": loaded.load.rows,
        "market_rows_inserted": loaded.load.inserted,
        "market_rows_restated": loaded.load.restated,
        "market_requests": loaded.requests,
    }
