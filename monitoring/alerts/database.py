"""Alerts about the database and its machine: reachable, connections, size, processor, disk.

Here: the rules. Not here: what a rule is (rule.py), or what a person does (docs/runbooks/).
"""

from datetime import timedelta

from monitoring import queries
from monitoring.alerts.rule import AlertRule, Cause, Severity

_INSTANCE = ("instance",)

RULES = (
    AlertRule(
        name="DatabaseDown",
        expression="wrdata_database_up == 0",
        lasts=timedelta(minutes=1),
        severity=Severity.CRITICAL,
        summary="The database does not answer: nothing is loaded, and nothing can be read.",
        first_step="See whether its server runs, and whether its disk is full.",
        runbook="database.md#database-lost",
        threshold="1 minute: loads wait for 45 seconds (recovery within 15 minutes: TradeSense)",
    ),
    AlertRule(
        name="ConnectionsSpent",
        expression=f"{queries.CONNECTIONS_RATIO} > 0.95",
        lasts=timedelta(minutes=1),
        severity=Severity.CRITICAL,
        summary="{{ $value | humanizePercentage }} of the database's connections are in use.",
        first_step="See who holds them, in pg_stat_activity.",
        runbook="database.md#connections-spent",
        threshold="95 % (pool exhausted: TradeSense)",
    ),
    AlertRule(
        name="ConnectionsNearlySpent",
        expression=f"{queries.CONNECTIONS_RATIO} > 0.8",
        lasts=timedelta(minutes=5),
        severity=Severity.WARNING,
        summary="{{ $value | humanizePercentage }} of the database's connections are in use.",
        first_step="See who holds them, in pg_stat_activity.",
        runbook="database.md#connections-spent",
        threshold="80 %, so that there is time before the pool is exhausted (TradeSense)",
        symptom_of=(Cause(alert="ConnectionsSpent", same=_INSTANCE),),
    ),
    AlertRule(
        name="DatabaseLarge",
        expression="pg_database_size_bytes > 100e9",
        lasts=timedelta(hours=1),
        severity=Severity.WARNING,
        summary="The database {{ $labels.datname }} takes {{ $value | humanize1024 }}B.",
        first_step="wrdata prune --dry-run shows what grows; old rows may leave for the archive.",
        runbook="database.md#database-large",
        threshold="100 GB (MyCFATool: 50 to 100 GB)",
    ),
    AlertRule(
        name="ProcessorBusy",
        expression=f"{queries.PROCESSOR_RATIO} > 0.8",
        lasts=timedelta(minutes=10),
        severity=Severity.WARNING,
        summary="The processor of {{ $labels.instance }} is {{ $value | humanizePercentage }}"
        " busy.",
        first_step="See which statements run, in pg_stat_activity.",
        runbook="database.md#machine-busy",
        threshold="80 % (WRData)",
    ),
    AlertRule(
        name="MemoryShort",
        expression=f"{queries.MEMORY_RATIO} > 0.8",
        lasts=timedelta(minutes=10),
        severity=Severity.WARNING,
        summary="{{ $value | humanizePercentage }} of the memory of {{ $labels.instance }}"
        " is in use.",
        first_step="See which process takes it (top, key M).",
        runbook="database.md#machine-busy",
        threshold="80 % (retirement platform; TradeSense: 85 %)",
    ),
    AlertRule(
        name="DiskFull",
        expression=f"{queries.DISK_FREE_RATIO} < 0.1",
        lasts=timedelta(minutes=1),
        severity=Severity.CRITICAL,
        summary="Only {{ $value | humanizePercentage }} of {{ $labels.mountpoint }} on"
        " {{ $labels.instance }} is free.",
        first_step="Stop backfills, then make room: a full disk stops the database.",
        runbook="database.md#disk-full",
        threshold="10 %: half of what WRData warns at",
    ),
    AlertRule(
        name="DiskNearlyFull",
        expression=f"{queries.DISK_FREE_RATIO} < 0.2",
        lasts=timedelta(minutes=5),
        severity=Severity.WARNING,
        summary="Only {{ $value | humanizePercentage }} of {{ $labels.mountpoint }} on"
        " {{ $labels.instance }} is free.",
        first_step="wrdata prune --dry-run shows what grows; enlarge the disk in time.",
        runbook="database.md#disk-full",
        threshold="20 % (WRData)",
        symptom_of=(Cause(alert="DiskFull", same=("instance", "mountpoint")),),
    ),
)
