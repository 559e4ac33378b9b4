"""The archive of daily bars on a real database and a real S3 server."""

import json
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import psycopg
import pyarrow.parquet as pq
import pytest

from marketdata.archiving import ARCHIVED, ArchivedDataset, Period
from marketdata.recovery import errors
from resources.storage.archive import Archive, ArchivedPeriod, ArchiveStatus
from resources.storage.archive.iceberg.table import ArchiveTable
from resources.storage.archive.prove.proofs import ArchiveLog
from resources.storage.archive.write import archive as archive_module
from resources.storage.batches import BatchStore
from resources.storage.object_store import ObjectStore
from resources.storage.timescale import Timescale
from sandbox.local_world import LocalWorld
from tests.fixtures.world import BucketSettings, remove_bucket
from tests.storage.archive.moves import lose_behind_the_server
from tests.storage.batches import Row, batch

BARS = ARCHIVED["daily_bars"]
TODAY = datetime.now(UTC).date()
Y2022, Y2023, Y2024 = (BARS.named(label, TODAY) for label in ("2022", "2023", "2024"))


@pytest.fixture
def archive(timescale: Timescale, object_store: ObjectStore) -> Archive:
    """An archive in a fresh database and bucket."""
    return Archive(timescale, object_store)


@pytest.fixture
def two_years(timescale: Timescale, instrument_ids: list[int]) -> list[Row]:
    """Bars in December 2023 and January 2024, stored: 31 days each of three instruments."""
    days = [date(2023, 12, 1) + timedelta(days=offset) for offset in range(62)]
    rows = [
        (instrument_id, day, 10.0 + day.day) for instrument_id in instrument_ids for day in days
    ]
    BatchStore(timescale).load(batch(rows))
    return rows


def archive_one(
    archive: Archive, period: Period, dataset: ArchivedDataset = BARS
) -> ArchivedPeriod:
    """Archive one period."""
    return archive.archive(dataset, [period])[0]


def keys(archived: ArchivedPeriod) -> tuple[str, ...]:
    """Return the keys of a period's files."""
    assert archived.logged
    return archived.logged.proof.object_keys


def files(store: ObjectStore) -> list[str]:
    """Return the keys of the data files."""
    return [stored.key for stored in store.list("iceberg/") if stored.key.endswith(".parquet")]


def drop(url: str, period: Period) -> None:
    """Delete a period's rows and write the tombstone, as retention does."""
    with psycopg.connect(url) as connection:
        connection.execute(
            "delete from daily_bar where session_date >= %s and session_date < %s",
            (period.start, period.end),
        )
        connection.execute(
            "insert into archive_tombstone (dataset, span, archive_id, rows, dropped_by)"
            " select dataset, span, archive_id, rows, 'a test' from archive_log"
            " where dataset = 'daily_bars' and period = %s and superseded_at is null",
            (period.label,),
        )


@pytest.mark.usefixtures("two_years")
def test_an_archived_period_equals_the_database(
    archive: Archive, object_store: ObjectStore, tmp_path: Path
) -> None:
    """An Iceberg reader finds the database's rows, and the file equals its proof."""
    result = archive_one(archive, Y2023)

    assert (result.status, result.period, result.rows) == (ArchiveStatus.COMMITTED, Y2023, 3 * 31)
    verified = archive.verify(BARS, ["2023"])[0]
    assert verified.equal
    assert (verified.archive_rows, verified.expected_rows) == (93, 93)
    (key,) = keys(result)
    object_store.download_file(key, tmp_path / "file")
    rows = pq.read_table(tmp_path / "file", partitioning=None)
    assert rows.schema.names == BARS.schema.names
    assert set(rows["ticker"].to_pylist()) == {"AAA", "BBB", "CCC"}
    assert result.bytes == (tmp_path / "file").stat().st_size
    table = archive.table(BARS).load()
    assert table
    scanned = table.scan(row_filter="session_date >= '2023-12-20'").to_arrow()
    assert scanned.num_rows == 3 * 12


