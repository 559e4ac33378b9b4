"""Minute bars as Arrow tables: the wire schema, and the rules that a bar must keep.

Here: schema and rules, for shares and for crypto pairs. Not here: wire formats
(resources/providers), SQL, or which days are complete (coverage.py).
"""

from collections.abc import Mapping
from datetime import UTC, date, datetime, tzinfo
from typing import cast

import pyarrow as pa
import pyarrow.compute as pc

from marketdata import rows
from marketdata.bars import PRICES, is_finite, price_rules
from marketdata.rows import INSTANT, Rule, Validated

WIRE_MINUTE_BARS = pa.schema(
    [
        pa.field("symbol", pa.string(), nullable=False),
        pa.field("opened_at", INSTANT, nullable=False),
        *(pa.field(name, pa.float64()) for name in PRICES),
        pa.field("volume", pa.float64()),
        pa.field("vwap", pa.float64()),
        pa.field("trades", pa.int64()),
    ]
)
"""One row for each minute with trades; ``opened_at`` is its first moment. ``volume`` is in shares
or in the pair's base currency; ``vwap`` and ``trades`` are null where the provider has none."""

KEY = ("opened_at",)

MANY_BARS = 20
"""Of this many minute bars, all open at a fifth minute by chance only once in 10^13."""
_MINUTE_US = 60_000_000


def validate(wire_rows: pa.Table, *, zone: tzinfo = UTC) -> Validated:
    """Split rows of WIRE_MINUTE_BARS into those to store and those to refuse.

    Rules: those of daily bars (prices present, finite and above zero, volume present and not
    negative, low and high around open and close); ``opened_at`` is a whole minute; ``vwap`` and
    ``trades`` may be missing, but not impossible. No row says how long its bar is: if many bars all
    open at fifth minutes, they are refused as bars of five minutes or more. A ``vwap`` outside of
    low and high is accepted: it includes trades that set neither. If a minute comes twice with
    different values, none is kept.

    Args:
        wire_rows: Rows as the provider sent them.
        zone: Time zone of a refused row's day: New York for shares, UTC for pairs.
    """

    def day(row: Mapping[str, object]) -> date:
        return cast("datetime", row["opened_at"]).astimezone(zone).date()

    return rows.validate(wire_rows, key=KEY, rules=_rules(wire_rows), day=day)


def _rules(wire_rows: pa.Table) -> list[Rule]:
    micros = wire_rows["opened_at"].cast(pa.int64())
    minute = pc.multiply(pc.divide(micros, _MINUTE_US), _MINUTE_US)
    longer = pa.repeat(pa.scalar(_are_longer_than_minutes(micros)), wire_rows.num_rows)
    usable = pc.and_(is_finite(wire_rows["vwap"]), pc.greater(wire_rows["vwap"], 0.0))
    return [
        *price_rules(wire_rows),
        ("the bars are longer than a minute: none opens between those of five", longer),
        ("opened_at is not a whole minute", pc.not_equal(micros, minute)),
        (
            "vwap is not a finite number above zero",
            pc.and_(pc.is_valid(wire_rows["vwap"]), pc.invert(pc.fill_null(usable, False))),
        ),
        ("trades is negative", pc.less(wire_rows["trades"], 0)),
    ]


def _are_longer_than_minutes(opened_us: pa.ChunkedArray) -> bool:
    at = pc.unique(opened_us)
    fifths = pc.multiply(pc.divide(at, 5 * _MINUTE_US), 5 * _MINUTE_US)
    return len(at) >= MANY_BARS and bool(pc.all(pc.equal(at, fifths)).as_py())
