"""A cursor that hands out Arrow tables, and the translation of its errors.

Here: ADBC's connection. Not here: psycopg's pool, which everything else uses (timescale.py).
"""

from collections.abc import Generator
from contextlib import contextmanager

import adbc_driver_manager
from adbc_driver_postgresql import dbapi

from marketdata.recovery import errors
from resources.storage import timescale


@contextmanager
def arrow_cursor(url: str) -> Generator[dbapi.Cursor]:
    """Open a connection for some queries: opening takes 60 ms, so share it where they are many.

    Parameters are written ``$1``. ``numeric`` columns arrive as text: cast them in the query.

    Raises:
        StorageUnavailableError: The database cannot be reached, here or within the block.
        StorageConflictError: The database refuses a query.
    """
    where = timescale.place(url)
    try:
        with dbapi.connect(url) as connection, connection.cursor() as cursor:
            yield cursor
    except adbc_driver_manager.OperationalError as error:
        message = f"{where} cannot be reached to read bars; is the server up?"
        raise errors.StorageUnavailableError(message) from error
    except adbc_driver_manager.Error as error:
        message = f"{where} refuses to hand out bars: {error}"
        raise errors.StorageConflictError(message) from error
