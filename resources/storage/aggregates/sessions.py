"""The exchange calendar in the database, which assigns minutes to sessions and phases.

Here: keeping the table equal to marketdata.calendars. Not here: which sessions exist
(marketdata/calendars.py), or how aggregates use them (rollup_engine.py).
"""

import functools
from collections.abc import Iterable, Mapping
from datetime import date, datetime

from marketdata.calendars import SessionCalendar
from resources.storage import sql
from resources.storage.timescale import Timescale


def keep_sessions(timescale: Timescale, calendar: SessionCalendar) -> int:
    """Store the sessions of the calendar's exchange; return how many differed.

    Minutes of shares around a session whose open or close has changed are invalidated in the same
    transaction.

    Raises:
        StorageConflictError: A session is not within one day of UTC, or does not begin and end at
            a quarter of an hour; all bars rely on both.
        StorageUnavailableError: The database cannot be reached now.
    """
    with timescale.connection() as connection:
        connection.execute(sql.query("sessions", "lock_sessions"))
        row = connection.execute(
            sql.query("sessions", "keep_sessions"),
            _parameters(calendar),
        ).fetchone()
        changed = row[0] if row else 0
        if changed:
            connection.execute(sql.query("sessions", "analyze_sessions"))
    return changed


@functools.cache
def _parameters(calendar: SessionCalendar) -> Mapping[str, str]:
    """Return all sessions as Postgres reads arrays: psycopg takes longer than the query runs."""
    dates = calendar.sessions(calendar.first, calendar.last)
    return {
        "exchange": calendar.exchange,
        "dates": _array(dates),
        "opens": _array(calendar.open_at(day) for day in dates),
        "closes": _array(calendar.close_at(day) for day in dates),
    }


def _array(moments: Iterable[date | datetime]) -> str:
    return f"{{{','.join(moment.isoformat() for moment in moments)}}}"
