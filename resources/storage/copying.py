"""Copies Arrow rows into a table by binary COPY.

Here: the binary stream. Not here: the form of single values (wire_values.py), or which table, under
which lock, and what happens to the rows afterwards (versioned_table.py, archive/restore).
"""

from collections.abc import Iterable

import pyarrow as pa
from pgpq import ArrowToPostgresBinaryEncoder
from psycopg import sql as composed

from resources.storage import sql
from resources.storage.timescale import Connection
from resources.storage.wire_values import in_wire_form, wire_schema

COPY_ROWS = 65_536
"""Rows encoded at a time: a few MB of binary COPY."""


def stage_rows(
    connection: Connection, table: str, schema: pa.Schema, batches: Iterable[pa.RecordBatch]
) -> None:
    """Send rows into a new temporary table ``staged_rows``, which the transaction's end drops.

    Args:
        connection: In a transaction.
        table: The table whose column types the staged rows take.
        schema: The columns.
        batches: Rows of this schema.
    """
    connection.execute(_for_table("create_staged_rows", table, schema))
    copy_rows(connection, "staged_rows", schema, batches)
    connection.execute(sql.query("datasets", "analyze_staged_rows"))


def copy_rows(
    connection: Connection, table: str, schema: pa.Schema, batches: Iterable[pa.RecordBatch]
) -> None:
    """Send rows into a table as they are.

    Args:
        connection: In a transaction.
        table: Has all the columns, in any order; other columns take their defaults.
        schema: The columns.
        batches: Rows of this schema.
    """
    encoder = ArrowToPostgresBinaryEncoder(wire_schema(schema))
    with connection.cursor().copy(_for_table("copy_rows", table, schema)) as copy:
        copy.write(encoder.write_header())
        for batch in batches:
            copy.write(encoder.write_batch(in_wire_form(batch)))
        copy.write(encoder.finish())


def _for_table(query: str, table: str, schema: pa.Schema) -> composed.Composed:
    return composed.SQL(sql.query("datasets", query)).format(
        table=composed.Identifier(table),
        columns=composed.SQL(", ").join(composed.Identifier(name) for name in schema.names),
    )
