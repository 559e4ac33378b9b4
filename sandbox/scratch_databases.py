"""Databases for tests, benchmarks and the fault suite: new ones, on the local world's server.

Here: creating one, empty or as a copy, and dropping it with its open sessions. Not here: the
server (timescaledb.py), or schemas (resources/storage).

WRDATA_TEST_DATABASE_URL names a database on another server to use instead: one of the Community
edition, which the local world cannot have. That database itself is left alone.
"""

import os
import secrets
from collections.abc import Generator
from contextlib import contextmanager

import psycopg
from psycopg import sql

from sandbox.local_world import LocalWorld


@contextmanager
def scratch_database(
    world: LocalWorld, purpose: str, *, copy_of: str | None = None, to_copy: bool = False
) -> Generator[str]:
    """Create a database, yield its URL, and drop it.

    Args:
        world: One whose database server runs.
        purpose: What the database's name begins with; the rest is left to chance.
        copy_of: URL of a database of this server without open sessions; without it the
            new one is empty but for its extensions.
        to_copy: Others will be copied from it; from the first copy on it refuses connections.
            TimescaleDB's background workers stay out of a template: they would be users of it, and
            it could not be copied.
    """
    elsewhere = os.environ.get("WRDATA_TEST_DATABASE_URL")
    maintenance = elsewhere or world.environment(["timescaledb"])["WRDATA_DATABASE_URL"]
    server, _, own = maintenance.rpartition("/")
    name = f"{purpose}_{secrets.token_hex(6)}"
    with psycopg.connect(f"{server}/{own}", autocommit=True) as admin:
        _create(admin, name, name_of(copy_of) if copy_of else None, to_copy=to_copy)
    try:
        yield f"{server}/{name}"
    finally:
        with psycopg.connect(f"{server}/{own}", autocommit=True) as admin:
            _drop(admin, name)


def name_of(url: str) -> str:
    """Return the database name in a URL of the local world."""
    return url.rpartition("/")[2]


def _create(admin: psycopg.Connection, name: str, copy_of: str | None, *, to_copy: bool) -> None:
    """Create a database while no background worker of TimescaleDB uses its template.

    TimescaleDB starts one in each database that is named as a template, unless connections to it
    are forbidden; the default template1 need not be named.
    """
    # The files of the template are copied. The default, wal_log, would write each of their pages
    # to the WAL as well: 7 MB for a migrated database, whose copy then takes up to twice as long.
    statement = sql.SQL("create database {} strategy file_copy is_template {}").format(
        sql.Identifier(name), sql.Literal(to_copy)
    )
    if copy_of is not None:
        original = sql.Identifier(copy_of)
        admin.execute(sql.SQL("alter database {} allow_connections false").format(original))
        statement = sql.SQL("{} template {}").format(statement, original)
    admin.execute(statement)


def _drop(admin: psycopg.Connection, name: str) -> None:
    """Drop a database and end its open sessions.

    Not with force: that would end an autovacuum worker too, which only a superuser may do, while
    a plain drop makes it leave.
    """
    admin.execute(
        "select pg_terminate_backend(pid) from pg_stat_activity"
        " where datname = %s and usename = current_user",
        [name],
    )
    admin.execute(sql.SQL("alter database {} is_template false").format(sql.Identifier(name)))
    admin.execute(sql.SQL("drop database {}").format(sql.Identifier(name)))
