"""Dagster's own history in its database: its size, and pruning what is outdated.

Here: pruning events and runs of Dagster's Postgres storage, and their size. Not here: pruning our
own tables (../upkeep.py), or the output of runs, which is in files (assets/database_upkeep.py).

Dagster prunes only its ticks. `dagster run delete` would also delete the events that record which
partitions are materialized, so the rows are chosen here. Tables and columns
are those of Dagster 1.13 (dagster/_core/storage/event_log/schema.py, runs/schema.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from resources.storage import sql, timescale
from resources.storage.upkeep import StoreSize

HISTORY_STAYS_FOR = timedelta(days=90)
"""How long Dagster's events and runs are kept, like its ticks (dagster.yaml)."""
SLICE = 20_000
"""Events deleted in one transaction: runs that write meanwhile wait only a moment."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PrunedHistory:
    """What was removed."""

    events: int
    check_executions: int
    runs: int


class RunHistory:
    """Measures and prunes the database in which Dagster keeps its runs.

    Args:
        url: URL of that database.
    """

    def __init__(self, url: str) -> None:
        self._url = url

    def sizes(self) -> list[StoreSize]:
        """Return the sizes of Dagster's tables that grow, and what bounds them."""
        with timescale.connect(self._url) as connection:
            rows = connection.execute(sql.query("run_history", "sizes")).fetchall()
        bound = f"{HISTORY_STAYS_FOR.days} days: wrdata prune"
        return [
            StoreSize(
                store=f"Dagster's {table}", estimated_entries=row_count, bytes=size, bound=bound
            )
            for table, row_count, size in rows
        ]

    def ended_before(self, before: datetime) -> Sequence[str]:
        """Return the ids of runs that ended before a moment (aware)."""
        with timescale.connect(self._url) as connection:
            rows = connection.execute(
                sql.query("run_history", "ended_runs"), {"before": before}
            ).fetchall()
        return [run_id for (run_id,) in rows]

    def prune(self, before: datetime, *, dry_run: bool = False) -> PrunedHistory:
        """Remove what is older than ``before`` (aware) and outdated.

        These stay at any age: the newest materialization and observation of each asset and
        partition, the newest verdict of each check, runs that have not ended, and runs of
        the events that stay. A dry run removes the same in a transaction and rolls it back.

        Raises:
            StorageError: The database cannot be reached, or is not Dagster's.
        """
        with timescale.connect(self._url) as connection:
            if not dry_run:
                return _prune(connection, before)
            with connection.transaction(force_rollback=True):
                return _prune(connection, before)


def _prune(connection: timescale.Connection, before: datetime) -> PrunedHistory:
    connection.execute(sql.query("run_history", "note_kept_events"))
    connection.execute(sql.query("run_history", "index_kept_events"))
    events, removed = 0, SLICE
    while removed == SLICE:
        removed = connection.execute(
            sql.query("run_history", "prune_events"), {"before": before, "slice": SLICE}
        ).rowcount
        events += removed
    connection.execute(sql.query("run_history", "prune_event_tags"))
    checks, runs = (
        connection.execute(sql.query("run_history", name), {"before": before}).rowcount
        for name in ("prune_check_executions", "prune_runs")
    )
    return PrunedHistory(events=events, check_executions=checks, runs=runs)
