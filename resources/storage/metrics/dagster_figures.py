"""Figures of Dagster's own tables, for the exporter: runs, the queue, daemons.

Here: queries on the database in which Dagster keeps its runs, without Dagster. Not here: our own
tables (pipeline_figures.py), or pruning (../runs/history.py).

Tables and columns are those of Dagster 1.13 (dagster/_core/storage/runs/schema.py).
"""

from collections.abc import Mapping
from datetime import datetime

from marketdata.recovery import errors
from resources.storage import sql
from resources.storage.timescale import Connection


def require_tables(connection: Connection) -> None:
    """Check that this database is Dagster's.

    Raises:
        StorageConflictError: It has no tables of Dagster's.
    """
    if connection.execute(sql.query("metrics", "dagster_is_kept")).fetchone() != (True,):
        message = (
            "the database has no tables of Dagster: start Dagster, which makes them (wrdata up), "
            "or correct WRDATA_DAGSTER_DATABASE_URL"
        )
        raise errors.StorageConflictError(message)


def runs(connection: Connection) -> Mapping[str, int]:
    """Count the runs in flight, and those that ended within the last hour, by Dagster's status."""
    return dict(connection.execute(sql.query("metrics", "dagster_runs")).fetchall())


def oldest_queued(connection: Connection) -> datetime | None:
    """Return when the oldest queued run was created (aware UTC), or None."""
    row = connection.execute(sql.query("metrics", "oldest_queued_run")).fetchone()
    return row[0] if row else None


def heartbeats(connection: Connection) -> Mapping[str, datetime]:
    """Return when each daemon was last heard of (aware UTC), by its type."""
    return dict(connection.execute(sql.query("metrics", "daemon_heartbeats")).fetchall())
