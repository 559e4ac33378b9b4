"""Expiry and orphans of the archive, on a real database and a real S3 server."""

import json
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from threading import Barrier
from typing import Any

import pytest
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.table import Table

from marketdata.recovery import errors
from resources.storage.archive import Archive, ArchiveStatus
from resources.storage.archive.iceberg.catalogue import CommitLostError
from resources.storage.archive.iceberg.commit_lock import committing
from resources.storage.archive.maintain.upkeep import ArchiveUpkeep
from resources.storage.archive.prove.proofs import ArchiveLog, CommittedProof, LoggedPeriod
from resources.storage.object_store import ObjectStore
from resources.storage.timescale import Timescale
from tests.storage.archive.archived_years import (
    BARS,
    FOLDER,
    YEARS,
    archive_years,
    backup,
    data_keys,
    keys,
    restate,
    restore_backup,
    store_bars,
)

SOON = timedelta(minutes=1)


@pytest.fixture
def upkeep(timescale: Timescale, object_store: ObjectStore) -> ArchiveUpkeep:
    """The upkeep of an archive in a fresh database and bucket."""
    return ArchiveUpkeep(timescale, object_store, by="a test")


@pytest.fixture
def archive(timescale: Timescale, object_store: ObjectStore, instrument_ids: list[int]) -> Archive:
    """Two years in one commit, then three more commits of 2023 alone, each restated."""
    rows = store_bars(timescale, instrument_ids)
    archive = archive_years(timescale, object_store)
    for close in (51.0, 52.0, 53.0):
        restate(timescale, rows[-1], close)
        (result,) = archive.archive(BARS, YEARS[1:])
        assert result.status is ArchiveStatus.REPLACED
    return archive


def later() -> datetime:
    """Return a moment after all commits so far."""
    return datetime.now(UTC) + SOON


def snapshots(archive: Archive) -> list[int]:
    """Return the ids of the snapshots, oldest first."""
    table = archive.table(BARS).load()
    return [snapshot.snapshot_id for snapshot in table.snapshots()] if table else []


def equal(archive: Archive) -> bool:
    """Return whether all archived rows can be read back and equal the database's."""
    return all(verdict.equal for verdict in archive.verify(BARS, archive.proofs(BARS)))


def test_old_snapshots_go_and_the_current_one_stays(
    archive: Archive, upkeep: ArchiveUpkeep, object_store: ObjectStore
) -> None:
    """However old it is. No file is deleted, and the archive reads as before."""
    before, there = snapshots(archive), keys(object_store)

    expired = upkeep.expire(BARS, later())

    assert (expired.snapshot_ids, expired.kept) == (tuple(before[:-1]), 1)
    assert snapshots(archive) == before[-1:]
    assert there < keys(object_store)
    assert equal(archive)


def test_younger_snapshots_stay(archive: Archive, upkeep: ArchiveUpkeep) -> None:
    """Only snapshots older than the moment go."""
    table = archive.table(BARS).load()
    assert table
    middle = datetime.fromtimestamp(table.snapshots()[2].timestamp_ms / 1000, UTC)

    upkeep.expire(BARS, middle)

    assert snapshots(archive) == [snapshot.snapshot_id for snapshot in table.snapshots()[2:]]


def test_a_dry_run_of_expiry_changes_nothing(
    archive: Archive, upkeep: ArchiveUpkeep, object_store: ObjectStore
) -> None:
    """It returns what the run would return."""
    there = keys(object_store)
    moment = later()

    expected = upkeep.expire(BARS, moment, dry_run=True)

    assert keys(object_store) == there
    assert len(snapshots(archive)) == 4
    assert upkeep.expire(BARS, moment) == expected


def test_the_proof_of_a_living_file_outlives_its_snapshot(
    archive: Archive, upkeep: ArchiveUpkeep, timescale: Timescale
) -> None:
    """2022 was committed by the first snapshot; a lost log is filled again without that one."""
    first = snapshots(archive)[0]
    before = archive.proofs(BARS)

    expired = upkeep.expire(BARS, later())

    assert expired.moved == ("2022",)
    with timescale.connection() as connection:
        connection.execute("delete from archive_log")
    healed = archive.proofs(BARS)
    assert {label: logged.proof for label, logged in healed.items()} == {
        label: logged.proof for label, logged in before.items()
    }
    assert healed["2022"].snapshot_id == first


