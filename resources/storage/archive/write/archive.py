"""The archive: closed periods of every dataset as Parquet on S3, proven before the commit.

Here: which periods need new files, their commit, and the comparison of archive and database
(decision 0008). Not here: making and proving files (files.py), the Iceberg tables themselves
(../iceberg), the log of proofs (../prove), or retention (../retain).

The order makes it safe: read the table's state, stream the rows, write and upload the files,
download them again and compare, commit to Iceberg, log. At worst a crash leaves files that nothing
refers to, or a commit without a log row, which the next run writes from the snapshot's proof.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import UTC, date, datetime

from marketdata.archiving import ArchivedDataset, Period, Portion
from marketdata.content_hash import ContentHash, content_hash
from marketdata.recovery import errors
from resources.storage.archive.iceberg.catalogue import (
    CommitLostError,
    open_catalogue,
    require_same_bucket,
)
from resources.storage.archive.iceberg.commit_lock import committing
from resources.storage.archive.iceberg.metadata_files import newest_metadata, require_current
from resources.storage.archive.iceberg.table import ArchiveTable, TableState
from resources.storage.archive.prove.proofs import (
    ArchiveLog,
    CommittedProof,
    LoggedPeriod,
    PeriodProof,
    Tombstone,
)
from resources.storage.archive.write import files
from resources.storage.archive.write.key_check import KeyCheck, cure
from resources.storage.archive.write.outcomes import (
    DATABASE,
    PROOF,
    ArchivedPeriod,
    ArchiveStatus,
    VerifiedPeriod,
)
from resources.storage.archive.write.rows import first_day, stream, with_rows
from resources.storage.ledger.lost_rows import LostRows, describe_loss
from resources.storage.object_store import ObjectStore
from resources.storage.timescale import Timescale
from resources.telemetry import context, logs, traces

_LOG = logs.logger("storage")

_WRITTEN = {ArchiveStatus.COMMITTED, ArchiveStatus.REPLACED, ArchiveStatus.REPAIRED}
COMMIT_ATTEMPTS = 5
COMMIT_BYTES = 1 << 30
"""Proven files are committed when they reach this size: a crash loses no more work."""


class Archive:
    """Archives, lists and verifies periods of datasets.

    Args:
        timescale: An open Timescale whose database is migrated.
        store: The bucket of the files.
    """

    def __init__(self, timescale: Timescale, store: ObjectStore) -> None:
        self._timescale = timescale
        self._store = store
        self._catalogue = open_catalogue(timescale.url, store.settings)
        self._log = ArchiveLog(timescale)
        self._lost_rows = LostRows(timescale)
        self._is_bucket_checked = False

    def archive(self, dataset: ArchivedDataset, periods: Sequence[Period]) -> list[ArchivedPeriod]:
        """Archive closed periods in one commit, or in several if they are very large.

        A period whose rows are archived already uploads and commits nothing. If another writer
        commits first, everything is read again, so that the latest rows are committed.

        Returns:
            One result for each of ``periods``, in their order; a REFUSED one says why, and the
            others are committed all the same.

        Raises:
            StorageConflictError: A period has not ended, other writers keep committing first,
                the bucket refuses the keys, or it is not the one that the catalogue names.
            ArchiveMismatchError: The table lacks a file or a proof, or has another program's file.
            StorageUnavailableError: Database or bucket cannot be reached.
        """
        for period in periods:
            _require_closed(dataset, period)
        self._require_bucket()
        results: dict[Period, ArchivedPeriod] = {}
        with (
            traces.span("archive", dataset=dataset.name, periods=len(periods)),
            committing(self._timescale.url, dataset.name),
        ):
            while waiting := [period for period in periods if period not in results]:
                results |= self._archive_first(dataset, list(dict.fromkeys(waiting)))
        return [results[period] for period in periods]

    def first_day(self, dataset: ArchivedDataset) -> date | None:
        """Return the first day with rows held or archived; None if there are none.

        Not for a dataset that is archived whole.
        """
        archived = [logged.proof.period.start for logged in self._log.valid(dataset.name).values()]
        oldest = first_day(self._timescale, dataset)
        return min([*archived, oldest] if oldest else archived, default=None)

    def proofs(self, dataset: ArchivedDataset) -> dict[str, LoggedPeriod]:
        """Return the archived periods of the Iceberg table with their proofs, by label."""
        self._require_bucket()
        table = self.table(dataset)
        return self._logged(table, table.state())

    def verify(self, dataset: ArchivedDataset, labels: Iterable[str]) -> list[VerifiedPeriod]:
        """Read archived periods back from the bucket and compare them with the database.

        Periods whose rows were dropped from the database are compared with their proof.

        Raises:
            StorageConflictError: A period of this label is not archived, or a store refuses.
            StorageUnavailableError: Database or bucket cannot be reached.
        """
        proofs = self.proofs(dataset)
        dropped = self._log.tombstones(dataset.name)
        verdicts: list[VerifiedPeriod] = []
        for label in labels:
            if label not in proofs:
                message = f"{dataset.name} {label} is not archived"
                raise errors.StorageConflictError(message)
            proof = proofs[label].proof
            verdicts.append(self._verdict(dataset, proof, _dropped(proof.period, dropped)))
        return verdicts

    def objection(self, dataset: ArchivedDataset, proof: PeriodProof) -> str:
        """Return why no run will replace an archived period, with the cure; empty if one will."""
        try:
            self._compare_with_archive(dataset, proof)
        except errors.ArchiveMismatchError as error:
            return str(error)
        return ""

    def table(self, dataset: ArchivedDataset) -> ArchiveTable:
        """Return a dataset's Iceberg table."""
        return ArchiveTable(self._catalogue, self._store.settings.bucket, dataset)

    def _archive_first(
        self, dataset: ArchivedDataset, periods: Sequence[Period]
    ) -> dict[Period, ArchivedPeriod]:
        """Archive the first of ``periods``, as many as fit into one commit; at least one."""
        table, began = self.table(dataset), time.monotonic()
        for _ in range(COMMIT_ATTEMPTS):
            try:
                results = self._commit_first(table, dataset, periods)
            except CommitLostError:
                continue
            _log_archived(results.values(), time.monotonic() - began)
            return results
        message = f"{COMMIT_ATTEMPTS} times another writer committed first; archive again"
        raise errors.StorageConflictError(message)

    def _commit_first(
        self, table: ArchiveTable, dataset: ArchivedDataset, periods: Sequence[Period]
    ) -> dict[Period, ArchivedPeriod]:
        state = table.state()
        if state.table is None:
            self._require_not_lost(table)
        else:
            require_current(self._store, table)
        logged_periods = self._logged(table, state)
        dropped = self._log.tombstones(dataset.name)
        not_empty = with_rows(self._timescale, dataset, periods)
        sizes = files.sizes(self._store, dataset)
        results: dict[Period, ArchivedPeriod] = {}
        proofs: dict[Period, PeriodProof] = {}
        for period in periods:
            replaced = [
                logged for logged in logged_periods.values() if period.overlaps(logged.proof.period)
            ]
            result = (
                self._settle_or_prove(dataset, period, replaced, dropped, sizes)
                if replaced or period in not_empty
                else ArchivedPeriod(dataset=dataset.name, period=period, status=ArchiveStatus.EMPTY)
            )
            if isinstance(result, PeriodProof):
                proofs[period] = result
            else:
                results[period] = result
            if sum(proof.bytes for proof in proofs.values()) >= COMMIT_BYTES:
                break
        if proofs:
            snapshot_id = table.commit(state, list(proofs.values()))
            logged = self._log.record(
                [
                    CommittedProof(
                        proof=proof,
                        snapshot_id=snapshot_id,
                        correlation_id=context.correlation_id(),
                    )
                    for proof in proofs.values()
                ]
            )
            for period in proofs:
                replaced = any(
                    period.overlaps(logged.proof.period) for logged in logged_periods.values()
                )
                results[period] = ArchivedPeriod(
                    dataset=dataset.name,
                    period=period,
                    status=ArchiveStatus.REPLACED if replaced else ArchiveStatus.COMMITTED,
                    logged=logged[period.label],
                )
        return results

    def _settle_or_prove(
        self,
        dataset: ArchivedDataset,
        period: Period,
        replaced: Sequence[LoggedPeriod],
        dropped: Sequence[Tombstone],
        sizes: Mapping[str, int],
    ) -> ArchivedPeriod | PeriodProof:
        """Settle a period that needs no commit; otherwise return the proof of its new files.

        ``replaced`` are the archived periods of its days, under this label or others; ``sizes`` are
        the sizes of the bucket's objects, by key.
        """
        known = next(
            (logged for logged in replaced if logged.proof.period.label == period.label), None
        )
        before = [logged.proof for logged in replaced]
        lost = _lost_files(self._store, before, sizes)

        def settled(status: ArchiveStatus, reason: str = "") -> ArchivedPeriod:
            return ArchivedPeriod(
                dataset=dataset.name, period=period, status=status, reason=reason, logged=known
            )

        if tombstone := _dropped(period, dropped):
            status = ArchiveStatus.REFUSED if lost else ArchiveStatus.FROZEN
            return settled(status, _frozen(dataset, period, tombstone, lost))
        if reason := self._loss(dataset, period, [] if lost else before):
            return settled(ArchiveStatus.REFUSED, reason)
        if (
            known
            and not lost
            and known.proof.holds(self._content_of_database(dataset, period), dataset.schema)
        ):
            return settled(ArchiveStatus.UNCHANGED)
        try:
            # Lost files cannot be compared: only their number of rows is known.
            proof = self._write_files(dataset, period, [] if lost else before)
            _require_no_fewer(dataset, period, before, proof.rows)
        except errors.ArchiveMismatchError as error:
            return settled(ArchiveStatus.REFUSED, str(error))
        if known and proof.object_keys == known.proof.object_keys:
            return settled(ArchiveStatus.REPAIRED if lost else ArchiveStatus.UNCHANGED)
        return proof if proof.rows else settled(ArchiveStatus.EMPTY)

    def _loss(self, dataset: ArchivedDataset, period: Period, before: Sequence[PeriodProof]) -> str:
        """Describe loaded rows that are gone, and make their days holes again.

        If the archive has the rows, they are to be restored from there instead.
        """
        if not dataset.is_droppable:
            return ""
        lost = self._lost_rows.find(dataset, period.start, period.end)
        if not lost:
            return ""
        for proof in before:
            if objection := self.objection(dataset, proof):
                return objection
        self._lost_rows.make_holes(dataset, lost, by="wrdata archive run")
        return describe_loss(dataset, lost)

    def _write_files(
        self, dataset: ArchivedDataset, period: Period, compared: Sequence[PeriodProof]
    ) -> PeriodProof:
        """Write new files of the database's rows; they must hold every row of ``compared``."""
        key_check = KeyCheck(self._store, dataset, period, compared)
        with (
            stream(self._timescale, dataset, period) as rows,
            closing(key_check.passing(rows)) as passing,
        ):
            return files.prove(self._store, dataset, period, passing)

    def _compare_with_archive(self, dataset: ArchivedDataset, proof: PeriodProof) -> KeyCheck:
        """Compare the database's rows with the archived ones, one by one."""
        key_check = KeyCheck(self._store, dataset, proof.period, [proof])
        with (
            stream(self._timescale, dataset, proof.period) as rows,
            closing(key_check.passing(rows)) as passing,
        ):
            for _ in passing:
                pass
        return key_check

    def _content_of_database(self, dataset: ArchivedDataset, period: Period) -> ContentHash:
        """Return the fingerprint of the database's rows."""
        with stream(self._timescale, dataset, period) as rows:
            return content_hash(dataset.schema, files.read_ahead(rows))

    def _verdict(
        self, dataset: ArchivedDataset, proof: PeriodProof, dropped: Tombstone | None
    ) -> VerifiedPeriod:
        verdict = VerifiedPeriod(
            dataset=dataset.name, period=proof.period, against=PROOF if dropped else DATABASE
        )
        try:
            back = files.read_back(self._store, dataset, proof)
            digest = content_hash(dataset.schema, files.read_ahead(back))
        except errors.ArchiveMismatchError as error:
            return replace(verdict, reason=str(error))
        expected = (
            ContentHash(rows=proof.rows, columns=proof.columns_of(dataset.schema))
            if dropped
            else self._content_of_database(dataset, proof.period)
        )
        differing = tuple(
            name for name in dataset.schema.names if digest.columns[name] != expected.columns[name]
        )
        verdict = replace(
            verdict, archive_rows=digest.rows, expected_rows=expected.rows, differing=differing
        )
        if dropped or not differing:
            return verdict
        try:
            comparison = self._compare_with_archive(dataset, proof)
            _require_no_fewer(dataset, proof.period, [proof], expected.rows)
            return replace(verdict, waiting=_waiting(comparison))
        except errors.ArchiveMismatchError as error:
            return replace(verdict, reason=str(error))

    def _logged(self, table: ArchiveTable, state: TableState) -> dict[str, LoggedPeriod]:
        """Return the proofs of the table's files; write log rows that a crash left out."""
        logged = self._log.valid(table.dataset.name)
        keys = {
            label: frozenset(table.key_of(file) for file in files)
            for label, files in state.files.items()
        }
        unlogged = [
            label
            for label, files in keys.items()
            if label not in logged or frozenset(logged[label].proof.object_keys) != files
        ]
        if unlogged:
            require_current(self._store, table)
            carried = table.carried_proofs(state)
            lost = [label for label in unlogged if keys[label] not in carried]
            if lost:
                message = f"no snapshot of {table.name} carries the proof of {lost[0]}: verify it"
                raise errors.ArchiveMismatchError(message)
            logged |= self._log.record([carried[keys[label]] for label in unlogged])
        return {label: logged[label] for label in sorted(keys)}

    def _require_not_lost(self, table: ArchiveTable) -> None:
        """Refuse to create a table whose rows are on the bucket: the catalogue lost it."""
        number, _ = newest_metadata(self._store, table.dataset.name)
        # In this order: the writer of a second file has registered the first.
        if number > 0 and table.load() is None:
            message = (
                f"{table.name} is on the bucket and the catalogue does not know it: wrdata archive "
                f"rebuild --dataset {table.dataset.name} (or, to begin it anew, remove its objects)"
            )
            raise errors.ArchiveMismatchError(message)

    def _require_bucket(self) -> None:
        """Check once that the bucket exists, is accessible, and is the one in the catalogue."""
        if not self._is_bucket_checked:
            self._store.require_bucket()
            require_same_bucket(self._catalogue, self._store.settings.bucket)
            self._is_bucket_checked = True


