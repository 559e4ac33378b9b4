"""Bars that are in the archive only: the Parquet files that their proofs name, pruned.

Here: which rows of a period's files are wanted, and their bounds. Not here: which days were
dropped (snapshot.py), or how files are made and proven (resources/storage/archive).

The proof that is valid names exactly the files of its Iceberg snapshot. It stands in the database,
so that one and the same moment tells what is hot and what is cold, and no catalogue is asked.
"""

import functools
import operator
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from pyarrow import fs

from marketdata.archiving import ArchivedDataset
from marketdata.recovery import errors
from resources.storage.archive.catalogue import translated
from resources.storage.archive.proofs import FileProof
from resources.storage.object_store import ObjectStore, S3Settings

_CONNECT_TIMEOUT_S = 5
_REQUEST_TIMEOUT_S = 60
_ATTEMPTS = 3

# The size is known and not asked for, so a missing object, or bucket, is found by reading it.
_MISSING = re.compile("NO_SUCH_KEY|NO_SUCH_BUCKET|RESOURCE_NOT_FOUND")

_FORMAT = ds.ParquetFileFormat(
    default_fragment_scan_options=ds.ParquetFragmentScanOptions(pre_buffer=True)
)


@dataclass(frozen=True, slots=True, kw_only=True)
class DroppedDays:
    """Days of a dataset that are in the archive only.

    Attributes:
        first: First day (UTC).
        end: The day after the last.
        files: The files of the proof that is valid for them.
    """

    first: date
    end: date
    files: tuple[FileProof, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which rows of the files are wanted.

    Attributes:
        instrument_ids: At least one.
        bounds: Of the column that dates the rows: included, excluded.
        provider: Only its rows; None: all of them.
    """

    instrument_ids: Sequence[int]
    bounds: tuple[date, date] | tuple[datetime, datetime]
    provider: str | None


def read_dropped(
    s3: S3Settings,
    dataset: ArchivedDataset,
    schema: pa.Schema,
    dropped: Sequence[DroppedDays],
    wanted: Wanted,
) -> pa.Table:
    """Return the archived rows of some instruments, in ``schema`` and in no order.

    Only row groups whose statistics allow such rows are fetched, and of them only the columns
    of ``schema``.

    Args:
        s3: The archive's bucket.
        dataset: Whose rows.
        schema: Columns of the dataset.
        dropped: Where rows are read from, at least one; rows of other days there are hot.
        wanted: Which of them.

    Raises:
        ArchiveMismatchError: A file is missing, or no Parquet file of this dataset.
        StorageUnavailableError: The bucket cannot be reached.
        StorageConflictError: There is no such bucket, or it refuses the keys.
    """
    held = dict.fromkeys(one for days in dropped for one in days.files)
    with translated(f"the archive of {dataset.name}", s3.bucket):
        files = ds.FileSystemDataset(
            [_fragment(s3, one) for one in held], schema, _FORMAT, _bucket(s3)
        )
        rows = _of(wanted) & _between(dataset, schema, *wanted.bounds)
        rows &= are_dropped(dataset, schema, dropped)
        try:
            return files.to_table(columns=schema.names, filter=rows).cast(schema)
        except OSError as error:
            if not _MISSING.search(str(error)):
                raise
            ObjectStore(s3).require_bucket()
            message = (
                f"the bucket lacks a file of {dataset.name}: {error}; restore it from a backup"
            )
            raise errors.ArchiveMismatchError(message) from error
        except pa.ArrowInvalid as error:
            message = f"a file of {dataset.name} cannot be read: {error}; see wrdata archive verify"
            raise errors.ArchiveMismatchError(message) from error


def _fragment(s3: S3Settings, file: FileProof) -> Any:
    path = f"{s3.bucket}/{file.object_key}"
    return _FORMAT.make_fragment(path, _bucket(s3), file_size=file.bytes)


def _of(wanted: Wanted) -> Any:
    """Return the filter for instruments and provider; bounds are what statistics are judged by."""
    column, ids = pc.field("instrument_id"), wanted.instrument_ids
    of_them = (column >= min(ids)) & (column <= max(ids)) & column.isin(pa.array(ids, pa.int64()))
    return (
        of_them if wanted.provider is None else of_them & (pc.field("provider") == wanted.provider)
    )


def are_dropped(dataset: ArchivedDataset, schema: pa.Schema, dropped: Sequence[DroppedDays]) -> Any:
    """Return the filter for rows (``schema``) of the days, at least one, that were dropped."""
    each = (_between(dataset, schema, days.first, days.end) for days in dropped)
    return functools.reduce(operator.or_, each)


def _between(
    dataset: ArchivedDataset, schema: pa.Schema, start: date | datetime, end: date | datetime
) -> Any:
    """Return the filter for rows from ``start`` to before ``end``."""
    column, kind = pc.field(dataset.dated_by), schema.field(dataset.dated_by).type
    # A date stands for its midnight in UTC, which is how periods are cut.
    least, limit = (pa.scalar(one).cast(kind) for one in (start, end))
    return (column >= least) & (column < limit)


@functools.cache
def _bucket(s3: S3Settings) -> fs.S3FileSystem:
    """Return the client of a bucket's server; its connections are kept for the next read."""
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
