"""A cursor that hands out Arrow tables, and the translation of its errors.

Here: ADBC's connection. Not here: psycopg's pool, which everything else uses (timescale.py).
"""

from collections.abc import Generator
from contextlib import contextmanager

import adbc_driver_manager
from adbc_driver_postgresql import dbapi

from marketdata.recovery import errors
from resources.database_url import place
from resources.storage import timescale

LOCK_NOT_AVAILABLE = "55P03"
"""The SQLSTATE of a lock time-out."""

NOT_MIGRATED = frozenset({"42P01", "42703", "42883"})
"""The SQLSTATEs of a missing table, column and function."""


@contextmanager
def arrow_cursor(url: str, *, lock_timeout_s: float = 0.0) -> Generator[dbapi.Cursor]:
    """Open a connection for some queries; opening takes 60 ms, so share it among many queries.

    Parameters are written ``$1``. ``numeric`` columns arrive as text: cast them in the query.

    Args:
        url: URL of the database.
        lock_timeout_s: How long a query waits for a lock; 0 is for ever. Set it if this process
            holds locks on another connection: Postgres would not see the deadlock.

    Raises:
        StorageUnavailableError: The database cannot be reached, here or within the block, or a
            lock timed out.
        StorageConflictError: The database refuses a query.
    """
    where = place(url)
    try:
        with dbapi.connect(url) as connection, connection.cursor() as cursor:
            if lock_timeout_s:
                cursor.execute(f"set lock_timeout = {lock_timeout_s * 1000:.0f}")
            yield cursor
    except adbc_driver_manager.OperationalError as error:
        with timescale.connect(url):
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
