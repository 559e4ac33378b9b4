"""The steps of every load: ask, prepare, store; and what becomes of work that comes to nothing.

Here: the steps for one instrument, the fan-out over many, and the dead letters in which work
waits that cannot be done now. Not here: what a dataset's answers mean (dataset_ingest.py), whole
sessions or markets (session_ingest.py, market_ingest.py), HTTP, SQL, or Dagster; they come in
through the ports.
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

from marketdata.calendars import SessionCalendar
from marketdata.coverage import CoverageState
from marketdata.instruments import SymbolSpan
from marketdata.ports import Batch, BatchStore, Feed, FetchRequest, IngestFailure, LoadResult
from marketdata.recovery import errors
from marketdata.recovery.dead_letters import DeadLetter, Work, asked_details
from marketdata.recovery.policy import BUDGET, STORAGE_RETRY, StorageRetry
from marketdata.rows import RejectedRow

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

    store: BatchStore
    calendar: SessionCalendar
    run_id: str
    now: Callable[[], datetime]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ingested:
    """An instrument's answer has been stored."""

    ticker: str
    load: LoadResult
    rejected: tuple[RejectedRow, ...]
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


async def ingest(
    context: IngestContext, feed: Feed, requests: Sequence[FetchRequest]
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
    async with aclosing(_each(context, feed, left)) as outcomes:
        async for outcome in outcomes:
            yield outcome
    if isinstance(left.because_of, errors.ProviderError):
        unasked = [*left.refused, *left.waiting]
        for outcome in await _defer(context, feed, unasked, left.because_of):
            yield outcome
    if left.because_of is not None and not isinstance(left.because_of, errors.NotSentError):
        raise left.because_of


@dataclass(slots=True, kw_only=True)
class _LeftOver:
    """What a fan-out that ends early has not done, and why."""

    waiting: Iterator[FetchRequest]
    refused: list[FetchRequest] = field(default_factory=list)
    because_of: Exception | None = None


async def _each(
    context: IngestContext, feed: Feed, left: _LeftOver
) -> AsyncGenerator[Ingested | NotIngested]:
    """Yield outcomes as they come; what ends all of it goes into ``left``."""
    running: dict[asyncio.Task[Ingested | NotIngested], FetchRequest] = {}
    try:
        while True:
            if left.because_of is None:
                for request in itertools.islice(left.waiting, CONCURRENT_REQUESTS - len(running)):
                    task = asyncio.create_task(_ingest_one(context, feed, request))
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
    feed: Feed,
    requests: Sequence[FetchRequest],
    error: errors.ProviderError,
) -> list[NotIngested]:
    """Leave ``requests``, which were not made because of ``error``, in dead letters."""
    letters = [
        IngestFailure(letter=_letter(context, feed, request, error, deferred=True))
        for request in requests
    ]
    await retry_storage(lambda: context.store.record_failures(letters))
    return [_not_ingested(request, error, deferred=True) for request in requests]


async def _ingest_one(
    context: IngestContext, feed: Feed, request: FetchRequest
) -> Ingested | NotIngested:
    started, requests, asked = time.monotonic(), 0, request
    while True:
        try:
            answer = await feed.fetch(asked)
            # Large answers take seconds; the loop holds other requests' permits meanwhile.
            prepared = await asyncio.to_thread(feed.prepare, asked, answer, context.run_id)
        except (errors.KeyRefusedError, errors.NotSentError):
            raise
        except errors.ProviderError as error:
            return await _come_to_nothing(context, feed, request, error)
        requests += answer.requests
        try:
            load = await _load(context, feed, prepared.batch)
        except errors.HistoryRebasedError as error:
            # Readers must never see old and new shares side by side: all of it or nothing.
            whole = feed.whole(asked, context.now())
            if whole is None:
                refused = _refused(feed, prepared.batch, error)
                return await _come_to_nothing(context, feed, request, refused)
            asked = whole
            continue
        except errors.ProviderError as error:
            return await _come_to_nothing(context, feed, request, error)
        return Ingested(
            ticker=request.instrument.ticker,
            load=load,
            rejected=prepared.rejected,
            sessions=prepared.days,
            requests=requests,
            duration_s=time.monotonic() - started,
        )


