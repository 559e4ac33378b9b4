"""The metrics that the exporter serves: names, meanings and labels.

Here: one entry for each metric, from which the exporter's output and the page of the reference are
made. Not here: where the figures come from (resources/storage/metrics/), or how they become samples
(samples.py).

Names follow https://prometheus.io/docs/practices/naming/: base units, ``_total`` for counters only,
moments in place of ages. Labels have few values: no run, ticker, day or partition is one.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """Prometheus' types."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One metric.

    Attributes:
        name: As Prometheus stores it, ``_total`` of counters included.
        kind: Its type.
        about: What a value says, in one sentence.
        labels: Names of its labels.
    """

    name: str
    kind: Kind
    about: str
    labels: tuple[str, ...] = ()


class Part(StrEnum):
    """What is asked together, and fails alone."""

    REQUESTS = "requests"
    BUDGETS = "budgets"
    BREAKERS = "breakers"
    LOADS = "loads"
    DEAD_LETTERS = "dead_letters"
    COVERAGE = "coverage"
    ARCHIVE = "archive"
    TABLES = "tables"
    AUDIT = "audit"
    BACKUPS = "backups"
    DAGSTER = "dagster"


def _named(*metrics: Metric) -> Mapping[str, Metric]:
    return {metric.name: metric for metric in metrics}


METRICS: Mapping[Part, Mapping[str, Metric]] = {
    Part.REQUESTS: _named(
        Metric(
            name="wrdata_provider_request_duration_seconds",
            kind=Kind.HISTOGRAM,
            about="Time from sending a request to its complete answer or its failure, of every "
            "attempt of every process; outcome is ok or error.",
            labels=("provider", "outcome"),
        ),
        Metric(
            name="wrdata_provider_requests_total",
            kind=Kind.COUNTER,
            about="Requests sent, retries included; error_class is the error's name, empty for ok.",
            labels=("provider", "outcome", "error_class"),
        ),
        Metric(
            name="wrdata_permit_wait_seconds",
            kind=Kind.HISTOGRAM,
            about="Time that a request waited for its permit; refused requests are left out.",
            labels=("provider",),
        ),
    ),
    Part.BUDGETS: _named(
        Metric(
            name="wrdata_budget_limit",
            kind=Kind.GAUGE,
            about="Weight that a key may be asked for in a period. Hour, day and month are quotas, "
            "which can be spent; shorter periods are paced, and a backfill uses them up.",
            labels=("provider", "budget", "period"),
        ),
        Metric(
            name="wrdata_budget_used",
            kind=Kind.GAUGE,
            about="Weight used of that: in the present hour, day or month of the quota's zone, or "
            "in the last seconds of a shorter period.",
            labels=("provider", "budget", "period"),
        ),
    ),
    Part.BREAKERS: _named(
        Metric(
            name="wrdata_circuit_breaker_state",
            kind=Kind.GAUGE,
            about="1 for the state that the provider's circuit breaker is in: closed, open or "
            "half_open; 0 for the others.",
            labels=("provider", "state"),
        ),
    ),
    Part.LOADS: _named(
        Metric(
            name="wrdata_rows_total",
            kind=Kind.COUNTER,
            about="Rows of stored answers by what became of them: inserted, unchanged, restated, "
            "stale, rejected or withdrawn.",
            labels=("dataset", "provider", "result"),
        ),
        Metric(
            name="wrdata_batches_total",
            kind=Kind.COUNTER,
            about="Answers that were stored (loaded), and requests that failed for good (failed).",
            labels=("dataset", "provider", "outcome"),
        ),
    ),
    Part.DEAD_LETTERS: _named(
        Metric(
            name="wrdata_dead_letters",
            kind=Kind.GAUGE,
            about="Dead letters that wait: open for a machine, retrying for a run under way, "
            "parked for a person.",
            labels=("dataset", "state"),
        ),
        Metric(
            name="wrdata_dead_letter_oldest_open_timestamp_seconds",
            kind=Kind.GAUGE,
            about="When the oldest open dead letter was first seen; absent where none is open.",
            labels=("dataset",),
        ),
    ),
    Part.COVERAGE: _named(
        Metric(
            name="wrdata_dataset_fresh_until_timestamp_seconds",
            kind=Kind.GAUGE,
            about="When the newest kept data cease to be the newest: the end of the next day or "
            "session after them; for snapshots, when the newest load is no longer fresh.",
            labels=("dataset", "provider"),
        ),
        Metric(
            name="wrdata_coverage_ratio",
            kind=Kind.GAUGE,
            about="Share of the expected days whose rows are kept, or of the symbols whose "
            "snapshot is fresh; what was never asked for is missing.",
            labels=("dataset", "provider"),
        ),
    ),
    Part.ARCHIVE: _named(
        Metric(
            name="wrdata_archive_oldest_unarchived_timestamp_seconds",
            kind=Kind.GAUGE,
            about="The first day with rows that no valid proof of the archive holds; the month "
            "under way counts. For datasets archived by month or year.",
            labels=("dataset",),
        ),
    ),
    Part.TABLES: _named(
        Metric(
            name="wrdata_chunks",
            kind=Kind.GAUGE,
            about="Chunks of a hypertable.",
            labels=("table",),
        ),
        Metric(
            name="wrdata_table_size_bytes",
            kind=Kind.GAUGE,
            about="Size of a table with its indexes, as the server's last vacuum or analyze of it "
            "saw it.",
            labels=("table",),
        ),
    ),
    Part.AUDIT: _named(
        Metric(
            name="wrdata_audit_chain_valid",
            kind=Kind.GAUGE,
            about="1 if the latest verification found the audit log whole, 0 if not.",
        ),
        Metric(
            name="wrdata_audit_verified_timestamp_seconds",
            kind=Kind.GAUGE,
            about="When the audit log was last verified.",
        ),
        Metric(
            name="wrdata_audit_last_id",
            kind=Kind.GAUGE,
            about="Number of the latest entry of the audit log.",
        ),
        Metric(
            name="wrdata_audit_anchored_id",
            kind=Kind.GAUGE,
            about="Number of the latest entry whose hash lies in the locked bucket.",
        ),
        Metric(
            name="wrdata_audit_anchored_timestamp_seconds",
            kind=Kind.GAUGE,
            about="When it was put there.",
        ),
    ),
    Part.BACKUPS: _named(
        Metric(
            name="wrdata_backup_last_success_timestamp_seconds",
            kind=Kind.GAUGE,
            about="When the latest backup of a kind ended well: full, differential, incremental or "
            "portable.",
            labels=("kind",),
        ),
        Metric(
            name="wrdata_restore_drill_last_success_timestamp_seconds",
            kind=Kind.GAUGE,
            about="When the latest restore on trial found every table equal.",
        ),
        Metric(
            name="wrdata_restore_drill_rto_seconds",
            kind=Kind.GAUGE,
            about="Time that its copy took until it could serve.",
        ),
        Metric(
            name="wrdata_restore_drill_rpo_seconds",
            kind=Kind.GAUGE,
            about="Time that its last commit took until it was safe in the repository.",
        ),
        Metric(
            name="wrdata_restore_drill_audit_rows_lost",
            kind=Kind.GAUGE,
            about="Rows of the audit log that neither its copy had nor the journal gave back.",
        ),
    ),
    Part.DAGSTER: _named(
        Metric(
            name="dagster_runs",
            kind=Kind.GAUGE,
            about="Runs by Dagster's status: those in flight, and those that ended within the last "
            "hour.",
            labels=("status",),
        ),
        Metric(
            name="dagster_oldest_queued_run_timestamp_seconds",
            kind=Kind.GAUGE,
            about="When the oldest queued run was created; absent where none is queued.",
        ),
        Metric(
            name="dagster_daemon_heartbeat_timestamp_seconds",
            kind=Kind.GAUGE,
            about="When a daemon of Dagster was last heard of.",
            labels=("daemon",),
        ),
    ),
}
"""What each part yields, by name."""

OF_THE_EXPORTER: Mapping[str, Metric] = _named(
    Metric(
        name="wrdata_database_up",
        kind=Kind.GAUGE,
        about="1 if the database answered this scrape, 0 if not.",
    ),
    Metric(
        name="wrdata_exporter_last_scrape_success",
        kind=Kind.GAUGE,
        about="1 if a part of the figures could be asked for, 0 if not: then it is absent.",
        labels=("part",),
    ),
    Metric(
        name="wrdata_exporter_scrape_duration_seconds",
        kind=Kind.GAUGE,
        about="Time that a part took.",
        labels=("part",),
    ),
    Metric(
        name="wrdata_build_info",
        kind=Kind.GAUGE,
        about="1, with the version of this installation.",
        labels=("version",),
    ),
)
"""What is always there, with or without a database."""
