"""Table schemas as Dagster shows them, made from the Arrow schemas of the domain.

Here: the one translation. Not here: the schemas themselves (marketdata/bars.py).
"""

import dagster as dg
import pyarrow as pa

DESCRIPTIONS = {
    "instrument_id": "The instrument, whatever ticker it carries (table instrument)",
    "ticker": "Our ticker as of the session",
    "session_date": "Trading day of the exchange, by its own calendar",
    "bucket_start": "First day of the week (Monday) or month",
    "open": "First price, in the instrument's currency, adjusted as `adjustment` says",
    "high": "Highest price",
    "low": "Lowest price",
    "close": "Last price",
    "volume": "Shares traded; may be fractional",
    "sessions": "Trading days that the bucket is made of",
    "adjustment": "What the provider adjusted its prices for",
    "provider": "Who served the bar",
    "known_from": "When this database came to hold these values, UTC",
}
"""What each column means, for all tables that have it."""


def column_schema(schema: pa.Schema) -> dg.TableSchema:
    """Return ``schema`` for the metadata key ``dagster/column_schema``."""
    return dg.TableSchema(
        columns=[
            dg.TableColumn(
                field.name,
                str(field.type),
                description=DESCRIPTIONS[field.name],
                constraints=dg.TableColumnConstraints(nullable=field.nullable),
            )
            for field in schema
        ]
    )
