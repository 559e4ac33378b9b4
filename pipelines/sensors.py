"""Sensors: runs that an event starts, not the clock.

Here: which assets follow a load, when dead letters are retried, when a run counts as lost, and
when aggregates have waited too long. Not here: the automation conditions, which the assets
declare, the rules of letters (retries.py, run_failures.py), or schedules (schedules.py).
https://docs.dagster.io/guides/automate/sensors
"""

import socket
from datetime import UTC, datetime, timedelta

import dagster as dg
from dagster import sensor  # pyright: ignore[reportUnknownVariableType] Dagster leaves a part of its type open

from assets.datasets import REFRESHES, LoadRunConfig
from marketdata.batches import DAILY_BARS_DATASET
from marketdata.calendars import NEW_YORK_ZONE, utc_now
from marketdata.recovery import errors
from marketdata.recovery.dead_letters import LETTER_RETRY
from pipelines import jobs, retries, run_failures, workers
from pipelines.jobs import DERIVED, INTRADAY
from pipelines.recovery_hold import reason_to_wait
from resources import opening
from resources.settings import provider_of, read_settings
from resources.storage.aggregates import SourceTable

FAILURES_PER_TICK = 100

NOT_FINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]
"""Statuses of runs that wait or work."""
AGGREGATES_WAIT = timedelta(minutes=2)
"""Longer than a run needs from its last load to its refresh."""
REFRESH_LASTS = timedelta(minutes=30)
"""A run that was requested longer ago counts as lost."""
TRIED_AGAIN = timedelta(minutes=5)

derived_after_loads = dg.AutomationConditionSensorDefinition(
    "derived_after_loads",
    # Every asset with an automation condition: for one that no sensor of ours targets, Dagster
    # makes a sensor of its own, which is off.
    target=DERIVED | INTRADAY,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Table and aggregates, after a backfill that did not include them.",
)


@sensor(
    jobs=list(jobs.ALL),
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Due dead letters: a few runs that do their work again.",
)
def dead_letter_retries(
    context: dg.SensorEvaluationContext,
) -> list[dg.RunRequest] | dg.SkipReason:
    """Settle the claims whose runs have ended, then claim due letters.

    If the daemon dies between claim and launch, nothing is lost: the claim expires and is given
    back.
    """
    held = reason_to_wait()
    if held:
        return dg.SkipReason(held)
    by = f"sensor {context.sensor_name} on {socket.gethostname()}"
    try:
        with opening.stores(read_settings()) as stores:
            retries.settle_ended(context.instance, stores.dead_letters, by)
            due = retries.claim_due(stores.dead_letters, by)
    except errors.MarketDataError as error:
        return dg.SkipReason(f"dead letters cannot be read: {error}")
    if not due:
        return dg.SkipReason("no dead letter is due")
    return [retry.request() for retry in due]


@sensor(
    minimum_interval_seconds=15,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Ends runs whose worker is gone; posts dead letters for failed runs of lost work.",
)
def lost_runs(context: dg.SensorEvaluationContext) -> dg.SkipReason | dg.SensorResult:
    """End runs without a worker; look at all runs that failed since the last tick.

    Not a run_failure_sensor: that moves on when its function fails, so a run that died with the
    database would be forgotten. Here the cursor waits until the letter is posted.
    """
    workers.try_end_lost(context.instance)
    if context.cursor is None:
        newest = _failures(context, after=None)
        cursor = str(newest[0].storage_id if newest else 0)
        return dg.SensorResult(cursor=cursor, skip_reason="from now on every failed run is seen")
    after, posted = int(context.cursor), 0
    try:
        with opening.stores(read_settings()) as stores:
            for record in _failures(context, after=after):
                run = context.instance.get_run_by_id(record.event_log_entry.run_id)
                failed_at = run_failures.utc(record.timestamp)
                if run and run_failures.is_undecided(context.instance, run, failed_at, utc_now()):
                    break
                letter = run and run_failures.lost_work(context.instance, run, failed_at)
                if letter:
                    by = f"sensor {context.sensor_name} on {socket.gethostname()}"
                    stores.dead_letters.post([letter], LETTER_RETRY, by)
                    posted += 1
                after = record.storage_id
    except errors.MarketDataError as error:
        skipped = f"lost runs cannot be recorded: {error}"
        return dg.SensorResult(cursor=str(after), skip_reason=skipped)
    return dg.SensorResult(cursor=str(after), skip_reason=f"{posted} dead letters posted")


