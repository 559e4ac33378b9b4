"""The table of daily bars: staging and merging.

Here: what is particular to daily bars; their adjustment is part of their values. Not here: the
transaction around it (batches.py), what is aggregated from them (aggregates/), or tables of
other datasets (versioned_table.py).
"""

from collections.abc import Mapping

import pyarrow as pa
import pyarrow.compute as pc
from pgpq import ArrowToPostgresBinaryEncoder

from marketdata.bars import DAILY_BARS, Adjustment
from marketdata.ports import Batch
from marketdata.recovery import errors
from resources.storage import sql
from resources.storage.timescale import Connection
from resources.storage.versioned_table import MergeCounts

COPY_ROWS = 65_536
"""Rows encoded at a time: about 5 MB of binary COPY."""


class DailyBarTable:
    """Fulfils resources.storage.batches.BatchTable."""

    def check(self, rows: pa.Table) -> None:
        """Refuse a table whose columns or order are not those of DAILY_BARS."""
        if not rows.schema.equals(DAILY_BARS):
            message = (
                f"a batch has the columns of DAILY_BARS, not {rows.schema.names}: select and cast"
            )
            raise errors.StorageConflictError(message)
        ids, days = rows["instrument_id"].combine_chunks(), rows["session_date"].combine_chunks()
        same = pc.equal(ids[1:], ids[:-1])
        rising = pc.or_(
            pc.greater(ids[1:], ids[:-1]), pc.and_(same, pc.greater(days[1:], days[:-1]))
        )
        if not pc.all(rising, min_count=0).as_py():
            at = pc.index(rising, False).as_py() + 1
            message = (
                f"row {at} of the batch (instrument {ids[at]}, session {days[at]}) repeats a key "
                "or is out of order: sort by instrument and session, one row a key"
            )
            raise errors.StorageConflictError(message)

    def stage(self, connection: Connection, rows: pa.Table) -> None:
        """Send the bars into a temporary table; before any lock, since it takes the longest."""
        connection.execute(sql.query("daily_bars", "create_staged_bars"))
        encoder = ArrowToPostgresBinaryEncoder(rows.schema)
        with connection.cursor().copy(sql.query("daily_bars", "copy_staged_bars")) as copy:
            copy.write(encoder.write_header())
            for batch in rows.to_batches(max_chunksize=COPY_ROWS):
                copy.write(encoder.write_batch(batch))
            copy.write(encoder.finish())
        connection.execute(sql.query("daily_bars", "analyze_staged_bars"))

    def merge(
        self, connection: Connection, batch: Batch, origin: Mapping[str, object]
    ) -> MergeCounts:
        """Merge the staged rows; triggers note what has to be aggregated again.

        Raises:
            HistoryRebasedError: The staged rows are in other shares than stored ones that would
                stay beside them.
        """
        days, ids = pc.min_max(batch.rows["session_date"]), batch.rows["instrument_id"]
        bounds = {
            "first": days["min"].as_py(),
            "last": days["max"].as_py(),
            "instrument_ids": pc.unique(ids).to_pylist(),
        }
        self._refuse_other_shares(connection, batch, {**origin, **bounds})
        row = connection.execute(
            sql.query("daily_bars", "merge_staged_bars"), {**origin, **bounds}
        ).fetchone()
        inserted, restated, stale = row or (0, 0, 0)
        return MergeCounts(inserted=inserted, restated=restated, stale=stale)

    def _refuse_other_shares(
        self, connection: Connection, batch: Batch, bounds: Mapping[str, object]
    ) -> None:
        """Refuse a part of a history that its provider has re-based.

        As-traded bars are in the shares of their own day, and never in others.
        """
        if batch.adjustment is Adjustment.AS_TRADED:
            return
        asked = {**bounds, "joins_history": batch.joins_history}
        rows = connection.execute(sql.query("daily_bars", "rebased_histories"), asked).fetchall()
        if rows:
            instrument_id, reason = rows[0]
            message = (
                f"{len(rows)} histories were re-based by {batch.provider}, and the answer holds "
                f"only a part of them (instrument {instrument_id}: {reason}): the whole history "
                "has to be asked for"
            )
            ids = tuple(row[0] for row in rows)
            raise errors.HistoryRebasedError(message, instrument_ids=ids)

    def refuse_nothing(self, connection: Connection, batch: Batch) -> None:
        """Do nothing: no answer claims to hold all bars there are."""
