"""A database that a portable backup is loaded into: empty, with the extension's version.

Here: what has to be so before and around the load. Not here: the load itself
(resources/backups/portable.py).
https://docs.timescale.com/migrate/latest/pg-dump-and-restore/
"""

from collections.abc import Generator
from contextlib import contextmanager

from marketdata.recovery import errors
from resources.database_url import place
from resources.storage import sql, timescale
from resources.storage.migrations import TIMESCALEDB


def require_empty(url: str) -> None:
    """Refuse a database that holds a table.

    Raises:
        ArgumentError: It holds one.
        StorageError: It cannot be reached.
    """
    if not url:
        message = "the backup holds Dagster's database too: set WRDATA_DAGSTER_DATABASE_URL"
        raise errors.ArgumentError(message)
    with timescale.connect(url) as connection:
        tables = connection.execute(sql.query("recovery", "compared_tables"), {}).fetchall()
    if tables:
        message = (
            f"{place(url)} is not empty (it has {len(tables)} tables, such as "
            f"{'.'.join(tables[0])}): name a new database; nothing was loaded"
        )
        raise errors.ArgumentError(message)


def require_extension(url: str, version: str) -> None:
    """Make sure that a database has TimescaleDB of exactly this version.

    Raises:
        ConfigurationError: The server has another version.
        StorageConflictError: The extension cannot be created.
    """
    with timescale.connect(url) as connection:
        connection.execute(sql.query("migrations", f"create_{TIMESCALEDB}"))
        rows = connection.execute(
            sql.query("server", "extension_versions"), {"names": [TIMESCALEDB]}
        ).fetchall()
        installed = rows[0][1] if rows else None
        if installed != version:
            message = (
                f"the backup was taken with TimescaleDB {version}, and {place(url)} has "
                f"{installed}: use a server with exactly that version; nothing was loaded"
            )
            raise errors.ConfigurationError(message)
        connection.execute(sql.query("migrations", "create_btree_gist"))


@contextmanager
def restoring(url: str) -> Generator[None]:
    """Let TimescaleDB take its own tables' rows while the block runs.

    A database without the extension, such as Dagster's, needs nothing.

    Raises:
        StorageError: The database cannot be reached, or refuses.
    """
    with timescale.connect(url) as connection:
        rows = connection.execute(
            sql.query("server", "extension_versions"), {"names": [TIMESCALEDB]}
        ).fetchall()
        has_extension = bool(rows and rows[0][1])
        if has_extension:
            connection.execute(sql.query("recovery", "pre_restore"))
        try:
            yield
        finally:
            if has_extension:
                connection.execute(sql.query("recovery", "post_restore"))
