"""Schedules: when jobs run.

Here: the clock, in New York time, and the partition that each tick asks for. Not here: what
the jobs hold (jobs.py).
https://docs.dagster.io/guides/automate/schedules

All of them are on once the daemon runs: nobody would notice a schedule that was never switched on.
None starts anything while a restored database is on hold (recovery_hold.py).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial

import dagster as dg
from dagster import schedule  # pyright: ignore[reportUnknownVariableType] Dagster leaves a part of its type open

from assets import datasets
from marketdata.batches import DAILY_BARS_DATASET
from marketdata.calendars import NEW_YORK_ZONE, calendar
from marketdata.coverage import SESSIONS_ASKED_AGAIN
from marketdata.recovery.limits import Lane
from pipelines import observation
from pipelines.dagster_internals import UnresolvedAssetJobDefinition
from pipelines.jobs import (
    BY_SESSION_JOBS,
    DATASET_JOBS,
    aggregate_verification_job,
    archive_job,
    archive_upkeep_job,
    archive_verification_job,
    audit_job,
    corporate_actions_job,
    database_upkeep_job,
    fundamentals_job,
    reference_job,
    restore_drill_job,
    retention_job,
    universe_job,
)
from pipelines.recovery_hold import nothing_held
from resources.clients import missing_key
from resources.settings import SessionRoute, provider_of, read_settings, route_of, route_variable
from resources.wiring import LANE_TAG

NEW_YORK = str(NEW_YORK_ZONE)
AS_SCHEDULED = {LANE_TAG: Lane.SCHEDULED.value}
"""Tags of scheduled runs: the request budget serves them before backfills."""


_schedule = partial(
    schedule,
    execution_timezone=NEW_YORK,
    default_status=dg.DefaultScheduleStatus.RUNNING,
    should_execute=nothing_held,
)
"""What all schedules share; the decorator of those that look before they ask for a run."""


def _of_job(
    name: str, job: UnresolvedAssetJobDefinition, cron: str, about: str, *, loads: bool = False
) -> dg.ScheduleDefinition:
    """Return a schedule that always asks for a run, with those of loads before backfills."""
    return dg.ScheduleDefinition(
        name=name,
        job=job,
        cron_schedule=cron,
        description=about,
        tags_fn=lambda _: _as_scheduled(name) if loads else observation.tags_of_tick(name),
        execution_timezone=NEW_YORK,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        should_execute=nothing_held,
    )


def _as_scheduled(name: str) -> Mapping[str, str]:
    """Return the tags of the runs that a tick of this schedule asks for, before backfills."""
    return AS_SCHEDULED | observation.tags_of_tick(name)


@_schedule(
    job=BY_SESSION_JOBS[DAILY_BARS_DATASET],
    cron_schedule="30 18 * * 1-5",
    description="Each session's bars, two and a half hours after the regular close.",
)
def daily_bars_after_close(
    context: dg.ScheduleEvaluationContext,
) -> dg.RunRequest | dg.SkipReason:
    """Ask for today's session, on half days too; skip closed days with a reason."""
    today = context.scheduled_execution_time.astimezone(NEW_YORK_ZONE).date()
    if not calendar().is_session(today):
        return dg.SkipReason(f"{today} is no session of the New York exchanges")
    return dg.RunRequest(
        run_key=f"daily-bars-{today}",
        partition_key=today.isoformat(),
        tags=_as_scheduled("daily_bars_after_close"),
    )


def _again(context: dg.ScheduleEvaluationContext, route: SessionRoute) -> dg.SkipReason | None:
    """Return why this route does not ask for the latest sessions again now, or None."""
    today = context.scheduled_execution_time.astimezone(NEW_YORK_ZONE).date()
    if not calendar().is_session(today):
        return dg.SkipReason(f"{today} is no business day of the New York exchanges")
    if route_of(DAILY_BARS_DATASET) is not route:
        return dg.SkipReason(f"{route_variable(DAILY_BARS_DATASET)} is not {route}")
    return None


