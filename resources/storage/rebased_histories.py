"""Refuses a part of a history that its provider has re-based (decision 0050).

Here: the check whether staged daily bars are in other shares than the stored bars that would stay
beside them. Not here: the merge (versioned_table.py), or requesting the whole history instead
(marketdata/ingest.py).
"""

from collections.abc import Mapping

import pyarrow.compute as pc

from marketdata.bars import Adjustment
from marketdata.ports import Batch
from marketdata.recovery import errors
from resources.storage import sql
from resources.storage.timescale import Connection


def refuse_rebased_histories(
    connection: Connection, batch: Batch, origin: Mapping[str, object]
) -> None:
    """Refuse staged daily bars if stored bars in other shares would stay beside them.

    As-traded bars are always in the shares of their own day. A batch of which nothing is stored,
    and which does not join a history, is not checked.

    Args:
        connection: In the load's transaction, under the lock of its instruments.
        batch: Whose rows are staged.
        origin: Marks of the load, with ``fetched_at``.

    Raises:
        HistoryRebasedError: Some are re-based; it names the instruments.
    """
    if batch.adjustment is Adjustment.AS_TRADED:
        return
    days = pc.min_max(batch.rows["session_date"])
    parameters = {
        "first": days["min"].as_py(),
        "last": days["max"].as_py(),
        "instrument_ids": pc.unique(batch.rows["instrument_id"]).to_pylist(),
        "provider": batch.provider,
        "fetched_at": origin["fetched_at"],
        "joins_history": batch.joins_history,
    }
    query = sql.query("rebased_histories", "rebased_histories")
    rows = connection.execute(query, parameters).fetchall()
    if rows:
        instrument_id, reason = rows[0]
        message = (
            f"{len(rows)} histories were re-based by {batch.provider}, and the answer holds "
            f"only a part of them (instrument {instrument_id}: {reason}): the whole history "
            "has to be asked for"
        )
        ids = tuple(row[0] for row in rows)
        raise errors.HistoryRebasedError(message, instrument_ids=ids)
