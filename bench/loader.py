"""The loader beside the alternatives, in one run on one machine.

Here: rows per second of the merge (fresh, unchanged, one percent restated, a history a load) and of
its rivals: binary COPY into the same table with its triggers, binary and CSV COPY of the bars alone
into one without, pandas.to_sql, and dlt's merge where dlt is installed. Not here: chunk
intervals (chunks.py).

    python -m bench.loader [--rows 1000000]

dlt is no dependency of this project: pip install 'dlt[postgres]' into its environment puts it
beside the others. But for dlt the rivals do less: they neither compare, nor keep versions, nor keep
coverage and log.
"""

import argparse
import importlib
import importlib.util
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from io import BytesIO
from typing import Any

import numpy as np
import psycopg
import pyarrow as pa
import pyarrow.csv
from sqlalchemy import create_engine

from bench.scratch import binary_copy, scratch_database
from marketdata.bars import DAILY_BARS, Adjustment
from marketdata.calendars import calendar
from marketdata.instruments import Constituent, UniverseChange
from marketdata.ports import Asked, Batch
from marketdata.rows import INSTANT
from resources.storage import migrations
from resources.storage.batches import BatchStore
from resources.storage.instruments import InstrumentStore
from resources.storage.timescale import Timescale

INSTRUMENTS = 500
SLOW_ROWS = 20_000
"""Rows for pandas.to_sql, which would take minutes for all rows."""
COPY = "binary COPY, same table"
COPIES = "binary COPY, by history"

Rates = dict[str, float]
"""Rows per second, by loader."""


