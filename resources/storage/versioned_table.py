"""A dataset's table: how rows of any schema come to be in it.

Here: what all datasets' tables have in common (the migration 0003 tells the convention), and the
two lanes of a load. Not here: transactions, locks, coverage and letters (batches.py), reading
(datasets.py), or what is asked of daily bars alone (rebased_histories.py).

Where nothing is stored of a batch's instruments and days, nothing has to be compared: its rows are
copied into the table. All others are staged and merged. Which lane a batch takes is decided under
the lock of its instruments, so that nobody else can load the same meanwhile. Both leave the same
rows.
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
"""What all rows of a load are marked with: ``ingest_id``, ``loaded_at``, ``fetched_at``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MergeCounts:
    """What a load did to a table; what it left alone is not counted."""

    inserted: int = 0
    restated: int = 0
    stale: int = 0
    withdrawn: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionedTable:
    """The table of one dataset.

    Attributes:
        dataset: Its name.
        table: Where rows are.
        schema: Of the rows of a batch, ``instrument_id`` first.
        key: Columns that name a row of an instrument.
        is_adjusted: The adjustment of a batch is a column, and part of what its rows say.
        names_provider: Who said it is part of what is said: an equal row of another provider is
            a restatement.
        refuse: What a batch that does not go with the stored rows is refused by, under the lock
            and before the merge.
    """

    dataset: str
    table: str
    schema: pa.Schema
    key: tuple[str, ...]
    is_adjusted: bool = False
    names_provider: bool = True
    refuse: Callable[[Connection, Batch, Origin], None] | None = None

    def check(self, rows: pa.Table) -> None:
        """Refuse rows that are not what the dataset promises: its columns, one row a key.

        Raises:
            StorageConflictError: They are not.
        """
        if not rows.schema.equals(self.schema):
            message = (
                f"a batch of {self.dataset} has the columns {self.schema.names}, in this order"
            )
            raise errors.StorageConflictError(f"{message}; {rows.schema.names} came")
        names = ["instrument_id", *self.key]
        if _rises(rows, names):
            return
        if rows.group_by(names, use_threads=False).aggregate([]).num_rows < rows.num_rows:
            message = f"a batch of {self.dataset} repeats a key ({', '.join(names)})"
            raise errors.StorageConflictError(message)

    def load(self, connection: Connection, batch: Batch, origin: Origin) -> MergeCounts:
        """Store the rows of a batch, of which there are some, under the lock of its instruments.

        Triggers note what has to be aggregated again.

        Raises:
            StorageConflictError: The batch does not go with what is stored.
        """
        lane = self.insert if self.is_new(connection, batch) else self.merge
        return lane(connection, batch, origin)

    def is_new(self, connection: Connection, batch: Batch) -> bool:
        """Tell whether no stored row has to be compared with those of a batch."""
        row = connection.execute(sql.query("datasets", "holds_rows"), self._span(batch)).fetchone()
        return row is not None and not row[0]

    def insert(self, connection: Connection, batch: Batch, origin: Origin) -> MergeCounts:
        """Copy the rows of a batch that is new into the table."""
        rows = self._adjusted(batch)
        count = rows.num_rows
        for name, kind, value in (
            ("provider", pa.string(), batch.provider),
            ("ingest_id", pa.int64(), origin["ingest_id"]),
            ("known_from", INSTANT, origin["loaded_at"]),
        ):
            field = pa.field(name, kind, nullable=False)
            rows = rows.append_column(field, pa.repeat(pa.scalar(value, kind), count))
        copy_rows(connection, self.table, rows.schema, rows.to_batches(COPY_ROWS))
        return MergeCounts(inserted=count)

    def merge(self, connection: Connection, batch: Batch, origin: Origin) -> MergeCounts:
        """Compare the rows of a batch with the stored ones: new, equal, restated and stale.

        Rows that an answer which holds all there is lacks are withdrawn.
        """
        rows = self._adjusted(batch)
        stage_rows(connection, self.table, rows.schema, rows.to_batches(COPY_ROWS))
        if self.refuse is not None:
            self.refuse(connection, batch, origin)
        asked = {
            **origin,
            "table": self.table,
            "provider": batch.provider,
            "names_provider": self.names_provider,
        }
        row = connection.execute(sql.query("datasets", "merge_staged_rows"), asked).fetchone()
        inserted, restated, stale = row or (0, 0, 0)
        withdrawn = 0
        # An older answer lacks what came since: it says nothing of what is gone.
        if batch.full_snapshot and not stale:
            for instrument_id in batch.asked.instrument_ids:
                gone = connection.execute(
                    sql.query("datasets", "withdraw_missing_rows"),
                    {**asked, "instrument_id": instrument_id},
                ).fetchone()
                withdrawn += gone[0] if gone else 0
        return MergeCounts(inserted=inserted, restated=restated, stale=stale, withdrawn=withdrawn)

    def reject_empty_snapshot(self, connection: Connection, batch: Batch) -> None:
        """Refuse an answer that holds all there is, and nothing, where something is stored.

        Raises:
            StorageConflictError: Rows of one of its instruments are stored.
        """
        query = composed.SQL(
            "select count(*) from {table} where instrument_id = any(%(ids)s::bigint[])"
        ).format(table=composed.Identifier(self.table))
        ids = list(batch.asked.instrument_ids)
        held = connection.execute(query, {"ids": ids}).fetchone()
        if held and held[0]:
            message = f"the answer is empty where {held[0]} rows of {self.dataset} are stored"
            raise errors.StorageConflictError(message)

    def _adjusted(self, batch: Batch) -> pa.Table:
        """Return the rows of a batch, with its adjustment where the table has such a column."""
        if not self.is_adjusted or batch.adjustment is None:
            return batch.rows
        adjustment = pa.field("adjustment", pa.string(), nullable=False)
        values = pa.repeat(pa.scalar(batch.adjustment.value), batch.rows.num_rows)
        return batch.rows.append_column(adjustment, values)

    def _span(self, batch: Batch) -> dict[str, object]:
        """Return where stored rows would have to be compared with those of a batch.

        Where an answer holds all there is of what was asked for, or its bars stand beside others
        whose shares they have to be in, that is all time.
        """
        instrument_ids = set(pc.unique(batch.rows["instrument_id"]).to_pylist())
        if batch.full_snapshot:
            instrument_ids |= set(batch.asked.instrument_ids)
        joins = batch.joins_history and batch.adjustment is not Adjustment.AS_TRADED
        first: date | datetime | None = None
        last: date | datetime | None = None
        dated = [name for name in self.key if pa.types.is_temporal(self.schema.field(name).type)]
        if dated and not (batch.full_snapshot or joins):
            span = pc.min_max(batch.rows[dated[0]])
            first, last = span["min"].as_py(), span["max"].as_py()
        return {
            "table": self.table,
            "instrument_ids": sorted(instrument_ids),
            "provider": batch.provider,
            "dated_by": dated[0] if dated else None,
            "first_moment": None if first is None else str(first),
            "last_moment": None if last is None else str(last),
        }


def _rises(rows: pa.Table, names: list[str]) -> bool:
    """Tell whether rows are sorted by columns of numbers and times, and no two have one key."""
    rising = np.zeros(max(rows.num_rows - 1, 0), np.bool_)
    for name in reversed(names):
        kind = rows.schema.field(name).type
        if not (pa.types.is_integer(kind) or pa.types.is_temporal(kind)) or rows[name].null_count:
            return False
        values = rows[name].to_numpy()
        rising = (values[1:] > values[:-1]) | ((values[1:] == values[:-1]) & rising)
    return bool(rising.all())


def _table_of(dataset: Dataset) -> VersionedTable:
    return VersionedTable(
        dataset=dataset.name, table=dataset.table, schema=dataset.table_schema, key=dataset.key
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
