"""Pacing: the most a provider counts in any window, and how little is wasted."""

import asyncio
import itertools
import logging
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marketdata.recovery import errors
from marketdata.recovery.leases import (
    BreakerState,
    CircuitBreaker,
    Holder,
    Lease,
    LeaseRequest,
    Refusal,
    RefusalReason,
)
from marketdata.recovery.limits import SLACK_S, Lane, Pace, RequestLimits, UsedWeight, fmp_limits
from marketdata.recovery.policy import BUDGET, BreakerPolicy, BudgetPolicy
from marketdata.recovery.request_timings import RequestTiming, RequestTimings
from resources.providers.budget import Outcome, PacedBudget
from resources.providers.leased_budget import LeasedBudget
from tests.providers.virtual_clock import VirtualClockLoop, run

T = TypeVar("T")


def _paced(requests: int, window_s: float = 60.0) -> PacedBudget:
    """Return the budget of one pace."""
    pace = Pace(limit=requests, window_s=window_s)
    return PacedBudget(RequestLimits(budget="by hand", paces=(pace,)))


async def _permits(budget: PacedBudget, count: int, pauses: dict[int, float]) -> list[float]:
    """Take ``count`` permits from tasks that all wait at once, some of them later."""
    clock = asyncio.get_running_loop().time
    taken: list[float] = []

    async def take(number: int) -> None:
        await asyncio.sleep(pauses.get(number, 0.0))
        await budget.acquire()
        taken.append(clock())

    await asyncio.gather(*(take(number) for number in range(count)))
    return taken


@given(
    requests=st.integers(1, 40),
    window_s=st.floats(0.5, 120.0),
    late=st.lists(st.floats(0.0, SLACK_S * 0.99), min_size=100, max_size=100),
    pauses=st.dictionaries(st.integers(0, 99), st.floats(0.0, 200.0), max_size=5),
)
@settings(max_examples=60, deadline=None)
def test_no_window_of_arrivals_holds_more_than_the_limit(
    requests: int, window_s: float, late: list[float], pauses: dict[int, float]
) -> None:
    """Both edges counted, requests late by less than the slack, after idle times too."""
    taken = run(_permits(_paced(requests, window_s), 100, pauses))
    arrived = sorted(at + delay for at, delay in zip(sorted(taken), late, strict=True))
    for first, at in enumerate(arrived):
        window = itertools.takewhile(
            lambda arrival, at=at: arrival <= at + window_s, arrived[first:]
        )
        assert len(list(window)) <= requests


def test_a_waiting_crowd_uses_nearly_all_of_the_budget() -> None:
    """Of 120 a minute at least 98 in 100 are used while work waits."""
    taken = run(_permits(_paced(120), 1300, {}))
    assert sum(at < 600.0 for at in taken) >= 0.98 * 1200


def test_waiting_requests_go_in_the_order_they_came() -> None:
    """No request starves at the end of a long queue."""

    async def order() -> list[int]:
        budget, served = _paced(60), list[int]()

        async def take(number: int) -> None:
            await budget.acquire()
            served.append(number)

        await asyncio.gather(*(take(number) for number in range(20)))
        return served

    assert run(order()) == list(range(20))


def test_a_heavy_request_takes_as_many_permits_as_it_weighs() -> None:
    """Weight 3 at 60 a minute takes three intervals, less the first permit that was free."""

    async def elapsed() -> float:
        budget = _paced(60)
        await budget.acquire(3)
        return asyncio.get_running_loop().time() / budget.interval_s

    assert round(run(elapsed()), 3) == 2


class InlineLoop(VirtualClockLoop):
    """Runs thread work at once: the virtual clock would jump past a real thread."""

    def run_in_executor(
        self, executor: object, func: Callable[..., T], *args: object
    ) -> asyncio.Future[T]:
        del executor
        done: asyncio.Future[T] = self.create_future()
        try:
            done.set_result(func(*args))
        except BaseException as error:  # noqa: BLE001  # as a thread would hand it on
            done.set_exception(error)
        return done


