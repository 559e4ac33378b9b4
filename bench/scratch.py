"""A database that benchmarks may fill: new, on a local server of their own, dropped afterwards.

Here: that database, and the plain COPY that the loader is measured by. Not here: any measurement.
"""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pyarrow as pa
from pgpq import ArrowToPostgresBinaryEncoder
from psycopg import sql

from sandbox import scratch_databases
from sandbox.local_world import LocalWorld

ROOT = Path(__file__).parents[1] / ".wrdata" / "bench"


@contextmanager
def scratch_database() -> Generator[str]:
    """Start the server, yield the URL of an empty database, and stop the server again."""
    world = LocalWorld(ROOT)
    world.start(["timescaledb"])
    try:
        with scratch_databases.scratch_database(world, "bench") as url:
            yield url
    finally:
        world.stop()


def binary_copy(connection: psycopg.Connection, table: str, rows: pa.Table) -> None:
    """Copy rows in binary, straight into the table."""
    encoder = ArrowToPostgresBinaryEncoder(rows.schema)
    statement = sql.SQL("copy {} ({}) from stdin (format binary)").format(
        sql.Identifier(table), sql.SQL(", ").join(map(sql.Identifier, rows.column_names))
    )
    with connection.cursor().copy(statement) as copy:
        copy.write(encoder.write_header())
        for part in rows.to_batches(max_chunksize=65_536):
            copy.write(encoder.write_batch(part))
        copy.write(encoder.finish())
