"""Reads months of daily bars from the database as Arrow, in the archive's order and types.

Here: the read, its fingerprint, and where a month begins and ends. Not here: files
(archive_files.py), or the archive's own rows (archive_table.py).
"""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from datetime import date

import pyarrow as pa

from marketdata.bars import ARCHIVED_BARS
from marketdata.content_hash import ContentHash, content_hash
from resources.storage import sql
from resources.storage.arrow_cursor import arrow_cursor

ReadMonth = Callable[[date], pa.Table]
"""Takes a month's first day and returns its rows (ARCHIVED_BARS), sorted."""


@contextmanager
def reader(url: str) -> Generator[ReadMonth]:
    """Open one connection for any number of months.

    Raises:
        StorageUnavailableError: The database cannot be reached, here or while reading.
        StorageConflictError: The database refuses.
    """
    with arrow_cursor(url) as cursor:

        def read(first: date) -> pa.Table:
            cursor.execute(sql.query("archive", "bars_of_month"), (first, month_end(first)))
            return cursor.fetch_arrow_table().cast(ARCHIVED_BARS)

        yield read


def month_end(first: date) -> date:
    """Return the first day of the following month."""
    return date(first.year + first.month // 12, first.month % 12 + 1, 1)


def fingerprint(rows: pa.Table) -> ContentHash:
    """Return the content hash of rows in the archive's order."""
    return content_hash(ARCHIVED_BARS, rows.to_batches())
