"""A series' real-time history from the windows in which FRED hands it out.

Here: which windows are asked for, and how rows that were cut at their borders become whole again;
pure functions. Not here: requests (client.py) or the wire format (wire.py).

FRED allows 2,000 vintages in one real-time window and cuts the span of each value to the window:
a value of 2010 seen through a window that begins in 2015 begins in 2015, a vintage which never
was. Cut where a window ends, it looks as if it had been replaced.
"""

import decimal
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import pyarrow as pa
import pyarrow.compute as pc

from marketdata.macro import WIRE_OBSERVATIONS
from marketdata.rows import RejectedRow, unread

VINTAGES_A_WINDOW = 2000
EARLIEST = date(1776, 7, 4)
LATEST = date(9999, 12, 31)
"""FRED's bounds of real time; the latter stands for "until further notice"."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A span of real-time days, both included."""

    start: date
    end: date


@dataclass(slots=True, kw_only=True)
class _Value:
    """A value of a period while its span is put together."""

    observed_on: date
    start: date
    end: date
    value: decimal.Decimal | None


def windows(vintages: Sequence[date], *, most: int = VINTAGES_A_WINDOW) -> list[Window]:
    """Return the fewest windows that hold all real time and fewer than ``most`` vintages each.

    Not ``most`` itself: a vintage may appear between the listing and the last request. Each
    window but the first begins on a vintage's day.

    Args:
        vintages: Days, oldest first, none twice.
        most: What FRED allows, two at least.
    """
    if not vintages:
        return []
    borders = vintages[most - 1 :: most - 1]
    starts = [EARLIEST, *borders]
    ends = [*(border - timedelta(days=1) for border in borders), LATEST]
    return [Window(start=start, end=end) for start, end in zip(starts, ends, strict=True)]


def joined(pages: Sequence[tuple[Window, pa.Table]]) -> pa.Table:
    """Return the rows (WIRE_OBSERVATIONS) of adjoining windows with their spans made whole.

    A value that lasts to a window's end and one that begins the next window are the same row if
    they are equal. If they differ, the period was revised on that very day, which is a
    vintage's; a value without a counterpart was published, or withdrawn, on it.

    Args:
        pages: Windows, oldest first, each beginning the day after the one before ends, and all
            rows of each. Rows of one window stay as they are, repeated ones too.
    """
    if not pages:
        return WIRE_OBSERVATIONS.empty_table()
    if len(pages) == 1:
        return pages[0][1]
    symbols = {symbol for _, page in pages for symbol in page["symbol"].unique().to_pylist()}
    whole: list[_Value] = []
    lasting: dict[date, list[_Value]] = {}
    for window, page in pages:
        before, lasting = lasting, {}
        for row in _values(page):
            row.start, row.end = max(row.start, window.start), min(row.end, window.end)
            continued = [
                one
                for one in before.get(row.observed_on, ())
                if row.start == window.start and one.value == row.value
            ]
            for one in continued:
                one.end = row.end
            if not continued:
                whole.append(row)
            if row.end == window.end:
                lasting.setdefault(row.observed_on, []).extend(continued or [row])
    return _table(whole, "".join(symbols))


def without_periods(rows: pa.Table, periods: Collection[date]) -> pa.Table:
    """Return ``rows`` without those of ``periods``."""
    if not periods:
        return rows
    named = pa.array(sorted(periods), pa.date32())
    return rows.filter(pc.invert(pc.is_in(rows["observed_on"], value_set=named)))


def of_vintages(rows: pa.Table, vintages: Sequence[date]) -> tuple[pa.Table, list[RejectedRow]]:
    """Return ``rows`` without those that begin on a day which is no vintage's, and these.

    A day after the newest vintage is one that was published since the list was read.

    Args:
        rows: WIRE_OBSERVATIONS.
        vintages: Days, oldest first.
    """
    known = set(vintages)
    newest = max(known, default=EARLIEST)
    starts = rows["realtime_start"].to_pylist()
    is_known = pa.array([one in known or one > newest for one in starts], pa.bool_())
    strange = rows.filter(pc.invert(is_known)).to_pylist()
    left_out = [
        unread(
            " ".join(f"{name}={value}" for name, value in row.items()),
            reason="the value begins on a day that is no vintage's",
            symbol=row["symbol"],
            day=row["observed_on"],
        )
        for row in strange
    ]
    return rows.filter(is_known), left_out


def current_between(rows: pa.Table, start: date, end: date) -> pa.Table:
    """Return those of ``rows`` whose span has a day from ``start`` to ``end`` in it."""
    began = pc.less_equal(rows["realtime_start"], pa.scalar(end))
    lasted = pc.greater_equal(rows["realtime_end"], pa.scalar(start))
    return rows.filter(pc.and_(began, lasted))


def _values(page: pa.Table) -> list[_Value]:
    columns = (page[name].to_pylist() for name in WIRE_OBSERVATIONS.names[1:])
    return [
        _Value(observed_on=observed_on, start=start, end=end, value=value)
        for observed_on, start, end, value in zip(*columns, strict=True)
    ]


def _table(values: Sequence[_Value], symbol: str) -> pa.Table:
    return pa.Table.from_pydict(
        {
            "symbol": [symbol] * len(values),
            "observed_on": [one.observed_on for one in values],
            "realtime_start": [one.start for one in values],
            "realtime_end": [one.end for one in values],
            "value": [one.value for one in values],
        },
        schema=WIRE_OBSERVATIONS,
    )
