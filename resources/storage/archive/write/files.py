"""The Parquet files of a period: written, uploaded, read back and compared before the commit.

Here: the files and the proof of their rows. Not here: which periods need files (archive.py), the
form of a proof and its log (../prove), or the Iceberg table (../iceberg).

Rows are read once. Each batch is hashed and written while the next one is fetched. A full part is
uploaded, read back and hashed again while the next one is written.
"""

import fcntl
import functools
import hashlib
import importlib.metadata
import os
import shutil
import time
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from marketdata.archiving import ArchivedDataset, Period
from marketdata.content_hash import ContentHasher
from marketdata.recovery import errors
from resources.storage.archive.iceberg.table import folder_of
from resources.storage.archive.prove.proofs import FileProof, PeriodProof
from resources.storage.object_store import (
    ObjectFailsError,
    ObjectMissingError,
    ObjectStore,
)

ROW_GROUP_ROWS = 32_768
ROW_GROUP_BYTES = 64 << 20
"""Most bytes of a row group in memory, up to a batch more: reached by rows with documents."""
PART_ROWS = 2_000_000
PART_BYTES = 256 << 20
"""A file ends with the row group that reaches either of these."""
REPEATING_COLUMNS = frozenset({"instrument_id", "ingest_id", "known_from"})
"""Numbers that repeat from row to row: faster to write and read as a dictionary."""

_WORK_FOLDER = "wrdata-archive-"
"""Prefix of folder names on the local disk."""
_UNLOCKED_FOR_S = 60.0
"""No process takes this long from creating its folder to locking it."""

_LENGTH_AND_MAGIC = 8
"""How a Parquet file ends: four bytes with the length of its footer, and "PAR1".
https://parquet.apache.org/docs/file-format/"""

