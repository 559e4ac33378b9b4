"""Drops rows from the database that the archive is proven to hold.

Here: which proofs a drop needs, and the one transaction that compares and drops. Not here: how
long rows stay (marketdata/retention.py), the archive itself (../write), or the way back
(../restore).

Before the locks are taken: the files of the valid proof are read back from the bucket, and the
aggregates are compared with a recomputation. Under the locks: the proof has to be still valid, no
invalidation may wait, and the rows have to match the proof's digest. A changed row never gets its
old values again, so the rows did not change in between. Then chunks with no other rows are
dropped, remaining rows are deleted, and tombstone and ledger are written, all in one transaction.
A crash leaves all or nothing.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import date, timedelta

from marketdata.archiving import ARCHIVED, ArchivedDataset
from marketdata.audit import Action
from marketdata.calendars import utc_now
from marketdata.content_hash import content_hash
from marketdata.recovery import errors
from marketdata.retention import due_periods
from resources.storage import sql
from resources.storage.aggregates import Aggregates, Difference
from resources.storage.archive.prove.proofs import ArchiveLog, LoggedPeriod
from resources.storage.archive.restore import hot_rows
from resources.storage.archive.restore.hot_rows import (
    HotRows,
    MoveUnderWayError,
    are_held,
    gave_way,
    lock_writers_out,
    remove,
    source_of,
    take_turn,
    waiting_for_refresh,
)
from resources.storage.archive.restore.restore import Restore
from resources.storage.archive.retain.outcomes import (
    MENDED_BY_RUN,
    Missing,
    Refusal,
    RetainedPeriod,
    RetentionStatus,
    kept_back,
    result_of,
)
from resources.storage.archive.write import files
from resources.storage.archive.write.archive import Archive
from resources.storage.archive.write.outcomes import ArchiveStatus
from resources.storage.archive.write.rows import first_day, stream
from resources.storage.audit import record
from resources.storage.ledger.lost_rows import LostRows, describe_loss
from resources.storage.object_store import ObjectStore
from resources.storage.timescale import Connection, Timescale


class Retention:
    """Drops periods that are due.

    Args:
        timescale: An open Timescale whose database is migrated.
        store: The bucket of the archive.
        archive: Archives due periods, and has the proofs.
        aggregates: The aggregates made of the rows.
        ages: How long rows stay, by dataset. Other datasets are never dropped.
    """

    def __init__(
        self,
        timescale: Timescale,
        store: ObjectStore,
        archive: Archive,
        aggregates: Aggregates,
        ages: Mapping[str, timedelta],
    ) -> None:
        self._timescale = timescale
        self._store = store
        self._archive = archive
        self._aggregates = aggregates
        self.ages = ages
        self._log = ArchiveLog(timescale)
        self._lost_rows = LostRows(timescale)
        self._restore = Restore(timescale, store, archive)

    def plan(self, datasets: Collection[str] = ()) -> list[RetainedPeriod]:
        """Return what a run over ``datasets`` (default: all with an age) would do; change nothing.

        Files are read back and rows compared as in a run.

        Raises:
            ConfigurationError: A dataset has no age.
            StorageError: Database or bucket cannot be reached or refuse.
        """
        return [period for dataset in self._chosen(datasets) for period in self._planned(dataset)]

    def run(self, datasets: Collection[str] = (), *, by: str) -> list[RetainedPeriod]:
        """Drop the due periods of ``datasets`` (default: all with an age), one by one.

        Periods with rows that came after their drop are restored first. Then aggregates are
        refreshed and the periods archived, so that a proof is missing only if something is wrong.
        A period with an obstacle stays and names it; the others are dropped all the same.

        Args:
            datasets: Names of datasets.
            by: Who drops, for the tombstones.

        Raises:
            ConfigurationError: A dataset has no age.
            StorageError: Database or bucket cannot be reached or refuse; earlier
                periods stay dropped.
        """
        return [period for dataset in self._chosen(datasets) for period in self._run(dataset, by)]

    def drop(self, dataset: ArchivedDataset, label: str, *, by: str) -> RetainedPeriod:
        """Drop one period if it has every proof; archive and refresh nothing.

        Raises:
            ConfigurationError: No closed period of the dataset has this label.
            StorageError: Database or bucket cannot be reached or refuse.
        """
        rows = HotRows(dataset, dataset.named(label, _today()))
        age = self.ages.get(dataset.name)
        if age is None:
            return kept_back(rows, Refusal(Missing.AGE, f"no age is set for {dataset.name}"))
        if not due_periods(dataset, age, rows.period.start, _today()):
            reason = f"{label} is not over and wholly older than {age.days} days"
            return kept_back(rows, Refusal(Missing.AGE, reason))
        return self._drop(rows, self._archive.proofs(dataset).get(label), by)

    def _chosen(self, datasets: Collection[str]) -> list[ArchivedDataset]:
        without_age = sorted(set(datasets) - set(self.ages))
        if without_age:
            message = (
                f"{', '.join(without_age)}: no age is set, so all rows stay; see WRDATA_RETENTION"
            )
            raise errors.ConfigurationError(message)
        return [ARCHIVED[name] for name in self.ages if not datasets or name in datasets]

    def _planned(self, dataset: ArchivedDataset) -> Iterator[RetainedPeriod]:
        late, due = self._late(dataset), self._due(dataset)
        if not (late or due):
            return
        try:
            proofs = self._archive.proofs(dataset)
        except errors.ArchiveMismatchError as error:
            yield from _refuse_all([*late, *due], error)
            return
        for rows in late:
            refusals = self._missing_outside(rows, proofs.get(rows.period.label))
            status = RetentionStatus.REFUSED if refusals else RetentionStatus.DUE
            yield result_of(rows, status, late=True, refusals=refusals)
        for rows in due:
            proof = proofs.get(rows.period.label)
            refusals = self._missing_outside(rows, proof)
            with self._timescale.connection() as connection:
                refusals += self._missing_in_database(
                    connection, rows, proof, proof_query="valid_proof"
                )
                counted = connection.execute(rows.query("count_rows"), rows.parameters).fetchone()
            rows_held = counted[0] if counted else 0
            refusals = self._with_objection(rows, proof, refusals)
            obstacles = [refusal for refusal in refusals if refusal.missing not in MENDED_BY_RUN]
            status = RetentionStatus.REFUSED if obstacles else RetentionStatus.DUE
            yield result_of(rows, status, refusals=refusals, rows=rows_held)

    def _run(self, dataset: ArchivedDataset, by: str) -> Iterator[RetainedPeriod]:
        late, refused = self._restore_late(dataset, by)
        yield from refused
        due = self._due(dataset)
        if not due:
            return
        try:
            archived = self._archive.archive(dataset, [rows.period for rows in due])
            proofs = self._archive.proofs(dataset)
        except errors.ArchiveMismatchError as error:
            yield from _refuse_all(due, error)
            return
        for rows, outcome in zip(due, archived, strict=True):
            if outcome.status is ArchiveStatus.REFUSED:
                yield kept_back(rows, Refusal(Missing.PROOF, outcome.reason))
            else:
                dropped = self._drop(rows, proofs.get(rows.period.label), by)
                yield replace(dropped, late=rows in late)

    def _restore_late(
        self, dataset: ArchivedDataset, by: str
    ) -> tuple[list[HotRows], list[RetainedPeriod]]:
        """Restore periods that changed after their drop, until all aggregates are up to date.

        A week over New Year needs the days of both years: restoring one may require the other.

        Returns:
            The restored periods, and those that could not be restored, with the reason.
        """
        restored: list[HotRows] = []
        refused: dict[HotRows, Refusal] = {}
        self._refresh(dataset)
        while late := [rows for rows in self._late(dataset) if rows not in refused]:
            for rows in late:
                refusal = self._restore_period(rows, by)
                if refusal:
                    refused[rows] = refusal
                else:
                    restored.append(rows)
            self._refresh(dataset)
        return restored, [
            replace(kept_back(rows, refusal), late=True) for rows, refusal in refused.items()
        ]

    def _restore_period(self, rows: HotRows, by: str) -> Refusal | None:
        """Restore a period; return the refusal if that failed."""
        day = rows.period.start
        try:
            self._restore.into_hot(rows.dataset, day, day, by=by)
        except errors.ArchiveMismatchError as error:
            return Refusal(Missing.FILES, str(error))
        except errors.StorageUnavailableError as error:
            return _lock_refusal(rows, error)
        return None

    def _refresh(self, dataset: ArchivedDataset) -> None:
        source = source_of(dataset)
        if source is not None:
            self._aggregates.refresh(source)

    def _late(self, dataset: ArchivedDataset) -> list[HotRows]:
        """Return the dropped periods with new rows, or with waiting invalidations.

        An invalidation may also come from a changed session, or from a week that the neighbouring
        year has changed.
        """
        return [
            rows
            for tombstone in self._log.tombstones(dataset.name)
            if self._is_late(rows := HotRows(dataset, dataset.period_of(tombstone.start, date.max)))
        ]

    def _due(self, dataset: ArchivedDataset) -> list[HotRows]:
        """Return the periods with rows older than their age that were not dropped."""
        day = first_day(self._timescale, dataset)
        if day is None:
            return []
        dropped = self._log.tombstones(dataset.name)
        return [
            rows
            for period in due_periods(dataset, self.ages[dataset.name], day, _today())
            if not any(tombstone.touches(period) for tombstone in dropped)
            and self._is_held(rows := HotRows(dataset, period))
        ]

    def _is_held(self, rows: HotRows) -> bool:
        with self._timescale.connection() as connection:
            return are_held(connection, rows)

    def _is_late(self, rows: HotRows) -> bool:
        with self._timescale.connection() as connection:
            return are_held(connection, rows) or bool(
                waiting_for_refresh(connection, rows, rows.span)
            )

    def _drop(self, rows: HotRows, proof: LoggedPeriod | None, by: str) -> RetainedPeriod:
        refusals = self._missing_outside(rows, proof)
        if proof is None or refusals:
            return kept_back(rows, *refusals)
        try:
            with self._timescale.connection() as connection:
                take_turn(connection, rows.dataset.name)
                lock_writers_out(connection, rows)
                refusals = self._missing_in_database(connection, rows, proof)
                chunks = 0 if refusals else self._drop_rows(connection, rows, proof, by)
        except errors.StorageUnavailableError as error:
            return kept_back(rows, _lock_refusal(rows, error))
        if refusals:
            return kept_back(rows, *self._with_objection(rows, proof, refusals))
        return result_of(rows, RetentionStatus.DROPPED, rows=proof.proof.rows, chunks=chunks)

    def _drop_rows(
        self, connection: Connection, rows: HotRows, proof: LoggedPeriod, by: str
    ) -> int:
        """Drop a period and write tombstone and ledger; return the number of dropped chunks."""
        chunks = remove(connection, rows)
        burial = {"archive_id": proof.archive_id, "rows": proof.proof.rows, "by": by}
        connection.execute(sql.query("retention", "bury"), rows.parameters | burial)
        moving = {**rows.parameters, "before": "complete", "after": "archived"}
        connection.execute(sql.query("retention", "move_days"), moving)
        record(
            connection,
            Action.PERIOD_DROPPED,
            who=by,
            subject=f"{rows.dataset.name} {rows.period.label}",
            details={"rows": proof.proof.rows, "chunks": chunks, "archive_id": proof.archive_id},
            journal=self._timescale.journal,
        )
        return chunks

    def _with_objection(
        self, rows: HotRows, proof: LoggedPeriod | None, refusals: Sequence[Refusal]
    ) -> list[Refusal]:
        """Replace "rows differ" by the reason why no run will archive them, if there is one."""
        differ = any(refusal.missing is Missing.EQUAL_ROWS for refusal in refusals)
        objection = self._archive.objection(rows.dataset, proof.proof) if proof and differ else ""
        if not objection:
            return list(refusals)
        remaining = [refusal for refusal in refusals if refusal.missing is not Missing.EQUAL_ROWS]
        return [*remaining, Refusal(Missing.ARCHIVED_ROWS, objection)]

    def _missing_outside(self, rows: HotRows, proof: LoggedPeriod | None) -> list[Refusal]:
        """Return the obstacles outside of the table itself."""
        label = f"{rows.dataset.name} {rows.period.label}"
        if proof is None or proof.proof.period != rows.period:
            return [Refusal(Missing.PROOF, f"{label} is not archived: wrdata archive run")]
        refusals: list[Refusal] = []
        lost = self._lost_rows.find(rows.dataset, rows.period.start, rows.period.end)
        if lost:
            refusals.append(Refusal(Missing.LOADED_ROWS, describe_loss(rows.dataset, lost)))
        try:
            back = files.read_back(self._store, rows.dataset, proof.proof)
            digest = content_hash(rows.dataset.schema, files.read_ahead(back))
            if not proof.proof.holds(digest, rows.dataset.schema):
                reason = f"the files of {label} hold other rows than their proof says"
                refusals.append(Refusal(Missing.FILES, reason))
        except errors.ArchiveMismatchError as error:
            refusals.append(Refusal(Missing.FILES, str(error)))
        wrong = self._wrong_aggregates(rows)
        if wrong:
            reason = (
                f"aggregates of {label} differ from their recomputation, such as "
                f"bars_{wrong[0].interval} of instrument {wrong[0].instrument_id} at "
                f"{wrong[0].bucket_start}: {wrong[0].difference}"
            )
            refusals.append(Refusal(Missing.AGGREGATES, reason))
        return refusals

    def _wrong_aggregates(self, rows: HotRows) -> list[Difference]:
        """Compare the aggregates of a period with a recomputation; waiting ones are left out."""
        source = source_of(rows.dataset)
        within = (rows.period.start, rows.period.end)
        return [
            difference
            for interval in (source.intervals if source else ())
            for difference in self._aggregates.differences(interval, within=within)
        ]

    def _missing_in_database(
        self,
        connection: Connection,
        rows: HotRows,
        proof: LoggedPeriod | None,
        *,
        proof_query: str = "lock_proof",
    ) -> list[Refusal]:
        """Return the obstacles in the database; under the locks they cannot change any more."""
        label = f"{rows.dataset.name} {rows.period.label}"
        refusals: list[Refusal] = []
        row = connection.execute(rows.query("provisional_days"), rows.parameters).fetchone()
        if row and row[0]:
            reason = f"{row[0]} spans of days of {label} are provisional: load them again"
            refusals.append(Refusal(Missing.FINAL_DAYS, reason))
        waiting = waiting_for_refresh(connection, rows, rows.buckets)
        if waiting:
            reason = f"{waiting} changes of {label} wait for the refresh of aggregates"
            refusals.append(Refusal(Missing.REFRESH, reason))
        if proof is None:
            return refusals
        valid = connection.execute(rows.query(proof_query), rows.parameters).fetchone()
        if valid is None or valid[0] != proof.archive_id:
            reason = f"{label} was archived anew meanwhile: try again"
            return [*refusals, Refusal(Missing.PROOF, reason)]
        reading = stream(
            self._timescale, rows.dataset, rows.period, lock_timeout_s=hot_rows.LOCK_TIMEOUT_S
        )
        with reading as batches:
            digest = content_hash(rows.dataset.schema, files.read_ahead(batches))
        if not proof.proof.holds(digest, rows.dataset.schema):
            reason = (
                f"the {digest.rows} rows of {label} are not the {proof.proof.rows} that were "
                "archived: wrdata archive run"
            )
            refusals.append(Refusal(Missing.EQUAL_ROWS, reason))
        return refusals


def _today() -> date:
    return utc_now().date()


def _lock_refusal(rows: HotRows, error: errors.StorageUnavailableError) -> Refusal:
    """Return the refusal for an error of locking; raise any other error."""
    if not gave_way(error):
        raise error
    reason = f"{rows.dataset.table} is busy, and nothing was moved: try again later"
    return Refusal(Missing.TURN, str(error) if isinstance(error, MoveUnderWayError) else reason)


def _refuse_all(
    periods: Sequence[HotRows], error: errors.ArchiveMismatchError
) -> Iterator[RetainedPeriod]:
    """Refuse each period because the dataset's whole archive is wrong."""
    return (kept_back(rows, Refusal(Missing.FILES, str(error))) for rows in periods)
