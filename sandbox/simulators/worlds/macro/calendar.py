"""Calendar of the simulated statistics offices: periods, working days, publication days.

Here: days, pure functions of the calendar. Not here: figures (figures.py), or what is known by now
(world.py).
"""

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum

FIRST_PERIOD = date(1990, 1, 1)
"""The oldest period of the simulated world begins here."""
_WEEKEND = 5
_SATURDAY = 5
_MONDAY, _THURSDAY = 0, 3
_ONE_DAY = timedelta(days=1)


class Rhythm(StrEnum):
    """How long a period is."""

    QUARTER = "Q"
    MONTH = "M"
    WEEK = "W"
    WORKING_DAY = "D"
    DAY = "7"


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """Publication and revision days of a period's figure.

    Attributes:
        delays: Days from the end of a period to its publications of its own, the first of
            them the first release.
        weekday: Publications wait for this day of the week (0 is Monday); None: any.
        revised_with_next: Number of next first releases that also revise this period.
        yearly_month: With the last publication of the period that begins in this month, figures
            of ``yearly_years`` years are revised; None: never.
    """

    delays: tuple[int, ...]
    weekday: int | None = None
    revised_with_next: int = 0
    yearly_month: int | None = None
    yearly_years: int = 5


@functools.cache
def is_holiday(day: date) -> bool:
    """Return whether the offices are closed on ``day``, weekends aside."""
    fixed = {(1, 1), (7, 4), (11, 11), (12, 25)}
    floating = {(1, 3, _MONDAY), (2, 3, _MONDAY), (9, 1, _MONDAY), (11, 4, _THURSDAY)}
    which = (day.day - 1) // 7 + 1
    is_memorial_day = day.month == 5 and day.weekday() == _MONDAY and day.day > 24  # noqa: PLR2004
    return (
        (day.month, day.day) in fixed
        or (day.month, which, day.weekday()) in floating
        or is_memorial_day
    )


def working_day(day: date) -> date:
    """Return the first day from ``day`` on that is neither weekend nor holiday."""
    while day.weekday() >= _WEEKEND or is_holiday(day):
        day += _ONE_DAY
    return day


def periods(rhythm: Rhythm, first: date, through: date) -> Iterator[tuple[int, date, date]]:
    """Yield number, dating and last day of each period from ``first`` through ``through``.

    Numbers count from FIRST_PERIOD, so that they do not depend on where a series begins. A week
    is dated on the Saturday that ends it, everything longer on its first day.
    """
    if rhythm in {Rhythm.QUARTER, Rhythm.MONTH}:
        yield from _months(3 if rhythm is Rhythm.QUARTER else 1, first, through)
        return
    step = 7 if rhythm is Rhythm.WEEK else 1
    day = first
    while rhythm is Rhythm.WEEK and day.weekday() != _SATURDAY:
        day += _ONE_DAY
    while day <= through:
        if rhythm is not Rhythm.WORKING_DAY or day.weekday() < _WEEKEND:
            yield (day - FIRST_PERIOD).days // step, day, day
        day += timedelta(days=step)


def _months(length: int, first: date, through: date) -> Iterator[tuple[int, date, date]]:
    number = ((first.year - FIRST_PERIOD.year) * 12 + first.month - 1) // length
    while True:
        begins = _month_start(number * length)
        if begins > through:
            return
        yield number, begins, _month_start((number + 1) * length) - _ONE_DAY
        number += 1


def _month_start(months: int) -> date:
    return date(FIRST_PERIOD.year + months // 12, months % 12 + 1, 1)


def publication(ended_on: date, delay: int, weekday: int | None) -> date:
    """Return the day on which a period's figure is published ``delay`` days after its end."""
    day = ended_on + timedelta(days=delay)
    while weekday is not None and day.weekday() != weekday:
        day += _ONE_DAY
    return working_day(day)