def play(scene: Coroutine[Any, Any, T]) -> T:
    """Run ``scene`` under a clock that jumps, the store's calls inside it."""
    with asyncio.Runner(loop_factory=InlineLoop) as runner:
        return runner.run(scene)


LIMITS = fmp_limits("key", 120)
INTERVAL_S = LIMITS.interval_s
DOWN = errors.ProviderUnavailableError("HTTP 503", provider="fmp", operation="o")
FAILED = Outcome(error=DOWN, status=503, headers={})
FINE = Outcome(error=None, status=200, headers={})


class MemoryLeases:
    """A store of leases in memory, on the loop's clock: what Postgres decides, in few lines.

    Attributes:
        gone: While true the store cannot be reached.
        answers_late_s: How long an answer is on its way.
        refusal: Given instead of any lease.
        trial: Leases are trials.
    """

    def __init__(self) -> None:
        self.next_at = 0.0
        self.gone = False
        self.answers_late_s = 0.0
        self.refusal: Refusal | None = None
        self.trial = False
        self.failures = 0
        self.open_after = 5
        self.asked: list[LeaseRequest] = []
        self.granted = 0
        self.calls: list[str] = []
        self.given_back: list[tuple[int, list[int]]] = []
        self.paused: list[float] = []
        self.pause_reasons: list[str] = []
        self.observed: list[float] = []
        self.timings: list[RequestTiming] = []

    def _reach(self, call: str) -> None:
        self.calls.append(call)
        if self.gone:
            message = "the server cannot be reached"
            raise errors.StorageUnavailableError(message)

    def take(self, request: LeaseRequest) -> Lease | Refusal:
        self._reach("take")
        self.asked.append(request)
        self.timings += request.timings
        if self.refusal is not None:
            return self.refusal
        loop = asyncio.get_running_loop()
        now = loop.time()
        start = max(self.next_at, now)
        count = min(
            int((request.horizon_s - (start - now)) / INTERVAL_S + 1e-9) + 1, len(request.weights)
        )
        if start - now > request.horizon_s:
            wait_s = start - now - request.horizon_s
            return Refusal(reason=RefusalReason.LATER, retry_after_s=wait_s, detail="")
        slots = tuple(start - now + number * INTERVAL_S for number in range(count))
        self.next_at = start + count * INTERVAL_S
        self.granted += count
        assert isinstance(loop, InlineLoop)
        loop.stall(self.answers_late_s)
        return Lease(
            lease_id=len(self.asked),
            slots_s=slots,
            decided_after_s=0.0,
            trial=self.trial,
            failures=self.failures,
        )

    def give_back(self, lease_id: int, unused: Sequence[int]) -> None:
        self._reach("give_back")
        self.given_back.append((lease_id, list(unused)))

    def pause(self, budgets: Sequence[str], seconds: float, reason: str) -> None:
        self._reach("pause")
        self.pause_reasons.append(reason)
        assert list(budgets) == [LIMITS.budget]
        self.paused.append(seconds)
        self.next_at = max(self.next_at, asyncio.get_running_loop().time() + seconds)

    def observe_used(self, limits: RequestLimits, used: float) -> None:
        self._reach("observe_used")
        del limits
        self.observed.append(used)

    def report_failure(
        self, provider: str, lease_id: int, error: Exception, breaker: BreakerPolicy
    ) -> CircuitBreaker:
        self._reach("report_failure")
        del lease_id, breaker
        self.failures += 1
        is_open = self.failures >= self.open_after
        return CircuitBreaker(
            provider=provider,
            state=BreakerState.OPEN if is_open else BreakerState.CLOSED,
            failures=self.failures,
            retry_after_s=30.0 if is_open else 0.0,
            changed_at=datetime(2026, 1, 2, tzinfo=UTC),
            last_error=str(error),
        )

    def report_success(self, provider: str, lease_id: int) -> None:
        self._reach("report_success")
        del provider, lease_id
        self.failures = 0

    def add_timings(
        self, charges: Sequence[RequestLimits], timings: Sequence[RequestTiming]
    ) -> None:
        self._reach("add_timings")
        del charges
        self.timings += timings


