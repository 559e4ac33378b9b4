"""Reads daily bars back as Arrow.

Here: the hot table, whole columns at a time. Not here: the archive's files, or aggregates.
"""

from datetime import date

import pyarrow as pa

from resources.storage import sql
from resources.storage.arrow_cursor import arrow_cursor
from resources.storage.timescale import Timescale


def read_daily_bars(opened: Timescale, start: date, end: date) -> pa.Table:
    """Return ticker, session_date, open, high, low, close and volume, sorted by the first two.

    Args:
        opened: The database.
        start: First session, included.
        end: Last session, included.

    Raises:
        StorageUnavailableError: The database cannot be reached now.
        StorageConflictError: It refuses the query.
    """
    with arrow_cursor(opened) as cursor:
        cursor.execute(sql.query("datasets", "read_daily_bars"), (start, end))
        return cursor.fetch_arrow_table()
