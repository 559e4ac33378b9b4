"""Restores archived rows: beside the hot ones, or into a schema of their own.

Here: reading proven files back into the database, and merging rows that came for days after their
drop. Not here: which rows are dropped (../retain), or the files (../write/files.py).

Each period is one transaction. Rows are restored with their provider, ingest_id and known_from. If
a row of the same key is held already, the later one becomes the row and the other its version, as
if nothing had ever been dropped.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import pyarrow as pa
from psycopg import sql as composed

from marketdata.archiving import ArchivedDataset
from marketdata.audit import Action
from marketdata.content_hash import ContentHasher
from marketdata.recovery import errors
from resources.storage import sql
from resources.storage.archive.prove.proofs import ArchiveLog, LoggedPeriod, Tombstone
from resources.storage.archive.restore.hot_rows import (
    HotRows,
    MoveUnderWayError,
    lock_writers_out,
    take_turn,
)
from resources.storage.archive.write import files
from resources.storage.archive.write.archive import Archive
from resources.storage.archive.write.key_check import altered
from resources.storage.audit import record
from resources.storage.copying import stage_rows
from resources.storage.ledger.loaded_days import count_restored, is_counted
from resources.storage.object_store import ObjectStore
from resources.storage.timescale import Connection, Timescale

_ORIGIN = ("provider", "ingest_id", "known_from")


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoredPeriod:
    """A period after it was restored.

    Attributes:
        label: Name of the period.
        rows: Rows in the archive.
        inserted: Number of these that the table did not hold.
        was_dropped: Whether the days were in the archive only.
    """

    dataset: str
    label: str
    rows: int
    inserted: int
    was_dropped: bool


class Restore:
    """Restores periods of any dataset.

    Args:
        timescale: An open Timescale whose database is migrated.
        store: The bucket of the files.
        archive: For the proofs.
    """

    def __init__(self, timescale: Timescale, store: ObjectStore, archive: Archive) -> None:
        self._timescale = timescale
        self._store = store
        self._archive = archive

    def dropped(self, dataset: ArchivedDataset) -> list[Tombstone]:
        """Return the days of a dataset that are in the archive only, oldest first."""
        return ArchiveLog(self._timescale).tombstones(dataset.name)

    def into_hot(
        self, dataset: ArchivedDataset, start: date, end: date, *, by: str
    ) -> list[RestoredPeriod]:
        """Restore the archived periods with days from ``start`` to ``end`` (both included).

        Whole periods are restored. Rows that the table holds stay, unless an older answer wrote
        them; a row that was altered other than by a load is refused. Aggregates of changed rows
        wait for their refresh.

        Raises:
            ArgumentError: The dataset's rows are never dropped, or the days are not archived.
            ArchiveMismatchError: A file differs from its proof, or the table holds an altered
                row; that period is unchanged.
            StorageUnavailableError: Database or bucket cannot be reached, or another move of rows
                is under way.
        """
        if not dataset.is_droppable:
            message = (
                f"rows of {dataset.name} never leave the database: restore them into a schema of "
                "their own (--into)"
            )
            raise errors.ArgumentError(message)
        return [
            self._into_hot(dataset, logged, by) for logged in self._archived(dataset, start, end)
        ]

    def into_schema(
        self, dataset: ArchivedDataset, start: date, end: date, *, schema: str, by: str
    ) -> list[RestoredPeriod]:
        """Restore the periods of the days into a new table ``schema``.``table``, all or nothing.

        Raises:
            ArgumentError: The schema already has the table, or the days are not archived.
            ArchiveMismatchError: A file differs from its proof.
            StorageUnavailableError: Database or bucket cannot be reached.
        """
        target = composed.Identifier(schema, dataset.table)
        archived = self._archived(dataset, start, end)
        restored: list[RestoredPeriod] = []
        with self._timescale.connection() as connection:
            connection.execute(_composed("make_schema", schema=composed.Identifier(schema)))
            names = {"target": target.as_string(connection)}
            taken = connection.execute(sql.query("retention", "has_table"), names).fetchone()
            if taken and taken[0]:
                message = (
                    f"{schema}.{dataset.table} is there already: drop it or name another schema"
                )
                raise errors.ArgumentError(message)
            table = composed.Identifier("public", dataset.table)
            connection.execute(_composed("make_room", target=target, table=table))
            for logged in archived:
                self._stage(connection, dataset, logged)
                inserted = connection.execute(
                    _composed("insert_all", target=target, **_columns(dataset))
                ).rowcount
                connection.execute(sql.query("retention", "forget_staged_rows"))
                restored.append(_restored_period(logged, inserted, was_dropped=False))
            total = sum(period.inserted for period in restored)
            self._audit(connection, dataset, archived, f"{schema}.{dataset.table}", total, by=by)
        return restored

    def _archived(self, dataset: ArchivedDataset, start: date, end: date) -> list[LoggedPeriod]:
        proofs = self._archive.proofs(dataset)
        selected = [
            logged
            for logged in proofs.values()
            if logged.proof.period.start <= end and logged.proof.period.end > start
        ]
        if not selected:
            labels = list(proofs)
            available = f"{labels[0]} to {labels[-1]} are" if labels else "nothing of it is at all"
            message = f"nothing of {dataset.name} from {start} to {end} is archived; {available}"
            raise errors.ArgumentError(message)
        return selected

    def _into_hot(self, dataset: ArchivedDataset, logged: LoggedPeriod, by: str) -> RestoredPeriod:
        rows = HotRows(dataset, logged.proof.period)
        with self._timescale.connection() as connection:
            take_turn(connection, dataset.name)
            valid = connection.execute(rows.query("lock_proof"), rows.parameters).fetchone()
            if valid is None or valid[0] != logged.archive_id:
                label = f"{dataset.name} {logged.proof.period.label}"
                message = f"{label} was archived anew meanwhile; nothing was moved: try again"
                raise MoveUnderWayError(message)
            instruments = self._stage(connection, dataset, logged)
            _require_known(connection, dataset, logged, instruments)
            # Only now, since downloading the files takes longer than inserting the rows.
            lock_writers_out(connection, rows)
            pieces = _columns(dataset)
            target = composed.Identifier(dataset.table)
            has_rows = connection.execute(rows.query("has_rows"), rows.parameters).fetchone()
            if has_rows and has_rows[0]:
                _require_unaltered(connection, rows, pieces)
                connection.execute(rows.query("settle_late_rows", **pieces), rows.parameters)
                inserting = rows.query("insert_missing", target=target, **pieces)
                inserted = connection.execute(inserting, rows.parameters).rowcount
            else:
                inserting = _composed("insert_all", target=target, **pieces)
                inserted = connection.execute(inserting).rowcount
            lifting = {**rows.parameters, "by": by}
            lifted = connection.execute(sql.query("retention", "lift_tombstone"), lifting).rowcount
            if is_counted(dataset.name):
                count_restored(connection, dataset, rows.parameters)
            if lifted:
                moving = {**rows.parameters, "before": "archived", "after": "complete"}
                connection.execute(sql.query("retention", "move_days"), moving)
            self._audit(connection, dataset, [logged], dataset.table, inserted, by=by)
        return _restored_period(logged, inserted, was_dropped=bool(lifted))

    def _audit(
        self,
        connection: Connection,
        dataset: ArchivedDataset,
        logged: Sequence[LoggedPeriod],
        table: str,
        inserted: int,
        *,
        by: str,
    ) -> None:
        """Record a restore, as the last statement of its transaction."""
        labels = [period.proof.period.label for period in logged]
        record(
            connection,
            Action.PERIOD_RESTORED,
            who=by,
            subject=f"{dataset.name} {labels[0]}"
            + (f" to {labels[-1]}" if len(labels) > 1 else ""),
            details={"table": table, "rows_inserted": inserted, "periods": labels},
            journal=self._timescale.journal,
        )

    def _stage(
        self, connection: Connection, dataset: ArchivedDataset, logged: LoggedPeriod
    ) -> set[tuple[int, str | None]]:
        """Copy a period's files into the temporary table staged_rows, and compare with the proof.

        Returns:
            The instruments of the rows, with their archived tickers.
        """
        names = _stored_columns(dataset)
        schema = pa.schema([dataset.schema.field(name) for name in names])
        hasher = ContentHasher(dataset.schema)
        instruments: set[tuple[int, str | None]] = set()

        def proven() -> Iterator[pa.RecordBatch]:
            for batch in files.read_back(self._store, dataset, logged.proof):
                hasher.update(batch)
                instruments.update(_instruments_in(dataset, batch))
                yield batch.select(names)

        stage_rows(connection, dataset.table, schema, proven())
        if not logged.proof.holds(hasher.result(), dataset.schema):
            message = (
                f"the files of {dataset.name} {logged.proof.period.label} hold other rows than "
                "their proof says; nothing of it was restored"
            )
            raise errors.ArchiveMismatchError(message)
        return instruments


def _instruments_in(dataset: ArchivedDataset, batch: pa.RecordBatch) -> set[tuple[int, str | None]]:
    """Return instrument and ticker of a batch's rows; the ticker is None if there is no label."""
    names = ["instrument_id", *(["ticker"] if dataset.labelled else [])]
    groups = pa.Table.from_batches([batch]).group_by(names).aggregate([])
    tickers = groups["ticker"].to_pylist() if dataset.labelled else [None] * groups.num_rows
    return set(zip(groups["instrument_id"].to_pylist(), tickers, strict=True))