def _log_archived(results: Iterable[ArchivedPeriod], duration_s: float) -> None:
    """Log the periods that were written; ``duration_s`` is that of their commit together."""
    for result in results:
        if result.status in _WRITTEN and result.logged:
            _LOG.info(
                "period archived",
                extra={
                    "dataset": result.dataset,
                    "period": result.period.label,
                    "status": result.status.value,
                    "rows": result.rows,
                    "bytes": result.bytes,
                    "files": len(result.logged.proof.files),
                    "snapshot_id": result.logged.snapshot_id,
                    "duration_s": round(duration_s, 3),
                },
            )


def _waiting(comparison: KeyCheck) -> str:
    """Describe the changes since a period was archived.

    Without any, only labels can differ: a corrected ticker.
    """
    counts = {
        "came": comparison.added,
        "were restated": comparison.restated,
        "withdrawn": comparison.withdrawn,
    }
    since_archived = ", ".join(f"{rows} rows {change}" for change, rows in counts.items() if rows)
    return since_archived or "tickers were corrected"


def _require_closed(dataset: ArchivedDataset, period: Period) -> None:
    today = datetime.now(UTC).date()
    if dataset.portion is not Portion.WHOLE and (period.end > today or period.start >= period.end):
        message = f"{dataset.name} {period.label} is not over; only closed months are archived"
        raise errors.StorageConflictError(message)


