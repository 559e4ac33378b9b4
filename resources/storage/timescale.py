"""A pool of connections to TimescaleDB, and the translation of its errors.

Here: opening and closing the pool, transactions, the server's description, and the one place where
psycopg's errors become ours. Not here: any query of the domain (the stores beside this file),
or the schema (migrations.py).
"""

import re
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

import psycopg
import psycopg_pool
from psycopg.rows import TupleRow

from marketdata.audit import Journal
from marketdata.recovery import errors
from resources.database_url import place
from resources.storage import sql

CONNECT_TIMEOUT_S = 10
POOL_TIMEOUT_S = 30.0
STATEMENT_TIMEOUT_S = 600
"""Longer than the largest merge seen (1 M rows: bench/loader.py), so short that no run hangs."""

DEAD_PEER_AFTER_MS = 60_000
_DEAD_PEER_SETTINGS = {
    "tcp_keepalives_idle": "30",
    "tcp_keepalives_interval": "10",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": str(DEAD_PEER_AFTER_MS),
}
"""A dead peer is noticed in a minute, not in two hours as by operating systems' defaults."""

KEPT_AT_MOST = 4
"""Connections of another library that wait for their next query."""

COMMUNITY = "community"
"""The edition that has continuous aggregates and compression."""

Connection = psycopg.Connection[TupleRow]

REFUSED_STATEMENT = (
    psycopg.ProgrammingError,
    psycopg.IntegrityError,
    psycopg.DataError,
    psycopg.NotSupportedError,
    psycopg.InternalError,
)
"""Errors of psycopg for a statement that the server refuses."""