def _require_known(
    connection: Connection,
    dataset: ArchivedDataset,
    logged: LoggedPeriod,
    instruments: set[tuple[int, str | None]],
) -> None:
    """Refuse rows whose instrument ids mean other instruments in this database.

    Raises:
        ArchiveMismatchError: The archive is of a database with other instruments.
    """
    parameters = {
        "instrument_ids": [instrument_id for instrument_id, _ in instruments],
        "tickers": [ticker for _, ticker in instruments],
        "kind": dataset.kind.value,
    }
    stranger = connection.execute(sql.query("retention", "strangers"), parameters).fetchone()
    if stranger:
        message = (
            f"{dataset.name} {logged.proof.period.label} has rows of instrument {stranger[0]} as "
            f"{stranger[1] or dataset.kind.value}, which is another one in this database: restore "
            "the instruments it was archived with first, or use --into"
        )
        raise errors.ArchiveMismatchError(message)


def _require_unaltered(
    connection: Connection, rows: HotRows, pieces: Mapping[str, composed.Composable]
) -> None:
    """Refuse held rows that differ from the archived ones of the same answer.

    Raises:
        ArchiveMismatchError: There is such a row.
    """
    finding = rows.query("altered_row", **pieces)
    altered_row = connection.execute(finding, rows.parameters).fetchone()
    if altered_row:
        names = (*rows.dataset.order, "ingest_id")
        key = ", ".join(f"{name} {value}" for name, value in zip(names, altered_row, strict=True))
        raise altered(rows.dataset, rows.period, key)


