"""The parameters of a request to FRED, read and bounded as by FRED.

Here: reading, and the texts of what cannot be read. Not here: answers (simulator.py).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import TypeVar

from marketdata.macro import ST_LOUIS
from sandbox.simulators.worlds.macro.world import FOREVER

EARLIEST = date(1776, 7, 4)
FIRST_OBSERVATION = date(1600, 1, 1)
"""The beginning that FRED shows by default."""
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Days, both included."""

    start: date
    end: date


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """The requested part of a list."""

    limit: int
    offset: int
    is_descending: bool

    def of(self, rows: Sequence[_T]) -> Sequence[_T]:
        """Return the page of ``rows``, which come in ascending order."""
        ordered = rows[::-1] if self.is_descending else rows
        return ordered[self.offset : self.offset + self.limit]

    @property
    def sort_order(self) -> str:
        """FRED's word."""
        return "desc" if self.is_descending else "asc"


def needed(query: Mapping[str, str], name: str) -> str:
    """Return a parameter that must be there.

    Raises:
        ValueError: It is missing; the text is FRED's, as with the others here.
    """
    if not query.get(name):
        message = f"Variable {name} is not set."
        raise ValueError(message)
    return query[name]


def choice(query: Mapping[str, str], name: str, simulated: Sequence[str]) -> str:
    """Return a parameter with few values, the first of which is its default.

    Raises:
        ValueError: It has another value, or one of FRED's that is not simulated.
    """
    value = query.get(name) or simulated[0]
    if value not in simulated:
        message = f"The value for variable {name} is not one of: {', '.join(simulated)}."
        raise ValueError(message)
    return value


def cut(query: Mapping[str, str], most: int, default_order: str = "asc") -> Cut:
    """Return limit, offset and order.

    Raises:
        ValueError: One of them cannot be used.
    """
    orders = ("asc", "desc") if default_order == "asc" else ("desc", "asc")
    limit = _integer(query, "limit", most)
    offset = _integer(query, "offset", 0)
    if not 1 <= limit <= most:
        message = f"The value for variable limit is not between 1 and {most}."
        raise ValueError(message)
    return Cut(
        limit=limit,
        offset=offset,
        is_descending=choice(query, "sort_order", orders) == "desc",
    )


def real_time(query: Mapping[str, str], *, today: date, default: Span | None = None) -> Span:
    """Return the real-time period.

    It is today, or ``default``; in a recording with a start alone it lasted for ever.

    Raises:
        ValueError: A day cannot be read, or they are reversed.
    """
    asked_start = _day(query, "realtime_start")
    asked_end = _day(query, "realtime_end")
    start = asked_start or (default.start if default else today)
    open_end = default.end if default else today if asked_start is None else FOREVER
    end = asked_end or open_end
    if not EARLIEST <= start <= end:
        message = (
            f"The real-time period {start} to {end} is not one within {EARLIEST} to {FOREVER}."
        )
        raise ValueError(message)
    return Span(start=start, end=end)


def observed(query: Mapping[str, str]) -> Span:
    """Return the span of periods.

    Raises:
        ValueError: A day cannot be read.
    """
    return Span(
        start=_day(query, "observation_start") or FIRST_OBSERVATION,
        end=_day(query, "observation_end") or FOREVER,
    )


def minute(query: Mapping[str, str], name: str) -> datetime | None:
    """Return a time such as 202608051230, in St. Louis's zone (FRED's zone is unverified).

    Raises:
        ValueError: It cannot be read.
    """
    text = query.get(name)
    if not text:
        return None
    try:
        local = datetime.strptime(text, "%Y%m%d%H%M").replace(tzinfo=ST_LOUIS)
    except ValueError as error:
        message = f"The value for variable {name} is not a time YYYYMMDDHhmm."
        raise ValueError(message) from error
    return local.astimezone(UTC)


def _integer(query: Mapping[str, str], name: str, default: int) -> int:
    text = query.get(name) or str(default)
    if not (text.isascii() and text.isdigit()):
        message = f"The value for variable {name} is not a non-negative integer."
        raise ValueError(message)
    return int(text)


def _day(query: Mapping[str, str], name: str) -> date | None:
    text = query.get(name)
    if not text:
        return None
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        message = f"The value for variable {name} is not a date YYYY-MM-DD."
        raise ValueError(message) from error
