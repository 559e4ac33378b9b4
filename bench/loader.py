"""The loader beside what one would pick instead, in one run on one machine.

Here: rows a second of the merge (fresh, unchanged, one percent restated) and of raw binary
COPY, CSV COPY and pandas.to_sql into tables of the same shape. Not here: chunk intervals
(chunks.py).

    python -m bench.loader [--rows 1000000]

The rivals do less: they neither compare, nor keep versions, nor keep coverage and log.
"""

import argparse
import time
from collections.abc import Callable
from datetime import UTC, date, datetime
from io import BytesIO

import numpy as np
import psycopg
import pyarrow as pa
import pyarrow.csv
from pgpq import ArrowToPostgresBinaryEncoder
from sqlalchemy import create_engine

from bench.scratch import scratch_database
from marketdata.bars import DAILY_BARS, Adjustment
from marketdata.calendars import calendar
from marketdata.instruments import Constituent, UniverseChange
from marketdata.ports import Asked, Batch
from resources.storage import migrations
from resources.storage.batches import BatchStore
from resources.storage.instruments import InstrumentStore
from resources.storage.timescale import Timescale

INSTRUMENTS = 500
SLOW_ROWS = 20_000
"""Rows for pandas.to_sql, which would take minutes for all of them."""


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
        rejected=(),
        coverage=(),
    )


def restated(bars: pa.Table) -> pa.Table:
    """Return the bars with another volume in every hundredth row."""
    volume = bars["volume"].to_numpy().copy()
    volume[::100] += 1
    return bars.set_column(6, DAILY_BARS.field("volume"), pa.array(volume))


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


def binary_copy(connection: psycopg.Connection, bars: pa.Table) -> None:
    """Copy in binary, straight into the hypertable."""
    encoder = ArrowToPostgresBinaryEncoder(bars.schema)
    with connection.cursor().copy("copy rival from stdin (format binary)") as copy:
        copy.write(encoder.write_header())
        for part in bars.to_batches(max_chunksize=65_536):
            copy.write(encoder.write_batch(part))
        copy.write(encoder.finish())


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


def rivals(url: str, bars: pa.Table) -> dict[str, float]:
    """Return rows a second of each rival."""
    rates: dict[str, float] = {}
    with psycopg.connect(url, autocommit=True) as connection:
        for name, copy in (("binary COPY", binary_copy), ("CSV COPY", csv_copy)):
            create_rival(connection)
            rates[name] = bars.num_rows / timed(lambda copy=copy: copy(connection, bars))
        create_rival(connection)
        engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
        frame = bars.slice(0, SLOW_ROWS).to_pandas()
        rates["pandas.to_sql"] = len(frame) / timed(
            lambda: frame.to_sql("rival", engine, if_exists="append", index=False)
        )
        engine.dispose()
        connection.execute("drop table rival")
    return rates


def ours(timescale: Timescale, bars: pa.Table) -> dict[str, float]:
    """Return rows a second of the merge in its three cases."""
    store = BatchStore(timescale)
    cases = {
        "merge, fresh": bars,
        "merge, unchanged": bars,
        "merge, 1 % restated": restated(bars),
    }
    return {
        name: bars.num_rows / timed(lambda rows=rows: store.load(batch(rows)))
        for name, rows in cases.items()
    }


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    arguments = parser.parse_args()
    with scratch_database() as url:
        migrations.migrate(url)
        with Timescale(url) as timescale:
            instruments = InstrumentStore(timescale)
            joined = tuple(
                Constituent(ticker=f"B{number}", name="bench", cik=f"{number:010d}", sector=None)
                for number in range(INSTRUMENTS)
            )
            change = UniverseChange(joined=joined, left=(), renamed=(), kept=())
            instruments.apply(change, date(2020, 1, 2), "bench")
            ids = [member.instrument_id for member in instruments.members("bench")]
            bars = market(sorted(ids), arguments.rows)
            rates = {**rivals(url, bars), **ours(timescale, bars)}
    print(f"{bars.num_rows:,} bars of {INSTRUMENTS} instruments (pandas.to_sql: {SLOW_ROWS:,})")
    print(f"{'way':22}{'rows/s':>10}{'x pandas':>10}{'x binary COPY':>15}")
    for name, rate in rates.items():
        beside = rate / rates["pandas.to_sql"], rate / rates["binary COPY"]
        print(f"{name:22}{rate:10,.0f}{beside[0]:10.1f}{beside[1]:15.2f}")


if __name__ == "__main__":
    main()