@pytest.mark.usefixtures("two_years")
def test_the_proof_tells_the_least_and_the_greatest_values(archive: Archive) -> None:
    """For every column but plain text, read from the files' own statistics."""
    logged = archive_one(archive, Y2023).logged
    assert logged
    assert logged.proof.bounds["session_date"] == ("2023-12-01", "2023-12-31")
    assert logged.proof.bounds["open"] == ("10.0", "40.0")
    assert "ticker" not in logged.proof.bounds


@pytest.mark.usefixtures("two_years")
def test_the_same_period_again_uploads_and_commits_nothing(
    archive: Archive, object_store: ObjectStore
) -> None:
    """An unchanged period costs a read."""
    first = archive_one(archive, Y2023)
    before = list(object_store.list())

    again = archive_one(archive, Y2023)

    assert again == replace(first, status=ArchiveStatus.UNCHANGED)
    assert list(object_store.list()) == before


def test_a_restated_period_is_replaced_in_one_commit(
    archive: Archive,
    object_store: ObjectStore,
    timescale: Timescale,
    two_years: list[Row],
) -> None:
    """Readers see the old period or the new one; the old file, its proof and snapshot stay."""
    first, _ = archive.archive(BARS, [Y2023, Y2024])
    instrument_id, day, close = two_years[0]
    BatchStore(timescale).load(batch([(instrument_id, day, close + 1)]))
    assert archive.verify(BARS, ["2023"])[0].differing == (
        "open",
        "high",
        "low",
        "close",
        "volume",
        "ingest_id",
        "known_from",
    )

    result = archive_one(archive, Y2023)

    assert result.status is ArchiveStatus.REPLACED
    assert all(verdict.equal for verdict in archive.verify(BARS, ["2023", "2024"]))
    assert {*keys(first), *keys(result)} <= set(files(object_store))
    table = archive.table(BARS).load()
    assert table
    assert first.logged
    assert table.scan(snapshot_id=first.logged.snapshot_id).to_arrow().num_rows == 3 * 62
    assert len(table.snapshots()) == 2
    with timescale.connection() as connection:
        logged = connection.execute(
            """select period, superseded_at is null from archive_log order by archive_id"""
        ).fetchall()
    assert logged == [("2023", False), ("2024", True), ("2023", True)]


@pytest.mark.usefixtures("two_years")
def test_a_year_takes_the_place_of_its_months(
    archive: Archive, timescale: Timescale, object_store: ObjectStore
) -> None:
    """Files that an older version archived by the month make way in the year's own commit."""
    months = [
        Period(start=date(2023, 11, 1), end=date(2023, 12, 1), label="2023-11"),
        Period(start=date(2023, 12, 1), end=date(2024, 1, 1), label="2023-12"),
    ]
    assert [outcome.status for outcome in archive.archive(BARS, months)] == [
        ArchiveStatus.EMPTY,
        ArchiveStatus.COMMITTED,
    ]

    year, _ = archive.archive(BARS, [Y2023, Y2024])

    assert year.status is ArchiveStatus.REPLACED
    assert list(archive.proofs(BARS)) == ["2023", "2024"]
    assert list(ArchiveLog(timescale).valid("daily_bars")) == ["2023", "2024"]
    table = archive.table(BARS).load()
    assert table
    assert table.scan().to_arrow().num_rows == 3 * 62
    assert len(files(object_store)) == 3


@pytest.mark.usefixtures("two_years")
def test_many_periods_are_one_commit_in_the_order_asked_for(archive: Archive) -> None:
    """A period without bars is empty and has no file."""
    results = archive.archive(BARS, [Y2024, Y2022, Y2023])

    assert [outcome.period for outcome in results] == [Y2024, Y2022, Y2023]
    assert [outcome.status for outcome in results] == [
        ArchiveStatus.COMMITTED,
        ArchiveStatus.EMPTY,
        ArchiveStatus.COMMITTED,
    ]
    assert len({outcome.logged.snapshot_id for outcome in results if outcome.logged}) == 1
    assert list(archive.proofs(BARS)) == ["2023", "2024"]


