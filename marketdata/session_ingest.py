"""Whole sessions: every listed instrument's rows of one trading day.

Here: the two routes to a session: one request for the whole market, or one for each symbol. Not
here: the choice of the route (configuration), or spans of one instrument (ingest.py).
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from marketdata.batches import marks_of
from marketdata.coverage import CoverageState
from marketdata.dataset_ingest import DatasetFeed
from marketdata.day_calendars import DayCalendar
from marketdata.ingest import (
    IngestContext,
    Ingested,
    NotIngested,
    ingest,
    letter_of,
    retry_storage,
)
from marketdata.instruments import ListedInstrument
from marketdata.ports import Batch, FetchRequest, IngestFailure, LoadResult
from marketdata.recovery import errors
from marketdata.recovery.dead_letters import DeadLetter, Work
from marketdata.renames import listed_on
from marketdata.rows import RejectedRow


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionLoad:
    """One session has been stored for the listed instruments that have a row of it.

    Attributes:
        missing: Tickers without an accepted row of this session.
        failed: Reasons by ticker, for requests that failed.
    """

    session: date
    load: LoadResult
    rejected: tuple[RejectedRow, ...]
    missing: tuple[str, ...]
    failed: Mapping[str, str]
    requests: int
    duration_s: float


def refuse_open_session(context: IngestContext, days: DayCalendar, session: date) -> None:
    """Refuse a session whose rows cannot be final.

    Raises:
        RecordRejectedError: ``session`` is not over yet, or is no session any more.
    """
    if not context.calendar.is_session(session):
        raise errors.RecordRejectedError(f"{session} is no session: the exchange was closed")
    ends_at = days.ends_at(session)
    if ends_at > context.now():
        raise errors.RecordRejectedError(
            f"the session {session} closes at {ends_at:%Y-%m-%d %H:%M} UTC; its bars can be "
            "asked for after that"
        )


async def ingest_session_in_bulk(
    context: IngestContext,
    feed: DatasetFeed,
    listed: Sequence[ListedInstrument],
    session: date,
) -> SessionLoad:
    """Fetch one session for the whole market and store the rows of ``listed``.

    Instruments have their symbols of that day, if the provider keeps days under them. Rows of
    other instruments are ignored. If the provider has re-based a history, its instrument is asked
    for by name at once: the whole history is stored, or nothing.

    Raises:
        RecordRejectedError: The session is not over yet.
        ProviderError: The request failed, or its answer could not be used; nothing was stored.
            MalformedPayloadError if the answer holds none of the listed instruments.
        StorageError: The database failed; nothing was stored.
    """
    refuse_open_session(context, feed.day_calendar, session)
    started = time.monotonic()
    members, listed = listed, listed_on(listed, session)
    try:
        answer = await feed.fetch_session(session)
        prepared = feed.prepare_market(listed, session, session, answer, context.run_id)
        if not prepared.rows and not prepared.rejected:
            raise feed.malformed(
                answer, f"none of the {len(listed)} listed instruments is in the answer"
            )
    except errors.ProviderError as error:
        await _record_failure(context, feed, listed, session, error)
        raise
    load, rebased = await _load(context, prepared.batch)
    by_name = [
        request_of(instrument, session)
        for instrument in members
        if instrument.instrument_id in rebased
    ]
    outcomes = [outcome async for outcome in ingest(context, feed, by_name)]
    done = [outcome for outcome in outcomes if isinstance(outcome, Ingested)]
    return SessionLoad(
        session=session,
        load=LoadResult.total([load, *(ingested.load for ingested in done)]),
        rejected=(
            *prepared.rejected,
            *(row for ingested in done for row in ingested.rejected),
        ),
        missing=tuple(
            sorted(
                instrument.ticker
                for instrument in listed
                if instrument.instrument_id not in prepared.rows
            )
        ),
        failed=_failed(outcomes),
        requests=answer.requests + sum(ingested.requests for ingested in done),
        duration_s=time.monotonic() - started,
    )


async def ingest_session_by_symbol(
    context: IngestContext,
    feed: DatasetFeed,
    listed: Sequence[ListedInstrument],
    session: date,
) -> SessionLoad:
    """Ask for one session symbol by symbol and store the answers.

    Raises:
        RecordRejectedError: The session is not over yet.
        ProviderUnavailableError: Every symbol failed: an outage, not a day with gaps.
        KeyRefusedError: The provider refuses the key.
        StorageError: The database failed; symbols stored before it are kept.
    """
    refuse_open_session(context, feed.day_calendar, session)
    started = time.monotonic()
    requests = [request_of(instrument, session) for instrument in listed_on(listed, session)]
    outcomes = [outcome async for outcome in ingest(context, feed, requests)]
    done = [outcome for outcome in outcomes if isinstance(outcome, Ingested)]
    failed = _failed(outcomes)
    if failed and not done:
        raise errors.ProviderUnavailableError(
            f"all {len(failed)} tickers failed, the first with: {next(iter(failed.values()))}",
            provider=feed.provider,
            operation=f"session {session}",
        )
    return SessionLoad(
        session=session,
        load=LoadResult.total(ingested.load for ingested in done),
        rejected=tuple(row for ingested in done for row in ingested.rejected),
        missing=tuple(sorted(ingested.ticker for ingested in done if not ingested.load.rows)),
        failed=failed,
        requests=sum(ingested.requests for ingested in done),
        duration_s=time.monotonic() - started,
    )


def request_of(instrument: ListedInstrument, session: date) -> FetchRequest:
    """Return the request for one instrument's rows of one session."""
    return FetchRequest(
        instrument=instrument, start=session, end=session, from_inception=False, has_data=True
    )


