"""How many bytes a row takes at each place it is kept: what `wrdata cost` reckons with.

Here: loads of every dataset that the estimate counts, as commands carry them out, on servers of
their own; what each has added to tables, indexes, WAL, raw zone, ledger and Dagster's tables; the
archive's Parquet files; rows of the audit log; recorded answers in gzip. Not here: what becomes
of the figures (usecases/costs/), or compression, which the local server's edition lacks
(docs/decisions/0036-old-chunks-are-compressed.md).

    python -m bench.bytes_per_row [--tickers 40] [--json] [--write]

``--write`` replaces the figures that the estimate reads. The simulators' answers have the recorded
wire formats, but their figures are drawn: gzip and Parquet find them harder or easier than real
ones, by how much is not known.
"""

import argparse
import csv
import gzip
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass, fields
from datetime import date, timedelta
from pathlib import Path

import psycopg

from marketdata.audit import Action
from marketdata.calendars import calendar, utc_now
from marketdata.datasets import DATASETS
from marketdata.recovery.limits import PUBLISHED
from resources.storage import migrations, raw_zone, sql
from resources.storage.audit import record
from resources.storage.object_store import ObjectStore, S3Settings
from resources.storage.timescale import Timescale
from sandbox.local_world import LocalWorld
from sandbox.scratch_databases import name_of, scratch_database
from usecases.costs.measured import FIGURES, MEASURED_FILE, Figure

