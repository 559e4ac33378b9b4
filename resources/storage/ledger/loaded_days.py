"""Counts how many rows of each day were loaded, to detect lost rows.

Here: counting, inside the transaction of a loader or a restore. Not here: the comparison with the
held rows (lost_rows.py), or the coverage ledger (coverage.py), which has the same for daily bars.

Deleting rows does not lower a count, so that lost rows, single ones or whole chunks, are noticed. A
count is lowered only when a loss was found and its days have become holes in the ledger.
"""

import pyarrow as pa
from psycopg import sql as composed

from marketdata.archiving import ArchivedDataset
from marketdata.datasets import DATASETS, Dataset
from marketdata.local_days import local_days
from marketdata.ports import Batch
from resources.storage import sql
from resources.storage.timescale import Connection


def is_counted(dataset: str) -> bool:
    """Return whether a dataset's rows are counted by day: minutes and trades are.

    For a dataset with one row per day, the ledger itself has the number.
    """
    return DATASETS[dataset].by_day and DATASETS[dataset].rows > 1


def count_loaded(connection: Connection, batch: Batch, *, inserted: int) -> None:
    """Count the days of a batch that has been merged, under its instruments' locks.

    Args:
        connection: In the transaction of the merge.
        batch: A batch of a counted dataset.
        inserted: How many of its rows are new.
    """
    if not inserted:
        return
    dataset = DATASETS[batch.dataset]
    days = _by_day(dataset, batch.rows)
    connection.execute(
        _for_table("count_loaded", dataset.table, dataset.dated_by),
        {
            "dataset": dataset.name,
            "provider": batch.provider,
            "zone": str(dataset.zone),
            "instrument_ids": days["instrument_id"].to_pylist(),
            "days": days["day"].to_pylist(),
            "rows": days["day_count"].to_pylist(),
            "are_all_new": inserted == batch.rows.num_rows,
        },
    )


def count_restored(
    connection: Connection, dataset: ArchivedDataset, where: dict[str, object]
) -> None:
    """Count the days of a restored period.

    Args:
        connection: In the transaction of the restore.
        dataset: A counted dataset.
        where: SQL parameters that select the rows: ``start``, ``end`` and ``kind``.
    """
    connection.execute(
        _for_table("count_restored", dataset.table, dataset.dated_by),
        {**where, "dataset": dataset.name, "zone": str(DATASETS[dataset.name].zone)},
    )


def _by_day(dataset: Dataset, rows: pa.Table) -> pa.Table:
    """Return the number of rows by instrument and day, in the dataset's zone."""
    days = local_days(rows[dataset.dated_by], dataset.zone)
    counted = pa.table({"instrument_id": rows["instrument_id"], "day": days})
    return counted.group_by(["instrument_id", "day"]).aggregate([("day", "count")])


def _for_table(name: str, table: str, dated_by: str) -> composed.Composed:
    return composed.SQL(sql.query("loaded_days", name)).format(
        table=composed.Identifier(table), dated_by=composed.Identifier(dated_by)
    )
