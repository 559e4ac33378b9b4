"""Histories: from a provider's answer per instrument to stored, covered and logged bars.

Here: the steps for one instrument, the fan-out over many, and what becomes of work that cannot
be done now: it is left in a dead letter. Not here: whole sessions (market_days.py), HTTP, SQL,
or Dagster; they come in through the ports.
"""

import asyncio
import itertools
import time
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Callable,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import TypeVar

import stamina

from marketdata import bars, coverage
from marketdata.batches import DAILY_BARS_DATASET, batch_of, marks_of, sessions_of
from marketdata.calendars import SessionCalendar
from marketdata.coverage import CoverageState
from marketdata.instruments import ListedInstrument
from marketdata.ports import Answer, Asked, BarStore, HistoryProvider, IngestFailure, LoadResult
from marketdata.recovery import errors
from marketdata.recovery.dead_letters import LETTER_RETRY, DeadLetter, Work
from marketdata.recovery.policy import STORAGE_RETRY, StorageRetry

Result = TypeVar("Result")

CONCURRENT_REQUESTS = 8
"""Requests in flight per run. The budget sets the pace; this only hides the answers' latency."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestContext:
    """What every step of one run shares.

    Attributes:
        run_id: The run that asks, for the ingest log.
        now: Clock that returns aware UTC times.
    """

    store: BarStore
    calendar: SessionCalendar
    run_id: str
    now: Callable[[], datetime]


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryRequest:
    """Ask for one instrument's sessions from ``start`` to ``end``, both included.

    Attributes:
        from_listing: ``start`` is the beginning of the history kept here, so that sessions
            before the first bar count as before the listing.
        holds_bars: Some bar of the instrument is kept already. If none is, an empty answer from
            the listing on means that the provider does not know the symbol.
    """

    instrument: ListedInstrument
    start: date
    end: date
    from_listing: bool
    holds_bars: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Ingested:
    """An instrument's answer has been stored."""

    ticker: str
    load: LoadResult
    rejected: tuple[bars.RejectedBar, ...]
    sessions: Mapping[CoverageState, int]
    requests: int
    duration_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class NotIngested:
    """An instrument's answer could not be had, or not be used; nothing of it was stored.

    Attributes:
        deferred: The request was never sent: the work waits in a dead letter.
    """

    ticker: str
    error_class: str
    message: str
    deferred: bool = False


async def ingest_histories(
    context: IngestContext, provider: HistoryProvider, requests: Sequence[HistoryRequest]
) -> AsyncIterator[Ingested | NotIngested]:
    """Fetch and store many instruments, yielding what became of each as it is done.

    A provider's failure concerns its instrument alone. When the provider cannot be asked at all
    (its circuit breaker is open, a quota is spent), or refuses the key, no further request is
    made: what is left over waits in dead letters, posted at once.

    Raises:
        KeyRefusedError: The provider refuses the key; what is left over waits for a person.
        StorageError: The database failed; what had been yielded is stored.
    """
    left = _LeftOver(waiting=iter(requests))
    async with aclosing(_each(context, provider, left)) as outcomes:
        async for outcome in outcomes:
            yield outcome
    if isinstance(left.because_of, errors.ProviderError):
        unasked = [*left.refused, *left.waiting]
        for outcome in await _defer(context, provider.name, unasked, left.because_of):
            yield outcome
    if left.because_of is not None and not isinstance(left.because_of, errors.NotSentError):
        raise left.because_of


@dataclass(slots=True, kw_only=True)
class _LeftOver:
    """What a fan-out that ends early has not done, and why."""

    waiting: Iterator[HistoryRequest]
    refused: list[HistoryRequest] = field(default_factory=list)
    because_of: Exception | None = None


async def _each(
    context: IngestContext, provider: HistoryProvider, left: _LeftOver
) -> AsyncGenerator[Ingested | NotIngested]:
    """Yield outcomes as they come; what ends all of it goes into ``left``."""
    running: dict[asyncio.Task[Ingested | NotIngested], HistoryRequest] = {}
    try:
        while True:
            if left.because_of is None:
                for request in itertools.islice(left.waiting, CONCURRENT_REQUESTS - len(running)):
                    task = asyncio.create_task(_ingest_history(context, provider, request))
                    running[task] = request
            if not running:
                return
            done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            # What was under way beside an error may be stored by now: it is reported as well.
            for task in done:
                request, error = running.pop(task), task.exception()
                if error is None:
                    yield task.result()
                    continue
                left.refused.append(request)
                left.because_of = _graver(left.because_of, error)
    finally:
        await _abandon(running)


def _graver(known: Exception | None, error: BaseException) -> Exception:
    """Keep what a run ends with: a database that fails is worse news than a provider's refusal."""
    if not isinstance(error, Exception):
        raise error
    if known is None or isinstance(error, errors.StorageError):
        return error
    return known


async def _abandon(running: Iterable[asyncio.Task[Ingested | NotIngested]]) -> None:
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)


async def _defer(
    context: IngestContext,
    provider: str,
    requests: Sequence[HistoryRequest],
    error: errors.ProviderError,
) -> list[NotIngested]:
    """Leave ``requests``, which were not made because of ``error``, in dead letters."""
    letters = [
        IngestFailure(letter=_letter(context, provider, request, error, deferred=True))
        for request in requests
    ]
    await patiently(lambda: context.store.record_failures(letters))
    return [_not_ingested(request, error, deferred=True) for request in requests]


