"""The days of a dataset: which days there are, which comes next, and when one is over.

Here: trading days and calendar days behind one protocol. Not here: the exchange's sessions
(calendars.py), or which of the two a dataset has (datasets.py).
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Protocol
from zoneinfo import ZoneInfo

from marketdata.calendars import SessionCalendar

ONE_DAY = timedelta(days=1)


class DayCalendar(Protocol):
    """The days of a dataset's rows, each from its midnight or open to its end."""

    def between(self, start: date, end: date) -> list[date]:
        """Return the days from ``start`` to ``end``, both included, oldest first."""
        ...

    def after(self, day: date) -> date:
        """Return the next day; the days up to it belong to ``day``."""
        ...

    def ends_at(self, day: date) -> datetime:
        """Return the moment (UTC) after which ``day`` gets no more rows."""
        ...

    def last_over(self, now: datetime) -> date:
        """Return the latest day that is over at ``now`` (aware)."""
        ...


@dataclass(frozen=True, slots=True)
class ClockDays:
    """Every day of a zone, from midnight to midnight."""

    zone: ZoneInfo

    def between(self, start: date, end: date) -> list[date]:
        """Return the days from ``start`` to ``end``, both included, oldest first."""
        return [start + timedelta(days=offset) for offset in range((end - start).days + 1)]

    def after(self, day: date) -> date:
        """Return the next day."""
        return day + ONE_DAY

    def ends_at(self, day: date) -> datetime:
        """Return the midnight after ``day``, in UTC."""
        return datetime.combine(day + ONE_DAY, time(), self.zone).astimezone(UTC)

    def last_over(self, now: datetime) -> date:
        """Return yesterday."""
        return now.astimezone(self.zone).date() - ONE_DAY


@dataclass(frozen=True, slots=True)
class TradingDays:
    """The sessions of an exchange.

    A session owns the days up to the next one, so that the spans of neighbouring sessions touch
    and the ledger keeps one range instead of one entry a week.

    Attributes:
        zone: Time zone whose midnight ends a session with extended hours; None where a session
            ends at its close.
    """

    calendar: SessionCalendar
    zone: ZoneInfo | None = None

    def between(self, start: date, end: date) -> list[date]:
        """Return the sessions from ``start`` to ``end``, both included, oldest first."""
        return self.calendar.sessions(start, end)

    def after(self, day: date) -> date:
        """Return the next session."""
        return self.calendar.next_session(day)

    def ends_at(self, day: date) -> datetime:
        """Return the close of a session, or the midnight after it, in UTC.

        Raises:
            ValueError: A close is asked for of a day that is no session.
        """
        if self.zone is None:
            return self.calendar.close_at(day)
        return ClockDays(self.zone).ends_at(day)

    def last_over(self, now: datetime) -> date:
        """Return the latest session that is over."""
        if self.zone is None:
            return self.calendar.last_closed(now)
        yesterday = now.astimezone(self.zone).date() - ONE_DAY
        return self.calendar.sessions(self.calendar.first, yesterday)[-1]
