"""An embedded TimescaleDB server: private, on loopback, kept between starts.

Here: where its data lives, how the server is set up, launched and recognised, and the
databases and roles it offers. Not here: where the programs come from
(timescaledb_programs.py), or ports and reuse (local_world.py).

Data are kept as in production: fsync stays on, passwords are asked for, and the server never
runs as root: root hands it to the user ``nobody``.
"""

import hashlib
import os
import pwd
import shutil
import signal
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import LiteralString

import psycopg
from psycopg import sql

from machine import private_files, processes
from marketdata.recovery import errors
from sandbox import timescaledb_programs

ROLE = "wrdata"
DATABASES = {False: ("wrdata", "dagster"), True: ("wrdata_simulated", "dagster_simulated")}
"""Market data and Dagster's storage, by whether their provider is simulated: simulated prices
and real ones never meet in one database."""
TEMPLATE = "template1"
EXTENSIONS = ("timescaledb", "btree_gist")
SUPERUSER = "postgres"
_UNPRIVILEGED = "nobody"
_ZONEINFO = Path("/usr/share/zoneinfo")
_OVER_TCP = "host all all 127.0.0.1/32 scram-sha-256\n"

SETTINGS: Mapping[str, str] = {
    "listen_addresses": processes.LOOPBACK,
    "unix_socket_directories": "",
    "shared_preload_libraries": "timescaledb",
    "timescaledb.telemetry_level": "off",
    # A scheduler per database does nothing in the Apache edition (all its jobs are of the
    # Community edition), and its session in template1 makes every `create database` wait 5 s
    # and fail: "source database is being accessed by other users".
    "timescaledb.max_background_workers": "0",
    "jit": "off",
    # Every chunk of a hypertable is locked by a query that cannot exclude it.
    "max_locks_per_transaction": "256",
    "max_connections": "200",
    # Passwords are drawn at random, so there is nothing to be guessed, and each of thousands of
    # connections would compute 4096 rounds.
    "scram_iterations": "1",
    "shared_buffers": "256MB",
    "max_wal_size": "2GB",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] %d %a ",
}
"""Given on the command line, so that a new version's settings hold for old data folders."""


