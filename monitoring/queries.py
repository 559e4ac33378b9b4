"""Questions to Prometheus: what alerts compare with a threshold, and what dashboards draw.

Here: PromQL, and figures with title, meaning and unit, for Grafana and for any other page. Not
here: thresholds (alerts/), Grafana's form of a figure (dashboards.py), or who counts what (the
exporter).

Counters are read over ten minutes: the slowest key may ask five times a minute, and fewer requests
than that are no rate.
"""

from dataclasses import dataclass
from enum import StrEnum


class Unit(StrEnum):
    """Units of figures, as Grafana spells them."""

    SECONDS = "s"
    BYTES = "bytes"
    RATIO = "percentunit"
    COUNT = "short"
    PER_SECOND = "cps"
    YES_OR_NO = "bool_yes_no"


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """One question of a figure.

    Attributes:
        legend: What each series of its answer is called; ``{{provider}}`` stands for a label.
    """

    expression: str
    legend: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """What is drawn in one panel.

    Attributes:
        meaning: What it shows, and what a reader should look for.
    """

    title: str
    meaning: str
    unit: Unit
    series: tuple[Series, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    """Figures that are looked at together.

    Attributes:
        name: Part of its address in Grafana, which links keep.
    """

    name: str
    title: str
    about: str
    figures: tuple[Figure, ...]


def counted(series: str, *, by: str) -> str:
    """Return the question what counters have counted within ten minutes.

    Unlike ``increase``, it counts a series from nothing if it was not there ten minutes ago: the
    first failure of a kind makes a new series, and its first value is no increase to Prometheus.
    Right only where ``SEEN_BEFORE`` holds.
    """
    now, before = f"sum by ({by}) ({series})", f"sum by ({by}) ({series} offset 10m)"
    return f"({now} - ({before} or {now} * 0))"


SEEN_BEFORE = "on () count(wrdata_build_info offset 10m) > 0"
"""Prometheus asked the exporter ten minutes ago: what is new since is new."""
_REQUESTS = "wrdata_provider_requests_total"
FAILED_REQUESTS = counted(f'{_REQUESTS}{{outcome="error"}}', by="provider")
FAILED_REQUESTS_RATIO = f"{FAILED_REQUESTS} / {counted(_REQUESTS, by='provider')}"
KEYS_REFUSED = counted(f'{_REQUESTS}{{error_class="KeyRefusedError"}}', by="provider")
QUOTA_USED_RATIO = (
    'wrdata_budget_used{period=~"hour|day|month"} / wrdata_budget_limit{period=~"hour|day|month"}'
)
"""Quotas only: what is paced by the second or minute is used up whenever a backfill runs."""
BREAKER_OPEN = 'max by (provider) (max_over_time(wrdata_circuit_breaker_state{state="open"}[2m]))'
"""Two minutes back: while a provider is down, the breaker is half-open for a moment again and
again."""

RUNS_FAILED = 'sum(dagster_runs{status="FAILURE"})'
RUNS_QUEUED = 'sum(dagster_runs{status="QUEUED"})'
QUEUED_FOR = "time() - dagster_oldest_queued_run_timestamp_seconds"
HEARTBEAT_AGE = "time() - dagster_daemon_heartbeat_timestamp_seconds"
LETTERS_UNSETTLED = 'sum(wrdata_dead_letters{state=~"open|retrying|parked"})'
LETTERS_PARKED = 'sum by (dataset) (wrdata_dead_letters{state="parked"})'
LETTER_AGE = "time() - wrdata_dead_letter_oldest_open_timestamp_seconds"

PAST_DUE = "time() - wrdata_dataset_fresh_until_timestamp_seconds"
ROWS_REJECTED_RATIO = (
    'sum by (dataset, provider) (increase(wrdata_rows_total{result="rejected"}[1h]))'
    " / sum by (dataset, provider) (increase(wrdata_rows_total[1h]))"
)
UNARCHIVED_AGE = "time() - wrdata_archive_oldest_unarchived_timestamp_seconds"

CONNECTIONS_RATIO = (
    "sum by (instance) (pg_stat_activity_count) / max by (instance) (pg_settings_max_connections)"
)
PROCESSOR_RATIO = '1 - avg by (instance) (rate(node_cpu_seconds_total{mode="idle"}[10m]))'
MEMORY_RATIO = "1 - node_memory_MemAvailable_bytes / node_memory_MemTotal_bytes"
DISK_FREE_RATIO = (
    'node_filesystem_avail_bytes{fstype!~"ramfs|squashfs|iso9660"}'
    ' / node_filesystem_size_bytes{fstype!~"ramfs|squashfs|iso9660"}'
)
"""Systems that are full by nature are left out."""
ARCHIVING_FAILED = "increase(pg_stat_archiver_failed_count[15m])"

AUDIT_VERIFIED_AGE = "time() - wrdata_audit_verified_timestamp_seconds"
AUDIT_ANCHOR_AGE = "time() - wrdata_audit_anchored_timestamp_seconds"
AUDIT_NOT_ANCHORED = "wrdata_audit_last_id - wrdata_audit_anchored_id"
BACKUP_AGE = "time() - wrdata_backup_last_success_timestamp_seconds"
DRILL_AGE = "time() - wrdata_restore_drill_last_success_timestamp_seconds"


def slowest_of(share: float, *, of: str, by: str) -> str:
    """Return the question how long a share of observations takes at most.

    Args:
        share: Such as 0.95.
        of: Name of a histogram.
        by: Labels by which to tell series apart.
    """
    return f"histogram_quantile({share:g}, sum by (le, {by}) (rate({of}_bucket[10m])))"


REQUEST_P95 = slowest_of(0.95, of="wrdata_provider_request_duration_seconds", by="provider")

PROVIDERS = Board(
    name="wrdata-providers",
    title="wrdata: providers and budgets",
    about="What providers answer, how fast, and how much of each key is used.",
    figures=(
        Figure(
            title="Requests",
            meaning="Requests a second, by outcome.",
            unit=Unit.PER_SECOND,
            series=(
                Series(
                    expression=f"sum by (provider, outcome) (rate({_REQUESTS}[10m]))",
                    legend="{{provider}} {{outcome}}",
                ),
            ),
        ),
        Figure(
            title="Failed requests",
            meaning="Share of requests that came to nothing. 1 % tells, 5 % pages.",
            unit=Unit.RATIO,
            series=(Series(expression=FAILED_REQUESTS_RATIO, legend="{{provider}}"),),
        ),
        Figure(
            title="Failures by kind",
            meaning="Failed requests of the last hour, by error class.",
            unit=Unit.COUNT,
            series=(
                Series(
                    expression="sum by (provider, error_class)"
                    f' (increase({_REQUESTS}{{outcome="error"}}[1h]))',
                    legend="{{provider}} {{error_class}}",
                ),
            ),
        ),
        Figure(
            title="How long an answer takes",
            meaning="Half, 95 % and 99 % of answers come within this time. 2 s at 95 % tells.",
            unit=Unit.SECONDS,
            series=tuple(
                Series(
                    expression=slowest_of(
                        share, of="wrdata_provider_request_duration_seconds", by="provider"
                    ),
                    legend=f"{{{{provider}}}} p{share * 100:g}",
                )
                for share in (0.5, 0.95, 0.99)
            ),
        ),
        Figure(
            title="Wait for a permit",
            meaning="How long 95 % of requests wait for their turn: the price of a key's limits.",
            unit=Unit.SECONDS,
            series=(
                Series(
                    expression=slowest_of(0.95, of="wrdata_permit_wait_seconds", by="provider"),
                    legend="{{provider}}",
                ),
            ),
        ),
        Figure(
            title="Budget used",
            meaning="Share of each limit in its period. Quotas of an hour, day or month tell at "
            "90 %; a minute's limit is used up whenever a backfill runs.",
            unit=Unit.RATIO,
            series=(
                Series(
                    expression="wrdata_budget_used / wrdata_budget_limit",
                    legend="{{budget}} by {{period}}",
                ),
            ),
        ),
        Figure(
            title="Circuit breakers",
            meaning="The state of each breaker. Open: nothing is sent until a trial succeeds.",
            unit=Unit.YES_OR_NO,
            series=(
                Series(expression="wrdata_circuit_breaker_state", legend="{{provider}} {{state}}"),
            ),
        ),
    ),
)

PIPELINE = Board(
    name="wrdata-pipeline",
    title="wrdata: pipeline",
    about="Runs, the queue, the daemon, and work that waits in dead letters.",
    figures=(
        Figure(
            title="Runs",
            meaning="Runs that wait or work now, and those that ended within the last hour.",
            unit=Unit.COUNT,
            series=(Series(expression="sum by (status) (dagster_runs)", legend="{{status}}"),),
        ),
        Figure(
            title="Wait in the queue",
            meaning="How long the oldest queued run has waited. Half an hour tells.",
            unit=Unit.SECONDS,
            series=(Series(expression=QUEUED_FOR, legend="oldest queued run"),),
        ),
        Figure(
            title="Heartbeats of the daemon",
            meaning="Age of each daemon's last heartbeat, which comes every 30 s. 5 minutes page.",
            unit=Unit.SECONDS,
            series=(Series(expression=HEARTBEAT_AGE, legend="{{daemon}}"),),
        ),
        Figure(
            title="Rows",
            meaning="Rows a second that were loaded, by what they were to the database.",
            unit=Unit.PER_SECOND,
            series=(
                Series(
                    expression="sum by (result) (rate(wrdata_rows_total[10m]))",
                    legend="{{result}}",
                ),
            ),
        ),
        Figure(
            title="Batches",
            meaning="Batches of the last hour: each is one transaction.",
            unit=Unit.COUNT,
            series=(
                Series(
                    expression="sum by (dataset, outcome) (increase(wrdata_batches_total[1h]))",
                    legend="{{dataset}} {{outcome}}",
                ),
            ),
        ),
        Figure(
            title="Dead letters",
            meaning="Letters by state. Parked ones wait for a person.",
            unit=Unit.COUNT,
            series=(Series(expression="sum by (state) (wrdata_dead_letters)", legend="{{state}}"),),
        ),
        Figure(
            title="Oldest open letter",
            meaning="How long the oldest open letter of a dataset has waited. 15 minutes tell.",
            unit=Unit.SECONDS,
            series=(Series(expression=LETTER_AGE, legend="{{dataset}}"),),
        ),
        Figure(
            title="Exporter",
            meaning="How long each part of a scrape takes.",
            unit=Unit.SECONDS,
            series=(
                Series(expression="wrdata_exporter_scrape_duration_seconds", legend="{{part}}"),
            ),
        ),
    ),
)

DATA_QUALITY = Board(
    name="wrdata-data-quality",
    title="wrdata: data quality",
    about="Whether what is stored is fresh, whole and accepted.",
    figures=(
        Figure(
            title="Past due",
            meaning="How long ago the newest rows ceased to be the newest; below zero they still "
            "are. Half a day tells, of snapshots two days and a half.",
            unit=Unit.SECONDS,
            series=(Series(expression=PAST_DUE, legend="{{dataset}} of {{provider}}"),),
        ),
        Figure(
            title="Coverage",
            meaning="Share of the expected days, or of fresh snapshots, that are kept. Below "
            "99 % tells.",
            unit=Unit.RATIO,
            series=(
                Series(expression="wrdata_coverage_ratio", legend="{{dataset}} of {{provider}}"),
            ),
        ),
        Figure(
            title="Rejected rows",
            meaning="Share of an hour's rows that broke a rule. 1 % tells.",
            unit=Unit.RATIO,
            series=(Series(expression=ROWS_REJECTED_RATIO, legend="{{dataset}} of {{provider}}"),),
        ),
        Figure(
            title="Rows of a day",
            meaning="Rows of the last 24 hours by what they were. Many restated ones: a provider "
            "has corrected or re-based what it had.",
            unit=Unit.COUNT,
            series=(
                Series(
                    expression="sum by (dataset, result) (increase(wrdata_rows_total[1d]))",
                    legend="{{dataset}} {{result}}",
                ),
            ),
        ),
        Figure(
            title="Letters by dataset",
            meaning="Letters that are not settled.",
            unit=Unit.COUNT,
            series=(
                Series(
                    expression="sum by (dataset)"
                    ' (wrdata_dead_letters{state=~"open|retrying|parked"})',
                    legend="{{dataset}}",
                ),
            ),
        ),
        Figure(
            title="Not archived yet",
            meaning="Age of the oldest rows that are in no proven file. 40 days tell.",
            unit=Unit.SECONDS,
            series=(Series(expression=UNARCHIVED_AGE, legend="{{dataset}}"),),
        ),
    ),
)

DATABASE = Board(
    name="wrdata-database",
    title="wrdata: database and host",
    about="The database and the machine below it.",
    figures=(
        Figure(
            title="Database answers",
            meaning="Whether the exporter reaches the database.",
            unit=Unit.YES_OR_NO,
            series=(Series(expression="wrdata_database_up", legend="database"),),
        ),
        Figure(
            title="Connections",
            meaning="Share of the server's connections in use. 80 % tells, 95 % pages.",
            unit=Unit.RATIO,
            series=(Series(expression=CONNECTIONS_RATIO, legend="{{instance}}"),),
        ),
        Figure(
            title="Databases",
            meaning="Size of each database of the server.",
            unit=Unit.BYTES,
            series=(Series(expression="pg_database_size_bytes", legend="{{datname}}"),),
        ),
        Figure(
            title="Tables",
            meaning="Size of each of our tables, indexes included.",
            unit=Unit.BYTES,
            series=(Series(expression="wrdata_table_size_bytes", legend="{{table}}"),),
        ),
        Figure(
            title="Chunks",
            meaning="Chunks of each hypertable.",
            unit=Unit.COUNT,
            series=(Series(expression="wrdata_chunks", legend="{{table}}"),),
        ),
        Figure(
            title="Processor",
            meaning="Share of the host's processor time in use. 80 % tells.",
            unit=Unit.RATIO,
            series=(Series(expression=PROCESSOR_RATIO, legend="{{instance}}"),),
        ),
        Figure(
            title="Memory",
            meaning="Share of the host's memory in use. 80 % tells.",
            unit=Unit.RATIO,
            series=(Series(expression=MEMORY_RATIO, legend="{{instance}}"),),
        ),
        Figure(
            title="Free disk",
            meaning="Share of each file system that is free. Below 20 % tells, below 10 % pages.",
            unit=Unit.RATIO,
            series=(Series(expression=DISK_FREE_RATIO, legend="{{instance}} {{mountpoint}}"),),
        ),
    ),
)

RECOVERY = Board(
    name="wrdata-recovery",
    title="wrdata: recovery and audit",
    about="Whether it could come back, and whether the record of who did what is whole.",
    figures=(
        Figure(
            title="Age of backups",
            meaning="How long ago each kind of backup last succeeded. 26 hours page.",
            unit=Unit.SECONDS,
            series=(Series(expression=BACKUP_AGE, legend="{{kind}}"),),
        ),
        Figure(
            title="Failed pushes of the write-ahead log",
            meaning="Segments of a quarter of an hour that were not archived. Any pages.",
            unit=Unit.COUNT,
            series=(Series(expression=ARCHIVING_FAILED, legend="{{instance}}"),),
        ),
        Figure(
            title="The last restore drill",
            meaning="How long it took to be back (15 minutes at most), and how much was lost "
            "(5 minutes at most).",
            unit=Unit.SECONDS,
            series=(
                Series(expression="wrdata_restore_drill_rto_seconds", legend="time to be back"),
                Series(expression="wrdata_restore_drill_rpo_seconds", legend="time that is lost"),
            ),
        ),
        Figure(
            title="Age of the last good drill",
            meaning="How long ago a restore drill last succeeded. 8 days tell.",
            unit=Unit.SECONDS,
            series=(Series(expression=DRILL_AGE, legend="drill"),),
        ),
        Figure(
            title="The audit log is whole",
            meaning="What the last verification found.",
            unit=Unit.YES_OR_NO,
            series=(Series(expression="wrdata_audit_chain_valid", legend="chain"),),
        ),
        Figure(
            title="Age of verification and anchor",
            meaning="How long ago the audit log was last verified, and anchored in the locked "
            "bucket. 26 hours tell.",
            unit=Unit.SECONDS,
            series=(
                Series(expression=AUDIT_VERIFIED_AGE, legend="verified"),
                Series(expression=AUDIT_ANCHOR_AGE, legend="anchored"),
            ),
        ),
        Figure(
            title="Audit rows that are not anchored",
            meaning="Rows that a superuser could still rewrite without a trace.",
            unit=Unit.COUNT,
            series=(Series(expression=AUDIT_NOT_ANCHORED, legend="rows"),),
        ),
    ),
)

BOARDS = (PIPELINE, PROVIDERS, DATA_QUALITY, DATABASE, RECOVERY)
"""Every board, in the order of the menu."""