async def defer_session(
    context: IngestContext, feed: DatasetFeed, session: date, error: errors.ProviderError
) -> None:
    """Post the dead letter of a session that was not asked for because of ``error``.

    Raises:
        StorageError: The database failed; nothing was recorded.
    """
    failure = IngestFailure(letter=_letter(context, feed, session, error, deferred=True))
    await retry_storage(lambda: context.store.record_failures([failure]))


def _failed(outcomes: Sequence[Ingested | NotIngested]) -> dict[str, str]:
    return {
        outcome.ticker: outcome.message for outcome in outcomes if isinstance(outcome, NotIngested)
    }


async def _load(context: IngestContext, batch: Batch) -> tuple[LoadResult, frozenset[int]]:
    """Store a session without instruments of re-based histories; return their ids too."""
    try:
        return await retry_storage(lambda: context.store.load(batch)), frozenset()
    except errors.HistoryRebasedError as error:
        rebased = frozenset(error.instrument_ids)
    remaining = batch.without(rebased)
    return await retry_storage(lambda: context.store.load(remaining)), rebased


async def _record_failure(
    context: IngestContext,
    feed: DatasetFeed,
    listed: Sequence[ListedInstrument],
    session: date,
    error: errors.ProviderError,
) -> None:
    """Post the dead letter of a failed session, and mark it as failed in the ledger."""
    if isinstance(error, errors.NotSentError):
        await defer_session(context, feed, session, error)
        return
    failed = {instrument.instrument_id: {CoverageState.FAILED: [session]} for instrument in listed}
    failure = IngestFailure(
        letter=_letter(context, feed, session, error, deferred=False),
        coverage=marks_of(feed.day_calendar, failed),
    )
    await retry_storage(lambda: context.store.record_failures([failure]))


def _letter(
    context: IngestContext,
    feed: DatasetFeed,
    session: date,
    error: errors.ProviderError,
    *,
    deferred: bool,
) -> DeadLetter:
    return letter_of(
        context,
        error,
        source=(feed.dataset, feed.provider),
        work=Work.SESSION,
        subject=session.isoformat(),
        instrument_id=None,
        span=(session, session),
        deferred=deferred,
    )
