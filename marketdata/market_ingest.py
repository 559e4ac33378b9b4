"""Snapshots of all symbols at once: what has come or changed since the last request.

Here: storing one answer about the whole market for the listed instruments, and the dead letter of
such a request. Not here: the day from which it asks (usecases/bulk_refresh.py), or sessions
(session_ingest.py).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from time import monotonic

from marketdata.coverage import CoverageMark, CoverageState
from marketdata.dataset_ingest import DatasetFeed
from marketdata.day_calendars import ONE_DAY
from marketdata.ingest import IngestContext, letter_of, retry_storage
from marketdata.instruments import ListedInstrument
from marketdata.ports import Answer, Asked, Batch, Changes, Days, IngestFailure, LoadResult
from marketdata.recovery import errors
from marketdata.recovery.dead_letters import Work
from marketdata.rows import RejectedRow


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketLoad:
    """The whole market's answer has been stored.

    Attributes:
        stored: Number of rows, by instrument id.
    """

    load: LoadResult
    stored: Mapping[int, int]
    rejected: tuple[RejectedRow, ...]
    requests: int
    duration_s: float


async def load_market(
    context: IngestContext, feed: DatasetFeed, listed: Sequence[ListedInstrument], days: Days
) -> MarketLoad:
    """Ask for the whole market's rows of ``days`` and store those of ``listed``.

    Raises:
        ProviderError: The request failed, or its answer could not be used; a dead letter is posted.
        StorageError: The database failed; nothing was stored.
        ConfigurationError: The dataset has no request for the whole market.
    """
    try:
        answer = await fetch_market(feed, days)
    except errors.ProviderError as error:
        await _post_letter(context, feed, days, error)
        raise
    return await store_market(context, feed, listed, days, answer)


async def fetch_market(feed: DatasetFeed, days: Days) -> Answer:
    """Ask for the whole market.

    Raises:
        ProviderError: What the provider's client raises.
        ConfigurationError: The dataset has no request for the whole market.
    """
    if feed.entry.bulk_rows is None:
        message = f"{feed.dataset} cannot be asked for the whole market"
        raise errors.ConfigurationError(message)
    return await feed.entry.bulk_rows(feed.client, days)


async def store_market(
    context: IngestContext,
    feed: DatasetFeed,
    listed: Sequence[ListedInstrument],
    days: Days,
    answer: Answer,
) -> MarketLoad:
    """Store those rows of a whole market's answer that are of ``listed`` instruments.

    Raises:
        StorageError: The database failed; nothing was stored.
    """
    began = monotonic()
    prepared = feed.prepare_market(listed, days.start, days.end, answer, context.run_id)
    load = await retry_storage(lambda: context.store.load(prepared.batch))
    return MarketLoad(
        load=load,
        stored=prepared.rows,
        rejected=prepared.rejected,
        requests=answer.requests,
        duration_s=monotonic() - began,
    )


async def load_changes(
    context: IngestContext, feed: DatasetFeed, listed: Sequence[ListedInstrument], days: Days
) -> frozenset[int]:
    """Ask which symbols have changed, and mark the others in the ledger as unchanged.

    Returns:
        The ids of those of ``listed`` that have not changed since the first of ``days``.

    Raises:
        ProviderError: The request failed; a dead letter is posted.
        StorageError: The database failed; nothing was marked.
        ConfigurationError: The dataset has no request for changes.
    """
    if feed.entry.bulk_changes is None:
        message = f"{feed.dataset} cannot be asked for what has changed"
        raise errors.ConfigurationError(message)
    since_midnight = datetime.combine(days.start, time(), feed.entry.zone)
    try:
        changes = await feed.entry.bulk_changes(feed.client, since_midnight)
    except errors.ProviderError as error:
        await _post_letter(context, feed, days, error)
        raise
    same = [instrument for instrument in listed if instrument.symbol not in changes.symbols]
    await _confirm_unchanged(context, feed, same, days.start, changes)
    return frozenset(instrument.instrument_id for instrument in same)


async def _confirm_unchanged(
    context: IngestContext,
    feed: DatasetFeed,
    listed: Sequence[ListedInstrument],
    since: date,
    changes: Changes,
) -> None:
    """Mark in the ledger that ``listed`` has not changed since a requested day.

    Raises:
        StorageError: The database failed; nothing was marked.
    """
    through = feed.day_of(changes.fetched_at)
    batch = Batch(
        dataset=feed.dataset,
        provider=feed.provider,
        adjustment=None,
        request=changes.request,
        content_sha256=changes.content_sha256,
        fetched_at=changes.fetched_at,
        run_id=context.run_id,
        raw_answers=changes.raw_answers,
        # Letters about single symbols wait for rows, and this answer has none.
        asked=Asked(instrument_ids=(), start=since, end=through, whole_sessions=True),
        rows=feed.entry.table_schema.empty_table(),
        letters=(),
        coverage=tuple(
            CoverageMark(
                instrument_id=instrument.instrument_id,
                state=CoverageState.COMPLETE,
                spans=((since, through + ONE_DAY),),
            )
            for instrument in listed
        ),
    )
    await retry_storage(lambda: context.store.load(batch))


async def _post_letter(
    context: IngestContext, feed: DatasetFeed, days: Days, error: errors.ProviderError
) -> None:
    """Post the dead letter of a failed request about all symbols.

    Raises:
        StorageError: The database failed; nothing was recorded.
    """
    letter = letter_of(
        context,
        error,
        source=(feed.dataset, feed.provider),
        work=Work.SESSION,
        # One subject for every day: repeated failures are one letter.
        subject="all at once",
        instrument_id=None,
        span=(days.start, days.end),
        deferred=isinstance(error, errors.NotSentError),
    )
    await retry_storage(lambda: context.store.record_failures([IngestFailure(letter=letter)]))
