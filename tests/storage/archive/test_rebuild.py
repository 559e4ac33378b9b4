"""A lost catalogue is found again on the bucket: real database, real S3 server."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from pyiceberg.table import Table

from marketdata.archiving import ARCHIVED, ArchivedDataset
from marketdata.recovery import errors
from resources.storage.archive import Archive, ArchiveStatus
from resources.storage.archive.maintain.rebuild import ArchiveRebuild
from resources.storage.archive.maintain.upkeep import ArchiveUpkeep
from resources.storage.archive.prove.proofs import ArchiveLog
from resources.storage.object_store import ObjectStore
from resources.storage.timescale import Timescale
from tests.storage.archive.archived_years import (
    BARS,
    FOLDER,
    YEARS,
    archive_years,
    backup,
    keys,
    restate,
    restore_backup,
    store_bars,
)


@pytest.fixture
def archive(timescale: Timescale, object_store: ObjectStore, instrument_ids: list[int]) -> Archive:
    """Two years in one commit, then 2023 restated."""
    rows = store_bars(timescale, instrument_ids)
    archive = archive_years(timescale, object_store)
    restate(timescale, rows[-1], 51.0)
    archive.archive(BARS, YEARS[1:])
    return archive


@pytest.fixture
def rebuild(timescale: Timescale, object_store: ObjectStore) -> ArchiveRebuild:
    """What registers again."""
    return ArchiveRebuild(timescale, object_store, by="a test")


def lose_catalogue(timescale: Timescale) -> None:
    """Empty the catalogue's tables."""
    with timescale.connection() as connection:
        connection.execute("delete from iceberg_catalog.iceberg_tables")
        connection.execute("delete from iceberg_catalog.iceberg_namespace_properties")


def lose_log(timescale: Timescale) -> None:
    """Empty the log of proofs."""
    with timescale.connection() as connection:
        connection.execute("delete from archive_log")


def newest_key(archive: Archive) -> str:
    """Return the key of the metadata that the catalogue names."""
    table = archive.table(BARS).load()
    assert table
    return table.metadata_location.split("/", 3)[3]


def test_a_lost_catalogue_and_log_come_back_as_they_were(
    archive: Archive, rebuild: ArchiveRebuild, timescale: Timescale, object_store: ObjectStore
) -> None:
    """Same table, same snapshots, same proofs; equal to the database, and archiving goes on."""
    key = newest_key(archive)
    before = archive.proofs(BARS)
    there = keys(object_store)
    lose_catalogue(timescale)
    lose_log(timescale)

    rebuilt = rebuild.rebuild(BARS)

    assert (rebuilt.registered, rebuilt.metadata_key, rebuilt.periods) == (
        True,
        key,
        ("2022", "2023"),
    )
    assert rebuilt.snapshots == 2
    assert newest_key(archive) == key
    after = archive.proofs(BARS)
    assert {label: (logged.proof, logged.snapshot_id) for label, logged in after.items()} == {
        label: (logged.proof, logged.snapshot_id) for label, logged in before.items()
    }
    assert all(verdict.equal for verdict in archive.verify(BARS, after))
    assert keys(object_store) == there
    assert {outcome.status for outcome in archive.archive(BARS, YEARS)} == {ArchiveStatus.UNCHANGED}


def test_proofs_of_expired_snapshots_come_back_too(
    archive: Archive, rebuild: ArchiveRebuild, timescale: Timescale, object_store: ObjectStore
) -> None:
    """2022 was committed by a snapshot that is gone, and its files removed nothing of it."""
    later = datetime.now(UTC) + timedelta(minutes=1)
    upkeep = ArchiveUpkeep(timescale, object_store, by="a test")
    upkeep.expire(BARS, later)
    upkeep.remove_orphans(BARS, later)
    before = archive.proofs(BARS)
    lose_catalogue(timescale)
    lose_log(timescale)

    assert rebuild.rebuild(BARS).periods == ("2022", "2023")

    assert {label: logged.proof for label, logged in archive.proofs(BARS).items()} == {
        label: logged.proof for label, logged in before.items()
    }


def test_a_dry_run_of_the_rebuild_changes_nothing(
    archive: Archive, rebuild: ArchiveRebuild, timescale: Timescale
) -> None:
    """It still checks that everything is there."""
    key = newest_key(archive)
    lose_catalogue(timescale)

    rebuilt = rebuild.rebuild(BARS, dry_run=True)

    assert (rebuilt.registered, rebuilt.metadata_key, rebuilt.periods) == (True, key, ())
    assert archive.table(BARS).load() is None


