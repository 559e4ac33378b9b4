"""Cost of a scrape of `wrdata exporter` at the size of a large installation, and of counting.

Here: the time of a scrape and of its parts beside ``select 1``; what it costs a lease to carry
times, and a load to count itself. Not here: filling the tables (large_installation.py).

    python -m bench.exporter [--tickers 5000] [--log 1000000] [--json]
"""

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import psycopg
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from psycopg import sql

from bench.large_installation import fill
from bench.scratch import scratch_database
from marketdata.recovery.leases import Holder, LeaseRequest
from marketdata.recovery.limits import Lane, Pace, RequestLimits
from marketdata.recovery.policy import BREAKER
from marketdata.recovery.request_timings import RequestTiming, RequestTimings
from monitoring.collector import DatabaseCollector
from resources.database_url import in_schema
from resources.storage import migrations
from resources.storage.request_leases import RequestLeases
from resources.storage.timescale import Timescale
from usecases.instruments import UNIVERSE

SCRAPES = 40
LEASES = 1000
LOADS = 1000
BARS = {"scrape_median_ms": 50.0}
"""Required figures."""

LOG_ROW = """
    insert into {} (dataset, provider, request, run_id, fetched_at, outcome, rows_inserted)
    values ('daily_bars', 'fmp', 'GET /something', 'run', now(), 'loaded', 100)
"""


def scrape_cost(url: str, dagster_url: str) -> dict[str, float]:
    """Return medians in ms of a whole scrape, of each part, and of ``select 1``."""
    collector = DatabaseCollector(url, dagster_url, UNIVERSE, cached_for_s=0)
    registry = CollectorRegistry()
    registry.register(collector)
    began = time.perf_counter()
    generate_latest(registry)
    first = (time.perf_counter() - began) * 1000
    took, parts = list[float](), dict[str, list[float]]()
    cpu_before = time.process_time(), server_cpu_s(url)
    for _ in range(SCRAPES):
        began = time.perf_counter()
        text = generate_latest(registry).decode()
        took.append((time.perf_counter() - began) * 1000)
        for part, milliseconds in part_durations(text).items():
            parts.setdefault(part, []).append(milliseconds)
    cpu_after = time.process_time(), server_cpu_s(url)
    collector.close()
    with psycopg.connect(url, autocommit=True) as connection:
        select_one = median_ms(lambda: connection.execute("select 1"), SCRAPES)
    return {
        "first scrape": first,
        "scrape, median": statistics.median(took),
        "scrape, fastest": min(took),
        "scrape, slowest": max(took),
        "CPU of the exporter, mean": (cpu_after[0] - cpu_before[0]) * 1000 / SCRAPES,
        "CPU of the server, mean": (cpu_after[1] - cpu_before[1]) * 1000 / SCRAPES,
        **{f"of it {part}": statistics.median(durations) for part, durations in parts.items()},
        "select 1": select_one,
    }


def part_durations(text: str) -> dict[str, float]:
    """Return the duration of each part in ms, by an answer in which none has failed."""
    families = {family.name: family for family in text_string_to_metric_families(text)}
    works = families["wrdata_exporter_last_scrape_success"].samples
    assert all(sample.value for sample in works), works
    durations = families["wrdata_exporter_scrape_duration_seconds"].samples
    return {sample.labels["part"]: sample.value * 1000 for sample in durations}


def server_cpu_s(url: str) -> float:
    """Return the CPU that the exporter's sessions have used: no matter who else is at work."""
    with psycopg.connect(url, autocommit=True) as connection:
        rows = connection.execute(
            "select pid from pg_stat_activity where application_name = 'wrdata'"
        ).fetchall()
    ticks = 0
    for (pid,) in rows:
        fields = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])  # proc(5): utime and stime
    return ticks / os.sysconf("SC_CLK_TCK")


def counting_cost(url: str) -> dict[str, float]:
    """Return medians in ms of a lease with and without times, of a load's log row likewise."""
    with Timescale(url) as timescale, RequestLeases(timescale) as leases:
        plain = lease_request(())
        timings = RequestTimings("bench")
        for seconds in range(8):
            timings.add_permit_wait(seconds)
            timings.add_request(seconds / 10, None)
        carrying = lease_request(timings.take())
        without, carried = alternating_ms(
            lambda: leases.take(plain), lambda: leases.take(carrying), LEASES
        )
    with psycopg.connect(url, autocommit=True) as connection:
        counted, bare = alternating_ms(
            lambda: connection.execute(sql.SQL(LOG_ROW).format(sql.Identifier("ingest_log"))),
            lambda: connection.execute(sql.SQL(LOG_ROW).format(sql.Identifier("uncounted_log"))),
            LOADS,
        )
    return {
        "lease of 8, without times": without,
        "lease of 8, with times": carried,
        "log row of a load, not counted": bare,
        "log row of a load, counted": counted,
    }


def lease_request(timings: tuple[RequestTiming, ...]) -> LeaseRequest:
    """Return a request for 8 permits of a million a second, which carries times."""
    limits = RequestLimits(
        budget="bench", paces=(Pace(limit=1_000_000, window_s=1.0, slack_s=0.1),)
    )
    return LeaseRequest(
        provider="bench",
        charges=(limits,),
        weights=(1,) * 8,
        lane=Lane.BACKFILL,
        holder=Holder.this_process("bench"),
        horizon_s=1.5,
        tolerance_s=0.3,
        breaker=BREAKER,
        timings=timings,
    )


def alternating_ms(
    one: Callable[[], object], other: Callable[[], object], times: int
) -> tuple[float, float]:
    """Return the medians in ms of two calls that take turns, so that both meet the same noise."""
    took: tuple[list[float], list[float]] = ([], [])
    for _ in range(times):
        for call, durations in zip((one, other), took, strict=True):
            began = time.perf_counter()
            call()
            durations.append((time.perf_counter() - began) * 1000)
    return statistics.median(took[0]), statistics.median(took[1])


def median_ms(call: Callable[[], object], times: int) -> float:
    """Return the median duration of a call in ms."""
    took = list[float]()
    for _ in range(times):
        began = time.perf_counter()
        call()
        took.append((time.perf_counter() - began) * 1000)
    return statistics.median(took)


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tickers", type=int, default=5_000)
    parser.add_argument("--log", type=int, default=1_000_000)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with scratch_database() as url:
        migrations.migrate(url)
        dagster_url = in_schema(url, "dagster")
        fill(url, dagster_url, arguments.tickers, arguments.log)
        figures = scrape_cost(url, dagster_url) | counting_cost(url)
    if arguments.json:
        print(json.dumps(figures, indent=2))
        return
    print(f"{arguments.tickers:,} tickers, {arguments.log:,} rows in the ingest log; in ms")
    for name, figure in figures.items():
        print(f"{name:40}{figure:10.2f}")


if __name__ == "__main__":
    main()
