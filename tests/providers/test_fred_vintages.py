"""Windows of real time, and the spans that are cut by them."""

import itertools
from collections.abc import Sequence
from datetime import date, timedelta
from decimal import Decimal

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketdata.macro import WIRE_OBSERVATIONS
from resources.providers.fred import vintages as fred_vintages
from resources.providers.fred.vintages import EARLIEST, LATEST, Window

FIRST = date(2000, 1, 3)
Row = tuple[date, date, date, Decimal | None]


def _wire_rows(rows: Sequence[Row]) -> pa.Table:
    return pa.Table.from_pylist(
        [
            {"symbol": "X", "observed_on": day, "realtime_start": start, "realtime_end": end,
             "value": value}
            for day, start, end, value in rows
        ],
        schema=WIRE_OBSERVATIONS,
    )  # fmt: skip


def _rows(table: pa.Table) -> list[Row]:
    ordered = table.sort_by([("observed_on", "ascending"), ("realtime_start", "ascending")])
    return [tuple(row.values())[1:] for row in ordered.to_pylist()]


def _as_fred_cuts_it(whole: pa.Table, window: Window, cut: str) -> pa.Table:
    rows = [
        (
            day,
            max(start, window.start) if "start" in cut else start,
            min(end, window.end) if "end" in cut else end,
            value,
        )
        for day, start, end, value in _rows(whole)
        if start <= window.end and end >= window.start
    ]
    return _wire_rows(rows)


@given(count=st.integers(0, 60), most=st.integers(2, 12))
def test_windows_hold_all_real_time_and_no_more_vintages_than_allowed(
    count: int, most: int
) -> None:
    """They adjoin; each but the first begins on a vintage's day; all have room for one more."""
    vintages = [FIRST + timedelta(days=3 * place) for place in range(count)]
    windows = fred_vintages.windows(vintages, most=most)
    assert (len(windows) == 0) is (count == 0)
    assert len(windows) == -(-count // (most - 1))
    for window, following in itertools.pairwise(windows):
        assert window.end + timedelta(days=1) == following.start
        assert following.start in vintages
    counts = [sum(window.start <= day <= window.end for day in vintages) for window in windows]
    assert max(counts, default=0) < most
    assert sum(counts) == count
    if windows:
        assert (windows[0].start, windows[-1].end) == (EARLIEST, LATEST)


@pytest.mark.parametrize(("count", "expected"), [(0, 0), (1, 1), (1999, 1), (2000, 2), (5210, 3)])
def test_a_series_takes_as_few_windows_as_the_limit_allows(count: int, expected: int) -> None:
    """By FRED's own limit."""
    vintages = [FIRST + timedelta(days=place) for place in range(count)]
    assert len(fred_vintages.windows(vintages)) == expected


@given(
    tale=st.lists(
        st.lists(st.sampled_from(["same", "1", "2", "missing", "withdrawn"]), min_size=3,
                 max_size=3),
        min_size=1, max_size=14,
    ),
    most=st.integers(2, 6),
    cut=st.sampled_from(["start and end", "start", "end", ""]),
)  # fmt: skip
def test_what_windows_cut_is_joined_to_what_it_was(
    tale: list[list[str]], most: int, cut: str
) -> None:
    """Whatever happened at each vintage: no vintage is invented and no revision is lost.

    Whether FRED cuts both ends of a span at a window's is known of users only.
    """
    vintages = [FIRST + timedelta(days=7 * place) for place in range(len(tale))]
    rows: list[Row] = []
    for period in range(3):
        day = FIRST - timedelta(days=30 * period)
        began: date | None = None
        latest: Decimal | None = None
        for vintage, states in zip(vintages, tale, strict=True):
            state = states[period]
            value = (
                None if state == "missing" else Decimal(state) if state in {"1", "2"} else latest
            )
            if state == "same" or (began is not None and state != "withdrawn" and value == latest):
                continue
            if began is not None:
                rows.append((day, began, vintage - timedelta(days=1), latest))
            began, latest = (None, None) if state == "withdrawn" else (vintage, value)
        if began is not None:
            rows.append((day, began, LATEST, latest))
    whole = _wire_rows(rows)
    windows = fred_vintages.windows(vintages, most=most)
    joined = fred_vintages.joined(
        [(window, _as_fred_cuts_it(whole, window, cut)) for window in windows]
    )
    assert _rows(joined) == _rows(whole)
    assert joined.schema == WIRE_OBSERVATIONS
    assert set(joined["realtime_start"].to_pylist()) <= set(vintages)


def test_an_equal_figure_in_other_digits_is_the_same_value() -> None:
    """7616 and 7616.0, on either side of a border."""
    border = date(2010, 1, 4)
    before = Window(start=EARLIEST, end=border - timedelta(days=1))
    after = Window(start=border, end=LATEST)
    joined = fred_vintages.joined(
        [
            (before, _wire_rows([(FIRST, FIRST, before.end, Decimal(7616))])),
            (after, _wire_rows([(FIRST, border, LATEST, Decimal("7616.0"))])),
        ]
    )
    assert _rows(joined) == [(FIRST, FIRST, LATEST, Decimal(7616))]


def test_a_repeated_row_stays_repeated_for_validation_to_see() -> None:
    """Joining neither drops nor doubles it."""
    border = date(2010, 1, 4)
    before = Window(start=EARLIEST, end=border - timedelta(days=1))
    after = Window(start=border, end=LATEST)
    first = _wire_rows([(FIRST, FIRST, before.end, Decimal(1))] * 2)
    joined = fred_vintages.joined([(before, first), (after, _wire_rows([
        (FIRST, border, LATEST, Decimal(1))
    ]))])  # fmt: skip
    assert _rows(joined) == [(FIRST, FIRST, LATEST, Decimal(1))] * 2


def test_rows_that_begin_on_no_vintages_day_are_reported_and_newer_ones_are_kept() -> None:
    """Vintages newer than the list were published since."""
    rows = _wire_rows(
        [
            (FIRST, date(2001, 1, 1), date(2001, 1, 31), Decimal(1)),
            (FIRST, date(2001, 1, 2), date(2001, 1, 31), Decimal(2)),
            (FIRST, date(2001, 3, 1), LATEST, Decimal(3)),
        ]
    )
    kept, strange = fred_vintages.of_vintages(rows, [date(2001, 1, 1), date(2001, 2, 1)])
    assert [row[3] for row in _rows(kept)] == [Decimal(1), Decimal(3)]
    (refused,) = strange
    assert "realtime_start=2001-01-02" in str(refused.received[0])


@given(start=st.integers(0, 40), length=st.integers(0, 40))
def test_only_values_that_were_the_latest_on_an_asked_day_are_returned(
    start: int, length: int
) -> None:
    """Their spans stay whole."""
    days = [FIRST + timedelta(days=place) for place in range(0, 50, 5)]
    rows = _wire_rows([(FIRST, day, day + timedelta(days=4), Decimal(1)) for day in days])
    first = FIRST + timedelta(days=start)
    last = first + timedelta(days=length)
    kept = fred_vintages.current_between(rows, first, last)
    expected = [day for day in days if day <= last and day + timedelta(days=4) >= first]
    assert kept["realtime_start"].to_pylist() == expected
    assert pc.all(
        pc.equal(pc.days_between(kept["realtime_start"], kept["realtime_end"]), 4)
    ).as_py()
