"""A day's minutes add up to its bar, at any time."""

from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from time import process_time

import numpy as np
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketdata.calendars import NEW_YORK_ZONE, calendar
from marketdata.minute_bars import WIRE_MINUTE_BARS, validate
from sandbox.simulators.worlds.shares.actions import Actions
from sandbox.simulators.worlds.shares.intraday import (
    Minutes,
    fill_day,
    minute_truth,
    session_minutes,
)
from sandbox.simulators.worlds.shares.world import World

NOW = datetime(2026, 8, 5, 12, tzinfo=UTC)
DAY = date(2026, 8, 4)
HALF_DAY = date(2025, 11, 28)


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A world of its own."""
    return World(tmp_path)


def _regular(minutes: Minutes, session: date) -> Minutes:
    """Return the minutes of the regular session."""
    opens = datetime.combine(session, time(9, 30), NEW_YORK_ZONE).astimezone(UTC)
    closes = calendar().close_at(session)
    begin, end = (np.datetime64(moment.replace(tzinfo=None), "us") for moment in (opens, closes))
    return minutes.where((minutes.opened_at >= begin) & (minutes.opened_at < end))


def _summed_up(minutes: Minutes) -> tuple[float, float, float, float, float]:
    return (
        float(minutes.opens[0]),
        float(minutes.highs.max()),
        float(minutes.lows.min()),
        float(minutes.closes[-1]),
        float(minutes.volumes.sum()),
    )


@given(
    prices=st.lists(st.integers(min_value=1, max_value=10_000_000), min_size=4, max_size=4),
    decimals=st.integers(min_value=0, max_value=8),
    units=st.integers(min_value=1, max_value=10**12),
    volume_decimals=st.sampled_from([0, 3]),
    minutes=st.integers(min_value=1, max_value=1440),
    quiet=st.floats(min_value=0.0, max_value=1.0),
)
def test_minutes_add_up_to_any_bar(
    prices: list[int],
    decimals: int,
    units: int,
    volume_decimals: int,
    minutes: int,
    quiet: float,
) -> None:
    """First open, highest high, lowest low, last close, volume; each minute is a bar itself."""
    low, first, last, high = sorted(price / 10**decimals for price in prices)
    bars = fill_day(
        "ANY/day",
        datetime(2026, 8, 4, tzinfo=UTC),
        minutes,
        open=first,
        high=high,
        low=low,
        close=last,
        volume=units / 10**volume_decimals,
        quiet=quiet,
        decimals=decimals,
        volume_decimals=volume_decimals,
    )
    assert _summed_up(bars)[:4] == (first, high, low, last)
    assert np.rint(bars.volumes * 10**volume_decimals).sum() == units
    assert np.all(bars.volumes > 0)
    assert np.all(bars.lows <= np.minimum(bars.opens, bars.closes))
    assert np.all(bars.highs >= np.maximum(bars.opens, bars.closes))
    assert np.all((bars.lows <= bars.vwaps) & (bars.vwaps <= bars.highs))
    assert np.all(bars.trades >= 1)
    assert np.all(np.diff(bars.opened_at) > np.timedelta64(0))
    assert 1 <= len(bars) <= minutes


def test_a_bar_without_volume_has_no_minutes() -> None:
    """Nothing was traded, so there are no minutes."""
    with pytest.raises(ValueError, match="without volume"):
        fill_day(
            "A", NOW, 5, open=1.0, high=1.0, low=1.0, close=1.0, volume=0.0, quiet=0.0, decimals=2
        )


@pytest.mark.parametrize(
    ("session", "minutes"), [(DAY, 390), (HALF_DAY, 210), (date(2026, 3, 6), 390)]
)
def test_a_session_adds_up_to_the_worlds_bar(world: World, session: date, minutes: int) -> None:
    """A few of its minutes are quiet; half days are shorter."""
    bars = session_minutes(world, "AAPL", session, NOW)
    bar = world.bars("AAPL", session, session, NOW)
    regular = _regular(bars, session)
    assert _summed_up(regular) == (
        bar.opens[0], bar.highs[0], bar.lows[0], bar.closes[0], bar.volumes[0],
    )  # fmt: skip
    assert 0.9 * minutes < len(regular) < minutes
    assert 5 < len(bars) - len(regular) < 60, "a few before the opening and after the close"
    assert _summed_up(bars)[1:3] == _summed_up(regular)[1:3]
    assert np.all(bars.volumes == np.rint(bars.volumes))


def test_the_clock_only_decides_what_is_over(world: World) -> None:
    """Minutes served during a session are served again after it."""
    whole = session_minutes(world, "MSFT", DAY, NOW)
    at = datetime(2026, 8, 4, 15, 30, 30, tzinfo=UTC)
    so_far = session_minutes(world, "MSFT", DAY, at)
    assert 0 < len(so_far) < len(whole)
    assert np.array_equal(so_far.closes, whole.closes[: len(so_far)])
    assert so_far.opened_at[-1] + np.timedelta64(60, "s") <= np.datetime64("2026-08-04T15:30:30")
    assert len(session_minutes(world, "MSFT", DAY, datetime(2026, 8, 4, 7, tzinfo=UTC))) == 0


def test_days_without_trading_have_no_minutes(world: World) -> None:
    """Weekends, holidays, and the time before a listing."""
    for day in (date(2026, 8, 2), date(2025, 12, 25), date(2006, 1, 2)):
        assert len(session_minutes(world, "AAPL", day, NOW)) == 0


def test_a_corrected_bar_scales_its_minutes(world: World) -> None:
    """The same minutes, at other prices, that add up to the corrected bar."""
    before = session_minutes(world, "AAPL", DAY, NOW)
    world.correct("AAPL", DAY, 1.5)
    after = session_minutes(world, "AAPL", DAY, NOW)
    assert np.array_equal(before.opened_at, after.opened_at)
    assert np.allclose(after.closes, before.closes * 1.5, rtol=0.002)
    bar = world.bars("AAPL", DAY, DAY, NOW)
    assert _summed_up(_regular(after, DAY))[:4] == (
        bar.opens[0], bar.highs[0], bar.lows[0], bar.closes[0],
    )  # fmt: skip


def test_the_truth_is_as_traded_and_adds_up_to_as_traded_days(world: World) -> None:
    """Around a 4-for-1 split the prices jump and the ledger of minutes shows it."""
    start, end = date(2020, 8, 28), date(2020, 8, 31)
    truth = minute_truth(world, ["AAPL", "BRK.B"], start, end, NOW)
    assert truth.schema == WIRE_MINUTE_BARS
    assert validate(truth).rejected == ()
    assert pc.unique(truth["symbol"]).to_pylist() == ["AAPL", "BRK.B"]
    apple = truth.filter(pc.equal(truth["symbol"], "AAPL"))
    traded = Actions(world).as_traded("AAPL", start, end, NOW)
    friday = apple.filter(
        pc.less(apple["opened_at"], datetime(2020, 8, 29, tzinfo=UTC) + timedelta(hours=4))
    )
    assert pc.max(friday["high"]).as_py() == traded.highs[0]
    assert pc.min(friday["low"]).as_py() == traded.lows[0]
    monday = apple.slice(friday.num_rows)
    assert pc.max(monday["high"]).as_py() == traded.highs[1]
    assert pc.min(friday["low"]).as_py() > 3 * pc.max(monday["high"]).as_py()


def test_a_session_costs_about_a_millisecond(world: World) -> None:
    """A year of one ticker, so that a simulator can serve a backfill."""
    sessions = calendar().sessions(date(2025, 8, 4), DAY)
    session_minutes(world, "XOM", sessions[0], NOW)
    began = process_time()
    for session in sessions:
        session_minutes(world, "XOM", session, NOW)
    assert (process_time() - began) / len(sessions) < 0.005
