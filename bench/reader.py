"""The reader beside plain reads of the same rows, hot and cold.

Here: 500 tickers x 10 years of daily bars into a pandas frame, and a year of one ticker's minute
bars out of an archive of many. Not here: making the archive (archive.py).

    python -m bench.reader [--tickers 500] [--minute-tickers 100]

Cold rows were never in the database here: their files are written and proven as by the archive,
and log and tombstones are written beside, which takes minutes instead of hours.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from io import BytesIO

import numpy as np
import psycopg
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from pyarrow import fs
from pydantic import SecretStr

from bench.archive import world
from bench.scratch import binary_copy
from marketdata.archiving import ARCHIVED, ArchivedDataset, Period
from marketdata.calendars import calendar
from resources.settings import StoreSettings
from resources.storage.archive.prove.proofs import ArchiveLog, CommittedProof, PeriodProof
from resources.storage.archive.write import files
from resources.storage.object_store import ObjectStore, S3Settings
from resources.storage.timescale import Timescale
from wrdata import read_bars

DAYS, MINUTES = ARCHIVED["daily_bars"], ARCHIVED["minute_bars"]
TEN_YEARS = (date(2016, 1, 4), date(2025, 12, 31))
YEAR = 2024
SESSION_MINUTES = 390
KNOWN_FROM = datetime(2026, 1, 1, tzinfo=UTC)


def tickers(url: str, count: int) -> dict[str, int]:
    """Create shares T0001 and so on; return their ids."""
    names = [f"T{number:04}" for number in range(1, count + 1)]
    with psycopg.connect(url, autocommit=True) as connection:
        rows = connection.execute(
            """with made as (
                   insert into instrument (name) select unnest(%s::text[])
                   returning instrument_id, name
               )
               insert into instrument_ticker (instrument_id, kind, ticker, valid)
               select instrument_id, 'equity', name, daterange(null, null) from made
               returning ticker, instrument_id""",
            [names],
        ).fetchall()
    return dict(rows)


def bars(dataset: ArchivedDataset, ids: list[int], times: pa.Array) -> pa.RecordBatch:
    """Return rows of the dataset's archived schema: every instrument at every time."""
    count = len(ids) * len(times)
    close = np.round(50 + 100 * np.random.default_rng(1).random(count), 2)
    columns = {
        "instrument_id": np.repeat(np.array(ids), len(times)),
        dataset.dated_by: pa.concat_arrays([times] * len(ids)),
        "open": close,
        "high": close + 1,
        "low": close - 1,
        "close": close,
        "volume": np.floor(close * 1e4),
        "vwap": close,
        "trades": np.floor(close).astype(np.int64),
        "ticker": pa.array([f"T{instrument_id:04}" for instrument_id in ids]).take(
            np.repeat(range(len(ids)), len(times))
        ),
        "adjustment": pa.repeat("splits", count),
        "provider": pa.repeat("fmp" if dataset is DAYS else "polygon", count),
        "ingest_id": np.ones(count, np.int64),
        "known_from": pa.repeat(pa.scalar(KNOWN_FROM, pa.timestamp("us", tz="UTC")), count),
    }
    arrays = [pa.array(columns[field.name]).cast(field.type) for field in dataset.schema]
    return pa.record_batch(arrays, schema=dataset.schema)


def sessions(first: date, last: date) -> pa.Array:
    """Return the sessions of these days."""
    return pa.array(calendar().sessions(first, last), pa.date32())


def minutes_of(period: Period) -> pa.Array:
    """Return the regular minutes of a month, as if New York were always five hours behind."""
    days = sessions(period.start, period.end)
    opens = np.array(
        [moment for moment in days.to_pylist() if moment < period.end], "datetime64[us]"
    )
    offsets = np.arange(SESSION_MINUTES) * np.timedelta64(1, "m") + np.timedelta64(870, "m")
    return pa.array((opens[:, None] + offsets.astype("timedelta64[us]")).ravel()).cast(
        pa.timestamp("us", tz="UTC")
    )


def some_at_a_time(
    dataset: ArchivedDataset, ids: list[int], times: pa.Array
) -> Iterator[pa.RecordBatch]:
    """Yield the rows in the archive's order without holding all of them."""
    for start in range(0, len(ids), 10):
        yield bars(dataset, ids[start : start + 10], times)


def bury(timescale: Timescale, proof: PeriodProof) -> None:
    """Log a proof, and write the tombstone of its days."""
    logged = ArchiveLog(timescale).record([CommittedProof(proof=proof, snapshot_id=0)])
    with timescale.connection() as connection:
        connection.execute(
            """insert into archive_tombstone (dataset, span, archive_id, rows, dropped_by)
               values (%s, daterange(%s, %s), %s, %s, 'bench')""",
            [
                proof.dataset,
                proof.period.start,
                proof.period.end,
                logged[proof.period.label].archive_id,
                proof.rows,
            ],
        )


