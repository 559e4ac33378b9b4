"""What every table of a database holds, as a number of rows and one hash: to compare two databases.

Here: the tables, their digests, and one moment of several databases. Not here: what is compared
with what (usecases/restore_drill.py), or fingerprints that outlive a version of the server
(marketdata/content_hash.py).

The hash of a row is the server's own (hashtextextended over the row's text), and those of a table
are added up, so that their order does not matter. It is compared between servers of one version
only.

A restore to a time holds what was committed until then, and a snapshot what was committed when it
was taken. That the two are equal needs a moment without a commit: all tables are locked against
writers, the snapshots are taken, the clock is read, and the locks are released. Writers wait for
milliseconds, or, behind one that takes its time, up to LOCK_TIMEOUT_S; then the attempt is given
up.
"""

import contextlib
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg
from psycopg import sql as composed

from marketdata.recovery import errors
from resources.storage import sql, timescale
from resources.storage.timescale import Connection

LOCK_TIMEOUT_S = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Digest:
    """What a table holds: its rows, and the sum of their hashes."""

    rows: int
    sum: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """One moment of some databases, as open reads.

    Attributes:
        at: The moment (aware UTC): exactly what was committed until then is read.
    """

    at: datetime
    reads: Sequence[Connection]

    def digests(self) -> Iterator[Mapping[str, Digest]]:
        """Yield the digests of each database by table, in the order of the databases."""
        for connection in self.reads:
            yield _digests(connection)


@contextmanager
def moment(urls: Sequence[str]) -> Generator[Moment]:
    """Open one read of all tables of several databases of one server, at one moment.

    Raises:
        StorageUnavailableError: A writer holds its lock for too long: try again.
        StorageError: A database cannot be reached or refuses.
    """
    with contextlib.ExitStack() as reads:
        readers = [reads.enter_context(_reading(url)) for url in urls]
        with contextlib.ExitStack() as locks:
            writers = [locks.enter_context(_locked(url)) for url in urls]
            # A snapshot is taken by a transaction's first statement, not by its begin.
            for reader in readers:
                _clock(reader)
            at = _clock(writers[0])
        yield Moment(at=at, reads=readers)


def digests(url: str) -> Mapping[str, Digest]:
    """Return what each table of a database holds now.

    Raises:
        StorageError: The database cannot be reached, or refuses.
    """
    with _reading(url) as connection:
        return _digests(connection)


@contextmanager
def _reading(url: str) -> Generator[Connection]:
    """Open a connection whose transaction sees one moment."""
    with timescale.connect(url) as connection:
        connection.execute(sql.query("recovery", "fix_formats"))
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.read_only = True
        with connection.transaction():
            yield connection


@contextmanager
def _locked(url: str) -> Generator[Connection]:
    """Lock all tables against writers while the block runs."""
    with timescale.connect(url) as connection, connection.transaction():
        connection.execute(
            sql.query("recovery", "set_lock_timeout"),
            {"milliseconds": f"{LOCK_TIMEOUT_S * 1000:.0f}"},
        )
        for table in _tables(connection):
            try:
                connection.execute(_composed("lock_writers_out", table))
            except psycopg.errors.LockNotAvailable as error:
                message = (
                    f"a writer of {table.as_string(connection)} holds its lock for more than "
                    f"{LOCK_TIMEOUT_S} s: try again when less is loaded"
                )
                raise errors.StorageUnavailableError(message) from error
        yield connection


def _clock(connection: Connection) -> datetime:
    row = connection.execute(sql.query("recovery", "moment")).fetchone()
    if row is None:
        message = "the database did not tell the time"
        raise errors.StorageConflictError(message)
    return row[0]


def _tables(connection: Connection) -> list[composed.Identifier]:
    rows = connection.execute(sql.query("recovery", "compared_tables"), {}).fetchall()
    return [composed.Identifier(schema, name) for schema, name in rows]


def _digests(connection: Connection) -> dict[str, Digest]:
    found: dict[str, Digest] = {}
    for table in _tables(connection):
        row: tuple[Any, ...] | None = connection.execute(_composed("digest", table)).fetchone()
        rows, total = row or (0, 0)
        found[table.as_string(connection).replace('"', "")] = Digest(rows=rows, sum=int(total))
    return found


def _composed(name: str, table: composed.Identifier) -> composed.Composed:
    return composed.SQL(sql.query("recovery", name)).format(table=table)
