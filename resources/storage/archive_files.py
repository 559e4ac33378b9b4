"""One month's Parquet file: written, sent, read back, and found equal before it counts.

Here: the file and the proof of what it holds. Not here: which months need a file (archive.py),
the form of a proof and its log (archive_proofs.py), or the Iceberg table (archive_table.py).
"""

import functools
import hashlib
import importlib.metadata
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from marketdata.bars import ARCHIVED_BARS
from marketdata.content_hash import ContentHash
from marketdata.recovery import errors
from resources.storage import archive_table
from resources.storage.archive_proofs import MonthProof
from resources.storage.archive_rows import fingerprint
from resources.storage.object_store import ObjectStore

SCHEMA_FINGERPRINT = hashlib.sha256(
    "\n".join(
        f"{field.name} {field.type} {'null' if field.nullable else 'not null'}"
        for field in ARCHIVED_BARS
    ).encode()
).hexdigest()
"""Hex digest of the columns, types and nullability that the files have now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MonthRows:
    """A month's rows (ARCHIVED_BARS, sorted) with their fingerprint.

    Attributes:
        month: First day of the month.
    """

    month: date
    rows: pa.Table
    content: ContentHash


def prove(store: ObjectStore, one: MonthRows, folder: Path) -> MonthProof:
    """Write, upload, read back and compare one month; ``folder`` is left as it was.

    Raises:
        ArchiveMismatchError: What came back is not what was sent, or holds other rows.
        StorageUnavailableError: The bucket cannot be reached.
        StorageConflictError: The bucket refuses.
    """
    key = archive_table.object_key(one.month, one.content.digest)
    path, back = folder / f"{one.month}.parquet", folder / f"{one.month}.back.parquet"
    try:
        # An object of this name that a run before its commit left behind is judged like our own:
        # by its content, read back. Objects are never overwritten.
        if not store.exists(key):
            pq.write_table(one.rows, path, compression="zstd", row_group_size=131_072)
            store.upload_file(path, key)
        store.download_file(key, back)
        _compare(path, back, one.content, key)
        return _proof(one, key, back)
    finally:
        path.unlink(missing_ok=True)
        back.unlink(missing_ok=True)


def _compare(path: Path, back: Path, sent: ContentHash, key: str) -> None:
    if path.exists() and _file_sha256(path) != _file_sha256(back):
        message = f"{key} read back is not the file that was sent; delete it and archive again"
        raise errors.ArchiveMismatchError(message)
    try:
        arrived = fingerprint(pq.read_table(back, partitioning=None).cast(ARCHIVED_BARS))
    # A file of other columns raises a plain ValueError, one of other types any Arrow error.
    except (pa.ArrowException, ValueError, OSError) as error:
        message = f"{key} cannot be read back as daily bars; delete it and archive again"
        raise errors.ArchiveMismatchError(message) from error
    if arrived != sent:
        message = f"{key} holds other rows than the database; delete it and archive again"
        raise errors.ArchiveMismatchError(message)


def _proof(one: MonthRows, key: str, back: Path) -> MonthProof:
    days = pc.min_max(one.rows["session_date"])
    return MonthProof(
        month=one.month,
        object_key=key,
        rows=one.content.rows,
        bytes=back.stat().st_size,
        first_session=days["min"].as_py(),
        last_session=days["max"].as_py(),
        file_sha256=_file_sha256(back),
        content_digest=one.content.digest,
        column_sha256=one.content.columns,
        schema_fingerprint=SCHEMA_FINGERPRINT,
        code_version=_code_version(),
    )


def _file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@functools.cache
def _code_version() -> str:
    try:
        return importlib.metadata.version("wrdata")
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
