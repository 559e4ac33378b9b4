"""The archive on a real database and a real S3 server."""

import threading
import warnings
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from marketdata.bars import ARCHIVED_BARS
from marketdata.recovery import errors
from resources.storage import archive as archive_module
from resources.storage import archive_rows, archive_table
from resources.storage.archive import ArchiveStatus, BarArchive
from resources.storage.archive_proofs import ArchiveLog
from resources.storage.archive_table import ArchiveTable
from resources.storage.batches import BatchStore
from resources.storage.object_store import ObjectStore, S3Settings
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
    BatchStore(timescale).load(batch(rows))
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
    BatchStore(timescale).load(batch([(instrument_id, day, close + 1)]))
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
        refused = archive.archive_month(MARCH)
    assert (refused.status, refused.object_key) == (ArchiveStatus.REFUSED, "")
    assert "not the file that was sent" in refused.reason
    assert archive.months() == {}

    again = archive.archive_month(MARCH)

    assert again.status is ArchiveStatus.REFUSED
    assert "holds other rows" in again.reason
    assert archive.months() == {}
    object_store.delete(files(object_store)[0])
    assert archive.archive_month(MARCH).status is ArchiveStatus.COMMITTED


@pytest.mark.usefixtures("two_months")
def test_an_object_that_is_no_file_of_bars_blocks_its_month_alone(
    archive: BarArchive, object_store: ObjectStore
) -> None:
    """Whatever lies where a month's file belongs, the other months are committed."""
    key = archive.archive_month(MARCH).object_key
    archive._table._catalog.drop_table(archive_table.TABLE)
    other_columns = pa.BufferOutputStream()
    pq.write_table(pa.table({"a": [1]}), other_columns)
    for content in (b"no Parquet", other_columns.getvalue().to_pybytes()):
        object_store.put_bytes(key, content, content_type="x")

        refused, other = archive.archive_months([MARCH, APRIL])

        assert refused.status is ArchiveStatus.REFUSED
        assert f"{key} cannot be read back" in refused.reason
        assert other.status in {ArchiveStatus.COMMITTED, ArchiveStatus.UNCHANGED}
        assert list(archive.months()) == [APRIL]


class Tables:
    """Reads months like archive_rows.reader, and counts the tables that are alive.

    Attributes:
        most: Tables alive at once, at most; the one just read included.
        full: Set when as many are alive as may be.
    """

    def __init__(self) -> None:
        self.most = 0
        self.full = threading.Event()
        self._read: list[weakref.ref[pa.Table]] = []

    @contextmanager
    def reader(self, url: str) -> Iterator[Callable[[date], pa.Table]]:
        """Stand in for archive_rows.reader."""
        with archive_rows.reader(url) as read:

            def counted(month: date) -> pa.Table:
                rows = read(month)
                self._read.append(weakref.ref(rows))
                self.most = max(self.most, sum(one() is not None for one in self._read))
                if self.most > archive_module.TRANSFERS:
                    self.full.set()
                return rows

            yield counted


class SlowStore(ObjectStore):
    """A bucket whose uploads end only after the event."""

    def __init__(self, settings: S3Settings, after: threading.Event) -> None:
        super().__init__(settings)
        self._after = after

    def upload_file(self, path: Path, key: str) -> None:
        """Wait, then upload."""
        assert self._after.wait(timeout=30)
        super().upload_file(path, key)


