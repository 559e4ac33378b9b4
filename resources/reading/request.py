"""What a reader of bars asks for, put in order before anything is opened.

Here: the rules for tickers, days, moments and intervals, and the errors that name the cure. Not
here: which tickers there are (snapshot.py), or the reading (bars.py).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import cast

from marketdata.bars import DAY_INTERVALS, Adjustment, Interval
from marketdata.calendars import utc_now
from marketdata.recovery import errors

MINUTE = "1m"
"""The interval of minute bars themselves."""

INTERVALS = (MINUTE, *(one.value for one in Interval))
ADJUSTED = (Adjustment.SPLITS, Adjustment.SPLITS_AND_DIVIDENDS)
BEFORE_ALL = date(1900, 1, 1)
"""Where a wish without a start begins: before every bar."""
AFTER_ALL = date(2200, 1, 1)
"""Whoever asks to the end of time asks to here: no bar begins later."""

When = date | datetime | str
"""A day, an aware moment, or one of the two in ISO 8601."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BarsRequest:
    """Bars that are wanted.

    Attributes:
        tickers: Distinct, in order, as they are spelt here (``BRK.B``, ``BTC-USD``).
        start: First day (included) or moment (included) at which a bar begins.
        end: Last day (included) or moment (excluded) at which one begins.
        interval: One of INTERVALS.
        adjusted: None leaves prices as they are stored.
        as_of: What was known at that moment (aware); None is all that is known now.
        provider: Whose bars; None is whoever the configuration names.
    """

    tickers: tuple[str, ...]
    start: date | datetime
    end: date | datetime
    interval: str
    adjusted: Adjustment | None
    as_of: datetime | None
    provider: str | None

    @property
    def by_day(self) -> bool:
        """Whether a bar begins with a day, and not at a moment."""
        return is_by_day(self.interval)

    def days(self) -> tuple[date, date]:
        """Return first and last day, both included; of moments the days of UTC."""
        return _day(self.start), _day(self.end)

    def moments(self, zone: tzinfo) -> tuple[datetime, datetime]:
        """Return the first moment and the one after the last (UTC); days are ``zone``'s."""
        return _moment(self.start, zone), _moment(self.end, zone, after=True)

    def bounds(self, zone: tzinfo) -> tuple[date, date] | tuple[datetime, datetime]:
        """Return the bounds of ``bucket_start``, in its own type: included, excluded."""
        if not self.by_day:
            return self.moments(zone)
        first, last = self.days()
        return first, last + timedelta(days=1)


def is_by_day(interval: str) -> bool:
    """Tell whether bars of ``interval`` begin with a day, and not at a moment."""
    return interval == Interval.DAY or interval in DAY_INTERVALS


def request(
    tickers: str | Sequence[str],
    start: When | None,
    end: When | None,
    interval: str,
    adjusted: str | None,
    as_of: datetime | str | None,
    provider: str | None,
) -> BarsRequest:
    """Put a wish in order.

    Raises:
        ArgumentError: Says which part cannot be served, and what can.
    """
    names = _names(tickers)
    if interval not in INTERVALS:
        message = f"{interval!r} is no interval of bars: take one of {', '.join(INTERVALS)}"
        raise errors.ArgumentError(message)
    when = _when_in_days if is_by_day(interval) else _when
    wish = BarsRequest(
        tickers=names,
        start=BEFORE_ALL if start is None else when("start", start),
        end=utc_now().date() if end is None else when("end", end),
        interval=interval,
        adjusted=_adjusted(adjusted),
        as_of=None if as_of is None else _as_of(as_of),
        provider=provider,
    )
    _require_possible(wish, until_today=end is None)
    return wish


def _names(tickers: object) -> tuple[str, ...]:
    names: set[str] = set()
    for one in _each(tickers):
        if not isinstance(one, str) or "\0" in one:
            raise errors.ArgumentError(f"{one!r} is no ticker: give texts such as AAPL")
        names.add(one.strip().upper())
    names.discard("")
    if not names:
        raise errors.ArgumentError("no ticker is given: name at least one, such as AAPL")
    return tuple(sorted(names))