_REFUSED_BY_SERVER = (
    psycopg.errors.InvalidAuthorizationSpecification,
    psycopg.errors.InvalidPassword,
    psycopg.errors.InvalidCatalogName,
)
_UNVERIFIED = re.compile(r"certificate|does not support SSL|no encryption")
"""Texts of libpq and the server when TLS is demanded and one side does not offer what is needed."""
_NOT_MIGRATED = (
    psycopg.errors.UndefinedTable,
    psycopg.errors.UndefinedColumn,
    psycopg.errors.UndefinedObject,
    psycopg.errors.UndefinedFunction,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerInfo:
    """The server and the database.

    Attributes:
        timescaledb_version: Empty when the extension is not installed in this database.
        edition: ``community`` (continuous aggregates, compression), ``apache``, or ``none``.
    """

    postgres_version: str
    timescaledb_version: str
    edition: str
    database: str
    size_bytes: int


class Closable(Protocol):
    """A connection of another library than psycopg."""

    def close(self) -> None: ...


class Timescale:
    """A pool of connections; constructing it does nothing, entering it opens the pool.

    Args:
        url: ``postgresql://user:password@host:port/database``; never shown.
        pool_size: Connections at most.
        journal: Keeps what is added to the database's audit log; None if nothing does.
    """

    def __init__(self, url: str, *, pool_size: int = 10, journal: Journal | None = None) -> None:
        self.url = url
        self.journal = journal
        self._pool_size = pool_size
        self._pool: psycopg_pool.ConnectionPool[Connection] | None = None
        self._kept: list[Closable] = []

    def __repr__(self) -> str:
        """Name the place without the password."""
        return f"Timescale({place(self.url)})"

    def __enter__(self) -> Self:
        """Open the pool.

        Raises:
            StorageUnavailableError: The server cannot be reached.
            StorageConflictError: The server refuses this user or has no such database.
            ConfigurationError: The URL cannot be read.
        """
        with connect(self.url):
            pass  # A plain connection first: a pool would hide the error behind its time-out.
        pool = psycopg_pool.ConnectionPool[Connection](
            self.url,
            kwargs={"application_name": "wrdata", "connect_timeout": CONNECT_TIMEOUT_S},
            min_size=1,
            max_size=self._pool_size,
            timeout=POOL_TIMEOUT_S,
            check=psycopg_pool.ConnectionPool.check_connection,
            configure=_configure,
            open=False,
            name="wrdata",
        )
        pool.open()
        self._pool = pool
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the pool; connections in use are closed when they come back."""
        while (kept := self.take_kept()) is not None:
            kept.close()
        if self._pool is not None:
            self._pool.close()
            self._pool = None

    @contextmanager
    def connection(self) -> Generator[Connection]:
        """Lend a connection inside a transaction: committed at the end, undone on an error.

        Raises:
            StorageUnavailableError: The server is gone or busy; the same call may succeed later.
            StorageConflictError: The server refuses; also when this object is not open.
        """
        if self._pool is None:
            message = f"{self!r} is not open; use it as a context manager: with Timescale(url) as …"
            raise errors.StorageConflictError(message)
        with translated(self.url), self._pool.connection() as connection:
            yield connection

    def keep(self, connection: Closable) -> None:
        """Keep another library's connection for its next query, until the pool closes."""
        if self._pool is None or len(self._kept) >= KEPT_AT_MOST:
            connection.close()
        else:
            self._kept.append(connection)

    def take_kept(self) -> Closable | None:
        """Return a connection that was kept, which is kept no longer; None if there is none."""
        try:
            return self._kept.pop()
        except IndexError:
            return None

    def server(self) -> ServerInfo:
        """Ask the server what it is."""
        with self.connection() as connection:
            row = connection.execute(sql.query("server", "describe_server")).fetchone()
        if row is None:
            message = f"{place(self.url)} did not describe itself"
            raise errors.StorageConflictError(message)
        version, extension, licence, database, size = row
        edition = {"timescale": COMMUNITY, "apache": "apache"}.get(licence or "", "none")
        return ServerInfo(
            postgres_version=version,
            timescaledb_version=extension or "",
            edition=edition,
            database=database,
            size_bytes=size,
        )


@contextmanager
def connect(url: str, *, within_s: int = CONNECT_TIMEOUT_S) -> Generator[Connection]:
    """Open one connection outside any pool, in autocommit mode.

    Args:
        url: URL of the database.
        within_s: How long to wait for the server; libpq takes no less than 2.

    Raises:
        StorageUnavailableError: The server cannot be reached.
        StorageConflictError: The server refuses this user or has no such database.
        ConfigurationError: The URL cannot be read.
    """
    place(url)
    with (
        translated(url),
        psycopg.connect(
            url,
            autocommit=True,
            application_name="wrdata",
            connect_timeout=within_s,
        ) as connection,
    ):
        _configure(connection)
        yield connection


def _configure(connection: Connection) -> None:
    """Set what every session needs.

    By statements, not by the start-up packet's options: PgBouncer refuses those.
    """
    connection.execute("select set_config('TimeZone', 'UTC', false)")
    connection.execute(
        "select set_config('statement_timeout', %(milliseconds)s, false)",
        {"milliseconds": str(STATEMENT_TIMEOUT_S * 1000)},
    )
    # A restated history may lie in compressed chunks, with more rows than the default allows.
    connection.execute(
        "select set_config('timescaledb.max_tuples_decompressed_per_dml_transaction', '0', false)"
    )
    # A crashed machine closes no connection. Its locks, such as on aggregates that a refresh has
    # claimed, are released when the server notices that the peer is dead.
    for setting, value in _DEAD_PEER_SETTINGS.items():
        connection.execute("select set_config(%s, %s, false)", (setting, value))
    connection.commit()


@contextmanager
def translated(url: str) -> Generator[None]:
    """Turn errors of psycopg and its pool into ours, most specific first."""
    try:
        yield
    except (psycopg.Error, psycopg_pool.PoolTimeout, psycopg_pool.PoolClosed) as error:
        raise _translation(error, place(url)) from error


def _translation(error: Exception, where: str) -> errors.StorageError:
    text = _message_of(error)
    refusal = _refusal(error, text)
    if refusal:
        return errors.StorageConflictError(f"{where} refuses: {text}; {refusal}")
    if isinstance(error, psycopg_pool.PoolTimeout):
        text = (
            f"no connection to {where} became free in {POOL_TIMEOUT_S:.0f} s; is the server up, "
            f"and are fewer than its max_connections in use? ({text})"
        )
        return errors.StorageUnavailableError(text)
    if isinstance(error, psycopg.OperationalError | psycopg.InterfaceError):
        return errors.StorageUnavailableError(
            f"{where} cannot be reached or is busy: {text}; is the server up?"
        )
    return errors.StorageConflictError(f"{where} refuses: {text}")


def _message_of(error: Exception) -> str:
    """Return the server's message in one line, without the statement."""
    if isinstance(error, psycopg.Error) and error.diag.message_primary:
        parts = (error.diag.message_primary, error.diag.message_detail, error.diag.message_hint)
        text = "; ".join(part for part in parts if part)
    else:
        text = str(error).strip()
    return text.replace("\n", "; ") or type(error).__name__


def _refusal(error: Exception, text: str) -> str:
    """Return the cure for an error that a retry cannot mend, or nothing.

    A refusal while connecting has no SQLSTATE, only a text.
    """
    if isinstance(error, _REFUSED_BY_SERVER) or "password authentication failed" in text:
        return "check user, password and database name"
    if 'database "' in text and "does not exist" in text:
        return "create the database or correct its name"
    if _UNVERIFIED.search(text):
        return "check the host's name in the URL, its sslmode, and the file that sslrootcert names"
    if isinstance(error, _NOT_MIGRATED):
        return "run `wrdata migrate`; if that was done while this program ran, restart it"
    return ""
