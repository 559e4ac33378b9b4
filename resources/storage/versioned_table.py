"""A dataset's table: how rows of any schema are stored in it.

Here: what all datasets' tables have in common (migration 0003 has the convention), and the two
write paths of a load. Not here: transactions, locks, coverage and letters (batches.py), reading
(datasets.py), or the check that only daily bars need (rebased_histories.py).

If nothing is stored of a batch's instruments and days, there is nothing to compare, and its rows
are copied into the table. All other batches are staged and merged. The write path is chosen under
the lock of the batch's instruments, so that no other load interferes. Both store the same rows.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from psycopg import sql as composed

from marketdata.bars import Adjustment
from marketdata.batches import DAILY_BARS_DATASET
from marketdata.datasets import DATASETS, Dataset
from marketdata.ports import Batch
from marketdata.recovery import errors
from marketdata.rows import INSTANT
from resources.storage import sql
from resources.storage.copying import COPY_ROWS, copy_rows, stage_rows
from resources.storage.rebased_histories import refuse_rebased_histories
from resources.storage.timescale import Connection

Origin = Mapping[str, object]
"""Marks of all rows of a load: ``ingest_id``, ``loaded_at``, ``fetched_at``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MergeCounts:
    """Rows that a load changed; unchanged rows are not counted."""

    inserted: int = 0
    restated: int = 0
    stale: int = 0
    withdrawn: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionedTable:
    """The table of one dataset.

    Attributes:
        dataset: Name of the dataset.
        table: Name of the table.
        schema: Schema of a batch's rows, ``instrument_id`` first.
        key: Columns that identify a row of an instrument.
        dated_by: The one of them that places a row on a day; empty if there is none.
        is_adjusted: The batch's adjustment is a column, and part of a row's value.
        names_provider: The provider is part of a row's value: an equal row of another provider is
            a restatement.
        refuse: Raises for a batch that contradicts the stored rows; called under the lock, before
            the merge.
    """

    dataset: str
    table: str
    schema: pa.Schema
    key: tuple[str, ...]
    dated_by: str
    is_adjusted: bool = False
    names_provider: bool = True
    refuse: Callable[[Connection, Batch, Origin], None] | None = None

    def check(self, rows: pa.Table) -> None:
        """Check that rows have the dataset's columns, and one row per key.

        Raises:
            StorageConflictError: They do not.
        """
        if not rows.schema.equals(self.schema):
            message = (
                f"a batch of {self.dataset} has the columns {self.schema.names}, in this order"
            )
            raise errors.StorageConflictError(f"{message}; {rows.schema.names} came")
        names = ["instrument_id", *self.key]
        if _strictly_ascending(rows, names):
            return
        if rows.group_by(names, use_threads=False).aggregate([]).num_rows < rows.num_rows:
            message = f"a batch of {self.dataset} repeats a key ({', '.join(names)})"
            raise errors.StorageConflictError(message)

    def load(self, connection: Connection, batch: Batch, origin: Origin) -> MergeCounts:
        """Store the rows of a batch (at least one), under the lock of its instruments.

        Triggers write invalidations of the aggregates.

        Raises:
            StorageConflictError: The batch contradicts what is stored.
        """
        write_path = self.insert if self.is_new(connection, batch) else self.merge
        return write_path(connection, batch, origin)

    def is_new(self, connection: Connection, batch: Batch) -> bool:
        """Return whether no stored row has to be compared with those of a batch."""
        row = connection.execute(sql.query("datasets", "holds_rows"), self._span(batch)).fetchone()
        return row is not None and not row[0]

    def insert(self, connection: Connection, batch: Batch, origin: Origin) -> MergeCounts:
        """Copy the rows of a new batch into the table."""
        rows = self._adjusted(batch)
        count = rows.num_rows
        for name, arrow_type, value in (
            ("provider", pa.string(), batch.provider),
            ("ingest_id", pa.int64(), origin["ingest_id"]),
            ("known_from", INSTANT, origin["loaded_at"]),
        ):
            field = pa.field(name, arrow_type, nullable=False)
            rows = rows.append_column(field, pa.repeat(pa.scalar(value, arrow_type), count))
        copy_rows(connection, self.table, rows.schema, rows.to_batches(COPY_ROWS))
        return MergeCounts(inserted=count)

    def merge(self, connection: Connection, batch: Batch, origin: Origin) -> MergeCounts:
        """Compare the rows of a batch with the stored ones: new, equal, restated and stale.

        Stored rows that a full snapshot lacks are withdrawn.
        """
        rows = self._adjusted(batch)
        stage_rows(connection, self.table, rows.schema, rows.to_batches(COPY_ROWS))
        if self.refuse is not None:
            self.refuse(connection, batch, origin)
        parameters = {
            **origin,
            "table": self.table,
            "provider": batch.provider,
            "names_provider": self.names_provider,
        }
        row = connection.execute(sql.query("datasets", "merge_staged_rows"), parameters).fetchone()
        inserted, restated, stale = row or (0, 0, 0)
        withdrawn = 0
        # An older answer lacks later rows: what it lacks is not withdrawn.
        if batch.full_snapshot and not stale:
            for instrument_id in batch.asked.instrument_ids:
                gone = connection.execute(
                    sql.query("datasets", "withdraw_missing_rows"),
                    {**parameters, "instrument_id": instrument_id},
                ).fetchone()
                withdrawn += gone[0] if gone else 0
        return MergeCounts(inserted=inserted, restated=restated, stale=stale, withdrawn=withdrawn)

    def reject_empty_snapshot(self, connection: Connection, batch: Batch) -> None:
        """Refuse an empty full snapshot where rows are stored.

        Raises:
            StorageConflictError: Rows of one of its instruments are stored.
        """
        query = composed.SQL(
            "select count(*) from {table} where instrument_id = any(%(ids)s::bigint[])"
        ).format(table=composed.Identifier(self.table))
        ids = list(batch.asked.instrument_ids)
        stored = connection.execute(query, {"ids": ids}).fetchone()
        if stored and stored[0]:
            message = f"the answer is empty where {stored[0]} rows of {self.dataset} are stored"
            raise errors.StorageConflictError(message)

    def _adjusted(self, batch: Batch) -> pa.Table:
        """Return the rows of a batch, with its adjustment if the table has that column."""
        if not self.is_adjusted or batch.adjustment is None:
            return batch.rows
        adjustment = pa.field("adjustment", pa.string(), nullable=False)
        values = pa.repeat(pa.scalar(batch.adjustment.value), batch.rows.num_rows)
        return batch.rows.append_column(adjustment, values)

    def _span(self, batch: Batch) -> dict[str, object]:
        """Return instruments and days whose stored rows have to be compared with a batch.

        For a full snapshot, and for bars that have to be in the same shares as stored ones, these
        are all days.
        """
        instrument_ids = set(pc.unique(batch.rows["instrument_id"]).to_pylist())
        if batch.full_snapshot:
            instrument_ids |= set(batch.asked.instrument_ids)
        joins = batch.joins_history and batch.adjustment is not Adjustment.AS_TRADED
        first: date | datetime | None = None
        last: date | datetime | None = None
        if self.dated_by and not (batch.full_snapshot or joins):
            span = pc.min_max(batch.rows[self.dated_by])
            first, last = span["min"].as_py(), span["max"].as_py()
        return {
            "table": self.table,
            "instrument_ids": sorted(instrument_ids),
            "provider": batch.provider,
            "dated_by": self.dated_by,
            "first_moment": None if first is None else str(first),
            "last_moment": None if last is None else str(last),
        }


