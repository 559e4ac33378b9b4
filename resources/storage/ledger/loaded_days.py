"""How many rows of each day were loaded, which is what tables are held to.

Here: counting, inside the transaction of a loader or a restore. Not here: the comparison with what
is held (lost_rows.py), or the coverage ledger (coverage.py), which says as much of daily bars.

Nobody who deletes rows lowers a count, so that rows which vanish, one by one or with a chunk, are
missed. Only what was found missing is written off, when its days are holes in the ledger again.
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
    """Tell whether the rows of a dataset's days are counted: those of minutes and trades are.

    Of a dataset with one row a day the ledger itself says how many there are.
    """
    return DATASETS[dataset].by_day and DATASETS[dataset].rows > 1


def count_loaded(connection: Connection, batch: Batch, *, inserted: int) -> None:
    """Count the days of a batch that has been merged, under its instruments' locks.

    Args:
        connection: In the transaction of the merge.
        batch: Of a dataset that is counted.
        inserted: How many of its rows are new.
    """
    if not inserted:
        return
    dataset = DATASETS[batch.dataset]
    days = _by_day(dataset, batch.rows)
    connection.execute(
        _about("count_loaded", dataset.table, dataset.key[0]),
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
    """Count the days of a period whose rows have come back.

    Args:
        connection: In the transaction that brought them.
        dataset: One that is counted.
        where: What names the rows in SQL: ``start``, ``end`` and ``kind``.
    """
    connection.execute(
        _about("count_restored", dataset.table, dataset.dated_by),
        {**where, "dataset": dataset.name, "zone": str(DATASETS[dataset.name].zone)},
    )


def _by_day(dataset: Dataset, rows: pa.Table) -> pa.Table:
    """Return how many rows there are of each instrument and day of the dataset's zone."""
    days = local_days(rows[dataset.key[0]], dataset.zone)
    counted = pa.table({"instrument_id": rows["instrument_id"], "day": days})
    return counted.group_by(["instrument_id", "day"]).aggregate([("day", "count")])


def _about(name: str, table: str, dated_by: str) -> composed.Composed:
    return composed.SQL(sql.query("loaded_days", name)).format(
        table=composed.Identifier(table), dated_by=composed.Identifier(dated_by)
    )
