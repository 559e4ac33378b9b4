"""Keeps the removal of objects apart from runs that are about to commit them.

Here: the lock between the two, one for each dataset. Not here: what is removed (../maintain), or
committed (../write).

A run may commit an object that lay there before it, left behind by a run that died. To the
removal such an object is an orphan, however old, until the commit: so while one of them is at
work the other is not.
"""

from collections.abc import Generator
from contextlib import contextmanager

from marketdata.recovery import errors
from resources.storage import sql
from resources.storage.timescale import connect


@contextmanager
def committing(url: str, dataset: str) -> Generator[None]:
    """Keep the dataset's objects from being removed while the block runs.

    Args:
        url: Of the database that holds the catalogue.
        dataset: Name of the dataset; any number of runs may commit to it at once.

    Raises:
        StorageUnavailableError: The database cannot be reached, or a removal takes too long.
    """
    # In a transaction, and not by a lock of the session: PgBouncer shares sessions.
    with connect(url) as connection, connection.transaction():
        connection.execute(sql.query("archive_upkeep", "wait_for_removal"), {"dataset": dataset})
        yield


@contextmanager
def removing(url: str, dataset: str) -> Generator[None]:
    """Let nobody commit to the dataset while the block runs.

    Raises:
        StorageUnavailableError: A run is about to commit; the same call may succeed later.
    """
    with connect(url) as connection, connection.transaction():
        row = connection.execute(
            sql.query("archive_upkeep", "try_to_remove"), {"dataset": dataset}
        ).fetchone()
        if row is None or not row[0]:
            message = f"a run is writing to archive.{dataset}: remove orphans when it has ended"
            raise errors.StorageUnavailableError(message)
        yield
