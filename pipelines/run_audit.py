"""Runs in the audit log: who launched and cancelled each, exactly once.

Here: the rows of runs and backfills, written where a run begins, and the look at all runs that
catches up. Not here: when it looks (sensors.py), or the log (resources/storage/audit).

A run that begins records itself: in the executor of the daemon's runs (workers.py), and in commands
(cli/runs.py). What never began, was cancelled, or began while the database was down, the sensor
finds. The database refuses a second row about the same event, so nothing is counted twice.
"""

import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import dagster as dg

from machine.person import user_at_host
from marketdata.audit import Action
from marketdata.recovery import errors
from pipelines.run_failures import BY_COMMAND, PARTITION_TAG, RANGE_TAGS, STARTED_BY, utc
from pipelines.users import CLIENT_TAG, USER_TAG, starter_of
from resources import opening
from resources.settings import read_settings
from resources.storage.audit import AuditLog, Deed
from usecases.auditing import record_changes

_LOG = logging.getLogger(__name__)

CORRELATION_TAG = "wrdata/correlation_id"
_AUTOMATION_TAG = "dagster/from_automation_condition"
_BACKFILL_TAG = "dagster/backfill"
_RETRY_TAG = "dagster/retry_number"
_PARENT_TAG = "dagster/parent_run_id"

UNKNOWN = "unknown: Dagster does not say who"
RUNS_AT_A_TIME = 200
LOOKS_BACK = timedelta(minutes=10)
"""Runs are looked at again for this long: a slow transaction may show one late."""
EVENTS_BACK = 1_000
"""The same for events, by their number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """How far the sensor has looked.

    Attributes:
        created: Runs created before are audited (aware UTC).
        event: Number of the last cancellation that was looked at.
    """

    created: datetime
    event: int

    def as_cursor(self) -> str:
        """Return it as the sensor's cursor."""
        return json.dumps({"created": self.created.isoformat(), "event": self.event})

    @classmethod
    def of(cls, cursor: str) -> "Seen":
        """Read the sensor's cursor."""
        read = json.loads(cursor)
        return cls(created=datetime.fromisoformat(read["created"]), event=read["event"])


def record_start(run_id: str, job: str, tags: Mapping[str, str]) -> None:
    """Record a run at its start, and the configuration that it runs with if that is a new one.

    If the database is down, the run's own work will say so, and the sensor catches up.
    """
    try:
        settings = read_settings()
        with opening.database(settings, pool_size=1) as timescale:
            log = AuditLog(timescale)
            record_changes(log, settings, who=user_at_host())
            for deed in launched(run_id, job, tags):
                log.append_once(deed)
    except errors.MarketDataError as error:
        _LOG.warning("run %s is not in the audit log yet: %s", run_id, error)


def record_interruption(run_id: str, job: str) -> None:
    """Record that a person ended the run of a command by Ctrl-C or SIGTERM."""
    deed = Deed(
        action=Action.RUN_CANCELLED,
        who=user_at_host(),
        subject=run_id,
        details={"job": job, "reason": "the command was interrupted"},
    )
    try:
        settings = read_settings()
        with opening.database(settings, pool_size=1) as timescale:
            AuditLog(timescale).append_once(deed)
    except errors.MarketDataError as error:
        _LOG.warning("the end of run %s is not in the audit log: %s", run_id, error)


def launched(run_id: str, job: str, tags: Mapping[str, str]) -> Iterator[Deed]:
    """Yield the rows about the launch of a run: one about its backfill, if it has one, and its own.

    Args:
        run_id: Its id.
        job: Its job's name.
        tags: Its tags.
    """
    who, origin = _who(tags), _origin(tags)
    backfill = tags.get(_BACKFILL_TAG)
    if backfill:
        yield Deed(
            action=Action.BACKFILL_LAUNCHED,
            who=who,
            origin=origin,
            subject=backfill,
            details={"job": job},
        )
    details: dict[str, Any] = {"job": job}
    partitions = [tags[name] for name in (PARTITION_TAG, *RANGE_TAGS) if name in tags]
    if partitions:
        details["partitions"] = partitions
    for name, tag in (
        ("backfill", _BACKFILL_TAG),
        ("retry_of", _PARENT_TAG),
        ("correlation_id", CORRELATION_TAG),
    ):
        if tag in tags:
            details[name] = tags[tag]
    yield Deed(action=Action.RUN_LAUNCHED, who=who, origin=origin, subject=run_id, details=details)


