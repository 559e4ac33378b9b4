"""The request budget: what a lease costs, and how much of the limit many processes use.

Here: the cost of a lease of 1 and of 8 permits and the statements a batch takes; utilisation of
120 a minute by 1, 4 and 16 worker processes, by the journal of the FMP simulator.
Not here: dead letters (dead_letters.py).

    python -m bench.budget [--seconds 150] [--workers 1,4,16] [--json]

Workers are real: FmpClient, HttpGetter, LeasedBudget and Postgres; the simulator is a process of
its own which answers 429 beyond 120 in any 60 s.
"""

import argparse
import asyncio
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import psycopg

from bench.scratch import scratch_database
from machine.processes import end, free_port, wait_until
from marketdata.recovery.leases import Holder, Lease, LeaseRequest
from marketdata.recovery.limits import Lane, Pace, RequestLimits, fmp_bulk_limits, fmp_limits
from marketdata.recovery.policy import BREAKER
from resources.providers.fmp import connect
from resources.providers.leased_budget import LeasedBudget
from resources.storage import migrations
from resources.storage.request_leases import RequestLeases
from resources.storage.timescale import Timescale
from sandbox.control import SimulatorControl
from sandbox.simulated_providers import SimulatedProviders
from sandbox.simulators.journal import JournalEntry

LIMIT = 120
WINDOW = timedelta(seconds=60)
LEASES = 2000
SYMBOLS = ("AAPL", "MSFT", "NVDA", "AMZN", "GOOGL", "TSLA")
BARS = {"utilisation": 0.98, "windows_over": 0, "answers_429": 0, "lease_median_ms": 2.0}
"""Required figures."""


def lease_request(permits: int) -> LeaseRequest:
    """Return a lease request that is always granted: the budget is a million a second."""
    limits = RequestLimits(
        budget="bench", paces=(Pace(limit=1_000_000, window_s=1.0, slack_s=0.1),)
    )
    return LeaseRequest(
        provider="bench",
        charges=(limits,),
        weights=(1,) * permits,
        lane=Lane.BACKFILL,
        holder=Holder.this_process("bench"),
        horizon_s=1.5,
        tolerance_s=0.3,
        breaker=BREAKER,
    )


def statements(url: str) -> int:
    """Return the number of top-level statements that this database has committed."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("select pg_stat_force_next_flush()")
        row = connection.execute(
            "select xact_commit from pg_stat_database where datname = current_database()"
        ).fetchone()
    return int(row[0]) if row else 0


def lease_cost(url: str, permits: int) -> dict[str, float]:
    """Return median and p99 of a lease in ms, and transactions per lease.

    Leases run in autocommit, so each transaction is one statement and one round trip. The count
    includes the server's own transactions meanwhile (autovacuum).
    """
    with Timescale(url) as timescale, RequestLeases(timescale) as leases:
        request = lease_request(permits)
        for _ in range(50):
            leases.take(request)
        leases.close()
        leases.take(request)
        before, took = statements(url), list[float]()
        for _ in range(LEASES):
            began = time.perf_counter()
            answer = leases.take(request)
            took.append((time.perf_counter() - began) * 1000)
            assert isinstance(answer, Lease)
            assert len(answer.slots_s) == permits
        leases.close()  # A session's counts are published at the latest when it ends.
        time.sleep(0.5)
        after = statements(url)
    took.sort()
    return {
        "permits": permits,
        "median_ms": statistics.median(took),
        "p99_ms": took[int(len(took) * 0.99)],
        "transactions_per_lease": (after - before) / LEASES,
    }


async def work(url: str, base_url: str, key: str, seconds: float) -> int:
    """Ask for histories as fast as the budget allows; return how many requests were sent."""
    ends_at = time.monotonic() + seconds
    with Timescale(url, pool_size=2) as timescale, RequestLeases(timescale) as leases:
        holder, limits = Holder.this_process("bench"), fmp_limits(key, LIMIT)
        bulk_limits = fmp_bulk_limits(key, 10)
        single = LeasedBudget(
            leases=leases, limits=[limits], provider="fmp", lane=Lane.BACKFILL, holder=holder
        )
        bulk = LeasedBudget(
            leases=leases,
            limits=[bulk_limits, limits],
            provider="fmp",
            lane=Lane.BACKFILL,
            holder=holder,
        )
        async with (
            single,
            bulk,
            connect(api_key=key, base_url=base_url, budget=single, bulk_budget=bulk) as client,
        ):
            asked = 0

            async def ask(first: int) -> None:
                nonlocal asked
                for number in itertools.count(first):
                    if time.monotonic() > ends_at:
                        return
                    symbol = SYMBOLS[number % len(SYMBOLS)]
                    await client.daily_history(symbol, date(2025, 1, 2), date(2025, 3, 31))
                    asked += 1

            await asyncio.gather(*(ask(number) for number in range(8)))
            return asked


def utilisation(url: str, origin: str, key: str, workers: int, seconds: float) -> dict[str, float]:
    """Run ``workers`` processes for ``seconds`` and measure them by the simulator's journal."""
    began = datetime.now(UTC)
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "bench.budget", "--worker", origin, str(seconds + 8)],
            env={**os.environ, "BENCH_DATABASE_URL": url, "BENCH_KEY": key},
        )
        for _ in range(workers)
    ]
    failed = sum(process.wait() != 0 for process in processes)
    with SimulatorControl(origin) as control:
        entries = control.requests(since=began)
    # Processes start one by one, so the time runs from the first arrival.
    arrivals = [datetime.fromisoformat(entry.at) for entry in entries]
    first = arrivals[0]
    used = sum(at < first + timedelta(seconds=seconds) for at in arrivals)
    with SimulatorControl(origin) as control:
        requests = control.requests()
    return {
        "workers": workers,
        "seconds": seconds,
        "requests": used,
        "utilisation": used / (LIMIT * seconds / 60),
        "windows_over": windows_over(requests),
        "fullest_window": fullest(requests),
        "answers_429": sum(entry.status == 429 for entry in entries),
        "other_errors": sum(entry.status not in {200, 429} for entry in entries),
        "workers_failed": failed,
    }