def leased(
    leases: MemoryLeases,
    *,
    lane: Lane = Lane.BACKFILL,
    limits: RequestLimits = LIMITS,
    policy: BudgetPolicy = BUDGET,
) -> LeasedBudget:
    """Return a budget on ``leases``."""
    return LeasedBudget(
        leases=leases,
        limits=[limits],
        provider="fmp",
        lane=lane,
        holder=Holder(host="here", pid=1),
        policy=policy,
    )


async def crowd(budget: LeasedBudget, count: int) -> list[float]:
    """Let ``count`` requests wait at once; return when each went."""
    went: list[float] = []

    async def ask_once() -> None:
        await budget.acquire()
        went.append(asyncio.get_running_loop().time())

    await asyncio.gather(*(ask_once() for _ in range(count)))
    return went


def test_requests_that_wait_are_leased_for_together_and_go_at_their_slots() -> None:
    """Three fit below the horizon: one call for them, and each goes at its time."""

    async def scene() -> tuple[list[float], list[int]]:
        leases = MemoryLeases()
        async with leased(leases) as budget:
            went = await crowd(budget, 3)
        return went, [len(lease.weights) for lease in leases.asked]

    went, asked = play(scene())
    assert went == pytest.approx([0.0, INTERVAL_S, 2 * INTERVAL_S], abs=0.001)
    assert asked == [3]


def test_a_crowd_goes_in_its_order_and_uses_nearly_all_of_the_budget() -> None:
    """Ten minutes of 120 a minute: at least 98 in 100 of what is allowed."""

    async def scene() -> tuple[int, list[int]]:
        order: list[int] = []
        async with leased(MemoryLeases()) as budget:

            async def ask_once(number: int) -> float:
                await budget.acquire()
                order.append(number)
                return asyncio.get_running_loop().time()

            went = await asyncio.gather(*(ask_once(number) for number in range(1300)))
        return sum(at < 600.0 for at in went), order

    used, order = play(scene())
    assert used >= 0.98 * 1200
    assert order == list(range(1300))


def test_a_scheduled_run_reserves_further_ahead_than_a_backfill() -> None:
    """The store lets it queue where backfills may not."""

    async def scene() -> dict[Lane, float]:
        horizons = {}
        for lane in Lane:
            leases = MemoryLeases()
            async with leased(leases, lane=lane) as budget:
                await budget.acquire()
            horizons[lane] = leases.asked[0].horizon_s
        return horizons

    assert play(scene()) == {Lane.BACKFILL: 1.5, Lane.SCHEDULED: 6.5}


@given(
    late=st.lists(st.floats(0.0, 0.5), min_size=5, max_size=40),
    stalls=st.dictionaries(st.integers(0, 60), st.floats(0.0, 2.0), max_size=6),
)
@settings(max_examples=40, deadline=None)
def test_no_permit_is_used_early_or_later_than_half_of_the_slack(
    late: list[float], stalls: dict[int, float]
) -> None:
    """However long answers of the store take and the loop stalls: the permit is void then."""
    refused: list[errors.StorageUnavailableError] = []

    async def scene() -> tuple[list[float], list[float]]:
        leases, loop, went, slots = MemoryLeases(), asyncio.get_running_loop(), [], []
        assert isinstance(loop, InlineLoop)
        delays = iter(itertools.cycle([*late, 0.0]))
        take = leases.take
        leases.answers_late_s = next(delays)

        def recorded(request: LeaseRequest) -> Lease | Refusal:
            decided_at = loop.time()
            answer = take(request)
            if isinstance(answer, Lease):
                # Only with a lease: else a refusal could take the one quick answer in every turn,
                # and no permit would ever come in time.
                leases.answers_late_s = next(delays)
                slots.extend(decided_at + slot_s for slot_s in answer.slots_s)
            return answer

        leases.take = recorded
        async with leased(leases) as budget:

            async def ask_once() -> None:
                try:
                    await budget.acquire()
                except errors.StorageUnavailableError as error:
                    refused.append(error)
                    return
                went.append(loop.time())
                loop.stall(stalls.get(len(went), 0.0))

            await asyncio.gather(*(ask_once() for _ in range(30)))
        return went, slots

    went, slots = play(scene())
    assert len(went) + len(refused) == 30
    assert not refused or max(late) > LIMITS.slack_s / 2
    for at in went:
        assert any(slot - 1e-6 <= at <= slot + LIMITS.slack_s / 2 + 1e-6 for slot in slots)


