"""Daily bars as Arrow tables: their schemas, and what makes one bar acceptable.

Here: the columns a provider client delivers and the columns the loader takes, and the
validation between the two. Not here: wire formats (resources/providers), SQL, or calendars.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

PRICES = ("open", "high", "low", "close")

FEW_BARS = 4
LONGEST_WEEKEND_DAYS = 4
"""From a Thursday or Friday to the next session after a holiday."""

QUOTED_BARS = pa.schema(
    [
        pa.field("symbol", pa.string(), nullable=False),
        pa.field("session_date", pa.date32(), nullable=False),
        *(pa.field(name, pa.float64()) for name in PRICES),
        pa.field("volume", pa.float64()),
    ]
)
"""What a provider client returns: the provider's own symbol, values as they came, any order."""

DAILY_BARS = pa.schema(
    [
        pa.field("instrument_id", pa.int64(), nullable=False),
        pa.field("session_date", pa.date32(), nullable=False),
        *(pa.field(name, pa.float64(), nullable=False) for name in PRICES),
        pa.field("volume", pa.float64(), nullable=False),
    ]
)
"""What the loader takes: sorted by instrument and session, one row per key, all values present."""


class Interval(StrEnum):
    """The lengths that bars are aggregated to, spelt as in the names of the views."""

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
    """When in a day a bar traded; whatever trades around the clock is always regular."""

    REGULAR = "regular"
    EXTENDED = "extended"


def aggregated_bars(interval: Interval) -> pa.Schema:
    """Return the columns of the view ``bars_<interval>``.

    ``bucket_start`` is the bucket's first moment (UTC) for bars shorter than a day, otherwise its
    first day; ``source_bars`` counts the minute or daily bars it is made of. ``vwap`` and
    ``trades`` are null where a source bar does not tell its own, ``adjustment`` where those of the
    days differ.
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
    """For which corporate actions a provider has already adjusted its prices."""

    AS_TRADED = "as_traded"
    SPLITS = "splits"
    SPLITS_AND_DIVIDENDS = "splits_and_dividends"


Figures = Mapping[str, float | str | None]
"""Prices and volume by name, in a form that JSON can hold."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RejectedBar:
    """One bar that broke a rule.

    Attributes:
        reason: The rule in words.
        received: Prices and volume as they came, null where they could not be read and in words
            where they are no finite number; more than one row if the answer contradicts itself.
    """

    symbol: str
    session_date: date
    reason: str
    received: tuple[Figures, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidatedBars:
    """The two halves of a provider's answer, both in the shape of QUOTED_BARS or its records."""

    accepted: pa.Table
    rejected: tuple[RejectedBar, ...]


def validate(quoted: pa.Table) -> ValidatedBars:
    """Split ``quoted`` (QUOTED_BARS) into bars that may be stored and bars that may not.

    Rules: prices present, finite and above zero; volume present, finite and not negative; low
    at or below open and close, high at or above them; of a symbol and session that come twice
    with equal values one is kept, with different values none is, since nobody knows which is
    right.
    """
    reasons = _reasons(quoted)
    ok = pc.equal(reasons, "")
    bad = quoted.append_column("reason", reasons).filter(pc.invert(ok))
    rejected = tuple(
        RejectedBar(
            symbol=row["symbol"],
            session_date=row["session_date"],
            reason=row["reason"],
            received=(_figures(row),),
        )
        for row in bad.to_pylist()
    )
    accepted, contradictory = _without_duplicates(quoted.filter(ok))
    return ValidatedBars(accepted=accepted, rejected=rejected + contradictory)


def are_longer_than_days(quoted: pa.Table) -> bool:
    """Tell whether the bars of one symbol (QUOTED_BARS) are those of weeks or months.

    No row says how long its bar is. Sessions lie four days from each other at most, but for a
    halt; some few bars of which no two are nearer than five are not of days.
    """
    days = np.unique(quoted["session_date"].cast(pa.int32()).to_numpy())
    return len(days) >= FEW_BARS and bool(np.all(np.diff(days) > LONGEST_WEEKEND_DAYS))


def _reasons(quoted: pa.Table) -> pa.Array:
    """Return one text per row: empty, or the first rule that the row breaks."""
    rules: list[tuple[str, pa.ChunkedArray]] = [
        (f"{name} is missing or not a finite number", pc.invert(_finite(quoted[name])))
        for name in (*PRICES, "volume")
    ]
    rules += [(f"{name} is not above zero", pc.less_equal(quoted[name], 0.0)) for name in PRICES]
    rules.append(("volume is negative", pc.less(quoted["volume"], 0.0)))
    for name in ("open", "close"):
        rules.append((f"low is above {name}", pc.greater(quoted["low"], quoted[name])))
        rules.append((f"high is below {name}", pc.less(quoted["high"], quoted[name])))
    rules.append(("high is below low", pc.less(quoted["high"], quoted["low"])))
    reasons: pa.Array = pa.array([""] * quoted.num_rows, pa.string())
    for text, broken in reversed(rules):
        reasons = pc.if_else(pc.fill_null(broken, False), text, reasons)
    return reasons.combine_chunks() if isinstance(reasons, pa.ChunkedArray) else reasons


def _finite(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.fill_null(pc.is_finite(column), False)


def _without_duplicates(bars: pa.Table) -> tuple[pa.Table, tuple[RejectedBar, ...]]:
    """Drop equal repeats of a key; reject keys that come with different values."""
    distinct = bars.group_by(bars.column_names, use_threads=False).aggregate([])
    if distinct.num_rows == bars.num_rows and _keys(distinct).num_rows == bars.num_rows:
        return bars, ()
    counted = distinct.group_by(["symbol", "session_date"], use_threads=False).aggregate(
        [("close", "count")]
    )
    twice = counted.filter(pc.greater(counted["close_count"], 1)).select(["symbol", "session_date"])
    versions: dict[tuple[str, date], list[Figures]] = {}
    for row in distinct.join(twice, ["symbol", "session_date"], join_type="left semi").to_pylist():
        versions.setdefault((row["symbol"], row["session_date"]), []).append(_figures(row))
    rejected = tuple(
        RejectedBar(
            symbol=symbol,
            session_date=session,
            reason="the answer holds this session more than once, with different values",
            received=tuple(rows),
        )
        for (symbol, session), rows in versions.items()
    )
    accepted = distinct.join(twice, ["symbol", "session_date"], join_type="left anti")
    # Grouping and joining forget which columns are never null.
    return accepted.select(bars.column_names).cast(bars.schema), rejected


def _figures(row: Mapping[str, Any]) -> Figures:
    figures = {name: row[name] for name in (*PRICES, "volume")}
    return {
        name: value if value is None or math.isfinite(value) else str(value)
        for name, value in figures.items()
    }


def _keys(bars: pa.Table) -> pa.Table:
    return bars.group_by(["symbol", "session_date"], use_threads=False).aggregate([])
