"""Daily bars as Arrow tables: their schemas, and the rules that a bar must keep.

Here: the columns that a provider client delivers, those that the loader takes, and the validation
between the two. Not here: wire formats (resources/providers), SQL, or calendars.
"""

from collections.abc import Mapping
from datetime import date
from enum import StrEnum
from typing import cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from marketdata import rows
from marketdata.rows import Rule, Validated

PRICES = ("open", "high", "low", "close")
KEY = ("session_date",)

FEW_BARS = 4
LONGEST_WEEKEND_DAYS = 4
"""From a Thursday or Friday to the next session after a holiday."""

WIRE_BARS = pa.schema(
    [
        pa.field("symbol", pa.string(), nullable=False),
        pa.field("session_date", pa.date32(), nullable=False),
        *(pa.field(name, pa.float64()) for name in PRICES),
        pa.field("volume", pa.float64()),
    ]
)
"""Wire schema of daily bars: the provider's own symbol, values as they came, in any order."""

ACCEPTED_BARS = pa.schema([field.with_nullable(False) for field in WIRE_BARS])
"""Schema of bars that pass validation: all values are present."""

DAILY_BARS = pa.schema(
    [pa.field("instrument_id", pa.int64(), nullable=False), *list(ACCEPTED_BARS)[1:]]
)
"""Schema of bars for the loader: sorted by instrument and session, one row per key."""


class Interval(StrEnum):
    """Lengths that bars are aggregated to, spelt as in the names of the views."""

    FIVE_MINUTES = "5m"
    QUARTER_HOUR = "15m"
    HOUR = "1h"
    DAY = "1d"
    WEEK = "1w"
    MONTH = "1mo"
    QUARTER = "1q"
    YEAR = "1y"


MINUTE_INTERVALS = (Interval.FIVE_MINUTES, Interval.QUARTER_HOUR, Interval.HOUR, Interval.DAY)
"""Made of minute bars: a day is a session of New York, or a day of UTC for pairs."""

DAY_INTERVALS = (Interval.WEEK, Interval.MONTH, Interval.QUARTER, Interval.YEAR)
"""Made of daily bars; weeks are ISO weeks."""


class Phase(StrEnum):
    """When in a day a bar traded; instruments that trade around the clock are always regular."""

    REGULAR = "regular"
    EXTENDED = "extended"


def aggregated_bars(interval: Interval) -> pa.Schema:
    """Return the columns of the view ``bars_<interval>``.

    ``bucket_start`` is the bucket's first moment (UTC) for bars shorter than a day, otherwise its
    first day; ``source_bars`` counts the minute or daily bars it is made of. ``vwap`` and
    ``trades`` are null where a source bar has none, ``adjustment`` where those of the days differ.
    """
    by_minute, by_day = interval in MINUTE_INTERVALS, interval in DAY_INTERVALS
    shorter_than_day = by_minute and interval is not Interval.DAY
    start = pa.timestamp("us", tz="UTC") if shorter_than_day else pa.date32()
    fields = [
        pa.field("instrument_id", pa.int64(), nullable=False),
        *([pa.field("provider", pa.string(), nullable=False)] if by_minute else []),
        pa.field("bucket_start", start, nullable=False),
        *([pa.field("phase", pa.string(), nullable=False)] if shorter_than_day else []),
        *(pa.field(name, pa.float64(), nullable=False) for name in PRICES),
        pa.field("volume", pa.float64(), nullable=False),
        pa.field("vwap", pa.float64()),
        pa.field("adjustment", pa.string()) if by_day else pa.field("trades", pa.int64()),
        pa.field("source_bars", pa.int32(), nullable=False),
    ]
    return pa.schema(fields)


class Adjustment(StrEnum):
    """The corporate actions that a provider has already adjusted its prices for."""

    AS_TRADED = "as_traded"
    SPLITS = "splits"
    SPLITS_AND_DIVIDENDS = "splits_and_dividends"


def validate(wire_rows: pa.Table) -> Validated:
    """Split rows of WIRE_BARS into those to store and those to refuse.

    Rules: prices present, finite and above zero; volume present, finite and not negative; low
    at or below open and close, high at or above them. If a symbol and session come twice with
    equal values, one row is kept; with different values, none, since neither is known to be right.
    """

    def day(row: Mapping[str, object]) -> date:
        return cast("date", row["session_date"])

    return rows.validate(wire_rows, key=KEY, rules=price_rules(wire_rows), day=day)


def price_rules(wire_rows: pa.Table) -> list[Rule]:
    """Return the rules of any bar: on each price and the volume, then on prices compared."""
    broken: list[Rule] = [
        (f"{name} is missing or not a finite number", pc.invert(is_finite(wire_rows[name])))
        for name in (*PRICES, "volume")
    ]
    broken += [
        (f"{name} is not above zero", pc.less_equal(wire_rows[name], 0.0)) for name in PRICES
    ]
    broken.append(("volume is negative", pc.less(wire_rows["volume"], 0.0)))
    for name in ("open", "close"):
        broken.append((f"low is above {name}", pc.greater(wire_rows["low"], wire_rows[name])))
        broken.append((f"high is below {name}", pc.less(wire_rows["high"], wire_rows[name])))
    broken.append(("high is below low", pc.less(wire_rows["high"], wire_rows["low"])))
    return broken


def is_finite(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return for each value whether it is a finite number; null is not."""
    return pc.fill_null(pc.is_finite(column), False)


def refuse_longer(wire_rows: pa.Table) -> str:
    """Return why the bars of one symbol (WIRE_BARS) are not daily, or an empty text.

    No row says how long its bar is. Neighbouring sessions are at most four days apart, except
    around a halt. ``FEW_BARS`` or more bars that are all five days apart or more are not daily.
    """
    days = np.unique(wire_rows["session_date"].cast(pa.int32()).to_numpy())
    if len(days) >= FEW_BARS and bool(np.all(np.diff(days) > LONGEST_WEEKEND_DAYS)):
        return "bars of weeks or months came where those of days were asked for"
    return ""
