"""Schedules: when jobs run.

Here: the clock, in New York time, and the partition that each tick asks for. Not here: what
the jobs hold (jobs.py).
https://docs.dagster.io/guides/automate/schedules

All of them are on once the daemon runs: a pipeline that waits for somebody to switch it on is
one that nobody notices missing.
"""

import dagster as dg

from assets.partitions import MONTHS
from marketdata.calendars import NEW_YORK_ZONE, calendar
from marketdata.recovery.limits import Lane
from pipelines.jobs import archive_job, daily_prices_job, price_backfill_job, universe_job
from resources.wiring import LANE_TAG

NEW_YORK = str(NEW_YORK_ZONE)
AS_SCHEDULED = {LANE_TAG: Lane.SCHEDULED.value}
"""Scheduled runs are served by the request budget before backfills."""


@dg.schedule(
    job=daily_prices_job,
    cron_schedule="30 18 * * 1-5",
    execution_timezone=NEW_YORK,
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Each session's bars, two and a half hours after the regular close.",
)
def daily_prices_after_close(
    context: dg.ScheduleEvaluationContext,
) -> dg.RunRequest | dg.SkipReason:
    """Ask for today's session, on half days too; on closed days say why there is nothing."""
    today = context.scheduled_execution_time.astimezone(NEW_YORK_ZONE).date()
    if not calendar().is_session(today):
        return dg.SkipReason(f"{today} is no session of the New York exchanges")
    return dg.RunRequest(
        run_key=f"daily-prices-{today}", partition_key=today.isoformat(), tags=AS_SCHEDULED
    )


universe_weekly = dg.ScheduleDefinition(
    name="universe_weekly",
    job=universe_job,
    tags=AS_SCHEDULED,
    cron_schedule="0 8 * * 6",
    execution_timezone=NEW_YORK,
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Constituents, on Saturday morning.",
)

price_gaps_weekly = dg.ScheduleDefinition(
    name="price_gaps_weekly",
    job=price_backfill_job,
    tags=AS_SCHEDULED,
    cron_schedule="0 9 * * 6",
    execution_timezone=NEW_YORK,
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Histories of the tickers whose coverage has holes, after the universe's run.",
)


@dg.schedule(
    job=archive_job,
    cron_schedule="0 6 3 * *",
    execution_timezone=NEW_YORK,
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="All closed months, on the third of the month.",
)
def archive_monthly(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    """Ask for every closed month in one run: months that did not change upload nothing.

    So a month that was restated after it was archived is replaced without anyone noticing
    that it has to be.
    """
    months = MONTHS.get_partition_keys(current_time=context.scheduled_execution_time)
    if not months:
        return dg.SkipReason("no month has closed yet")
    return dg.RunRequest(
        run_key=f"archive-{months[-1]}",
        tags={
            "dagster/asset_partition_range_start": months[0],
            "dagster/asset_partition_range_end": months[-1],
        },
    )
