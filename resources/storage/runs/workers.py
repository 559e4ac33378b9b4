"""Which process works on which run, and its last heartbeat.

Here: the table and its rows. Not here: sending heartbeats, or handling a run whose worker is gone
(both pipelines/workers.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from marketdata.recovery.process_identity import Process
from resources.storage import sql
from resources.storage.timescale import Timescale


@dataclass(frozen=True, slots=True, kw_only=True)
class RunWorker:
    """A process at work on a run.

    Attributes:
        place: Host and namespace of the process id.
        started_at: Its first heartbeat (aware UTC).
        silent_s: Seconds since its last heartbeat, or since the database was available again.
        has_left: It ended its work in good order; the end of the run may follow.
    """

    run_id: str
    job: str
    place: str
    process: Process
    started_at: datetime
    silent_s: float
    has_left: bool


class RunWorkers:
    """The table of workers; every method raises StorageError as Timescale does."""

    def __init__(self, timescale: Timescale) -> None:
        self._timescale = timescale

    def beat(self, run_id: str, *, job: str, place: str, process: Process) -> None:
        """Record a heartbeat: ``process`` works on the run now."""
        with self._timescale.connection() as connection:
            connection.execute(
                sql.query("run_workers", "beat"),
                {
                    "run_id": run_id,
                    "job": job,
                    "place": place,
                    "pid": process.pid,
                    "born": process.born,
                },
            )

    def leave(self, run_id: str) -> None:
        """Record that the run's worker ended in good order."""
        with self._timescale.connection() as connection:
            connection.execute(sql.query("run_workers", "leave"), {"run_id": run_id})

    def all(self) -> list[RunWorker]:
        """Return every worker, the longest at work first."""
        with self._timescale.connection() as connection:
            rows = connection.execute(sql.query("run_workers", "all")).fetchall()
        return [
            RunWorker(
                run_id=run_id,
                job=job,
                place=place,
                process=Process(pid=pid, born=born),
                started_at=started_at,
                has_left=has_left,
                silent_s=silent_s,
            )
            for run_id, job, place, pid, born, started_at, has_left, silent_s in rows
        ]

    def forget(self, run_ids: Sequence[str]) -> None:
        """Remove the workers of runs that are over."""
        with self._timescale.connection() as connection:
            connection.execute(sql.query("run_workers", "forget"), {"run_ids": list(run_ids)})
