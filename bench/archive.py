"""Archiving with verification beside a raw binary COPY out, and its memory.

Here: rows per second and peak memory of archiving one month of minute bars (streamed, hashed,
written, uploaded, read back, compared, committed), of finding it unchanged, and of verifying it;
beside them a binary COPY of the same rows to nowhere. Medians; connections
and clients are open when the clock starts, and 248 MB of the memory are the imports. Not here:
loading (loader.py).

    python -m bench.archive [--rows 1000000 5000000]
"""

import argparse
import multiprocessing
import resource
import statistics
import time
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, date, datetime
from pathlib import Path

import psycopg

from marketdata.archiving import ARCHIVED, Period
from resources.storage import migrations
from resources.storage.archive import Archive
from resources.storage.object_store import ObjectStore, S3Settings
from resources.storage.timescale import Timescale
from sandbox.local_world import LocalWorld
from sandbox.scratch_databases import scratch_database

ROOT = Path(__file__).parents[1] / ".wrdata" / "bench-archive"
DATASET = ARCHIVED["minute_bars"]
MONTH = Period(start=date(2024, 3, 1), end=date(2024, 4, 1), label="2024-03")
MONTH_BEFORE = Period(start=date(2024, 2, 1), end=date(2024, 3, 1), label="2024-02")
DAYS = 21
MINUTES_A_SHARE = DAYS * 960
"""Minutes of a month in which a share may trade, extended hours included."""

Preparation = Callable[[str, S3Settings], AbstractContextManager[Callable[[], None]]]
"""Prepares a measured step, and yields the step."""

FILL_MONTH_BEFORE = """
insert into minute_bar
values (
    1, 'polygon', '2024-02-01 15:00+00', 100, 100, 100, 100, 1, 100, 1, 1, '2024-04-01 06:00+00'
)
"""

FILL_DAY = """
insert into minute_bar
select
    share, 'polygon', opened_at, price, price + 0.05, price - 0.05, price,
    floor(price * (1 + minute %% 97)), price + 0.01, 1 + minute %% 41, 1 + share,
    timestamptz '2024-04-01 06:00+00'
from generate_series(1, %(shares)s) as share
cross join generate_series(0, 959) as minute
cross join lateral (
    select
        %(day)s + minute * interval '1 minute' as opened_at,
        round((100 + share %% 300 + 5 * sin(minute / 70.0 + share))::numeric, 2)::float8 as price
) as made
order by share, minute
"""

COUNT_LOADED = """
insert into loaded_day
select
    'minute_bars', provider, instrument_id,
    (opened_at at time zone 'America/New_York')::date, count(*)
from minute_bar
group by 2, 3, 4
"""
"""Writes coverage as a load does; the archive compares each day with it."""

COPY_OUT = """
copy (
    select
        instrument_id, opened_at, open, high, low, close, volume, vwap, trades, provider,
        ingest_id, known_from
    from minute_bar where opened_at >= '2024-03-01 00:00+00' and opened_at < '2024-04-01 00:00+00'
) to stdout (format binary)
"""


@contextmanager
def world() -> Generator[tuple[str, S3Settings]]:
    """Yield a migrated database and an empty bucket on servers of their own."""
    local = LocalWorld(ROOT)
    local.start(["timescaledb", "object_store"])
    try:
        with scratch_database(local, "bench") as url:
            migrations.migrate(url)
            environment = local.environment(["object_store"])
            settings = S3Settings(
                endpoint=environment["WRDATA_S3_ENDPOINT"],
                bucket=f"bench-{url[-12:]}",
                region=environment["AWS_REGION"],
                access_key=environment["AWS_ACCESS_KEY_ID"],
                secret_key=environment["AWS_SECRET_ACCESS_KEY"],
            )
            store = ObjectStore(settings)
            store.ensure_bucket()
            yield url, settings
            for entry in list(store.list()):
                store.delete(entry.key)
    finally:
        local.stop()


