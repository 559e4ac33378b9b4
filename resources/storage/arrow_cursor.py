"""A cursor that hands out Arrow tables, and the translation of its errors.

Here: ADBC's connection. Not here: psycopg's pool, which everything else uses (timescale.py).
"""

from collections.abc import Generator
from contextlib import contextmanager, suppress
from typing import cast

import adbc_driver_manager
from adbc_driver_postgresql import dbapi
from psycopg import conninfo

from marketdata.recovery import errors
from resources.database_url import place
from resources.storage import timescale
from resources.storage.timescale import DEAD_PEER_AFTER_MS, Timescale

LOCK_NOT_AVAILABLE = "55P03"
"""The SQLSTATE of a lock time-out."""

NOT_MIGRATED = frozenset({"42P01", "42703", "42883"})
"""The SQLSTATEs of a missing table, column and function."""


@contextmanager
def arrow_cursor(opened: Timescale, *, lock_timeout_s: float = 0.0) -> Generator[dbapi.Cursor]:
    """Lend a connection for some queries of one transaction, which is undone at the end.

    Opening one takes 60 ms, in which ADBC reads all of the database's types, so ``opened`` keeps it
    for the next caller. Parameters are written ``$1``. ``numeric`` columns arrive as text: cast
    them in the query.

    Args:
        opened: The database; if it is not open, the connection is not kept.
        lock_timeout_s: How long a query waits for a lock; 0 is for ever. Set it if this process
            holds locks on another connection: Postgres would not see the deadlock.

    Raises:
        StorageUnavailableError: The database cannot be reached, here or within the block, or a
            lock timed out.
        StorageConflictError: The database refuses a query.
    """
    where = place(opened.url)
    try:
        with _lent(opened) as connection, connection.cursor() as cursor:
            if lock_timeout_s:
                cursor.execute(f"set lock_timeout = {lock_timeout_s * 1000:.0f}")
            yield cursor
    except adbc_driver_manager.OperationalError as error:
        with timescale.connect(opened.url):
            pass  # Says why, if it is the address or the user.
        message = f"{where} cannot be reached to read bars; is the server up?"
        raise errors.StorageUnavailableError(message) from error
    except adbc_driver_manager.Error as error:
        if error.sqlstate == LOCK_NOT_AVAILABLE:
            message = f"{where} is busy: another session holds a lock on the bars; try again later"
            raise errors.StorageUnavailableError(message) from error
        if error.sqlstate in NOT_MIGRATED:
            message = f"{where} lacks the tables of this version: run wrdata migrate"
            raise errors.StorageConflictError(message) from error
        message = f"{where} refuses to hand out bars: {' '.join(str(error).split())}"
        raise errors.StorageConflictError(message) from error


@contextmanager
def _lent(opened: Timescale) -> Generator[dbapi.Connection]:
    """Lend a connection without a transaction; keep it unless something went wrong."""
    connection = _alive(opened) or _opened(opened.url)
    try:
        yield connection
        connection.rollback()
    except BaseException:
        # A result may be half read. Where the server is gone, closing says so once more.
        with suppress(adbc_driver_manager.Error):
            connection.close()
        raise
    opened.keep(connection)


def _opened(url: str) -> dbapi.Connection:
    """Open a connection that does not wait for ever for a server that is gone: it may be kept."""
    return dbapi.connect(conninfo.make_conninfo(url, tcp_user_timeout=DEAD_PEER_AFTER_MS))


def _alive(opened: Timescale) -> dbapi.Connection | None:
    """Return a kept connection that still works, or None: a server may have started anew."""
    while (kept := opened.take_kept()) is not None:
        connection = cast("dbapi.Connection", kept)
        try:
            with connection.cursor() as cursor:
                cursor.execute("select 1")
                cursor.fetchone()
            connection.rollback()
        except adbc_driver_manager.Error:
            with suppress(adbc_driver_manager.Error):
                connection.close()
        else:
            return connection
    return None
