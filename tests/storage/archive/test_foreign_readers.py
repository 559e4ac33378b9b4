"""Third-party readers find the database's rows in the archive."""

from pathlib import Path

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.table import Table

from marketdata.archiving import ARCHIVED
from resources.storage.archive.write import rows
from resources.storage.object_store import ObjectStore
from resources.storage.timescale import Timescale
from tests.storage.archive.archived_years import (
    BARS,
    YEARS,
    archive_years,
    restate,
    store_bars,
)


@pytest.fixture
def stored(timescale: Timescale, object_store: ObjectStore, instrument_ids: list[int]) -> pa.Table:
    """The database's rows of two archived years; 2023 was restated and archived again."""
    rows = store_bars(timescale, instrument_ids)
    archive = archive_years(timescale, object_store)
    restate(timescale, rows[-1], 51.0)
    archive.archive(BARS, YEARS)
    return pa.concat_tables(
        pa.Table.from_batches(batches, BARS.schema)
        for year in YEARS
        for batches in [_batches(timescale, year.label)]
    ).sort_by([(name, "ascending") for name in BARS.order])


def _batches(timescale: Timescale, label: str) -> list[pa.RecordBatch]:
    period = next(period for period in YEARS if period.label == label)
    with rows.stream(timescale, BARS, period) as batches:
        return list(batches)


@pytest.fixture
def table(stored: pa.Table, timescale: Timescale, object_store: ObjectStore) -> Table:
    """The table as others open it: by the settings of docs/archive.md alone."""
    assert stored.num_rows == 60
    s3 = object_store.settings
    address = timescale.url.removeprefix("postgresql://")
    catalog = SqlCatalog(
        "wrdata",
        uri=f"postgresql+psycopg://{address}?options=-csearch_path%3Diceberg_catalog",
        init_catalog_tables="false",
        **{
            "s3.endpoint": s3.endpoint,
            "s3.region": s3.region,
            "s3.access-key-id": s3.access_key,
            "s3.secret-access-key": s3.secret_key,
            "s3.force-virtual-addressing": "false",
        },
    )
    try:
        return catalog.load_table("archive.daily_bars")
    finally:
        catalog.close()


def ordered(answer: pa.Table) -> pa.Table:
    """Return a reader's answer in our order and types."""
    return (
        answer.select(BARS.schema.names)
        .cast(BARS.schema)
        .sort_by([(name, "ascending") for name in BARS.order])
    )


def test_pyiceberg_reads_what_the_database_holds(table: Table, stored: pa.Table) -> None:
    """All rows, and those of a filter that leaves a year's file out."""
    assert ordered(table.scan().to_arrow()).equals(stored)

    scan = table.scan(row_filter="session_date >= '2023-01-01' and ticker = 'BBB'")

    assert len(list(scan.plan_files())) == 1
    assert ordered(scan.to_arrow()).num_rows == 10


def test_earlier_snapshots_can_be_read(table: Table, stored: pa.Table) -> None:
    """As it was before the restatement."""
    first = table.snapshots()[0].snapshot_id

    before = ordered(table.scan(snapshot_id=first).to_arrow())

    assert before.num_rows == stored.num_rows
    assert 51.0 in stored["close"].to_pylist()
    assert 51.0 not in before["close"].to_pylist()


def test_pandas_reads_what_the_database_holds(table: Table, stored: pa.Table) -> None:
    """Through pyiceberg."""
    frame = table.scan().to_pandas().sort_values(list(BARS.order), ignore_index=True)

    pd.testing.assert_frame_equal(frame[BARS.schema.names], stored.to_pandas())


def test_polars_reads_what_the_database_holds(table: Table, stored: pa.Table) -> None:
    """Lazily, through pyiceberg.

    rclone answers a range that is a whole file in a way that Polars' own S3 client refuses.
    """
    bars = pl.scan_iceberg(table, reader_override="pyiceberg")

    wanted = pl.from_arrow(stored)
    assert isinstance(wanted, pl.DataFrame)
    assert bars.sort(list(BARS.order)).collect().equals(wanted)
    assert bars.filter(pl.col("ticker") == "BBB").collect().height == 20


def test_duckdb_reads_what_the_database_holds(
    table: Table, stored: pa.Table, object_store: ObjectStore, tmp_path: Path
) -> None:
    """From the files of the current snapshot: its Iceberg extension would be downloaded."""
    place = f"s3://{object_store.settings.bucket}/"
    paths: list[str] = []
    for number, task in enumerate(table.scan().plan_files()):
        path = tmp_path / f"{number}.parquet"
        object_store.download_file(task.file.file_path.removeprefix(place), path)
        paths.append(str(path))
    with duckdb.connect() as connection:
        connection.execute("set timezone = 'UTC'")
        read = connection.read_parquet(paths).to_arrow_table()
        (count,) = connection.execute(
            "select count(*) from read_parquet($paths) where ticker = 'BBB'", {"paths": paths}
        ).fetchone() or (0,)

    assert ordered(read).equals(stored)
    assert count == 20


def test_every_type_of_the_archive_has_its_parquet_type(
    table: Table, object_store: ObjectStore, tmp_path: Path
) -> None:
    """Files carry no type that only Arrow knows; instants are microseconds of UTC."""
    key = next(iter(table.scan().plan_files())).file.file_path.split("/", 3)[3]
    object_store.download_file(key, tmp_path / "file")

    schema = pq.read_schema(tmp_path / "file")

    assert {str(field.type) for field in ARCHIVED["daily_bars"].schema} == {
        str(field.type) for field in schema
    }
    assert schema.field("known_from").type == pa.timestamp("us", tz="UTC")