def test_a_store_whose_permits_always_come_too_late_is_given_up() -> None:
    """No endless wait: after a minute without a usable permit the request fails."""

    async def scene() -> float:
        leases, loop = MemoryLeases(), asyncio.get_running_loop()
        leases.answers_late_s = LIMITS.slack_s
        began_at = loop.time()
        async with leased(leases) as budget:
            with pytest.raises(errors.StorageUnavailableError, match="came too late"):
                await budget.acquire()
        return loop.time() - began_at

    assert BUDGET.storage_total_s < play(scene()) < 2 * BUDGET.storage_total_s


def test_void_permits_are_counted_back_and_asked_for_anew() -> None:
    """A loop that stalls for two seconds loses the permits of that time, nothing else."""

    async def scene() -> MemoryLeases:
        leases, loop = MemoryLeases(), asyncio.get_running_loop()
        assert isinstance(loop, InlineLoop)
        async with leased(leases) as budget:
            waiting = asyncio.gather(*(budget.acquire() for _ in range(3)))
            await asyncio.sleep(0.1)
            loop.stall(2.0)
            await waiting
        return leases

    leases = play(scene())
    assert leases.given_back[0] == (1, [1, 2])
    assert leases.granted == 5


@pytest.mark.parametrize("weights", [(2, 1), (2, 1, 1), (1, 2, 1), (3, 1, 2)])
def test_requests_of_several_weights_go_on_after_a_stall(weights: tuple[int, ...]) -> None:
    """A request that lost its permit took lighter ones from behind it, and none was enough.

    Light permits were leased and given back for ever: Binance's requests alone differ in weight.
    """
    several = RequestLimits(budget="b", paces=(Pace(limit=122, window_s=60.0),), heaviest=3)

    async def scene(stalled_s: float) -> list[int]:
        leases, loop, went = MemoryLeases(), asyncio.get_running_loop(), list[int]()
        assert isinstance(loop, InlineLoop)

        async def ask_once(weight: int) -> None:
            await budget.acquire(weight)
            went.append(weight)

        async with leased(leases, limits=several) as budget, asyncio.timeout(60):
            await budget.acquire(3)
            waiting = asyncio.gather(*(ask_once(weight) for weight in weights))
            await asyncio.sleep(0.1)
            loop.stall(stalled_s)
            await waiting
        assert leases.granted < 20
        return went

    for tenths in range(60):
        assert sorted(play(scene(tenths / 10))) == sorted(weights)


def test_permits_do_not_bunch_after_a_stall() -> None:
    """Requests late by less than the tolerance still keep the distance."""
    quick = RequestLimits(budget=LIMITS.budget, paces=(Pace(limit=100, window_s=9.4),))

    async def scene() -> list[float]:
        leases, loop = MemoryLeases(), asyncio.get_running_loop()
        assert isinstance(loop, InlineLoop)
        async with leased(leases, limits=quick) as budget:
            waiting = asyncio.create_task(crowd(budget, 3))
            await asyncio.sleep(INTERVAL_S - 0.01)
            loop.stall(0.25)
            return await waiting

    went = play(scene())
    assert min(after - before for before, after in itertools.pairwise(went)) >= 0.079


def test_a_request_that_is_cancelled_leaves_its_permit_to_the_next() -> None:
    """The queue goes on without it."""

    async def scene() -> tuple[list[float], int]:
        leases = MemoryLeases()
        async with leased(leases) as budget:
            await budget.acquire()
            given_up = asyncio.create_task(budget.acquire())
            await asyncio.sleep(0.1)
            given_up.cancel()
            went = await crowd(budget, 1)
        return went, leases.granted

    went, granted = play(scene())
    assert went == pytest.approx([INTERVAL_S], abs=0.001)
    assert granted == 2


