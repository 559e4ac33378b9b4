"""The archive on a real database and a real S3 server."""

import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import psycopg
import pyarrow.parquet as pq
import pytest

from marketdata.bars import ARCHIVED_BARS
from marketdata.recovery import errors
from resources.storage import archive as archive_module
from resources.storage.archive import ArchiveStatus, BarArchive
from resources.storage.archive_proofs import ArchiveLog
from resources.storage.daily_bars import DailyBarStore
from resources.storage.object_store import ObjectStore
from resources.storage.timescale import Timescale
from tests.storage.batches import Row, batch

MARCH, APRIL, MAY = date(2024, 3, 1), date(2024, 4, 1), date(2024, 5, 1)


@pytest.fixture
def archive(timescale: Timescale, object_store: ObjectStore) -> BarArchive:
    """An archive in a fresh database and bucket."""
    return BarArchive(timescale, object_store)


@pytest.fixture
def two_months(timescale: Timescale, instrument_ids: list[int]) -> list[Row]:
    """Bars in March and April, stored."""
    days = [MARCH + timedelta(days=offset) for offset in range(61)]
    rows = [(one, day, 10.0 + day.day) for one in instrument_ids for day in days]
    DailyBarStore(timescale).load(batch(rows))
    return rows


def files(store: ObjectStore) -> list[str]:
    """Return the keys of the data files."""
    return [one.key for one in store.list("iceberg/") if one.key.endswith(".parquet")]


@pytest.mark.usefixtures("two_months")
def test_an_archived_month_equals_the_database(
    archive: BarArchive, object_store: ObjectStore, tmp_path: Path
) -> None:
    """What an Iceberg reader finds is what the database holds, and the file is what it says."""
    result = archive.archive_month(date(2024, 3, 17))

    assert (result.status, result.month, result.rows) == (ArchiveStatus.COMMITTED, MARCH, 3 * 31)
    verified = archive.verify([MARCH])[0]
    assert verified.equal
    assert (verified.archive_rows, verified.database_rows) == (93, 93)
    object_store.download_file(result.object_key, tmp_path / "file")
    rows = pq.read_table(tmp_path / "file")
    assert rows.schema.names == ARCHIVED_BARS.names
    assert set(rows["ticker"].to_pylist()) == {"AAA", "BBB", "CCC"}
    assert result.bytes == (tmp_path / "file").stat().st_size


@pytest.mark.usefixtures("two_months")
def test_the_same_month_again_uploads_and_commits_nothing(
    archive: BarArchive, object_store: ObjectStore
) -> None:
    """An unchanged month costs a read."""
    first = archive.archive_month(MARCH)
    before = [one.key for one in object_store.list()]

    again = archive.archive_month(MARCH)

    assert again == replace(first, status=ArchiveStatus.UNCHANGED)
    assert [one.key for one in object_store.list()] == before


def test_a_restated_month_is_replaced_in_one_commit(
    archive: BarArchive,
    object_store: ObjectStore,
    timescale: Timescale,
    two_months: list[Row],
) -> None:
    """Readers see the old month or the new one; the old file, its proof and its snapshot stay."""
    first, _ = archive.archive_months([MARCH, APRIL])
    instrument_id, day, close = two_months[0]
    DailyBarStore(timescale).load(batch([(instrument_id, day, close + 1)]))
    assert archive.verify([MARCH])[0].differing == (
        "open",
        "high",
        "low",
        "close",
        "volume",
        "known_from",
    )

    result = archive.archive_month(MARCH)

    assert result.status is ArchiveStatus.REPLACED
    assert archive.verify([MARCH])[0].equal
    assert archive.verify([APRIL])[0].equal
    assert {first.object_key, result.object_key} <= set(files(object_store))
    table = archive._table.state().table
    old = table.scan(snapshot_id=first.snapshot_id).to_arrow()
    assert old.num_rows == 3 * 61
    assert len(table.snapshots()) == 2
    with timescale.connection() as connection:
        logged = connection.execute(
            """select month, superseded_at is null from archive_log order by archive_id"""
        ).fetchall()
    assert logged == [(MARCH, False), (APRIL, True), (MARCH, True)]


@pytest.mark.usefixtures("two_months")
def test_many_months_are_one_commit_in_the_order_asked_for(archive: BarArchive) -> None:
    """A month without bars is empty and has no file."""
    results = archive.archive_months([APRIL, MAY, MARCH])

    assert [one.month for one in results] == [APRIL, MAY, MARCH]
    assert [one.status for one in results] == [
        ArchiveStatus.COMMITTED,
        ArchiveStatus.EMPTY,
        ArchiveStatus.COMMITTED,
    ]
    assert results[0].snapshot_id == results[2].snapshot_id
    assert list(archive.months()) == [MARCH, APRIL]


def test_a_month_that_is_not_over_is_refused(archive: BarArchive) -> None:
    """Its rows will still change."""
    with pytest.raises(errors.StorageConflictError, match="not over"):
        archive.archive_month(datetime.now(UTC).date())


