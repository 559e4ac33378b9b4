"""Whole sessions: every listed instrument's bar of one trading day.

Here: the two routes to a day, one request for the whole market or one for each ticker. Not
here: which route is taken (configuration), or histories of one instrument (ingest.py).
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import pyarrow as pa
import pyarrow.compute as pc

from marketdata import bars, coverage
from marketdata.batches import DAILY_BARS_DATASET, States, batch_of, marks_of
from marketdata.calendars import SessionCalendar
from marketdata.coverage import CoverageState
from marketdata.histories import ingest_histories
from marketdata.ingest import (
    IngestContext,
    Ingested,
    NotIngested,
    letter_of,
    patiently,
)
from marketdata.instruments import ListedInstrument
from marketdata.ports import (
    Answer,
    Asked,
    Batch,
    DailyBarProvider,
    HistoryProvider,
    HistoryRequest,
    IngestFailure,
    LoadResult,
)
from marketdata.recovery import errors
from marketdata.recovery.dead_letters import DeadLetter, Work
from marketdata.renames import listed_on
from marketdata.rows import RejectedRow


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketDay:
    """One session has been stored for the listed instruments that have a bar.

    Attributes:
        missing: Tickers of which the provider sent no bar of this session.
        failed: Why, by ticker, for those that could not be asked.
    """

    session: date
    load: LoadResult
    rejected: tuple[bars.RejectedBar | RejectedRow, ...]
    missing: tuple[str, ...]
    failed: Mapping[str, str]
    requests: int
    duration_s: float


def refuse_open_session(context: IngestContext, session: date) -> None:
    """Refuse a day whose bars cannot be final.

    Raises:
        RecordRejectedError: ``session`` has not closed yet, or is none any more.
    """
    if not context.calendar.is_session(session):
        raise errors.RecordRejectedError(f"{session} is no session: the exchange was closed")
    closes_at = context.calendar.close_at(session)
    if closes_at > context.now():
        raise errors.RecordRejectedError(
            f"the session {session} closes at {closes_at:%Y-%m-%d %H:%M} UTC; its bars can be "
            "asked for after that"
        )


async def ingest_market_day(
    context: IngestContext,
    provider: DailyBarProvider,
    listed: Sequence[ListedInstrument],
    session: date,
) -> MarketDay:
    """Fetch one session for the whole market and store the bars of ``listed``.

    They go by the symbols of that day, where the provider keeps it so. Rows of instruments that
    are not listed here are ignored. Where the provider has re-based a history, its instrument is
    asked for by name at once: the whole history comes, or nothing.

    Raises:
        RecordRejectedError: The session has not closed yet.
        ProviderError: The answer could not be had or used; nothing was stored. An answer with
            none of the listed instruments is no session's answer: MalformedPayloadError.
        StorageError: The database failed; nothing was stored.
    """
    refuse_open_session(context, session)
    started = time.monotonic()
    members, listed = listed, listed_on(listed, session)
    try:
        answer = await provider.daily_market(session)
    except errors.ProviderError as error:
        await _record_failure(context, provider.name, listed, session, error)
        raise
    symbols = pa.array([one.symbol for one in listed], pa.string())
    quoted = answer.rows.filter(pc.is_in(answer.rows["symbol"], value_set=symbols))
    if not quoted.num_rows:
        error = _of_another_market(answer, provider.name, len(listed))
        await _record_failure(context, provider.name, listed, session, error)
        raise error
    validated = bars.validate(quoted)
    received = set(validated.accepted["symbol"].to_pylist())
    names = {one.symbol for one in listed}
    ours_left_out = [row for row in answer.left_out if row.symbol in names]
    batch = batch_of(
        answer,
        validated,
        _states(context.calendar, listed, session, validated, answer),
        calendar=context.calendar,
        listed=listed,
        asked=Asked(
            instrument_ids=tuple(one.instrument_id for one in listed),
            start=session,
            end=session,
            whole_sessions=True,
        ),
        provider=provider.name,
        adjustment=provider.market_day_adjustment,
        run_id=context.run_id,
        joins_history=True,
    )
    load, rebased = await _load(context, batch)
    by_name = [_of_session(one, session) for one in members if one.instrument_id in rebased]
    outcomes = [one async for one in ingest_histories(context, provider, by_name)]
    done = [one for one in outcomes if isinstance(one, Ingested)]
    return MarketDay(
        session=session,
        load=LoadResult.total([load, *(one.load for one in done)]),
        rejected=(
            *validated.rejected,
            *ours_left_out,
            *(row for one in done for row in one.rejected),
        ),
        missing=tuple(sorted(one.ticker for one in listed if one.symbol not in received)),
        failed={one.ticker: one.message for one in outcomes if isinstance(one, NotIngested)},
        requests=answer.requests + sum(one.requests for one in done),
        duration_s=time.monotonic() - started,
    )


async def _load(context: IngestContext, batch: Batch) -> tuple[LoadResult, frozenset[int]]:
    """Store a day without those instruments whose history was re-based; return these as well."""
    try:
        return await patiently(lambda: context.store.load(batch)), frozenset()
    except errors.HistoryRebasedError as error:
        rebased = frozenset(error.instrument_ids)
    others = batch.without(rebased)
    return await patiently(lambda: context.store.load(others)), rebased


def _of_another_market(answer: Answer, provider: str, listed: int) -> errors.MalformedPayloadError:
    error = errors.MalformedPayloadError(
        f"none of the {listed} listed instruments is in the answer",
        provider=provider,
        operation=answer.request,
    )
    error.raw_answers = answer.raw_answers
    return error


async def _record_failure(
    context: IngestContext,
    provider: str,
    listed: Sequence[ListedInstrument],
    session: date,
    error: errors.ProviderError,
) -> None:
    """Leave a day that could not be had in a dead letter, and mark what that leaves unknown."""
    if isinstance(error, errors.NotSentError):
        await defer_session(context, provider, session, error)
        return
    failed = {one.instrument_id: {CoverageState.FAILED: [session]} for one in listed}
    failure = IngestFailure(
        letter=_letter(context, provider, session, error, deferred=False),
        coverage=marks_of(context.calendar, failed),
    )
    await patiently(lambda: context.store.record_failures([failure]))


async def defer_session(
    context: IngestContext, provider: str, session: date, error: errors.ProviderError
) -> None:
    """Leave a day that was not asked for because of ``error`` in a dead letter.

    Raises:
        StorageError: The database failed; nothing was recorded.
    """
    failure = IngestFailure(letter=_letter(context, provider, session, error, deferred=True))
    await patiently(lambda: context.store.record_failures([failure]))


def _letter(
    context: IngestContext,
    provider: str,
    session: date,
    error: errors.ProviderError,
    *,
    deferred: bool,
) -> DeadLetter:
    return letter_of(
        context,
        error,
        source=(DAILY_BARS_DATASET, provider),
        work=Work.SESSION,
        subject=session.isoformat(),
        instrument_id=None,
        span=(session, session),
        deferred=deferred,
    )


def _states(
    calendar: SessionCalendar,
    listed: Sequence[ListedInstrument],
    session: date,
    validated: bars.ValidatedBars,
    answer: Answer,
) -> dict[int, States]:
    """Say what the answer tells of ``session`` for each listed instrument, by its id."""
    received = set(validated.accepted["symbol"].to_pylist())
    refused = {one.symbol for one in (*validated.rejected, *answer.left_out)}
    return {
        one.instrument_id: coverage.assess(
            calendar,
            [session],
            received=[session] if one.symbol in received else [],
            rejected=[session] if one.symbol in refused else [],
            now=answer.fetched_at,
        )
        for one in listed
    }


def _of_session(instrument: ListedInstrument, session: date) -> HistoryRequest:
    return HistoryRequest(
        instrument=instrument, start=session, end=session, from_listing=False, holds_bars=True
    )


async def ingest_day_by_ticker(
    context: IngestContext,
    provider: HistoryProvider,
    listed: Sequence[ListedInstrument],
    session: date,
) -> MarketDay:
    """Ask for one session ticker by ticker and store what comes.

    Raises:
        RecordRejectedError: The session has not closed yet.
        ProviderUnavailableError: Every ticker failed: that is an outage, not a day with gaps.
        KeyRefusedError: The provider refuses the key.
        StorageError: The database failed; tickers stored before it are kept.
    """
    refuse_open_session(context, session)
    started = time.monotonic()
    requests = [_of_session(one, session) for one in listed_on(listed, session)]
    outcomes = [one async for one in ingest_histories(context, provider, requests)]
    done = [one for one in outcomes if isinstance(one, Ingested)]
    failed = {one.ticker: one.message for one in outcomes if isinstance(one, NotIngested)}
    if failed and not done:
        raise errors.ProviderUnavailableError(
            f"all {len(failed)} tickers failed, the first with: {next(iter(failed.values()))}",
            provider=provider.name,
            operation=f"session {session}",
        )
    return MarketDay(
        session=session,
        load=LoadResult.total(one.load for one in done),
        rejected=tuple(bar for one in done for bar in one.rejected),
        missing=tuple(sorted(one.ticker for one in done if not one.load.rows)),
        failed=failed,
        requests=sum(one.requests for one in done),
        duration_s=time.monotonic() - started,
    )
