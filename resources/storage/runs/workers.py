"""Which process works on which run, and when it was last heard of.

Here: the table and its rows. Not here: who beats and when (pipelines/workers.py), or what is done
about a run whose worker is gone (the same).
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
        place: Host and namespace in which the process id is meant.
        started_at: When it was first heard of (aware UTC).
        silent_s: Since it was last heard of, or since the database could hear again.
        has_left: It ended its work in good order; the run's end may follow.
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
        """Say that ``process`` works on the run now."""
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
        """Say that nobody works on the run any more, in good order."""
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
