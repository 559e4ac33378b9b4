"""Files of a period: split into parts, proven while the next is written, removed from the disk."""

import errno
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from marketdata.archiving import ARCHIVED
from marketdata.recovery import errors
from resources.storage.archive import Archive, ArchiveStatus
from resources.storage.archive.write import files
from resources.storage.archive.write.rows import stream
from resources.storage.object_store import ObjectStore
from resources.storage.timescale import Timescale

MINUTES = ARCHIVED["minute_bars"]
TODAY = datetime.now(UTC).date()
MARCH, APRIL = (MINUTES.named(label, TODAY) for label in ("2024-03", "2024-04"))
OPENED_AT = datetime(2024, 3, 1, 14, 30, tzinfo=UTC)


@pytest.fixture
def march(timescale: Timescale, instrument_ids: list[int]) -> int:
    """Store a hundred minutes of three shares in March, without trades; return their number."""
    store_minutes(timescale, instrument_ids, OPENED_AT)
    return 300


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder below which files are worked on."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def store_minutes(timescale: Timescale, ids: list[int], start: datetime) -> None:
    """Store a hundred minutes of some instruments."""
    with timescale.connection() as connection:
        connection.execute(
            "insert into minute_bar select share, 'polygon', %(start)s::timestamptz"
            " + minute * interval '1 minute', 2, 3, 1, 2 + minute / 100.0, minute, null, null,"
            " 1, %(start)s::timestamptz from unnest(%(ids)s::bigint[]) as share"
            " cross join generate_series(0, 99) as minute",
            {"start": start, "ids": ids},
        )


def rows(batches: Iterator[pa.RecordBatch]) -> pa.Table:
    """Return all rows."""
    return pa.Table.from_batches(list(batches), schema=MINUTES.schema)


def stored(timescale: Timescale) -> pa.Table:
    """Return March as the database holds it."""
    with stream(timescale, MINUTES, MARCH) as batches:
        return rows(batches)


@pytest.mark.parametrize(("rows_a_group", "bytes_a_group"), [(10, 1 << 30), (1 << 30, 1)])
def test_a_large_period_is_cut_into_files_of_one_order(
    timescale: Timescale,
    object_store: ObjectStore,
    march: int,
    monkeypatch: pytest.MonkeyPatch,
    rows_a_group: int,
    bytes_a_group: int,
) -> None:
    """The fingerprint does not depend on the parts; a file ends with the group that fills it."""
    whole = stored(timescale)
    uncut = files.prove(object_store, MINUTES, MARCH, iter(whole.to_batches()))
    monkeypatch.setattr(files, "ROW_GROUP_ROWS", rows_a_group)
    monkeypatch.setattr(files, "ROW_GROUP_BYTES", bytes_a_group)
    monkeypatch.setattr(files, "PART_ROWS", 30)

    proof = files.prove(object_store, MINUTES, MARCH, iter(whole.to_batches(max_chunksize=7)))

    assert len(uncut.files) == 1
    assert (len(proof.files), proof.rows) == ({10: 10, 1 << 30: 9}[rows_a_group], march)
    assert all(file.rows <= 35 for file in proof.files)
    assert proof.content_digest == uncut.content_digest
    assert proof.bounds == uncut.bounds
    assert rows(files.read_back(object_store, MINUTES, proof)).equals(whole)


