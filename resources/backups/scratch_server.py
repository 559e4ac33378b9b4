"""A server on restored files, which only we can reach: it replays WAL, and serves a copy.

Here: starting it, waiting until its replay has ended, and ending it. Not here: restoring the files
(pgbackrest.py), or what is asked of the copy.

What could do harm is set on the command line, above every setting that came with the files: the
copy archives nothing, listens on no network address, and runs no background work of TimescaleDB.
"""

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from machine import processes
from marketdata.recovery import errors
from resources import database_url
from resources.backups.pgbackrest import PgBackRest
from resources.backups.postgres_programs import PostgresPrograms

PORT = 5432
"""Only part of the socket's name: nothing listens on it."""
REPLAYED_WITHIN_S = 4 * 3600.0
STOPPED_WITHIN_S = 120.0
_FROM_CONTROL = {
    "max_connections setting": "max_connections",
    "max_worker_processes setting": "max_worker_processes",
    "max_wal_senders setting": "max_wal_senders",
    "max_prepared_xacts setting": "max_prepared_transactions",
    "max_locks_per_xact setting": "max_locks_per_transaction",
}
"""What the files remember of the server's settings; a replay stops where they are lower."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScratchServer:
    """A running copy."""

    sockets: Path

    def url(self, of: str, *, user: str = "") -> str:
        """Return the URL of the copy of a database.

        Args:
            of: The URL of the original; its schema is kept, its password is not needed.
            user: Another user than that of the original.
        """
        return database_url.at_socket(of, str(self.sockets), PORT, user=user)


@contextmanager
def running(
    pgbackrest: PgBackRest,
    programs: PostgresPrograms,
    data: Path,
    look: Callable[[], None] = lambda: None,
) -> Generator[ScratchServer]:
    """Run a server on restored files until the block ends; it is stopped cleanly.

    Args:
        pgbackrest: Restored the files; the server runs as its user.
        programs: Of the files' version.
        data: The restored data folder.
        look: Called again and again while WAL is replayed; may raise to give up.

    Raises:
        StorageConflictError: The server ended: the target is later than the archived WAL, or the
            files are damaged; the text holds what it said.
    """
    folder = Path(tempfile.mkdtemp(prefix="wrdata-scratch-"))
    try:
        sockets = folder / "sockets"
        sockets.mkdir(mode=0o700)
        log = folder / "server.log"
        (folder / "pg_hba.conf").write_text("local all all trust\n")
        (folder / "pg_ident.conf").touch()
        (folder / "postgresql.conf").touch()
        for path in (folder, *folder.iterdir()):
            _give_away(path, pgbackrest.user)
        settings = {**_settings(programs, data), **_places(folder, sockets)}
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        with processes.undisturbed():
            server = processes.spawn(
                [str(programs.folder / "postgres"), "-D", str(data), "-p", str(PORT), *options],
                log=log,
                cwd=data,
                env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"},
                user=pgbackrest.user,
            )
        try:
            _await_replay(programs, server, sockets, log, look)
            yield ScratchServer(sockets=sockets)
        finally:
            # Fast shutdown, with a checkpoint: the files are those of a server that ended well.
            processes.end(server, with_signal=signal.SIGINT, within_s=STOPPED_WITHIN_S)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _settings(programs: PostgresPrograms, data: Path) -> dict[str, str]:
    return {
        **_remembered(programs, data),
        "shared_preload_libraries": "timescaledb",
        "timescaledb.max_background_workers": "0",
        "timescaledb.telemetry_level": "off",
        "listen_addresses": "",
        "ssl": "off",
        "archive_mode": "off",
        "archive_command": "",
        "autovacuum": "off",
        "jit": "off",
        # Nobody is let in before the replay has ended.
        "hot_standby": "off",
        "logging_collector": "off",
        "log_destination": "stderr",
    }


def _places(folder: Path, sockets: Path) -> dict[str, str]:
    """Return where the server finds its files: Debian keeps some outside the data folder."""
    return {
        "config_file": str(folder / "postgresql.conf"),
        "hba_file": str(folder / "pg_hba.conf"),
        "ident_file": str(folder / "pg_ident.conf"),
        "unix_socket_directories": str(sockets),
    }


def _remembered(programs: PostgresPrograms, data: Path) -> Mapping[str, str]:
    said = subprocess.run(
        [programs.folder / "pg_controldata", data],
        capture_output=True, text=True, check=False, env={"LC_ALL": "C"},
    ).stdout  # fmt: skip
    pairs = (line.partition(":") for line in said.splitlines())
    return {
        _FROM_CONTROL[name.strip()]: value.strip()
        for name, _, value in pairs
        if name.strip() in _FROM_CONTROL
    }


def _give_away(path: Path, user: int | None) -> None:
    if user is not None:
        os.chown(path, user, user)


def _await_replay(
    programs: PostgresPrograms,
    server: processes.Process,
    sockets: Path,
    log: Path,
    look: Callable[[], None],
) -> None:
    """Wait until the server lets us in, which it does when its replay has ended."""

    def settled() -> bool:
        look()
        return not processes.is_running(server) or _answers(programs, sockets)

    ended_in_time = processes.wait_until(settled, within_s=REPLAYED_WITHIN_S, every_s=0.2)
    if ended_in_time and processes.is_running(server):
        return
    said = processes.log_tail(log, lines=200)
    if "recovery ended before configured recovery target was reached" in said:
        message = (
            "the archived WAL ends before the asked moment, or nothing was committed after it: "
            "choose an earlier moment"
        )
        raise errors.StorageConflictError(message)
    fatal = [line for line in said.splitlines() if "FATAL" in line or "PANIC" in line]
    why = fatal[-1] if fatal else said.rpartition("\n")[2]
    message = f"the restored server does not come up: {why}"
    raise errors.StorageConflictError(message)


def _answers(programs: PostgresPrograms, sockets: Path) -> bool:
    """Return whether the server takes connections; while it replays, it refuses them."""
    asked = subprocess.run(
        [programs.folder / "pg_isready", "--quiet", f"--host={sockets}", f"--port={PORT}"],
        check=False,
        env={"LC_ALL": "C"},
    )
    return asked.returncode == 0
