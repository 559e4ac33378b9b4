"""Times of requests: counted by every process, whatever becomes of it, and added up."""

import asyncio
import multiprocessing
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from marketdata.recovery import errors
from marketdata.recovery.leases import Holder
from marketdata.recovery.limits import Lane, Pace, Quota, QuotaPeriod, RequestLimits
from marketdata.recovery.policy import BREAKER
from marketdata.recovery.request_timings import BUCKETS_S, RequestTimings
from resources.providers.leased_budget import LeasedBudget
from resources.storage.request_leases import RequestLeases
from resources.storage.timescale import Timescale
from tests.monitoring.scraping import scrape, with_labels

PROJECT = Path(__file__).parents[2]
DOWN = errors.ProviderUnavailableError("HTTP 503", provider="fmp", operation="o")
LIMITS = RequestLimits(
    budget="fmp 0a1b2c3d",
    paces=(Pace(limit=600, window_s=60.0, slack_s=0.1),),
    quotas=(Quota(limit=1000, period=QuotaPeriod.DAY, zone="America/New_York"),),
)

WORKER = """
import asyncio, os, signal, sys
from tests.monitoring.test_requests import requests
asyncio.run(requests(sys.argv[1], 5, killed=True))
"""


async def requests(url: str, count: int, *, killed: bool = False) -> None:
    """Take ``count`` permits one after another, each for a request of 0.2 s."""
    with Timescale(url, pool_size=2) as timescale, RequestLeases(timescale) as leases:
        budget = LeasedBudget(
            leases=leases,
            limits=[LIMITS],
            provider="fmp",
            lane=Lane.BACKFILL,
            holder=Holder.this_process(),
        )
        async with budget:
            for _ in range(count):
                await budget.acquire()
                budget.add_request(0.2, None)
            if killed:
                os.kill(os.getpid(), signal.SIGKILL)


def _run(url: str, count: int) -> None:
    asyncio.run(requests(url, count))


def test_a_killed_worker_s_requests_count_but_for_those_since_its_last_lease(
    exporter: str, migrated_url: str
) -> None:
    """Five requests, a lease for each, then kill -9: four are known."""
    worker = subprocess.run(
        [sys.executable, "-c", WORKER, migrated_url], cwd=PROJECT, check=False, timeout=120
    )
    answer = scrape(exporter)

    assert worker.returncode == -signal.SIGKILL
    requests_total = "wrdata_provider_requests_total"
    assert answer.value(requests_total, provider="fmp", outcome="ok", error_class="") == 4
    assert answer.value("wrdata_permit_wait_seconds_count", provider="fmp") == 4


def test_the_histogram_adds_up_over_processes(exporter: str, migrated_url: str) -> None:
    """Three processes at once send 4, 5 and 6 requests: fifteen are in the buckets."""
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_run, args=(migrated_url, count)) for count in (4, 5, 6)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
    answer = scrape(exporter)
    buckets = with_labels(
        answer.values("wrdata_provider_request_duration_seconds_bucket"), outcome="ok"
    )
    by_bound = {float(dict(labels)["le"]): value for labels, value in buckets.items()}

    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    assert by_bound[0.1] == 0
    assert by_bound[0.25] == by_bound[float("inf")] == 15
    name = "wrdata_provider_request_duration_seconds_sum"
    total = answer.value(name, provider="fmp", outcome="ok")
    assert total is not None
    assert round(total, 6) == 3.0


def test_errors_have_their_class_and_share_one_histogram(
    exporter: str, timescale: Timescale
) -> None:
    """Two classes of error: two counters, and one histogram of both."""
    timings = RequestTimings("fmp")
    timings.add_request(31.0, DOWN)
    timings.add_request(0.04, errors.RateLimitedError("x", provider="fmp", operation="o"))
    with RequestLeases(timescale) as leases:
        leases.add_timings((), timings.take())
    answer = scrape(exporter)

    by_class = {
        dict(labels)["error_class"]: value
        for labels, value in answer.values("wrdata_provider_requests_total").items()
    }
    assert by_class == {"ProviderUnavailableError": 1, "RateLimitedError": 1}
    durations = "wrdata_provider_request_duration_seconds"
    assert answer.value(f"{durations}_count", provider="fmp", outcome="error") == 2
    longest = {"provider": "fmp", "outcome": "error", "le": "30.0"}
    assert answer.value(f"{durations}_bucket", **longest) == 1


@pytest.mark.parametrize("count", [1, 3])
def test_limits_and_use_of_a_budget_are_told_without_its_key(
    exporter: str, migrated_url: str, count: int
) -> None:
    """As the process that asks declares them, also one that asks once: the exporter has no key."""
    asyncio.run(requests(migrated_url, count))
    answer = scrape(exporter)

    labels = {"provider": "fmp", "budget": "fmp 0a1b2c3d"}
    limit, used = "wrdata_budget_limit", "wrdata_budget_used"
    assert answer.value(limit, **labels, period="minute") == 600
    assert answer.value(limit, **labels, period="day") == 1000
    assert answer.value(used, **labels, period="minute") == count
    assert answer.value(used, **labels, period="day") == count


def test_the_breaker_is_in_one_state_of_three(exporter: str, migrated_url: str) -> None:
    """Closed while all is well; open after five failures in a row."""
    asyncio.run(requests(migrated_url, 2))
    before = scrape(exporter).values("wrdata_circuit_breaker_state")

    with Timescale(migrated_url, pool_size=2) as opened, RequestLeases(opened) as leases:
        for number in range(BREAKER.failures):
            leases.report_failure("fmp", number, DOWN, BREAKER)
    after = scrape(exporter).values("wrdata_circuit_breaker_state")

    def states(values: dict[frozenset[tuple[str, str]], float]) -> dict[str, float]:
        return {dict(labels)["state"]: value for labels, value in values.items()}

    assert states(before) == {"closed": 1, "open": 0, "half_open": 0}
    assert states(after) == {"closed": 0, "open": 1, "half_open": 0}


@given(
    parts=st.lists(
        st.lists(st.tuples(st.floats(0, 100), st.sampled_from([None, DOWN])), max_size=6),
        max_size=4,
    )
)
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_time_is_lost_or_counted_twice_however_they_are_handed_over(
    timescale: Timescale, parts: list[list[tuple[float, errors.ProviderError | None]]]
) -> None:
    """Taken in any portions, put back and taken again: the table holds each time once."""
    timings = RequestTimings("fmp")
    with RequestLeases(timescale) as leases, timescale.connection() as connection:
        connection.execute("truncate request_timing")
        connection.commit()
        for times in parts:
            for seconds, error in times:
                timings.add_request(seconds, error)
            timings.put_back(timings.take())
            leases.add_timings((), timings.take())
        rows = connection.execute(
            "select outcome, requests, seconds, buckets from request_timing"
        ).fetchall()

    sent = [time for times in parts for time in times]
    assert sum(count for _, count, _, _ in rows) == len(sent)
    for outcome, count, seconds, buckets in rows:
        of_outcome = [took for took, error in sent if (error is None) == (outcome == "ok")]
        assert count == sum(buckets) == len(of_outcome)
        assert abs(seconds - sum(of_outcome)) < 1e-6
        within = [sum(took <= bound for took in of_outcome) for bound in BUCKETS_S]
        assert [sum(buckets[: place + 1]) for place in range(len(BUCKETS_S))] == within
