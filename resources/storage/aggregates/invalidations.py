"""The log of invalidations, which triggers write and a refresh claims.

Here: claiming, counting, and the locks between refreshes. Not here: writing invalidations (the
triggers of migration 0014), or recomputing bars (the engines).
"""

from collections.abc import Iterable, Sequence
from datetime import date, datetime, timedelta

from marketdata.buckets import Span
from resources.storage import sql
from resources.storage.aggregates.contract import SourceTable
from resources.storage.timescale import Connection

MOST_CLAIMS = {SourceTable.MINUTES: 20_000, SourceTable.DAYS: 1_000}
"""Most invalidations of one claim; it counts where each covers few bars."""
MOST_TIME = timedelta(days=1_000)
"""Most time that the invalidations of one claim cover: 1.4 million minutes."""


def last(connection: Connection, source: SourceTable) -> int:
    """Return the newest invalidation's id; later ones are left to the next refresh."""
    row = connection.execute(sql.query("invalidations", f"last_of_{source.value}")).fetchone()
    return row[0] if row and row[0] else 0


def claim_minutes(connection: Connection, up_to: int) -> list[Span[datetime]]:
    """Take the oldest invalidations of minutes, as many as one transaction should recompute.

    The commit removes them, a rollback brings them back. Those held by another refresh are left to
    it; those of days in the archive only (archive_tombstone) go on waiting.
    """
    rows = connection.execute(
        sql.query("invalidations", "claim_minutes"),
        {"last": up_to, "most": MOST_CLAIMS[SourceTable.MINUTES], "extent": MOST_TIME},
    ).fetchall()
    return [Span(*row) for row in rows]


def claim_days(connection: Connection, up_to: int) -> list[Span[date]]:
    """Take the oldest invalidations of daily bars; otherwise as ``claim_minutes``."""
    rows = connection.execute(
        sql.query("invalidations", "claim_days"),
        {"last": up_to, "most": MOST_CLAIMS[SourceTable.DAYS]},
    ).fetchall()
    return [Span(*row) for row in rows]


def postpone_frozen_weeks(connection: Connection, weeks: Sequence[Span[date]]) -> None:
    """Let weeks with days in the archive only wait until these days are restored."""
    connection.execute(
        sql.query("invalidations", "postpone_frozen_weeks"),
        {
            "instrument_ids": [week.instrument_id for week in weeks],
            "starts": [week.start for week in weeks],
            "ends": [week.end for week in weeks],
        },
    )


def everything(connection: Connection, source: SourceTable) -> None:
    """Invalidate all bars, as after a change that no trigger saw.

    Bars whose source is gone are included, so that a refresh removes them; those of days in the
    archive only stay.
    """
    connection.execute(sql.query("invalidations", f"invalidate_all_of_{source.value}"))


def lock(connection: Connection, source: SourceTable, instrument_ids: Iterable[int]) -> None:
    """Keep other refreshes from these instruments until the transaction ends."""
    connection.execute(
        sql.query("invalidations", "lock_instruments"),
        {"source": source.value, "instrument_ids": list(instrument_ids)},
    )


def waiting(connection: Connection, source: SourceTable) -> int:
    """Return how many invalidations of a source wait, frozen ones included."""
    row = connection.execute(sql.query("invalidations", f"count_of_{source.value}")).fetchone()
    return row[0] if row else 0


def waiting_since(connection: Connection, source: SourceTable) -> datetime | None:
    """Return since when (UTC) work for a refresh has waited, or None."""
    row = connection.execute(sql.query("invalidations", f"oldest_of_{source.value}")).fetchone()
    return row[0] if row else None