_MENDING = (
    "wrdata archive run writes it again if its rows are in the database; otherwise restore it "
    "from a backup"
)
"""How to get a lost file back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """One file of a period, on the local disk."""

    path: Path
    rows: int
    sha256: str


def sizes(store: ObjectStore, dataset: ArchivedDataset) -> dict[str, int]:
    """Return the size in bytes of every file of a dataset that the bucket holds, by its key."""
    return {stored.key: stored.bytes for stored in store.list(f"{folder_of(dataset.name)}/")}


def schema_fingerprint(schema: pa.Schema) -> str:
    """Return a hex digest of columns, types and nullability."""
    lines = (
        f"{field.name} {field.type} {'null' if field.nullable else 'not null'}" for field in schema
    )
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def prove(
    store: ObjectStore,
    dataset: ArchivedDataset,
    period: Period,
    batches: Iterable[pa.RecordBatch],
) -> PeriodProof:
    """Write a period's rows to files, upload them, read them back and compare.

    Objects are named for their bytes, so that leftovers of a crashed run are overwritten with the
    same bytes. Without rows there are no files.

    Args:
        store: The bucket.
        dataset: The dataset of the rows.
        period: The period of the rows.
        batches: Rows of ``dataset.schema``, in ``dataset.order``.

    Raises:
        ArchiveMismatchError: A file read back differs from the uploaded one, or holds other rows.
        StorageUnavailableError: The bucket cannot be reached, or the local disk is full.
        StorageConflictError: The bucket refuses.
    """
    sent, arrived = ContentHasher(dataset.schema), ContentHasher(dataset.schema)
    folder = f"{folder_of(dataset.name)}/{period.label}"
    uploads: list[Future[FileProof]] = []
    bounds = _Bounds(dataset)
    with (
        work_folder() as work,
        ThreadPoolExecutor(1) as pool,
        # If anything fails here, the fetching of rows ends too.
        closing(_write_parts(dataset, _hashed(batches, sent), work)) as parts,
    ):
        for number, part in enumerate(parts):
            if uploads:
                # A failed upload ends the reading; the disk holds at most two parts.
                uploads[-1].result()
            bounds.include(pq.read_metadata(part.path))
            key = f"{folder}/{part.sha256}-{number:05d}.parquet"
            uploads.append(pool.submit(_upload_and_prove, store, dataset, part, key, arrived))
        files = tuple(upload.result() for upload in uploads)
    if arrived.result() != sent.result():
        message = f"the files of {folder} hold other rows than were written; archive again"
        raise errors.ArchiveMismatchError(message)
    return PeriodProof(
        dataset=dataset.name,
        period=period,
        files=files,
        bounds=bounds.as_text(),
        content_digest=sent.result().digest,
        column_sha256=sent.result().columns,
        schema_fingerprint=schema_fingerprint(dataset.schema),
        code_version=_code_version(),
    )


def read_back(
    store: ObjectStore, dataset: ArchivedDataset, proof: PeriodProof
) -> Generator[pa.RecordBatch]:
    """Yield a period's rows from the bucket as batches of ``dataset.schema``, in their order.

    Columns added after the files were written are null. One file at a time is on the local disk,
    and one batch in memory.

    Raises:
        ArchiveMismatchError: A file is missing, differs from its proof, or is no Parquet.
        StorageUnavailableError: The bucket cannot be reached, or the local disk is full.
        StorageConflictError: The bucket refuses.
    """
    with work_folder() as work:
        for file in proof.files:
            back = work / "back.parquet"
            if fault := fetch(store, file, back):
                raise errors.ArchiveMismatchError(f"{fault}; {_MENDING}")
            yield from _rows(back, dataset, file.object_key)


def fetch(store: ObjectStore, file: FileProof, path: Path) -> str:
    """Download a file; return what is wrong with it, or nothing if it matches its proof.

    Raises:
        StorageUnavailableError: The bucket cannot be reached.
        StorageConflictError: The bucket refuses.
    """
    try:
        store.download_file(file.object_key, path)
    except (ObjectMissingError, ObjectFailsError) as error:
        return _absence(file, error)
    return "" if _sha256(path) == file.file_sha256 else _changed(file)


def footer_fault(store: ObjectStore, file: FileProof) -> str:
    """Read a file's footer; return what is wrong with it, or nothing if it matches its proof.

    This also detects an object that the server lists but does not return. For files without a
    proven footer nothing more is checked.

    Raises:
        StorageUnavailableError: The bucket cannot be reached.
        StorageConflictError: The bucket refuses.
    """
    size = file.footer_bytes or 1
    try:
        footer = store.read_range(file.object_key, file.bytes - size, size)
    except (ObjectMissingError, ObjectFailsError) as error:
        return _absence(file, error)
    if file.is_checked_in_parts and hashlib.sha256(footer).hexdigest() != file.footer_sha256:
        return _changed(file)
    return ""


def _absence(file: FileProof, error: ObjectMissingError | ObjectFailsError) -> str:
    if isinstance(error, ObjectMissingError):
        return f"the bucket lacks {file.object_key}"
    return (
        f"the bucket lists {file.object_key} and does not hand it out: the object was deleted "
        "behind the server, or the server is ill (restart it)"
    )


def _changed(file: FileProof) -> str:
    return f"{file.object_key} is not the file that was proven: it was changed or damaged"


def read_ahead(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Fetch each batch in another thread while the previous one is processed."""
    source = iter(batches)
    with ThreadPoolExecutor(1) as pool:
        next_batch = pool.submit(next, source, None)
        while (batch := next_batch.result()) is not None:
            next_batch = pool.submit(next, source, None)
            yield batch


def _hashed(batches: Iterable[pa.RecordBatch], hasher: ContentHasher) -> Iterator[pa.RecordBatch]:
    for batch in read_ahead(batches):
        hasher.update(batch)
        yield batch


def _write_parts(
    dataset: ArchivedDataset, batches: Iterable[pa.RecordBatch], work: Path
) -> Generator[_Part]:
    """Write rows to one file after another; yield each complete file."""
    groups = _row_groups(batches)
    group = next(groups, None)
    number = 0
    while group is not None:
        path = work / f"{number}.parquet"
        rows = 0
        with path.open("wb") as sink, _parquet_writer(sink, dataset.schema) as writer:
            while group is not None and rows < PART_ROWS and sink.tell() < PART_BYTES:
                writer.write_table(group, row_group_size=ROW_GROUP_ROWS)
                rows += group.num_rows
                group = next(groups, None)
        yield _Part(path=path, rows=rows, sha256=_sha256(path))
        number += 1


def _row_groups(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.Table]:
    """Cut batches into tables of one row group each."""
    waiting: list[pa.RecordBatch] = []
    for batch in batches:
        waiting.append(batch)
        if sum(batch.nbytes for batch in waiting) >= ROW_GROUP_BYTES:
            yield pa.Table.from_batches(waiting)
            waiting = []
            continue
        while sum(batch.num_rows for batch in waiting) >= ROW_GROUP_ROWS:
            rows = pa.Table.from_batches(waiting)
            yield rows.slice(0, ROW_GROUP_ROWS)
            waiting = rows.slice(ROW_GROUP_ROWS).to_batches()
    if waiting:
        yield pa.Table.from_batches(waiting)


