"""fredapi, which FRED's users read with, takes the simulator for FRED."""

import math
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from fredapi import Fred

from sandbox.simulators import serving
from sandbox.simulators.fred import FredLimits, FredSimulator
from sandbox.simulators.front import Front
from sandbox.simulators.journal import Journal
from sandbox.simulators.worlds.macro.world import FOREVER, MISSING, MacroWorld
from sandbox.simulators.worlds.shares.world import World
from tests.reference_clients.answers import came

KEY = "a1" * 16
NOW = datetime(2026, 8, 5, 17, tzinfo=UTC)


@pytest.fixture
def world(tmp_path: Path) -> MacroWorld:
    """The simulator's world, to compare with."""
    return MacroWorld(tmp_path / "macro")


@pytest.fixture
def origin(world: MacroWorld, tmp_path: Path) -> Iterator[str]:
    """A simulator without limits that would slow the library down, which does not wait."""
    limits = FredLimits(per_second=1e6, burst=1e6)
    simulator = FredSimulator(world, keys={KEY}, now=lambda: NOW, limits=limits)
    front = Front(
        [simulator], world=World(tmp_path), journal=Journal(tmp_path / "j"), now=lambda: NOW
    )
    with serving.serve(front) as served:
        yield served


@pytest.fixture
def library(origin: str, monkeypatch: pytest.MonkeyPatch) -> Fred:
    """The library, pointed at the simulator; it reads XML."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.delenv(name, raising=False)
    fred = Fred(api_key=KEY)
    fred.root_url = f"{origin}/fred"
    return fred


def _latest(world: MacroWorld, series: str) -> dict[date, str]:
    return {
        observation.observed_on: observation.text
        for observation in world.observations(series, NOW)
        if observation.realtime_end == FOREVER
    }


@pytest.mark.parametrize("series", ["GDP", "UNRATE", "DGS10"])
def test_it_reads_the_latest_values_and_the_missing_ones(
    library: Fred, world: MacroWorld, series: str
) -> None:
    """Every period of the world."""
    values = library.get_series(series)
    latest = _latest(world, series)
    assert [day.date() for day in values.index] == list(latest)
    for value, text in zip(values, latest.values(), strict=True):
        assert math.isnan(value) if text == MISSING else value == float(text)


def test_it_reads_a_part_of_a_series(library: Fred, world: MacroWorld) -> None:
    """By the days of its periods."""
    values = library.get_series("GDP", observation_start="2024-01-01", observation_end="2024-12-31")
    assert len(values) == 4
    assert values.iloc[0] == float(_latest(world, "GDP")[date(2024, 1, 1)])


def test_it_reads_all_releases(library: Fred, world: MacroWorld) -> None:
    """Each value with the day of its vintage."""
    values = library.get_series_all_releases("GDP")
    rows = [
        (day.date(), published.date(), float(value))
        for day, published, value in zip(
            values["date"], values["realtime_start"], values["value"], strict=True
        )
    ]
    assert rows == [
        (observation.observed_on, observation.realtime_start, float(observation.text))
        for observation in world.observations("GDP", NOW)
    ]
    first = library.get_series_first_release("GDP")
    assert len(first) == len(_latest(world, "GDP"))


def test_it_reads_what_was_known_on_a_day(library: Fred, world: MacroWorld) -> None:
    """All that had been published by then."""
    day = date(2024, 8, 15)
    values = library.get_series_as_of_date("GDP", day.isoformat())
    expected = [
        observation
        for observation in world.observations("GDP", NOW)
        if observation.realtime_start <= day
    ]
    assert len(values) == len(expected)
    newest = values[values["date"] == values["date"].max()]
    assert [at.date() for at in newest["date"]] == [date(2024, 4, 1)]
    assert [at.date() for at in newest["realtime_start"]] == [date(2024, 8, 1)]


def test_it_reads_vintage_dates(library: Fred, world: MacroWorld) -> None:
    """All of them."""
    vintages = library.get_series_vintage_dates("GDP")
    assert [day.date() for day in vintages] == world.vintages("GDP", NOW)


def test_it_reads_what_a_series_is(library: Fred) -> None:
    """Attributes by FRED's names."""
    info = library.get_series_info("ICSA")
    assert info["title"] == "Initial Claims"
    assert info["frequency"] == "Weekly, Ending Saturday"
    assert info["frequency_short"] == "W"
    assert info["last_updated"] == "2026-07-30 08:00:00-05"


@pytest.mark.filterwarnings("ignore:Could not infer format:UserWarning")
def test_it_searches_by_text_and_by_release(library: Fred) -> None:
    """With the fields that it makes columns of."""
    found = came(library.search("treasury constant maturity"))
    assert set(found.index) == {"DGS2", "DGS10", "T10Y2Y"}
    series = library.search_by_release(53)
    assert list(series.index) == ["GDP", "GDPC1"]
    assert series.loc["GDP", "frequency_short"] == "Q"
    assert library.search("no such words") is None


def test_it_shows_freds_own_words_for_errors(library: Fred) -> None:
    """Which it reads from XML as well."""
    with pytest.raises(ValueError, match=r"Bad Request.  The series does not exist\."):
        library.get_series("NOSUCH")
    with pytest.raises(ValueError, match=r"There are 5210 vintage dates"):
        library.get_series_all_releases("DGS10")
    library.api_key = "z" * 32
    with pytest.raises(ValueError, match="api_key is not registered"):
        library.get_series("GDP")
