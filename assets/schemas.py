"""Table schemas as Dagster shows them, made from the Arrow schemas of the domain.

Here: the translation. Not here: the schemas themselves (the module of each domain), or the meaning
of their columns (marketdata/columns.py).
"""

import dagster as dg
import pyarrow as pa

from marketdata.columns import meaning


def column_schema(schema: pa.Schema) -> dg.TableSchema:
    """Return ``schema`` for the metadata key ``dagster/column_schema``."""
    return dg.TableSchema(
        columns=[
            dg.TableColumn(
                field.name,
                str(field.type),
                description=meaning(field.name),
                constraints=dg.TableColumnConstraints(nullable=field.nullable),
            )
            for field in schema
        ]
    )
