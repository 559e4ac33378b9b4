"""The archive of daily bars: closed months as Parquet on S3, proven before they count.

Here: from the database's rows to a file that was read back and found equal, its commit, and
the comparison of archive and database (design.md D8). Not here: the Iceberg table itself
(archive_table.py), the log of proofs (archive_proofs.py), or retention.

The order is what makes it safe: read the table's state, stream the rows, write and upload the
file, download it again and compare, commit to Iceberg, log. A crash leaves at worst a file
that nothing refers to, or a commit whose log row the next run writes from the proof that the
snapshot carries.
"""

import functools
import hashlib
import importlib.metadata
import itertools
import tempfile
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, date, datetime
from enum import StrEnum
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from marketdata.bars import ARCHIVED_BARS
from marketdata.content_hash import ContentHash
from marketdata.recovery import errors
from resources.storage import archive_table
from resources.storage.archive_proofs import ArchiveLog, LoggedMonth, MonthProof
from resources.storage.archive_rows import fingerprint, month_end, reader
from resources.storage.archive_table import ArchiveTable, CommitLostError, TableState
from resources.storage.object_store import ObjectStore
from resources.storage.timescale import Timescale

COMMIT_ATTEMPTS = 5
TRANSFERS = 4
"""Files on their way at the same time."""

SCHEMA_FINGERPRINT = hashlib.sha256(
    "\n".join(
        f"{field.name} {field.type} {'null' if field.nullable else 'not null'}"
        for field in ARCHIVED_BARS
    ).encode()
).hexdigest()


class ArchiveStatus(StrEnum):
    """What archiving did to a month."""

    COMMITTED = "committed"
    UNCHANGED = "unchanged"
    REPLACED = "replaced"
    EMPTY = "empty"


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchivedMonth:
    """A month after archiving; without rows it has no file.

    Attributes:
        month: First day of the month.
        snapshot_id: Iceberg snapshot that committed the file.
    """

    month: date
    status: ArchiveStatus
    rows: int = 0
    bytes: int = 0
    object_key: str = ""
    content_digest: str = ""
    snapshot_id: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedMonth:
    """A month of the archive beside the same month of the database.

    Attributes:
        differing: Columns whose content is not equal; all of them when the rows' number differs.
    """

    month: date
    archive_rows: int
    database_rows: int
    differing: tuple[str, ...]

    @property
    def equal(self) -> bool:
        """Tell whether both hold the same rows."""
        return not self.differing


