"""The simulated macroeconomic world: deterministic, published on its days, revised on demand."""

import itertools
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from marketdata import macro
from sandbox.simulators.worlds.macro import calendar
from sandbox.simulators.worlds.macro.calendar import Rhythm
from sandbox.simulators.worlds.macro.figures import MISSING, SHAPES
from sandbox.simulators.worlds.macro.world import FOREVER, MacroWorld, Observation

NOW = datetime(2026, 8, 5, 17, tzinfo=UTC)


@pytest.fixture
def world(tmp_path: Path) -> MacroWorld:
    """A world without revisions on demand."""
    return MacroWorld(tmp_path / "macro")


def _as_of(observations: tuple[Observation, ...], day: date) -> list[tuple[date, date, str]]:
    return [
        (observation.observed_on, observation.realtime_start, observation.text)
        for observation in observations
        if observation.realtime_start <= day <= observation.realtime_end
    ]


def test_every_series_that_is_kept_is_simulated() -> None:
    """And no other."""
    assert set(SHAPES) == set(macro.series())


@pytest.mark.parametrize("series", sorted(SHAPES))
def test_tomorrows_world_knows_yesterdays_vintages_unchanged(
    world: MacroWorld, series: str
) -> None:
    """Values as of a past day stay, whatever was published since."""
    earlier = datetime(2023, 12, 29, 17, tzinfo=UTC)
    then = world.observations(series, earlier)
    now = world.observations(series, NOW)
    assert _as_of(then, earlier.date()) == _as_of(now, earlier.date())
    assert {observation.realtime_start for observation in then} == {
        observation.realtime_start
        for observation in now
        if observation.realtime_start <= earlier.date()
    }


@pytest.mark.parametrize("series", ["GDP", "PAYEMS", "DGS10", "ICSA"])
def test_spans_of_a_period_follow_each_other_and_the_last_one_is_open(
    world: MacroWorld, series: str
) -> None:
    """Values of neighbours differ; nothing is published before its period is over."""
    spans: dict[date, list[Observation]] = {}
    for observation in world.observations(series, NOW):
        spans.setdefault(observation.observed_on, []).append(observation)
    for observed_on, span in spans.items():
        assert span[-1].realtime_end == FOREVER
        assert span[0].realtime_start > observed_on
        for observation, following in itertools.pairwise(span):
            assert observation.realtime_end + timedelta(days=1) == following.realtime_start
            assert observation.text != following.text


def test_the_national_product_is_estimated_three_times_and_revised_each_year(
    world: MacroWorld,
) -> None:
    """The third estimate of the second quarter carries the revision of five years."""
    by_period: dict[date, list[date]] = {}
    for observation in world.observations("GDP", NOW):
        by_period.setdefault(observation.observed_on, []).append(observation.realtime_start)
    assert by_period[date(2020, 1, 1)] == [
        date(2020, 4, 30),
        date(2020, 5, 28),
        date(2020, 6, 25),
        date(2020, 9, 24),
        date(2021, 9, 30),
        date(2022, 9, 29),
        date(2023, 9, 28),
        date(2024, 9, 26),
        date(2025, 9, 25),
    ]
    assert by_period[date(2026, 4, 1)] == [date(2026, 7, 30)]
    assert max(by_period) == date(2026, 4, 1)


def test_daily_rates_are_never_revised_and_missing_on_holidays(world: MacroWorld) -> None:
    """More vintages than FRED hands out at once; seven days a week for one of them."""
    rates = world.observations("DGS10", NOW)
    assert len({rate.observed_on for rate in rates}) == len(rates)
    assert len(world.vintages("DGS10", NOW)) == 5210
    holidays = {rate.observed_on for rate in rates if rate.text == MISSING}
    assert {date(2026, 5, 25), date(2025, 12, 25), date(2025, 11, 27)} <= holidays
    assert all(rate.observed_on.weekday() < 5 for rate in rates)
    assert all((rate.text == MISSING) is calendar.is_holiday(rate.observed_on) for rate in rates)
    funds = world.observations("DFF", NOW)
    assert {fund.observed_on.weekday() for fund in funds} == set(range(7))
    assert MISSING not in {fund.text for fund in funds}


def test_a_week_is_dated_on_its_saturday_and_revised_a_week_later(world: MacroWorld) -> None:
    """Published on Thursdays, or the day after where that is a holiday."""
    weeks = [
        observation
        for observation in world.observations("ICSA", NOW)
        if observation.observed_on.year == 2026
    ]
    assert {week.observed_on.weekday() for week in weeks} == {5}
    first = [week for week in weeks if week.observed_on == date(2026, 1, 10)]
    assert [observation.realtime_start for observation in first] == [
        date(2026, 1, 15),
        date(2026, 1, 22),
    ]


