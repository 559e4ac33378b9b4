"""Archived files are rewritten and their rows stay: real database, real S3 server."""

from collections.abc import Iterable
from dataclasses import replace

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from marketdata.archiving import ArchivedDataset, Period
from marketdata.recovery import errors
from resources.storage.archive import Archive, ArchiveStatus
from resources.storage.archive.maintain import compaction
from resources.storage.archive.maintain.compaction import compact
from resources.storage.archive.prove.proofs import PeriodProof
from resources.storage.archive.write import files
from resources.storage.object_store import ObjectStore
from resources.storage.timescale import Timescale
from tests.storage.archive.archived_years import BARS, YEARS, keys, store_bars

OLDER = replace(BARS, schema=BARS.schema.remove(BARS.schema.get_field_index("ticker")))
"""The dataset before its rows were labelled."""


@pytest.fixture
def archive(timescale: Timescale, object_store: ObjectStore, instrument_ids: list[int]) -> Archive:
    """An archive of a database that holds two years of bars."""
    store_bars(timescale, instrument_ids)
    return Archive(timescale, object_store)


def drop_rows(timescale: Timescale) -> None:
    """Remove the bars from the database, as retention does."""
    with timescale.connection() as connection:
        connection.execute("delete from daily_bar")


def current_files(archive: Archive, dataset: ArchivedDataset) -> list[str]:
    """Return the keys of the files of the current snapshot."""
    return [key for logged in archive.proofs(dataset).values() for key in logged.proof.object_keys]


def test_many_small_files_become_one(
    archive: Archive,
    timescale: Timescale,
    object_store: ObjectStore,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In one commit for all periods, with the digest they had; the database is not asked."""
    with monkeypatch.context() as small:
        small.setattr(files, "ROW_GROUP_ROWS", 4)
        small.setattr(files, "PART_ROWS", 8)
        archive.archive(BARS, YEARS)
    before = archive.proofs(BARS)
    assert [len(logged.proof.files) for logged in before.values()] == [4, 4]
    drop_rows(timescale)

    compacted = compact(timescale, object_store, BARS)

    after = archive.proofs(BARS)
    assert [len(logged.proof.files) for logged in after.values()] == [1, 1]
    assert [period.after for period in compacted] == [logged.proof for logged in after.values()]
    assert {label: logged.proof.content_digest for label, logged in after.items()} == {
        label: logged.proof.content_digest for label, logged in before.items()
    }
    table = archive.table(BARS).load()
    assert table
    assert len(table.snapshots()) == 2
    assert table.scan().to_arrow().num_rows == 60
    assert compact(timescale, object_store, BARS) == []


def test_files_from_before_a_column_get_it(
    archive: Archive, timescale: Timescale, object_store: ObjectStore
) -> None:
    """Its values are null, all other columns have the digest they had."""
    archive.archive(OLDER, YEARS[:1])
    archive.archive(BARS, YEARS[1:])
    drop_rows(timescale)
    before = archive.proofs(BARS)["2022"].proof
    assert "ticker" not in before.column_sha256

    (compacted,) = compact(timescale, object_store, BARS)

    assert (compacted.before, compacted.reason) == (before, "written before there was ticker")
    after = archive.proofs(BARS)["2022"].proof
    assert {**after.column_sha256, **before.column_sha256} == dict(after.column_sha256)
    assert set(after.column_sha256) - set(before.column_sha256) == {"ticker"}
    table = archive.table(BARS).load()
    assert table
    rows = table.scan().to_arrow()
    assert (rows.num_rows, rows["ticker"].null_count) == (60, 30)
    assert pc.max(rows["session_date"].filter(pc.is_null(rows["ticker"]))).as_py().year == 2022


def test_a_dry_run_of_compaction_writes_nothing(
    archive: Archive, timescale: Timescale, object_store: ObjectStore
) -> None:
    """It names what would be rewritten."""
    archive.archive(OLDER, YEARS)
    there = keys(object_store)

    due = compact(timescale, object_store, BARS, dry_run=True)

    assert [(period.before.period.label, period.after) for period in due] == [
        ("2022", None),
        ("2023", None),
    ]
    assert keys(object_store) == there


def test_files_as_they_should_be_are_left_alone(
    archive: Archive, timescale: Timescale, object_store: ObjectStore
) -> None:
    """Newly archived files need no compaction."""
    archive.archive(BARS, YEARS)
    there = keys(object_store)

    assert compact(timescale, object_store, BARS) == []
    assert keys(object_store) == there


def test_a_changed_file_is_not_compacted(
    archive: Archive, timescale: Timescale, object_store: ObjectStore
) -> None:
    """Compaction would prove it with its damaged content."""
    archive.archive(OLDER, YEARS)
    before = current_files(archive, OLDER)
    object_store.put_bytes(before[0], object_store.get(before[1]).content, content_type="x")

    with pytest.raises(errors.ArchiveMismatchError, match="not the file that was proven"):
        compact(timescale, object_store, BARS)
    assert current_files(archive, OLDER) == before


def test_a_rewrite_that_changes_rows_is_not_committed(
    archive: Archive,
    timescale: Timescale,
    object_store: ObjectStore,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A fault of ours between reading and writing is found by the digest."""
    archive.archive(OLDER, YEARS)
    before = current_files(archive, OLDER)
    read_back = files.read_back

    def one_short(
        store: ObjectStore, dataset: ArchivedDataset, proof: PeriodProof
    ) -> list[pa.RecordBatch]:
        rows = list(read_back(store, dataset, proof))
        return [rows[0].slice(1), *rows[1:]]

    monkeypatch.setattr(compaction.files, "read_back", one_short)

    with pytest.raises(errors.ArchiveMismatchError, match="is not what was proven"):
        compact(timescale, object_store, BARS)
    assert current_files(archive, OLDER) == before


def test_a_period_that_is_archived_meanwhile_wins(
    archive: Archive,
    timescale: Timescale,
    object_store: ObjectStore,
    instrument_ids: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The compaction is refused, and the database's rows are archived."""
    archive.archive(OLDER, YEARS)
    prove = files.prove

    def late(
        store: ObjectStore,
        dataset: ArchivedDataset,
        period: Period,
        batches: Iterable[pa.RecordBatch],
    ) -> PeriodProof:
        monkeypatch.setattr(compaction.files, "prove", prove)
        store_bars(timescale, instrument_ids, close=70.0)
        results = archive.archive(BARS, YEARS)
        assert {outcome.status for outcome in results} == {ArchiveStatus.REPLACED}
        return prove(store, dataset, period, batches)

    monkeypatch.setattr(compaction.files, "prove", late)

    with pytest.raises(errors.StorageUnavailableError, match="compact again"):
        compact(timescale, object_store, BARS)
    assert all(verdict.equal for verdict in archive.verify(BARS, archive.proofs(BARS)))
    assert compact(timescale, object_store, BARS) == []
