"""Cost of a scrape of `wrdata exporter` at the size of a large installation, and of counting.

Here: tables filled to that size by SQL, the time of a scrape and of its parts beside ``select 1``;
what it costs a lease to carry times, and a load to count itself. Not here: the rows of bars
themselves, since no metric reads them.

    python -m bench.exporter [--tickers 5000] [--log 1000000] [--json]

The chunks are real ones, of ten years of minutes and trades, with a row in each.
"""

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import psycopg
from dagster_postgres import PostgresRunStorage
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from psycopg import sql

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

UNIVERSE = "bench"
SCRAPES = 40
LEASES = 1000
LOADS = 1000
BARS = {"scrape_median_ms": 50.0}
"""Required figures."""

FILL = {
    "instruments": """
        insert into instrument (name)
        select 'T' || number from generate_series(1, %(tickers)s) as number;
        insert into instrument_ticker (instrument_id, ticker, valid)
        select instrument_id, name, daterange(null, null) from instrument;
        insert into universe_member (universe, instrument_id, valid)
        select 'bench', instrument_id, daterange(null, null) from instrument;
        insert into company (
            instrument_id, name, listed_on, answer, provider, ingest_id, known_from
        )
        select
            instrument_id, name,
            case when instrument_id %% 4 = 0 then date '2019-01-02' end, '{}', 'fmp', 1, now()
        from instrument;
    """,
    "coverage": """
        insert into coverage (dataset, provider, instrument_id, state, sessions)
        select
            served.dataset, served.provider, instrument_id, known.state::coverage_state,
            known.days
        from instrument
        cross join (values
            ('daily_bars', 'fmp'), ('daily_bars', 'polygon'), ('minute_bars', 'polygon')
        ) as served (dataset, provider)
        cross join lateral (values
            (
                'complete', case when instrument_id %% 4 = 0
                then datemultirange(daterange('2019-01-02', current_date - 5))
                else datemultirange(
                    daterange('2016-01-04', '2020-03-02'), daterange('2020-03-04', current_date - 5)
                ) end
            ),
            ('provisional', datemultirange(daterange(current_date - 5, current_date))),
            ('failed', datemultirange(daterange('2020-03-02', '2020-03-04'))),
            (
                'provider_empty', case when instrument_id %% 4 = 0
                then datemultirange(daterange('2016-01-04', '2019-01-02'))
                else datemultirange(daterange('2015-01-02', '2016-01-04')) end
            )
        ) as known (state, days);
        insert into coverage (dataset, provider, instrument_id, state, sessions)
        select served.dataset, 'fmp', instrument_id, 'complete',
            datemultirange(daterange('2016-01-04', current_date - (instrument_id %% 9)::integer))
        from instrument
        cross join (values
            ('income_statements'), ('balance_sheets'), ('cash_flows'), ('ratios'), ('companies'),
            ('splits'), ('dividends')
        ) as served (dataset);
    """,
    "ingest log": """
        insert into ingest_log (
            dataset, provider, request, run_id, instrument_id, fetched_at, outcome, rows_inserted
        )
        select
            served.dataset, served.provider, 'GET /something/like/this?symbol=T' || number,
            'run ' || number / 500, 1 + number %% %(tickers)s, now(), 'loaded', 100
        from generate_series(1, %(log)s) as number
        inner join (values
            (0, 'daily_bars', 'fmp'), (1, 'minute_bars', 'polygon'), (2, 'ratios', 'fmp'),
            (3, 'daily_bars', 'polygon'), (4, 'income_statements', 'fmp'),
            (5, 'balance_sheets', 'fmp'), (6, 'cash_flows', 'fmp'), (7, 'companies', 'fmp'),
            (8, 'splits', 'fmp'), (9, 'dividends', 'fmp')
        ) as served (place, dataset, provider) on served.place = number %% 10;
        insert into ingest_total
        select
            dataset, provider, part.number, count(*), 0, sum(rows_inserted), 0, 0, 0, 0, 0,
            max(finished_at)
        from ingest_log cross join generate_series(0, 15) as part (number)
        group by dataset, provider, part.number;
    """,
    "loaded days": """
        insert into loaded_day (dataset, provider, instrument_id, day, rows)
        select 'minute_bars', 'polygon', instrument_id, current_date - day.back, 700
        from instrument cross join generate_series(1, 250) as day (back);
    """,
    "dead letters": """
        insert into dead_letter (
            fingerprint, dataset, provider, work, subject, instrument_id, state, reason,
            error_class, message, request, run_id, first_seen_at, last_seen_at, next_attempt_at
        )
        select
            lpad(to_hex(number), 64, '0'), 'minute_bars', 'polygon', 'instrument', 'T' || number,
            1 + number %% %(tickers)s,
            case when number %% 10 = 0 then 'open' when number %% 10 = 1 then 'parked'
            else 'resolved' end::letter_state,
            'as it was told', 'MalformedResponseError', repeat('what was wrong with it ', 5),
            'GET /something', 'run ' || number, now(), now(),
            case when number %% 10 = 0 then now() end
        from generate_series(1, 50000) as number;
    """,
    "chunks": """
        insert into minute_bar
        select 1, 'polygon', at, 1, 1, 1, 1, 1, null, null, 1, now()
        from generate_series(now() - interval '10 years', now(), interval '7 days') as at;
        insert into trade
        select 1, 'binance', at, 1, 1, 1, 'buy', 1, now()
        from generate_series(now() - interval '5 years', now(), interval '7 days') as at;
        insert into daily_bar
        select
            instrument_id, current_date - day.back, 1, 1, 1, 1, 1, 'as_traded', 'fmp', 1, now()
        from instrument cross join generate_series(1, 3650, 50) as day (back);
    """,
    "archive": """
        insert into archive_log (
            dataset, period, span, files, bounds, rows, bytes, content_digest, column_sha256,
            schema_fingerprint, snapshot_id, code_version
        )
        select
            named.dataset, to_char(month.begins, 'YYYY-MM'),
            daterange(month.begins::date, (month.begins + interval '1 month')::date), '[]', '{}',
            1, 1, '', '{}', '', 1, ''
        from (values ('minute_bars'), ('crypto_bars'), ('crypto_trades'), ('daily_bars'))
            as named (dataset)
        cross join generate_series(
            date_trunc('month', now()) - interval '120 months',
            date_trunc('month', now()) - interval '2 months', interval '1 month'
        ) as month (begins);
    """,
    "budgets": """
        insert into request_budget (budget, next_at, interval_s)
        select 'budget ' || number, now(), 0.5 from generate_series(1, 10) as number;
        insert into request_limit (budget, provider, bounds)
        select
            'budget ' || number, 'provider ' || number,
            '[{"period": "minute", "weight": 120, "window_s": 60},
            {"period": "day", "weight": 1000, "zone": "America/New_York"}]'
        from generate_series(1, 10) as number;
        insert into request_usage
        select 'budget ' || number, hour, 'backfill', 7000, 7000
        from generate_series(1, 10) as number
        cross join generate_series(
            date_trunc('hour', now()) - interval '400 days', now(), interval '1 hour'
        ) as hour;
        insert into request_lease (
            provider, budgets, lane, host, pid, weights, slots, ends_at, granted_at, expires_at
        )
        select
            'provider', array['budget ' || 1 + number %% 10], 'backfill', 'here', 1,
            array[1, 1, 1, 1], array[now(), now(), now(), now()], array[now()], now(),
            now() - make_interval(secs => number)
        from generate_series(1, 1200) as number;
        insert into request_timing
        select
            'request', 'provider ' || provider, 'error', 'Error' || error, 1, 1,
            array[1, 1, 1, 1, 1, 1, 1, 1, 1, 1]
        from generate_series(1, 7) as provider cross join generate_series(1, 8) as error;
    """,
}
"""What fills the tables, in this order."""