def test_a_table_that_is_known_is_left_alone(
    archive: Archive, rebuild: ArchiveRebuild, timescale: Timescale
) -> None:
    """Where the catalogue names the newest metadata only the log is filled."""
    key = newest_key(archive)
    lose_log(timescale)

    rebuilt = rebuild.rebuild(BARS)

    assert (rebuilt.registered, rebuilt.metadata_key, rebuilt.periods) == (
        False,
        key,
        ("2022", "2023"),
    )


@pytest.mark.parametrize("commits", [1, 3])
def test_a_catalogue_that_went_back_is_moved_forward(
    archive: Archive,
    rebuild: ArchiveRebuild,
    timescale: Timescale,
    instrument_ids: list[int],
    commits: int,
) -> None:
    """To the newest metadata, with its proofs; archiving then goes on, and nothing was lost."""
    taken = backup(timescale)
    for number in range(commits):
        store_bars(timescale, instrument_ids, close=60.0 + number)
        archive.archive(BARS, YEARS)
    key = newest_key(archive)
    proofs = {label: logged.proof for label, logged in archive.proofs(BARS).items()}
    restore_backup(timescale, taken)

    planned = rebuild.rebuild(BARS, dry_run=True)
    assert backup(timescale) == taken
    rebuilt = rebuild.rebuild(BARS)

    assert (planned.registered, planned.metadata_key) == (True, key)
    assert (rebuilt.registered, rebuilt.metadata_key) == (True, key)
    assert newest_key(archive) == key
    assert {label: logged.proof for label, logged in archive.proofs(BARS).items()} == proofs
    assert {outcome.status for outcome in archive.archive(BARS, YEARS)} == {ArchiveStatus.UNCHANGED}
    assert rebuild.rebuild(BARS).registered is False


