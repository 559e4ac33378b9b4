"""What a restored database remembers of a world that has gone on: permits, answers, runs.

Here: ending permits of processes that are gone, and what the latest loads name elsewhere. Not here:
judging whether it exists there (usecases/recovery.py).
"""

from datetime import datetime

from resources.storage import sql
from resources.storage.timescale import Timescale

LOOKED_AT = 200
"""How many of the latest loads are looked at: what a restore lost, it lost at the end."""


class Leftovers:
    """Reads and ends what is left over; every method raises StorageError as Timescale does.

    Args:
        timescale: An open Timescale whose database is migrated.
    """

    def __init__(self, timescale: Timescale) -> None:
        self._timescale = timescale

    def expire_leases(self, before: datetime) -> int:
        """End the permits that were granted before a moment (aware); return how many."""
        with self._timescale.connection() as connection:
            return connection.execute(
                sql.query("recovery", "expire_leases"), {"before": before}
            ).rowcount

    def latest_answers(self) -> list[str]:
        """Return the keys of the raw answers that the latest loads name, newest first."""
        return self._column("latest_answers")

    def latest_runs(self) -> list[str]:
        """Return the runs of the latest loads, newest first."""
        return self._column("latest_loading_runs")

    def _column(self, query: str) -> list[str]:
        with self._timescale.connection() as connection:
            rows = connection.execute(sql.query("recovery", query), {"limit": LOOKED_AT}).fetchall()
        return [row[0] for row in rows]
