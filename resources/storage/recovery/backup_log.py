"""The record of backups and of restore drills, and how far WAL is archived.

Here: the tables backup_run and restore_drill, for commands and metrics. Not here: which backups
still exist (resources/backups/pgbackrest.py, the repository knows), or taking them.
"""

from dataclasses import asdict, dataclass
from datetime import datetime

from marketdata.recovery import errors
from resources.storage import sql
from resources.storage.timescale import Timescale

PORTABLE = "portable"
"""The kind of a backup by pg_dump; the others are pgBackRest's (resources/backups/)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupRun:
    """A backup that was taken, or that failed.

    Attributes:
        label: Its name in the repository; None if it failed.
        started_at: Aware UTC; so is ``finished_at``.
        bytes: Size of the databases; None where it is not known, as everywhere in a failed one.
        stored_bytes: What the backup added to the repository.
        error: Why it failed; None if it did not.
    """

    kind: str
    started_at: datetime
    finished_at: datetime
    label: str | None = None
    bytes: int | None = None
    stored_bytes: int | None = None
    first_wal: str | None = None
    last_wal: str | None = None
    postgres_version: str | None = None
    timescaledb_version: str | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DrillFigures:
    """What came of a restore drill; figures are None as far as it did not get.

    Attributes:
        rpo_s: Seconds until a commit was safe in the repository.
        rto_s: Seconds from the order to restore until the copy could serve.
        rows_completed: Rows restored from the archive, which the database had dropped.
        audit_rows_lost: Rows of the audit log that production had when the copy was up, and that
            its journal did not give back.
        error: Why it failed; None if it did not.
    """

    backup_label: str | None = None
    rpo_s: float | None = None
    rto_s: float | None = None
    tables_compared: int | None = None
    rows_compared: int | None = None
    rows_completed: int | None = None
    audit_rows_lost: int | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchivedWal:
    """How far the server has archived its WAL.

    Attributes:
        segment: The last segment; empty before the first.
        failed: The segment whose archiving fails now; empty if none does.
    """

    segment: str
    failed: str


class BackupLog:
    """Reads and writes the record; every method raises StorageError as Timescale does.

    Args:
        timescale: An open Timescale whose database is migrated.
    """

    def __init__(self, timescale: Timescale) -> None:
        self._timescale = timescale

    def record(self, run: BackupRun) -> None:
        """Record a backup."""
        with self._timescale.connection() as connection:
            connection.execute(sql.query("recovery", "record_backup"), asdict(run))

    def begin_drill(self, target: datetime, started_at: datetime) -> int:
        """Record that a drill has begun, in a commit after its target; return its number."""
        with self._timescale.connection() as connection:
            row = connection.execute(
                sql.query("recovery", "begin_drill"),
                {"target": target, "started_at": started_at},
            ).fetchone()
        if row is None:
            message = "the database did not number the drill"
            raise errors.StorageConflictError(message)
        return row[0]

    def end_drill(self, drill_id: int, figures: DrillFigures) -> None:
        """Record what came of a drill."""
        with self._timescale.connection() as connection:
            connection.execute(
                sql.query("recovery", "end_drill"),
                {"restore_drill_id": drill_id, **asdict(figures)},
            )

    def current_segment(self) -> str:
        """Return the WAL segment that is written now."""
        with self._timescale.connection() as connection:
            row = connection.execute(sql.query("recovery", "wal_segment")).fetchone()
        return row[0] if row else ""

    def archived_wal(self) -> ArchivedWal:
        """Return how far WAL is archived."""
        with self._timescale.connection() as connection:
            row = connection.execute(sql.query("recovery", "archived_wal")).fetchone()
        archived, failed = row or (None, None)
        return ArchivedWal(segment=archived or "", failed=failed or "")
