"""What a reader of bars asks for, checked before anything is opened.

Here: the rules for tickers, days, moments and intervals, and the errors that name the cure. Not
here: which tickers exist (snapshot.py), or the reading (bars.py).
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

INTERVALS = (MINUTE, *(interval.value for interval in Interval))
ADJUSTED = (Adjustment.SPLITS, Adjustment.SPLITS_AND_DIVIDENDS)
BEFORE_ALL = date(1900, 1, 1)
"""Where a request without a start begins: before every bar."""
AFTER_ALL = date(2200, 1, 1)
"""The latest end of a request: no bar begins later."""
NAMED = 5
"""Most tickers that a message names."""

When = date | datetime | str
"""A day, an aware moment, or one of the two in ISO 8601."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BarsRequest:
    """The bars that a reader asks for.

    Attributes:
        tickers: Distinct, sorted, in our spelling (``BRK.B``, ``BTC-USD``).
        start: First day (included) or moment (included) at which a bar begins.
        end: Last day (included) or moment (excluded) at which one begins.
        interval: One of INTERVALS.
        adjusted: None leaves prices as they are stored.
        as_of: What was known at that moment (aware); None is all that is known now.
        provider: Whose bars; None is the configured provider.
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
        """Whether bars begin with a day rather than at a moment."""
        return is_by_day(self.interval)

    def days(self) -> tuple[date, date]:
        """Return the first and last day, both included; moments count by their UTC day."""
        return _day(self.start), _day(self.end)

    def moments(self, zone: tzinfo) -> tuple[datetime, datetime]:
        """Return the first moment and the one after the last (UTC); days are in ``zone``."""
        return _moment(self.start, zone), _moment(self.end, zone, after=True)

    def bounds(self, zone: tzinfo) -> tuple[date, date] | tuple[datetime, datetime]:
        """Return the bounds of ``bucket_start``, in its own type: included, excluded."""
        if not self.by_day:
            return self.moments(zone)
        first, last = self.days()
        return first, last + timedelta(days=1)


def is_by_day(interval: str) -> bool:
    """Return whether bars of ``interval`` begin with a day rather than at a moment."""
    return interval == Interval.DAY or interval in DAY_INTERVALS


def parse_request(
    tickers: str | Sequence[str],
    start: When | None,
    end: When | None,
    interval: str,
    adjusted: str | None,
    as_of: datetime | str | None,
    provider: str | None,
) -> BarsRequest:
    """Parse and check a request.

    Raises:
        ArgumentError: Part of it cannot be served; the message says which, and what can.
    """
    names = _names(tickers)
    if interval not in INTERVALS:
        message = f"{interval!r} is no interval of bars: take one of {', '.join(INTERVALS)}"
        raise errors.ArgumentError(message)
    parse_time = _parse_day if is_by_day(interval) else _parse_time
    request = BarsRequest(
        tickers=names,
        start=BEFORE_ALL if start is None else parse_time("start", start),
        end=utc_now().date() if end is None else parse_time("end", end),
        interval=interval,
        adjusted=_adjusted(adjusted),
        as_of=None if as_of is None else _as_of(as_of),
        provider=provider,
    )
    _require_possible(request, until_today=end is None)
    return request


def _names(tickers: object) -> tuple[str, ...]:
    names: set[str] = set()
    for ticker in _each(tickers):
        if not isinstance(ticker, str) or "\0" in ticker:
            raise errors.ArgumentError(f"{ticker!r} is no ticker: give texts such as AAPL")
        names.add(ticker.strip().upper())
    names.discard("")
    if not names:
        raise errors.ArgumentError("no ticker is given: name at least one, such as AAPL")
    return tuple(sorted(names))


def _each(tickers: object) -> Iterable[object]:
    """Return the tickers as an iterable, whatever a caller without types passed."""
    if isinstance(tickers, str) or not isinstance(tickers, Iterable):
        return [] if tickers is None else [tickers]
    return cast("Iterable[object]", tickers)


def _require_possible(request: BarsRequest, *, until_today: bool) -> None:
    """Refuse what no bar can answer; ``until_today`` means that no end was given."""
    if request.by_day and any(
        isinstance(bound, datetime) for bound in (request.start, request.end)
    ):
        message = f"bars of {request.interval} begin with days: give start and end as dates"
        raise errors.ArgumentError(message)
    first, end = request.moments(UTC)
    if first >= end:
        raise errors.ArgumentError(_why_empty(request, until_today=until_today))
    if request.provider and request.interval in DAY_INTERVALS:
        message = (
            f"bars of {request.interval} are made of daily bars, whoever served them: leave out "
            "provider"
        )
        raise errors.ArgumentError(message)


def _why_empty(request: BarsRequest, *, until_today: bool) -> str:
    """Explain why nothing lies between start and end, and what to give instead."""
    if until_today:
        return f"start ({request.start}) is after today: give an earlier one"
    if request.start == request.end:
        return f"start and end are both {request.end}, which is excluded: give a later end"
    return (
        f"the days are reversed: start ({request.start}) is after end ({request.end}), "
        "exchange them"
    )


def _parse_day(name: str, value: When) -> date | datetime:
    """Parse a day; a moment at midnight, as pandas writes days, is that day."""
    when = _parse(name, value)
    if isinstance(when, datetime) and when.time() == time():
        when = when.date()
    return _bounded(name, when)


def _parse_time(name: str, value: When) -> date | datetime:
    return _bounded(name, _parse(name, value))


def _parse(name: str, value: When) -> date | datetime:
    if isinstance(value, str):
        try:
            return _from_iso(value)
        except ValueError:
            message = (
                f"{name} {value!r} is neither a day (2024-01-02) nor a moment with its zone "
                "(2024-01-02T09:30:00-05:00)"
            )
            raise errors.ArgumentError(message) from None
    # pandas' NaT is a datetime without a time.
    if not isinstance(value, date) or str(value) == "NaT":  # pyright: ignore[reportUnnecessaryIsInstance] callers without types
        message = f"{name} {value!r} is neither a day nor a moment: give a date, or its text"
        raise errors.ArgumentError(message)
    return value


def _bounded(name: str, when: date | datetime) -> date | datetime:
    return _aware(name, when) if isinstance(when, datetime) else min(when, AFTER_ALL)


def _as_of(value: datetime | str) -> datetime:
    when = _parse_time("as_of", value)
    if isinstance(when, datetime):
        return when
    message = f"as_of {when} is a day: give the moment, such as {when}T00:00:00Z"
    raise errors.ArgumentError(message)


def _from_iso(text: str) -> date | datetime:
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
    # Near the first and last year that datetime knows, changing the zone would overflow.
    if not BEFORE_ALL.year <= moment.year < AFTER_ALL.year:
        edge = BEFORE_ALL if moment.year < BEFORE_ALL.year else AFTER_ALL
        return datetime.combine(edge, time(), UTC)
    return moment.astimezone(UTC)


def _adjusted(value: str | None) -> Adjustment | None:
    if value is None:
        return None
    if value not in ADJUSTED:
        message = f"adjusted {value!r} is not known: take {' or '.join(ADJUSTED)}, or leave it out"
        raise errors.ArgumentError(message)
    return Adjustment(value)


def _day(when: date | datetime) -> date:
    return when.date() if isinstance(when, datetime) else when


def _moment(when: date | datetime, zone: tzinfo, *, after: bool = False) -> datetime:
    if isinstance(when, datetime):
        return when
    day = when + timedelta(days=1) if after else when
    return datetime.combine(day, time(), zone).astimezone(UTC)