PROJECT = Path(__file__).parents[1]
ROOT = PROJECT / ".wrdata" / "bench-bytes"
RECORDINGS = PROJECT / "tests" / "recordings"
WRDATA = Path(sys.executable).with_name("wrdata")
AUDIT_ROWS = 2_000
SMALL = 8
"""Tickers of a second load, which tells what a run costs from what a ticker costs."""
ROLLUPS = ("5m", "15m", "1h", "1d", "1w", "1mo", "1q", "1y")
BARS = ("daily_bars", "minute_bars")


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """One command that loads a dataset."""

    dataset: str
    provider: str
    symbols: Sequence[str]
    start: date | None = None
    end: date | None = None

    def words(self) -> list[str]:
        """Return the command."""
        words = ["backfill", self.dataset, "--provider", self.provider]
        words += ["--symbols", ",".join(self.symbols)]
        if self.start and self.end:
            words += ["--from", self.start.isoformat(), "--to", self.end.isoformat()]
        return words


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """Bytes and counts at one moment; the difference of two is what a load has added."""

    table_bytes: Mapping[str, int]
    table_rows: Mapping[str, int]
    wal_bytes: int
    raw_bytes: int
    raw_objects: int
    dagster_bytes: int
    dagster_events: int
    runs: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Two moments, and the symbols that were loaded between them."""

    before: Sizes
    after: Sizes
    symbols: int

    @property
    def events(self) -> int:
        """Dagster's events between the two."""
        return self.after.dagster_events - self.before.dagster_events


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """The servers of the measurement."""

    url: str
    bucket: ObjectStore
    environment: Mapping[str, str]

    def run(self, *words: str) -> None:
        """Run a `wrdata` command to its end."""
        done = subprocess.run(
            [str(WRDATA), *words],
            env=dict(self.environment),
            cwd=PROJECT,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise SystemExit(f"wrdata {' '.join(words)[:80]}: {done.stderr.strip()[-600:]}")


@contextmanager
def world() -> Generator[World]:
    """Yield a migrated database, an empty bucket and simulators of all providers."""
    local = LocalWorld(ROOT)
    local.start()
    try:
        with scratch_database(local, "bench") as url, tempfile.TemporaryDirectory() as folder:
            migrations.migrate(url)
            stores = local.environment(["object_store"])
            settings = S3Settings(
                endpoint=stores["WRDATA_S3_ENDPOINT"],
                bucket=name_of(url).replace("_", "-"),
                region=stores["AWS_REGION"],
                access_key=stores["AWS_ACCESS_KEY_ID"],
                secret_key=stores["AWS_SECRET_ACCESS_KEY"],
            )
            bucket = ObjectStore(settings)
            bucket.ensure_bucket()
            environment = {
                "PATH": os.environ["PATH"],
                "HOME": folder,
                "LANG": "C.UTF-8",
                "DAGSTER_HOME": f"{folder}/dagster",
                "WRDATA_STATE_DIR": f"{folder}/state",
                **stores,
                **local.environment(["providers"]),
                "WRDATA_DATABASE_URL": url,
                "WRDATA_ARCHIVE_BUCKET": settings.bucket,
            }
            yield World(url=url, bucket=bucket, environment=environment)
            for entry in list(bucket.list()):
                bucket.delete(entry.key)
    finally:
        local.stop()


def last_closed_month() -> tuple[date, date]:
    """Return the first and the last trading day of the month before this one."""
    last = utc_now().date().replace(day=1) - timedelta(days=1)
    sessions = calendar().sessions(last.replace(day=1), last)
    return sessions[0], sessions[-1]


def loads(members: Sequence[str], tickers: int) -> list[Load]:
    """Return the loads, those of bars first."""
    names, (first, last) = list(members[:tickers]), last_closed_month()
    by_name = ("income_statements", "balance_sheets", "cash_flows", "ratios")
    return [
        Load(dataset="daily_bars", provider="fmp", symbols=names),
        Load(
            dataset="minute_bars", provider="polygon", symbols=names[: tickers // 2],
            start=first, end=last,
        ),
        *(Load(dataset=name, provider="fmp", symbols=names[: tickers // 2]) for name in by_name),
        Load(dataset="companies", provider="fmp", symbols=names),
        Load(dataset="splits", provider="fmp", symbols=names),
        Load(dataset="dividends", provider="fmp", symbols=names),
        Load(
            dataset="macro_observations", provider="fred",
            symbols=["GDP", "CPIAUCSL", "UNRATE", "DGS10"],
        ),
        Load(
            dataset="crypto_bars", provider="binance", symbols=["BTC-USDT", "ETH-USDT"],
            start=first, end=first + timedelta(days=13),
        ),
    ]  # fmt: skip


def tables() -> list[str]:
    """Return the tables that loads fill."""
    rows = {dataset.table for dataset in DATASETS.values()}
    rollups = [f"rollup_{interval}" for interval in ROLLUPS]
    return [*sorted(rows), *rollups, "coverage", "loaded_day", "ingest_log"]


def sizes(world: World) -> Sizes:
    """Look at everything that a load adds to."""
    raw = list(world.bucket.list(f"{raw_zone.PREFIX}/"))
    with psycopg.connect(world.url, autocommit=True) as connection:
        measured = connection.execute(
            sql.query("upkeep", "table_sizes"), {"names": tables()}
        ).fetchall()
        counted = {
            name: _one(connection, f"select count(*) from {name}") for name, _, _ in measured
        }
        kept = bool(_one(connection, "select count(*) from pg_tables where tablename = 'runs'"))
        return Sizes(
            table_bytes={name: size for name, _, size in measured},
            table_rows=counted,
            wal_bytes=_one(connection, "select pg_current_wal_lsn() - '0/0'"),
            raw_bytes=sum(entry.bytes for entry in raw),
            raw_objects=len(raw),
            dagster_bytes=_one(connection, DAGSTER_BYTES),
            dagster_events=_one(connection, "select count(*) from dagster.event_logs")
            if kept
            else 0,
            runs=_one(connection, "select count(*) from dagster.runs") if kept else 0,
        )


DAGSTER_BYTES = """
select coalesce(sum(pg_total_relation_size(oid)), 0)
from pg_class where relnamespace = 'dagster'::regnamespace and relkind = 'r'
"""


def _one(connection: psycopg.Connection, query: str) -> int:
    row = connection.execute(query.encode()).fetchone()
    return int(row[0]) if row else 0


def added(before: Sizes, after: Sizes, name: str) -> tuple[int, int]:
    """Return the bytes and rows that a load has added to a table."""
    return (
        after.table_bytes[name] - before.table_bytes[name],
        after.table_rows[name] - before.table_rows[name],
    )


def of_load(load: Load, before: Sizes, after: Sizes) -> list[Figure]:
    """Return what a row of the dataset takes at each place, by what the load has added."""
    size, rows = added(before, after, DATASETS[load.dataset].table)
    derived = sum(added(before, after, f"rollup_{interval}")[0] for interval in ROLLUPS)
    objects = max(after.raw_objects - before.raw_objects, 1)
    figures = {
        "hot_bytes": size / rows,
        "raw_bytes": (after.raw_bytes - before.raw_bytes) / rows,
        "raw_bytes_per_answer": (after.raw_bytes - before.raw_bytes) / objects,
        "wal_bytes": (after.wal_bytes - before.wal_bytes) / rows,
        "rows_per_symbol": rows / len(load.symbols),
    }
    if load.dataset in BARS:
        figures["aggregates_bytes"] = derived / rows
    return [_figure(load.dataset, name, value, rows) for name, value in figures.items()]


def _figure(subject: str, name: str, value: float, measured: int) -> Figure:
    if name not in FIGURES:
        raise SystemExit(f"the estimate knows no figure {name!r}")
    return Figure(
        subject=subject,
        figure=name,
        value=round(value, 4),
        sample=measured,
        measured_on=utc_now().date(),
        source="python -m bench.bytes_per_row",
    )


def of_bookkeeping(before: Sizes, after: Sizes) -> list[Figure]:
    """Return what a row of the ledger and of the log of loads takes, over all loads."""
    named = (("loaded_day", "bytes_per_day"), ("ingest_log", "bytes_per_answer"))
    figures: list[Figure] = []
    for table, name in named:
        size, rows = added(before, after, table)
        figures.append(_figure("ledger", name, size / rows, rows))
    return figures


def of_dagster(wide: Span, narrow: Span, every: Span) -> list[Figure]:
    """Return events of a run and of each ticker in it, and the bytes of an event.

    Args:
        wide: A run over many tickers.
        narrow: A run of the same job over few.
        every: All runs.
    """
    per_symbol = (wide.events - narrow.events) / (wide.symbols - narrow.symbols)
    size = every.after.dagster_bytes - every.before.dagster_bytes
    two = wide.events + narrow.events
    return [
        _figure("dagster", "events_per_symbol", per_symbol, two),
        _figure("dagster", "events_per_run", narrow.events - narrow.symbols * per_symbol, two),
        _figure("dagster", "bytes_per_event", size / every.events, every.events),
    ]


def of_archive(world: World, datasets: Sequence[str]) -> list[Figure]:
    """Archive closed periods and return the Parquet bytes of a row."""
    world.run("archive", "run")
    with psycopg.connect(world.url) as connection:
        rows = connection.execute(
            "select dataset, sum(rows), sum(bytes), count(*) from archive_log"
            " where superseded_at is null and rows > 0 group by dataset"
        ).fetchall()
    return [
        _figure(dataset, "parquet_bytes", int(size) / int(count), int(count))
        for dataset, count, size, _ in rows
        if dataset in datasets
    ]


def of_audit(url: str) -> list[Figure]:
    """Return the bytes of a row of the audit log, indexes included."""
    with Timescale(url) as timescale, timescale.connection() as connection:
        for number in range(AUDIT_ROWS):
            record(
                connection,
                Action.LETTERS_RETRIED,
                who="ada@desk",
                subject=f"letter {number}",
                details={"job": "universe"},
                journal=None,
            )
    with psycopg.connect(url) as connection:
        size = _one(connection, "select pg_total_relation_size('audit_log')")
        rows = _one(connection, "select count(*) from audit_log")
    return [_figure("audit", "bytes_per_deed", size / rows, rows)]


def of_recordings() -> list[Figure]:
    """Return how far the raw zone packs recorded answers: real ones, but short."""
    bodies = [path.read_bytes() for path in sorted(RECORDINGS.glob("*_*.json"))]
    packed = sum(len(gzip.compress(body, 1, mtime=0)) for body in bodies)
    share = packed / sum(map(len, bodies))
    return [_figure("recordings", "packed_share", share, len(bodies))]


def measured(tickers: int) -> list[Figure]:
    """Load, look, and return all figures."""
    with world() as opened:
        opened.run("universe")
        with psycopg.connect(opened.url) as connection:
            rows = connection.execute(
                "select ticker from instrument_ticker where upper_inf(valid) order by ticker"
            ).fetchall()
        members = [ticker for (ticker,) in rows]
        figures = of_audit(opened.url)
        began = before = sizes(opened)
        wide = None
        for load in loads(members, tickers):
            opened.run(*load.words())
            after = sizes(opened)
            figures += of_load(load, before, after)
            wide = wide or Span(before=before, after=after, symbols=len(load.symbols))
            before = after
            print(f"{load.dataset} by {load.provider}: done", file=sys.stderr, flush=True)
        figures += of_bookkeeping(began, before)
        narrow = members[tickers : tickers + SMALL]
        started = time.monotonic()
        opened.run(*Load(dataset="daily_bars", provider="fmp", symbols=narrow).words())
        took = time.monotonic() - started - SMALL * PUBLISHED["fmp"].interval_s
        assert wide is not None
        after = sizes(opened)
        few = Span(before=before, after=after, symbols=SMALL)
        every = Span(before=began, after=after, symbols=tickers + SMALL)
        figures += of_dagster(wide, few, every)
        figures.append(_figure("dagster", "seconds_per_run", took, 1))
        figures += of_archive(opened, list(dict.fromkeys(figure.subject for figure in figures)))
    return figures + of_recordings()


def write(figures: Sequence[Figure]) -> None:
    """Replace the measured figures; those of other sources stay."""
    with MEASURED_FILE.open(encoding="utf-8", newline="") as file:
        kept = [row for row in csv.DictReader(file) if "bench.bytes_per_row" not in row["source"]]
    names = [field.name for field in fields(Figure)]
    with MEASURED_FILE.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(names)
        writer.writerows(astuple(figure) for figure in figures)
        writer.writerows([row[name] for name in names] for row in kept)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tickers", type=int, default=40)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--write", action="store_true", help="replace what the estimate reads")
    arguments = parser.parse_args()
    figures = measured(arguments.tickers)
    if arguments.write:
        write(figures)
    if arguments.json:
        names = [field.name for field in fields(Figure)]
        rows = [dict(zip(names, astuple(figure), strict=True)) for figure in figures]
        print(json.dumps(rows, default=str, indent=2))
        return
    for figure in figures:
        print(f"{figure.subject:20}{figure.figure:22}{figure.value:14,.2f}{figure.sample:>12,}")


if __name__ == "__main__":
    main()