def test_a_vintage_is_there_from_its_hour_on(world: MacroWorld) -> None:
    """At eight in St. Louis, which is one o'clock UTC in summer."""
    day = date(2026, 7, 30)
    before = datetime(2026, 7, 30, 12, 59, tzinfo=UTC)
    assert day not in world.vintages("GDP", before)
    assert day in world.vintages("GDP", before + timedelta(minutes=1))
    assert world.last_updated("GDP", NOW) == datetime(2026, 7, 30, 13, tzinfo=UTC)


def test_a_revision_on_demand_makes_a_vintage_that_outlives_the_process(tmp_path: Path) -> None:
    """The two newest periods change, from that moment on."""
    world = MacroWorld(tmp_path)
    before = world.observations("GDP", NOW)
    assert world.publish_revision("GDP", NOW) == date(2026, 8, 5)
    assert world.observations("GDP", NOW - timedelta(seconds=1)) == before
    again = MacroWorld(tmp_path)
    new = {
        (observation.observed_on, observation.realtime_start)
        for observation in again.observations("GDP", NOW)
        if observation not in before and observation.realtime_end == FOREVER
    }
    today = date(2026, 8, 5)
    assert new == {(date(2026, 1, 1), today), (date(2026, 4, 1), today)}
    assert again.last_updated("GDP", NOW) == NOW
    assert again.observations("UNRATE", NOW) == world.observations("UNRATE", NOW)


def test_a_second_revision_on_a_day_replaces_the_first_within_its_vintage(
    world: MacroWorld,
) -> None:
    """Real time is in days."""
    world.publish_revision("UNRATE", NOW)
    once = world.observations("UNRATE", NOW)
    world.publish_revision("UNRATE", NOW + timedelta(minutes=5))
    twice = world.observations("UNRATE", NOW + timedelta(minutes=5))
    assert len(once) == len(twice)
    assert once[-1].realtime_start == twice[-1].realtime_start == date(2026, 8, 5)
    assert once[-1].text != twice[-1].text


def test_later_scheduled_revisions_follow_one_on_demand(world: MacroWorld) -> None:
    """The world continues unchanged."""
    world.publish_revision("GDP", NOW)
    later = NOW + timedelta(days=60)
    starts = [
        observation.realtime_start
        for observation in world.observations("GDP", later)
        if observation.observed_on == date(2026, 4, 1)
    ]
    assert starts == [date(2026, 7, 30), date(2026, 8, 5), date(2026, 8, 27), date(2026, 9, 24)]


def test_the_truth_is_exact_and_acceptable(world: MacroWorld) -> None:
    """In the wire schema; what is missing is null."""
    truth = world.truth(["UNRATE", "DGS10"], NOW)
    assert truth.schema == macro.WIRE_OBSERVATIONS
    assert macro.validate(truth).rejected == ()
    rows = truth.to_pylist()
    assert [row["symbol"] for row in rows] == sorted(row["symbol"] for row in rows)
    by_key = {(row["symbol"], row["observed_on"]): row["value"] for row in rows}
    assert by_key["DGS10", date(2026, 5, 25)] is None
    newest = world.observations("UNRATE", NOW)[-1]
    assert by_key["UNRATE", newest.observed_on] == Decimal(newest.text)


@pytest.mark.parametrize(
    ("rhythm", "first", "expected"),
    [
        (Rhythm.QUARTER, date(2026, 1, 1), [(144, date(2026, 1, 1), date(2026, 3, 31)),
                                            (145, date(2026, 4, 1), date(2026, 6, 30))]),
        (Rhythm.MONTH, date(2026, 2, 1), [(433, date(2026, 2, 1), date(2026, 2, 28)),
                                          (434, date(2026, 3, 1), date(2026, 3, 31)),
                                          (435, date(2026, 4, 1), date(2026, 4, 30))]),
    ],
)  # fmt: skip
def test_periods_are_numbered_wherever_a_series_begins(
    rhythm: Rhythm, first: date, expected: list[tuple[int, date, date]]
) -> None:
    """Dated on their first day."""
    through = date(2026, 4, 1)
    assert list(calendar.periods(rhythm, first, through)) == expected
    periods = calendar.periods(rhythm, calendar.FIRST_PERIOD, through)
    assert [period for period in periods if period[1] >= first] == expected
