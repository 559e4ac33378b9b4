"""Reads bars that are in the archive only, from the Parquet files that their proofs name.

Here: which rows of a period's files to read, and their bounds. Not here: which days were
dropped (snapshot.py), or how files are made and proven (resources/storage/archive).

The valid proof names exactly the files of its Iceberg snapshot. It is kept in the database, so that
one transaction sees which rows are hot and which are cold, and the Iceberg catalogue is not needed.

No damaged value is ever returned. A footer is compared with its proof before Parquet's reader
sees it, since a wrong one may hide rows or crash the process. Each page that is read has a
checksum. Files written without these are fetched whole and compared by their SHA-256.
"""

import functools
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from pyarrow import fs

from marketdata.archiving import ArchivedDataset
from marketdata.recovery import errors
from resources.storage.archive.iceberg.catalogue import translated
from resources.storage.archive.prove.proofs import FileProof
from resources.storage.archive.write import files
from resources.storage.object_store import ObjectStore, S3Settings

_CONNECT_TIMEOUT_S = 5
_REQUEST_TIMEOUT_S = 60
_ATTEMPTS = 3

_FOOTERS_AT_ONCE = 16

_FORMAT = ds.ParquetFileFormat(
    default_fragment_scan_options=ds.ParquetFragmentScanOptions(
        pre_buffer=True, page_checksum_verification=True
    )
)


