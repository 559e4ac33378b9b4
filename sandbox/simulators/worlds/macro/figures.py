"""Invented macroeconomic figures: each publication of each period, a pure function of both.

Here: what every series is like, and its numbers. Not here: publication days (calendar.py), or what
is known by now and what was revised on demand (world.py).

A figure depends on seed, series, period and the number of its revision, never on how far the
series reaches, so that tomorrow's simulator serves yesterday's vintages unchanged.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np

from sandbox.simulators.worlds.macro.calendar import (
    Rhythm,
    Schedule,
    is_holiday,
    periods,
    publication,
)
from sandbox.simulators.worlds.shares import market

MISSING = "."
_DRAWS = 16
_OWN_DRAWS = 3
_REVISIONS = 5
"""Draws before the ones of yearly revisions: those of a period's own publications."""
_LONGEST_DELAY = timedelta(days=120)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """Traits of a series.

    Attributes:
        begins: Its oldest period.
        archived: Day of its first vintage, which holds all values known then.
        decimals: Digits behind the point.
        level: Where it starts.
        drift: Mean step of a period; steps are logarithmic unless ``bounds`` are given.
        step: Size of its steps.
        revision: Size of its revisions, relative unless ``bounds`` are given.
        bounds: A rate is reflected at these.
        adjustment: FRED's names of the seasonal adjustment, long and short.
    """

    rhythm: Rhythm
    schedule: Schedule
    begins: date
    archived: date
    decimals: int
    level: float
    step: float
    drift: float = 0.0
    revision: float = 0.0
    bounds: tuple[float, float] | None = None
    adjustment: tuple[str, str] = ("Seasonally Adjusted", "SA")


@dataclass(frozen=True, slots=True, kw_only=True)
class Publication:
    """A figure of a period as it was published on a day; its text is FRED's."""

    day: date
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Period:
    """A period with all its publications, oldest first."""

    observed_on: date
    publications: tuple[Publication, ...]


_RAW = ("Not Seasonally Adjusted", "NSA")
_ANNUAL_RATE = ("Seasonally Adjusted Annual Rate", "SAAR")
_START = date(1990, 1, 1)
_NEXT_DAY = Schedule(delays=(1,))
_GDP = Schedule(delays=(27, 57, 86), weekday=3, yearly_month=4)
_MID_MONTH = Schedule(delays=(12,), yearly_month=1)
_FRIDAY = Schedule(delays=(1,), weekday=4, yearly_month=12)
_JOBS = Schedule(delays=(1,), weekday=4, revised_with_next=2, yearly_month=1, yearly_years=2)
_TWICE = Schedule(delays=(15,), revised_with_next=2, yearly_month=4)


def _rate(archived: date, level: float, bounds: tuple[float, float], step: float = 0.05) -> Shape:
    return Shape(
        rhythm=Rhythm.WORKING_DAY,
        schedule=_NEXT_DAY,
        begins=date(1990, 1, 2),
        archived=archived,
        decimals=2,
        level=level,
        step=step,
        bounds=bounds,
        adjustment=_RAW,
    )


def _monthly(
    schedule: Schedule,
    archived: date,
    *,
    decimals: int,
    level: float,
    step: float,
    drift: float = 0.0,
    revision: float = 0.0,
    bounds: tuple[float, float] | None = None,
    begins: date = _START,
    adjustment: tuple[str, str] = ("Seasonally Adjusted", "SA"),
) -> Shape:
    return Shape(
        rhythm=Rhythm.MONTH,
        schedule=schedule,
        begins=begins,
        archived=archived,
        decimals=decimals,
        level=level,
        step=step,
        drift=drift,
        revision=revision,
        bounds=bounds,
        adjustment=adjustment,
    )


def _national_product(level: float, drift: float) -> Shape:
    return Shape(
        rhythm=Rhythm.QUARTER,
        schedule=_GDP,
        begins=_START,
        archived=date(1991, 12, 4),
        decimals=3,
        level=level,
        step=0.008,
        drift=drift,
        revision=0.004,
        adjustment=_ANNUAL_RATE,
    )


def _exchange_rate(
    level: float,
    bounds: tuple[float, float],
    *,
    decimals: int = 4,
    begins: date = date(2014, 1, 2),
    archived: date = date(2014, 1, 6),
) -> Shape:
    """Return a rate of H.10, published on Mondays; it moves by half a percent a day.

    All but the euro begin late here, so that the world of a demo stays small.
    """
    return Shape(
        rhythm=Rhythm.WORKING_DAY, schedule=Schedule(delays=(1,), weekday=0), begins=begins,
        archived=archived, decimals=decimals, level=level, step=round(level * 0.005, 4),
        bounds=bounds, adjustment=_RAW,
    )  # fmt: skip


