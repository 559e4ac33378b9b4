"""Which chunk interval daily bars should have: 500 instruments and 20 years, measured.

Here: load, one instrument's history, one session and one month of the whole market, for
several chunk intervals. Not here: the loader beside other loaders (loader.py).

    python -m bench.chunks [--instruments 500]
"""

import argparse
import statistics
import time
from collections.abc import Callable, Mapping
from datetime import date
from typing import LiteralString

import numpy as np
import psycopg
import pyarrow as pa

from bench.scratch import binary_copy, scratch_database
from marketdata.bars import DAILY_BARS
from marketdata.calendars import calendar

INTERVALS = ("1 month", "1 year", "5 years", "10 years", "40 years")
QUERIES: Mapping[str, LiteralString] = {
    "history": "select * from b where instrument_id = 250 order by session_date",
    "last": "select * from b where instrument_id = 250 order by session_date desc limit 1",
    "session": "select * from b where session_date = '2015-06-01'",
    "month": """select * from b where session_date >= '2015-06-01' and session_date < '2015-07-01'
                order by instrument_id, session_date""",
    "aggregate": "select instrument_id, max(high) from b group by instrument_id",
}


def market(instruments: int) -> pa.Table:
    """Return bars of the years 2006 to 2025, sorted."""
    days = np.array(calendar().sessions(date(2006, 1, 1), date(2025, 12, 31)), "datetime64[D]")
    close = np.round(50 + 100 * np.random.default_rng(1).random(instruments * len(days)), 2)
    ids = np.repeat(np.arange(1, instruments + 1), len(days))
    columns = [ids, np.tile(days, instruments), close, close + 1, close - 1, close, close * 1e4]
    return pa.table([pa.array(column) for column in columns], schema=DAILY_BARS)


def timed(work: Callable[[], object], times: int = 1) -> float:
    """Return the median duration in seconds."""
    seconds: list[float] = []
    for _ in range(times):
        began = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)


def fill(connection: psycopg.Connection, bars: pa.Table, interval: str) -> None:
    """Create the hypertable and copy the bars into it."""
    connection.execute("drop table if exists b")
    connection.execute(
        """create table b (instrument_id bigint, session_date date, open float8, high float8,
           low float8, close float8, volume float8, primary key (instrument_id, session_date))"""
    )
    connection.execute(
        "select create_hypertable('b', by_range('session_date', %(every)s::interval))",
        {"every": interval},
    )
    binary_copy(connection, "b", bars)
    connection.execute("analyze b")


def main() -> None:
    """Print one line for each interval."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--instruments", type=int, default=500)
    arguments = parser.parse_args()
    bars = market(arguments.instruments)
    print(f"{bars.num_rows:,} rows; milliseconds, median of 9; load in rows/s")
    print("interval ", "chunks", "    load", *(f"{name:>9}" for name in QUERIES))
    with scratch_database() as url, psycopg.connect(url, autocommit=True) as connection:
        for interval in INTERVALS:
            load_s = timed(lambda interval=interval: fill(connection, bars, interval))
            chunks = connection.execute("select count(*) from show_chunks('b')").fetchone()
            figures = [
                1000 * timed(lambda text=text: connection.execute(text).fetchall(), 9)
                for text in QUERIES.values()
            ]
            print(
                f"{interval:9} {chunks[0] if chunks else 0:6} {bars.num_rows / load_s:8,.0f}",
                *(f"{figure:9.2f}" for figure in figures),
            )
        connection.execute("drop table b")


if __name__ == "__main__":
    main()
