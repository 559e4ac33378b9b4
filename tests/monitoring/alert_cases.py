"""For each alert: figures with which it fires, what a person reads then, and figures without it.

The latter are exactly at the threshold where that can be.

Series are promtool's: one value a minute, ``0+5x60`` is 0, 5, 10 …, ``_`` is none.
https://prometheus.io/docs/prometheus/latest/configuration/unit_testing_rules/

Moments are seconds, and an alert is looked at after an hour, which is second 3,600.
"""

from collections.abc import Mapping
from dataclasses import dataclass

HOUR = 3_600
DAY = 24 * HOUR
FMP = 'provider="fmp"'
QUOTA = 'provider="fmp",budget="fmp free 1a2b3c4d",period="day"'
MINUTE = 'provider="fmp",budget="fmp free 1a2b3c4d",period="minute"'
DAILY_BARS = 'dataset="daily_bars",provider="fmp"'
OF_DAILY_BARS = {"dataset": "daily_bars", "provider": "fmp"}
SERVER = 'instance="db:9187",job="postgres"'
HOST = 'instance="db:9100",job="node"'
OF_HOST = {"instance": "db:9100", "job": "node"}
DISK = f'{HOST},device="/dev/sda1",fstype="ext4",mountpoint="/data"'
OF_DISK = {**OF_HOST, "device": "/dev/sda1", "fstype": "ext4", "mountpoint": "/data"}


@dataclass(frozen=True, kw_only=True)
class Case:
    """When an alert fires, and when it does not.

    Attributes:
        fires: Values by series.
        labels: Labels of the alert, but for its name and severity.
        summary: What a person reads.
        silent: Values by series.
    """

    fires: Mapping[str, str]
    labels: Mapping[str, str]
    summary: str
    silent: Mapping[str, str]


def always(value: float) -> str:
    """Return a series that has one value all the time."""
    return f"{value:f}+0x90"


def aged(seconds: float) -> str:
    """Return a moment that will be so old after an hour."""
    return always(HOUR - seconds)


def requests(*, failed: float, answered: float) -> dict[str, str]:
    """Return counters of requests with these numbers each minute."""
    errors = f'{FMP},outcome="error",error_class="ProviderUnavailableError"'
    return {
        'wrdata_build_info{version="1"}': always(1),
        f"wrdata_provider_requests_total{{{errors}}}": f"0+{failed}x90",
        f'wrdata_provider_requests_total{{{FMP},outcome="ok",error_class=""}}': f"0+{answered}x90",
    }


def durations(**below: int) -> dict[str, str]:
    """Return a histogram of requests with these numbers each minute, by upper bound."""
    name = "wrdata_provider_request_duration_seconds_bucket"
    return {
        f'{name}{{{FMP},outcome="ok",le="{bound}"}}': f"0+{count}x90"
        for bound, count in zip(("1", "2.5", "+Inf"), below.values(), strict=True)
    }


REFUSED = f'wrdata_provider_requests_total{{{FMP},outcome="error",error_class="KeyRefusedError"}}'
OPEN = f'wrdata_circuit_breaker_state{{{FMP},state="open"}}'
QUEUED = 'dagster_runs{status="QUEUED"}'


def letters(**states: int) -> dict[str, str]:
    """Return letters of one dataset by state."""
    return {
        f'wrdata_dead_letters{{dataset="daily_bars",state="{state}"}}': always(count)
        for state, count in states.items()
    }


def quota(*, used: int, of_a_minute: int = 0) -> dict[str, str]:
    """Return a quota of 250 a day and a pace of 120 a minute, used so far."""
    return {
        f"wrdata_budget_used{{{QUOTA}}}": always(used),
        f"wrdata_budget_limit{{{QUOTA}}}": always(250),
        f"wrdata_budget_used{{{MINUTE}}}": always(of_a_minute),
        f"wrdata_budget_limit{{{MINUTE}}}": always(120),
    }


