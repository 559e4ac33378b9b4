"""Archiving with verification beside a raw binary COPY out, and its memory.

Here: rows a second and peak memory of archiving one month of minute bars (streamed, hashed,
written, uploaded, read back, compared, committed), of finding it unchanged, and of verifying it;
beside them a binary COPY of the same rows to nowhere, which proves nothing. Not here: loading
(loader.py).

    python -m bench.archive [--rows 1000000 5000000]
"""

import argparse
import multiprocessing
import resource
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from datetime import date
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
MINUTES_A_SHARE = 21 * 960
"""Of a month in which it may trade, extended hours included."""

FILL = """
insert into minute_bar
select
    share, 'polygon', opened_at, price, price + 0.05, price - 0.05, price,
    floor(price * (1 + minute %% 97)), price + 0.01, 1 + minute %% 41, 1 + share,
    timestamptz '2024-04-01 06:00+00'
from generate_series(1, %(shares)s) as share
cross join generate_series(timestamptz '2024-03-01 09:00+00', '2024-03-21 09:00+00', '1 day') as day
cross join generate_series(0, 959) as minute
cross join lateral (
    select
        day + minute * interval '1 minute' as opened_at,
        round((100 + share %% 300 + 5 * sin(minute / 70.0 + share))::numeric, 2)::float8 as price
) as made
"""

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
            found = local.environment(["object_store"])
            settings = S3Settings(
                endpoint=found["WRDATA_S3_ENDPOINT"],
                bucket=f"bench-{url[-12:]}",
                region=found["AWS_REGION"],
                access_key=found["AWS_ACCESS_KEY_ID"],
                secret_key=found["AWS_SECRET_ACCESS_KEY"],
            )
            store = ObjectStore(settings)
            store.ensure_bucket()
            yield url, settings
            for one in list(store.list()):
                store.delete(one.key)
    finally:
        local.stop()


def fill(url: str, rows: int) -> int:
    """Store about ``rows`` minute bars of a month and return how many there are."""
    shares = max(1, rows // MINUTES_A_SHARE)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("truncate minute_bar")
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
        connection.execute(FILL.encode(), {"shares": shares})
        connection.execute("vacuum analyze minute_bar")
    return shares * MINUTES_A_SHARE


def copy_out(url: str) -> None:
    """Copy the month's rows out in binary and forget them."""
    with psycopg.connect(url) as connection, connection.cursor().copy(COPY_OUT) as copy:
        for _ in copy:
            pass


def archive_month(url: str, settings: S3Settings) -> None:
    """Archive the month."""
    with Timescale(url) as timescale:
        Archive(timescale, ObjectStore(settings)).archive(DATASET, [MONTH])


def verify_month(url: str, settings: S3Settings) -> None:
    """Compare the month with the database."""
    with Timescale(url) as timescale:
        (verdict,) = Archive(timescale, ObjectStore(settings)).verify(DATASET, [MONTH.label])
    if not verdict.equal:
        raise SystemExit(verdict.told)


def _measured(
    work: Callable[..., None], arguments: tuple[object, ...], told: "multiprocessing.Queue[object]"
) -> None:
    began = time.perf_counter()
    work(*arguments)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    told.put((time.perf_counter() - began, peak))


def measured(work: Callable[..., None], *arguments: object) -> tuple[float, float]:
    """Return seconds and peak memory (MB) of ``work`` in a process of its own."""
    context = multiprocessing.get_context("spawn")
    told: multiprocessing.Queue[object] = context.Queue()
    process = context.Process(target=_measured, args=(work, arguments, told))
    process.start()
    process.join()
    if process.exitcode:
        raise SystemExit(process.exitcode)
    seconds, peak = told.get()  # pyright: ignore[reportGeneralTypeIssues] what _measured puts
    return seconds, peak


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000_000, 5_000_000])
    wanted = parser.parse_args().rows
    with world() as (url, settings):
        for number in wanted:
            rows = fill(url, number)
            steps = {
                "binary COPY to nowhere": (copy_out, url),
                "archive, verified": (archive_month, url, settings),
                "archive again, unchanged": (archive_month, url, settings),
                "verify": (verify_month, url, settings),
            }
            raw = 0.0
            for name, (work, *arguments) in steps.items():
                seconds, peak = measured(work, *arguments)
                raw = raw or seconds
                print(
                    f"{rows:>12,} rows  {name:<26} {seconds:8.1f} s {rows / seconds:12,.0f} rows/s"
                    f"  {raw / seconds:5.2f} of the COPY  {peak:6.0f} MB at most"
                )


if __name__ == "__main__":
    main()
