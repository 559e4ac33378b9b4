"""Permits that all processes share: leased from Postgres, waited for here.

Here: ``LeasedBudget``. Not here: its protocol (budget.py), sending and retrying requests (http.py),
granting leases (marketdata.recovery.leases.Leases, kept in Postgres), or the limits themselves
(marketdata/recovery/limits.py).
"""

import asyncio
import contextlib
import random
from collections import deque
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http import HTTPStatus
from types import TracebackType
from typing import Any, Self, TypeVar

from aiolimiter import AsyncLimiter

from marketdata.recovery import errors
from marketdata.recovery.leases import (
    BreakerState,
    Holder,
    Lease,
    LeaseRequest,
    Leases,
    Refusal,
    RefusalReason,
)
from marketdata.recovery.limits import Lane, RequestLimits
from marketdata.recovery.policy import BREAKER, BUDGET, BreakerPolicy, BudgetPolicy
from marketdata.recovery.request_timings import RequestTimings
from resources.providers.budget import Outcome, Permit
from resources.telemetry import logs

_LOG = logs.logger("providers")
_T = TypeVar("_T")

_RELEASE_PACE = 0.8
"""Permits of one process keep at least this part of the interval. It is less than 1, so that a
process whose loop stalled for a moment catches up instead of staying late for ever."""
_ASK_AGAIN_JITTER_S = 0.05
_SHORTEST_PAUSE_S = 0.001
_CLOSE_WITHIN_S = 4.0
"""How long closing waits for a silent store, at most twice: shutdowns have 30 s."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Slot:
    """A permit that waits for its time; times are the event loop's.

    Attributes:
        place: Its place in the lease, from 0.
        void_after: If used later, it could share a window with too many later requests.
    """

    lease: Lease
    place: int
    weight: int
    release_at: float
    void_after: float


@dataclass(slots=True, kw_only=True)
class _Waiter:
    """A request that waits for its permit."""

    weight: int
    operation: str
    slot: asyncio.Future[_Slot]


@dataclass(slots=True, kw_only=True)
class _Backlog:
    """Requests and permits that wait for each other, both in their order.

    A permit goes to the first request for which it is heavy enough. The request for which it was
    leased may be gone, or have lost its own permit. By place alone, light permits would be leased
    for a heavy request again and again, and no request would be sent.
    """

    waiters: deque[_Waiter] = field(default_factory=deque[_Waiter])
    slots: deque[_Slot] = field(default_factory=deque[_Slot])

    def uncovered(self) -> list[_Waiter]:
        """Return the requests without a permit in hand."""
        self.forget_cancelled()
        waiting = list(self.waiters)
        for slot in self.slots:
            if (place := _place_for(slot, waiting)) is not None:
                del waiting[place]
        return waiting

    def pop_waiter_for(self, slot: _Slot) -> _Waiter | None:
        """Take out the request that gets a permit; None if it is too light for all."""
        place = _place_for(slot, self.waiters)
        if place is None:
            return None
        waiter = self.waiters[place]
        del self.waiters[place]
        return waiter

    def forget_cancelled(self) -> None:
        """Drop requests that were cancelled."""
        if any(waiter.slot.done() for waiter in self.waiters):
            self.waiters = deque(waiter for waiter in self.waiters if not waiter.slot.done())


def _place_for(slot: _Slot, waiters: Sequence[_Waiter]) -> int | None:
    """Return the place of the first request for which a permit is heavy enough."""
    return next((at for at, waiter in enumerate(waiters) if waiter.weight <= slot.weight), None)


class LeasedBudget:
    """Waits for permits of budgets that every process shares; open it with ``async with``.

    One call of the store leases permits for all waiting requests. They are sent in order, each at
    its slot. A slot counts from the arrival of the store's answer, not from a clock that machines
    would have to share: it may be late by the answer's duration, but never early. A permit that
    cannot be used within half of the limits' slack after its slot is void, and the request waits
    for another; the other half is for the network.

    Without a store there are no permits: requests wait, and fail after ``policy.storage_total_s``.

    Times of requests travel with the next lease, and the last ones when the budget is closed. So
    they cost no call of their own, and a killed process loses those since its last lease.

    Use one instance per event loop.

    Args:
        leases: The store, called in a thread of its own.
        limits: Limits that every request is charged to.
        provider: Name of the breaker's provider, such as ``fmp``.
        lane: Priority of the requests.
        holder: The process, shown beside its leases.
    """

    def __init__(
        self,
        *,
        leases: Leases,
        limits: Sequence[RequestLimits],
        provider: str,
        lane: Lane,
        holder: Holder,
        policy: BudgetPolicy = BUDGET,
        breaker: BreakerPolicy = BREAKER,
    ) -> None:
        self._leases = leases
        self._limits = tuple(limits)
        self._provider = provider
        self._lane = lane
        self._holder = holder
        self._policy = policy
        self._breaker = breaker
        narrowest = min(limit.interval_s for limit in self._limits)
        widest = max(limit.interval_s for limit in self._limits)
        ahead = max(policy.scheduled_ahead_s, 2 * narrowest) if lane is Lane.SCHEDULED else 0.0
        self._horizon_s = policy.horizon_s + ahead
        self._tolerance_s = min(limit.slack_s for limit in self._limits) / 2
        self._limiter = AsyncLimiter(1, _RELEASE_PACE * widest)
        self._timings = RequestTimings(provider)
        self._backlog = _Backlog()
        self._demand = asyncio.Event()
        self._changed = asyncio.Event()
        self._failures_known = False
        self._too_late_since: float | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"leases of {provider}")
        self._tasks: list[asyncio.Task[None]] = []
        self._stop = asyncio.Event()

    async def __aenter__(self) -> Self:
        """Start serving requests."""
        self._tasks = [
            asyncio.create_task(
                self._serve_guarded(self._lease), name=f"leases of {self._provider}"
            ),
            asyncio.create_task(self._serve_guarded(self._release), name="permits"),
        ]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop, and give back unused permits; waiting requests are cancelled."""
        self._stop.set()
        self._demand.set()
        leasing, releasing = self._tasks
        releasing.cancel()
        # Wait for a call under way: it may bring permits that have to be given back.
        await asyncio.wait([leasing, releasing], timeout=_CLOSE_WITHIN_S)
        leasing.cancel()
        await asyncio.gather(leasing, releasing, return_exceptions=True)
        for waiter in self._backlog.waiters:
            waiter.slot.cancel()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_WITHIN_S):
                await self._give_back_all()
                await self._add_last_timings()
        self._thread.shutdown(wait=False)

    async def _add_last_timings(self) -> None:
        """Hand over the times that no lease will carry any more."""
        timings = self._timings.take()
        if not timings:
            return
        try:
            await self._call(lambda: self._leases.add_timings(self._limits, timings))
        except errors.StorageError as error:
            _LOG.warning("%s: times of requests were not counted: %s", self._provider, error)

    async def acquire(self, weight: int = 1, *, operation: str = "request") -> Permit:
        """Wait until a request of ``weight`` may be sent.

        Raises:
            CircuitOpenError: The provider fails; nothing is sent until a trial succeeds.
            ProviderPausedError: The provider asked for a pause longer than a run waits.
            BudgetSpentError: A quota of the key is used up.
            StorageUnavailableError: The store could not be reached, or answered too slowly, for too
                long.
            StorageConflictError: The store refuses, for instance without migrations.
            RuntimeError: The budget is not open, or the weight is not within its limits.
        """
        if not self._tasks or self._stop.is_set():
            message = f"the budget of {self._provider} is not open: use it inside `async with`"
            raise RuntimeError(message)
        if not 1 <= weight <= min(limit.heaviest for limit in self._limits):
            message = f"{self._provider} {operation}: weight {weight} is not within the limits"
            raise RuntimeError(message)
        loop = asyncio.get_running_loop()
        asked_at = loop.time()
        queue = self._backlog.waiters.append
        if not self._backlog.waiters:
            self._too_late_since = None  # Late permits were for earlier requests.
        while True:
            waiter = _Waiter(weight=weight, operation=operation, slot=loop.create_future())
            queue(waiter)
            self._demand.set()
            self._changed.set()
            slot = await self._slot_of(waiter)
            if loop.time() <= slot.void_after:
                self._timings.add_permit_wait(loop.time() - asked_at)
                return self._permit(slot)
            # The loop stalled after the hand-over: back to the head of the queue.
            queue = self._backlog.waiters.appendleft
            await self._give_back([slot])

    async def _slot_of(self, waiter: _Waiter) -> _Slot:
        try:
            return await waiter.slot
        except asyncio.CancelledError:
            if waiter.slot.done() and not waiter.slot.cancelled() and not waiter.slot.exception():
                await self._give_back([waiter.slot.result()])
            raise

    def _permit(self, slot: _Slot) -> Permit:
        return Permit(
            lease_id=slot.lease.lease_id,
            answer_within_s=self._breaker.trial_answer_s if slot.lease.trial else None,
        )

    async def settle(self, permit: Permit, outcome: Outcome | None) -> None:
        """Report the outcome of the attempt to all processes, as far as it concerns them.

        A network error, time-out, firewall or 5xx counts towards the breaker; any other answer
        counts as a success. A 429, or a pause that the answer names, pauses all processes. An
        unreachable store is only logged: the next lease waits for it anyway.
        """
        if permit.lease_id is None:
            return
        try:
            if outcome is None:
                if permit.answer_within_s is not None:
                    # Another request may be the trial; the slot has been used.
                    await self._call(lambda: self._leases.give_back(permit.lease_id or 0, []))
            elif outcome.error is not None and self._breaker.counts(outcome.error):
                await self._report_failure(permit, outcome.error)
            else:
                await self._report_success(permit, outcome)
            if outcome is not None and outcome.status != HTTPStatus.REQUEST_TIMEOUT:
                await self._hold(outcome.error)
        except errors.StorageError as error:
            _LOG.warning("%s: the outcome of a request was not reported: %s", self._provider, error)

    def add_request(self, seconds: float, error: errors.ProviderError | None) -> None:
        """Count an attempt that ended: how long it took, and its error if it had one."""
        self._timings.add_request(seconds, error)

    async def _report_failure(self, permit: Permit, error: errors.ProviderError) -> None:
        self._failures_known = True
        lease_id = permit.lease_id or 0
        breaker = await self._call(
            lambda: self._leases.report_failure(self._provider, lease_id, error, self._breaker)
        )
        if breaker.state is BreakerState.OPEN:
            # Requests that were under way when it opened report their failures too.
            if breaker.failures == self._breaker.failures or permit.answer_within_s is not None:
                logs.retries().warning(
                    "circuit breaker open",
                    extra={
                        "provider": self._provider,
                        "failures": breaker.failures,
                        "error_class": type(error).__name__,
                        "wait_s": round(breaker.retry_after_s, 3),
                    },
                )
            await self._reject(breaker.retry_after_s, breaker.reason)

    async def _report_success(self, permit: Permit, outcome: Outcome) -> None:
        lease_id = permit.lease_id or 0
        if self._failures_known or permit.answer_within_s is not None:
            self._failures_known = False
            await self._call(lambda: self._leases.report_success(self._provider, lease_id))
            if permit.answer_within_s is not None:
                _LOG.info("circuit breaker closed", extra={"provider": self._provider})
        for limits in self._limits:
            await self._observe(limits, outcome.headers)

    async def _hold(self, error: errors.ProviderError | None) -> None:
        seconds = self._policy.hold_s(error)
        if error is not None and seconds:
            budgets = [limits.budget for limits in self._limits]
            await self._call(lambda: self._leases.pause(budgets, seconds, error.reason))
            await self._give_back_all()

    async def _observe(self, limits: RequestLimits, headers: Mapping[str, str]) -> None:
        text = headers.get(limits.used_weight.header, "") if limits.used_weight else ""
        if text.isascii() and text.isdigit():
            await self._call(lambda: self._leases.observe_used(limits, float(text)))

    async def _serve_guarded(self, serving: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Serve; if that ends for any reason, end all waiting requests."""
        try:
            await serving()
        except BaseException as ended_by:
            end = self._end_of_serving(ended_by)
            if not self._stop.is_set():  # Closing the budget cancels them itself.
                self._stop.set()
                self._backlog.slots.clear()
                self._fail(lambda _: end)
            raise

    def _end_of_serving(self, error: BaseException) -> BaseException:
        """Return the error for waiting requests: a bug is shown, an interruption passed on."""
        if isinstance(error, Exception):
            return RuntimeError(f"the budget of {self._provider} broke down: {error!r}")
        return error

    async def _lease(self) -> None:
        """Keep a permit in hand for every waiting request."""
        while True:
            await self._demand.wait()
            self._demand.clear()
            while not self._stop.is_set() and (uncovered := self._backlog.uncovered()):
                await self._lease_for(tuple(waiter.weight for waiter in uncovered))
            if self._stop.is_set():
                return

    async def _lease_for(self, weights: tuple[int, ...]) -> None:
        request = LeaseRequest(
            provider=self._provider,
            charges=self._limits,
            weights=weights,
            lane=self._lane,
            holder=self._holder,
            horizon_s=self._horizon_s,
            tolerance_s=self._tolerance_s,
            breaker=self._breaker,
            waited_pause_s=self._policy.waited_pause_s,
            timings=self._timings.take(),
        )
        clock = asyncio.get_running_loop().time

        def take() -> tuple[float, Lease | Refusal, float]:
            # Both times are taken in the thread, so that a stalled loop does not distort them.
            asked_at = clock()
            return asked_at, self._leases.take(request), clock()

        try:
            asked_at, answer, answered_at = await self._call_with_retries(take)
        except errors.StorageError as error:
            failed = error
            self._timings.put_back(request.timings)
            self._fail(lambda _: type(failed)(str(failed)))
            return
        if isinstance(answer, Lease):
            self._add(answer, weights, asked_at, answered_at)
        elif answer.reason is RefusalReason.LATER:
            # A longer pause may begin meanwhile: then the next call is refused.
            wait_s = min(answer.retry_after_s, self._policy.waited_pause_s)
            await self._stopped_within(wait_s + random.uniform(0.0, _ASK_AGAIN_JITTER_S))  # noqa: S311
        elif answer.reason is RefusalReason.CIRCUIT_OPEN:
            await self._reject(answer.retry_after_s, answer.detail)
        else:
            paused = answer.reason is RefusalReason.PAUSED
            kind = errors.ProviderPausedError if paused else errors.BudgetSpentError
            self._fail(lambda waiter: self._not_sent(kind, waiter, answer))

    def _add(
        self, lease: Lease, weights: tuple[int, ...], asked_at: float, answered_at: float
    ) -> None:
        self._failures_known = self._failures_known or lease.failures > 0
        earliest_decision = asked_at + lease.decided_after_s
        self._backlog.slots.extend(
            _Slot(
                lease=lease,
                place=place,
                weight=weights[place],
                release_at=answered_at + slot_s,
                void_after=earliest_decision + slot_s + self._tolerance_s,
            )
            for place, slot_s in enumerate(lease.slots_s)
        )
        self._changed.set()

    async def _release(self) -> None:
        """Release requests at the slots in hand."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            while self._backlog.slots:
                await self._release_next(self._backlog.slots[0])

    async def _release_next(self, slot: _Slot) -> None:
        clock = asyncio.get_running_loop().time
        if (early_s := slot.release_at - clock()) > 0:
            # A sleep below the clock's resolution would not advance it.
            await self._changed_within(max(early_s, _SHORTEST_PAUSE_S))
            return
        self._backlog.forget_cancelled()
        if not self._backlog.waiters and clock() <= slot.void_after:
            # A request that comes before the permit is void may have it.
            await self._changed_within(slot.void_after - clock() + _SHORTEST_PAUSE_S)
            return
        if clock() <= slot.void_after:
            await self._limiter.acquire()
        if not self._backlog.slots or self._backlog.slots[0] is not slot:
            return  # Given back meanwhile.
        self._backlog.forget_cancelled()
        if clock() > slot.void_after:
            await self._drop_void()
        elif self._backlog.waiters:
            await self._hand_over(self._backlog.slots.popleft())

    async def _changed_within(self, seconds: float) -> None:
        """Sleep until permits or waiting requests change."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._changed.wait(), seconds)
        self._changed.clear()

    async def _hand_over(self, slot: _Slot) -> None:
        waiter = self._backlog.pop_waiter_for(slot)
        if waiter is None:
            self._demand.set()
            await self._give_back([slot])
            return
        self._too_late_since = None
        waiter.slot.set_result(slot)

    async def _drop_void(self) -> None:
        """Drop permits that can no longer be used, and lease others instead."""
        now = asyncio.get_running_loop().time()
        void: list[_Slot] = []
        while self._backlog.slots and self._backlog.slots[0].void_after < now:
            void.append(self._backlog.slots.popleft())
        self._demand.set()
        await self._give_back(void)
        if self._backlog.waiters:
            self._give_up_if_too_late(now)

    def _give_up_if_too_late(self, now: float) -> None:
        """Fail waiting requests if the store's permits have been too late for too long."""
        if self._too_late_since is None:
            self._too_late_since = now
            # If it lasts, the error below reports it.
            _LOG.info("%s: permits come too late to be used", self._provider)
        elif now - self._too_late_since > self._policy.storage_total_s:
            self._too_late_since = None
            message = (
                f"for {self._policy.storage_total_s:.0f} s the database's permits to ask "
                f"{self._provider} came too late to be used; is it, or this machine, overloaded?"
            )
            self._fail(lambda _: errors.StorageUnavailableError(message))

    async def _give_back_all(self) -> None:
        slots = self._take_slots()
        self._demand.set()
        await self._give_back(slots)

    def _take_slots(self) -> list[_Slot]:
        slots = list(self._backlog.slots)
        self._backlog.slots.clear()
        self._changed.set()
        return slots

    async def _give_back(self, slots: Sequence[_Slot]) -> None:
        places: dict[int, list[int]] = {}
        for slot in slots:
            places.setdefault(slot.lease.lease_id, []).append(slot.place)
        # The latest lease first: only slots without later reservations become free again.
        for lease_id, unused in reversed(places.items()):
            try:
                await self._call(
                    lambda lease_id=lease_id, unused=unused: self._leases.give_back(
                        lease_id, unused
                    )
                )
            except errors.StorageError as error:
                _LOG.warning("%s: unused permits were not given back: %s", self._provider, error)

    async def _reject(self, retry_after_s: float, reason: str) -> None:
        """Fail all waiting requests: the breaker is open."""
        refusal = Refusal(
            reason=RefusalReason.CIRCUIT_OPEN, retry_after_s=retry_after_s, detail=reason
        )
        slots = self._take_slots()
        self._fail(lambda waiter: self._not_sent(errors.CircuitOpenError, waiter, refusal))
        await self._give_back(slots)

    def _not_sent(
        self, kind: type[errors.NotSentError], waiter: _Waiter, refusal: Refusal
    ) -> errors.NotSentError:
        return kind(
            refusal.detail,
            provider=self._provider,
            operation=waiter.operation,
            retry_after_s=refusal.retry_after_s,
        )

    def _fail(self, error_for: Callable[[_Waiter], BaseException]) -> None:
        """Fail every request that has no permit in hand; each gets an error of its own."""
        for waiter in self._backlog.uncovered():
            self._backlog.waiters.remove(waiter)
            waiter.slot.set_exception(error_for(waiter))

    async def _call_with_retries(self, work: Callable[[], _T]) -> _T:
        """Call the store; retry within the allowed time while it cannot be reached."""
        clock = asyncio.get_running_loop().time
        gives_up_at = clock() + self._policy.storage_total_s
        pause_s = self._policy.storage_first_wait_s
        while True:
            try:
                return await self._call(work)
            except errors.StorageUnavailableError as error:
                if self._stop.is_set() or clock() + pause_s > gives_up_at:
                    raise
                _LOG.warning("%s: no permits, asking again: %s", self._provider, error)
            await self._stopped_within(random.uniform(pause_s / 2, pause_s))  # noqa: S311
            pause_s = min(2 * pause_s, self._policy.storage_longest_wait_s)

    async def _stopped_within(self, seconds: float) -> None:
        """Sleep, at most until the budget is closed."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stop.wait(), seconds)

    async def _call(self, work: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)