def fresh_until(dataset: str, provider: str, *, age: float) -> dict[str, str]:
    """Return a dataset that ceased to be fresh so many seconds ago."""
    labels = f'dataset="{dataset}",provider="{provider}"'
    return {f"wrdata_dataset_fresh_until_timestamp_seconds{{{labels}}}": aged(age)}


def connections(active: int, idle: int) -> dict[str, str]:
    """Return connections by state, of 100."""
    return {
        f'pg_stat_activity_count{{{SERVER},state="active"}}': always(active),
        f'pg_stat_activity_count{{{SERVER},state="idle"}}': always(idle),
        f"pg_settings_max_connections{{{SERVER}}}": always(100),
    }


def disk(free: int) -> dict[str, str]:
    """Return a disk with so much of 100 free, and a file system in memory that is always full."""
    memory = f'{HOST},device="ramfs",fstype="ramfs",mountpoint="/run/credentials"'
    return {
        f"node_filesystem_avail_bytes{{{DISK}}}": always(free),
        f"node_filesystem_size_bytes{{{DISK}}}": always(100),
        f"node_filesystem_avail_bytes{{{memory}}}": always(0),
        f"node_filesystem_size_bytes{{{memory}}}": always(100),
    }


def processor(*, idle: float) -> dict[str, str]:
    """Return two processors that are idle for so many seconds of each minute."""
    return {
        f'node_cpu_seconds_total{{{HOST},cpu="{cpu}",mode="idle"}}': f"0+{idle}x90"
        for cpu in (0, 1)
    }


def memory(available: float) -> dict[str, str]:
    """Return a memory of 10 with so much available."""
    return {
        f"node_memory_MemAvailable_bytes{{{HOST}}}": always(available),
        f"node_memory_MemTotal_bytes{{{HOST}}}": always(10),
    }


def anchored(*, age: float, behind: int) -> dict[str, str]:
    """Return an audit log that was anchored so many seconds ago, so many rows before its last."""
    return {
        "wrdata_audit_anchored_timestamp_seconds": aged(age),
        "wrdata_audit_last_id": always(10),
        "wrdata_audit_anchored_id": always(10 - behind),
    }


