"""Pacing: what the provider may count in any of its windows, and how little is wasted."""

import asyncio
import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from resources.providers.budget import SLACK_S, JointBudget, PacedBudget
from tests.providers.virtual_clock import run


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
    taken = run(_permits(PacedBudget(requests=requests, window_s=window_s), 100, pauses))
    arrived = sorted(at + delay for at, delay in zip(sorted(taken), late, strict=True))
    for first, at in enumerate(arrived):
        window = itertools.takewhile(lambda one, at=at: one <= at + window_s, arrived[first:])
        assert len(list(window)) <= requests


def test_a_waiting_crowd_uses_nearly_all_of_the_budget() -> None:
    """Of 120 a minute at least 98 in 100 are used while work waits."""
    taken = run(_permits(PacedBudget(requests=120), 1300, {}))
    assert sum(at < 600.0 for at in taken) >= 0.98 * 1200


def test_waiting_requests_go_in_the_order_they_came() -> None:
    """Nobody starves at the end of a long queue."""

    async def order() -> list[int]:
        budget, served = PacedBudget(requests=60), list[int]()

        async def take(number: int) -> None:
            await budget.acquire()
            served.append(number)

        await asyncio.gather(*(take(number) for number in range(20)))
        return served

    assert run(order()) == list(range(20))


def test_a_heavy_request_takes_as_many_permits_as_it_weighs() -> None:
    """Weight 3 at 60 a minute takes three intervals, less the first permit that was free."""

    async def elapsed() -> float:
        budget = PacedBudget(requests=60)
        await budget.acquire(3)
        return asyncio.get_running_loop().time() / budget.interval_s

    assert round(run(elapsed()), 3) == 2


def test_a_request_under_two_limits_waits_for_both() -> None:
    """A bulk request takes a permit of the key's budget as well."""

    async def times() -> list[float]:
        common = PacedBudget(requests=60)
        bulk = JointBudget(PacedBudget(requests=1, window_s=10), common)
        clock = asyncio.get_running_loop().time
        taken = list[float]()
        for budget in (bulk, bulk, common):
            await budget.acquire()
            taken.append(round(clock(), 2))
        return taken

    assert run(times()) == [0.0, 10.6, 11.61]
