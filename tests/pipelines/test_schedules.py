"""Facts about what each schedule asks for, and when."""

from datetime import datetime

import dagster as dg
import pytest

from marketdata.calendars import NEW_YORK_ZONE
from marketdata.recovery.limits import Lane
from pipelines.definitions import definitions
from pipelines.schedules import (
    archive_monthly,
    daily_prices_after_close,
    price_gaps_weekly,
    universe_weekly,
)
from resources.wiring import LANE_TAG


def _tick(when: str) -> dg.ScheduleEvaluationContext:
    moment = datetime.fromisoformat(when).replace(tzinfo=NEW_YORK_ZONE)
    return dg.build_schedule_context(scheduled_execution_time=moment)


@pytest.mark.parametrize(
    ("when", "partition"),
    [
        pytest.param("2026-11-20T18:30", "2026-11-20", id="a Friday asks for that Friday"),
        pytest.param("2026-11-23T18:30", "2026-11-23", id="a Monday asks for that Monday"),
        pytest.param("2024-11-29T18:30", "2024-11-29", id="a half day"),
        pytest.param("2026-03-09T18:30", "2026-03-09", id="the day after clocks went forward"),
    ],
)
def test_the_daily_schedule_asks_for_the_session_that_closed_today(
    when: str, partition: str
) -> None:
    """The evening's run loads the day's own partition, not the previous one."""
    request = daily_prices_after_close(_tick(when))

    assert isinstance(request, dg.RunRequest)
    assert request.partition_key == partition


@pytest.mark.parametrize("when", ["2026-11-26T18:30", "2025-01-09T18:30"])
def test_the_daily_schedule_skips_closed_weekdays_and_says_so(when: str) -> None:
    """Thanksgiving and an ad-hoc closure are no sessions."""
    skipped = daily_prices_after_close(_tick(when))

    assert isinstance(skipped, dg.SkipReason)
    assert "no session" in (skipped.skip_message or "")


def test_the_monthly_schedule_asks_for_every_closed_month_in_one_run() -> None:
    """From the first month kept to the one that has just closed, as one range."""
    request = archive_monthly(_tick("2026-11-03T06:00"))

    assert isinstance(request, dg.RunRequest)
    assert request.tags["dagster/asset_partition_range_start"] == "2016-01-01"
    assert request.tags["dagster/asset_partition_range_end"] == "2026-10-01"


def test_every_schedule_runs_on_new_york_time_and_is_on() -> None:
    """Daily after the close, weekly for universe and gaps, monthly for the archive."""
    schedules = {one.name: one for one in definitions.schedules or []}

    assert set(schedules) == {
        "daily_prices_after_close",
        "universe_weekly",
        "price_gaps_weekly",
        "archive_monthly",
        "fundamentals_refresh",
        "reference_refresh",
        "corporate_actions_refresh",
        "corporate_actions_refresh_by_name",
        "minute_bars_refresh",
        "macro_observations_refresh",
        "crypto_bars_refresh",
    }
    for one in schedules.values():
        assert isinstance(one, dg.ScheduleDefinition)
        assert one.execution_timezone == "America/New_York"
        assert one.default_status is dg.DefaultScheduleStatus.RUNNING


def test_scheduled_loads_queue_before_backfills() -> None:
    """The lane is a tag of the run: schedules set theirs over the job's."""
    at = _tick("2026-11-20T18:30")
    daily = daily_prices_after_close(at)
    assert isinstance(daily, dg.RunRequest)
    assert daily.tags[LANE_TAG] == Lane.SCHEDULED
    for weekly in (universe_weekly, price_gaps_weekly):
        (request,) = weekly.evaluate_tick(at).run_requests or []
        assert request.tags[LANE_TAG] == Lane.SCHEDULED
    assert definitions.resolve_job_def("price_backfill").tags[LANE_TAG] == Lane.BACKFILL
