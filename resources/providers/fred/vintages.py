"""A series' real-time history, joined from FRED's windows.

Here: which windows to request, and how rows cut at their borders are joined; pure functions.
Not here: requests (client.py) or the wire format (wire.py).

FRED allows 2,000 vintages in one real-time window and cuts the span of each value to the window. In
a window that begins in 2015, a value of 2010 begins in 2015, a vintage that never existed. Cut at
the end of a window, it looks as if it had been replaced.
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
    """A value of a period while its span is being joined."""

    observed_on: date
    start: date
    end: date
    value: decimal.Decimal | None


def windows(vintages: Sequence[date], *, most: int = VINTAGES_A_WINDOW) -> list[Window]:
    """Return the fewest windows that cover all real time with fewer than ``most`` vintages each.

    Fewer, since a vintage may appear between the listing and the last request. Each window but the
    first begins on a vintage's day.

    Args:
        vintages: Distinct days, oldest first.
        most: FRED's limit, at least two.
    """
    if not vintages:
        return []
    borders = vintages[most - 1 :: most - 1]
    starts = [EARLIEST, *borders]
    ends = [*(border - timedelta(days=1) for border in borders), LATEST]
    return [Window(start=start, end=end) for start, end in zip(starts, ends, strict=True)]


def joined(pages: Sequence[tuple[Window, pa.Table]]) -> pa.Table:
    """Return the rows (WIRE_OBSERVATIONS) of adjoining windows with their full spans.

    A value at a window's end and an equal one at the start of the next window are the same row. If
    they differ, the period was revised on that day, which is a vintage's. A value without a
    counterpart was published, or withdrawn, on it.

    Args:
        pages: Adjoining windows, oldest first, with all rows of each. Rows of a single window stay
            as they are, even repeated ones.
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
                value
                for value in before.get(row.observed_on, ())
                if row.start == window.start and value.value == row.value
            ]
            for value in continued:
                value.end = row.end
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
    """Split ``rows`` by whether they begin on a vintage's day.

    A day after the newest vintage counts as one: it was published since the list was read.

    Args:
        rows: WIRE_OBSERVATIONS.
        vintages: Days, oldest first.
    """
    known = set(vintages)
    newest = max(known, default=EARLIEST)
    starts = rows["realtime_start"].to_pylist()
    is_known = pa.array([start in known or start > newest for start in starts], pa.bool_())
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
    """Return those of ``rows`` whose span includes a day from ``start`` to ``end``."""
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
            "observed_on": [value.observed_on for value in values],
            "realtime_start": [value.start for value in values],
            "realtime_end": [value.end for value in values],
            "value": [value.value for value in values],
        },
        schema=WIRE_OBSERVATIONS,
    )
