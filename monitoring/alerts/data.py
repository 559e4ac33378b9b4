"""Alerts about the data: freshness, coverage, rejected rows, what is not archived.

Here: the rules. Not here: what a rule is (rule.py), or what a person does (docs/runbooks/).
"""

from datetime import timedelta

from marketdata.datasets import DATASETS
from monitoring import queries
from monitoring.alerts.rule import AlertRule, Cause, Severity

_PROVIDER = ("provider",)
_REFRESHED = [dataset for dataset in DATASETS.values() if dataset.cadence != "on demand"]
"""What nobody refreshes cannot be late."""
_BY_DAY = "|".join(dataset.name for dataset in _REFRESHED if dataset.by_day)
_SNAPSHOTS = "|".join(dataset.name for dataset in _REFRESHED if not dataset.by_day)


def _past_due(*, days: timedelta, snapshots: timedelta) -> str:
    """Return the expression for data that are too old, by how they are asked for."""
    return " or ".join(
        f'({queries.PAST_DUE}{{dataset=~"{names}"}}) > {longest.total_seconds():g}'
        for names, longest in ((_BY_DAY, days), (_SNAPSHOTS, snapshots))
    )


RULES = (
    AlertRule(
        name="DatasetOneDayLate",
        expression=_past_due(days=timedelta(hours=24), snapshots=timedelta(hours=84)),
        lasts=timedelta(minutes=5),
        severity=Severity.CRITICAL,
        summary="{{ $labels.dataset }} of {{ $labels.provider }} is out of date by"
        " {{ $value | humanizeDuration }}.",
        first_step="wrdata status shows what holds it up.",
        runbook="data.md#not-fresh",
        threshold="24 hours (MyCFATool: an update within 24 to 48 hours); 84 for snapshots, which"
        " nobody refreshes on Sundays",
        symptom_of=(Cause(alert="ProviderDown", same=_PROVIDER),),
    ),
    AlertRule(
        name="DatasetLate",
        expression=_past_due(days=timedelta(hours=12), snapshots=timedelta(hours=60)),
        lasts=timedelta(minutes=5),
        severity=Severity.WARNING,
        summary="{{ $labels.dataset }} of {{ $labels.provider }} is out of date by"
        " {{ $value | humanizeDuration }}.",
        first_step="wrdata status shows what holds it up.",
        runbook="data.md#not-fresh",
        threshold="12 hours: minutes of a session come 9 hours after its close; 60 for snapshots,"
        " some of which nobody refreshes from Friday to Monday",
        symptom_of=(
            Cause(alert="ProviderDown", same=_PROVIDER),
            Cause(alert="DatasetOneDayLate", same=("dataset", "provider")),
            Cause(alert="DaemonDead"),
        ),
    ),
    AlertRule(
        name="CoverageLow",
        expression=f'wrdata_coverage_ratio{{dataset=~"{_BY_DAY}|{_SNAPSHOTS}"}} < 0.99',
        lasts=timedelta(hours=1),
        severity=Severity.WARNING,
        summary="Of {{ $labels.dataset }} of {{ $labels.provider }} only"
        " {{ $value | humanizePercentage }} of the days are accounted for.",
        first_step="wrdata backfill {{ $labels.dataset }} --all asks for what is missing.",
        runbook="data.md#holes",
        threshold="99 % (errors under 1 %: MyCFATool, retirement platform)",
        symptom_of=(Cause(alert="ProviderDown", same=_PROVIDER),),
    ),
    AlertRule(
        name="RowsRejected",
        expression=f"{queries.ROWS_REJECTED_RATIO} > 0.01",
        severity=Severity.WARNING,
        summary="{{ $value | humanizePercentage }} of the rows of {{ $labels.dataset }} that"
        " {{ $labels.provider }} sent within an hour broke a rule.",
        first_step="wrdata dlq list --error RecordRejectedError shows them and why.",
        runbook="data.md#bad-data-loaded",
        threshold="1 % of rows (errors under 1 %: MyCFATool, retirement platform)",
    ),
    AlertRule(
        name="ArchiveBehind",
        expression=f"{queries.UNARCHIVED_AGE} > 40 * 86400",
        severity=Severity.WARNING,
        summary="{{ $labels.dataset }} has rows that are in no proven file since"
        " {{ $value | humanizeDuration }}.",
        first_step="wrdata archive run --dataset {{ $labels.dataset }}",
        runbook="data.md#archive-behind",
        threshold="40 days: a month, its archive run on the third, and a week to mend it",
    ),
)