def test_closing_gives_back_what_is_not_used_and_cancels_who_waits() -> None:
    """The latest lease first, so that each tail has nothing reserved behind it."""

    async def scene() -> tuple[MemoryLeases, list[bool]]:
        leases = MemoryLeases()
        async with leased(leases) as budget:
            first = asyncio.create_task(budget.acquire())
            waiting = [asyncio.create_task(budget.acquire()) for _ in range(2)]
            await first
            waiting.append(asyncio.create_task(budget.acquire()))
            await asyncio.sleep(0.1)
        await asyncio.sleep(0)
        return leases, [task.cancelled() for task in waiting]

    leases, cancelled = play(scene())
    assert leases.given_back == [(3, [0]), (1, [1, 2])]
    assert cancelled == [True, True, True]


def test_while_the_store_is_gone_nothing_goes_and_then_everything() -> None:
    """Twenty seconds without Postgres cost twenty seconds, and no request is lost."""

    async def scene() -> list[float]:
        leases = MemoryLeases()
        leases.gone = True
        async with leased(leases) as budget:
            waiting = asyncio.create_task(crowd(budget, 3))
            await asyncio.sleep(20.0)
            assert leases.granted == 0
            leases.gone = False
            return await waiting

    went = play(scene())
    assert 20.0 <= min(went) <= 20.0 + BUDGET.storage_longest_wait_s


def test_a_store_that_stays_gone_fails_those_who_wait() -> None:
    """After the policy's time, with the store's own error, each with one of its own."""

    async def scene() -> tuple[list[BaseException], float]:
        leases = MemoryLeases()
        leases.gone = True
        async with leased(leases) as budget:
            results = await asyncio.gather(
                *(budget.acquire() for _ in range(2)), return_exceptions=True
            )
        return [result for result in results if isinstance(result, BaseException)], (
            asyncio.get_running_loop().time()
        )

    failed, took_s = play(scene())
    assert [type(error) for error in failed] == [errors.StorageUnavailableError] * 2
    assert failed[0] is not failed[1]
    assert BUDGET.storage_total_s - BUDGET.storage_longest_wait_s <= took_s
    assert took_s <= BUDGET.storage_total_s


def test_an_open_breaker_rejects_all_at_once_and_says_until_when() -> None:
    """No waiting, whatever the queue; the operation is in the text."""

    async def scene() -> tuple[list[object], float]:
        leases = MemoryLeases()
        leases.refusal = Refusal(
            reason=RefusalReason.CIRCUIT_OPEN, retry_after_s=23.0, detail="it is open"
        )
        async with leased(leases) as budget:
            results: list[object] = await asyncio.gather(
                *(budget.acquire(operation=f"ask {number}") for number in range(5)),
                return_exceptions=True,
            )
        return results, asyncio.get_running_loop().time()

    results, took_s = play(scene())
    for number, error in enumerate(results):
        assert isinstance(error, errors.CircuitOpenError)
        assert str(error) == f"fmp ask {number}: not sent: it is open"
        assert error.retry_after_s == 23.0
    assert took_s < 0.01


def test_the_failure_that_opens_the_breaker_stops_permits_in_hand() -> None:
    """They are returned, and waiting requests fail with the error."""

    async def scene() -> tuple[MemoryLeases, object]:
        leases = MemoryLeases()
        leases.open_after = 1
        async with leased(leases) as budget:
            permit = await budget.acquire()
            waiting = asyncio.create_task(budget.acquire())
            await asyncio.sleep(0.1)
            await budget.settle(permit, FAILED)
            (error,) = await asyncio.gather(waiting, return_exceptions=True)
        return leases, error

    leases, error = play(scene())
    assert isinstance(error, errors.CircuitOpenError)
    assert "1 failures in a row (last: fmp o: HTTP 503)" in str(error)
    assert leases.given_back == [(2, [0])]


def test_a_spent_quota_fails_at_once() -> None:
    """No request waits for midnight."""

    async def scene() -> object:
        leases = MemoryLeases()
        leases.refusal = Refusal(
            reason=RefusalReason.QUOTA_SPENT, retry_after_s=3600.0, detail="250 a day are used"
        )
        async with leased(leases) as budget:
            (error,) = await asyncio.gather(budget.acquire(), return_exceptions=True)
        return error

    error = play(scene())
    assert isinstance(error, errors.BudgetSpentError)
    assert error.retry_after_s == 3600.0
    assert "250 a day are used" in str(error)


