"""Sensors that tell people: one message for each run that failed for good, one for parked letters.

Here: when a message is sent, and what makes it be sent once. Not here: the texts
(alert_messages.py), or alerts that follow from metrics (monitoring/).

A message that is not delivered is sent again in the next tick, since the cursor stays; nothing of
the pipeline waits for it. If the daemon dies between a message and its cursor, it is sent twice.
"""

import json
from dataclasses import dataclass
from datetime import datetime, timedelta

import dagster as dg
from dagster import sensor  # pyright: ignore[reportUnknownVariableType] Dagster leaves a part of its type open

from marketdata.calendars import utc_now
from marketdata.recovery import errors
from pipelines import alert_messages, run_failures
from resources import alert_webhook, opening
from resources.settings import read_settings

NOT_SET = "WRDATA_ALERT_WEBHOOK_URL is not set: nobody is told"
TELLS_NOBODY = "nobody is told"
"""Cursor without a webhook: once there is one, it begins with what comes then. Dagster keeps the
last cursor where a tick returns an empty one."""
PARKED_LATE = timedelta(minutes=15)
"""Longer than a transaction that parks letters may take: its steps show when it commits."""


@sensor(
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Tells people of each run that failed and that Dagster does not repeat.",
)
def failed_run_messages(context: dg.SensorEvaluationContext) -> dg.SensorResult:
    """Send a message for each run that failed for good since the last tick, oldest first."""
    try:
        url = read_settings().alert_webhook_url
    except errors.MarketDataError as error:
        return dg.SensorResult(cursor=context.cursor, skip_reason=str(error))
    if url is None:
        return dg.SensorResult(cursor=TELLS_NOBODY, skip_reason=NOT_SET)
    if not _has_begun(context):
        newest = run_failures.newest_failure(context.instance)
        return dg.SensorResult(
            cursor=str(newest), skip_reason="from now on every failed run is told"
        )
    after, sent = int(context.cursor or 0), 0
    for record in run_failures.failures_after(context.instance, after):
        run = context.instance.get_run_by_id(record.event_log_entry.run_id)
        failed_at = run_failures.utc(record.timestamp)
        if run and run_failures.is_undecided(context.instance, run, failed_at, utc_now()):
            break
        message = run and alert_messages.about_run(context.instance, run)
        if message:
            try:
                alert_webhook.send(url, message)
            except errors.ProviderError as error:
                return dg.SensorResult(cursor=str(after), skip_reason=str(error))
            sent += 1
        after = record.storage_id
    return dg.SensorResult(cursor=str(after), skip_reason=f"{sent} failed runs told")


@sensor(
    minimum_interval_seconds=60,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Tells people of dead letters that no machine tries again, all in one message.",
)
def parked_letter_messages(context: dg.SensorEvaluationContext) -> dg.SensorResult:
    """Send one message about all letters that were parked since the last tick."""
    now = utc_now()
    try:
        settings = read_settings()
        if settings.alert_webhook_url is None:
            return dg.SensorResult(cursor=TELLS_NOBODY, skip_reason=NOT_SET)
        begun = _has_begun(context)
        told = _Told.read(context.cursor or "") if begun else _Told(since=now - PARKED_LATE)
        with opening.stores(settings) as stores:
            parked = stores.dead_letters.parked_since(told.since)
        fresh = [letter for letter in parked if letter.transition_id not in told.transitions]
        if fresh and begun:
            alert_webhook.send(settings.alert_webhook_url, alert_messages.about_letters(fresh))
    except errors.MarketDataError as error:
        return dg.SensorResult(cursor=context.cursor, skip_reason=str(error))
    since = now - PARKED_LATE
    recent = frozenset(letter.transition_id for letter in parked if letter.at > since)
    said = f"{len(fresh)} parked letters told" if begun else "from now on letters are told"
    return dg.SensorResult(
        cursor=_Told(since=since, transitions=recent).written(), skip_reason=said
    )


def _has_begun(context: dg.SensorEvaluationContext) -> bool:
    return context.cursor not in {None, TELLS_NOBODY}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Told:
    """What people know of parked letters: the cursor.

    Transitions are numbered before they can be seen, so a number says nothing about later ones:
    those of the last minutes are looked at again, and the known ones left out.

    Attributes:
        since: All earlier transitions are told (aware UTC).
        transitions: Those since then that are told as well.
    """

    since: datetime
    transitions: frozenset[int] = frozenset()

    @classmethod
    def read(cls, cursor: str) -> "_Told":
        """Read a cursor."""
        content = json.loads(cursor)
        return cls(
            since=datetime.fromisoformat(content["since"]),
            transitions=frozenset(content["transitions"]),
        )

    def written(self) -> str:
        """Return the cursor."""
        return json.dumps(
            {"since": self.since.isoformat(), "transitions": sorted(self.transitions)}
        )


ALL = (failed_run_messages, parked_letter_messages)
"""Both sensors."""
