"""Backups: one is taken, and recorded with the versions that a restore of it needs.

Here: what the command does, full or not, and the record of success and failure. Not here:
pgBackRest itself (resources/backups/pgbackrest.py), restores (restoring.py), or the portable form
(portable_backups.py).
"""

from datetime import datetime, timedelta

from marketdata.calendars import utc_now
from marketdata.recovery import errors
from resources.backups.pgbackrest import Backup, Kind, PgBackRest
from resources.storage.recovery.backup_log import BackupLog, BackupRun
from resources.storage.timescale import Timescale

FULL_EVERY = timedelta(days=6, hours=12)
"""A daily backup at one hour is full once a week: a restore needs the full one and what follows."""


def take_backup(pgbackrest: PgBackRest, timescale: Timescale, *, full: bool) -> BackupRun:
    """Back up the database server, and record it.

    Args:
        pgbackrest: With the configuration of this server.
        timescale: The open database, for the versions and the record.
        full: Take a full backup even if the last one is young.

    Raises:
        StorageUnavailableError: Server or repository cannot be reached; the failure is recorded.
        StorageConflictError: They refuse; the failure is recorded.
    """
    server = timescale.server()
    log = BackupLog(timescale)
    started_at = utc_now()
    kind = Kind.FULL
    try:
        known = pgbackrest.backups()
        if not known:
            pgbackrest.create_stanza()
        kind = kind_now(known, started_at, full=full)
        backup = pgbackrest.backup(
            kind, postgres=server.postgres_version, timescaledb=server.timescaledb_version
        )
    except errors.StorageError as error:
        log.record(
            BackupRun(
                kind=kind, started_at=started_at, finished_at=utc_now(), error=str(error),
                postgres_version=server.postgres_version,
                timescaledb_version=server.timescaledb_version,
            )
        )  # fmt: skip
        raise
    run = BackupRun(
        kind=backup.kind,
        label=backup.label,
        started_at=started_at,
        finished_at=utc_now(),
        bytes=backup.bytes,
        stored_bytes=backup.stored_bytes,
        first_wal=backup.first_wal,
        last_wal=backup.last_wal,
        postgres_version=server.postgres_version,
        timescaledb_version=server.timescaledb_version,
    )
    log.record(run)
    return run


def kind_now(known: list[Backup], now: datetime, *, full: bool) -> Kind:
    """Return which kind of backup is due at ``now`` (aware)."""
    last_full = max(
        (backup.finished_at for backup in known if backup.kind is Kind.FULL), default=None
    )
    due = last_full is None or now - last_full > FULL_EVERY
    return Kind.FULL if full or due else Kind.INCREMENTAL