async def _ingest_history(
    context: IngestContext, provider: HistoryProvider, request: HistoryRequest
) -> Ingested | NotIngested:
    started = time.monotonic()
    try:
        answer = await _fetch(provider, request)
    except (errors.KeyRefusedError, errors.NotSentError):
        raise
    except errors.ProviderError as error:
        failure = _failure(context, provider.name, request, error)
        await patiently(lambda: context.store.record_failures([failure]))
        return _not_ingested(request, error, deferred=False)
    validated = bars.validate(answer.bars)
    states = coverage.assess(
        context.calendar,
        context.calendar.sessions(request.start, request.end),
        received=sessions_of(validated.accepted),
        rejected={one.session_date for one in validated.rejected},
        now=answer.fetched_at,
        whole_history=request.from_listing,
    )
    instrument = request.instrument
    batch = batch_of(
        answer,
        validated,
        {instrument.instrument_id: states},
        calendar=context.calendar,
        listed=[instrument],
        asked=Asked(
            instrument_ids=(instrument.instrument_id,),
            start=request.start,
            end=request.end,
            whole_sessions=False,
        ),
        provider=provider.name,
        adjustment=provider.history_adjustment,
        run_id=context.run_id,
    )
    load = await patiently(lambda: context.store.load(batch))
    return Ingested(
        ticker=instrument.ticker,
        load=load,
        rejected=validated.rejected,
        sessions={state: len(sessions) for state, sessions in states.items()},
        requests=answer.requests,
        duration_s=time.monotonic() - started,
    )


async def _fetch(provider: HistoryProvider, request: HistoryRequest) -> Answer:
    symbol = request.instrument.symbol
    answer = await provider.daily_history(symbol, request.start, request.end)
    if request.from_listing and not request.holds_bars and not answer.bars.num_rows:
        # An empty span may be a halt; an empty history is a symbol that nobody knows.
        raise errors.UnknownSymbolError(
            "the provider has no bars under this symbol",
            provider=provider.name,
            operation=answer.request,
        )
    return answer


def _not_ingested(
    request: HistoryRequest, error: errors.ProviderError, *, deferred: bool
) -> NotIngested:
    # What kept the first request from being sent is told of all, without the first one's name.
    message = f"{error.provider}: {error.reason}" if deferred else str(error)
    return NotIngested(
        ticker=request.instrument.ticker,
        error_class=type(error).__name__,
        message=message,
        deferred=deferred,
    )


def _failure(
    context: IngestContext, provider: str, request: HistoryRequest, error: errors.ProviderError
) -> IngestFailure:
    now = context.now()
    asked = context.calendar.sessions(request.start, request.end)
    closed = [session for session in asked if context.calendar.close_at(session) <= now]
    identifier = request.instrument.instrument_id
    return IngestFailure(
        letter=_letter(context, provider, request, error, deferred=False),
        coverage=marks_of(context.calendar, {identifier: {CoverageState.FAILED: closed}}),
    )


async def patiently(work: Callable[[], Result], retry: StorageRetry = STORAGE_RETRY) -> Result:
    """Do blocking ``work`` of the store in a thread, again while the store cannot be reached.

    Raises:
        StorageUnavailableError: It could not be reached for ``retry.total_s``.
    """
    repeat = stamina.AsyncRetryingCaller(
        attempts=None,
        timeout=retry.total_s,
        wait_initial=retry.first_wait_s,
        wait_max=retry.longest_wait_s,
        wait_jitter=retry.jitter_s,
    )
    return await repeat(errors.StorageUnavailableError, asyncio.to_thread, work)


def _letter(
    context: IngestContext,
    provider: str,
    request: HistoryRequest,
    error: errors.ProviderError,
    *,
    deferred: bool,
) -> DeadLetter:
    return letter_of(
        context,
        provider,
        error,
        work=Work.INSTRUMENT,
        subject=request.instrument.ticker,
        instrument_id=request.instrument.instrument_id,
        span=(request.start, request.end),
        deferred=deferred,
    )


def letter_of(
    context: IngestContext,
    provider: str,
    error: errors.ProviderError,
    *,
    work: Work,
    subject: str,
    instrument_id: int | None,
    span: tuple[date, date],
    deferred: bool,
) -> DeadLetter:
    """Return the dead letter in which work waits that ``error`` kept from being done.

    Args:
        context: What the run shares.
        provider: Short name of the provider.
        error: A permanent one parks the letter: no machine repeats it.
        work: What has to be done again.
        subject: Of which instrument, or of which session.
        instrument_id: The instrument's id, where it is the work of one.
        span: First and last session that were asked for.
        deferred: The request was not made.
    """
    now = context.now()
    after_s = None
    if isinstance(error, errors.NotSentError):
        after_s = error.retry_after_s
    elif isinstance(error, errors.RateLimitedError) and error.retry_after_s is not None:
        # The provider's word, which may be nonsense; ours are bounded by what they stand for.
        after_s = min(error.retry_after_s, LETTER_RETRY.longest_wait_s)
    return DeadLetter(
        dataset=DAILY_BARS_DATASET,
        provider=provider,
        work=work,
        subject=subject,
        instrument_id=instrument_id,
        error_class=type(error).__name__,
        message=f"{error.provider}: {error.reason}" if deferred else str(error),
        request=f"{subject} from {span[0]} to {span[1]}" if deferred else error.operation,
        run_id=context.run_id,
        raw_answers=(error.raw_answer,) if error.raw_answer else (),
        details={"start": span[0].isoformat(), "end": span[1].isoformat()},
        seen_at=now,
        parked=isinstance(error, errors.PermanentProviderError),
        not_before=None if after_s is None else now + timedelta(seconds=after_s),
        deferred=deferred,
    )
