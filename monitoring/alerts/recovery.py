"""Alerts about the way back: backups, restore drills, the write-ahead log, the audit log.

Here: the rules. Not here: what a rule is (rule.py), or what a person does (docs/runbooks/).
"""

from datetime import timedelta

from monitoring import queries
from monitoring.alerts.rule import AlertRule, Cause, Severity

RULES = (
    AlertRule(
        name="AuditChainBroken",
        expression="wrdata_audit_chain_valid == 0",
        severity=Severity.CRITICAL,
        summary="The audit log was altered, or rows of it are gone.",
        first_step="wrdata audit verify names the row. Change nothing before it is copied.",
        runbook="audit.md#the-audit-chain-is-broken",
        threshold="one row (TradeSense: alert when its integrity is broken)",
    ),
    AlertRule(
        name="AuditNotVerified",
        expression=f"{queries.AUDIT_VERIFIED_AGE} > 26 * 3600",
        severity=Severity.WARNING,
        summary="Nobody has verified the audit log for {{ $value | humanizeDuration }}.",
        first_step="wrdata audit verify",
        runbook="audit.md#audit-log-not-verified",
        threshold="26 hours: a day, and two hours to be late",
    ),
    AlertRule(
        name="AuditAnchorOld",
        expression=f"{queries.AUDIT_ANCHOR_AGE} > 26 * 3600 and {queries.AUDIT_NOT_ANCHORED} > 0",
        severity=Severity.WARNING,
        summary="The audit log was last anchored {{ $value | humanizeDuration }} ago.",
        first_step="See why the anchor's run failed; the locked bucket may refuse it.",
        runbook="audit.md#audit-log-not-verified",
        threshold="26 hours: a day, and two hours to be late",
    ),
    AlertRule(
        name="LogArchivingFails",
        expression=f"{queries.ARCHIVING_FAILED} > 0",
        severity=Severity.CRITICAL,
        summary="The database cannot push its write-ahead log: what is loaded now would be lost.",
        first_step="Read the server's log; pg_stat_archiver names the segment.",
        runbook="restore.md#no-backup",
        threshold="one segment: at most 5 minutes may be lost (TradeSense)",
    ),
    AlertRule(
        name="BackupOld",
        expression=f"{queries.BACKUP_AGE} > 26 * 3600",
        severity=Severity.CRITICAL,
        summary="The last {{ $labels.kind }} backup is {{ $value | humanizeDuration }} old.",
        first_step="Read why the last one failed, and start one by hand.",
        runbook="restore.md#no-backup",
        threshold="26 hours: daily (all but MyCFATool), and two hours to be late",
    ),
    AlertRule(
        name="BackupMissing",
        expression="absent(wrdata_backup_last_success_timestamp_seconds)",
        lasts=timedelta(hours=1),
        severity=Severity.CRITICAL,
        summary="No backup has ever succeeded.",
        first_step="Start one by hand.",
        runbook="restore.md#no-backup",
        threshold="daily (WRData, retirement platform, TradeSense)",
        symptom_of=(Cause(alert="DatabaseDown"), Cause(alert="ExporterAway")),
    ),
    AlertRule(
        name="RestoreDrillOverdue",
        expression=f"{queries.DRILL_AGE} > 8 * 86400",
        severity=Severity.WARNING,
        summary="No restore drill has succeeded for {{ $value | humanizeDuration }}.",
        first_step="Open the drill's last run in Dagster's UI and read why it failed.",
        runbook="restore.md#restore-drill-failed",
        threshold="8 days: weekly, and a day to be late",
    ),
    AlertRule(
        name="RestoreTooSlow",
        expression="wrdata_restore_drill_rto_seconds > 900",
        severity=Severity.WARNING,
        summary="The last restore drill took {{ $value | humanizeDuration }}.",
        first_step="See in the drill's metadata which part took so long.",
        runbook="restore.md#restore-drill-failed",
        threshold="15 minutes (retirement platform, TradeSense; MyCFATool: 4 hours)",
    ),
    AlertRule(
        name="RestoreLosesTooMuch",
        expression="wrdata_restore_drill_rpo_seconds > 300",
        severity=Severity.WARNING,
        summary="After the last restore drill {{ $value | humanizeDuration }} of loads were"
        " missing.",
        first_step="See in pg_stat_archiver when the log was last pushed.",
        runbook="restore.md#restore-drill-failed",
        threshold="5 minutes (TradeSense; the others: 1 hour)",
    ),
    AlertRule(
        name="RestoreLosesAuditRows",
        expression="wrdata_restore_drill_audit_rows_lost > 0",
        severity=Severity.WARNING,
        summary="After the last restore drill {{ $value }} rows of the audit log were missing.",
        first_step="See whether WRDATA_AUDIT_BUCKET is set, and run wrdata audit anchor.",
        runbook="restore.md#restore-drill-failed",
        threshold="none (TradeSense)",
    ),
)
