"""wrdata backup …: take backups, list them, restore one to a moment.

Here: the commands. Not here: how a backup is taken or restored (usecases/backups.py,
usecases/restoring.py, usecases/portable_backups.py), or what has to be looked at after a restore
(recover.py).
"""

from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from pipelines.cli import console, environment
from pipelines.cli.moments import shown, utc_moment
from resources import opening
from resources.backups.pgbackrest import Backup
from resources.settings import Settings, read_settings
from resources.storage.recovery.backup_log import PORTABLE
from usecases import backups, portable_backups, restoring
from usecases.portable_backups import PortableBackup

Json = Annotated[bool, typer.Option("--json", help="Print JSON for a script.")]


def run(
    *,
    full: Annotated[
        bool, typer.Option("--full", help="A full backup, though the last is younger than a week.")
    ] = False,
    json: Json = False,
) -> None:
    """Back up the database server: what changed since the last backup, once a week everything.

    Run it as the server's user, or as root, on the server's machine.
    """
    settings = _settings()
    pgbackrest = opening.pgbackrest(settings)
    console.say("Taking a backup; it ends when its WAL is in the repository")
    with opening.stores(settings) as stores:
        done = backups.take_backup(pgbackrest, stores.timescale, full=full)
    figures = {
        "backup": done.label,
        "kind": done.kind,
        "started": shown(done.started_at),
        "seconds": round((done.finished_at - done.started_at).total_seconds(), 1),
        "bytes": done.bytes,
        "stored_bytes": done.stored_bytes,
        "first_wal": done.first_wal,
        "last_wal": done.last_wal,
        "postgres": done.postgres_version,
        "timescaledb": done.timescaledb_version,
    }
    _print(figures, json)


def list_backups(
    *,
    portable: Annotated[
        bool, typer.Option("--portable", help="Those by pg_dump, in the bucket.")
    ] = False,
    json: Json = False,
) -> None:
    """List the backups that there are, oldest first, with the versions that restores need."""
    settings = _settings()
    rows = (
        [_portable_row(backup) for backup in portable_backups.portable_backups(settings)]
        if portable
        else [_row(backup) for backup in opening.pgbackrest(settings).backups()]
    )
    if json:
        console.print_json(rows)
    elif rows:
        console.print_table("", rows, by=("backup",))
    else:
        command = "wrdata backup portable" if portable else "wrdata backup run"
        console.say(f"there is no backup: {command} takes one")


def restore(
    at: Annotated[
        datetime,
        typer.Option(
            "--at", parser=utc_moment, metavar="TIME", help="Moment in UTC: 2026-11-30T14:05:00."
        ),
    ],
    into: Annotated[Path, typer.Option("--into", help="New data folder of a server.")],
    *,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Look whether it can be done, and write nothing.")
    ] = False,
    json: Json = False,
) -> None:
    """Restore the server as it was at a moment into a new folder, which never archives.

    The restored database is on hold: no schedule starts anything until wrdata recover releases it.
    """
    settings = _settings()
    pgbackrest = opening.pgbackrest(settings)
    plan = restoring.plan_restore(pgbackrest, at, into)
    figures: dict[str, Any] = {
        "backup": plan.backup.label,
        "at": shown(plan.target),
        "into": str(plan.into),
        "postgres": plan.backup.postgres_major,
        "timescaledb": plan.backup.timescaledb,
        "bytes": plan.backup.bytes,
        "programs": str(plan.programs.folder),
        "user": pgbackrest.user_name,
    }
    if not dry_run:
        url = settings.database_url.get_secret_value()
        copy = restoring.restore(plan, pgbackrest, url, opening.journal(settings), console.say)
        figures |= {
            "restored_s": round(copy.restored_s, 1),
            "replayed_s": round(copy.replayed_s, 1),
        }
    if json:
        console.print_json(figures)
    else:
        console.print_pairs("", figures)
        console.say(
            "nothing was written: a dry run"
            if dry_run
            else "start a server on it, then: wrdata recover (docs/runbooks/restore.md)"
        )


def portable(*, json: Json = False) -> None:
    """Dump the databases into the bucket, by pg_dump: for a server of any kind."""
    settings = _settings()
    taken = portable_backups.take_portable_backup(settings, console.say)
    _print(_portable_row(taken), json)


def load(
    label: Annotated[str, typer.Argument(help="Which one: wrdata backup list --portable.")],
    *,
    json: Json = False,
) -> None:
    """Load a portable backup into the empty database that WRDATA_DATABASE_URL names.

    Its user has to be a superuser. The database is on hold until wrdata recover releases it.
    """
    settings = _settings()
    loaded = portable_backups.load_portable_backup(settings, label, console.say)
    _print(_portable_row(loaded), json)


def _print(figures: dict[str, Any], json: bool) -> None:
    if json:
        console.print_json(figures)
    else:
        console.print_pairs("", figures)


def _portable_row(backup: PortableBackup) -> dict[str, Any]:
    return {
        "backup": backup.label,
        "kind": PORTABLE,
        "taken": shown(backup.taken_at),
        "databases": ", ".join(backup.sha256),
        "stored_bytes": backup.bytes,
        "postgres": backup.postgres,
        "timescaledb": backup.timescaledb,
    }


def _settings() -> Settings:
    environment.enter(environment.surroundings(writes=False), start=False)
    return read_settings()


def _row(backup: Backup) -> dict[str, Any]:
    return {
        "backup": backup.label,
        "kind": backup.kind.value,
        "ended": shown(backup.finished_at),
        "bytes": backup.bytes,
        "stored_bytes": backup.stored_bytes,
        "postgres": backup.postgres_major,
        "timescaledb": backup.timescaledb,
        "page_errors": "yes" if backup.damaged else "no",
    }
