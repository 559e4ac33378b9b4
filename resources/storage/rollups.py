"""Keeps weekly and monthly bars equal to the daily bars they are made of.

Here: the incremental refresh of exactly the buckets that loads touched (design.md D5), and the
comparison with a full recomputation. Not here: the native continuous aggregates of the
Community edition, or when a refresh runs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from marketdata.bars import Interval
from resources.storage import sql
from resources.storage.timescale import Connection, Timescale


@dataclass(frozen=True, slots=True, kw_only=True)
class RollupResult:
    """What a refresh did.

    Attributes:
        rows: Rows now in the roll-up, of all instruments.
        buckets: Buckets recomputed.
        changed: Buckets written or removed, since they differed.
        instruments: Instruments concerned.
        invalidations: Invalidations claimed and settled.
    """

    rows: int
    buckets: int
    changed: int
    instruments: int
    invalidations: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RollupDifference:
    """A bucket that is not what its bars say."""

    instrument_id: int
    bucket_start: date
    difference: str


class RollupStore:
    """Refreshes and checks the roll-ups.

    Args:
        timescale: An open Timescale whose database is migrated.
    """

    def __init__(self, timescale: Timescale) -> None:
        self._timescale = timescale

    def refresh(self, interval: Interval) -> RollupResult:
        """Recompute the buckets that loads have touched since the last refresh.

        Claims, recomputes and writes in one transaction: when it fails, the claims are back.
        Refreshing again without a load in between does nothing.
        """
        with self._timescale.connection() as connection:
            claims = connection.execute(
                sql.query("rollups", "claim_invalidations"), {"interval": interval}
            ).fetchall()
            changed, recomputed = _recompute(connection, interval, claims)
            counted = connection.execute(
                sql.query("rollups", "count_rows"), {"interval": interval}
            ).fetchone()
        return RollupResult(
            rows=counted[0] if counted else 0,
            buckets=recomputed,
            changed=changed,
            instruments=len({claim[0] for claim in claims}),
            invalidations=len(claims),
        )

    def rows(self, interval: Interval) -> int:
        """Return how many buckets are kept, of all instruments."""
        with self._timescale.connection() as connection:
            counted = connection.execute(
                sql.query("rollups", "count_rows"), {"interval": interval}
            ).fetchone()
        return counted[0] if counted else 0

    def recomputed_difference(
        self, interval: Interval, *, limit: int = 100
    ) -> list[RollupDifference]:
        """Compare the roll-up with all its bars; buckets that still wait are not judged."""
        with self._timescale.connection() as connection:
            rows = connection.execute(
                sql.query("rollups", "recomputed_difference"),
                {"interval": interval, "limit": limit},
            ).fetchall()
        return [
            RollupDifference(instrument_id=one, bucket_start=start, difference=text)
            for one, start, text in rows
        ]

    def waiting(self) -> dict[Interval, int]:
        """Return how many invalidations wait, by interval."""
        with self._timescale.connection() as connection:
            rows = connection.execute(sql.query("rollups", "waiting_invalidations")).fetchall()
        return {Interval(interval): count for interval, count in rows}


def _recompute(
    connection: Connection, interval: Interval, claims: Sequence[tuple[int, date, date]]
) -> tuple[int, int]:
    """Recompute the claimed buckets; return how many were written and how many looked at."""
    if not claims:
        return 0, 0
    parameters = {
        "interval": interval,
        "instrument_ids": [claim[0] for claim in claims],
        "starts_on": [claim[1] for claim in claims],
        "ends_before": [claim[2] for claim in claims],
    }
    connection.execute(sql.query("rollups", "lock_rollups"), parameters)
    row = connection.execute(sql.query("rollups", "refresh_buckets"), parameters).fetchone()
    return row or (0, 0)