CASES: Mapping[str, Case] = {
    "ProviderDown": Case(
        # Half-open in every third minute.
        fires={OPEN: " ".join(["1 1 0"] * 30)},
        labels={"provider": "fmp"},
        summary="fmp has not answered for a quarter of an hour.",
        silent={OPEN: "0x48 1x30"},
    ),
    "CircuitBreakerOpen": Case(
        fires={OPEN: "0x57 1x30"},
        labels={"provider": "fmp"},
        summary="Nothing is sent to fmp: five requests in a row failed.",
        silent={
            OPEN: always(0),
            f'wrdata_circuit_breaker_state{{{FMP},state="closed"}}': always(1),
        },
    ),
    "ProviderErrorRateHigh": Case(
        fires=requests(failed=10, answered=90),
        labels={"provider": "fmp"},
        summary="10% of requests to fmp fail.",
        silent=requests(failed=5, answered=95),
    ),
    "ProviderErrorRateRaised": Case(
        fires=requests(failed=2, answered=98),
        labels={"provider": "fmp"},
        summary="2% of requests to fmp fail.",
        silent=requests(failed=1, answered=99),
    ),
    "ProviderSlow": Case(
        fires=durations(below_1=0, below_2=100, all_of_them=100),
        labels={"provider": "fmp"},
        summary="fmp answers slowly: one request in twenty takes 2.425s or longer.",
        silent=durations(below_1=96, below_2=96, all_of_them=100),
    ),
    "ProviderKeyRefused": Case(
        # The first refusal ever is a new series.
        fires={REFUSED: "_x57 1x30", 'wrdata_build_info{version="1"}': always(1)},
        labels={"provider": "fmp"},
        summary="fmp refuses our key: nothing more comes from there.",
        silent={REFUSED: always(3), 'wrdata_build_info{version="1"}': always(1)},
    ),
    "BudgetSpent": Case(
        fires=quota(used=250),
        labels={"provider": "fmp", "budget": "fmp free 1a2b3c4d", "period": "day"},
        summary="The quota fmp free 1a2b3c4d is used up for this day.",
        silent=quota(used=249, of_a_minute=120),
    ),
    "BudgetNearlySpent": Case(
        fires=quota(used=225),
        labels={"provider": "fmp", "budget": "fmp free 1a2b3c4d", "period": "day"},
        summary="90% of the quota fmp free 1a2b3c4d is used for this day.",
        silent=quota(used=224, of_a_minute=120),
    ),
    "ExporterAway": Case(
        fires={'up{job="wrdata",instance="app:9464"}': always(0)},
        labels={"job": "wrdata", "instance": "app:9464"},
        summary="Prometheus gets no figures of the pipeline: nobody would see it fail.",
        silent={'up{job="wrdata",instance="app:9464"}': always(1)},
    ),
    "ExporterPartFailing": Case(
        fires={'wrdata_exporter_last_scrape_success{part="loads"}': always(0)},
        labels={"part": "loads"},
        summary="The exporter cannot read its part loads: these figures are missing.",
        silent={'wrdata_exporter_last_scrape_success{part="loads"}': always(1)},
    ),
    "WatcherAway": Case(
        fires={f"up{{{HOST}}}": always(0)},
        labels=OF_HOST,
        summary="Prometheus gets no figures from node at db:9100.",
        silent={f"up{{{HOST}}}": always(1)},
    ),
    "DaemonDead": Case(
        fires={'dagster_daemon_heartbeat_timestamp_seconds{daemon="SENSOR"}': always(0)},
        labels={"daemon": "SENSOR"},
        summary="Dagster's daemon SENSOR has been silent for 1h 0m 0s:"
        " schedules and sensors stand still.",
        silent={'dagster_daemon_heartbeat_timestamp_seconds{daemon="SENSOR"}': aged(300)},
    ),
    "DaemonNeverSeen": Case(
        fires={"wrdata_database_up": always(1)},
        labels={},
        summary="No daemon of Dagster has left a heartbeat: nothing starts by itself.",
        silent={'dagster_daemon_heartbeat_timestamp_seconds{daemon="SENSOR"}': always(0)},
    ),
    "RunsFailed": Case(
        fires={'dagster_runs{status="FAILURE"}': always(2)},
        labels={},
        summary="2 runs failed within the last hour.",
        silent={
            'dagster_runs{status="FAILURE"}': always(0),
            'dagster_runs{status="SUCCESS"}': always(9),
        },
    ),
    "QueueVeryLong": Case(
        fires={QUEUED: always(10_001)},
        labels={},
        summary="10001 runs wait in the queue.",
        silent={QUEUED: always(10_000)},
    ),
    "QueueLong": Case(
        fires={QUEUED: always(1_001)},
        labels={},
        summary="1001 runs wait in the queue.",
        silent={QUEUED: always(1_000)},
    ),
    "RunWaitsTooLong": Case(
        fires={"dagster_oldest_queued_run_timestamp_seconds": aged(1_860)},
        labels={},
        summary="A run has waited in the queue for 31m 0s.",
        silent={"dagster_oldest_queued_run_timestamp_seconds": aged(1_800)},
    ),
    "LettersParked": Case(
        fires=letters(parked=3),
        labels={"dataset": "daily_bars"},
        summary="3 dead letters of daily_bars wait for a person.",
        silent=letters(open=3, retrying=1, parked=0),
    ),
    "LettersFarTooMany": Case(
        fires=letters(open=9_000, retrying=500, parked=501),
        labels={},
        summary="10001 dead letters are not settled.",
        silent=letters(open=9_000, retrying=500, parked=500),
    ),
    "LettersTooMany": Case(
        fires=letters(open=500, retrying=500, parked=1),
        labels={},
        summary="1001 dead letters are not settled.",
        silent=letters(open=500, retrying=500, resolved=9_999),
    ),
    "LetterTooOld": Case(
        fires={'wrdata_dead_letter_oldest_open_timestamp_seconds{dataset="daily_bars"}': aged(960)},
        labels={"dataset": "daily_bars"},
        summary="A dead letter of daily_bars has been open for 16m 0s.",
        silent={
            'wrdata_dead_letter_oldest_open_timestamp_seconds{dataset="daily_bars"}': aged(900)
        },
    ),
    "DatasetOneDayLate": Case(
        fires=fresh_until("daily_bars", "fmp", age=25 * HOUR),
        labels=OF_DAILY_BARS,
        summary="daily_bars of fmp is out of date by 1d 1h 0m 0s.",
        silent=fresh_until("daily_bars", "fmp", age=24 * HOUR)
        | fresh_until("splits", "fmp", age=84 * HOUR)
        | fresh_until("crypto_trades", "binance", age=90 * DAY),
    ),
    "DatasetLate": Case(
        fires=fresh_until("splits", "fmp", age=61 * HOUR),
        labels={"dataset": "splits", "provider": "fmp"},
        summary="splits of fmp is out of date by 2d 13h 0m 0s.",
        silent=fresh_until("daily_bars", "fmp", age=12 * HOUR)
        | fresh_until("splits", "fmp", age=60 * HOUR)
        | fresh_until("crypto_trades", "binance", age=90 * DAY),
    ),
    "CoverageLow": Case(
        fires={f"wrdata_coverage_ratio{{{DAILY_BARS}}}": always(0.98)},
        labels=OF_DAILY_BARS,
        summary="Of daily_bars of fmp only 98% of the days are accounted for.",
        silent={
            f"wrdata_coverage_ratio{{{DAILY_BARS}}}": always(0.99),
            'wrdata_coverage_ratio{dataset="crypto_trades",provider="binance"}': always(0.1),
        },
    ),
    "RowsRejected": Case(
        fires={
            f'wrdata_rows_total{{{DAILY_BARS},result="rejected"}}': "0+2x90",
            f'wrdata_rows_total{{{DAILY_BARS},result="inserted"}}': "0+98x90",
        },
        labels=OF_DAILY_BARS,
        summary="2% of the rows of daily_bars that fmp sent within an hour broke a rule.",
        silent={
            f'wrdata_rows_total{{{DAILY_BARS},result="rejected"}}': "0+1x90",
            f'wrdata_rows_total{{{DAILY_BARS},result="inserted"}}': "0+100x90",
        },
    ),
    "ArchiveBehind": Case(
        fires={
            'wrdata_archive_oldest_unarchived_timestamp_seconds{dataset="daily_bars"}': aged(
                41 * DAY
            )
        },
        labels={"dataset": "daily_bars"},
        summary="daily_bars has rows that are in no proven file since 41d 0h 0m 0s.",
        silent={
            'wrdata_archive_oldest_unarchived_timestamp_seconds{dataset="daily_bars"}': aged(
                40 * DAY
            )
        },
    ),
    "DatabaseDown": Case(
        fires={"wrdata_database_up": always(0)},
        labels={},
        summary="The database does not answer: nothing is loaded, and nothing can be read.",
        silent={"wrdata_database_up": always(1)},
    ),
    "ConnectionsSpent": Case(
        fires=connections(60, 36),
        labels={"instance": "db:9187"},
        summary="96% of the database's connections are in use.",
        silent=connections(60, 35),
    ),
    "ConnectionsNearlySpent": Case(
        fires=connections(60, 21),
        labels={"instance": "db:9187"},
        summary="81% of the database's connections are in use.",
        silent=connections(60, 20),
    ),
    "DatabaseLarge": Case(
        fires={f'pg_database_size_bytes{{{SERVER},datname="wrdata"}}': always(2**37)},
        labels={"instance": "db:9187", "job": "postgres", "datname": "wrdata"},
        summary="The database wrdata takes 128GiB.",
        silent={f'pg_database_size_bytes{{{SERVER},datname="wrdata"}}': always(100e9)},
    ),
    "ProcessorBusy": Case(
        fires=processor(idle=6),
        labels={"instance": "db:9100"},
        summary="The processor of db:9100 is 90% busy.",
        silent=processor(idle=12.6),
    ),
    "MemoryShort": Case(
        fires=memory(1),
        labels=OF_HOST,
        summary="90% of the memory of db:9100 is in use.",
        silent=memory(2.5),
    ),
    "DiskFull": Case(
        fires=disk(5),
        labels=OF_DISK,
        summary="Only 5% of /data on db:9100 is free.",
        silent=disk(10),
    ),
    "DiskNearlyFull": Case(
        fires=disk(15),
        labels=OF_DISK,
        summary="Only 15% of /data on db:9100 is free.",
        silent=disk(20),
    ),
    "AuditChainBroken": Case(
        fires={"wrdata_audit_chain_valid": always(0)},
        labels={},
        summary="The audit log was altered, or rows of it are gone.",
        silent={"wrdata_audit_chain_valid": always(1)},
    ),
    "AuditNotVerified": Case(
        fires={"wrdata_audit_verified_timestamp_seconds": aged(27 * HOUR)},
        labels={},
        summary="Nobody has verified the audit log for 1d 3h 0m 0s.",
        silent={"wrdata_audit_verified_timestamp_seconds": aged(26 * HOUR)},
    ),
    "AuditAnchorOld": Case(
        fires=anchored(age=27 * HOUR, behind=1),
        labels={},
        summary="The audit log was last anchored 1d 3h 0m 0s ago.",
        silent=anchored(age=27 * HOUR, behind=0),
    ),
    "LogArchivingFails": Case(
        fires={f"pg_stat_archiver_failed_count{{{SERVER}}}": "0x50 2x30"},
        labels={"instance": "db:9187", "job": "postgres"},
        summary="The database cannot push its write-ahead log: what is loaded now would be lost.",
        silent={f"pg_stat_archiver_failed_count{{{SERVER}}}": always(2)},
    ),
    "BackupOld": Case(
        fires={'wrdata_backup_last_success_timestamp_seconds{kind="full"}': aged(27 * HOUR)},
        labels={"kind": "full"},
        summary="The last full backup is 1d 3h 0m 0s old.",
        silent={'wrdata_backup_last_success_timestamp_seconds{kind="full"}': aged(26 * HOUR)},
    ),
    "BackupMissing": Case(
        fires={"wrdata_database_up": always(1)},
        labels={},
        summary="No backup has ever succeeded.",
        silent={'wrdata_backup_last_success_timestamp_seconds{kind="full"}': always(0)},
    ),
    "RestoreDrillOverdue": Case(
        fires={"wrdata_restore_drill_last_success_timestamp_seconds": aged(9 * DAY)},
        labels={},
        summary="No restore drill has succeeded for 9d 0h 0m 0s.",
        silent={"wrdata_restore_drill_last_success_timestamp_seconds": aged(8 * DAY)},
    ),
    "RestoreTooSlow": Case(
        fires={"wrdata_restore_drill_rto_seconds": always(960)},
        labels={},
        summary="The last restore drill took 16m 0s.",
        silent={"wrdata_restore_drill_rto_seconds": always(900)},
    ),
    "RestoreLosesTooMuch": Case(
        fires={"wrdata_restore_drill_rpo_seconds": always(301)},
        labels={},
        summary="After the last restore drill 5m 1s of loads were missing.",
        silent={"wrdata_restore_drill_rpo_seconds": always(300)},
    ),
    "RestoreLosesAuditRows": Case(
        fires={"wrdata_restore_drill_audit_rows_lost": always(3)},
        labels={},
        summary="After the last restore drill 3 rows of the audit log were missing.",
        silent={"wrdata_restore_drill_audit_rows_lost": always(0)},
    ),
}
"""A case for each alert, by its name."""