class BarArchive:
    """Archives, lists and verifies months of daily bars.

    Args:
        timescale: An open Timescale whose database is migrated.
        store: The bucket of the files.
    """

    def __init__(self, timescale: Timescale, store: ObjectStore) -> None:
        self._url = timescale.url
        self._store = store
        self._table = ArchiveTable(timescale.url, store.settings)
        self._log = ArchiveLog(timescale)

    def archive_month(self, month: date) -> ArchivedMonth:
        """Archive one closed month (see ``archive_months``)."""
        return self.archive_months([month])[0]

    def archive_months(self, months: Sequence[date]) -> list[ArchivedMonth]:
        """Archive closed months, named by any of their days, with one commit for them all.

        A month whose rows are those already archived uploads and commits nothing. Where another
        writer commits first, everything is read again, so that what was read last also wins.

        Raises:
            StorageConflictError: A month has not ended, or another writer keeps being faster.
            ArchiveMismatchError: A file read back is not what was sent, or the database holds
                fewer rows of a month than the archive; nothing was committed.
            StorageUnavailableError: Database or bucket cannot be reached.
        """
        firsts = [_closed(month) for month in months]
        for _ in range(COMMIT_ATTEMPTS):
            try:
                return self._archive(firsts)
            except CommitLostError:
                continue
        message = (
            f"{COMMIT_ATTEMPTS} times another writer committed first; archive these months again"
        )
        raise errors.StorageConflictError(message)

    def months(self) -> dict[date, LoggedMonth]:
        """Return what is archived: the Iceberg table's files with their proofs."""
        return self._logged(self._table.state())

    def verify(self, months: Iterable[date]) -> list[VerifiedMonth]:
        """Read months back through Iceberg and compare them with the database, by column.

        A year at a time, as the table is partitioned: asking Iceberg month by month would spend
        ten times as long on its metadata.
        """
        firsts = sorted({month.replace(day=1) for month in months})
        verdicts: list[VerifiedMonth] = []
        with reader(self._url) as read:
            for _, year in itertools.groupby(firsts, key=lambda first: first.year):
                of_year = list(year)
                archived = self._table.rows(of_year[0], month_end(of_year[-1]))
                verdicts += [_verdict(first, archived, read(first)) for first in of_year]
        return verdicts

    def _archive(self, months: Sequence[date]) -> list[ArchivedMonth]:
        state = self._table.state()
        logged = self._logged(state)
        with tempfile.TemporaryDirectory(prefix="wrdata-archive-") as folder:
            results, proofs = self._prove(months, logged, Path(folder))
        if proofs:
            snapshot_id = self._table.commit(state, proofs)
            self._log.record([LoggedMonth(proof=one, snapshot_id=snapshot_id) for one in proofs])
            results |= {
                one.month: _result(
                    ArchiveStatus.REPLACED if one.month in logged else ArchiveStatus.COMMITTED,
                    LoggedMonth(proof=one, snapshot_id=snapshot_id),
                )
                for one in proofs
            }
        return [results[month] for month in months]

    def _logged(self, state: TableState) -> dict[date, LoggedMonth]:
        """Return the proofs of the table's files; write the log rows that a crash left out."""
        logged = self._log.valid()
        keys = {month: self._table.key_of(file) for month, file in state.files.items()}
        unlogged = [
            month
            for month, key in keys.items()
            if month not in logged or logged[month].proof.object_key != key
        ]
        if unlogged:
            carried = self._table.carried_proofs(state)
            lost = [keys[month] for month in unlogged if keys[month] not in carried]
            if lost:
                message = f"no snapshot of the archive carries the proof of {lost[0]}: verify it"
                raise errors.ArchiveMismatchError(message)
            healed = {month: carried[keys[month]] for month in unlogged}
            self._log.record(list(healed.values()))
            logged |= healed
        return {month: logged[month] for month in sorted(keys)}

    def _prove(
        self, months: Sequence[date], logged: dict[date, LoggedMonth], folder: Path
    ) -> tuple[dict[date, ArchivedMonth], list[MonthProof]]:
        """Sort months into those that need nothing and those with a new, proven file."""
        settled: dict[date, ArchivedMonth] = {}
        proofs: list[MonthProof] = []
        with ThreadPoolExecutor(TRANSFERS) as pool, reader(self._url) as read:
            sent: list[Future[MonthProof]] = []
            for month in dict.fromkeys(months):
                rows = read(month)
                found = fingerprint(rows)
                known = logged.get(month)
                if found.rows == 0:
                    settled[month] = ArchivedMonth(month=month, status=ArchiveStatus.EMPTY)
                elif known is not None and _same(known.proof, found):
                    settled[month] = _result(ArchiveStatus.UNCHANGED, known)
                else:
                    _refuse_loss(month, found, known)
                    sent.append(pool.submit(self._send, month, rows, found, folder))
            proofs = [one.result() for one in sent]
        return settled, proofs

    def _send(self, month: date, rows: pa.Table, found: ContentHash, folder: Path) -> MonthProof:
        """Write, upload, read back and compare one month."""
        key = archive_table.object_key(month, found.digest)
        path, back = folder / f"{month}.parquet", folder / f"{month}.back.parquet"
        # An object of this name that a run before its commit left behind is judged like our own:
        # by its content, read back. Objects are never overwritten.
        if not self._store.exists(key):
            pq.write_table(rows, path, compression="zstd", row_group_size=131_072)
            self._store.upload_file(path, key)
        self._store.download_file(key, back)
        sha256 = _file_sha256(back)
        if path.exists() and _file_sha256(path) != sha256:
            message = f"{key} read back is not the file that was sent; delete it and archive again"
            raise errors.ArchiveMismatchError(message)
        try:
            arrived = fingerprint(pq.read_table(back, partitioning=None).cast(ARCHIVED_BARS))
        except (pa.ArrowInvalid, OSError) as error:
            message = f"{key} cannot be read back as Parquet; delete it and archive again"
            raise errors.ArchiveMismatchError(message) from error
        if arrived != found:
            message = f"{key} holds other rows than the database; delete it and archive again"
            raise errors.ArchiveMismatchError(message)
        days = pc.min_max(rows["session_date"])
        proof = MonthProof(
            month=month,
            object_key=key,
            rows=found.rows,
            bytes=back.stat().st_size,
            first_session=days["min"].as_py(),
            last_session=days["max"].as_py(),
            file_sha256=sha256,
            content_digest=found.digest,
            column_sha256=found.columns,
            schema_fingerprint=SCHEMA_FINGERPRINT,
            code_version=_code_version(),
        )
        path.unlink(missing_ok=True)
        back.unlink()
        return proof


def _verdict(first: date, archived: pa.Table, stored: pa.Table) -> VerifiedMonth:
    """Compare a month of ``archived``, which may hold others too, with its rows as stored."""
    days = archived["session_date"]
    within = pc.and_(pc.greater_equal(days, first), pc.less(days, month_end(first)))
    there, here = fingerprint(archived.filter(within)), fingerprint(stored)
    return VerifiedMonth(
        month=first,
        archive_rows=there.rows,
        database_rows=here.rows,
        differing=tuple(
            name for name in ARCHIVED_BARS.names if there.columns[name] != here.columns[name]
        ),
    )


def _closed(month: date) -> date:
    """Return the month's first day; refuse a month that is not over."""
    first = month.replace(day=1)
    if month_end(first) > datetime.now(UTC).date():
        message = f"{first:%Y-%m} is not over; only closed months are archived"
        raise errors.StorageConflictError(message)
    return first


def _same(proof: MonthProof, found: ContentHash) -> bool:
    return proof.content_digest == found.digest and proof.schema_fingerprint == SCHEMA_FINGERPRINT


def _refuse_loss(month: date, found: ContentHash, known: LoggedMonth | None) -> None:
    """Refuse to replace a month by fewer rows: bars are restated, never removed."""
    if known is not None and found.rows < known.proof.rows:
        message = (
            f"the database holds {found.rows} rows of {month:%Y-%m} and the archive "
            f"{known.proof.rows}: nothing was archived; find out where the rows went"
        )
        raise errors.ArchiveMismatchError(message)


def _result(status: ArchiveStatus, logged: LoggedMonth) -> ArchivedMonth:
    proof = logged.proof
    return ArchivedMonth(
        month=proof.month,
        status=status,
        rows=proof.rows,
        bytes=proof.bytes,
        object_key=proof.object_key,
        content_digest=proof.content_digest,
        snapshot_id=logged.snapshot_id,
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