@_schedule(
    job=BY_SESSION_JOBS[DAILY_BARS_DATASET],
    cron_schedule="45 8 * * 1-5",
    description="The last five sessions again, one request each: corrections of the night.",
)
def daily_bars_again_by_session(
    context: dg.ScheduleEvaluationContext,
) -> dg.RunRequest | dg.SkipReason:
    """Ask for one run over the latest sessions, if the provider's plan serves whole days."""
    skipped = _again(context, SessionRoute.BULK)
    if skipped:
        return skipped
    last = calendar().last_closed(context.scheduled_execution_time)
    sessions = calendar().sessions(last - timedelta(days=30), last)[-SESSIONS_ASKED_AGAIN:]
    return dg.RunRequest(
        run_key=f"daily-bars-again-by-session-{last}",
        tags={
            **_as_scheduled("daily_bars_again_by_session"),
            "dagster/asset_partition_range_start": sessions[0].isoformat(),
            "dagster/asset_partition_range_end": sessions[-1].isoformat(),
        },
    )


@_schedule(
    job=DATASET_JOBS[DAILY_BARS_DATASET],
    cron_schedule="45 8 * * 1-5",
    description="The last five sessions again, one request a ticker: corrections of the night.",
)
def daily_bars_again_by_ticker(
    context: dg.ScheduleEvaluationContext,
) -> dg.RunRequest | dg.SkipReason:
    """Ask for one run over all members, if the provider's plan serves no whole days."""
    skipped = _again(context, SessionRoute.PER_TICKER)
    if skipped:
        return skipped
    config = {"again": True}
    return dg.RunRequest(
        run_key=f"daily-bars-again-by-ticker-{context.scheduled_execution_time:%Y-%m-%d}",
        run_config={
            "ops": {datasets.REFRESHES[DAILY_BARS_DATASET].node_def.name: {"config": config}}
        },
        tags=_as_scheduled("daily_bars_again_by_ticker"),
    )


universe_weekly = _of_job(
    "universe_weekly",
    universe_job,
    "0 8 * * 6",
    "Constituents, on Saturday morning.",
    loads=True,
)

daily_bars_gaps_weekly = _of_job(
    "daily_bars_gaps_weekly",
    DATASET_JOBS[DAILY_BARS_DATASET],
    "0 9 * * 6",
    "Histories of the tickers whose coverage has holes, after the universe's run.",
    loads=True,
)


archive_monthly = _of_job(
    "archive_monthly",
    archive_job,
    "0 6 3 * *",
    # All periods each month: one that was restated after it was archived is replaced.
    "All closed periods of all datasets: unchanged ones upload nothing.",
)

archive_verified_monthly = _of_job(
    "archive_verified_monthly",
    archive_verification_job,
    "0 6 4 * *",
    "The whole archive, read back from the bucket, on the day after it was written.",
)