async def _load(context: IngestContext, feed: Feed, batch: Batch) -> LoadResult:
    """Store a batch; what the database refuses of one answer must not end the work on others.

    Raises:
        HistoryRebasedError: The whole history has to be stored at once; nothing was stored.
        MalformedPayloadError: The database refuses the answer.
        StorageUnavailableError: The database cannot be reached.
    """
    try:
        return await retry_storage(lambda: context.store.load(batch))
    except errors.HistoryRebasedError:
        raise
    except errors.StorageConflictError as error:
        raise _refused(feed, batch, error) from error


def _refused(
    feed: Feed, batch: Batch, error: errors.StorageConflictError
) -> errors.MalformedPayloadError:
    refused = errors.MalformedPayloadError(
        f"the database refuses the answer: {error}",
        provider=feed.provider,
        operation=batch.request,
    )
    refused.raw_answers = batch.raw_answers
    return refused


async def _come_to_nothing(
    context: IngestContext, feed: Feed, request: FetchRequest, error: errors.ProviderError
) -> NotIngested:
    failure = IngestFailure(
        letter=_letter(context, feed, request, error, deferred=False),
        coverage=feed.failed(request, context.now()),
    )
    await retry_storage(lambda: context.store.record_failures([failure]))
    return _not_ingested(request, error, deferred=False)


def _not_ingested(
    request: FetchRequest, error: errors.ProviderError, *, deferred: bool
) -> NotIngested:
    # What kept the first request from being sent is told of all, without the first one's name.
    message = f"{error.provider}: {error.reason}" if deferred else str(error)
    return NotIngested(
        ticker=request.instrument.ticker,
        error_class=type(error).__name__,
        message=message,
        deferred=deferred,
    )


async def retry_storage(work: Callable[[], Result], retry: StorageRetry = STORAGE_RETRY) -> Result:
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
    feed: Feed,
    request: FetchRequest,
    error: errors.ProviderError,
    *,
    deferred: bool,
) -> DeadLetter:
    return letter_of(
        context,
        error,
        source=(feed.dataset, feed.provider),
        work=Work.INSTRUMENT,
        subject=request.subject,
        instrument_id=request.instrument.instrument_id,
        span=(request.start, request.end),
        symbol=request.instrument.symbol,
        carried=request.carried,
        deferred=deferred,
    )


def letter_of(
    context: IngestContext,
    error: errors.ProviderError,
    *,
    source: tuple[str, str],
    work: Work,
    subject: str,
    instrument_id: int | None,
    span: tuple[date, date],
    symbol: str | None = None,
    carried: Sequence[SymbolSpan] = (),
    deferred: bool,
) -> DeadLetter:
    """Return the dead letter in which work waits that ``error`` kept from being done.

    Args:
        context: What the run shares.
        error: A permanent one parks the letter: no machine repeats it.
        source: Dataset and provider.
        work: What has to be done again.
        subject: Of which instrument, or of which session.
        instrument_id: The instrument's id, where it is the work of one.
        span: First and last day that were asked for.
        symbol: The provider's spelling of it; None where the whole market was asked for.
        carried: Where its days stand under the symbols of then: these.
        deferred: The request was not made.
    """
    now = context.now()
    after_s = error.retry_after_s if isinstance(error, errors.TransientProviderError) else None
    if after_s is not None and not isinstance(error, errors.NotSentError):
        # The provider's word, which may be nonsense; ours are bounded by what they stand for.
        after_s = min(after_s, BUDGET.longest_pause_s)
    return DeadLetter(
        dataset=source[0],
        provider=source[1],
        work=work,
        subject=subject,
        instrument_id=instrument_id,
        error_class=type(error).__name__,
        message=f"{error.provider}: {error.reason}" if deferred else str(error),
        request=f"{subject} from {span[0]} to {span[1]}" if deferred else error.operation,
        run_id=context.run_id,
        raw_answers=error.raw_answers,
        details={
            "start": span[0].isoformat(),
            "end": span[1].isoformat(),
            "asked": asked_details(symbol, *span, carried),
        },
        seen_at=now,
        parked=isinstance(error, errors.PermanentProviderError),
        not_before=None if after_s is None else now + timedelta(seconds=after_s),
        deferred=deferred,
    )
