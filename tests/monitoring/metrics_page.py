"""Pages of metrics as Prometheus scrapes them: every metric that alerts and dashboards may name.

Here: the exporter's page, and as much of node_exporter's and postgres_exporter's as is used. Not
here: the real exporter.

Counters grow with each scrape.
"""

import time
from collections.abc import Iterator, Sequence

_OUTCOMES = (("ok", ""), ("error", "ProviderUnavailableError"), ("error", "KeyRefusedError"))
_RESULTS = ("inserted", "unchanged", "restated", "stale", "rejected", "withdrawn")
_BOUNDS = ("0.05", "0.1", "0.25", "0.5", "1", "2.5", "5", "10", "30", "+Inf")
_DATASET = 'dataset="daily_bars",provider="fmp"'
_QUOTA = 'provider="fmp",budget="fmp free 1a2b3c4d",period="day"'


def of_the_exporter(scrape: int, *, database_up: bool = True) -> str:
    """Return the exporter's page of a healthy pipeline at its n-th scrape.

    Args:
        scrape: Counts scrapes from 1.
        database_up: Otherwise only what the exporter knows by itself is there.
    """
    lines = [
        f"wrdata_database_up {database_up:d}",
        'wrdata_build_info{version="0.1.0"} 1',
        *(
            f'wrdata_exporter_last_scrape_success{{part="{part}"}} {database_up:d}'
            for part in ("requests", "loads")
        ),
        'wrdata_exporter_scrape_duration_seconds{part="requests"} 0.01',
    ]
    if database_up:
        lines += _of_the_database(scrape, time.time())
    return "\n".join(lines) + "\n"


def _of_the_database(scrape: int, now: float) -> Iterator[str]:
    yield from _histogram("wrdata_provider_request_duration_seconds", scrape, 'outcome="ok"')
    yield from _histogram("wrdata_permit_wait_seconds", scrape)
    for outcome, error_class in _OUTCOMES:
        labels = f'provider="fmp",outcome="{outcome}",error_class="{error_class}"'
        count = 1000 * scrape if outcome == "ok" else 0
        yield f"wrdata_provider_requests_total{{{labels}}} {count}"
    yield f"wrdata_budget_limit{{{_QUOTA}}} 250"
    yield f"wrdata_budget_used{{{_QUOTA}}} 25"
    for state, value in (("closed", 1), ("open", 0), ("half_open", 0)):
        yield f'wrdata_circuit_breaker_state{{provider="fmp",state="{state}"}} {value}'
    for result in _RESULTS:
        count = 0 if result == "rejected" else 500 * scrape
        yield f'wrdata_rows_total{{{_DATASET},result="{result}"}} {count}'
    for outcome in ("loaded", "failed"):
        yield f'wrdata_batches_total{{{_DATASET},outcome="{outcome}"}} {10 * scrape}'
    for state, count in (("open", 1), ("retrying", 0), ("parked", 0)):
        yield f'wrdata_dead_letters{{dataset="daily_bars",state="{state}"}} {count}'
    for name, at in (
        ('wrdata_dead_letter_oldest_open_timestamp_seconds{dataset="daily_bars"}', now - 60),
        (f"wrdata_dataset_fresh_until_timestamp_seconds{{{_DATASET}}}", now + 3_600),
        ('wrdata_archive_oldest_unarchived_timestamp_seconds{dataset="daily_bars"}', now - 86_400),
        ("wrdata_audit_verified_timestamp_seconds", now - 3_600),
        ("wrdata_audit_anchored_timestamp_seconds", now - 3_600),
        ("dagster_oldest_queued_run_timestamp_seconds", now - 60),
        ('dagster_daemon_heartbeat_timestamp_seconds{daemon="SENSOR"}', now - 10),
    ):
        yield f"{name} {at:.3f}"
    yield f"wrdata_coverage_ratio{{{_DATASET}}} 0.999"
    yield 'wrdata_chunks{table="daily_bar"} 12'
    yield 'wrdata_table_size_bytes{table="daily_bar"} 1048576'
    for status, count in (("STARTED", 1), ("QUEUED", 1), ("SUCCESS", 9), ("FAILURE", 0)):
        yield f'dagster_runs{{status="{status}"}} {count}'
    yield "wrdata_audit_chain_valid 1"
    yield "wrdata_audit_last_id 100"
    yield "wrdata_audit_anchored_id 100"
    yield f'wrdata_backup_last_success_timestamp_seconds{{kind="full"}} {now - 3_600:.3f}'
    yield f"wrdata_restore_drill_last_success_timestamp_seconds {now - 86_400:.3f}"
    yield "wrdata_restore_drill_rto_seconds 120"
    yield "wrdata_restore_drill_rpo_seconds 60"
    yield "wrdata_restore_drill_audit_rows_lost 0"


def of_the_host(scrape: int) -> str:
    """Return what is used of node_exporter's page."""
    disk = 'device="/dev/sda1",fstype="ext4",mountpoint="/"'
    return "\n".join(
        [
            f'node_cpu_seconds_total{{cpu="0",mode="idle"}} {scrape}',
            "node_memory_MemAvailable_bytes 6000000000",
            "node_memory_MemTotal_bytes 8000000000",
            f"node_filesystem_avail_bytes{{{disk}}} 60000000000",
            f"node_filesystem_size_bytes{{{disk}}} 80000000000",
            "",
        ]
    )


def of_postgres(scrape: int) -> str:
    """Return what is used of postgres_exporter's page."""
    del scrape
    return """\
pg_stat_activity_count{datname="wrdata",state="active"} 3
pg_stat_activity_count{datname="wrdata",state="idle"} 7
pg_settings_max_connections 100
pg_database_size_bytes{datname="wrdata"} 1000000000
pg_stat_archiver_failed_count 0
"""


def names(pages: Sequence[str]) -> set[str]:
    """Return the names of the metrics on pages."""
    samples = (line for page in pages for line in page.splitlines() if not line.startswith("#"))
    return {sample.partition("{")[0].partition(" ")[0] for sample in samples if sample}


def _histogram(name: str, scrape: int, label: str = "") -> Iterator[str]:
    """Yield a histogram whose observations take a second at most."""
    labels = ",".join(filter(None, ('provider="fmp"', label)))
    within_a_second = _BOUNDS.index("1") + 1
    for place, bound in enumerate(_BOUNDS, start=1):
        yield f'{name}_bucket{{{labels},le="{bound}"}} {min(place, within_a_second) * 10 * scrape}'
    yield f"{name}_count{{{labels}}} {within_a_second * 10 * scrape}"
    yield f"{name}_sum{{{labels}}} {20 * scrape}"