@pytest.mark.usefixtures("march")
def test_parts_of_a_period_are_one_commit_and_one_scan(
    timescale: Timescale, object_store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Readers of the Iceberg table see no border."""
    monkeypatch.setattr(files, "ROW_GROUP_ROWS", 10)
    monkeypatch.setattr(files, "PART_ROWS", 100)
    archive = Archive(timescale, object_store)

    (result,) = archive.archive(MINUTES, [MARCH])

    assert result.logged
    assert len(result.logged.proof.files) == 3
    assert all(verdict.equal for verdict in archive.verify(MINUTES, ["2024-03"]))
    table = archive.table(MINUTES).load()
    assert table
    assert table.scan().to_arrow().cast(MINUTES.schema).equals(stored(timescale))
    assert len(table.snapshots()) == 1


class WatchedStore(ObjectStore):
    """A bucket that looks at the local disk at each upload."""

    most = 0

    def upload_file(self, path: Path, key: str) -> None:
        """Count the files that stand there, then upload."""
        self.most = max(self.most, len(list(path.parent.iterdir())))
        super().upload_file(path, key)


@pytest.mark.usefixtures("march")
def test_the_disk_holds_few_parts_and_none_afterwards(
    timescale: Timescale, object_store: ObjectStore, monkeypatch: pytest.MonkeyPatch, work: Path
) -> None:
    """One being sent, one being written, and one waiting."""
    monkeypatch.setattr(files, "ROW_GROUP_ROWS", 10)
    monkeypatch.setattr(files, "PART_ROWS", 20)
    store = WatchedStore(object_store.settings)
    with stream(timescale, MINUTES, MARCH) as batches:
        proof = files.prove(store, MINUTES, MARCH, batches)

    assert len(proof.files) == 15
    assert store.most <= 3
    assert list(work.iterdir()) == []


@pytest.mark.usefixtures("march")
def test_a_full_disk_is_named_and_left_clean(
    timescale: Timescale, object_store: ObjectStore, monkeypatch: pytest.MonkeyPatch, work: Path
) -> None:
    """TMPDIR has no space; the same call may succeed once it has."""

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(pq.ParquetWriter, "write_table", full)
    with (
        stream(timescale, MINUTES, MARCH) as batches,
        pytest.raises(errors.StorageUnavailableError, match=r"No space left.*set TMPDIR"),
    ):
        files.prove(object_store, MINUTES, MARCH, batches)

    assert list(work.iterdir()) == []
    assert list(object_store.list()) == []


def test_a_failure_of_the_database_half_way_proves_nothing(
    object_store: ObjectStore, timescale: Timescale, march: int, work: Path
) -> None:
    """The error is the database's own, and nothing is left on the disk."""

    def broken() -> Iterator[pa.RecordBatch]:
        yield from stored(timescale).slice(0, march // 2).to_batches()
        message = "the database went away"
        raise errors.StorageUnavailableError(message)

    with pytest.raises(errors.StorageUnavailableError, match="went away"):
        files.prove(object_store, MINUTES, MARCH, broken())
    assert list(work.iterdir()) == []


def test_a_new_column_rewrites_nothing(
    timescale: Timescale, object_store: ObjectStore, instrument_ids: list[int], march: int
) -> None:
    """Old files count as null there: only periods with values in it are replaced."""
    without = MINUTES.schema.remove(MINUTES.schema.get_field_index("trades"))
    older = replace(MINUTES, schema=without)
    archive = Archive(timescale, object_store)
    (before,) = archive.archive(older, [MARCH])
    assert before.status is ArchiveStatus.COMMITTED
    uploaded = list(object_store.list())

    (unchanged,) = archive.archive(MINUTES, [MARCH])

    assert unchanged == replace(before, status=ArchiveStatus.UNCHANGED)
    assert list(object_store.list()) == uploaded
    assert all(verdict.equal for verdict in archive.verify(MINUTES, ["2024-03"]))

    store_minutes(timescale, instrument_ids, OPENED_AT + timedelta(days=40))
    (later,) = archive.archive(MINUTES, [APRIL])
    table = archive.table(MINUTES).load()
    assert table
    assert later.status is ArchiveStatus.COMMITTED
    assert table.scan().to_arrow()["trades"].null_count == 2 * march
    assert all(verdict.equal for verdict in archive.verify(MINUTES, ["2024-03", "2024-04"]))

    with timescale.connection() as connection:
        connection.execute("update minute_bar set trades = 7 where opened_at < '2024-04-01'")
    assert archive.verify(MINUTES, ["2024-03"])[0].differing == ("trades",)
    (replaced,) = archive.archive(MINUTES, [MARCH])
    assert replaced.status is ArchiveStatus.REPLACED
    table = archive.table(MINUTES).load()
    assert table
    march_rows = table.scan(row_filter="opened_at < '2024-04-01T00:00:00+00:00'").to_arrow()
    assert march_rows["trades"].to_pylist() == [7] * march


def test_shares_and_pairs_of_one_table_are_two_archives(
    timescale: Timescale, object_store: ObjectStore, instrument_ids: list[int]
) -> None:
    """Each holds its own kind's rows, and the ticker of the row's day."""
    with timescale.connection() as connection:
        row = connection.execute(
            "insert into instrument (name, kind) values ('BTC', 'pair') returning instrument_id"
        ).fetchone()
        assert row
        connection.execute(
            "insert into instrument_ticker (instrument_id, ticker, valid, kind)"
            " values (%s, 'BTC-USD', '(,)', 'pair')",
            row,
        )
        connection.execute(
            "delete from instrument_ticker where instrument_id = %s", instrument_ids[:1]
        )
        connection.execute(
            "insert into instrument_ticker (instrument_id, ticker, valid) values"
            " (%(id)s, 'OLD', '(,2024-03-02)'), (%(id)s, 'NEW', '[2024-03-05,)')",
            {"id": instrument_ids[0]},
        )
    for days in (0, 2, 4):
        store_minutes(timescale, [instrument_ids[0], row[0]], OPENED_AT + timedelta(days=days))

    with stream(timescale, MINUTES, MARCH) as batches:
        shares = rows(batches)
    with stream(timescale, ARCHIVED["crypto_bars"], MARCH) as batches:
        pairs = rows(batches)

    assert set(shares["instrument_id"].to_pylist()) == {instrument_ids[0]}
    assert set(pairs["ticker"].to_pylist()) == {"BTC-USD"}
    assert pairs.num_rows == 300
    by_day = dict(zip(shares["opened_at"].to_pylist(), shares["ticker"].to_pylist(), strict=True))
    assert {(moment.date(), ticker) for moment, ticker in by_day.items()} == {
        (date(2024, 3, 1), "OLD"),
        (date(2024, 3, 3), None),
        (date(2024, 3, 5), "NEW"),
    }
    assert len(Archive(timescale, object_store).archive(MINUTES, [MARCH])) == 1


def test_the_folder_of_a_killed_run_goes_with_the_next_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder of a running process stays, however old; so does a new one."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    holding = (
        "import time\n"
        "from resources.storage.archive.write import files\n"
        "with files.work_folder() as folder:\n"
        "    (folder / '0.parquet').write_bytes(b'rows')\n"
        "    print(folder, flush=True)\n"
        "    time.sleep(600)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", holding],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    ) as worker:
        try:
            assert worker.stdout
            abandoned = Path(worker.stdout.readline().strip())
            os.utime(abandoned, (0, 0))
            with files.work_folder() as new:
                assert set(tmp_path.iterdir()) == {abandoned, new}
        finally:
            worker.kill()
    left_alone = tmp_path / "wrdata-archive-new"
    left_alone.mkdir()

    with files.work_folder():
        pass

    assert list(tmp_path.iterdir()) == [left_alone]