def fill(url: str, rows: int) -> int:
    """Store about ``rows`` minute bars of a month and return how many there are."""
    shares = max(1, rows // MINUTES_A_SHARE)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("truncate minute_bar, loaded_day")
        connection.execute(
            "insert into instrument (name) select 'share ' || number"
            " from generate_series((select count(*) from instrument) + 1, %s) as number",
            [shares],
        )
        connection.execute(
            "insert into instrument_ticker (instrument_id, ticker, valid)"
            " select instrument_id, 'S' || instrument_id, '(,)' from instrument"
            " on conflict do nothing"
        )
        connection.execute(FILL_MONTH_BEFORE)
        for number in range(DAYS):
            # In the order of loads: day by day, and share by share within a day.
            day = datetime(2024, 3, 1 + number, 9, tzinfo=UTC)
            connection.execute(FILL_DAY.encode(), {"shares": shares, "day": day})
        connection.execute(COUNT_LOADED)
        connection.execute("vacuum analyze minute_bar, loaded_day")
    return shares * MINUTES_A_SHARE


@contextmanager
def copy_out(url: str, _settings: S3Settings) -> Generator[Callable[[], None]]:
    """Prepare to copy the month's rows out in binary and forget them."""
    with psycopg.connect(url) as connection:

        def work() -> None:
            with connection.cursor().copy(COPY_OUT) as copy:
                for _ in copy:
                    pass

        yield work


@contextmanager
def archive_month(url: str, settings: S3Settings) -> Generator[Callable[[], None]]:
    """Prepare to archive the month."""
    with _opened(url, settings) as archive:

        def work() -> None:
            (archived,) = archive.archive(DATASET, [MONTH])
            _require(archived.rows > 0, "nothing was archived")

        yield work


@contextmanager
def verify_month(url: str, settings: S3Settings) -> Generator[Callable[[], None]]:
    """Prepare to compare the month with the database."""
    with _opened(url, settings) as archive:

        def work() -> None:
            (verdict,) = archive.verify(DATASET, [MONTH.label])
            _require(verdict.equal, verdict.description)

        yield work


@contextmanager
def _opened(url: str, settings: S3Settings) -> Generator[Archive]:
    """Yield an archive that holds the month before, as in every month but the first."""
    with Timescale(url) as timescale:
        archive = Archive(timescale, ObjectStore(settings))
        archive.archive(DATASET, [MONTH_BEFORE])
        yield archive


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise SystemExit(message)


def _measured(
    prepare: Preparation,
    url: str,
    settings: S3Settings,
    results: "multiprocessing.Queue[tuple[float, float]]",
) -> None:
    with prepare(url, settings) as work:
        began = time.perf_counter()
        work()
        seconds = time.perf_counter() - began
    results.put((seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024))


def measured(prepare: Preparation, url: str, settings: S3Settings) -> tuple[float, float]:
    """Return seconds and peak memory (MB) of what ``prepare`` yields, in a process of its own."""
    context = multiprocessing.get_context("spawn")
    results: multiprocessing.Queue[tuple[float, float]] = context.Queue()
    process = context.Process(target=_measured, args=(prepare, url, settings, results))
    process.start()
    process.join()
    if process.exitcode:
        raise SystemExit(process.exitcode)
    return results.get()


STEPS: dict[str, tuple[Preparation, int]] = {
    "binary COPY to nowhere": (copy_out, 3),
    "archive, verified": (archive_month, 1),
    "archive again, unchanged": (archive_month, 3),
    "verify": (verify_month, 3),
}
"""Steps and their repetitions; a month can be archived for the first time only once."""


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000_000, 5_000_000])
    for number in parser.parse_args().rows:
        # A new world for each size, since an archived month would be compared instead of written.
        with world() as (url, settings):
            rows = fill(url, number)
            raw = 0.0
            for name, (prepare, times) in STEPS.items():
                figures = [measured(prepare, url, settings) for _ in range(times)]
                seconds = statistics.median(took for took, _ in figures)
                peak = max(most for _, most in figures)
                raw = raw or seconds
                print(
                    f"{rows:>12,} rows  {name:<26} {seconds:8.1f} s {rows / seconds:12,.0f} rows/s"
                    f"  {raw / seconds:5.2f} of the COPY  {peak:6.0f} MB at most",
                    flush=True,
                )


if __name__ == "__main__":
    main()