FILL_DAGSTER = """
    insert into runs (run_id, status, run_body, create_timestamp, update_timestamp)
    select
        'run ' || number,
        case when number < 40 then 'STARTED' when number < 200 then 'QUEUED'
        else 'SUCCESS' end,
        repeat('the body of a run ', 100), now() at time zone 'UTC' - make_interval(mins => number),
        now() at time zone 'UTC' - make_interval(mins => number)
    from generate_series(1, 50000) as number;
    insert into daemon_heartbeats (daemon_type, timestamp)
    select 'DAEMON ' || number, now() at time zone 'UTC' from generate_series(1, 6) as number;
"""

LOG_ROW = """
    insert into {} (dataset, provider, request, run_id, fetched_at, outcome, rows_inserted)
    values ('daily_bars', 'fmp', 'GET /something', 'run', now(), 'loaded', 100)
"""


def fill(url: str, dagster_url: str, tickers: int, log: int) -> None:
    """Fill the tables; triggers of the log and of letters stay out: they would take an hour."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("alter table ingest_log disable trigger user")
        connection.execute("alter table dead_letter disable trigger user")
        for name, statements in FILL.items():
            print(f"filling: {name}", flush=True)
            for statement in statements.split(";\n"):
                if statement.strip():
                    # Literals, since a statement with parameters of another one would be refused.
                    text = statement.replace("%(tickers)s", str(tickers))
                    text = text.replace("%(log)s", str(log)).replace("%%", "%")
                    connection.execute(text.encode())
        connection.execute("alter table ingest_log enable trigger user")
        connection.execute("create table uncounted_log (like ingest_log including all)")
        connection.execute("vacuum analyze")
    PostgresRunStorage.create_clean_storage(dagster_url)
    with psycopg.connect(dagster_url, autocommit=True) as connection:
        connection.execute(FILL_DAGSTER)
        connection.execute("analyze")


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