def _dropped(period: Period, tombstones: Sequence[Tombstone]) -> Tombstone | None:
    return next((tombstone for tombstone in tombstones if tombstone.touches(period)), None)


def _lost_files(
    store: ObjectStore, proofs: Iterable[PeriodProof], sizes: Mapping[str, int]
) -> list[str]:
    """Return the keys of files that the bucket lacks, or that differ from their proof.

    A listed object may be gone behind the server's cache, so each file's footer is compared.
    """
    return [
        file.object_key
        for proof in proofs
        for file in proof.files
        if sizes.get(file.object_key) != file.bytes or files.footer_fault(store, file)
    ]


def _frozen(
    dataset: ArchivedDataset, period: Period, tombstone: Tombstone, lost: Sequence[str]
) -> str:
    dropped = (
        f"{dataset.name} {period.label} was dropped from the database on "
        f"{tombstone.dropped_at:%Y-%m-%d} by {tombstone.dropped_by}"
    )
    if lost:
        return f"{dropped}, and the bucket has lost {lost[0]}: restore it from a backup"
    return f"{dropped}: the archive holds all there is"


def _require_no_fewer(
    dataset: ArchivedDataset, period: Period, before: Sequence[PeriodProof], rows: int
) -> None:
    """Refuse to replace archived rows by fewer rows: rows are never removed."""
    archived = sum(proof.rows for proof in before)
    if rows < archived and not (dataset.withdraws and rows):
        message = (
            f"the database holds {rows} rows of {dataset.name} {period.label} and the archive "
            f"{archived}: the archive keeps its own; {cure(dataset, period)}"
        )
        raise errors.ArchiveMismatchError(message)
