"""One moment of a database for each scrape, on one connection that is kept between them.

Here: the read-only transaction, its time limits, and a part of it that may fail alone. Not here:
what is asked in it (pipeline_figures.py, dagster_figures.py).
"""

import contextlib
import threading
from collections.abc import Generator
from contextlib import contextmanager

import psycopg
from psycopg import IsolationLevel, conninfo
from psycopg_pool import ConnectionPool

from resources.storage import sql
from resources.storage.timescale import Connection, connect, translated

STATEMENT_WITHIN_S = 2
"""A query of a scrape takes milliseconds; one that takes longer disturbs others."""
CONNECT_WITHIN_S = 2
"""A scrape has ten seconds in Prometheus' defaults: most of them are left for the answer."""
_SILENT_FOR_S = 5
"""A network that drops all packets, or a stopped server, is noticed within this time."""


class Snapshots:
    """Opens read-only snapshots of one database; any thread may, and one at a time does.

    Not the pool of the loaders: figures have to come when that is exhausted.

    Args:
        url: ``postgresql://`` URL of the database; never shown.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._lock = threading.Lock()
        self._opened = contextlib.ExitStack()
        self._connection: Connection | None = None

    def close(self) -> None:
        """Close the connection; a further snapshot would open it again."""
        with self._lock:
            self._disconnect()

    @contextmanager
    def opened(self) -> Generator["Snapshot"]:
        """Open a snapshot: every query inside it sees the same moment, unless one fails.

        Raises:
            StorageUnavailableError: The server cannot be reached, or went away meanwhile.
            StorageConflictError: The server refuses.
        """
        with self._lock, translated(self._url):
            connection = self._usable() or self._connect()
            try:
                yield Snapshot(connection, self._url)
                connection.rollback()
            except psycopg.Error:
                self._disconnect()
                raise

    def _usable(self) -> Connection | None:
        """Return the kept connection, unless it broke since the last scrape."""
        if self._connection is not None:
            try:
                ConnectionPool.check_connection(self._connection)
            except psycopg.Error:
                self._disconnect()
        return self._connection

    def _connect(self) -> Connection:
        url = conninfo.make_conninfo(self._url, tcp_user_timeout=_SILENT_FOR_S * 1000)
        connection = self._opened.enter_context(connect(url, within_s=CONNECT_WITHIN_S))
        connection.execute(
            sql.query("server", "limit_statements"),
            {"milliseconds": str(STATEMENT_WITHIN_S * 1000)},
        )
        connection.autocommit = False
        connection.isolation_level = IsolationLevel.REPEATABLE_READ
        connection.read_only = True
        self._connection = connection
        return connection

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        self._opened.close()


class Snapshot:
    """One moment of a database."""

    def __init__(self, connection: Connection, url: str) -> None:
        self._connection = connection
        self._url = url

    @contextmanager
    def part(self) -> Generator[Connection]:
        """Lend the connection for queries that may fail alone.

        After a failure the following parts see a later moment. Savepoints would keep the first,
        and cost two round trips for each part of every scrape.

        Raises:
            StorageUnavailableError: The server is gone, or a query took too long.
            StorageConflictError: The server refuses one.
        """
        with translated(self._url):
            try:
                yield self._connection
            except Exception:
                self._connection.rollback()
                raise