@sensor(
    job=jobs.DATASET_JOBS[DAILY_BARS_DATASET],
    minimum_interval_seconds=600,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Fetches histories again that a provider re-based after a split.",
)
def rebased_histories(
    context: dg.SensorEvaluationContext,
) -> dg.RunRequest | dg.SkipReason:
    """Ask for the whole history of the tickers that split since it was fetched.

    The run key holds the day: a ticker whose provider is late is asked for once a day.
    """
    del context
    held = reason_to_wait()
    if held:
        return dg.SkipReason(held)
    today = utc_now().astimezone(NEW_YORK_ZONE).date()
    try:
        with opening.stores(read_settings()) as stores:
            ids = stores.adjusted_bars.rebased(today)
            provider = provider_of(DAILY_BARS_DATASET)
            listed = stores.instruments.listed(provider, ids, today)
    except errors.MarketDataError as error:
        return dg.SkipReason(f"re-based histories cannot be looked up: {error}")
    if not listed:
        return dg.SkipReason("no history was re-based since it was fetched")
    tickers = [instrument.ticker for instrument in listed]
    config = LoadRunConfig(symbols=tickers, only_missing=False).model_dump(exclude_unset=True)
    return dg.RunRequest(
        run_key=f"rebased {today} {' '.join(tickers)}",
        run_config={"ops": {REFRESHES[DAILY_BARS_DATASET].node_def.name: {"config": config}}},
    )


@sensor(
    job=jobs.derived_job,
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Refreshes aggregates whose loading run ended before it refreshed them.",
)
def waiting_aggregates(context: dg.SensorEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    """Ask for a refresh of aggregates that have waited too long.

    A run that loads refreshes them at its end. They wait longer if the run was killed, or loads
    for hours. The run key changes every five minutes, so that a failed refresh is retried.
    """
    held = reason_to_wait()
    if held:
        return dg.SkipReason(held)
    now = utc_now()
    try:
        with opening.stores(read_settings()) as stores:
            since = [stores.aggregates.waiting_since(source) for source in SourceTable]
    except errors.MarketDataError as error:
        return dg.SkipReason(f"waiting aggregates cannot be looked up: {error}")
    oldest = min((moment for moment in since if moment is not None), default=now)
    if now - oldest < AGGREGATES_WAIT:
        return dg.SkipReason("no aggregate waits too long")
    at_work = dg.RunsFilter(
        job_name=jobs.derived_job.name,
        statuses=NOT_FINISHED,
        created_after=now - REFRESH_LASTS,
    )
    if context.instance.get_runs_count(at_work):
        return dg.SkipReason(f"aggregates wait since {oldest:%H:%M:%S}, and a run refreshes them")
    slot = now - (now - datetime.min.replace(tzinfo=UTC)) % TRIED_AGAIN
    return dg.RunRequest(run_key=f"{context.sensor_name} {slot:%Y-%m-%dT%H:%M}")


def _failures(context: dg.SensorEvaluationContext, *, after: int | None) -> list[dg.EventLogRecord]:
    """Return failures of runs after a record, oldest first; with None, only the newest one."""
    record_filter = dg.RunStatusChangeRecordsFilter(
        event_type=dg.DagsterEventType.RUN_FAILURE, after_storage_id=after
    )
    return list(
        context.instance.fetch_run_status_changes(
            record_filter,
            limit=1 if after is None else FAILURES_PER_TICK,
            ascending=after is not None,
        ).records
    )


ALL = (
    derived_after_loads,
    dead_letter_retries,
    lost_runs,
    rebased_histories,
    waiting_aggregates,
)
"""Every sensor."""