def _strictly_ascending(rows: pa.Table, names: list[str]) -> bool:
    """Return whether rows ascend strictly by columns of numbers and times (no duplicate key)."""
    rising = np.zeros(max(rows.num_rows - 1, 0), np.bool_)
    for name in reversed(names):
        column_type = rows.schema.field(name).type
        if (
            not (pa.types.is_integer(column_type) or pa.types.is_temporal(column_type))
            or rows[name].null_count
        ):
            return False
        values = rows[name].to_numpy()
        rising = (values[1:] > values[:-1]) | ((values[1:] == values[:-1]) & rising)
    return bool(rising.all())


def _table_of(dataset: Dataset) -> VersionedTable:
    return VersionedTable(
        dataset=dataset.name,
        table=dataset.table,
        schema=dataset.table_schema,
        key=dataset.key,
        dated_by=dataset.dated_by,
    )


TABLES: Mapping[str, VersionedTable] = {
    **{dataset.name: _table_of(dataset) for dataset in DATASETS.values()},
    DAILY_BARS_DATASET: replace(
        _table_of(DATASETS[DAILY_BARS_DATASET]),
        is_adjusted=True,
        names_provider=False,
        refuse=refuse_rebased_histories,
    ),
}
"""Every dataset's table, by the name of the dataset."""