@pytest.mark.usefixtures("two_years")
def test_very_large_periods_are_committed_one_by_one(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So a crash costs only the work since the last commit."""
    monkeypatch.setattr(archive_module, "COMMIT_BYTES", 1)

    results = archive.archive(BARS, [Y2023, Y2024])

    assert len({outcome.logged.snapshot_id for outcome in results if outcome.logged}) == 2
    assert list(archive.proofs(BARS)) == ["2023", "2024"]


def test_a_period_that_is_not_over_is_refused(archive: Archive) -> None:
    """Its rows will still change."""
    today = datetime.now(UTC).date()
    month = Period(start=today.replace(day=1), end=today + timedelta(days=40), label="x")
    with pytest.raises(errors.StorageConflictError, match="not over"):
        archive_one(archive, month)


@pytest.mark.usefixtures("two_years")
def test_a_crash_before_the_log_heals(
    archive: Archive,
    timescale: Timescale,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The Iceberg table is the truth: the next run writes the log row from the snapshot's proof."""

    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(ArchiveLog, "record", crash)
        with pytest.raises(KeyboardInterrupt):
            archive_one(archive, Y2023)
    assert ArchiveLog(timescale).valid("daily_bars") == {}

    again = archive_one(archive, Y2023)

    assert again.status is ArchiveStatus.UNCHANGED
    assert ArchiveLog(timescale).valid("daily_bars")["2023"] == again.logged
    assert again.rows == 93


@pytest.mark.usefixtures("two_years")
def test_a_crash_before_the_commit_leaves_nothing_archived(
    archive: Archive,
    object_store: ObjectStore,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The orphaned file is named by its digest: the next run writes the same one."""

    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(ArchiveTable, "commit", crash)
        with pytest.raises(KeyboardInterrupt):
            archive_one(archive, Y2023)
    orphans = files(object_store)
    assert len(orphans) == 1
    assert archive.proofs(BARS) == {}

    assert list(keys(archive_one(archive, Y2023))) == orphans


def damaged(store: ObjectStore, tmp_path: Path) -> Callable[[Path, str], None]:
    """Return an upload that loses the last row on the way."""

    def upload(path: Path, key: str) -> None:
        rows = pq.read_table(path, partitioning=None)
        pq.write_table(rows.slice(0, rows.num_rows - 1), tmp_path / "damaged")
        store.put_bytes(key, (tmp_path / "damaged").read_bytes(), content_type="x")

    return upload


@pytest.mark.usefixtures("two_years")
def test_a_file_that_comes_back_different_is_never_committed(
    archive: Archive,
    object_store: ObjectStore,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A valid Parquet file that lacks one row is found out; the next run mends it."""
    with monkeypatch.context() as patched:
        patched.setattr(object_store, "upload_file", damaged(object_store, tmp_path))
        refused = archive_one(archive, Y2023)
    assert (refused.status, refused.logged) == (ArchiveStatus.REFUSED, None)
    assert "not the file that was sent" in refused.reason
    assert archive.proofs(BARS) == {}
    assert len(files(object_store)) == 1

    assert archive_one(archive, Y2023).status is ArchiveStatus.COMMITTED
    assert archive.verify(BARS, ["2023"])[0].equal


@pytest.mark.usefixtures("two_years")
def test_a_file_that_somebody_changes_later_is_found_out(
    archive: Archive, object_store: ObjectStore, tmp_path: Path
) -> None:
    """Each period has its own verdict; a missing object is named too."""
    results = archive.archive(BARS, [Y2023, Y2024])
    (changed,), (gone,) = (keys(outcome) for outcome in results)
    object_store.download_file(changed, tmp_path / "file")
    damaged(object_store, tmp_path)(tmp_path / "file", changed)
    object_store.delete(gone)

    first, second = archive.verify(BARS, ["2023", "2024"])

    assert not first.equal
    assert f"{changed} is not the file that was proven" in first.description
    assert not second.equal
    assert f"the bucket lacks {gone}" in second.description


def test_a_bucket_that_fails_ends_the_run(
    timescale: Timescale,
    object_store: ObjectStore,
    instrument_ids: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An outage concerns every period: it is raised at the first one, and nothing is committed."""
    days = [date(year, 1, 3) for year in range(2018, 2026)]
    BatchStore(timescale).load(batch([(instrument_ids[0], day, 10.0) for day in days]))
    uploads: list[str] = []

    def fail(_path: Path, key: str) -> None:
        uploads.append(key)
        message = "the bucket is down"
        raise errors.StorageUnavailableError(message)

    monkeypatch.setattr(object_store, "upload_file", fail)

    with pytest.raises(errors.StorageUnavailableError, match="the bucket is down"):
        Archive(timescale, object_store).archive(BARS, BARS.closed_periods(date(2018, 1, 1), TODAY))

    assert ArchiveLog(timescale).valid("daily_bars") == {}
    assert len(uploads) == 1


@pytest.mark.usefixtures("two_years")
@pytest.mark.parametrize(("last_gone", "left"), [(date(2023, 12, 1), 90), (date(2023, 12, 31), 0)])
def test_fewer_rows_never_replace_an_archived_period(
    archive: Archive, migrated_url: str, last_gone: date, left: int
) -> None:
    """Bars are restated, never removed: a person has to look at missing rows."""
    before = archive_one(archive, Y2023).logged
    with psycopg.connect(migrated_url) as connection:
        connection.execute("delete from daily_bar where session_date <= %s", [last_gone])

    refused, _ = archive.archive(BARS, [Y2023, Y2024])

    assert refused.status is ArchiveStatus.REFUSED
    assert "(instrument_id 1, session_date 2023-12-01)" in refused.reason
    cure = "wrdata archive restore --dataset daily_bars --start 2023-01-01 --end 2023-12-31"
    assert cure in refused.reason
    assert archive.proofs(BARS)["2023"] == before
    verified = archive.verify(BARS, ["2023"])[0]
    assert (verified.equal, verified.archive_rows, verified.expected_rows) == (False, 93, left)
    assert cure in verified.description


def test_as_many_other_rows_never_replace_an_archived_period(
    archive: Archive, migrated_url: str, timescale: Timescale, two_years: list[Row]
) -> None:
    """Each archived row must be there; their number is not enough."""
    before = archive_one(archive, Y2023).logged
    instrument_id, _, close = two_years[0]
    with psycopg.connect(migrated_url) as connection:
        connection.execute("delete from daily_bar where session_date = '2023-12-31'")
    more = [(instrument_id, date(2023, 11, day), close) for day in range(1, 11)]
    BatchStore(timescale).load(batch(more))

    refused = archive_one(archive, Y2023)

    assert (refused.status, refused.logged) == (ArchiveStatus.REFUSED, before)
    assert f"(instrument_id {instrument_id}, session_date 2023-12-31)" in refused.reason
    assert archive.proofs(BARS)["2023"] == before


@pytest.mark.usefixtures("two_years")
@pytest.mark.parametrize(
    ("change", "back", "columns"),
    [
        ("close = close - 0.5", "close = close + 0.5", "close"),
        ("low = low - 1, volume = 7", "low = low + 1, volume = 25000", "low, volume"),
        ("provider = 'x'", "provider = 'fmp'", "provider"),
        (
            "known_from = known_from - interval '1 day'",
            "known_from = known_from + interval '1 day'",
            "known_from",
        ),
    ],
)
def test_a_row_that_no_load_restated_never_replaces_the_archived_one(
    archive: Archive, migrated_url: str, change: str, back: str, columns: str
) -> None:
    """Its ingest_id is unchanged, so no version was kept: the archive has the only copy."""
    before = archive_one(archive, Y2023).logged
    altering = "update daily_bar set"
    where = "where instrument_id = 2 and session_date = '2023-12-15'"
    with psycopg.connect(migrated_url) as connection:
        connection.execute(f"{altering} {change} {where}".encode())

    refused, other = archive.archive(BARS, [Y2023, Y2024])

    assert (refused.status, refused.logged) == (ArchiveStatus.REFUSED, before)
    assert other.status is ArchiveStatus.COMMITTED
    (verdict,) = archive.verify(BARS, ["2023"])
    assert verdict.is_wrong
    for sentence in (refused.reason, verdict.description):
        assert "altered in the database (instrument_id 2, session_date 2023-12-15; " in sentence
        assert f"; {columns})" in sentence
        assert "restore --dataset daily_bars --start 2023-01-01 --end 2023-12-31 --into" in sentence
    with psycopg.connect(migrated_url) as connection:
        connection.execute(f"{altering} {back} {where}".encode())
    assert archive_one(archive, Y2023).status is ArchiveStatus.UNCHANGED


def test_what_only_waits_for_the_next_run_is_not_wrong(
    archive: Archive, timescale: Timescale, two_years: list[Row]
) -> None:
    """New and restated rows are distinguished from lost and altered ones, and counted."""
    archive_one(archive, Y2023)
    instrument_id, day, close = two_years[0]
    later = datetime(2024, 6, 10, tzinfo=UTC)
    rows = [(instrument_id, day, close + 1), (instrument_id, date(2023, 3, 1), 10.0)]
    BatchStore(timescale).load(batch(rows, fetched_at=later))

    (verdict,) = archive.verify(BARS, ["2023"])

    assert (verdict.equal, verdict.is_wrong) == (False, False)
    assert verdict.waiting == "1 rows came, 1 rows were restated"
    assert verdict.description.endswith("since it was archived: the next archive run takes them")
    assert archive_one(archive, Y2023).status is ArchiveStatus.REPLACED
    assert archive.verify(BARS, ["2023"])[0].equal


@pytest.mark.parametrize("deleted", ["2023-11-30", "2023-12-30"])
def test_a_year_that_lacks_a_row_of_its_months_replaces_none(
    archive: Archive,
    migrated_url: str,
    timescale: Timescale,
    instrument_ids: list[int],
    deleted: str,
) -> None:
    """Whatever the labels: rows of the same days are compared, month after month."""
    days = [date(2023, 11, 28) + timedelta(days=offset) for offset in range(33)]
    BatchStore(timescale).load(
        batch([(instrument_id, day, 10.0) for instrument_id in instrument_ids for day in days])
    )
    months = [
        Period(start=date(2023, 11, 1), end=date(2023, 12, 1), label="2023-11"),
        Period(start=date(2023, 12, 1), end=date(2024, 1, 1), label="2023-12"),
    ]
    archive.archive(BARS, months)
    with psycopg.connect(migrated_url) as connection:
        connection.execute("delete from daily_bar where session_date = %s", [deleted])
    # As many rows as before, of other days.
    BatchStore(timescale).load(
        batch([(instrument_id, date(2023, 10, 2), 10.0) for instrument_id in instrument_ids])
    )

    refused = archive_one(archive, Y2023)

    assert refused.status is ArchiveStatus.REFUSED
    assert f"(instrument_id {instrument_ids[0]}, session_date {deleted})" in refused.reason
    assert list(archive.proofs(BARS)) == ["2023-11", "2023-12"]


@pytest.mark.usefixtures("two_years")
@pytest.mark.parametrize("truncated", [False, True])
def test_a_lost_file_whose_rows_are_hot_is_written_again(
    archive: Archive, object_store: ObjectStore, *, truncated: bool
) -> None:
    """It is named by its digest, so no commit is needed."""
    before, _ = archive.archive(BARS, [Y2023, Y2024])
    (key,) = keys(before)
    if truncated:
        object_store.put_bytes(key, b"PAR1", content_type="x")
    else:
        object_store.delete(key)
    assert "wrdata archive run" in archive.verify(BARS, ["2023"])[0].description

    repaired, other = archive.archive(BARS, [Y2023, Y2024])

    assert repaired == replace(before, status=ArchiveStatus.REPAIRED)
    assert other.status is ArchiveStatus.UNCHANGED
    assert all(verdict.equal for verdict in archive.verify(BARS, ["2023", "2024"]))
    table = archive.table(BARS).load()
    assert table
    assert len(table.snapshots()) == 1


def test_a_lost_file_of_restated_rows_is_replaced(
    archive: Archive, object_store: ObjectStore, timescale: Timescale, two_years: list[Row]
) -> None:
    """Its rows cannot be compared any more; the database must have as many."""
    (key,) = keys(archive_one(archive, Y2023))
    object_store.delete(key)
    instrument_id, day, close = two_years[0]
    BatchStore(timescale).load(batch([(instrument_id, day, close + 1)]))

    assert archive_one(archive, Y2023).status is ArchiveStatus.REPLACED
    assert archive.verify(BARS, ["2023"])[0].equal


@pytest.mark.usefixtures("two_years")
@pytest.mark.parametrize("how", ["went behind the server's cache", "has another footer"])
def test_an_object_that_is_listed_and_cannot_be_had_is_no_archive(
    archive: Archive, object_store: ObjectStore, migrated_url: str, world: LocalWorld, how: str
) -> None:
    """Written again while its rows are hot, refused once they are dropped, never unchanged."""
    (key,) = keys(archive_one(archive, Y2023))
    content = object_store.get(key).content
    damaged = content[:-20] + bytes([content[-20] ^ 1]) + content[-19:]

    def harm() -> None:
        if how == "has another footer":
            object_store.put_bytes(key, damaged, content_type="x")
        else:
            lose_behind_the_server(world, object_store, key)

    harm()
    (verdict,) = archive.verify(BARS, ["2023"])
    assert key in verdict.reason
    assert "not the file that was proven" in verdict.reason or "does not hand" in verdict.reason
    assert archive_one(archive, Y2023).status is ArchiveStatus.REPAIRED
    assert archive.verify(BARS, ["2023"])[0].equal

    harm()
    drop(migrated_url, Y2023)
    refused = archive_one(archive, Y2023)
    assert refused.status is ArchiveStatus.REFUSED
    assert f"the bucket has lost {key}: restore it from a backup" in refused.reason
    object_store.put_bytes(key, content, content_type="x")
    assert archive_one(archive, Y2023).status is ArchiveStatus.FROZEN


@pytest.mark.usefixtures("two_years")
def test_fewer_rows_than_a_lost_file_had_never_replace_it(
    archive: Archive, object_store: ObjectStore, migrated_url: str
) -> None:
    """A backup may still have it."""
    result = archive_one(archive, Y2023)
    object_store.delete(keys(result)[0])
    with psycopg.connect(migrated_url) as connection:
        connection.execute("delete from daily_bar where session_date = '2023-12-31'")

    refused = archive_one(archive, Y2023)

    assert (refused.status, refused.logged) == (ArchiveStatus.REFUSED, result.logged)
    assert "90 rows of daily_bars 2023 and the archive 93" in refused.reason


@pytest.mark.usefixtures("two_years")
def test_a_lost_file_of_dropped_rows_is_told(
    archive: Archive, object_store: ObjectStore, migrated_url: str
) -> None:
    """Nothing here can write it again."""
    (key,) = keys(archive_one(archive, Y2023))
    drop(migrated_url, Y2023)
    object_store.delete(key)

    refused = archive_one(archive, Y2023)

    assert refused.status is ArchiveStatus.REFUSED
    assert f"the bucket has lost {key}: restore it from a backup" in refused.reason


def test_a_dropped_period_is_frozen_and_compared_with_its_proof(
    archive: Archive,
    migrated_url: str,
    timescale: Timescale,
    two_years: list[Row],
) -> None:
    """After retention the archive has the only copy, whatever rows come late."""
    logged = archive_one(archive, Y2023).logged
    drop(migrated_url, Y2023)
    assert archive.verify(BARS, ["2023"])[0].against == "proof"
    BatchStore(timescale).load(batch([two_years[0]]))

    frozen, other = archive.archive(BARS, [Y2023, Y2024])

    assert (frozen.status, frozen.logged) == (ArchiveStatus.FROZEN, logged)
    assert "dropped from the database" in frozen.reason
    assert "by a test" in frozen.reason
    assert other.status is ArchiveStatus.COMMITTED
    verified = archive.verify(BARS, ["2023"])[0]
    assert (verified.equal, verified.expected_rows) == (True, 93)


@pytest.mark.usefixtures("two_years")
def test_a_restored_period_is_archived_like_any_other(archive: Archive, migrated_url: str) -> None:
    """Its tombstone is history: the database's rows count again."""
    archive_one(archive, Y2023)
    with psycopg.connect(migrated_url) as connection:
        connection.execute(
            "insert into archive_tombstone"
            " (dataset, span, archive_id, rows, dropped_by, restored_at, restored_by)"
            " select dataset, span, archive_id, rows, 'a', now(), 'b' from archive_log"
        )

    assert archive_one(archive, Y2023).status is ArchiveStatus.UNCHANGED


@pytest.mark.usefixtures("two_years")
def test_writers_beside_each_other_all_end_archived(
    timescale: Timescale, object_store: ObjectStore
) -> None:
    """A commit that lost to another writer is repeated, also the table's first one."""

    def archive(period: Period) -> ArchiveStatus:
        return archive_one(Archive(timescale, object_store), period).status

    with ThreadPoolExecutor(3) as pool:
        statuses = list(pool.map(archive, [Y2023, Y2024, Y2023]))

    assert sorted(statuses) == ["committed", "committed", "unchanged"]
    both = Archive(timescale, object_store)
    assert list(both.proofs(BARS)) == ["2023", "2024"]
    assert all(verdict.equal for verdict in both.verify(BARS, ["2023", "2024"]))


@pytest.mark.usefixtures("two_years")
def test_a_writer_who_always_loses_gives_up(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The number of attempts is bounded, and the message says what to do."""
    attempts: Iterator[None] = iter([None] * archive_module.COMMIT_ATTEMPTS)

    def lose(*_: object) -> int:
        next(attempts)
        raise archive_module.CommitLostError

    monkeypatch.setattr(ArchiveTable, "commit", lose)

    with pytest.raises(errors.StorageConflictError, match="archive again"):
        archive_one(archive, Y2023)
    assert list(attempts) == []


def test_looking_makes_no_table(archive: Archive, object_store: ObjectStore) -> None:
    """Listing, and archiving without rows, leave catalogue and bucket unchanged."""
    assert archive.proofs(BARS) == {}
    assert archive_one(archive, Y2023).status is ArchiveStatus.EMPTY
    assert archive.table(BARS).load() is None
    assert list(object_store.list()) == []


@pytest.mark.usefixtures("two_years")
def test_what_is_not_archived_cannot_be_verified(archive: Archive) -> None:
    """The message names it."""
    with pytest.raises(errors.StorageConflictError, match="daily_bars 2023 is not archived"):
        archive.verify(BARS, ["2023"])


@pytest.mark.usefixtures("two_years")
def test_a_bucket_that_is_gone_is_unavailable(
    timescale: Timescale, object_store: ObjectStore
) -> None:
    """Nothing is logged when the bucket cannot be reached."""
    gone = ObjectStore(replace(object_store.settings, endpoint="http://127.0.0.1:1"))

    with warnings.catch_warnings(), pytest.raises(errors.StorageUnavailableError):
        archive_one(Archive(timescale, gone), Y2023)

    assert ArchiveLog(timescale).valid("daily_bars") == {}


@pytest.mark.usefixtures("two_years")
@pytest.mark.parametrize(
    "wrong", [{"secret_key": "s" * 40}, {"access_key": "AKIAWRONGWRONGWRONG0"}]
)
def test_refused_keys_are_not_an_outage(
    timescale: Timescale, object_store: ObjectStore, archive: Archive, wrong: dict[str, str]
) -> None:
    """Both clients of the bucket, ours and Iceberg's, name the settings and not their values."""
    archive_one(archive, Y2023)
    settings = replace(object_store.settings, **wrong)
    refused = Archive(timescale, ObjectStore(settings))

    for attempt in (
        lambda: refused.proofs(BARS),
        lambda: refused.verify(BARS, ["2023"]),
        lambda: archive_one(refused, Y2023),
        refused.table(BARS).state,
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
        Archive(timescale, missing).proofs(BARS)


@pytest.mark.usefixtures("two_years")
def test_the_bucket_is_checked_once(
    archive: Archive, object_store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One request for each object, not for each call."""
    checks: list[None] = []
    require = object_store.require_bucket

    def counted() -> None:
        checks.append(None)
        require()

    monkeypatch.setattr(object_store, "require_bucket", counted)

    archive_one(archive, Y2023)
    archive.proofs(BARS)
    archive.verify(BARS, ["2023"])

    assert len(checks) == 1


@pytest.mark.usefixtures("two_years")
def test_another_bucket_than_the_catalogue_names_is_refused(
    archive: Archive, timescale: Timescale, object_store: ObjectStore, bucket: BucketSettings
) -> None:
    """No reader would find files of one archive in two buckets; both cures work."""
    old = object_store.settings.bucket
    archive_one(archive, Y2023)
    moved = ObjectStore(replace(object_store.settings, bucket=f"{old}-new"))
    moved.ensure_bucket()
    try:
        other = Archive(timescale, moved)
        for attempt in (lambda: other.proofs(BARS), lambda: archive_one(other, Y2024)):
            with pytest.raises(
                errors.StorageConflictError,
                match=f"names s3://{old}, WRDATA_ARCHIVE_BUCKET is {old}-new: set it back",
            ):
                attempt()
        assert list(moved.list()) == []
        assert Archive(timescale, object_store).verify(BARS, ["2023"])[0].equal

        with timescale.connection() as connection:
            connection.execute(
                """delete from iceberg_catalog.iceberg_tables where table_name = 'daily_bars'"""
            )

        assert archive_one(other, Y2023).status is ArchiveStatus.COMMITTED
        assert other.verify(BARS, ["2023"])[0].equal
        assert len(files(moved)) == 1
    finally:
        remove_bucket(bucket, moved.settings.bucket)


@pytest.mark.usefixtures("two_years")
def test_a_file_of_another_program_stops_the_archive(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only its writer knows its content."""
    monkeypatch.setattr("resources.storage.archive.write.files.folder_of", lambda _: "elsewhere")
    archive_one(archive, Y2023)
    monkeypatch.undo()

    with pytest.raises(errors.ArchiveMismatchError, match="another program wrote it"):
        archive.proofs(BARS)


@pytest.mark.usefixtures("two_years")
def test_every_snapshot_carries_the_proofs_it_was_committed_with(archive: Archive) -> None:
    """So a lost log can be rebuilt from the bucket alone."""
    logged = archive_one(archive, Y2023).logged
    table = archive.table(BARS).load()
    assert table
    assert logged
    snapshot = table.current_snapshot()
    assert snapshot
    assert snapshot.summary
    carried = json.loads(snapshot.summary.additional_properties["wrdata.period.2023"])
    assert carried["content_digest"] == logged.proof.content_digest
    assert [file["object_key"] for file in carried["files"]] == list(logged.proof.object_keys)