class TimescaleServer:
    """The server of one local world.

    Args:
        home: Where the world keeps it; data move below /var/lib/wrdata if the server's user
            cannot reach this folder.
        log: File that the server's output is appended to.
        archive_command: PostgreSQL's setting; with one, the server archives its WAL, and its
            superuser may come in by a socket (``sockets``), as pgBackRest does.
        archive_timeout_s: PostgreSQL's setting: how long a commit waits for its archiving.

    Attributes:
        home: Where data and passwords lie.
        user: The user that the server runs as; None for ours.
        data: Its data folder.
    """

    name = "timescaledb"
    stop_signal = signal.SIGINT
    """PostgreSQL's fast shutdown: sessions are cut off, data are safe."""
    start_within_s = 120.0
    """Generous, since a start after a crash replays the log first."""

    def __init__(
        self, *, home: Path, log: Path, archive_command: str = "", archive_timeout_s: int = 60
    ) -> None:
        self.user = _server_user()
        self.home = home if self.user is None or _reachable(home) else _public_home(home)
        self.data = self.home / "data"
        self._log = log
        self._archive_command = archive_command
        self._archive_timeout_s = archive_timeout_s

    @property
    def sockets(self) -> Path:
        """A private folder for the socket of a server that archives."""
        return self.home / "sockets"

    def prepare(self, report: Callable[[str], None]) -> None:
        """Find or fetch the programs, create the data folder once, clear up after a crash.

        Raises:
            ConfigurationError: Programs cannot be had, the data folder cannot be created, or this
                system has no time zones.
        """
        _require_time_zones()
        programs = timescaledb_programs.find_or_install(report)
        if not (self.data / "PG_VERSION").exists():
            report(f"Creating a database cluster in {self.data}")
            self._create_cluster(programs.folder)
        if self._archive_command:
            self._open_sockets()
        self._end_leftovers()

    def launch(self, port: int) -> processes.Process:
        """Start the server on ``port`` without waiting for it."""
        programs = timescaledb_programs.find_or_install(lambda _: None)
        settings = {**SETTINGS, **(self._archiving() if self._archive_command else {})}
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return processes.spawn(
            [str(programs.folder / "postgres"), "-D", str(self.data), "-p", str(port), *options],
            log=self._log,
            cwd=self.data,
            env=_environment(),
            user=self.user,
        )

    def answers(self, port: int) -> bool:
        """Return whether the server on ``port`` accepts our connections."""
        try:
            with self._connect(port, "postgres"):
                return True
        except psycopg.OperationalError:
            return False

    def complete(self, port: int) -> None:
        """Create missing roles, extensions and databases."""
        with self._connect(port, "postgres") as connection:
            if not _exists(connection, "select 1 from pg_roles where rolname = %s", ROLE):
                # Before the role, so that the role marks a finished template: nobody can copy
                # the template while we are connected to it.
                self._create_extensions(port)
                _create_role(connection, self._secrets()[ROLE])
            for market, dagster in DATABASES.values():
                _create_database(connection, market, TEMPLATE)
                # Dagster's tables need no extension, and template0 has none.
                _create_database(connection, dagster, "template0")

    def _create_extensions(self, port: int) -> None:
        with self._connect(port, TEMPLATE) as template:
            for extension in EXTENSIONS:
                template.execute(
                    sql.SQL("create extension if not exists {}").format(sql.Identifier(extension))
                )

    def url(self, port: int, database: str, role: str = ROLE) -> str:
        """Return a libpq URL of ``database`` with the role's password in it."""
        password = self._secrets()[role]
        return f"postgresql://{role}:{password}@{processes.LOOPBACK}:{port}/{database}"

    def address(self, port: int) -> str:
        """Return the address without a password, for display."""
        return f"postgresql://{processes.LOOPBACK}:{port}"

    def _secrets(self) -> dict[str, str]:
        """Return the passwords; they lie beside the data that they protect."""
        return private_files.kept_secrets(
            self.home / "passwords.json",
            dict.fromkeys((SUPERUSER, ROLE), lambda: private_files.letters_and_digits(32)),
        )

    def _connect(self, port: int, database: str) -> psycopg.Connection:
        return psycopg.connect(
            host=processes.LOOPBACK,
            port=port,
            user=SUPERUSER,
            password=self._secrets()[SUPERUSER],
            dbname=database,
            autocommit=True,
            connect_timeout=5,
        )

    def _archiving(self) -> dict[str, str]:
        """Return the settings of a server that archives (deploy/backup/postgresql.conf)."""
        return {
            "archive_mode": "on",
            "archive_command": self._archive_command,
            "archive_timeout": str(self._archive_timeout_s),
            "unix_socket_directories": str(self.sockets),
            "hba_file": str(self._hba),
        }

    @property
    def _hba(self) -> Path:
        return self.home / "pg_hba.conf"

    def _open_sockets(self) -> None:
        """Let in whoever reaches the private folder of sockets: root, and the server's user."""
        self.sockets.mkdir(mode=0o700, exist_ok=True)
        self._hba.write_text(f"local all {SUPERUSER} trust\n{_OVER_TCP}")
        for path in (self.sockets, self._hba):
            self._give_away(path)

    def _create_cluster(self, programs: Path) -> None:
        """Run initdb in a folder beside and move the result, so that no half cluster stays."""
        private_files.make_passable(self.home)
        draft = self.home / "data.new"
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(mode=0o700)
        password_file = draft.with_name("password.new")
        password_file.touch(mode=0o600)
        password_file.write_text(self._secrets()[SUPERUSER])
        for path in (draft, password_file):
            self._give_away(path)
        try:
            self._initdb(programs, draft, password_file)
        finally:
            password_file.unlink()
        (draft / "pg_hba.conf").write_text(_OVER_TCP)
        draft.rename(self.data)

    def _initdb(self, programs: Path, folder: Path, password_file: Path) -> None:
        command = [
            str(programs / "initdb"), "--pgdata", str(folder), "--username", SUPERUSER,
            "--pwfile", str(password_file), "--auth", "scram-sha-256", "--encoding", "UTF8",
            "--locale-provider", "builtin", "--builtin-locale", "C.UTF-8", "--locale", "C",
            "--no-instructions",
        ]  # fmt: skip
        try:
            subprocess.run(
                command, capture_output=True, text=True, check=True, timeout=120, cwd=folder,
                env=_environment(), user=self.user, group=self.user,
                extra_groups=None if self.user is None else [],
            )  # fmt: skip
        except subprocess.SubprocessError as error:
            said = str(getattr(error, "stderr", None) or error).splitlines()
            # Besides errors, its output has six lines on what it does and where.
            why = [line for line in said if "error:" in line or "FATAL" in line] or said[-1:]
            message = (
                f"no database cluster can be made in {folder}: {'; '.join(why)}. Set "
                "WRDATA_STATE_DIR to a folder with room that can be written"
            )
            raise errors.ConfigurationError(message) from error

    def _give_away(self, path: Path) -> None:
        if self.user is not None:
            os.chown(path, self.user, self.user)

    def _end_leftovers(self) -> None:
        """End leftovers of a killed server, since a new one refuses to start beside them.

        Backends outlive a killed postmaster for a moment, and its postmaster.pid may name an id
        which another server of the same user has by now.
        """
        for process in processes.working_in(self.data):
            processes.end(process, with_signal=signal.SIGQUIT, within_s=10)
        (self.data / "postmaster.pid").unlink(missing_ok=True)


