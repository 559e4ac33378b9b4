"""The archive of daily bars: closed months as Parquet on S3, proven before they count.

Here: which months need a new file, their commit, and the comparison of archive and database
(design.md D8). Not here: making and proving one file (archive_files.py), the Iceberg table
itself (archive_table.py), the log of proofs (archive_proofs.py), or retention.

The order is what makes it safe: read the table's state, stream the rows, write and upload the
file, download it again and compare, commit to Iceberg, log. A crash leaves at worst a file
that nothing refers to, or a commit whose log row the next run writes from the proof that the
snapshot carries.
"""

import itertools
import tempfile
import threading
from collections import deque
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, date, datetime
from enum import StrEnum
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from marketdata.bars import ARCHIVED_BARS
from marketdata.content_hash import ContentHash
from marketdata.recovery import errors
from resources.storage.archive_files import SCHEMA_FINGERPRINT, MonthRows, prove
from resources.storage.archive_proofs import ArchiveLog, LoggedMonth, MonthProof
from resources.storage.archive_rows import fingerprint, month_end, reader
from resources.storage.archive_table import ArchiveTable, CommitLostError, TableState
from resources.storage.object_store import ObjectStore
from resources.storage.timescale import Timescale

COMMIT_ATTEMPTS = 5
TRANSFERS = 4
"""Files on their way at the same time."""


class ArchiveStatus(StrEnum):
    """What archiving did to a month."""

    COMMITTED = "committed"
    UNCHANGED = "unchanged"
    REPLACED = "replaced"
    EMPTY = "empty"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchivedMonth:
    """A month after archiving; one that is empty or refused names no file.

    Attributes:
        month: First day of the month.
        reason: Why the month was refused (the database holds fewer rows of it than the archive,
            or its file came back different), and the cure; what was archived before stays.
        snapshot_id: Iceberg snapshot that committed the file.
    """

    month: date
    status: ArchiveStatus
    rows: int = 0
    bytes: int = 0
    object_key: str = ""
    content_digest: str = ""
    snapshot_id: int = 0
    reason: str = ""


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
        self._place_is_right = False

    def archive_month(self, month: date) -> ArchivedMonth:
        """Archive one closed month (see ``archive_months``)."""
        return self.archive_months([month])[0]

    def archive_months(self, months: Sequence[date]) -> list[ArchivedMonth]:
        """Archive closed months, named by any of their days, with one commit for them all.

        A month whose rows are those already archived uploads and commits nothing. Where another
        writer commits first, everything is read again, so that what was read last also wins.

        Returns:
            One result for each of ``months``, in their order; a month that is REFUSED says why,
            and the others are committed all the same.

        Raises:
            StorageConflictError: A month has not ended, another writer keeps being faster, the
                bucket refuses the keys, or it is not the one the catalogue names.
            ArchiveMismatchError: The table lacks a file or a proof, or has one of another program.
            StorageUnavailableError: Database or bucket cannot be reached.
        """
        firsts = [_closed(month) for month in months]
        self._require_place()
        for _ in range(COMMIT_ATTEMPTS):
            try:
                return self._archive(firsts)
            except CommitLostError:
                continue
        message = f"{COMMIT_ATTEMPTS} times another writer committed first; archive again"
        raise errors.StorageConflictError(message)

    def months(self) -> dict[date, LoggedMonth]:
        """Return what is archived: the Iceberg table's files with their proofs."""
        self._require_place()
        return self._logged(self._table.state())

    def verify(self, months: Iterable[date]) -> list[VerifiedMonth]:
        """Read months back through Iceberg and compare them with the database, by column.

        A year at a time, as the table is partitioned: asking Iceberg month by month would spend
        ten times as long on its metadata.
        """
        self._require_place()
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
        """Sort months into those settled without a commit and those with a new, proven file."""
        settled: dict[date, ArchivedMonth] = {}
        sent: list[Future[MonthProof | ArchivedMonth]] = []
        # Reading is faster than sending: without places, all months would wait in memory.
        places = threading.BoundedSemaphore(TRANSFERS + 1)
        waiting: deque[MonthRows] = deque()
        with ThreadPoolExecutor(TRANSFERS) as pool, reader(self._url) as read:
            for month in dict.fromkeys(months):
                places.acquire()
                if any(one.done() and one.exception() for one in sent):
                    break  # What failed there concerns every month: no need to read the others.
                result = self._consider(month, read(month), logged.get(month), waiting)
                if result is None:
                    sent.append(pool.submit(self._send, waiting, folder))
                    sent[-1].add_done_callback(lambda _: places.release())
                else:
                    settled[month] = result
                    places.release()
        outcomes = [one.result() for one in sent]
        settled |= {one.month: one for one in outcomes if isinstance(one, ArchivedMonth)}
        return settled, [one for one in outcomes if isinstance(one, MonthProof)]

    def _consider(
        self, month: date, rows: pa.Table, known: LoggedMonth | None, waiting: deque[MonthRows]
    ) -> ArchivedMonth | None:
        """Settle a month that needs no new file; put the others among those ``waiting``."""
        found = fingerprint(rows)
        if found.rows == 0:
            return ArchivedMonth(month=month, status=ArchiveStatus.EMPTY)
        if known is not None and _same(known.proof, found):
            return _result(ArchiveStatus.UNCHANGED, known)
        if known is not None and found.rows < known.proof.rows:
            # Bars are restated, never removed.
            return _refused(
                month,
                f"the database holds {found.rows} rows of {month:%Y-%m} and the archive "
                f"{known.proof.rows}: the archive keeps its own; find out where the rows went",
            )
        waiting.append(MonthRows(month=month, rows=rows, content=found))
        return None

    def _send(self, waiting: deque[MonthRows], folder: Path) -> MonthProof | ArchivedMonth:
        """Prove the month that waits longest; nothing else keeps its rows alive."""
        one = waiting.popleft()
        try:
            return prove(self._store, one, folder)
        except errors.ArchiveMismatchError as error:
            return _refused(one.month, str(error))

    def _require_place(self) -> None:
        """Check once that the bucket is there, ours, and the one the catalogue names."""
        if not self._place_is_right:
            self._store.require_bucket()
            self._table.require_same_bucket()
            self._place_is_right = True


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


def _refused(month: date, reason: str) -> ArchivedMonth:
    return ArchivedMonth(month=month, status=ArchiveStatus.REFUSED, reason=reason)


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