def test_no_more_months_are_read_than_can_be_sent(
    timescale: Timescale,
    object_store: ObjectStore,
    instrument_ids: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """However slow the bucket is, only the months on their way and the next are in memory."""
    months = [date(2023, number, 1) for number in range(1, 13)]
    BatchStore(timescale).load(batch([(instrument_ids[0], month, 10.0) for month in months]))
    tables = Tables()
    monkeypatch.setattr(archive_module, "reader", tables.reader)

    results = BarArchive(timescale, SlowStore(object_store.settings, tables.full)).archive_months(
        months
    )

    assert {one.status for one in results} == {ArchiveStatus.COMMITTED}
    assert tables.most == archive_module.TRANSFERS + 1


def test_a_bucket_that_fails_ends_the_reading(
    timescale: Timescale,
    object_store: ObjectStore,
    instrument_ids: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An outage concerns every month: it is raised, nothing is committed, few are kept alive."""
    months = [date(2023, number, 1) for number in range(1, 13)]
    BatchStore(timescale).load(batch([(instrument_ids[0], month, 10.0) for month in months]))
    tables = Tables()
    monkeypatch.setattr(archive_module, "reader", tables.reader)

    def fail(*_: object) -> None:
        message = "the bucket is down"
        raise errors.StorageUnavailableError(message)

    monkeypatch.setattr(object_store, "upload_file", fail)

    with pytest.raises(errors.StorageUnavailableError, match="the bucket is down"):
        BarArchive(timescale, object_store).archive_months(months)

    assert ArchiveLog(timescale).valid() == {}
    assert tables.most <= archive_module.TRANSFERS + 1


@pytest.mark.usefixtures("two_months")
def test_fewer_rows_never_replace_an_archived_month(archive: BarArchive, migrated_url: str) -> None:
    """Bars are restated, never removed: rows that went missing are a person's business."""
    archive.archive_month(MARCH)
    with psycopg.connect(migrated_url) as connection:
        connection.execute("delete from daily_bar where session_date = '2024-03-04'")

    refused, other = archive.archive_months([MARCH, APRIL])

    assert refused.status is ArchiveStatus.REFUSED
    assert "90 rows of 2024-03 and the archive 93" in refused.reason
    assert (other.status, other.reason) == (ArchiveStatus.COMMITTED, "")
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

    with pytest.raises(errors.StorageConflictError, match="archive again"):
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


@pytest.mark.parametrize(
    "wrong", [{"secret_key": "s" * 40}, {"access_key": "AKIAWRONGWRONGWRONG0"}]
)
def test_refused_keys_are_not_an_outage(
    timescale: Timescale, object_store: ObjectStore, archive: BarArchive, wrong: dict[str, str]
) -> None:
    """Both clients of the bucket, ours and Iceberg's, name the settings and not their values."""
    archive.months()
    settings = replace(object_store.settings, **wrong)
    refused = BarArchive(timescale, ObjectStore(settings))

    for attempt in (
        refused.months,
        lambda: refused.verify([MARCH]),
        lambda: refused.archive_month(MARCH),
        ArchiveTable(timescale.url, settings).state,
    ):
        with pytest.raises(
            errors.StorageConflictError, match="AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY"
        ) as caught:
            attempt()
        assert not any(value in str(caught.value) for value in wrong.values())


def test_a_missing_bucket_is_named_before_anything_is_read(
    timescale: Timescale, object_store: ObjectStore
) -> None:
    """The message shows which setting to correct."""
    missing = ObjectStore(replace(object_store.settings, bucket="no-such-bucket"))

    with pytest.raises(errors.StorageConflictError, match=r"no-such-bucket.*WRDATA_ARCHIVE_BUCKET"):
        BarArchive(timescale, missing).months()


@pytest.mark.usefixtures("two_months")
def test_the_bucket_is_checked_once(
    archive: BarArchive, object_store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One request for each object, not for each call."""
    checks: list[None] = []
    require = object_store.require_bucket

    def counted() -> None:
        checks.append(None)
        require()

    monkeypatch.setattr(object_store, "require_bucket", counted)

    archive.archive_month(MARCH)
    archive.months()
    archive.verify([MARCH])

    assert len(checks) == 1


@pytest.mark.usefixtures("two_months")
def test_another_bucket_than_the_catalogue_names_is_refused(
    archive: BarArchive, timescale: Timescale, object_store: ObjectStore
) -> None:
    """Files of one archive in two buckets would be found by nobody; both cures are true."""
    old = object_store.settings.bucket
    archive.archive_month(MARCH)
    moved = ObjectStore(replace(object_store.settings, bucket=f"{old}-new"))
    moved.ensure_bucket()
    try:
        other = BarArchive(timescale, moved)
        for attempt in (other.months, lambda: other.archive_month(APRIL)):
            with pytest.raises(
                errors.StorageConflictError,
                match=f"names s3://{old}, WRDATA_ARCHIVE_BUCKET is {old}-new: set it back",
            ):
                attempt()
        assert list(moved.list()) == []
        assert BarArchive(timescale, object_store).verify([MARCH])[0].equal

        with timescale.connection() as connection:
            connection.execute(
                """delete from iceberg_catalog.iceberg_tables where table_name = 'daily_bars'"""
            )

        assert other.archive_month(MARCH).status is ArchiveStatus.COMMITTED
        assert other.verify([MARCH])[0].equal
        assert len(files(moved)) == 1
    finally:
        for one in list(moved.list()):
            moved.delete(one.key)
        moved._client.delete_bucket(Bucket=moved.settings.bucket)
