"""Facts about what each schedule asks for, and when."""

from datetime import UTC, datetime

import dagster as dg
import pytest

from assets.partitions import TRADING_DAYS
from marketdata import calendars
from marketdata.calendars import NEW_YORK_ZONE
from marketdata.recovery.limits import Lane
from pipelines.definitions import definitions
from pipelines.schedules import (
    archive_monthly,
    archive_verified_monthly,
    daily_bars_after_close,
    daily_bars_again_by_session,
    daily_bars_again_by_ticker,
    daily_bars_gaps_weekly,
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
    request = daily_bars_after_close(_tick(when))

    assert isinstance(request, dg.RunRequest)
    assert request.partition_key == partition


@pytest.mark.parametrize("when", ["2026-11-26T18:30", "2025-01-09T18:30"])
def test_the_daily_schedule_skips_closed_weekdays_and_says_so(when: str) -> None:
    """Thanksgiving and an ad-hoc closure are no sessions."""
    skipped = daily_bars_after_close(_tick(when))

    assert isinstance(skipped, dg.SkipReason)
    assert "no session" in (skipped.skip_message or "")


def test_a_code_server_that_is_years_old_asks_for_the_session_that_closed_today(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A calendar kept from its start would have ended, and every evening been no session."""
    evening = datetime(2029, 3, 5, 18, 30, tzinfo=NEW_YORK_ZONE)
    monkeypatch.setattr(calendars, "utc_now", lambda: evening.astimezone(UTC))

    request = daily_bars_after_close(_tick("2029-03-05T18:30"))
    skipped = daily_bars_after_close(_tick("2029-03-30T18:30"))

    assert isinstance(request, dg.RunRequest)
    assert request.partition_key == "2029-03-05"
    assert request.partition_key in TRADING_DAYS.get_partition_keys(current_time=evening)
    assert isinstance(skipped, dg.SkipReason)


def test_the_archive_follows_the_month_and_is_verified_on_the_next_day() -> None:
    """Without a run config both runs are about everything."""
    assert (archive_monthly.cron_schedule, archive_monthly.job_name) == ("0 6 3 * *", "archive")
    assert archive_verified_monthly.cron_schedule == "0 6 4 * *"
    assert archive_verified_monthly.job_name == "archive_verification"


def test_every_schedule_runs_on_new_york_time_and_is_on() -> None:
    """Daily after the close, weekly for universe and gaps, monthly for the archive."""
    schedules = {schedule.name: schedule for schedule in definitions.schedules or []}

    assert set(schedules) == {
        "daily_bars_after_close",
        "daily_bars_again_by_session",
        "daily_bars_again_by_ticker",
        "universe_weekly",
        "daily_bars_gaps_weekly",
        "archive_monthly",
        "archive_verified_monthly",
        "aggregates_verified_daily",
        "retention_weekly",
        "archive_upkeep_weekly",
        "database_upkeep_weekly",
        "restore_drill_weekly",
        "fundamentals_refresh",
        "reference_refresh",
        "corporate_actions_refresh",
        "corporate_actions_refresh_by_name",
        "minute_bars_refresh",
        "minute_bars_refresh_again",
        "macro_observations_refresh",
        "crypto_bars_refresh",
        "crypto_bars_refresh_again",
    }
    for schedule in schedules.values():
        assert isinstance(schedule, dg.ScheduleDefinition)
        assert schedule.execution_timezone == "America/New_York"
        assert schedule.default_status is dg.DefaultScheduleStatus.RUNNING


def test_scheduled_loads_queue_before_backfills() -> None:
    """The lane is a tag of the run: schedules set theirs over the job's."""
    at = _tick("2026-11-20T18:30")
    daily = daily_bars_after_close(at)
    assert isinstance(daily, dg.RunRequest)
    assert daily.tags[LANE_TAG] == Lane.SCHEDULED
    for weekly in (universe_weekly, daily_bars_gaps_weekly):
        (request,) = weekly.evaluate_tick(at).run_requests or []
        assert request.tags[LANE_TAG] == Lane.SCHEDULED
    assert definitions.resolve_job_def("daily_bars").tags[LANE_TAG] == Lane.BACKFILL


@pytest.fixture
def surroundings(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Settings that can be read, without anything behind them."""
    for name in ("FMP_API_KEY", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "of-nobody")
    monkeypatch.setenv("WRDATA_DATABASE_URL", "postgresql://nobody@127.0.0.1/none")
    monkeypatch.setenv("WRDATA_ARCHIVE_BUCKET", "none")
    return monkeypatch


def test_the_last_five_sessions_are_asked_again_before_the_open_by_the_cheapest_route(
    surroundings: pytest.MonkeyPatch,
) -> None:
    """Five whole days where the plan has them, otherwise one request a ticker; never both."""
    monday = _tick("2026-11-30T08:45")
    surroundings.setenv("WRDATA_DAILY_BARS_ROUTE", "bulk")
    by_day = daily_bars_again_by_session(monday)
    assert isinstance(by_day, dg.RunRequest)
    assert by_day.tags["dagster/asset_partition_range_start"] == "2026-11-20"
    assert by_day.tags["dagster/asset_partition_range_end"] == "2026-11-27"
    assert by_day.tags[LANE_TAG] == Lane.SCHEDULED
    assert isinstance(daily_bars_again_by_ticker(monday), dg.SkipReason)

    surroundings.setenv("WRDATA_DAILY_BARS_ROUTE", "per_ticker")
    by_ticker = daily_bars_again_by_ticker(monday)
    assert isinstance(by_ticker, dg.RunRequest)
    (op,) = by_ticker.run_config["ops"].values()
    assert op == {"config": {"again": True}}
    assert isinstance(daily_bars_again_by_session(monday), dg.SkipReason)


def test_nothing_is_asked_again_on_a_holiday(surroundings: pytest.MonkeyPatch) -> None:
    """Thanksgiving: the next business day's five sessions hold those of before."""
    for schedule, route in (
        (daily_bars_again_by_session, "bulk"),
        (daily_bars_again_by_ticker, "per_ticker"),
    ):
        surroundings.setenv("WRDATA_DAILY_BARS_ROUTE", route)
        skipped = schedule(_tick("2026-11-26T08:45"))
        assert isinstance(skipped, dg.SkipReason)
        assert "no business day" in (skipped.skip_message or "")


def test_minutes_of_shares_and_pairs_are_asked_once_more_in_the_morning() -> None:
    """Of the last session, and of yesterday."""
    crons = {
        schedule.name: schedule.cron_schedule
        for schedule in definitions.schedules or []
        if isinstance(schedule, dg.ScheduleDefinition)
    }
    assert crons["minute_bars_refresh_again"] == "45 8 * * 1-5"
    assert crons["crypto_bars_refresh_again"] == "45 8 * * *"