def _after(outcome: Outcome | None, *, failures: int = 0, trial: bool = False) -> MemoryLeases:
    """Return the store's reports after one request with this outcome."""

    async def scene() -> MemoryLeases:
        leases = MemoryLeases()
        leases.failures, leases.trial = failures, trial
        async with leased(leases) as budget:
            await budget.settle(await budget.acquire(), outcome)
        return leases

    return play(scene())


def _limited(retry_after_s: float | None, status: int = 429) -> Outcome:
    error = errors.RateLimitedError("x", provider="fmp", operation="o", retry_after_s=retry_after_s)
    return Outcome(error=error, status=status, headers={})


def _down(retry_after_s: float) -> Outcome:
    error = errors.ProviderUnavailableError(
        "x", provider="fmp", operation="o", retry_after_s=retry_after_s
    )
    return Outcome(error=error, status=503, headers={})


REJECTED = Outcome(
    error=errors.RequestRejectedError("x", provider="fmp", operation="o"), status=404, headers={}
)


@pytest.mark.parametrize(
    ("outcome", "failures", "trial", "message"),
    [
        (FINE, 0, False, []),
        (FINE, 2, False, ["report_success"]),
        (FINE, 0, True, ["report_success"]),
        (REJECTED, 2, False, ["report_success"]),
        (FAILED, 0, False, ["report_failure"]),
        (FAILED, 0, True, ["report_failure"]),
        (_down(600.0), 0, False, ["report_failure", "pause"]),
        (_limited(3.0), 0, False, ["pause"]),
        (_limited(3.0), 2, False, ["report_success", "pause"]),
        (_limited(None, status=408), 0, False, []),
        (None, 2, False, []),
        (None, 0, True, ["give_back"]),
    ],
)
def test_the_store_is_told_what_others_have_to_know_and_no_more(
    outcome: Outcome | None, failures: int, trial: bool, message: list[str]
) -> None:
    """Failures at once, a success where it changes something, a given-up trial."""
    calls = _after(outcome, failures=failures, trial=trial).calls

    assert calls == ["take", *message, "add_timings"]


@pytest.mark.parametrize(
    ("retry_after_s", "held_s"),
    [
        (7.0, 7.0),
        (None, BUDGET.pause_s),
        (0.0, BUDGET.pause_s),
        (3600.0, 3600.0),
        (86400.0, 86400.0),
        (1e9, 3 * 86400.0),
    ],
)
def test_a_429_holds_everyone_as_long_as_the_provider_asks_within_reason(
    retry_after_s: float | None, held_s: float
) -> None:
    """Without a figure, or with 0, for the policy's time; thirty years are not believed."""
    leases = _after(_limited(retry_after_s))
    assert leases.paused == [held_s]
    assert leases.pause_reasons == ["x"]


def test_a_pause_that_no_run_waits_for_fails_those_who_wait_at_once() -> None:
    """The work is put off until it ends; the text says what the provider said."""

    async def scene() -> tuple[object, float]:
        leases = MemoryLeases()
        leases.refusal = Refusal(
            reason=RefusalReason.PAUSED, retry_after_s=3600.0, detail="left alone until 15:04"
        )
        async with leased(leases) as budget:
            (error,) = await asyncio.gather(budget.acquire(), return_exceptions=True)
        return error, asyncio.get_running_loop().time()

    error, took_s = play(scene())
    assert isinstance(error, errors.ProviderPausedError)
    assert str(error) == "fmp request: not sent: left alone until 15:04"
    assert error.retry_after_s == 3600.0
    assert took_s < 0.01


@pytest.mark.parametrize(("named_s", "waited_s"), [(0.0, BUDGET.pause_s), (60.0, 60.0)])
def test_a_budget_without_a_database_keeps_a_short_pause(named_s: float, waited_s: float) -> None:
    """By hand too nothing is sent before the provider's time."""

    async def scene() -> float:
        budget = _paced(100, 1.0)
        await budget.settle(await budget.acquire(), _limited(named_s))
        await budget.acquire()
        return asyncio.get_running_loop().time()

    assert run(scene()) == pytest.approx(waited_s, abs=0.1)


