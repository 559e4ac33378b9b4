"""Histories: from a provider's answer per instrument to stored, covered and logged bars.

Here: the steps for one instrument, and the fan-out over many. Not here: whole sessions
(market_days.py), HTTP, SQL, or Dagster; they come in through the ports.
"""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime

from marketdata import bars, coverage
from marketdata.batches import DAILY_BARS_DATASET, batch_of, marks_of, sessions_of
from marketdata.calendars import SessionCalendar
from marketdata.coverage import CoverageMark, CoverageState
from marketdata.instruments import ListedInstrument
from marketdata.ports import Answer, BarStore, HistoryProvider, IngestFailure, LoadResult
from marketdata.recovery import errors

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
    """An instrument's answer could not be had, or not be used; nothing of it was stored."""

    ticker: str
    error_class: str
    message: str


async def ingest_histories(
    context: IngestContext, provider: HistoryProvider, requests: Sequence[HistoryRequest]
) -> AsyncIterator[Ingested | NotIngested]:
    """Fetch and store many instruments, yielding what became of each as it is done.

    A provider's failure concerns its instrument alone.

    Raises:
        KeyRefusedError: The provider refuses the key; instruments not yet asked for are left.
        StorageError: The database failed; what had been yielded is stored.
    """
    waiting = iter(requests)
    running: set[asyncio.Task[Ingested | NotIngested]] = set()
    ended_by: BaseException | None = None
    try:
        while True:
            if ended_by is None:
                for request in itertools.islice(waiting, CONCURRENT_REQUESTS - len(running)):
                    running.add(asyncio.create_task(_ingest_history(context, provider, request)))
            if not running:
                break
            done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            # What was under way beside an error may be stored by now: it is reported first.
            ended_by = next(filter(None, (task.exception() for task in done)), ended_by)
            for task in done:
                if task.exception() is None:
                    yield task.result()
    finally:
        await _abandon(running)
    if ended_by is not None:
        raise ended_by


async def _abandon(running: set[asyncio.Task[Ingested | NotIngested]]) -> None:
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)


async def _ingest_history(
    context: IngestContext, provider: HistoryProvider, request: HistoryRequest
) -> Ingested | NotIngested:
    started = time.monotonic()
    try:
        answer = await _fetch(provider, request)
    except errors.KeyRefusedError:
        raise
    except errors.ProviderError as error:
        await asyncio.to_thread(_record_failure, context, provider.name, request, error)
        return NotIngested(
            ticker=request.instrument.ticker,
            error_class=type(error).__name__,
            message=str(error),
        )
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
        instrument_ids={instrument.symbol: instrument.instrument_id},
        provider=provider.name,
        adjustment=provider.history_adjustment,
        run_id=context.run_id,
    )
    load = await asyncio.to_thread(context.store.load, batch)
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


def _record_failure(
    context: IngestContext,
    provider: str,
    request: HistoryRequest,
    error: errors.ProviderError,
) -> None:
    now = context.now()
    asked = context.calendar.sessions(request.start, request.end)
    closed = [session for session in asked if context.calendar.close_at(session) <= now]
    identifier = request.instrument.instrument_id
    marks = marks_of(context.calendar, {identifier: {CoverageState.FAILED: closed}})
    context.store.record_failures(
        [failure_of(context, provider, error, marks, instrument_id=identifier)]
    )


def failure_of(
    context: IngestContext,
    provider: str,
    error: errors.ProviderError,
    marks: tuple[CoverageMark, ...],
    *,
    instrument_id: int | None = None,
) -> IngestFailure:
    """Return the log's record of a request that came to nothing."""
    return IngestFailure(
        dataset=DAILY_BARS_DATASET,
        provider=provider,
        request=error.operation,
        run_id=context.run_id,
        failed_at=context.now(),
        instrument_id=instrument_id,
        error_class=type(error).__name__,
        message=str(error),
        coverage=marks,
    )