def window_counts(entries: Sequence[JournalEntry]) -> list[int]:
    """Count the arrivals in each closed window of 60 s that begins with one."""
    arrivals = [datetime.fromisoformat(entry.at) for entry in entries]
    counts, last = list[int](), 0
    for first, at in enumerate(arrivals):
        while last < len(arrivals) and arrivals[last] <= at + WINDOW:
            last += 1
        counts.append(last - first)
    return counts


def windows_over(entries: Sequence[JournalEntry]) -> int:
    """Return how many windows hold more than the limit."""
    return sum(count > LIMIT for count in window_counts(entries))


def fullest(entries: Sequence[JournalEntry]) -> int:
    """Return what the fullest window holds."""
    return max(window_counts(entries), default=0)


def measure(workers: Sequence[int], seconds: float) -> dict[str, list[dict[str, float]]]:
    """Return all figures."""
    with scratch_database() as url, tempfile.TemporaryDirectory() as folder:
        migrations.migrate(url)
        costs = [lease_cost(url, permits) for permits in (1, 8)]
        simulator = SimulatedProviders(
            home=Path(folder) / "providers", log=Path(folder) / "providers.log"
        )
        simulator.prepare(lambda _: None)
        port = free_port(None)
        process = simulator.launch(port)
        try:
            assert wait_until(lambda: simulator.answers(port), within_s=60)
            origin, key = simulator.address(port), simulator.keys()["fmp/ultimate"]
            used = [utilisation(url, origin, key, count, seconds) for count in workers]
        finally:
            end(process, with_signal=simulator.stop_signal, within_s=10)
    return {"lease": costs, "utilisation": used}


def table(figures: dict[str, list[dict[str, float]]]) -> str:
    """Format the figures beside the bars."""
    lines = [f"{'lease of':>10}{'median ms':>12}{'p99 ms':>10}{'statements':>12}"]
    lines += [
        f"{row['permits']:10}{row['median_ms']:12.2f}{row['p99_ms']:10.2f}"
        f"{row['transactions_per_lease']:12.2f}"
        for row in figures["lease"]
    ]
    lines += [
        f"{'bar':>10}{BARS['lease_median_ms']:12.2f}{'':10}{1:12.2f}",
        "",
        (
            f"{'workers':>10}{'seconds':>10}{'requests':>10}{'used':>10}"
            f"{'windows over':>14}{'fullest':>9}{'429':>6}{'errors':>8}"
        ),
    ]
    lines += [
        f"{row['workers']:10}{row['seconds']:10.0f}{row['requests']:10}"
        f"{row['utilisation']:10.2%}{row['windows_over']:14}{row['fullest_window']:9}"
        f"{row['answers_429']:6}{row['other_errors'] + row['workers_failed']:8}"
        for row in figures["utilisation"]
    ]
    lines.append(f"{'bar':>10}{'':20}{BARS['utilisation']:10.2%}{0:14}{LIMIT:9}{0:6}")
    return "\n".join(lines)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=150.0)
    parser.add_argument("--workers", default="1,4,16")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--worker", nargs=2, metavar=("ORIGIN", "SECONDS"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        origin, seconds = arguments.worker
        url, key = os.environ["BENCH_DATABASE_URL"], os.environ["BENCH_KEY"]
        asyncio.run(work(url, f"{origin}/stable", key, float(seconds)))
        return
    workers = [int(count) for count in arguments.workers.split(",")]
    figures = measure(workers, arguments.seconds)
    print(json.dumps(figures, indent=2) if arguments.json else table(figures))


if __name__ == "__main__":
    main()
