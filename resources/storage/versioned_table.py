"""A dataset's table: staging and merging rows of any schema.

Here: what all datasets' tables have in common (migration 0003 tells the convention). Not
here: transactions, coverage and letters (batches.py), reading (datasets.py), or daily
bars, whose adjustment is their batch's (daily_bars.py).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa
from pgpq import ArrowToPostgresBinaryEncoder
from psycopg import sql as composed

from marketdata.datasets import Dataset
from marketdata.ports import Batch
from marketdata.recovery import errors
from resources.storage import sql
from resources.storage.timescale import Connection

COPY_ROWS = 65_536
"""Rows encoded at a time: a few MB of binary COPY."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MergeCounts:
    """What a merge did to a table; what it left alone is not counted."""

    inserted: int = 0
    restated: int = 0
    stale: int = 0
    withdrawn: int = 0


class VersionedTable:
    """The table of one dataset.

    Args:
        dataset: Names the table, its schema and its key.
    """

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset

    def check(self, rows: pa.Table) -> None:
        """Refuse rows that are not what the dataset promises: its columns, one row a key.

        Raises:
            StorageConflictError: They are not.
        """
        wanted = self._dataset.stored
        if not rows.schema.equals(wanted):
            message = (
                f"a batch of {self._dataset.name} has the columns {wanted.names}, in this order"
            )
            raise errors.StorageConflictError(f"{message}; {rows.schema.names} came")
        names = ["instrument_id", *self._dataset.key]
        if rows.group_by(names, use_threads=False).aggregate([]).num_rows < rows.num_rows:
            message = f"a batch of {self._dataset.name} repeats a key ({', '.join(names)})"
            raise errors.StorageConflictError(message)

    def stage(self, connection: Connection, rows: pa.Table) -> None:
        """Send the rows into a temporary table; before any lock, since it takes the longest."""
        connection.execute(
            sql.query("datasets", "create_staged_rows"),
            {"table": self._dataset.table, "columns": rows.column_names},
        )
        encoder = ArrowToPostgresBinaryEncoder(rows.schema)
        with connection.cursor().copy(sql.query("datasets", "copy_staged_rows")) as copy:
            copy.write(encoder.write_header())
            for batch in rows.to_batches(max_chunksize=COPY_ROWS):
                copy.write(encoder.write_batch(batch))
            copy.write(encoder.finish())
        connection.execute(sql.query("datasets", "analyze_staged_rows"))

    def merge(
        self, connection: Connection, batch: Batch, origin: Mapping[str, object]
    ) -> MergeCounts:
        """Merge the staged rows, and withdraw what an answer that holds all of them lacks."""
        table = {**origin, "table": self._dataset.table}
        row = connection.execute(sql.query("datasets", "merge_staged_rows"), table).fetchone()
        inserted, restated, stale = row or (0, 0, 0)
        withdrawn = 0
        # An older answer lacks what came since: it says nothing of what is gone.
        if batch.is_all and not stale:
            for instrument_id in batch.asked.instrument_ids:
                gone = connection.execute(
                    sql.query("datasets", "withdraw_missing_rows"),
                    {**table, "instrument_id": instrument_id},
                ).fetchone()
                withdrawn += gone[0] if gone else 0
        return MergeCounts(inserted=inserted, restated=restated, stale=stale, withdrawn=withdrawn)

    def refuse_nothing(self, connection: Connection, batch: Batch) -> None:
        """Refuse an answer that holds all there is, and nothing, where something is stored.

        Raises:
            StorageConflictError: Rows of one of its instruments are stored.
        """
        query = composed.SQL(
            "select count(*) from {table} where instrument_id = any(%(ids)s::bigint[])"
        ).format(table=composed.Identifier(self._dataset.table))
        ids = list(batch.asked.instrument_ids)
        held = connection.execute(query, {"ids": ids}).fetchone()
        if held and held[0]:
            message = f"the answer is empty where {held[0]} rows of {self._dataset.name} are stored"
            raise errors.StorageConflictError(message)
