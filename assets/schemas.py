"""Types as Dagster shows them: table schemas, made from the Arrow schemas of the domain.

Here: the one translation. Not here: the schemas themselves (marketdata/bars.py).
"""

from typing import cast

import dagster as dg
import pyarrow as pa

NO_VALUE = cast("dg.DagsterType", dg.Nothing)
"""For assets that are async generators: Dagster cannot read their return annotation, and they
return nothing, since their rows are in the database. (To a type checker Nothing is None.)"""


def column_schema(schema: pa.Schema) -> dg.TableSchema:
    """Return ``schema`` for the metadata key ``dagster/column_schema``."""
    return dg.TableSchema(
        columns=[
            dg.TableColumn(
                field.name,
                str(field.type),
                constraints=dg.TableColumnConstraints(nullable=field.nullable),
            )
            for field in schema
        ]
    )
