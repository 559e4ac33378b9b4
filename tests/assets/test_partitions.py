"""Facts about the partitions definitions."""

from datetime import date, datetime

import pytest

from assets.partitions import MONTHS, TRADING_DAYS, YEARS
from marketdata.archiving import ARCHIVED
from marketdata.calendars import HISTORY_START, NEW_YORK_ZONE, calendar

SATURDAY = datetime(2026, 11, 21, 12, tzinfo=NEW_YORK_ZONE)
TODAY = SATURDAY.date()


def test_trading_day_keys_are_exactly_the_sessions_of_the_exchange() -> None:
    """Ten years of keys equal ten years of the calendar: closures missing, half days there."""
    keys = TRADING_DAYS.get_partition_keys(current_time=SATURDAY)

    sessions = calendar().sessions(HISTORY_START, date(2026, 11, 20))
    assert [day.isoformat() for day in sessions] == list(keys)


def test_holidays_of_the_years_that_a_code_server_lives_through_have_no_key() -> None:
    """Definitions are loaded once, and a server may be years old."""
    later = datetime(2036, 12, 31, 12, tzinfo=NEW_YORK_ZONE)
    keys = TRADING_DAYS.get_partition_keys(current_time=later)

    sessions = calendar(years_ahead=10).sessions(HISTORY_START, later.date())
    assert [day.isoformat() for day in sessions] == list(keys)
    assert "2035-07-04" not in keys


@pytest.mark.parametrize(
    ("day", "is_key"),
    [
        pytest.param("2025-01-09", False, id="national day of mourning"),
        pytest.param("2018-12-05", False, id="funeral of a president"),
        pytest.param("2024-11-29", True, id="half day after Thanksgiving"),
        pytest.param("2024-07-04", False, id="Independence Day"),
        pytest.param("2024-07-06", False, id="a Saturday"),
    ],
)
def test_unusual_days_are_keys_only_if_the_exchange_traded(day: str, is_key: bool) -> None:
    """Ad-hoc closures have no key, half days have one."""
    assert is_key == (day in TRADING_DAYS.get_partition_keys(current_time=SATURDAY))


def test_a_session_has_its_key_on_its_own_evening() -> None:
    """The schedule of the same evening can ask for the day's partition."""
    evening = datetime(2026, 11, 20, 18, 30, tzinfo=NEW_YORK_ZONE)

    assert "2026-11-20" == list(TRADING_DAYS.get_partition_keys(current_time=evening))[-1]


def test_only_closed_months_have_a_key() -> None:
    """On the last day of a month its key is not there; on the next day it is."""
    last_day = datetime(2026, 10, 31, 23, tzinfo=NEW_YORK_ZONE)
    next_day = datetime(2026, 11, 1, 1, tzinfo=NEW_YORK_ZONE)

    assert "2026-09" == list(MONTHS.get_partition_keys(current_time=last_day))[-1]
    assert "2026-10" == list(MONTHS.get_partition_keys(current_time=next_day))[-1]


def test_every_closed_period_of_the_archive_has_a_key_and_a_month_no_other() -> None:
    """Partitions and the archive's own labels are spelt alike; a year has its key all along."""
    months = [
        closed_period.label
        for closed_period in ARCHIVED["minute_bars"].closed_periods(HISTORY_START, TODAY)
    ]
    years = [
        closed_period.label
        for closed_period in ARCHIVED["daily_bars"].closed_periods(HISTORY_START, TODAY)
    ]

    assert list(MONTHS.get_partition_keys(current_time=SATURDAY)) == months
    assert list(YEARS.get_partition_keys(current_time=SATURDAY)) == years
