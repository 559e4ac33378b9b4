"""Describes the schema of a migrated database as text, from which sql/schema.sql is written.

Here: types, tables, views and functions of the schema, each with its comment, in an order that
does not depend on the migrations. Not here: the migrations, or privileges. The text is for
readers and for comparing; it is never run. `make schema` writes it anew.
"""

from itertools import groupby
from operator import itemgetter
from pathlib import Path

from resources.storage import sql, timescale

FILE = Path(sql.__file__).parent / "schema.sql"
"""The result of `describe` after the last change of the migrations."""

SCHEMAS = ("public", "iceberg_catalog", "dagster")
"""The schemas that migrations write to; an engine of aggregates has its own."""

_HEADER = """\
-- The schema that the migrations beside this file make. Written by `make schema`: to be read, not
-- to be changed and not to be run. How a piece came to be, and why, stands in the migrations."""

_PARTS = (
    ("Types", "type_definitions"),
    ("Tables", "table_definitions"),
    ("Legal transitions of dead letters (dead_letter_legal_transition)", "legal_transitions"),
    ("Views", "view_definitions"),
    ("Functions", "function_definitions"),
)


def describe(connection: timescale.Connection) -> str:
    """Return the schema of a migrated database as text with a line break at its end.

    The server formats expressions, so the texts of two major versions of PostgreSQL may differ.
    """
    parts = [f"-- {title}\n\n{_part(connection, query)}" for title, query in _PARTS]
    return "\n\n\n".join([_HEADER, *parts]) + "\n"


def _part(connection: timescale.Connection, query: str) -> str:
    """Return the statements of a part, grouped by object."""
    rows = connection.execute(sql.query("schema", query), {"schemas": list(SCHEMAS)}).fetchall()
    objects = [
        "\n".join(text if query == "legal_transitions" else f"{text};" for _, text in statements)
        for _, statements in groupby(rows, key=itemgetter(0))
    ]
    return "\n\n".join(objects)
