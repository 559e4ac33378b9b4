"""Bars rolled up in memory, against figures that were worked out by hand."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketdata.bar_aggregation import aggregate_days, aggregate_minutes
from marketdata.bars import DAY_INTERVALS, MINUTE_INTERVALS, Interval, aggregated_bars
from marketdata.calendars import calendar

OPEN = datetime(2024, 7, 3, 13, 30, tzinfo=UTC)
"""Of a half day: it closes at 17:00 UTC."""


def _minutes(bars: list[tuple[datetime, float, float, float | None, int | None]]) -> pa.Table:
    rows = [
        {
            "instrument_id": 1, "provider": "polygon", "opened_at": at, "open": close - 1,
            "high": close + 1, "low": close - 2, "close": close, "volume": volume, "vwap": vwap,
            "trades": trades,
        }
        for at, close, volume, vwap, trades in bars
    ]  # fmt: skip
    return pa.Table.from_pylist(
        rows,
        schema=pa.schema(
            [
                ("instrument_id", pa.int64()),
                ("provider", pa.string()),
                ("opened_at", pa.timestamp("us", tz="UTC")),
                *((name, pa.float64()) for name in ("open", "high", "low", "close")),
                ("volume", pa.float64()),
                ("vwap", pa.float64()),
                ("trades", pa.int64()),
            ]
        ),
    )


def _days(closes: dict[date, float], adjustments: list[str]) -> pa.Table:
    figures = list(closes.values())
    return pa.table(
        {
            "instrument_id": pa.array([1] * len(closes), pa.int64()),
            "session_date": pa.array(closes, pa.date32()),
            **{name: pa.array(figures, pa.float64())
               for name in ("open", "high", "low", "close", "volume")},
            "adjustment": pa.array(adjustments, pa.string()),
        }
    )  # fmt: skip


def _columns(table: pa.Table, *names: str) -> list[tuple[Any, ...]]:
    return [tuple(row[name] for name in names) for row in table.to_pylist()]


def test_prices_volume_and_vwap_of_some_minutes() -> None:
    """First open, highest, lowest, last close; in any order of the rows."""
    bars = _minutes(
        [
            (OPEN + timedelta(minutes=1), 20.0, 30.0, 10.0, 2),
            (OPEN, 10.0, 10.0, 20.0, 1),
            (OPEN + timedelta(minutes=4), 15.0, 0.0, None, 0),
        ]
    )

    rolled = aggregate_minutes(bars, Interval.FIVE_MINUTES, calendar())

    assert rolled.schema == aggregated_bars(Interval.FIVE_MINUTES)
    assert rolled.to_pylist() == [
        {
            "instrument_id": 1, "provider": "polygon", "bucket_start": OPEN, "phase": "regular",
            "open": 9.0, "high": 21.0, "low": 8.0, "close": 15.0, "volume": 40.0, "vwap": 12.5,
            "trades": 3, "source_bars": 3,
        }
    ]  # fmt: skip


def test_sums_are_taken_one_after_the_other_and_level_by_level() -> None:
    """Half an hour whose volumes lose digits: the sum of sums is not the sum of all."""
    volumes = [1e16, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]
    bars = _minutes(
        [(OPEN + timedelta(minutes=place), 10.0, volume, 10.0, 1)
         for place, volume in enumerate(volumes)]
    )  # fmt: skip

    [(quarter,)] = _columns(aggregate_minutes(bars, Interval.QUARTER_HOUR, calendar()), "volume")

    assert sum(volumes[:5]) == 1e16
    assert quarter == 1e16 + 5.0 == 10_000_000_000_000_004.0


def test_a_half_day_is_cut_out_of_the_hours_around_it() -> None:
    """From 9:30 to 13:00 in New York; a pair's day has no such hours."""
    moments = [OPEN - timedelta(minutes=1), OPEN, OPEN + timedelta(minutes=209),
               OPEN + timedelta(minutes=210)]  # fmt: skip
    bars = _minutes([(at, 10.0 + place, 1.0, 10.0, 1) for place, at in enumerate(moments)])

    day = aggregate_minutes(bars, Interval.DAY, calendar())
    hours = aggregate_minutes(bars, Interval.HOUR, calendar())
    around_the_clock = aggregate_minutes(bars, Interval.DAY, None)

    assert _columns(day, "bucket_start", "close", "source_bars") == [(date(2024, 7, 3), 12.0, 2)]
    assert _columns(hours, "bucket_start", "phase") == [
        (OPEN - timedelta(minutes=30), "extended"),
        (OPEN - timedelta(minutes=30), "regular"),
        (OPEN + timedelta(minutes=150), "regular"),
        (OPEN + timedelta(minutes=210), "extended"),
    ]
    assert _columns(around_the_clock, "bucket_start", "source_bars") == [(date(2024, 7, 3), 4)]


def test_days_become_weeks_months_quarters_and_years() -> None:
    """A week belongs to the year of its Monday, all others to their calendar."""
    bars = _days(
        {date(2024, 12, 30): 1.0, date(2025, 1, 2): 2.0, date(2025, 3, 31): 4.0},
        ["splits", "splits", "as_traded"],
    )

    def rolled(interval: Interval) -> list[tuple[Any, ...]]:
        return _columns(aggregate_days(bars, interval), "bucket_start", "volume", "adjustment")

    assert rolled(Interval.WEEK) == [
        (date(2024, 12, 30), 3.0, "splits"), (date(2025, 3, 31), 4.0, "as_traded"),
    ]  # fmt: skip
    assert rolled(Interval.QUARTER) == [
        (date(2024, 10, 1), 1.0, "splits"), (date(2025, 1, 1), 6.0, None),
    ]  # fmt: skip
    assert rolled(Interval.YEAR) == [
        (date(2024, 1, 1), 1.0, "splits"), (date(2025, 1, 1), 6.0, None),
    ]  # fmt: skip


def test_no_bars_make_no_bars_of_the_right_columns() -> None:
    """An empty answer has a schema too."""
    minutes, days = _minutes([]), _days({}, [])

    for interval in MINUTE_INTERVALS:
        empty = aggregate_minutes(minutes, interval, calendar())
        assert (empty.num_rows, empty.schema) == (0, aggregated_bars(interval))
    for interval in DAY_INTERVALS:
        empty = aggregate_days(days, interval)
        assert (empty.num_rows, empty.schema) == (0, aggregated_bars(interval))


def test_an_interval_of_the_other_source_is_refused() -> None:
    """A week is not made of minutes."""
    with pytest.raises(KeyError):
        aggregate_minutes(_minutes([]), Interval.WEEK, None)


@given(places=st.lists(st.integers(0, 3000), min_size=1, unique=True))
def test_every_level_accounts_for_every_minute(places: list[int]) -> None:
    """No minute is lost or counted twice, whatever the gaps."""
    bars = _minutes([(OPEN + timedelta(minutes=place), 10.0, 1.0, 10.0, 1) for place in places])

    for interval in MINUTE_INTERVALS:
        rolled = aggregate_minutes(bars, interval, None).to_pylist()
        assert sum(row["source_bars"] for row in rolled) == len(places)
        assert sum(row["volume"] for row in rolled) == len(places)
