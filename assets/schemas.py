"""Table schemas as Dagster shows them, made from the Arrow schemas of the domain.

Here: the one translation. Not here: the schemas themselves (marketdata/bars.py).
"""

import dagster as dg
import pyarrow as pa

DESCRIPTIONS = {
    "instrument_id": "The instrument, whatever ticker it carries (table instrument)",
    "ticker": "Our ticker as of the session",
    "session_date": "Trading day of the exchange, by its own calendar",
    "bucket_start": "First moment (UTC) or first day of the bucket",
    "phase": "regular within the exchange's session, extended around it; pairs are always regular",
    "open": "First price, in the instrument's currency, adjusted as `adjustment` says",
    "high": "Highest price",
    "low": "Lowest price",
    "close": "Last price",
    "volume": "Shares traded; may be fractional",
    "opened_at": "First moment of the minute, UTC",
    "vwap": "Average price weighted by volume, where the provider tells",
    "trades": "Number of trades, where the provider tells",
    "fiscal_date": "Last day of the fiscal year or quarter",
    "fiscal_period": "FY, or Q1 to Q4: the fourth quarter ends with the year",
    "accepted_at": "When the filing became public as the provider tells it, UTC",
    "answer": "The provider's row as it came",
    "ex_date": "First session without the entitlement",
    "observed_on": "The period's day, as the provider dates it",
    "realtime_start": "First day on which the value was the latest one",
    "realtime_end": "Last such day; 9999-12-31 while it still is",
    "source_bars": "Minute bars or daily bars that the bucket is made of",
    "adjustment": "What the provider adjusted its prices for",
    "provider": "Who served the bar",
    "known_from": "When this database came to hold these values, UTC",
}
"""What columns mean whose name does not say it, for all tables that have them."""


def column_schema(schema: pa.Schema) -> dg.TableSchema:
    """Return ``schema`` for the metadata key ``dagster/column_schema``."""
    return dg.TableSchema(
        columns=[
            dg.TableColumn(
                field.name,
                str(field.type),
                description=DESCRIPTIONS.get(field.name),
                constraints=dg.TableColumnConstraints(nullable=field.nullable),
            )
            for field in schema
        ]
    )
