"""Reads the ingest log: requests to providers and their results.

Here: queries of the status page and of progress meters. Not here: writing the log, which the loader
does in its own transaction (../batches.py).
"""

from dataclasses import dataclass
from datetime import datetime

from marketdata.coverage import RESTATED_AFTER, age_label
from resources.storage import sql
from resources.storage.timescale import Timescale


@dataclass(frozen=True, slots=True, kw_only=True)
class RunProgress:
    """Answers of one run so far."""

    loaded: int
    failed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedRequest:
    """A failed request; ``failed_at`` is aware UTC."""

    failed_at: datetime
    provider: str
    request: str
    run_id: str
    error_class: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Restatements:
    """Number of bars of a dataset restated at an age, such as ``+4h`` after their end."""

    dataset: str
    age: str
    rows: int


class IngestLog:
    """Queries the ingest log.

    Args:
        timescale: An open Timescale whose database is migrated.
    """

    def __init__(self, timescale: Timescale) -> None:
        self._timescale = timescale

    def progress(self, run_id: str) -> RunProgress:
        """Count the answers of a run so far."""
        with self._timescale.connection() as connection:
            row = connection.execute(
                sql.query("ingest_log", "run_progress"), {"run_id": run_id}
            ).fetchone()
        loaded, failed = row or (0, 0)
        return RunProgress(loaded=loaded, failed=failed)

    def restatements(self, since: datetime, *, run_id: str | None = None) -> list[Restatements]:
        """Count bars that were restated since a moment (aware), by dataset and age of the bar.

        Args:
            since: Earlier restatements are left out.
            run_id: Only those by this run.
        """
        with self._timescale.connection() as connection:
            rows = connection.execute(
                sql.query("ingest_log", "restatements"),
                {"since": since, "run_id": run_id, "ages": list(RESTATED_AFTER)},
            ).fetchall()
        return [
            Restatements(dataset=dataset, age=age_label(RESTATED_AFTER[int(place)]), rows=rows)
            for dataset, place, rows in rows
        ]

    def latest_load(self, dataset: str, provider: str) -> datetime | None:
        """Return when an answer of a provider was last stored (aware UTC), or None."""
        with self._timescale.connection() as connection:
            row = connection.execute(
                sql.query("ingest_log", "latest_load"), {"dataset": dataset, "provider": provider}
            ).fetchone()
        return row[0] if row else None

    def recent_failures(
        self, dataset: str, since: datetime, *, limit: int = 20
    ) -> list[FailedRequest]:
        """Return the newest failed requests of ``dataset`` since a moment (aware)."""
        with self._timescale.connection() as connection:
            rows = connection.execute(
                sql.query("ingest_log", "recent_failures"),
                {"dataset": dataset, "since": since, "limit": limit},
            ).fetchall()
        return [
            FailedRequest(
                failed_at=failed_at,
                provider=provider,
                request=request,
                run_id=run_id,
                error_class=error_class,
                message=message,
            )
            for failed_at, provider, request, run_id, _, error_class, message in rows
        ]
