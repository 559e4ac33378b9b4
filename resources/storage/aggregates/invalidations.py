"""The log of what no longer equals its source, which triggers write and a refresh claims.

Here: claiming, counting, and the locks between refreshes. Not here: writing it for what was touched
(the triggers of migration 0014), or recomputing what is claimed (the engines).
"""

from collections.abc import Iterable, Sequence
from datetime import date, datetime, timedelta

from marketdata.buckets import Span
from resources.storage import sql
from resources.storage.aggregates.contract import Source
from resources.storage.timescale import Connection

MOST_CLAIMS = {Source.MINUTES: 20_000, Source.DAYS: 1_000}
"""Invalidations of one claim: as many rows are few, where each is one bar."""
MOST_TIME = timedelta(days=1_000)
"""Time that the invalidations of one claim cover: a million minutes and a half."""


def last(connection: Connection, source: Source) -> int:
    """Return the newest invalidation's id; what comes later is left to the next refresh."""
    row = connection.execute(sql.query("invalidations", f"last_of_{source.value}")).fetchone()
    return row[0] if row and row[0] else 0


def claim_minutes(connection: Connection, up_to: int) -> list[Span[datetime]]:
    """Take the oldest invalidations of minutes, as many as one transaction should recompute.

    They are gone when the transaction commits and back when it does not. What another refresh
    holds is left to it; what lies in the archive only (archive_tombstone) goes on waiting.
    """
    rows = connection.execute(
        sql.query("invalidations", "claim_minutes"),
        {"last": up_to, "most": MOST_CLAIMS[Source.MINUTES], "extent": MOST_TIME},
    ).fetchall()
    return [Span(*row) for row in rows]


def claim_days(connection: Connection, up_to: int) -> list[Span[date]]:
    """Take the oldest invalidations of daily bars; otherwise as ``claim_minutes``."""
    rows = connection.execute(
        sql.query("invalidations", "claim_days"),
        {"last": up_to, "most": MOST_CLAIMS[Source.DAYS]},
    ).fetchall()
    return [Span(*row) for row in rows]


def postpone_frozen_weeks(connection: Connection, weeks: Sequence[Span[date]]) -> None:
    """Let weeks of which some days lie in the archive only wait until these are restored."""
    connection.execute(
        sql.query("invalidations", "postpone_frozen_weeks"),
        {
            "instrument_ids": [week.instrument_id for week in weeks],
            "starts": [week.start for week in weeks],
            "ends": [week.end for week in weeks],
        },
    )


def everything(connection: Connection, source: Source) -> None:
    """Let all bars wait to be computed again, as after a change that no trigger saw.

    Kept bars of which no source is left wait too, so that a refresh removes them; those of days
    that lie in the archive only stay.
    """
    connection.execute(sql.query("invalidations", f"invalidate_all_of_{source.value}"))


def lock(connection: Connection, source: Source, instrument_ids: Iterable[int]) -> None:
    """Let no other refresh compute bars of these instruments until the transaction ends."""
    connection.execute(
        sql.query("invalidations", "lock_instruments"),
        {"source": source.value, "instrument_ids": list(instrument_ids)},
    )


def waiting(connection: Connection, source: Source) -> int:
    """Return how many invalidations of a source wait, frozen ones included."""
    row = connection.execute(sql.query("invalidations", f"count_of_{source.value}")).fetchone()
    return row[0] if row else 0


def waiting_since(connection: Connection, source: Source) -> datetime | None:
    """Return since when (UTC) something waits that a refresh would do, or None."""
    row = connection.execute(sql.query("invalidations", f"oldest_of_{source.value}")).fetchone()
    return row[0] if row else None
