"""Alerts about the pipeline itself: runs, queue, daemon, letters, and who watches it.

Here: the rules. Not here: what a rule is (rule.py), or what a person does (docs/runbooks/).
"""

from datetime import timedelta

from monitoring import queries
from monitoring.alerts.rule import AlertRule, Cause, Severity

_UNSEEN = (Cause(alert="DatabaseDown"), Cause(alert="ExporterAway"))
"""Without database or exporter there are no figures."""

RULES = (
    AlertRule(
        name="ExporterAway",
        expression='up{job="wrdata"} == 0 or absent(up{job="wrdata"})',
        lasts=timedelta(minutes=2),
        severity=Severity.CRITICAL,
        summary="Prometheus gets no figures of the pipeline: nobody would see it fail.",
        first_step="Start the exporter again: wrdata exporter.",
        runbook="pipeline.md#exporter-away",
        threshold="2 minutes without a scrape (failed health checks: retirement platform)",
    ),
    AlertRule(
        name="ExporterPartFailing",
        expression="wrdata_exporter_last_scrape_success == 0",
        lasts=timedelta(minutes=5),
        severity=Severity.WARNING,
        summary="The exporter cannot read its part {{ $labels.part }}: these figures are missing.",
        first_step="Read the exporter's log: it names the query that failed.",
        runbook="pipeline.md#exporter-away",
        threshold="5 minutes of failed reads",
        symptom_of=(Cause(alert="DatabaseDown"),),
    ),
    AlertRule(
        name="WatcherAway",
        expression='up{job=~"node|postgres"} == 0',
        lasts=timedelta(minutes=5),
        severity=Severity.WARNING,
        summary="Prometheus gets no figures from {{ $labels.job }} at {{ $labels.instance }}.",
        first_step="Start that exporter again; until then disk and database are not watched.",
        runbook="pipeline.md#exporter-away",
        threshold="5 minutes without a scrape",
    ),
    AlertRule(
        name="DaemonDead",
        expression=f"{queries.HEARTBEAT_AGE} > 300",
        lasts=timedelta(minutes=1),
        severity=Severity.CRITICAL,
        summary="Dagster's daemon {{ $labels.daemon }} has been silent for"
        " {{ $value | humanizeDuration }}: schedules and sensors stand still.",
        first_step="Start the daemon again: dagster-daemon run (on one machine: wrdata up).",
        runbook="pipeline.md#daemon-dead",
        threshold="5 minutes: ten heartbeats in a row are missing",
        symptom_of=_UNSEEN,
    ),
    AlertRule(
        name="DaemonNeverSeen",
        expression="absent(dagster_daemon_heartbeat_timestamp_seconds)"
        ' unless on () wrdata_exporter_last_scrape_success{part="dagster"} == 0',
        lasts=timedelta(minutes=10),
        severity=Severity.CRITICAL,
        summary="No daemon of Dagster has left a heartbeat: nothing starts by itself.",
        first_step="Start the daemon: dagster-daemon run (on one machine: wrdata up).",
        runbook="pipeline.md#daemon-dead",
        threshold="10 minutes",
        symptom_of=_UNSEEN,
    ),
    AlertRule(
        name="RunsFailed",
        expression=f"{queries.RUNS_FAILED} > 0",
        severity=Severity.WARNING,
        summary="{{ $value }} runs failed within the last hour.",
        first_step="Open the run in Dagster's UI and read its failure.",
        runbook="pipeline.md#runs-fail",
        threshold="one run (MyCFATool: batch failure)",
        # A symptom of nothing: it lasts for an hour, and one that Alertmanager takes for told
        # (alertmanager.py, repeat_symptom) would be over before it is told.
    ),
    AlertRule(
        name="QueueVeryLong",
        expression=f"{queries.RUNS_QUEUED} > 10000",
        lasts=timedelta(minutes=5),
        severity=Severity.CRITICAL,
        summary="{{ $value }} runs wait in the queue.",
        first_step="Cancel what nobody needs in Dagster's UI, page Runs, tab Queued.",
        runbook="pipeline.md#runs-wait",
        threshold="10,000 tasks (WRData)",
    ),
    AlertRule(
        name="QueueLong",
        expression=f"{queries.RUNS_QUEUED} > 1000",
        lasts=timedelta(minutes=5),
        severity=Severity.WARNING,
        summary="{{ $value }} runs wait in the queue.",
        first_step="See in Dagster's UI who started them: page Runs, tab Queued.",
        runbook="pipeline.md#runs-wait",
        threshold="1,000 tasks (TradeSense; WRData: 10,000)",
        symptom_of=(Cause(alert="QueueVeryLong"),),
    ),
    AlertRule(
        name="RunWaitsTooLong",
        expression=f"{queries.QUEUED_FOR} > 1800",
        severity=Severity.WARNING,
        summary="A run has waited in the queue for {{ $value | humanizeDuration }}.",
        first_step="See in Dagster's UI which runs work: two at most, one of them a backfill.",
        runbook="pipeline.md#runs-wait",
        threshold="30 minutes (25 went unseen elsewhere)",
        symptom_of=(Cause(alert="DaemonDead"),),
    ),
    AlertRule(
        name="LettersParked",
        expression=f"{queries.LETTERS_PARKED} > 0",
        severity=Severity.WARNING,
        summary="{{ $value }} dead letters of {{ $labels.dataset }} wait for a person.",
        first_step="wrdata dlq list --state parked",
        runbook="pipeline.md#letters-pile-up",
        threshold="one letter: no machine tries it again",
    ),
    AlertRule(
        name="LettersFarTooMany",
        expression=f"{queries.LETTERS_UNSETTLED} > 10000",
        lasts=timedelta(minutes=5),
        severity=Severity.CRITICAL,
        summary="{{ $value }} dead letters are not settled.",
        first_step="wrdata dlq list shows what they have in common.",
        runbook="pipeline.md#letters-pile-up",
        threshold="10,000 tasks (WRData)",
    ),
    AlertRule(
        name="LettersTooMany",
        expression=f"{queries.LETTERS_UNSETTLED} > 1000",
        lasts=timedelta(minutes=5),
        severity=Severity.WARNING,
        summary="{{ $value }} dead letters are not settled.",
        first_step="wrdata dlq list shows what they have in common.",
        runbook="pipeline.md#letters-pile-up",
        threshold="1,000 tasks (TradeSense; WRData: 10,000)",
        symptom_of=(
            Cause(alert="LettersFarTooMany"),
            Cause(alert="ProviderDown"),
            Cause(alert="DatabaseDown"),
        ),
    ),
    AlertRule(
        name="LetterTooOld",
        expression=f"{queries.LETTER_AGE} > 900",
        severity=Severity.WARNING,
        summary="A dead letter of {{ $labels.dataset }} has been open for"
        " {{ $value | humanizeDuration }}.",
        first_step="wrdata dlq list shows why; it is tried again by itself.",
        runbook="pipeline.md#letters-pile-up",
        threshold="15 minutes (TradeSense)",
        symptom_of=(
            Cause(alert="ProviderDown"),
            Cause(alert="BudgetSpent"),
            Cause(alert="DaemonDead"),
            Cause(alert="DatabaseDown"),
        ),
    ),
)