def test_a_budget_without_a_database_refuses_in_a_long_pause() -> None:
    """No request waits an hour, and none is sent into a ban."""

    async def scene() -> None:
        budget = _paced(100, 1.0)
        await budget.settle(await budget.acquire(), _limited(3600.0))
        await budget.acquire()

    with pytest.raises(errors.ProviderPausedError, match="alone for 3600 s: x"):
        run(scene())


def test_a_429_takes_back_the_permits_in_hand() -> None:
    """Requests of this process wait as long as all others."""

    async def scene() -> float:
        async with leased(MemoryLeases()) as budget:
            permit = await budget.acquire()
            waiting = asyncio.create_task(crowd(budget, 1))
            await asyncio.sleep(0.1)
            await budget.settle(permit, _limited(9.0))
            (went,) = await waiting
        return went

    assert play(scene()) == pytest.approx(9.1, abs=0.1)


def test_a_permit_that_is_sooner_than_the_one_given_back_is_used_in_its_time() -> None:
    """A sleep until the old time is ended."""

    async def scene() -> float:
        leases = MemoryLeases()
        async with leased(leases, lane=Lane.SCHEDULED) as budget:
            permit = await budget.acquire()
            leases.next_at = 6.0
            waiting = asyncio.create_task(crowd(budget, 1))
            await asyncio.sleep(0.1)
            leases.next_at = 0.0  # As when the lease before it is returned too.
            await budget.settle(permit, _limited(1.0))
            (went,) = await waiting
        return went

    assert play(scene()) == pytest.approx(1.1, abs=0.05)


def test_the_weight_that_a_header_tells_is_passed_on() -> None:
    """Binance counts by address, so other processes may have used weight too."""

    async def scene() -> list[float]:
        leases = MemoryLeases()
        telling = replace(LIMITS, used_weight=UsedWeight(header="used", window_s=60.0))
        async with leased(leases, limits=telling) as budget:
            for header in ("41", "", "x"):
                outcome = Outcome(error=None, status=200, headers={"used": header})
                await budget.settle(await budget.acquire(), outcome)
        return leases.observed

    assert play(scene()) == [41.0]