@dataclass(frozen=True, slots=True, kw_only=True)
class DroppedDays:
    """Days of a dataset that are in the archive only.

    Attributes:
        first: First day (UTC).
        end: The day after the last.
        files: The files of their valid proof.
    """

    first: date
    end: date
    files: tuple[FileProof, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RowFilter:
    """Which rows of the files to read.

    Attributes:
        instrument_ids: At least one.
        bounds: Of the column that dates the rows: included, excluded.
        provider: Only this provider's rows; None: all.
    """

    instrument_ids: Sequence[int]
    bounds: tuple[date, date] | tuple[datetime, datetime]
    provider: str | None


def read_dropped(
    s3: S3Settings,
    dataset: ArchivedDataset,
    schema: pa.Schema,
    dropped: Sequence[DroppedDays],
    row_filter: RowFilter,
) -> pa.Table:
    """Return the archived rows of some instruments, in ``schema`` and in no order.

    Only row groups whose statistics allow such rows are fetched, and only the columns of
    ``schema``. Fetched pages are compared with their checksums.

    Args:
        s3: The archive's bucket.
        dataset: Whose rows.
        schema: Columns of the dataset.
        dropped: Days to read from the archive, at least one; rows of other days are hot.
        row_filter: Which of their rows.

    Raises:
        ArchiveMismatchError: A file is missing or damaged; the text names it, its dataset, its
            period and the cure.
        StorageUnavailableError: The bucket cannot be reached.
        StorageConflictError: There is no such bucket, or it refuses the keys.
    """
    rows = _by_instrument(row_filter) & _between(dataset, schema, *row_filter.bounds)
    rows &= are_dropped(dataset, schema, dropped)
    proofs = dict.fromkeys(file for days in dropped for file in days.files)
    in_parts = [file for file in proofs if file.is_checked_in_parts]
    whole = [file for file in proofs if not file.is_checked_in_parts]
    store = _store(s3)
    with translated(f"the archive of {dataset.name}", s3.bucket):
        _require_footers(store, dataset, dropped, in_parts)
        try:
            table = _read([_fragment(s3, file) for file in in_parts], _bucket(s3), schema, rows)
        except (OSError, pa.ArrowException) as error:
            _require_undamaged(store, dataset, dropped, error)
            raise
        if not whole:
            return table
        return pa.concat_tables([table, *_read_whole(store, dataset, dropped, whole, schema, rows)])


def _read_whole(
    store: ObjectStore,
    dataset: ArchivedDataset,
    dropped: Sequence[DroppedDays],
    proofs: Sequence[FileProof],
    schema: pa.Schema,
    rows: Any,
) -> Iterator[pa.Table]:
    """Fetch whole files that have no page checksums, compare each one, and yield its rows."""
    local = fs.LocalFileSystem()
    with files.work_folder() as work:
        for file in proofs:
            path = work / "whole.parquet"
            if fault := files.fetch(store, file, path):
                raise _damage(dataset, dropped, file, fault)
            yield _read([_FORMAT.make_fragment(str(path), local)], local, schema, rows)


def _read(
    fragments: Sequence[ds.Fragment], filesystem: fs.FileSystem, schema: pa.Schema, rows: Any
) -> pa.Table:
    dataset = ds.FileSystemDataset(fragments, schema, _FORMAT, filesystem)
    return dataset.to_table(columns=schema.names, filter=rows).cast(schema)


def _require_footers(
    store: ObjectStore,
    dataset: ArchivedDataset,
    dropped: Sequence[DroppedDays],
    proofs: Sequence[FileProof],
) -> None:
    """Refuse a file whose footer differs from its proof."""
    try:
        with ThreadPoolExecutor(_FOOTERS_AT_ONCE) as pool:
            faults = list(pool.map(functools.partial(files.footer_fault, store), proofs))
    except errors.StorageUnavailableError as error:
        message = f"the archive of {dataset.name}: {error}"
        raise errors.StorageUnavailableError(message) from error
    for file, fault in zip(proofs, faults, strict=True):
        if fault:
            raise _damage(dataset, dropped, file, fault)


def _require_undamaged(
    store: ObjectStore, dataset: ArchivedDataset, dropped: Iterable[DroppedDays], cause: Exception
) -> None:
    """Find the file that could not be read; Parquet's reader does not name it.

    Raises:
        ArchiveMismatchError: One of the files differs from its proof.
    """
    with files.work_folder() as work:
        for days in dropped:
            for file in days.files:
                if fault := files.fetch(store, file, work / "file.parquet"):
                    raise _damage(dataset, [days], file, fault) from cause


def _damage(
    dataset: ArchivedDataset, dropped: Iterable[DroppedDays], file: FileProof, fault: str
) -> errors.ArchiveMismatchError:
    label = next(
        dataset.period_of(days.first, date.max).label for days in dropped if file in days.files
    )
    return errors.ArchiveMismatchError(
        f"{dataset.name} {label} cannot be read, whose rows are in the archive only: {fault}; "
        "restore the object from a backup or an older version of it; wrdata archive verify "
        f"--dataset {dataset.name} says what else is damaged"
    )


def _fragment(s3: S3Settings, file: FileProof) -> Any:
    path = f"{s3.bucket}/{file.object_key}"
    return _FORMAT.make_fragment(path, _bucket(s3), file_size=file.bytes)


def _by_instrument(row_filter: RowFilter) -> Any:
    """Return the filter for instruments and provider.

    The bounds of the ids say nothing new: Parquet skips row groups by them, with its statistics.
    """
    column, ids = pc.field("instrument_id"), row_filter.instrument_ids
    condition = (column >= min(ids)) & (column <= max(ids)) & column.isin(pa.array(ids, pa.int64()))
    return (
        condition
        if row_filter.provider is None
        else condition & (pc.field("provider") == row_filter.provider)
    )


def are_dropped(dataset: ArchivedDataset, schema: pa.Schema, dropped: Sequence[DroppedDays]) -> Any:
    """Return the filter for rows (``schema``) of the dropped days (at least one)."""
    conditions = (_between(dataset, schema, days.first, days.end) for days in dropped)
    return functools.reduce(lambda filters, days: filters | days, conditions)


def _between(
    dataset: ArchivedDataset, schema: pa.Schema, start: date | datetime, end: date | datetime
) -> Any:
    """Return the filter for rows from ``start`` to before ``end``."""
    column, kind = pc.field(dataset.dated_by), schema.field(dataset.dated_by).type
    # A date stands for its midnight in UTC, which is how periods are cut.
    start_value, end_value = (pa.scalar(bound).cast(kind) for bound in (start, end))
    return (column >= start_value) & (column < end_value)


@functools.cache
def _store(s3: S3Settings) -> ObjectStore:
    """Return a client that fetches a part of an object in one request."""
    return ObjectStore(s3)


@functools.cache
def _bucket(s3: S3Settings) -> fs.S3FileSystem:
    """Return the bucket's client; its connections are kept for the next read."""
    where = {} if s3.is_aws else {"endpoint_override": s3.endpoint}
    return fs.S3FileSystem(
        access_key=s3.access_key,
        secret_key=s3.secret_key,
        region=s3.region,
        connect_timeout=_CONNECT_TIMEOUT_S,
        request_timeout=_REQUEST_TIMEOUT_S,
        retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=_ATTEMPTS),
        **where,
    )