def _require_time_zones() -> None:
    """Make sure that a server will find time zones: Debian's reads the system's and no others."""
    if not _ZONEINFO.joinpath("UTC").exists():
        message = (
            f"PostgreSQL needs the time zones of {_ZONEINFO}, which are not there: install tzdata, "
            "or set WRDATA_DATABASE_URL to a TimescaleDB"
        )
        raise errors.ConfigurationError(message)


def _server_user() -> int | None:
    """Return the user a server has to be handed to: none unless we are root."""
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam(_UNPRIVILEGED).pw_uid
    except KeyError as error:
        message = f"a database server must not run as root, and there is no user {_UNPRIVILEGED}"
        raise errors.ConfigurationError(message) from error


def _reachable(folder: Path) -> bool:
    """Return whether any user may traverse the folders above ``folder``."""
    existing = [parent for parent in (folder, *folder.parents) if parent.exists()]
    return all(parent.stat().st_mode & 0o001 for parent in existing)


def _public_home(home: Path) -> Path:
    digest = hashlib.sha256(str(home).encode()).hexdigest()[:16]
    return Path("/var/lib/wrdata") / digest


def _environment() -> dict[str, str]:
    """Return the environment of the server's programs: nothing of ours, above all no PG*."""
    return {"PATH": "/usr/bin:/bin", "LC_ALL": "C"}


def _exists(connection: psycopg.Connection, query: LiteralString, name: str) -> bool:
    return connection.execute(query, [name]).fetchone() is not None


def _create_role(connection: psycopg.Connection, password: str) -> None:
    connection.execute(
        sql.SQL("create role {} login createdb password {}").format(
            sql.Identifier(ROLE), sql.Literal(password)
        )
    )


def _create_database(connection: psycopg.Connection, name: str, template: str) -> None:
    if not _exists(connection, "select 1 from pg_database where datname = %s", name):
        connection.execute(
            sql.SQL("create database {} owner {} template {}").format(
                sql.Identifier(name), sql.Identifier(ROLE), sql.Identifier(template)
            )
        )