def test_a_report_that_cannot_be_stored_does_not_spoil_the_answer(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It is logged; the next lease finds out by itself."""

    async def scene() -> None:
        leases = MemoryLeases()
        async with leased(leases) as budget:
            permit = await budget.acquire()
            leases.gone = True
            await budget.settle(permit, FAILED)
            leases.gone = False

    play(scene())
    assert "was not reported: the server cannot be reached" in caplog.text


def test_a_breaker_is_logged_once_when_it_opens_and_once_when_it_closes(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Requests under way when it opens fail too, and say nothing new."""
    caplog.set_level(logging.INFO, "wrdata")

    async def scene() -> None:
        leases = MemoryLeases()
        async with leased(leases) as budget:
            permits = [await budget.acquire() for _ in range(7)]
            for permit in permits:
                await budget.settle(permit, FAILED)
            leases.trial = True
            await budget.settle(await budget.acquire(), FINE)

    play(scene())
    said = [(record.levelname, record.getMessage(), record.__dict__) for record in caplog.records]
    assert [(level, event) for level, event, _ in said] == [
        ("WARNING", "circuit breaker open"),
        ("INFO", "circuit breaker closed"),
    ]
    assert said[0][2].items() >= {"provider": "fmp", "failures": 5, "wait_s": 30.0}.items()


def test_a_trial_has_less_time_than_other_requests() -> None:
    """So that its holder is known to be dead when it expires."""

    async def scene() -> list[float | None]:
        limits_s = []
        for trial in (False, True):
            leases = MemoryLeases()
            leases.trial = trial
            async with leased(leases) as budget:
                limits_s.append((await budget.acquire()).answer_within_s)
        return limits_s

    assert play(scene()) == [None, 30.0]


def test_a_budget_that_is_not_open_explains_itself() -> None:
    """The request could never be served."""

    async def scene() -> None:
        await leased(MemoryLeases()).acquire()

    with pytest.raises(RuntimeError, match="async with"):
        play(scene())


def test_a_weight_beyond_the_limits_is_a_mistake_of_the_program() -> None:
    """The even distance holds only up to the heaviest weight that was declared."""

    async def scene() -> None:
        async with leased(MemoryLeases()) as budget:
            await budget.acquire(2)

    with pytest.raises(RuntimeError, match="weight 2"):
        play(scene())


class Struck(BaseException):
    """Stands for an exception of a signal handler at any point."""


def test_whatever_ends_the_serving_ends_those_who_wait_for_permits() -> None:
    """An interruption that strikes the task of the leases comes out where a permit is awaited."""

    async def scene() -> list[object]:
        leases = MemoryLeases()

        def struck(request: LeaseRequest) -> Lease | Refusal:
            del request
            raise Struck

        leases.take = struck
        async with leased(leases) as budget, asyncio.timeout(60.0):
            return list(
                await asyncio.gather(budget.acquire(), budget.acquire(), return_exceptions=True)
            )

    assert [type(outcome) for outcome in play(scene())] == [Struck, Struck]


def told(timings: Sequence[RequestTiming]) -> list[tuple[str, str, int, float]]:
    """Return what was handed to a store: what, its outcome, how many, how long."""
    return [
        (timing.key.timed.value, timing.key.outcome, timing.count, round(timing.seconds, 3))
        for timing in timings
    ]


def test_times_of_requests_travel_with_the_next_lease_and_the_last_ones_at_the_end() -> None:
    """Three requests, a lease for each: no call but those, and one when the budget is closed."""

    async def scene() -> tuple[MemoryLeases, list[tuple[str, str, int, float]]]:
        leases = MemoryLeases()
        async with leased(leases) as budget:
            for error in (None, DOWN):
                await budget.acquire()
                budget.add_request(0.25, error)
            await budget.acquire()
            before = told(leases.timings)
        return leases, before

    leases, before = play(scene())
    assert leases.calls == ["take", "take", "take", "add_timings"]
    assert before == [
        ("permit_wait", "", 1, 0.0),
        ("request", "ok", 1, 0.25),
        ("permit_wait", "", 1, round(INTERVAL_S, 3)),
        ("request", "error", 1, 0.25),
    ]
    assert told(leases.timings)[4:] == [("permit_wait", "", 1, round(INTERVAL_S, 3))]


def test_times_that_no_lease_could_carry_come_with_a_later_one() -> None:
    """The store is away for longer than a request waits; nothing is lost by that."""

    async def scene() -> list[tuple[str, str, int, float]]:
        leases = MemoryLeases()
        async with leased(leases) as budget:
            await budget.acquire()
            budget.add_request(0.25, None)
            leases.gone = True
            with pytest.raises(errors.StorageUnavailableError):
                await budget.acquire()
            leases.gone = False
            budget.add_request(0.5, None)
            await budget.acquire()
        return told(leases.timings)

    assert play(scene())[:2] == [("permit_wait", "", 1, 0.0), ("request", "ok", 2, 0.75)]


def test_times_that_cannot_be_stored_at_the_end_do_not_spoil_the_load(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """They are only figures: a line in the log."""

    async def scene() -> None:
        leases = MemoryLeases()
        async with leased(leases) as budget:
            await budget.acquire()
            leases.gone = True

    play(scene())
    assert "times of requests were not counted: the server cannot be reached" in caplog.text


def test_a_time_lies_in_the_first_bucket_that_holds_it() -> None:
    """A bound is included, as Prometheus has it; what is longer than all lies above."""
    timings = RequestTimings("fmp")
    for seconds in (0.0, 0.05, 0.051, 30.0, 30.1):
        timings.add_permit_wait(seconds)
    (timing,) = timings.take()

    assert timing.buckets == (2, 1, 0, 0, 0, 0, 0, 0, 1, 1)
    assert (timing.count, round(timing.seconds, 3)) == (5, 60.201)
    assert timings.take() == ()