@_schedule(
    job=retention_job,
    cron_schedule="0 7 * * 0",
    description="Rows older than WRDATA_RETENTION leave the database, on Sunday morning.",
)
def retention_weekly(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    """Ask for a run if a dataset has an age; otherwise all rows stay."""
    if not read_settings().retention:
        return dg.SkipReason("WRDATA_RETENTION names no dataset: all rows stay")
    return dg.RunRequest(
        run_key=f"retention-{context.scheduled_execution_time:%Y-%m-%d}",
        tags=observation.tags_of_tick("retention_weekly"),
    )


archive_upkeep_weekly = _of_job(
    "archive_upkeep_weekly",
    archive_upkeep_job,
    "0 9 * * 0",
    "Files that the archive no longer needs, on Sunday after retention.",
)

database_upkeep_weekly = _of_job(
    "database_upkeep_weekly",
    database_upkeep_job,
    "0 8 * * 0",
    "Dagster's events and runs older than 90 days, on Sunday; sizes of all that grows.",
)

audit_daily = _of_job(
    "audit_daily",
    audit_job,
    "0 5 * * *",
    "The audit log's chain verified, and its last row anchored.",
)


@_schedule(
    job=restore_drill_job,
    cron_schedule="0 10 * * 0",
    description="The newest backup restored on trial, on Sunday after the upkeep.",
)
def restore_drill_weekly(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    """Ask for a drill if this project takes the backups."""
    if read_settings().backup_config is None:
        return dg.SkipReason("WRDATA_BACKUP_CONFIG is not set: there are no backups of ours")
    return dg.RunRequest(
        run_key=f"restore-drill-{context.scheduled_execution_time:%Y-%m-%d}",
        tags=observation.tags_of_tick("restore_drill_weekly"),
    )


aggregates_verified_daily = _of_job(
    "aggregates_verified_daily",
    aggregate_verification_job,
    "0 4 * * *",
    "A sample of all aggregates compared with their source, after the night's minutes.",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Refresh:
    """When datasets are refreshed, in New York time.

    Attributes:
        config: Configuration of each dataset's run, if not the default one.
        again: Suffix that names a further schedule of the same job.
    """

    job: UnresolvedAssetJobDefinition
    datasets: tuple[str, ...]
    cron: str
    about: str
    config: Mapping[str, object] = field(default_factory=dict[str, object])
    again: str = ""

    @property
    def name(self) -> str:
        """The schedule's name."""
        return f"{self.job.name}_refresh{self.again}"


_SCHEDULED_REFRESHES = (
    Refresh(
        job=fundamentals_job,
        datasets=("income_statements", "balance_sheets", "cash_flows", "ratios"),
        cron="0 10 * * 6",
        about="Statements and ratios of every member, on Saturday morning.",
    ),
    Refresh(
        job=reference_job,
        datasets=("companies", "index_changes"),
        cron="30 8 * * 6",
        about="Companies and changes of the index, on Saturday morning.",
    ),
    Refresh(
        job=corporate_actions_job,
        datasets=("splits", "dividends"),
        cron="0 6 * * 1-5",
        about="Splits and dividends announced since the last time, before the open.",
        config={"bulk_refresh": True},
    ),
    Refresh(
        job=corporate_actions_job,
        datasets=("splits", "dividends"),
        cron="0 11 * * 6",
        about="Splits and dividends by name: what the provider moved or withdrew meanwhile.",
        config={"only_missing": False},
        again="_by_name",
    ),
    Refresh(
        job=DATASET_JOBS["minute_bars"],
        datasets=("minute_bars",),
        # After-hours trading ends at 20:00, and a day's bars are settled an hour after midnight.
        cron="15 1 * * 2-6",
        about="The last session's minutes of every member, in the night after it.",
    ),
    Refresh(
        job=DATASET_JOBS["minute_bars"],
        datasets=("minute_bars",),
        cron="45 8 * * 1-5",
        about="The last session's minutes of every member once more: corrections of the night.",
        config={"again": True},
        again="_again",
    ),
    Refresh(
        job=DATASET_JOBS["macro_observations"],
        datasets=("macro_observations",),
        cron="30 10 * * 1-5",
        about="New vintages of the series that have changed, after the morning's releases.",
        config={"bulk_refresh": True},
    ),
    Refresh(
        job=DATASET_JOBS["crypto_bars"],
        datasets=("crypto_bars",),
        cron="5 * * * *",
        about="The last hour's minutes of every pair.",
    ),
    Refresh(
        job=DATASET_JOBS["crypto_bars"],
        datasets=("crypto_bars",),
        cron="45 8 * * *",
        about="Yesterday's minutes of every pair once more: the venue's file, or its corrections.",
        config={"again": True},
        again="_again",
    ),
)


def _refresh_schedule(refresh: Refresh) -> dg.ScheduleDefinition:
    name = refresh.name

    @_schedule(
        name=name,
        job=refresh.job,
        cron_schedule=refresh.cron,
        description=refresh.about,
    )
    def refreshed(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        """Ask for a refresh; skip it if the provider has no key here."""
        settings = read_settings()
        for dataset in refresh.datasets:
            reason = missing_key(settings, provider_of(dataset))
            if reason:
                return dg.SkipReason(reason)
        ops = {
            datasets.REFRESHES[dataset].node_def.name: {"config": dict(refresh.config)}
            for dataset in refresh.datasets
        }
        at = context.scheduled_execution_time
        return dg.RunRequest(
            run_key=f"{name}-{at:%Y-%m-%dT%H:%M}",
            run_config={"ops": ops} if refresh.config else None,
            tags=_as_scheduled(name),
        )

    return refreshed


REFRESH_SCHEDULES = {_refresh_schedule(refresh): refresh for refresh in _SCHEDULED_REFRESHES}
"""The schedules of the catalogue's datasets."""

ALL = (
    daily_bars_after_close,
    daily_bars_again_by_session,
    daily_bars_again_by_ticker,
    universe_weekly,
    daily_bars_gaps_weekly,
    archive_monthly,
    archive_verified_monthly,
    retention_weekly,
    archive_upkeep_weekly,
    database_upkeep_weekly,
    audit_daily,
    restore_drill_weekly,
    aggregates_verified_daily,
    *REFRESH_SCHEDULES,
)
"""Every schedule."""
