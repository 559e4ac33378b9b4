"""Trades of crypto pairs as Arrow tables, and the rules that a trade must keep.

Here: schema and rules. Not here: wire formats (resources/providers), or SQL.
"""

from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import cast

import pyarrow as pa
import pyarrow.compute as pc

from marketdata import rows
from marketdata.rows import AMOUNT, INSTANT, Rule, Validated

WIRE_TRADES = pa.schema(
    [
        pa.field("symbol", pa.string(), nullable=False),
        pa.field("trade_id", pa.int64(), nullable=False),
        pa.field("traded_at", INSTANT, nullable=False),
        pa.field("price", AMOUNT),
        pa.field("size", AMOUNT),
        pa.field("taker_side", pa.string()),
    ]
)
"""One row for each trade (Binance: an aggregate trade), by the venue's own number. ``size`` is in
the pair's base currency; ``taker_side`` is ``buy`` or ``sell``: the side of the taker."""

KEY = ("traded_at", "trade_id")

SIDES = ("buy", "sell")


def validate(wire_rows: pa.Table) -> Validated:
    """Split rows of WIRE_TRADES into those to store and those to refuse.

    Rules: a number that is not negative; price and size present and above zero; a side that is
    ``buy`` or ``sell``. If a number and time come twice with equal values, one row is kept; with
    different values, none.
    """
    rules: list[Rule] = [("trade_id is negative", pc.less(wire_rows["trade_id"], 0))]
    for name in ("price", "size"):
        column = wire_rows[name]
        rules.append((f"{name} is missing or not a number", pc.is_null(column)))
        rules.append((f"{name} is not above zero", pc.less_equal(column, pa.scalar(0, AMOUNT))))
    is_known = pc.is_in(wire_rows["taker_side"], value_set=pa.array(SIDES))
    rules.append(("taker_side is neither buy nor sell", pc.invert(is_known)))
    return rows.validate(wire_rows, key=KEY, rules=rules, day=_day)


def _day(row: Mapping[str, object]) -> date:
    return cast("datetime", row["traded_at"]).astimezone(UTC).date()
