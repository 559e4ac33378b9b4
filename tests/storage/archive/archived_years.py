"""Two archived years of daily bars, and looks at the archive's files from outside."""

from datetime import date

from marketdata.archiving import ARCHIVED
from resources.storage.archive import Archive
from resources.storage.batches import BatchStore
from resources.storage.object_store import ObjectStore
from resources.storage.timescale import Timescale
from tests.storage.batches import Row, batch

BARS = ARCHIVED["daily_bars"]
TODAY = date(2024, 6, 3)
YEARS = [BARS.named(label, TODAY) for label in ("2022", "2023")]
FOLDER = "iceberg/archive/daily_bars/"


def store_bars(timescale: Timescale, instrument_ids: list[int], close: float = 10.0) -> list[Row]:
    """Store ten sessions of each year, of each instrument."""
    rows = [
        (instrument_id, date(year, month, 3), close + month)
        for instrument_id in instrument_ids
        for year in (2022, 2023)
        for month in range(1, 11)
    ]
    BatchStore(timescale).load(batch(rows))
    return rows


def restate(timescale: Timescale, row: Row, close: float) -> None:
    """Store another close for one row."""
    BatchStore(timescale).load(batch([(row[0], row[1], close)]))


def archive_years(timescale: Timescale, store: ObjectStore) -> Archive:
    """Archive both years; return the archive."""
    archive = Archive(timescale, store)
    archive.archive(BARS, YEARS)
    return archive


def backup(timescale: Timescale) -> tuple[str, int]:
    """Return the state of catalogue and log of proofs: metadata, and the last row."""
    with timescale.connection() as connection:
        row = connection.execute(
            """select metadata_location, (select max(archive_id) from archive_log)
               from iceberg_catalog.iceberg_tables where table_name = %s""",
            (BARS.name,),
        ).fetchone()
    assert row
    return row[0], row[1]


def restore_backup(timescale: Timescale, taken: tuple[str, int]) -> None:
    """Set catalogue and log back, like a database restored from a backup."""
    location, last = taken
    with timescale.connection() as connection:
        connection.execute(
            """update iceberg_catalog.iceberg_tables
               set metadata_location = %s, previous_metadata_location = null
               where table_name = %s""",
            (location, BARS.name),
        )
        superseded = connection.execute(
            "delete from archive_log where archive_id > %s returning span", (last,)
        ).fetchall()
        for (span,) in superseded:
            connection.execute(
                """update archive_log set superseded_at = null where archive_id = (
                       select max(archive_id) from archive_log where span = %s)""",
                (span,),
            )


def data_keys(store: ObjectStore) -> set[str]:
    """Return the keys of the data files on the bucket."""
    return {stored.key for stored in store.list(f"{FOLDER}data/")}


def keys(store: ObjectStore) -> set[str]:
    """Return all keys below the dataset's folder."""
    return {stored.key for stored in store.list(FOLDER)}