def catch_up(instance: dg.DagsterInstance, log: AuditLog, seen: Seen) -> tuple[Seen, int]:
    """Record launches and cancellations that are not in the log; return how far, and how many.

    Raises:
        StorageError: The log cannot be reached, or refuses.
    """
    created, new = seen.created, 0
    for records in _pages(instance, seen.created - LOOKS_BACK):
        known = log.subjects(Action.RUN_LAUNCHED, [page.dagster_run.run_id for page in records])
        for record in records:
            run = record.dagster_run
            created = max(created, record.create_timestamp)
            if run.run_id not in known:
                for deed in launched(run.run_id, run.job_name, run.tags):
                    new += log.append_once(deed)
    event = seen.event
    for records in _cancellations(instance, max(seen.event - EVENTS_BACK, 0)):
        run_ids = [record.event_log_entry.run_id for record in records]
        known = log.subjects(Action.RUN_CANCELLED, run_ids)
        for record in records:
            event = max(event, record.storage_id)
            if record.event_log_entry.run_id not in known:
                new += log.append_once(_cancelled(instance, record))
    return Seen(created=created, event=event), new


def from_now_on(instance: dg.DagsterInstance, now: datetime) -> Seen:
    """Return where a sensor without a cursor begins: at this moment."""
    newest = instance.fetch_run_status_changes(
        dg.RunStatusChangeRecordsFilter(event_type=dg.DagsterEventType.RUN_CANCELED), limit=1
    ).records
    return Seen(created=now, event=newest[0].storage_id if newest else 0)


def _pages(instance: dg.DagsterInstance, after: datetime) -> Iterator[list[dg.RunRecord]]:
    created_since, cursor = dg.RunsFilter(created_after=after), None
    while records := instance.get_run_records(
        created_since, limit=RUNS_AT_A_TIME, ascending=True, cursor=cursor
    ):
        yield list(records)
        cursor = records[-1].dagster_run.run_id


def _cancellations(instance: dg.DagsterInstance, after: int) -> Iterator[list[dg.EventLogRecord]]:
    while records := instance.fetch_run_status_changes(
        dg.RunStatusChangeRecordsFilter(
            event_type=dg.DagsterEventType.RUN_CANCELED, after_storage_id=after
        ),
        limit=RUNS_AT_A_TIME,
        ascending=True,
    ).records:
        yield list(records)
        after = records[-1].storage_id


def _cancelled(instance: dg.DagsterInstance, record: dg.EventLogRecord) -> Deed:
    entry = record.event_log_entry
    run = instance.get_run_by_id(entry.run_id)
    return Deed(
        action=Action.RUN_CANCELLED,
        who=UNKNOWN,
        origin="Dagster",
        subject=entry.run_id,
        details={
            "job": run.job_name if run else entry.job_name,
            "cancelled_at": utc(record.timestamp).isoformat(),
            "reason": entry.dagster_event.message if entry.dagster_event else entry.user_message,
        },
    )


def _who(tags: Mapping[str, str]) -> str:
    if _RETRY_TAG in tags:
        return "Dagster, as a retry"
    if starter := starter_of(tags):
        return starter
    if _AUTOMATION_TAG in tags:
        return "Dagster, by an automation condition"
    return tags.get(USER_TAG) or UNKNOWN


def _origin(tags: Mapping[str, str]) -> str:
    """Return from where a run was launched; empty means this process."""
    if tags.get(STARTED_BY) == BY_COMMAND:
        return ""
    return tags.get(CLIENT_TAG) or "Dagster"