def _parquet_writer(sink: IO[bytes], schema: pa.Schema) -> pq.ParquetWriter:
    # Other numbers differ from row to row: as a dictionary they take three times as long to write.
    repeating = [
        field.name
        for field in schema
        if pa.types.is_string(field.type) or field.name in REPEATING_COLUMNS
    ]
    return pq.ParquetWriter(
        sink, schema, compression="zstd", use_dictionary=repeating, write_page_checksum=True
    )


def _upload_and_prove(
    store: ObjectStore, dataset: ArchivedDataset, part: _Part, key: str, arrived: ContentHasher
) -> FileProof:
    """Upload a part, read it back, and hash its rows with ``arrived``; local files are removed."""
    back = part.path.with_suffix(".back")
    store.upload_file(part.path, key)
    part.path.unlink()
    store.download_file(key, back)
    if _sha256(back) != part.sha256:
        message = f"{key} read back is not the file that was sent; archive again"
        raise errors.ArchiveMismatchError(message)
    for batch in read_ahead(_rows(back, dataset, key)):
        arrived.update(batch)
    size, footer = back.stat().st_size, _footer(back)
    back.unlink()
    return FileProof(
        object_key=key,
        rows=part.rows,
        bytes=size,
        file_sha256=part.sha256,
        footer_bytes=len(footer),
        footer_sha256=hashlib.sha256(footer).hexdigest(),
    )


def _footer(path: Path) -> bytes:
    """Return the end of a Parquet file, from its footer on."""
    with path.open("rb") as file:
        file.seek(-_LENGTH_AND_MAGIC, os.SEEK_END)
        length = int.from_bytes(file.read(4), "little")
        file.seek(-(length + _LENGTH_AND_MAGIC), os.SEEK_END)
        return file.read()


def _rows(path: Path, dataset: ArchivedDataset, key: str) -> Iterator[pa.RecordBatch]:
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=ROW_GROUP_ROWS):
                yield _in_schema(batch, dataset.schema)
    except (pa.ArrowException, ValueError) as error:
        message = f"{key} cannot be read as rows of {dataset.name}: {error}"
        raise errors.ArchiveMismatchError(message) from error


def _in_schema(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    columns = [
        batch.column(field.name).cast(field.type)
        if field.name in batch.schema.names
        else pa.nulls(batch.num_rows, field.type)
        for field in schema
    ]
    return pa.record_batch(columns, schema=schema)


class _Bounds:
    """Least and greatest values over files, from their statistics.

    Texts are included if they sort the rows; others may be whole documents.
    """

    def __init__(self, dataset: ArchivedDataset) -> None:
        self._names = {
            field.name
            for field in dataset.schema
            if not pa.types.is_string(field.type) or field.name in dataset.order
        }
        self._values: dict[str, list[Any]] = {}

    def include(self, file: pq.FileMetaData) -> None:
        for group in range(file.num_row_groups):
            for column_index in range(file.num_columns):
                column = file.row_group(group).column(column_index)
                statistics = column.statistics
                if column.path_in_schema in self._names and statistics and statistics.has_min_max:
                    self._values.setdefault(column.path_in_schema, []).extend(
                        (statistics.min, statistics.max)
                    )

    def as_text(self) -> dict[str, tuple[str, str]]:
        return {name: (str(min(values)), str(max(values))) for name, values in self._values.items()}


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def work_folder() -> Generator[Path]:
    """Yield a folder for the time of the block; folders of killed processes are removed.

    Raises:
        StorageUnavailableError: The local disk is full, or refuses.
    """
    _remove_abandoned_folders()
    with TemporaryDirectory(prefix=_WORK_FOLDER) as folder:
        try:
            # The system releases the lock when the process ends, even if it is killed.
            with _locked(Path(folder)):
                yield Path(folder)
        except OSError as error:
            message = f"the folder {folder} cannot be used ({error}); set TMPDIR to a larger disk"
            raise errors.StorageUnavailableError(message) from error


def _remove_abandoned_folders() -> None:
    for folder in Path(gettempdir()).glob(f"{_WORK_FOLDER}*"):
        # A folder of another user, or of a process that is just ending, stays.
        with suppress(OSError):
            is_new = time.time() - folder.stat().st_mtime < _UNLOCKED_FOR_S
            if not is_new:
                with _locked(folder):
                    shutil.rmtree(folder)


@contextmanager
def _locked(folder: Path) -> Generator[None]:
    """Hold a folder's lock; BlockingIOError if another process, or thread, does."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


@functools.cache
def _code_version() -> str:
    try:
        return importlib.metadata.version("wrdata")
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