def _each(tickers: object) -> Iterable[object]:
    """Return what callers without types give: a text, anything that holds some, or nonsense."""
    if isinstance(tickers, str) or not isinstance(tickers, Iterable):
        return [] if tickers is None else [tickers]
    return cast("Iterable[object]", tickers)


def _require_possible(wish: BarsRequest, *, until_today: bool) -> None:
    """Refuse what no bar can answer; ``until_today`` tells that no end was given."""
    if wish.by_day and any(isinstance(one, datetime) for one in (wish.start, wish.end)):
        message = f"bars of {wish.interval} begin with days: give start and end as dates"
        raise errors.ArgumentError(message)
    first, end = wish.moments(UTC)
    if first >= end:
        raise errors.ArgumentError(_why_empty(wish, until_today=until_today))
    if wish.provider and wish.interval in DAY_INTERVALS:
        message = (
            f"bars of {wish.interval} are made of daily bars, whoever served them: leave out "
            "provider"
        )
        raise errors.ArgumentError(message)


def _why_empty(wish: BarsRequest, *, until_today: bool) -> str:
    """Say why nothing lies between start and end, and what to give instead."""
    if until_today:
        return f"start ({wish.start}) is after today: give an earlier one"
    if wish.start == wish.end:
        return f"start and end are both {wish.end}, which is excluded: give a later end"
    return f"the days are reversed: start ({wish.start}) is after end ({wish.end}), exchange them"


def _when_in_days(name: str, given: When) -> date | datetime:
    """Read a day; a moment at which a day begins, as pandas writes one, is that day."""
    read = _read(name, given)
    if isinstance(read, datetime) and read.time() == time():
        read = read.date()
    return _bounded(name, read)


def _when(name: str, given: When) -> date | datetime:
    return _bounded(name, _read(name, given))


def _read(name: str, given: When) -> date | datetime:
    if isinstance(given, str):
        try:
            return _parsed(given)
        except ValueError:
            message = (
                f"{name} {given!r} is neither a day (2024-01-02) nor a moment with its zone "
                "(2024-01-02T09:30:00-05:00)"
            )
            raise errors.ArgumentError(message) from None
    # pandas' NaT is a datetime without a time.
    if not isinstance(given, date) or str(given) == "NaT":  # pyright: ignore[reportUnnecessaryIsInstance] callers without types
        message = f"{name} {given!r} is neither a day nor a moment: give a date, or its text"
        raise errors.ArgumentError(message)
    return given


def _bounded(name: str, when: date | datetime) -> date | datetime:
    return _aware(name, when) if isinstance(when, datetime) else min(when, AFTER_ALL)


def _as_of(given: datetime | str) -> datetime:
    when = _when("as_of", given)
    if isinstance(when, datetime):
        return when
    message = f"as_of {when} is a day: give the moment, such as {when}T00:00:00Z"
    raise errors.ArgumentError(message)


def _parsed(text: str) -> date | datetime:
    try:
        return date.fromisoformat(text)
    except ValueError:
        return datetime.fromisoformat(text)


def _aware(name: str, moment: datetime) -> datetime:
    if moment.tzinfo is None:
        message = (
            f"{name} {moment.isoformat()} has no time zone: give it one, such as "
            f"{moment.isoformat()}Z, or a date"
        )
        raise errors.ArgumentError(message)
    # At the ends of time another zone's clock shows years that there are not.
    if not BEFORE_ALL.year <= moment.year < AFTER_ALL.year:
        edge = BEFORE_ALL if moment.year < BEFORE_ALL.year else AFTER_ALL
        return datetime.combine(edge, time(), UTC)
    return moment.astimezone(UTC)


def _adjusted(given: str | None) -> Adjustment | None:
    if given is None:
        return None
    if given not in ADJUSTED:
        message = f"adjusted {given!r} is not known: take {' or '.join(ADJUSTED)}, or leave it out"
        raise errors.ArgumentError(message)
    return Adjustment(given)


def _day(when: date | datetime) -> date:
    return when.date() if isinstance(when, datetime) else when


def _moment(when: date | datetime, zone: tzinfo, *, after: bool = False) -> datetime:
    if isinstance(when, datetime):
        return when
    day = when + timedelta(days=1) if after else when
    return datetime.combine(day, time(), zone).astimezone(UTC)
