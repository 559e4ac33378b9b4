"""Prevents the removal of objects that a run is about to commit.

Here: the lock between the two, one for each dataset. Not here: what is removed (../maintain), or
committed (../write).

A run may commit an object that a crashed run left behind. Until the commit, the removal would take
that object for an orphan. So commits and removals exclude each other.
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
        url: URL of the database with the catalogue.
        dataset: Name of the dataset; any number of runs may commit to it at once.

    Raises:
        StorageUnavailableError: The database cannot be reached, or a removal takes too long.
    """
    # A lock of the transaction, not of the session: PgBouncer shares sessions.
    with connect(url) as connection, connection.transaction():
        connection.execute(sql.query("archive_upkeep", "wait_for_removal"), {"dataset": dataset})
        yield


@contextmanager
def removing(url: str, dataset: str) -> Generator[None]:
    """Allow no commit to the dataset while the block runs.

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