SHAPES: dict[str, Shape] = {
    "GDP": _national_product(5872.701, 0.0115),
    "GDPC1": _national_product(10047.386, 0.006),
    "CPIAUCSL": _monthly(
        _MID_MONTH, date(1994, 2, 17), decimals=3, level=127.5, step=0.002, drift=0.0021,
        revision=0.0006,
    ),
    "CPILFESL": _monthly(
        _MID_MONTH, date(1996, 12, 12), decimals=3, level=132.1, step=0.001, drift=0.0022,
        revision=0.0005,
    ),
    "PCEPI": _monthly(
        Schedule(delays=(28,), revised_with_next=3, yearly_month=8), date(2000, 8, 1), decimals=3,
        level=66.84, step=0.0015, drift=0.0018, revision=0.0004,
    ),
    "UNRATE": _monthly(
        _FRIDAY, date(1990, 4, 6), decimals=1, level=5.4, step=0.15, revision=0.12,
        bounds=(3.4, 10.0),
    ),
    "PAYEMS": _monthly(
        _JOBS, date(1990, 4, 6), decimals=0, level=109_200.0, step=0.0012, drift=0.0009,
        revision=0.0006,
    ),
    "FEDFUNDS": _monthly(
        Schedule(delays=(1,)), date(1996, 12, 3), decimals=2, level=8.23, step=0.2,
        bounds=(0.05, 8.5), adjustment=_RAW,
    ),
    "DFF": Shape(
        rhythm=Rhythm.DAY, schedule=_NEXT_DAY, begins=_START, archived=date(2006, 1, 3),
        decimals=2, level=8.54, step=0.04, bounds=(0.04, 8.6), adjustment=_RAW,
    ),
    "DGS2": _rate(date(2006, 1, 3), 7.87, (0.1, 8.0)),
    "DGS10": _rate(date(2006, 1, 3), 7.94, (0.5, 8.2)),
    "T10Y2Y": _rate(date(2006, 1, 3), 0.07, (-1.08, 2.91), 0.03),
    "T10YIE": Shape(
        rhythm=Rhythm.WORKING_DAY, schedule=_NEXT_DAY, begins=date(2003, 1, 2),
        archived=date(2010, 2, 1), decimals=2, level=1.64, step=0.03, bounds=(0.04, 3.02),
        adjustment=_RAW,
    ),
    "INDPRO": _monthly(
        _TWICE, date(1990, 4, 17), decimals=4, level=62.3, step=0.005, drift=0.0012,
        revision=0.003,
    ),
    "RSAFS": _monthly(
        Schedule(delays=(14,), revised_with_next=2, yearly_month=3), date(2001, 6, 13),
        decimals=0, level=164_083.0, step=0.01, drift=0.0036, revision=0.004,
        begins=date(1992, 1, 1),
    ),
    "HOUST": _monthly(
        Schedule(delays=(17,), revised_with_next=2, yearly_month=4), date(1990, 4, 18),
        decimals=0, level=1551.0, step=0.05, revision=0.02, adjustment=_ANNUAL_RATE,
    ),
    "UMCSENT": _monthly(
        Schedule(delays=(0,)), date(1998, 7, 31), decimals=1, level=93.0, step=3.0,
        bounds=(50.0, 112.0), adjustment=_RAW,
    ),
    "M2SL": _monthly(
        Schedule(delays=(23,), weekday=1, revised_with_next=1, yearly_month=2),
        date(1990, 4, 24), decimals=1, level=3166.8, step=0.003, drift=0.0044, revision=0.001,
    ),
    "ICSA": Shape(
        rhythm=Rhythm.WEEK,
        schedule=Schedule(delays=(5,), weekday=3, revised_with_next=1),
        begins=date(1990, 1, 6), archived=date(2009, 6, 18), decimals=0, level=355_000.0,
        step=9_000.0, revision=3_000.0, bounds=(187_000.0, 695_000.0),
    ),
    "VIXCLS": _rate(date(2006, 1, 3), 17.24, (9.14, 82.69), 0.9),
    "DEXUSEU": _exchange_rate(
        1.1812, (0.827, 1.601), begins=date(1999, 1, 4), archived=date(2002, 1, 7)
    ),
    "DEXUSUK": _exchange_rate(1.4573, (1.02, 2.04)),
    "DEXUSAL": _exchange_rate(0.5166, (0.3616, 0.7232)),
    "DEXCAUS": _exchange_rate(1.5964, (1.117, 2.235)),
    "DEXSZUS": _exchange_rate(1.6551, (1.159, 2.317)),
    "DEXJPUS": _exchange_rate(131.04, (91.73, 183.5), decimals=2),
    "DEXSDUS": _exchange_rate(10.345, (7.242, 14.48)),
    "DEXBZUS": _exchange_rate(2.295, (1.606, 3.213)),
    "DEXMXUS": _exchange_rate(9.1735, (6.421, 12.84)),
    "DEXCHUS": _exchange_rate(8.2765, (5.794, 11.59)),
    "DEXHKUS": _exchange_rate(7.7979, (5.459, 10.92)),
}  # fmt: skip


