"""Permits that all processes share: leased from Postgres, waited for here.

Here: ``LeasedBudget``. Not here: its seam (budget.py), sending and repeating requests (http.py),
who is granted what (marketdata.recovery.leases.Leases, kept in Postgres), or the limits themselves
(marketdata/recovery/limits.py).
"""

import asyncio
import contextlib
import logging
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
from resources.providers.budget import Outcome, Permit

_LOG = logging.getLogger(__name__)
_T = TypeVar("_T")

_RELEASE_PACE = 0.8
"""Permits of one process keep at least this part of the interval. Less than all of it, so that a
process whose loop stalled for a moment draws level again instead of staying late for ever."""
_ASK_AGAIN_JITTER_S = 0.05
_SHORTEST_PAUSE_S = 0.001
_CLOSE_WITHIN_S = 4.0
"""How long closing waits for a store that does not answer, twice at most: shutdowns have 30 s."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Slot:
    """A permit that waits for its time; times are the event loop's.

    Attributes:
        place: In its lease, from 0.
        void_after: Used later than this, it could meet the next requests within a window.
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

    A permit goes to the first request that it is heavy enough for. Who it was leased for may have
    gone on, or lost its own: by place alone, light permits would be leased for a heavy request
    again and again, and nobody would go.
    """

    waiters: deque[_Waiter] = field(default_factory=deque[_Waiter])
    slots: deque[_Slot] = field(default_factory=deque[_Slot])

    def uncovered(self) -> list[_Waiter]:
        """Return the requests for which no permit is in hand."""
        self.forget_cancelled()
        left = list(self.waiters)
        for slot in self.slots:
            if (place := _place_for(slot, left)) is not None:
                del left[place]
        return left

    def taken_for(self, slot: _Slot) -> _Waiter | None:
        """Take out the request that a permit is for; None if it is too light for all."""
        place = _place_for(slot, self.waiters)
        if place is None:
            return None
        waiter = self.waiters[place]
        del self.waiters[place]
        return waiter

    def forget_cancelled(self) -> None:
        """Drop requests that nobody waits for any more."""
        if any(one.slot.done() for one in self.waiters):
            self.waiters = deque(one for one in self.waiters if not one.slot.done())


def _place_for(slot: _Slot, waiters: Sequence[_Waiter]) -> int | None:
    """Return where among ``waiters`` the first one stands that a permit is heavy enough for."""
    return next((at for at, one in enumerate(waiters) if one.weight <= slot.weight), None)


class LeasedBudget:
    """Waits for permits of budgets that every process shares; open it with ``async with``.

    Requests that wait are leased for together, in one call of the store, and go in the order in
    which they came, each at its slot. A slot is counted from the store's answer, never by a
    clock that two machines would have to agree on: it may come out late by what the answer took,
    never early. A permit that cannot be used within half of the limits' slack after its slot is
    void, and the request waits for another; the other half is the network's.

    Without a store there are no permits: requests wait, and after ``policy.storage_total_s``
    they fail.

    Use one instance per event loop.

    Args:
        leases: Called in a thread of its own.
        limits: Charged together with every request.
        provider: Whose breaker counts, such as ``fmp``.
        lane: Who goes first.
        holder: Shown beside the leases.
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
        narrowest = min(one.interval_s for one in self._limits)
        widest = max(one.interval_s for one in self._limits)
        ahead = max(policy.scheduled_ahead_s, 2 * narrowest) if lane is Lane.SCHEDULED else 0.0
        self._horizon_s = policy.horizon_s + ahead
        self._tolerance_s = min(one.slack_s for one in self._limits) / 2
        self._limiter = AsyncLimiter(1, _RELEASE_PACE * widest)
        self._backlog = _Backlog()
        self._wanted = asyncio.Event()
        self._changed = asyncio.Event()
        self._failures_known = False
        self._too_late_since: float | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"leases of {provider}")
        self._tasks: list[asyncio.Task[None]] = []
        self._stop = asyncio.Event()

    async def __aenter__(self) -> Self:
        """Start serving those who wait."""
        self._tasks = [
            asyncio.create_task(self._guarded(self._lease), name=f"leases of {self._provider}"),
            asyncio.create_task(self._guarded(self._release), name="permits"),
        ]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop, and give back what is not used; whoever still waits is cancelled."""
        self._stop.set()
        self._wanted.set()
        leasing, releasing = self._tasks
        releasing.cancel()
        # A call under way may bring permits, which have to go back: it is waited for.
        await asyncio.wait([leasing, releasing], timeout=_CLOSE_WITHIN_S)
        leasing.cancel()
        await asyncio.gather(leasing, releasing, return_exceptions=True)
        for waiter in self._backlog.waiters:
            waiter.slot.cancel()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_WITHIN_S):
                await self._give_back_all()
        self._thread.shutdown(wait=False)

    async def acquire(self, weight: int = 1, *, operation: str = "request") -> Permit:
        """Wait until a request of ``weight`` may be sent.

        Raises:
            CircuitOpenError: The provider fails; nothing is sent until a trial succeeds.
            ProviderPausedError: It asked everyone to hold for longer than a run waits.
            BudgetSpentError: A quota of the key is used up.
            StorageUnavailableError: The store could not be reached, or answered too slowly, for too
                long.
            StorageConflictError: The store refuses, such as without migrations.
            RuntimeError: The budget is not open, or the weight is not within its limits.
        """
        if not self._tasks or self._stop.is_set():
            message = f"the budget of {self._provider} is not open: use it inside `async with`"
            raise RuntimeError(message)
        if not 1 <= weight <= min(one.heaviest for one in self._limits):
            message = f"{self._provider} {operation}: weight {weight} is not within the limits"
            raise RuntimeError(message)
        loop = asyncio.get_running_loop()
        queue = self._backlog.waiters.append
        if not self._backlog.waiters:
            self._too_late_since = None  # What came too late was for others, long ago.
        while True:
            waiter = _Waiter(weight=weight, operation=operation, slot=loop.create_future())
            queue(waiter)
            self._wanted.set()
            self._changed.set()
            slot = await self._slot_of(waiter)
            if loop.time() <= slot.void_after:
                return self._permit(slot)
            # The loop stalled between handing over and here: first in the queue again.
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
        """Report what became of the attempt to all processes, as far as they have to know.

        A failure to be reached, by network, time-out, firewall or 5xx, counts towards the breaker;
        every other answer shows that the provider is alive. A 429, or a pause that the answer
        names, makes everyone hold. A store that cannot be reached is logged: the next lease waits
        for it anyway.
        """
        if permit.lease_id is None:
            return
        try:
            if outcome is None:
                if permit.answer_within_s is not None:
                    # The trial is free for someone else; its slot has been used.
                    await self._call(lambda: self._leases.give_back(permit.lease_id or 0, []))
            elif isinstance(outcome.error, errors.ProviderUnavailableError):
                await self._failed(permit.lease_id, outcome.error)
            else:
                await self._alive(permit, outcome)
            if outcome is not None and outcome.status != HTTPStatus.REQUEST_TIMEOUT:
                await self._hold(outcome.error)
        except errors.StorageError as error:
            _LOG.warning("%s: what became of a request was not reported: %s", self._provider, error)

    async def _failed(self, lease_id: int, error: errors.ProviderError) -> None:
        self._failures_known = True
        breaker = await self._call(
            lambda: self._leases.report_failure(self._provider, lease_id, error, self._breaker)
        )
        if breaker.state is BreakerState.OPEN:
            await self._reject(breaker.retry_after_s, breaker.reason)

    async def _alive(self, permit: Permit, outcome: Outcome) -> None:
        lease_id = permit.lease_id or 0
        if self._failures_known or permit.answer_within_s is not None:
            self._failures_known = False
            await self._call(lambda: self._leases.report_success(self._provider, lease_id))
        for limits in self._limits:
            await self._observe(limits, outcome.headers)

    async def _hold(self, error: errors.ProviderError | None) -> None:
        seconds = self._policy.hold_s(error)
        if error is not None and seconds:
            budgets = [limits.budget for limits in self._limits]
            await self._call(lambda: self._leases.pause(budgets, seconds, error.reason))
            await self._give_back_all()

    async def _observe(self, limits: RequestLimits, headers: Mapping[str, str]) -> None:
        told = headers.get(limits.used_weight.header, "") if limits.used_weight else ""
        if told.isascii() and told.isdigit():
            await self._call(lambda: self._leases.observe_used(limits, float(told)))

    async def _guarded(self, serving: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Let nobody wait for ever, however the serving ends: who waits for it ends with it."""
        try:
            await serving()
        except BaseException as ended_by:
            end = self._end_of_serving(ended_by)
            if not self._stop.is_set():  # Whoever closes the budget tells those who wait.
                self._stop.set()
                self._backlog.slots.clear()
                self._fail(lambda _: end)
            raise

    def _end_of_serving(self, error: BaseException) -> BaseException:
        """Return what those who wait end with: a bug is shown, an interruption is passed on."""
        if isinstance(error, Exception):
            return RuntimeError(f"the budget of {self._provider} broke down: {error!r}")
        return error

    async def _lease(self) -> None:
        """Keep a permit in hand for every request that waits."""
        while True:
            await self._wanted.wait()
            self._wanted.clear()
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
        )
        clock = asyncio.get_running_loop().time

        def take() -> tuple[float, Lease | Refusal, float]:
            # Both times are taken in the thread: a loop that stalls does not blur them.
            asked_at = clock()
            return asked_at, self._leases.take(request), clock()

        try:
            asked_at, answer, answered_at = await self._patiently(take)
        except errors.StorageError as error:
            failed = error
            self._fail(lambda _: type(failed)(str(failed)))
            return
        if isinstance(answer, Lease):
            self._add(answer, weights, asked_at, answered_at)
        elif answer.reason is RefusalReason.LATER:
            # A longer pause may come in between: it is asked for again, and refused.
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
        """Let requests go at the slots in hand."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            while self._backlog.slots:
                await self._release_next(self._backlog.slots[0])

    async def _release_next(self, slot: _Slot) -> None:
        clock = asyncio.get_running_loop().time
        if (early_s := slot.release_at - clock()) > 0:
            # A pause below the clock's resolution would not let it advance.
            await self._changed_within(max(early_s, _SHORTEST_PAUSE_S))
            return
        self._backlog.forget_cancelled()
        if not self._backlog.waiters and clock() <= slot.void_after:
            # Whoever comes before the permit is void may have it.
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
        """Sleep until permits in hand or those who wait for them change."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._changed.wait(), seconds)
        self._changed.clear()

    async def _hand_over(self, slot: _Slot) -> None:
        waiter = self._backlog.taken_for(slot)
        if waiter is None:
            self._wanted.set()
            await self._give_back([slot])
            return
        self._too_late_since = None
        waiter.slot.set_result(slot)

    async def _drop_void(self) -> None:
        """Take out what can no longer be used, and let others be leased in its stead."""
        now = asyncio.get_running_loop().time()
        void: list[_Slot] = []
        while self._backlog.slots and self._backlog.slots[0].void_after < now:
            void.append(self._backlog.slots.popleft())
        self._wanted.set()
        await self._give_back(void)
        if self._backlog.waiters:
            self._lose_patience(now)

    def _lose_patience(self, now: float) -> None:
        """End the waiting for a store whose permits have come too late for too long."""
        if self._too_late_since is None:
            self._too_late_since = now
            # Told to a person if it lasts: by the error below.
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
        self._wanted.set()
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
        # The latest lease first: only what nobody has reserved behind becomes free again.
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
        """Let nothing go: the breaker is open."""
        refusal = Refusal(
            reason=RefusalReason.CIRCUIT_OPEN, retry_after_s=retry_after_s, detail=reason
        )
        slots = self._take_slots()
        self._fail(lambda one: self._not_sent(errors.CircuitOpenError, one, refusal))
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

    async def _patiently(self, work: Callable[[], _T]) -> _T:
        """Call the store, again and again while it cannot be reached, as long as allowed."""
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
        """Sleep, but no longer than until the budget is closed."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stop.wait(), seconds)

    async def _call(self, work: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)
