"""Arrow rows into a table: the one COPY.

Here: the binary stream. Not here: the form of single values (wire_values.py), or which table, under
which lock, and what is done with the rows afterwards (versioned_table.py, archive/restore.py).
"""

from collections.abc import Iterable, Sequence

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
        table: Whose columns they are; the staged ones have its types.
        schema: The columns.
        batches: Of this schema.
    """
    columns = {"table": table, "columns": schema.names}
    connection.execute(sql.query("datasets", "create_staged_rows"), columns)
    copy_rows(connection, "staged_rows", schema, batches)
    connection.execute(sql.query("datasets", "analyze_staged_rows"))


def copy_rows(
    connection: Connection, table: str, schema: pa.Schema, batches: Iterable[pa.RecordBatch]
) -> None:
    """Send rows into a table as they are.

    Args:
        connection: In a transaction.
        table: Has all the columns, in any order; others are left to their defaults.
        schema: The columns.
        batches: Of this schema.
    """
    statement = composed.SQL(sql.query("datasets", "copy_rows")).format(
        table=composed.Identifier(table), columns=_listed(schema.names)
    )
    encoder = ArrowToPostgresBinaryEncoder(wire_schema(schema))
    with connection.cursor().copy(statement) as copy:
        copy.write(encoder.write_header())
        for batch in batches:
            copy.write(encoder.write_batch(in_wire_form(batch)))
        copy.write(encoder.finish())


def _listed(names: Sequence[str]) -> composed.Composed:
    return composed.SQL(", ").join(composed.Identifier(name) for name in names)
