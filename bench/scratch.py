"""A database that benchmarks may fill: new, on a local server of their own, dropped afterwards."""

import secrets
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from psycopg import sql

from sandbox.local_world import LocalWorld

ROOT = Path(__file__).parents[1] / ".wrdata" / "bench"


@contextmanager
def scratch_database() -> Generator[str]:
    """Start the server, yield the URL of an empty database, and stop the server again."""
    world = LocalWorld(ROOT)
    world.start(["timescaledb"])
    try:
        admin_url = world.environment(["timescaledb"])["WRDATA_DATABASE_URL"]
        name = sql.Identifier(f"bench_{secrets.token_hex(4)}")
        with psycopg.connect(admin_url, autocommit=True) as admin:
            admin.execute(sql.SQL("create database {} template template1").format(name))
            yield f"{admin_url.rpartition('/')[0]}/{name.as_string().strip(chr(34))}"
            admin.execute(sql.SQL("drop database {}").format(name))
    finally:
        world.stop()
