"""The steps of every load: ask, prepare, store; and the dead letters of work that failed.

Here: the steps for one instrument, the fan-out over many, and posting dead letters for work that
cannot be done now. Not here: what a dataset's answers mean (dataset_ingest.py), whole sessions or
markets (session_ingest.py, market_ingest.py), HTTP, SQL, or Dagster; they come in through the
ports.
"""

import asyncio
import itertools
import time
from collections.abc import (
    AsyncGenerator,
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
"""Requests in flight per run. The budget sets the pace; this only hides latency."""


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
    """An instrument's request failed, or its answer could not be used; nothing was stored.

    Attributes:
        deferred: The request was never sent: the work waits in a dead letter.
    """

    ticker: str
    error_class: str
    message: str
    deferred: bool = False


async def ingest(
    context: IngestContext, feed: Feed, requests: Sequence[FetchRequest]
) -> AsyncGenerator[Ingested | NotIngested]:
    """Fetch and store many instruments; yield the outcome of each as it is done.

    A failed request concerns its instrument alone. If the provider cannot be asked at all (its
    circuit breaker is open, a quota is spent), or refuses the key, no further request is made:
    dead letters for the remaining requests are posted at once.

    Raises:
        KeyRefusedError: The provider refuses the key; the remaining work waits for a person.
        StorageError: The database failed; outcomes yielded before are stored.
    """
    left_over = _LeftOver(waiting=iter(requests))
    async with aclosing(_outcomes(context, feed, left_over)) as outcomes:
        async for outcome in outcomes:
            yield outcome
    if isinstance(left_over.because_of, errors.ProviderError):
        for outcome in await _defer(context, feed, left_over, left_over.because_of):
            yield outcome
    if left_over.because_of is not None and not isinstance(
        left_over.because_of, errors.NotSentError
    ):
        raise left_over.because_of


@dataclass(slots=True, kw_only=True)
class _LeftOver:
    """The requests that a fan-out has not done when it ends early, and the error that ended it.

    Attributes:
        waiting: Requests that were not begun.
        failed: Requests whose error ends the fan-out, with that error.
    """

    waiting: Iterator[FetchRequest]
    failed: list[tuple[FetchRequest, BaseException]] = field(default_factory=list)
    because_of: Exception | None = None


async def _outcomes(
    context: IngestContext, feed: Feed, left_over: _LeftOver
) -> AsyncGenerator[Ingested | NotIngested]:
    """Yield outcomes as they come; put an error that ends the fan-out into ``left_over``."""
    running: dict[asyncio.Task[Ingested | NotIngested], FetchRequest] = {}
    try:
        while True:
            if left_over.because_of is None:
                for request in itertools.islice(
                    left_over.waiting, CONCURRENT_REQUESTS - len(running)
                ):
                    task = asyncio.create_task(_ingest_one(context, feed, request))
                    running[task] = request
            if not running:
                return
            done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            # Requests in flight beside a failed one may be stored by now: report them too.
            for task in done:
                request, error = running.pop(task), task.exception()
                if error is None:
                    yield task.result()
                    continue
                left_over.because_of = _graver_error(left_over.because_of, error)
                left_over.failed.append((request, error))
    finally:
        await _abandon(running)


def _graver_error(earlier: Exception | None, error: BaseException) -> Exception:
    """Return the error that ends the run: a database failure counts more than a provider's."""
    if not isinstance(error, Exception):
        raise error
    if earlier is None or isinstance(error, errors.StorageError):
        return error
    return earlier


async def _abandon(running: Iterable[asyncio.Task[Ingested | NotIngested]]) -> None:
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)


async def _defer(
    context: IngestContext,
    feed: Feed,
    left_over: _LeftOver,
    error: errors.ProviderError,
) -> list[NotIngested]:
    """Post dead letters for requests that ``error`` left undone.

    A request whose key was refused was sent: it is a failure in the log. Nothing is known of its
    days.
    """
    sent: list[tuple[FetchRequest, errors.ProviderError]] = []
    unsent: list[FetchRequest] = []
    for request, failure in left_over.failed:
        if isinstance(failure, errors.KeyRefusedError):
            sent.append((request, failure))
        else:
            unsent.append(request)
    unsent.extend(left_over.waiting)
    letters = [
        *(_letter(context, feed, request, refusal, deferred=False) for request, refusal in sent),
        *(_letter(context, feed, request, error, deferred=True) for request in unsent),
    ]
    failures = [IngestFailure(letter=letter) for letter in letters]
    await retry_storage(lambda: context.store.record_failures(failures))
    return [
        *(_not_ingested(request, refusal, deferred=False) for request, refusal in sent),
        *(_not_ingested(request, error, deferred=True) for request in unsent),
    ]


async def _ingest_one(
    context: IngestContext, feed: Feed, request: FetchRequest
) -> Ingested | NotIngested:
    started, requests, current = time.monotonic(), 0, request
    while True:
        try:
            answer = await feed.fetch(current)
            # In a thread: large answers take seconds, and the loop holds other requests' permits.
            prepared = await asyncio.to_thread(feed.prepare, current, answer, context.run_id)
        except (errors.KeyRefusedError, errors.NotSentError):
            raise
        except errors.ProviderError as error:
            return await _record_failure(context, feed, request, error)
        requests += answer.requests
        try:
            load = await _load(context, feed, prepared.batch)
        except errors.HistoryRebasedError as error:
            # Reads must never mix old and new shares: store the whole history or nothing.
            whole = feed.whole(current, context.now())
            if whole is None:
                refused = _refused(feed, prepared.batch, error)
                return await _record_failure(context, feed, request, refused)
            current = whole
            continue
        except errors.ProviderError as error:
            return await _record_failure(context, feed, request, error)
        return Ingested(
            ticker=request.instrument.ticker,
            load=load,
            rejected=prepared.rejected,
            sessions=prepared.days_by_state,
            requests=requests,
            duration_s=time.monotonic() - started,
        )


async def _load(context: IngestContext, feed: Feed, batch: Batch) -> LoadResult:
    """Store a batch; if the database refuses one answer, work on others goes on.

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


async def _record_failure(
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
    # The first unsent request's reason stands for all, without that request's name.
    message = f"{error.provider}: {error.reason}" if deferred else str(error)
    return NotIngested(
        ticker=request.instrument.ticker,
        error_class=type(error).__name__,
        message=message,
        deferred=deferred,
    )


async def retry_storage(work: Callable[[], Result], retry: StorageRetry = STORAGE_RETRY) -> Result:
    """Do blocking ``work`` of the store in a thread; repeat it while the store is unreachable.

    Raises:
        StorageUnavailableError: The store could not be reached for ``retry.total_s``.
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
    """Return the dead letter of work that failed with ``error``.

    Args:
        context: Context of the run.
        error: The error; a permanent one parks the letter: no machine repeats it.
        source: Dataset and provider.
        work: Kind of work to do again.
        subject: The instrument or session that the work is of.
        instrument_id: The instrument's id, if the work is of one.
        span: First and last requested day.
        symbol: The provider's symbol; None if the whole market was asked for.
        carried: Past symbols with their days, if the provider keeps days under them.
        deferred: The request was not made.
    """
    now = context.now()
    after_s = error.retry_after_s if isinstance(error, errors.TransientProviderError) else None
    if after_s is not None and not isinstance(error, errors.NotSentError):
        # A provider may name any time, so it is bounded; times of our own are right.
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