def _restored_period(logged: LoggedPeriod, inserted: int, *, was_dropped: bool) -> RestoredPeriod:
    return RestoredPeriod(
        dataset=logged.proof.dataset,
        label=logged.proof.period.label,
        rows=logged.proof.rows,
        inserted=inserted,
        was_dropped=was_dropped,
    )


def _stored_columns(dataset: ArchivedDataset) -> list[str]:
    """Return the table's columns, in the archive's order."""
    return [name for name in dataset.schema.names if not (dataset.labelled and name == "ticker")]


def _composed(name: str, **pieces: composed.Composable) -> composed.Composed:
    return composed.SQL(sql.query("retention", name)).format(**pieces)


def _columns(dataset: ArchivedDataset) -> dict[str, composed.Composable]:
    """Return the lists of columns and comparisons for the queries."""
    names = _stored_columns(dataset)
    values = [name for name in names if name not in dataset.order and name not in _ORIGIN]
    changing = [name for name in names if name not in (*dataset.order, "known_from")]
    return {
        "columns": _listed(composed.Identifier(name) for name in names),
        "held_columns": _listed(composed.Identifier("held", name) for name in names),
        "archived_values": _listed(composed.Identifier("archived", name) for name in names),
        "held_row": _listed(composed.Identifier("held", name) for name in values),
        "archived_row": _listed(composed.Identifier("archived", name) for name in values),
        "key": _listed(composed.Identifier("held", name) for name in dataset.order),
        "same_key": _same_key(dataset.order, "held"),
        "same_version_key": _same_key(dataset.order, "version"),
        "version": composed.Identifier(f"{dataset.table}_version"),
        "assignments": _listed(
            composed.SQL("{} = {}").format(
                composed.Identifier(name), composed.Identifier("archived", name)
            )
            for name in changing
        ),
    }


def _same_key(key: Iterable[str], other: str) -> composed.Composed:
    return composed.SQL(" and ").join(
        composed.SQL("{} = {}").format(
            composed.Identifier(other, name), composed.Identifier("archived", name)
        )
        for name in key
    )


def _listed(pieces: Iterable[composed.Composable]) -> composed.Composed:
    return composed.SQL(", ").join(pieces)