def copy_in(url: str, rows: pa.RecordBatch) -> None:
    """Copy daily bars into the loader's table."""
    own = pa.Table.from_batches([rows]).drop_columns("ticker")
    with psycopg.connect(url, autocommit=True) as connection:
        binary_copy(connection, "daily_bar", own)
        connection.execute("analyze daily_bar")


def timed(work: Callable[[], object], times: int = 5) -> float:
    """Return the median duration in seconds."""
    seconds: list[float] = []
    for _ in range(times):
        began = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)


def copy_out(url: str) -> None:
    """Read all daily bars as bytes: the server's own speed."""
    sink = BytesIO()
    with (
        psycopg.connect(url) as connection,
        connection.cursor().copy(
            "copy (select * from daily_bar) to stdout (format binary)"
        ) as copy,
    ):
        for block in copy:
            sink.write(block)


def plain(s3: S3Settings, proofs: list[PeriodProof], instrument_id: int | None = None) -> pa.Table:
    """Read the same files with pyarrow alone."""
    bucket = fs.S3FileSystem(
        access_key=s3.access_key,
        secret_key=s3.secret_key,
        region=s3.region,
        endpoint_override=s3.endpoint,
    )
    paths = [f"{s3.bucket}/{object_key}" for proof in proofs for object_key in proof.object_keys]
    wanted = None if instrument_id is None else pc.field("instrument_id") == instrument_id
    return ds.dataset(paths, filesystem=bucket).to_table(filter=wanted)


def report(title: str, rows: int, ours_s: float, plain_s: float, bar_s: float) -> None:
    """Print one line."""
    print(f"{title:44}{rows:10,}{ours_s:10.3f}{plain_s:10.3f}{ours_s / plain_s:8.2f}{bar_s:8.1f}")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="The reader beside plain reads.")
    parser.add_argument("--tickers", type=int, default=500)
    parser.add_argument("--minute-tickers", type=int, default=100)
    arguments = parser.parse_args()
    with world() as (url, s3), Timescale(url) as timescale:
        store = ObjectStore(s3)
        where = StoreSettings(
            database_url=SecretStr(url),
            s3_endpoint=s3.endpoint,
            archive_bucket=s3.bucket,
            s3_region=s3.region,
            s3_access_key=SecretStr(s3.access_key),
            s3_secret_key=SecretStr(s3.secret_key),
        )
        ids = tickers(url, arguments.tickers)
        headings = ("rows", "reader", "plain", "ratio", "bar")
        widths = (10, 10, 10, 8, 8)
        print(f"{'seconds, median of 5':44}", end="")
        print("".join(f"{name:>{width}}" for name, width in zip(headings, widths, strict=True)))

        def frame() -> int:
            return len(read_bars(list(ids), *TEN_YEARS, to="pandas", settings=where))

        rows = bars(DAYS, list(ids.values()), sessions(*TEN_YEARS))
        copy_in(url, rows)
        assert frame() == len(rows)
        report(
            "daily bars, hot, to pandas (COPY out)",
            len(rows),
            timed(frame),
            timed(lambda: copy_out(url)),
            0.8,
        )
        with timescale.connection() as connection:
            connection.execute("truncate daily_bar, daily_bar_invalidation")
        today = date(2026, 11, 21)
        years = [DAYS.named(str(year), today) for year in range(2016, 2026)]
        proofs = [
            files.prove(
                store,
                DAYS,
                year,
                [bars(DAYS, list(ids.values()), sessions(year.start, min(year.end, TEN_YEARS[1])))],
            )
            for year in years
        ]
        for proof in proofs:
            bury(timescale, proof)
        report(
            "daily bars, cold, to pandas (pyarrow)",
            frame(),
            timed(frame),
            timed(lambda: plain(s3, proofs).to_pandas()),
            3.0,
        )

        chosen = list(ids.values())[: arguments.minute_tickers]
        months = [MINUTES.named(f"{YEAR}-{month:02}", today) for month in range(1, 13)]
        proofs = [
            files.prove(store, MINUTES, month, some_at_a_time(MINUTES, chosen, minutes_of(month)))
            for month in months
        ]
        for proof in proofs:
            bury(timescale, proof)
        name, middle = list(ids.items())[len(chosen) // 2]

        def year() -> int:
            return len(read_bars(name, f"{YEAR}-01-01", f"{YEAR}-12-31", "1m", settings=where))

        title = f"a year of 1 of {len(chosen)} tickers' minutes (pyarrow)"
        report(title, year(), timed(year), timed(lambda: plain(s3, proofs, middle)), 0.3)


if __name__ == "__main__":
    main()
