"""Dagster's own history in its database: how large it is, and what of it is outdated.

Here: pruning events and runs of Dagster's Postgres storage, and their size. Not here: what is
pruned of our own tables (../upkeep.py), or what runs printed, which lies in files
(assets/database_upkeep.py).

Dagster bounds its ticks by itself and nothing else. `dagster run delete` would take the events
along that say which partitions are materialized, so the rows are chosen here. Tables and columns
are those of Dagster 1.13 (dagster/_core/storage/event_log/schema.py, runs/schema.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from resources.storage import sql, timescale

SLICE = 20_000
"""Events that one transaction deletes: runs that write meanwhile wait a moment at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PrunedHistory:
    """What was removed."""

    events: int
    check_executions: int
    runs: int


class RunHistory:
    """Looks at, and prunes, the database that Dagster keeps its runs in.

    Args:
        url: Of that database.
    """

    def __init__(self, url: str) -> None:
        self._url = url

    def sizes(self) -> dict[str, tuple[int | None, int]]:
        """Return estimated rows (None: unknown yet) and bytes by table, if they are there."""
        with timescale.connect(self._url) as connection:
            rows = connection.execute(sql.query("run_history", "sizes")).fetchall()
        return {name: (row_count, size) for name, row_count, size in rows}

    def ended_before(self, before: datetime) -> Sequence[str]:
        """Return the ids of runs that ended before a moment (aware)."""
        with timescale.connect(self._url) as connection:
            rows = connection.execute(
                sql.query("run_history", "ended_runs"), {"before": before}
            ).fetchall()
        return [run_id for (run_id,) in rows]

    def prune(self, before: datetime, *, dry_run: bool = False) -> PrunedHistory:
        """Remove what is older than ``before`` (aware) and tells nothing that is still so.

        What stays, however old: the newest materialization and observation of each asset and
        partition, the newest verdict of each check, runs that have not ended, and runs of which
        one of those events stays. A dry run removes the same in a transaction, and takes it back.

        Raises:
            StorageError: The database cannot be reached, or is none of Dagster's.
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
