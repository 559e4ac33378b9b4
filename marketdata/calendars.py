"""Trading sessions: which days an exchange trades, and when each of them opens and closes.

Here: sessions by the exchange's calendar (exchange_calendars), corrected by the dated rows of
data/session_overrides.csv, since ad-hoc closures are announced before libraries are released. Not
here: partitions (assets/partitions.py), or what has been loaded (coverage.py).
"""

import bisect
import csv
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from importlib import resources
from zoneinfo import ZoneInfo

import exchange_calendars

from marketdata.recovery import errors

NEW_YORK = "XNYS"
NEW_YORK_ZONE = ZoneInfo("America/New_York")
USUAL_OPEN, USUAL_CLOSE = time(9, 30), time(16, 0)
"""Hours in New York, for an override that adds a session or gives no hours."""
HISTORY_START = date(2016, 1, 4)
"""The first session that this project keeps; older days are never asked for."""
SATURDAY = 5
CALENDAR_START = date(2006, 1, 1)
"""Sessions are known from here; loads begin at HISTORY_START."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionOverride:
    """One announced change to an exchange's calendar.

    Attributes:
        status: ``closed``, ``early_close`` or ``open``.
        close_local: Closing time in the exchange's zone for ``early_close`` and ``open``.
    """

    exchange: str
    session_date: date
    status: str
    close_local: time | None


class SessionCalendar:
    """The sessions of one exchange.

    Args:
        exchange: ISO 10383 code known to exchange_calendars, such as ``XNYS``.
        overrides: Announced changes; rows of other exchanges are ignored.
        through: The last day of the calendar; default the end of next year.
    """

    def __init__(
        self, exchange: str, overrides: Sequence[SessionOverride], *, through: date | None = None
    ) -> None:
        calendar = exchange_calendars.get_calendar(
            exchange,
            start=CALENDAR_START.isoformat(),
            end=(through or _end_of_year(1)).isoformat(),
        )
        zone = ZoneInfo(str(calendar.tz))
        hours: dict[date, tuple[datetime, datetime]] = {
            session.date(): (
                opens.to_pydatetime().astimezone(UTC),
                closes.to_pydatetime().astimezone(UTC),
            )
            for session, opens, closes in zip(
                calendar.sessions, calendar.opens, calendar.closes, strict=True
            )
        }
        for override in overrides:
            if override.exchange != exchange:
                continue
            day = override.session_date
            if override.status == "closed":
                hours.pop(day, None)
            else:
                usual = datetime.combine(day, USUAL_OPEN, zone).astimezone(UTC)
                opens, _ = hours.get(day, (usual, usual))
                at = override.close_local or USUAL_CLOSE
                hours[day] = (opens, datetime.combine(day, at, zone).astimezone(UTC))
        self.exchange = exchange
        self._sessions = sorted(hours)
        self._hours = hours

    @property
    def first(self) -> date:
        """The earliest session known."""
        return self._sessions[0]

    @property
    def last(self) -> date:
        """The latest session known, at least a year ahead of the day the calendar was made."""
        return self._sessions[-1]

    def is_session(self, day: date) -> bool:
        """Return whether the exchange trades on ``day``."""
        return day in self._hours

    def open_at(self, session: date) -> datetime:
        """Return when ``session`` opens, in UTC.

        Raises:
            ValueError: ``session`` is no session of this exchange.
        """
        return self._hours_of(session)[0]

    def close_at(self, session: date) -> datetime:
        """Return when ``session`` closes, in UTC; half days close early.

        Raises:
            ValueError: ``session`` is no session of this exchange.
        """
        return self._hours_of(session)[1]

    def _hours_of(self, session: date) -> tuple[datetime, datetime]:
        if session not in self._hours:
            message = f"{session} is no session of {self.exchange}"
            raise ValueError(message)
        return self._hours[session]

    def sessions(self, start: date, end: date) -> list[date]:
        """Return the sessions from ``start`` to ``end``, both included, oldest first."""
        low = bisect.bisect_left(self._sessions, start)
        high = bisect.bisect_right(self._sessions, end)
        return self._sessions[low:high]

    def next_session(self, day: date) -> date:
        """Return the first session after ``day``; the day itself need not be one.

        Raises:
            ValueError: ``day`` is at or behind the end of the calendar.
        """
        index = bisect.bisect_right(self._sessions, day)
        if index == len(self._sessions):
            message = f"the calendar of {self.exchange} ends at {self.last}"
            raise ValueError(message)
        return self._sessions[index]

    def last_closed(self, now: datetime) -> date:
        """Return the latest session whose close is at or before ``now`` (aware).

        Raises:
            ValueError: No session of the calendar has closed by then.
        """
        day = now.astimezone(UTC).date() + timedelta(days=1)
        index = bisect.bisect_right(self._sessions, day)
        while index and self.close_at(self._sessions[index - 1]) > now:
            index -= 1
        if not index:
            message = f"the calendar of {self.exchange} begins at {self.first}, after {now}"
            raise ValueError(message)
        return self._sessions[index - 1]

    def closed_weekdays(self) -> list[date]:
        """Return every Monday to Friday within the calendar that is not a session."""
        span = (self.last - self.first).days
        days = (self.first + timedelta(days=offset) for offset in range(span + 1))
        return [day for day in days if day.weekday() < SATURDAY and day not in self._hours]


def utc_now() -> datetime:
    """Return the present moment, aware and in UTC."""
    return datetime.now(UTC)


def calendar(exchange: str = NEW_YORK, *, years_ahead: int = 1) -> SessionCalendar:
    """Return the calendar of ``exchange`` with the project's overrides applied.

    It changes when a year begins, and a process may live for years: call this at each use.

    Args:
        exchange: ISO 10383 code known to exchange_calendars.
        years_ahead: Number of whole years after this one that the calendar covers.
    """
    return _calendar_through(exchange, _end_of_year(years_ahead))


@functools.lru_cache(maxsize=4)
def _calendar_through(exchange: str, through: date) -> SessionCalendar:
    return SessionCalendar(exchange, read_overrides(), through=through)


def _end_of_year(years_ahead: int) -> date:
    return date(utc_now().year + years_ahead, 12, 31)


def read_overrides() -> list[SessionOverride]:
    """Read data/session_overrides.csv.

    Raises:
        ConfigurationError: A row's status or date cannot be read.
    """
    text = resources.files("marketdata").joinpath("data/session_overrides.csv").read_text("utf-8")
    return parse_overrides(text)


def parse_overrides(text: str) -> list[SessionOverride]:
    """Parse the text of an overrides file (see ``read_overrides``)."""
    overrides: list[SessionOverride] = []
    for number, row in enumerate(csv.DictReader(text.splitlines()), start=2):
        try:
            overrides.append(_override(row))
        except (KeyError, TypeError, ValueError) as error:
            message = (
                f"session_overrides.csv line {number}: {error}; a row is exchange,YYYY-MM-DD,"
                "closed|early_close|open,HH:MM or empty,announced_on,source"
            )
            raise errors.ConfigurationError(message) from error
    return overrides


def _override(row: Mapping[str, str]) -> SessionOverride:
    if row["status"] not in {"closed", "early_close", "open"}:
        message = f"unknown status {row['status']!r}"
        raise ValueError(message)
    if row["status"] == "early_close" and not row["close_local"]:
        message = "an early close needs its time"
        raise ValueError(message)
    return SessionOverride(
        exchange=row["exchange"],
        session_date=date.fromisoformat(row["session_date"]),
        status=row["status"],
        close_local=time.fromisoformat(row["close_local"]) if row["close_local"] else None,
    )