def test_proofs_that_moved_go_when_their_files_are_replaced(
    archive: Archive, upkeep: ArchiveUpkeep, timescale: Timescale, instrument_ids: list[int]
) -> None:
    """The table's properties hold one proof a period at most."""
    upkeep.expire(BARS, later())
    store_bars(timescale, instrument_ids, close=99.0)
    archive.archive(BARS, YEARS)

    upkeep.expire(BARS, later())

    table = archive.table(BARS).load()
    assert table
    assert not [name for name in table.properties if name.startswith("wrdata.")]
    assert equal(archive)


def test_a_writer_in_between_is_no_loss(
    archive: Archive,
    upkeep: ArchiveUpkeep,
    timescale: Timescale,
    instrument_ids: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A commit between the reading and the expiry stays the current snapshot, with its proofs."""
    # The moment is between its reading and its writing; nothing public lies there.
    forget = upkeep._expire  # pyright: ignore[reportPrivateUsage]

    def late(
        table: Table,
        expired: list[int],
        moving: Collection[CommittedProof],
        outdated: Sequence[str],
    ) -> None:
        store_bars(timescale, instrument_ids, close=77.0)
        archive.archive(BARS, YEARS)
        forget(table, expired, moving, outdated)

    monkeypatch.setattr(upkeep, "_expire", late)
    old = snapshots(archive)[:-1]

    upkeep.expire(BARS, later())

    assert not set(old) & set(snapshots(archive))
    assert len(snapshots(archive)) == 2
    with timescale.connection() as connection:
        connection.execute("delete from archive_log")
    assert equal(archive)


def test_a_lost_race_says_to_expire_again(
    archive: Archive, upkeep: ArchiveUpkeep, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing was changed."""

    def lose(*_: object) -> None:
        raise CommitLostError

    monkeypatch.setattr("resources.storage.archive.maintain.upkeep.ExpireSnapshots", lose)

    with pytest.raises(errors.StorageUnavailableError, match="expire again"):
        upkeep.expire(BARS, later())
    assert len(snapshots(archive)) == 4


def test_orphans_are_what_no_kept_snapshot_names(
    archive: Archive, upkeep: ArchiveUpkeep, object_store: ObjectStore
) -> None:
    """After expiry: the replaced files and their metadata. Every snapshot that is kept reads."""
    current = {key for logged in archive.proofs(BARS).values() for key in logged.proof.object_keys}
    assert len(data_keys(object_store)) == 5
    assert upkeep.remove_orphans(BARS, later()).objects == ()
    upkeep.expire(BARS, later())

    removed = upkeep.remove_orphans(BARS, later())

    assert data_keys(object_store) == current
    assert {stored.key for stored in removed.objects} & current == set()
    assert len([stored for stored in removed.objects if "/data/" in stored.key]) == 3
    assert removed.bytes == sum(stored.bytes for stored in removed.objects) > 0
    assert not {stored.key for stored in removed.objects} & keys(object_store)
    assert equal(archive)
    table = archive.table(BARS).load()
    assert table
    assert table.scan().to_arrow().num_rows == 60
    assert upkeep.remove_orphans(BARS, later()).objects == ()


def test_every_kept_snapshot_reads_after_the_removal(
    archive: Archive, upkeep: ArchiveUpkeep
) -> None:
    """Time travel to what was kept works as before."""
    table = archive.table(BARS).load()
    assert table
    kept = table.snapshots()[2:]
    expected = [table.scan(snapshot_id=snapshot.snapshot_id).to_arrow() for snapshot in kept]
    upkeep.expire(BARS, datetime.fromtimestamp(kept[0].timestamp_ms / 1000, UTC))

    assert upkeep.remove_orphans(BARS, later()).objects

    table = archive.table(BARS).load()
    assert table
    for snapshot, rows in zip(kept, expected, strict=True):
        assert table.scan(snapshot_id=snapshot.snapshot_id).to_arrow().equals(rows)


@pytest.mark.usefixtures("archive")
def test_a_young_object_is_left_alone(upkeep: ArchiveUpkeep, object_store: ObjectStore) -> None:
    """It may belong to a writer that has not committed yet."""
    object_store.put_bytes(f"{FOLDER}data/2023/upload.parquet", b"x", content_type="x")

    assert upkeep.remove_orphans(BARS, datetime.now(UTC) - SOON).objects == ()
    assert [
        stored.key for stored in upkeep.remove_orphans(BARS, later(), dry_run=True).objects
    ] == [f"{FOLDER}data/2023/upload.parquet"]
    assert object_store.exists(f"{FOLDER}data/2023/upload.parquet")
    upkeep.remove_orphans(BARS, later())
    assert not object_store.exists(f"{FOLDER}data/2023/upload.parquet")


@pytest.mark.usefixtures("archive")
def test_other_datasets_and_the_raw_zone_are_out_of_reach(
    upkeep: ArchiveUpkeep, object_store: ObjectStore
) -> None:
    """Also a dataset whose name begins with another's."""
    others = {"iceberg/archive/daily_bars_old/x", "iceberg/archive/splits/x", "raw/fmp/x"}
    for key in others:
        object_store.put_bytes(key, b"x", content_type="x")

    assert upkeep.remove_orphans(BARS, later()).objects == ()


@pytest.mark.usefixtures("archive")
def test_nothing_is_removed_while_a_run_writes(
    upkeep: ArchiveUpkeep, object_store: ObjectStore, timescale: Timescale
) -> None:
    """A running archive may commit objects that it finds, however old."""
    upkeep.expire(BARS, later())
    there = keys(object_store)

    with (
        committing(timescale.url, BARS.name),
        committing(timescale.url, BARS.name),
        pytest.raises(errors.StorageUnavailableError, match=r"writing to archive\.daily_bars"),
    ):
        upkeep.remove_orphans(BARS, later())

    assert keys(object_store) == there
    assert upkeep.remove_orphans(BARS, later()).objects


def test_archiving_keeps_the_removal_out(
    archive: Archive,
    upkeep: ArchiveUpkeep,
    timescale: Timescale,
    instrument_ids: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """From before the first upload until after the commit."""
    store_bars(timescale, instrument_ids, close=88.0)
    seen: list[str] = []
    record = ArchiveLog.record

    def removal(self: ArchiveLog, committed: Sequence[CommittedProof]) -> dict[str, LoggedPeriod]:
        with pytest.raises(errors.StorageUnavailableError, match="a run is writing"):
            upkeep.remove_orphans(BARS, later())
        seen.append("kept out")
        return record(self, committed)

    monkeypatch.setattr(ArchiveLog, "record", removal)
    archive.archive(BARS, YEARS)

    assert seen == ["kept out"]


def test_a_catalogue_that_was_begun_anew_removes_nothing(
    archive: Archive, upkeep: ArchiveUpkeep, object_store: ObjectStore, timescale: Timescale
) -> None:
    """To a new table all files of the old one look like orphans: log and metadata forbid it."""
    table = archive.table(BARS)
    present = table.load()
    assert present is not None
    present.catalog.drop_table(table.name)
    # Archiving would fill the table that it makes.
    table._created()  # pyright: ignore[reportPrivateUsage]
    there = keys(object_store)

    with pytest.raises(errors.ArchiveMismatchError, match=r"archive_log proves .*rebuild"):
        upkeep.remove_orphans(BARS, later())
    with timescale.connection() as connection:
        connection.execute("delete from archive_log")
    with pytest.raises(errors.ArchiveMismatchError, match=r"of another table .*rebuild"):
        upkeep.remove_orphans(BARS, later())

    assert keys(object_store) == there


def test_without_a_table_nothing_is_an_orphan(
    upkeep: ArchiveUpkeep, object_store: ObjectStore
) -> None:
    """An empty catalogue says nothing about what lies on the bucket."""
    object_store.put_bytes(f"{FOLDER}data/2023/file.parquet", b"x", content_type="x")

    for attempt in (upkeep.remove_orphans, upkeep.expire):
        with pytest.raises(errors.StorageConflictError, match="wrdata archive rebuild"):
            attempt(BARS, later())
    assert upkeep.datasets() == []
    assert object_store.exists(f"{FOLDER}data/2023/file.parquet")


@pytest.mark.usefixtures("archive")
def test_a_lost_writers_metadata_is_an_orphan(
    archive: Archive, upkeep: ArchiveUpkeep, object_store: ObjectStore
) -> None:
    """It belongs to the same table but is no commit: the winner's has the same number."""
    table = archive.table(BARS).load()
    assert table
    key = f"{FOLDER}metadata/00004-0a0a0a0a-1111-2222-3333-444455556666.metadata.json"
    object_store.put_bytes(
        key, json.dumps({"table-uuid": str(table.metadata.table_uuid)}).encode(), content_type="x"
    )

    assert [stored.key for stored in upkeep.remove_orphans(BARS, later()).objects] == [key]


def test_the_first_metadata_of_two_first_runs_that_lost_is_an_orphan(
    upkeep: ArchiveUpkeep,
    timescale: Timescale,
    object_store: ObjectStore,
    instrument_ids: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each wrote a table before it asked the catalogue; the loser's never had a row."""
    store_bars(timescale, instrument_ids)
    # pyiceberg's, between writing a table's file and asking the catalogue.
    write = SqlCatalog._write_metadata  # pyright: ignore[reportPrivateUsage]
    both_have_written = Barrier(2, timeout=60)

    def together(metadata: Any, io: Any, metadata_path: str) -> None:
        write(metadata, io, metadata_path)
        if "/00000-" in metadata_path:
            both_have_written.wait()

    monkeypatch.setattr(SqlCatalog, "_write_metadata", staticmethod(together))
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(Archive(timescale, object_store).archive, BARS, YEARS)
        second = pool.submit(Archive(timescale, object_store).archive, BARS, YEARS)
        statuses = {outcome.status for run in (first, second) for outcome in run.result()}
    beginnings = [key for key in keys(object_store) if "/metadata/00000-" in key]
    assert len(beginnings) == 2

    removed = upkeep.remove_orphans(BARS, later()).objects

    assert statuses == {ArchiveStatus.COMMITTED, ArchiveStatus.UNCHANGED}
    assert len([stored for stored in removed if stored.key in beginnings]) == 1
    assert upkeep.remove_orphans(BARS, later()).objects == ()
    assert equal(Archive(timescale, object_store))


def test_a_catalogue_that_went_back_removes_and_commits_nothing(
    archive: Archive,
    upkeep: ArchiveUpkeep,
    timescale: Timescale,
    object_store: ObjectStore,
    instrument_ids: list[int],
) -> None:
    """Objects from after the backup may be the only copy: newer metadata forbid deletion."""
    taken = backup(timescale)
    for close in (61.0, 62.0):
        store_bars(timescale, instrument_ids, close=close)
        archive.archive(BARS, YEARS)
    newest = backup(timescale)
    there = keys(object_store)
    restore_backup(timescale, taken)

    for attempt in (
        lambda: upkeep.remove_orphans(BARS, later()),
        lambda: upkeep.remove_orphans(BARS, later(), dry_run=True),
        lambda: upkeep.expire(BARS, later()),
        lambda: upkeep.compact(BARS),
        lambda: archive.archive(BARS, YEARS),
    ):
        with pytest.raises(
            errors.ArchiveMismatchError,
            match=r"went back in time.*wrdata archive rebuild --dataset daily_bars",
        ):
            attempt()

    assert keys(object_store) == there
    assert backup(timescale) == taken
    assert newest[0] > taken[0]


def test_a_young_commit_ahead_tells_that_the_catalogue_went_back(
    archive: Archive,
    upkeep: ArchiveUpkeep,
    timescale: Timescale,
    object_store: ObjectStore,
    instrument_ids: list[int],
) -> None:
    """The grace is for objects; the order of commits needs none."""
    upkeep.expire(BARS, later())
    taken = backup(timescale)
    for close in (61.0, 62.0):
        store_bars(timescale, instrument_ids, close=close)
        archive.archive(BARS, YEARS)
    restore_backup(timescale, taken)
    there = keys(object_store)

    with pytest.raises(errors.ArchiveMismatchError, match="went back in time"):
        upkeep.remove_orphans(BARS, datetime.now(UTC) - SOON)

    assert keys(object_store) == there


def test_one_commit_ahead_stays_with_all_that_it_names(
    archive: Archive,
    upkeep: ArchiveUpkeep,
    timescale: Timescale,
    object_store: ObjectStore,
    instrument_ids: list[int],
) -> None:
    """A writer died before its commit, or a backup was restored: both look alike."""
    taken = backup(timescale)
    store_bars(timescale, instrument_ids, close=61.0)
    archive.archive(BARS, YEARS)
    ahead = backup(timescale)[0].split("/", 3)[3]
    there = keys(object_store)
    restore_backup(timescale, taken)
    stray = f"{FOLDER}data/2023/upload.parquet"
    object_store.put_bytes(stray, b"x", content_type="x")

    removed = upkeep.remove_orphans(BARS, later())

    assert removed.ahead == (ahead,)
    assert [stored.key for stored in removed.objects] == [stray]
    assert keys(object_store) == there
    # A writer that died is no reason to stop: the next commit takes its place.
    assert {outcome.status for outcome in archive.archive(BARS, YEARS)} == {ArchiveStatus.REPLACED}