def market(instrument_ids: list[int], rows: int) -> pa.Table:
    """Return about ``rows`` bars, the same sessions for every instrument, sorted."""
    days = np.array(calendar().sessions(date(2006, 1, 1), date(2025, 12, 31)), "datetime64[D]")
    days = days[-max(1, rows // len(instrument_ids)) :]
    count = len(days) * len(instrument_ids)
    close = np.round(50 + 100 * np.random.default_rng(1).random(count), 2)
    ids = np.repeat(np.array(instrument_ids), len(days))
    columns = [
        ids,
        np.tile(days, len(instrument_ids)),
        close,
        close + 1,
        close - 1,
        close,
        np.floor(close * 1e4),
    ]
    return pa.table([pa.array(column) for column in columns], schema=DAILY_BARS)


def batch(bars: pa.Table) -> Batch:
    """Wrap bars as an answer of a provider."""
    return Batch(
        dataset="daily_bars",
        provider="bench",
        adjustment=Adjustment.SPLITS,
        request="bench",
        content_sha256="0" * 64,
        fetched_at=datetime.now(UTC),
        run_id="bench",
        raw_answers=(),
        asked=Asked(
            instrument_ids=(), start=date(2016, 1, 1), end=date(2016, 1, 1), whole_sessions=False
        ),
        rows=bars,
        letters=(),
        coverage=(),
    )


def restated(bars: pa.Table) -> pa.Table:
    """Return the bars with another volume in every hundredth row."""
    volume = bars["volume"].to_numpy().copy()
    volume[::100] += 1
    return bars.set_column(6, DAILY_BARS.field("volume"), pa.array(volume))


def stored_rows(bars: pa.Table) -> pa.Table:
    """Return the bars with all the columns of their table."""
    origin: dict[str, pa.Scalar] = {
        "adjustment": pa.scalar(Adjustment.SPLITS.value),
        "provider": pa.scalar("bench"),
        "ingest_id": pa.scalar(1, pa.int64()),
        "known_from": pa.scalar(datetime.now(UTC), INSTANT),
    }
    for name, value in origin.items():
        bars = bars.append_column(name, pa.repeat(value, bars.num_rows))
    return bars


def histories(bars: pa.Table) -> Iterator[pa.Table]:
    """Yield the bars of each instrument."""
    rows = bars.num_rows // INSTRUMENTS
    for start in range(0, bars.num_rows, rows):
        yield bars.slice(start, rows)


def create_rival(connection: psycopg.Connection) -> None:
    """Create the rivals' hypertable: the bars' columns, the same key, the same chunks."""
    connection.execute("drop table if exists rival")
    connection.execute(
        """create table rival (instrument_id bigint, session_date date, open float8, high float8,
           low float8, close float8, volume float8, primary key (instrument_id, session_date))"""
    )
    connection.execute(
        "select create_hypertable('rival', by_range('session_date', interval '5 years'))"
    )


def csv_copy(connection: psycopg.Connection, bars: pa.Table) -> None:
    """Copy as CSV, written by pyarrow."""
    text = BytesIO()
    pyarrow.csv.write_csv(bars, text, pyarrow.csv.WriteOptions(include_header=False))
    with connection.cursor().copy("copy rival from stdin (format csv)") as copy:
        copy.write(text.getbuffer())


def timed(work: Callable[[], object]) -> float:
    """Return the duration in seconds."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def forget(connection: psycopg.Connection) -> None:
    """Empty our tables."""
    connection.execute("truncate daily_bar, daily_bar_version, daily_bar_invalidation, ingest_log")


def bare_rivals(url: str, bars: pa.Table) -> Rates:
    """Return the rates of loaders of the bars alone, into a table without triggers."""
    rates: Rates = {}
    with psycopg.connect(url, autocommit=True) as connection:
        for name, copy in (
            ("binary COPY, bars alone", lambda: binary_copy(connection, "rival", bars)),
            ("CSV COPY, bars alone", lambda: csv_copy(connection, bars)),
        ):
            create_rival(connection)
            rates[name] = bars.num_rows / timed(copy)
        create_rival(connection)
        engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
        frame = bars.slice(0, SLOW_ROWS).to_pandas()
        rates["pandas.to_sql"] = len(frame) / timed(
            lambda: frame.to_sql("rival", engine, if_exists="append", index=False)
        )
        engine.dispose()
        connection.execute("drop table rival")
    return rates


def dlt_merge(url: str, bars: pa.Table) -> Rates:
    """Return the rates of dlt's merge of the same table, by its fastest settings seen; or none."""
    if importlib.util.find_spec("dlt") is None:
        return {}
    os.environ["RUNTIME__DLTHUB_TELEMETRY"] = "false"
    dlt: Any = importlib.import_module("dlt")
    with tempfile.TemporaryDirectory() as folder:
        pipeline = dlt.pipeline(
            pipeline_name="bench",
            destination=dlt.destinations.postgres(url),
            dataset_name="peer",
            pipelines_dir=folder,
        )

        def run(rows: pa.Table) -> None:
            pipeline.run(
                rows,
                table_name="daily_bar",
                write_disposition={"disposition": "merge", "strategy": "upsert"},
                primary_key=["instrument_id", "session_date"],
                loader_file_format="parquet",
            )

        run(bars.slice(0, 1))  # Creates its tables.
        return {
            f"dlt {dlt.__version__}, {case}": bars.num_rows / timed(lambda: run(bars))
            for case in ("fresh", "unchanged")
        }


def copies(url: str, rows: pa.Table) -> Rates:
    """Return the rates of a binary COPY into our own table with its triggers."""
    with psycopg.connect(url, autocommit=True) as connection:
        forget(connection)
        at_once = timed(lambda: binary_copy(connection, "daily_bar", rows))
        forget(connection)
        parts = list(histories(rows))
        by_history = timed(
            lambda: [binary_copy(connection, "daily_bar", history) for history in parts]
        )
        forget(connection)
    return {COPY: rows.num_rows / at_once, COPIES: rows.num_rows / by_history}


def ours(url: str, bars: pa.Table) -> Rates:
    """Return the rates of the merge in its cases."""
    with Timescale(url) as timescale, psycopg.connect(url, autocommit=True) as connection:
        store = BatchStore(timescale)
        forget(connection)
        batches = [batch(history) for history in histories(bars)]
        by_history = timed(lambda: [store.load(history) for history in batches])
        forget(connection)
        seconds = {
            "merge, fresh": timed(lambda: store.load(batch(bars))),
            "merge, fresh, by history": by_history,
            "merge, unchanged": timed(lambda: store.load(batch(bars))),
            "merge, 1 % restated": timed(lambda: store.load(batch(restated(bars)))),
        }
    return {name: bars.num_rows / duration for name, duration in seconds.items()}


def instrument_ids(url: str) -> list[int]:
    """Create the instruments of the bars."""
    with Timescale(url) as timescale:
        instruments = InstrumentStore(timescale)
        joined = tuple(
            Constituent(ticker=f"B{number}", name="bench", cik=f"{number:010d}", sector=None)
            for number in range(INSTRUMENTS)
        )
        change = UniverseChange(joined=joined, left=(), renamed=(), kept=())
        instruments.apply(change, date(2020, 1, 2), "bench")
        return sorted(member.instrument_id for member in instruments.members("bench"))


def main() -> None:
    """Print the table; each loader runs twice in turn, and its faster run counts."""
    parser = argparse.ArgumentParser(description="The loader beside its rivals.")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--times", type=int, default=2)
    arguments = parser.parse_args()
    rates: Rates = {}
    with scratch_database() as url:
        migrations.migrate(url)
        bars = market(instrument_ids(url), arguments.rows)
        for _ in range(arguments.times):
            run = {
                **copies(url, stored_rows(bars)),
                **ours(url, bars),
                **bare_rivals(url, bars),
            }
            rates = {name: max(rate, rates.get(name, 0)) for name, rate in run.items()}
    with scratch_database() as url:
        rates |= dlt_merge(url, bars)
    print(f"{bars.num_rows:,} bars of {INSTRUMENTS} instruments (pandas.to_sql: {SLOW_ROWS:,})")
    print(f"{'way':26}{'rows/s':>10}{'x pandas':>10}{'x COPY into the same table':>28}")
    for name, rate in rates.items():
        peer = rates[COPIES if name.endswith("by history") else COPY]
        print(f"{name:26}{rate:10,.0f}{rate / rates['pandas.to_sql']:10.1f}{rate / peer:28.2f}")
    if not any(name.startswith("dlt") for name in rates):
        print("dlt is not installed: pip install 'dlt[postgres]' puts it beside the others")


if __name__ == "__main__":
    main()
