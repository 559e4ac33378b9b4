"""Refreshing aggregates after a revision of one ticker, beside computing all again.

Here: the engines that the server offers, over the same minute bars. Not here: the load itself
(loader.py).

    python -m bench.rollups [--tickers 500] [--sessions 20]
"""

import argparse
import time
from collections.abc import Callable
from datetime import UTC, date, datetime

import psycopg

from bench.scratch import scratch_database
from marketdata.bars import MINUTE_INTERVALS
from marketdata.calendars import calendar
from marketdata.recovery import errors
from resources.storage import migrations
from resources.storage.aggregates import Aggregates, SourceTable
from resources.storage.aggregates.engines import Engine, EngineSetting, opened, put_in_force
from resources.storage.timescale import Timescale

_PLAIN = """
    create temporary table plain on commit drop as
    select instrument_id, provider, time_bucket(width, opened_at) as bucket_start,
        first(open, opened_at) as open, max(high) as high, min(low) as low,
        last(close, opened_at) as close, sum(volume) as volume,
        sum(vwap * volume) / sum(volume) as vwap, sum(trades) as trades, count(*) as source_bars
    from minute_bar
    cross join unnest('{5 minutes, 15 minutes, 1 hour, 1 day}'::interval[]) as width
    group by width, instrument_id, provider, bucket_start
"""
"""SQL without an engine: each interval computed from all minutes."""

_LOAD = """
    insert into minute_bar
    select instrument_id, 'polygon', opened_at, price, price + 0.5, price - 0.5, price + 0.1,
        100 + 900 * random(), price + 0.01, 7, 1, now()
    from (
        select instrument_id, session.opens_at + minute * interval '1 minute' as opened_at,
            50 + 50 * random() as price
        from generate_series(1, %(tickers)s) as instrument_id
        cross join unnest(%(opens)s::timestamptz[]) as session (opens_at)
        cross join generate_series(0, 389) as minute
    ) as made
    order by instrument_id, opened_at
"""
_REVISE = "update minute_bar set volume = volume + 1, ingest_id = 2 where instrument_id = %s"


def timed(work: Callable[[], object]) -> float:
    """Return the duration in seconds."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def loaded(url: str, tickers: int, sessions: int) -> int:
    """Fill the database with regular minutes of some sessions; return how many."""
    days = calendar().sessions(date(2025, 1, 1), date(2025, 12, 31))[:sessions]
    with psycopg.connect(url) as connection:
        connection.execute(
            "insert into instrument (name) select 'bench ' || n from generate_series(1, %s) n",
            (tickers,),
        )
        inserted = connection.execute(
            _LOAD, {"tickers": tickers, "opens": [calendar().open_at(day) for day in days]}
        )
        return inserted.rowcount


def without_an_engine(url: str) -> float:
    """Compute 5m, 15m, 1h and 1d from all minutes, as a materialized view's refresh does."""
    with psycopg.connect(url) as connection:
        connection.execute("analyze minute_bar")
        return timed(lambda: connection.execute(_PLAIN))


def measured(url: str, aggregates: Aggregates) -> dict[str, float]:
    """Return seconds of the first refresh, an empty one, one ticker's, and one read."""
    figures = {"full": timed(lambda: aggregates.refresh(SourceTable.MINUTES))}
    figures["nothing"] = timed(lambda: aggregates.refresh(SourceTable.MINUTES))
    with psycopg.connect(url, autocommit=True) as connection:
        for ticker in (1, 2, 3):
            connection.execute(_REVISE, (ticker,))
            refreshed: list[object] = []
            seconds = timed(
                lambda refreshed=refreshed: refreshed.append(
                    aggregates.refresh(SourceTable.MINUTES)
                )
            )
            figures["one ticker"] = min(figures.get("one ticker", seconds), seconds)
    for interval in MINUTE_INTERVALS:
        differences = aggregates.differences(interval, sample=0.02)
        if differences:
            raise AssertionError(differences[0])
    return figures


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tickers", type=int, default=500)
    parser.add_argument("--sessions", type=int, default=20)
    arguments = parser.parse_args()
    print(f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC")
    print(f"{'engine':24}{'minutes':>12}{'full s':>9}{'nothing s':>11}{'one ticker s':>14}"
          f"{'all again / one':>17}")  # fmt: skip
    for engine in Engine:
        with scratch_database() as url:
            migrations.migrate(url)
            with Timescale(url) as timescale:
                try:
                    put_in_force(timescale, EngineSetting(engine))
                except errors.ConfigurationError as error:
                    print(f"{engine.value:24}not here: {error}")
                    continue
                minutes = loaded(url, arguments.tickers, arguments.sessions)
                again = without_an_engine(url)
                figures = measured(url, opened(timescale, EngineSetting(engine)))
        print(f"{engine.value:24}{minutes:12,}{figures['full']:9.2f}{figures['nothing']:11.3f}"
              f"{figures['one ticker']:14.3f}{again / figures['one ticker']:17.0f}")  # fmt: skip
        print(f"{'without an engine':24}{minutes:12,}{again:9.2f}")


if __name__ == "__main__":
    main()