def unit(series: str) -> float:
    """Return the smallest step of the series' figures."""
    return float(10.0 ** -SHAPES[series].decimals)


def written(series: str, figure: float) -> str:
    """Write a figure as FRED does."""
    decimals = SHAPES[series].decimals
    # A rounded -0.001 would otherwise be written with a minus.
    return f"{round(figure, decimals) + 0.0:.{decimals}f}"


@functools.lru_cache(maxsize=64)
def history(seed: str, series: str, year: int) -> tuple[Period, ...]:
    """Return all periods that are published by the end of ``year``, with every publication.

    They include publications of later years; the caller cuts at its own now.
    """
    shape = SHAPES[series]
    listed = list(periods(shape.rhythm, shape.begins, date(year, 12, 31)))
    draws = market.uniforms(f"{seed}/macro/{series}", listed[-1][0] + 1, _DRAWS)
    base = _walk(shape, draws)
    dated: list[Period] = []
    for number, observed_on, ended_on in listed:
        days = _publication_days(shape, observed_on, ended_on, year)
        texts = [
            _text(series, shape, observed_on, float(base[number]), float(draws[number, draw]))
            for draw in days.values()
        ]
        publications = [
            Publication(day=day, text=text) for day, text in zip(days, texts, strict=True)
        ]
        dated.append(
            Period(observed_on=observed_on, publications=_archived(publications, shape.archived))
        )
    return tuple(dated)


def _walk(shape: Shape, draws: market.Floats) -> market.Floats:
    steps = shape.drift + shape.step * 2.0 * (draws[:, :_OWN_DRAWS].sum(axis=1) - 1.5)
    path = np.cumsum(steps)
    if shape.bounds is None:
        return shape.level * np.exp(path)
    low, high = shape.bounds
    folded = np.mod(shape.level - low + path, 2.0 * (high - low))
    return low + np.minimum(folded, 2.0 * (high - low) - folded)


def _text(series: str, shape: Shape, day: date, base: float, draw: float) -> str:
    if shape.rhythm is Rhythm.WORKING_DAY and is_holiday(day):
        return MISSING
    change = shape.revision * (2.0 * draw - 1.0)
    return written(series, base + change if shape.bounds else base * (1.0 + change))


def _publication_days(
    shape: Shape, observed_on: date, ended_on: date, year: int
) -> dict[date, int]:
    """Return the column of the draw that each publication of a period uses, by day, in order."""
    plan = shape.schedule
    days = {
        publication(ended_on, delay, plan.weekday): _OWN_DRAWS + place
        for place, delay in enumerate(plan.delays)
    }
    if plan.revised_with_next:
        later = periods(shape.rhythm, ended_on + timedelta(days=1), ended_on + _LONGEST_DELAY * 2)
        for place, (_, _, next_end) in zip(range(plan.revised_with_next), later, strict=False):
            days[publication(next_end, plan.delays[0], plan.weekday)] = _OWN_DRAWS + 1 + place
    first = min(days)
    for revised in range(observed_on.year, min(observed_on.year + plan.yearly_years, year) + 1):
        day = _yearly_day(shape, revised)
        if day is not None and day >= first:
            # It replaces any other publication of that day.
            days[day] = _OWN_DRAWS + _REVISIONS + revised - observed_on.year
    return dict(sorted(days.items()))


@functools.cache
def _yearly_day(shape: Shape, year: int) -> date | None:
    month = shape.schedule.yearly_month
    if month is None:
        return None
    first = date(year, month, 1)
    _, _, ended_on = next(periods(shape.rhythm, first, first + _LONGEST_DELAY))
    return publication(ended_on, shape.schedule.delays[-1], shape.schedule.weekday)


def _archived(publications: Sequence[Publication], archived: date) -> tuple[Publication, ...]:
    """Move publications from before the archive's first day to that day."""
    before = [publication for publication in publications if publication.day <= archived]
    after = [publication for publication in publications if publication.day > archived]
    return (
        *(Publication(day=archived, text=publication.text) for publication in before[-1:]),
        *after,
    )
