"""Restoring a backup to a moment, into a new data folder: planned, then carried out.

Here: which backup, everything that can be refused before a file is written, and a server on the
restored files. Not here: pgBackRest (resources/backups/), the restore on trial (restore_drill.py),
or what has to be looked at afterwards (recovery.py).
"""

import os
import shutil
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from marketdata.audit import Journal
from marketdata.calendars import utc_now
from marketdata.recovery import errors
from resources.backups import postgres_programs, scratch_server
from resources.backups.pgbackrest import Backup, PgBackRest
from resources.backups.postgres_programs import PostgresPrograms
from resources.backups.scratch_server import ScratchServer
from resources.storage.audit import reinstatement
from resources.storage.recovery import hold


@dataclass(frozen=True, slots=True, kw_only=True)
class RestorePlan:
    """A restore that nothing speaks against.

    Attributes:
        backup: The newest one that ended before ``target``.
        target: The moment whose rows the copy will hold (aware UTC).
        into: The data folder, empty or still missing.
        programs: Server programs of the backup's versions.
    """

    backup: Backup
    target: datetime
    into: Path
    programs: PostgresPrograms


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoredCopy:
    """A running copy, and how long it took to come up.

    Attributes:
        restored_s: Seconds in which the files came.
        replayed_s: Seconds in which WAL was replayed.
    """

    server: ScratchServer
    restored_s: float
    replayed_s: float


def plan_restore(pgbackrest: PgBackRest, target: datetime, into: Path) -> RestorePlan:
    """Choose the backup and look whether it can be restored; nothing is written.

    Raises:
        ArgumentError: The folder holds something, or no backup reaches the moment.
        ConfigurationError: This machine lacks the server's programs or the extension's version.
        StorageConflictError: There is not enough room, or the repository refuses.
        StorageUnavailableError: The repository cannot be reached.
    """
    _require_empty(into)
    backup = _backup_before(pgbackrest.backups(), target)
    programs = postgres_programs.find(backup.postgres_major)
    if backup.timescaledb and not programs.has_timescaledb(backup.timescaledb):
        there = ", ".join(programs.timescaledb_versions()) or "none"
        message = (
            f"backup {backup.label} was taken with TimescaleDB {backup.timescaledb}, and "
            f"{programs.folder.parent} has {there}: install exactly that version beside it; "
            "nothing was restored"
        )
        raise errors.ConfigurationError(message)
    _require_room(into, backup)
    return RestorePlan(backup=backup, target=target, into=into.absolute(), programs=programs)


@contextmanager
def restored_copy(
    plan: RestorePlan,
    pgbackrest: PgBackRest,
    report: Callable[[str], None],
    look: Callable[[], None] = lambda: None,
) -> Generator[RestoredCopy]:
    """Restore, and run a server on the files while the block runs.

    Raises:
        StorageConflictError: The backup is damaged, or WAL does not reach the moment. What was
            restored so far stays in the folder.
        StorageUnavailableError: The repository cannot be reached.
    """
    _create(plan.into, pgbackrest.user)
    started = time.monotonic()
    report(f"Restoring the files of backup {plan.backup.label} into {plan.into}")
    pgbackrest.restore(plan.backup.label, plan.target, plan.into)
    restored = time.monotonic()
    report(f"Replaying WAL up to {plan.target:%Y-%m-%d %H:%M:%S} UTC")
    with scratch_server.running(pgbackrest, plan.programs, plan.into, look) as server:
        yield RestoredCopy(
            server=server,
            restored_s=restored - started,
            replayed_s=time.monotonic() - restored,
        )


def restore(
    plan: RestorePlan,
    pgbackrest: PgBackRest,
    database_url: str,
    journal: Journal | None,
    report: Callable[[str], None],
) -> RestoredCopy:
    """Restore into the folder and put the restored database on hold; no server is left running.

    The audit log loses nothing: its rows of after the moment come back from the journal.

    Args:
        plan: From ``plan_restore``.
        pgbackrest: The one that it was planned with.
        database_url: Of the market data, as it was called in production.
        journal: Of the audit log; None if there is none.
        report: Called with a sentence for each step.

    Raises:
        StorageError: As ``restored_copy`` says, or the restored database is not ours.
    """
    with restored_copy(plan, pgbackrest, report) as copy:
        if journal is not None:
            report("Putting back the audit log's rows of after the moment, from its journal")
            reinstate(copy.server, database_url, journal)
        report("Putting the restored database on hold, until wrdata recover releases it")
        hold.hold(
            copy.server.url(database_url),
            reason=f"restored from backup {plan.backup.label}",
            target=plan.target,
        )
    return copy


def reinstate(server: ScratchServer, database_url: str, journal: Journal) -> int:
    """Put the audit log's lost rows back into a copy, as the owner of its tables; return how many.

    Args:
        server: Of the copy.
        database_url: Of the market data, as it was called in production.
        journal: Of the audit log.

    Raises:
        StorageError: The journal cannot be reached, or refuses.
    """
    owner = reinstatement.owner(server.url(database_url))
    if not owner:
        return 0
    return reinstatement.reinstate(server.url(database_url, user=owner), journal)


def _require_empty(into: Path) -> None:
    try:
        taken = into.exists() and (not into.is_dir() or any(into.iterdir()))
    except OSError as error:
        message = f"{into} cannot be looked into ({error.strerror}): name another folder"
        raise errors.ArgumentError(message) from error
    if taken:
        message = (
            f"{into} is not empty: a restore never writes over files, which may be those of a "
            "server that runs; name a new folder"
        )
        raise errors.ArgumentError(message)


def _backup_before(known: list[Backup], target: datetime) -> Backup:
    """Return the newest backup that ended before ``target``.

    Raises:
        ArgumentError: There is none, or the moment is still to come.
    """
    if not known:
        message = "the repository holds no backup: take one with wrdata backup run"
        raise errors.ArgumentError(message)
    if target > utc_now():
        message = f"{target:%Y-%m-%d %H:%M:%S} UTC is still to come: name a moment of the past"
        raise errors.ArgumentError(message)
    before = [backup for backup in known if backup.finished_at <= target]
    if not before:
        message = (
            f"no backup ended before {target:%Y-%m-%d %H:%M:%S} UTC: the oldest, "
            f"{known[0].label}, ended at {known[0].finished_at:%Y-%m-%d %H:%M:%S} UTC"
        )
        raise errors.ArgumentError(message)
    return before[-1]


def _require_room(into: Path, backup: Backup) -> None:
    there = next(path for path in (into.absolute(), *into.absolute().parents) if path.exists())
    free = shutil.disk_usage(there).free
    if free < backup.bytes:
        message = (
            f"{there} has {free / 1e9:.1f} GB free, and backup {backup.label} needs "
            f"{backup.bytes / 1e9:.1f} GB: name a folder with more room; nothing was restored"
        )
        raise errors.StorageConflictError(message)


def _create(folder: Path, user: int | None) -> None:
    """Create the data folder as PostgreSQL wants it: private, and of the server's user."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)
        if user is not None:
            os.chown(folder, user, user)
    except OSError as error:
        message = f"{folder} cannot be made ({error.strerror}): name another folder"
        raise errors.ArgumentError(message) from error