def test_a_writer_in_between_is_not_overwritten(
    archive: Archive,
    rebuild: ArchiveRebuild,
    timescale: Timescale,
    instrument_ids: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The catalogue moves only from where it was read."""
    taken = backup(timescale)
    store_bars(timescale, instrument_ids, close=60.0)
    archive.archive(BARS, YEARS)
    restore_backup(timescale, taken)
    # The moment is between its reading and its writing; nothing public lies there.
    register = rebuild._register  # pyright: ignore[reportPrivateUsage]

    def late(dataset: ArchivedDataset, catalogued: Table | None, location: str) -> None:
        archive.archive(BARS, YEARS)
        register(dataset, catalogued, location)

    monkeypatch.setattr(rebuild, "_register", late)

    with pytest.raises(errors.StorageUnavailableError, match="rebuild again"):
        rebuild.rebuild(BARS)
    assert backup(timescale)[0] != taken[0]
    assert all(verdict.equal for verdict in archive.verify(BARS, archive.proofs(BARS)))


@pytest.mark.usefixtures("archive")
def test_a_catalogue_that_is_not_behind_is_never_overwritten(
    archive: Archive, rebuild: ArchiveRebuild, object_store: ObjectStore
) -> None:
    """Older metadata and that of another table: a person decides."""
    key = newest_key(archive)
    first = next(key for key in keys(object_store) if "/metadata/00000-" in key)
    other = f"{FOLDER}metadata/00009-00000000-1111-2222-3333-444455556666.metadata.json"
    content = json.loads(object_store.get(key).content)
    content["table-uuid"] = "0a0a0a0a-1111-2222-3333-444455556666"
    object_store.put_bytes(other, json.dumps(content).encode(), content_type="x")

    for chosen in (first, other):
        with pytest.raises(
            errors.StorageConflictError, match=r"not behind.*delete the table's row"
        ):
            rebuild.rebuild(BARS, metadata_key=chosen)
    assert newest_key(archive) == key


def test_metadata_that_later_commits_followed_is_not_registered(
    archive: Archive, rebuild: ArchiveRebuild, timescale: Timescale, object_store: ObjectStore
) -> None:
    """Not even if a person names it: later files would count as orphans."""
    lose_catalogue(timescale)
    first = next(key for key in keys(object_store) if "/metadata/00000-" in key)

    with pytest.raises(errors.ArchiveMismatchError, match="went back in time"):
        rebuild.rebuild(BARS, metadata_key=first)
    assert archive.table(BARS).load() is None


def test_metadata_without_what_the_log_proves_is_not_registered(
    archive: Archive, rebuild: ArchiveRebuild, timescale: Timescale, object_store: ObjectStore
) -> None:
    """The newest metadata is gone from the bucket: the log stays, and a person decides."""
    newest = newest_key(archive)
    proven = archive.proofs(BARS)["2023"]
    object_store.delete(newest)
    lose_catalogue(timescale)
    there = keys(object_store)

    with pytest.raises(
        errors.ArchiveMismatchError,
        match=rf"archive_log proves {proven.proof.object_keys[0]} .*--metadata",
    ):
        rebuild.rebuild(BARS)

    assert archive.table(BARS).load() is None
    assert ArchiveLog(timescale).valid(BARS.name)["2023"] == proven
    assert keys(object_store) == there
    older = next(key for key in there if "/metadata/00001-" in key)
    assert rebuild.rebuild(BARS, metadata_key=older).periods == ("2022", "2023")


@pytest.mark.parametrize("part", ["/data/", "/metadata/snap-", "-m0.avro"])
def test_metadata_that_names_a_missing_object_is_not_registered(
    archive: Archive,
    rebuild: ArchiveRebuild,
    timescale: Timescale,
    object_store: ObjectStore,
    part: str,
) -> None:
    """A file, a list of manifests, a manifest: the message says which."""
    lost = next(key for key in keys(object_store) if part in key)
    object_store.delete(lost)
    lose_catalogue(timescale)

    with pytest.raises(errors.ArchiveMismatchError, match=lost.rpartition("/")[2]):
        rebuild.rebuild(BARS)
    assert archive.table(BARS).load() is None


def test_a_cut_file_is_not_registered(
    archive: Archive, rebuild: ArchiveRebuild, timescale: Timescale, object_store: ObjectStore
) -> None:
    """Its size is part of the metadata."""
    key = archive.proofs(BARS)["2022"].proof.files[0].object_key
    object_store.put_bytes(key, object_store.get(key).content[:-1], content_type="x")
    lose_catalogue(timescale)

    with pytest.raises(errors.ArchiveMismatchError, match=r"bytes and was archived with"):
        rebuild.rebuild(BARS)
    assert archive.table(BARS).load() is None


def claim(object_store: ObjectStore, key: str, older: str) -> str:
    """Store an older metadata file's content under the newest number; return its key."""
    number = key.rpartition("/")[2].partition("-")[0]
    rival = f"{FOLDER}metadata/{number}-00000000-1111-2222-3333-444455556666.metadata.json"
    object_store.put_bytes(rival, object_store.get(older).content, content_type="x")
    return rival


def test_of_two_that_claim_to_be_newest_the_log_knows_the_one(
    archive: Archive, rebuild: ArchiveRebuild, timescale: Timescale, object_store: ObjectStore
) -> None:
    """A writer that lost leaves a metadata file with the winner's number."""
    key = newest_key(archive)
    first = next(key for key in keys(object_store) if "/metadata/00000-" in key)
    rival = claim(object_store, key, first)
    lose_catalogue(timescale)

    assert rebuild.rebuild(BARS).metadata_key == key

    lose_catalogue(timescale)
    lose_log(timescale)
    with pytest.raises(errors.StorageConflictError, match=r"claim to be the newest.*--metadata"):
        rebuild.rebuild(BARS)
    assert archive.table(BARS).load() is None
    assert rebuild.rebuild(BARS, metadata_key=key).periods == ("2022", "2023")
    assert rival != key


def test_what_was_never_archived_is_nothing_to_rebuild(rebuild: ArchiveRebuild) -> None:
    """An empty bucket is no error."""
    rebuilt = rebuild.rebuild(ARCHIVED["splits"])

    assert (rebuilt.metadata_key, rebuilt.registered, rebuilt.objects) == ("", False, 0)


def test_a_lost_catalogue_is_not_begun_anew(
    archive: Archive, rebuild: ArchiveRebuild, timescale: Timescale, object_store: ObjectStore
) -> None:
    """Archiving would hide the old table behind an empty one: it names the cure instead."""
    lose_catalogue(timescale)
    there = keys(object_store)

    with pytest.raises(errors.ArchiveMismatchError, match="wrdata archive rebuild --dataset"):
        archive.archive(BARS, YEARS)

    assert keys(object_store) == there
    rebuild.rebuild(BARS)
    assert {outcome.status for outcome in archive.archive(BARS, YEARS)} == {ArchiveStatus.UNCHANGED}