@pytest.mark.usefixtures("two_months")
def test_a_crash_before_the_log_heals(
    archive: BarArchive,
    timescale: Timescale,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The Iceberg table is the truth: the next run writes the log row from the snapshot's proof."""

    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(ArchiveLog, "record", crash)
        with pytest.raises(KeyboardInterrupt):
            archive.archive_month(MARCH)
    assert ArchiveLog(timescale).valid() == {}

    again = archive.archive_month(MARCH)

    assert again.status is ArchiveStatus.UNCHANGED
    logged = ArchiveLog(timescale).valid()[MARCH]
    assert (logged.proof.object_key, logged.snapshot_id) == (again.object_key, again.snapshot_id)
    assert logged.proof.rows == 93


@pytest.mark.usefixtures("two_months")
def test_a_crash_before_the_commit_leaves_nothing_archived(
    archive: BarArchive,
    object_store: ObjectStore,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The orphaned file is judged by its content and used by the next run."""

    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(archive._table, "commit", crash)
        with pytest.raises(KeyboardInterrupt):
            archive.archive_month(MARCH)
    orphans = files(object_store)
    assert len(orphans) == 1
    assert archive.months() == {}

    assert archive.archive_month(MARCH).object_key == orphans[0]


def damaged(store: ObjectStore, tmp_path: Path) -> Callable[[Path, str], None]:
    """Return an upload that loses the last row on the way."""

    def upload(path: Path, key: str) -> None:
        rows = pq.read_table(path)
        pq.write_table(rows.slice(0, rows.num_rows - 1), tmp_path / "damaged")
        store.put_bytes(key, (tmp_path / "damaged").read_bytes(), content_type="x")

    return upload


@pytest.mark.usefixtures("two_months")
def test_a_file_that_comes_back_different_is_never_committed(
    archive: BarArchive,
    object_store: ObjectStore,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A valid Parquet file that lacks one row is found out; also by a later run that meets it."""
    with monkeypatch.context() as patched:
        patched.setattr(object_store, "upload_file", damaged(object_store, tmp_path))
        with pytest.raises(errors.ArchiveMismatchError, match="not the file that was sent"):
            archive.archive_month(MARCH)
    assert archive.months() == {}

    with pytest.raises(errors.ArchiveMismatchError, match="holds other rows"):
        archive.archive_month(MARCH)

    object_store.delete(files(object_store)[0])
    assert archive.archive_month(MARCH).status is ArchiveStatus.COMMITTED


@pytest.mark.usefixtures("two_months")
def test_fewer_rows_never_replace_an_archived_month(archive: BarArchive, migrated_url: str) -> None:
    """Bars are restated, never removed: rows that went missing are a person's business."""
    archive.archive_month(MARCH)
    with psycopg.connect(migrated_url) as connection:
        connection.execute("delete from daily_bar where session_date = '2024-03-04'")

    with pytest.raises(errors.ArchiveMismatchError, match="90 rows of 2024-03 and the archive 93"):
        archive.archive_month(MARCH)

    verified = archive.verify([MARCH])[0]
    assert (verified.equal, verified.archive_rows, verified.database_rows) == (False, 93, 90)


@pytest.mark.usefixtures("two_months")
def test_a_dropped_month_stays_archived(archive: BarArchive, migrated_url: str) -> None:
    """After retention the archive is all there is."""
    archive.archive_month(MARCH)
    with psycopg.connect(migrated_url) as connection:
        connection.execute("delete from daily_bar")

    assert archive.archive_month(MARCH).status is ArchiveStatus.EMPTY
    assert list(archive.months()) == [MARCH]


@pytest.mark.usefixtures("two_months")
def test_writers_beside_each_other_all_end_archived(
    timescale: Timescale, object_store: ObjectStore
) -> None:
    """A commit that another writer forestalled is made again, the table's first one too."""

    def archive(month: date) -> ArchiveStatus:
        return BarArchive(timescale, object_store).archive_month(month).status

    with ThreadPoolExecutor(3) as pool:
        statuses = list(pool.map(archive, [MARCH, APRIL, MARCH]))

    assert sorted(statuses) == ["committed", "committed", "unchanged"]
    both = BarArchive(timescale, object_store)
    assert list(both.months()) == [MARCH, APRIL]
    assert both.verify([MARCH])[0].equal
    assert both.verify([APRIL])[0].equal


@pytest.mark.usefixtures("two_months")
def test_a_writer_who_always_loses_gives_up(
    archive: BarArchive, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The number of attempts is bounded, and the message says what to do."""
    attempts: Iterator[None] = iter([None] * archive_module.COMMIT_ATTEMPTS)

    def lose(*_: object) -> int:
        next(attempts)
        raise archive_module.CommitLostError

    monkeypatch.setattr(archive._table, "commit", lose)

    with pytest.raises(errors.StorageConflictError, match="archive these months again"):
        archive.archive_month(MARCH)
    assert list(attempts) == []


@pytest.mark.usefixtures("two_months")
def test_a_bucket_that_is_gone_is_unavailable(
    timescale: Timescale, object_store: ObjectStore
) -> None:
    """Nothing is logged when the bucket cannot be reached."""
    gone = ObjectStore(replace(object_store.settings, endpoint="http://127.0.0.1:1"))

    with warnings.catch_warnings(), pytest.raises(errors.StorageUnavailableError):
        BarArchive(timescale, gone).archive_month(MARCH)

    assert ArchiveLog(timescale).valid() == {}
