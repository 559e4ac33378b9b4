"""Listings, bars as of a moment, and changes that are kept."""

from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from marketdata.calendars import calendar
from sandbox.simulators.worlds.shares import market
from sandbox.simulators.worlds.shares.world import World

NOW = datetime(2026, 8, 5, 12, tzinfo=UTC)
FIRST, LAST = date(2006, 1, 1), date(2026, 8, 4)
DAYS = st.dates(FIRST, LAST)


@given(DAYS, DAYS)
def test_a_bar_is_the_same_in_every_range_that_holds_it(first: date, second: date) -> None:
    """The range decides which bars are returned, never their values."""
    world = World(Path("/nonexistent"))
    start, end = min(first, second), max(first, second)
    part = world.truth(["AAPL"], start, end, NOW)
    whole = world.truth(["AAPL"], FIRST, LAST, NOW).to_pylist()
    assert part.to_pylist() == [row for row in whole if start <= row["date"] <= end]


def test_every_session_since_the_listing_has_a_bar(tmp_path: Path) -> None:
    """Holidays and weekends have none, and nothing trades before it is listed."""
    world = World(tmp_path)
    late = next(
        constituent.ticker
        for constituent in world.constituents()
        if world.listed_on(constituent.ticker) > market.FIRST_DAY
    )
    for ticker in ("AAPL", late):
        days = world.bars(ticker, FIRST, LAST, NOW).dates.tolist()
        assert days == calendar().sessions(world.listed_on(ticker), LAST)


def test_a_bar_appears_when_its_session_closes(tmp_path: Path) -> None:
    """The world of a moment ends with the last closed session, half days included."""
    world = World(tmp_path)
    half_day = date(2025, 11, 28)
    close = datetime(2025, 11, 28, 18, 0, tzinfo=UTC)
    assert len(world.bars("AAPL", half_day, half_day, close.replace(minute=0, hour=17)).dates) == 0
    assert len(world.bars("AAPL", half_day, half_day, close).dates) == 1


def test_a_correction_changes_one_bar_and_outlives_the_process(tmp_path: Path) -> None:
    """Prices of that session are multiplied, others stay; a new world object keeps it."""
    world = World(tmp_path)
    before = world.bars("AAPL", FIRST, LAST, NOW)
    world.correct("AAPL", date(2024, 3, 1), 1.5)
    after = World(tmp_path).bars("AAPL", FIRST, LAST, NOW)
    changed = before.dates[before.closes != after.closes].tolist()
    assert changed == [date(2024, 3, 1)]
    at = int(np.flatnonzero(before.closes != after.closes)[0])
    assert after.closes[at] == round(before.closes[at] * 1.5, 2)
    assert after.volumes[at] == before.volumes[at]


def test_repeating_a_correction_changes_nothing(tmp_path: Path) -> None:
    """A factor refers to the original bar, and 1 takes the correction back."""
    world = World(tmp_path)
    original = world.truth(["AAPL"], FIRST, LAST, NOW)
    world.correct("AAPL", LAST, 0.5)
    once = world.truth(["AAPL"], FIRST, LAST, NOW)
    world.correct("AAPL", LAST, 0.5)
    assert world.truth(["AAPL"], FIRST, LAST, NOW).equals(once)
    world.correct("AAPL", LAST, 1.0)
    assert world.truth(["AAPL"], FIRST, LAST, NOW).equals(original)


def test_a_renamed_security_carries_its_prices_on(tmp_path: Path) -> None:
    """The former ticker is unknown afterwards, also to the next process."""
    world = World(tmp_path)
    prices = world.bars("MMM", FIRST, LAST, NOW).closes
    former = world.listing("MMM")
    assert former is not None
    world.put(replace(former, ticker="MMMX"))
    again = World(tmp_path)
    assert again.listing("MMM") is None
    np.testing.assert_array_equal(again.bars("MMMX", FIRST, LAST, NOW).closes, prices)


def test_who_leaves_the_index_still_trades(tmp_path: Path) -> None:
    """A listing does not need membership."""
    World(tmp_path).leave_index("MMM")
    world = World(tmp_path)
    assert "MMM" not in {constituent.ticker for constituent in world.constituents()}
    assert world.listing("MMM") is not None
    assert len(world.constituents()) == 502


def test_constituents_come_from_the_data_file(tmp_path: Path) -> None:
    """503 securities, CIKs padded to ten digits."""
    members = World(tmp_path).constituents()
    assert len(members) == 503
    assert {len(instrument.cik) for instrument in members} == {10}


def test_every_split_of_the_past_is_on_a_session(tmp_path: Path) -> None:
    """CMCSA, ZBRA and ALL split on holidays: prices change on the next session."""
    world = World(tmp_path)
    splits = {
        (constituent.ticker, split.ex_date)
        for constituent in world.constituents()
        for split in world.splits(constituent.ticker)
    }
    assert all(calendar().is_session(day) for _, day in splits)
    moved = {("CMCSA", date(2024, 1, 2)), ("ZBRA", date(2022, 7, 5)), ("ALL", date(2016, 7, 5))}
    assert moved < splits
    for ticker, day in moved:
        before, after = world.scale_on(ticker, date(day.year, 1, 1)), world.scale_on(ticker, day)
        assert world.scale_on(ticker, date(day.year, day.month, day.day - 1)) == before != after
