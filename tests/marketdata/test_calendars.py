"""Sessions of the New York exchanges, against other sources."""

from datetime import UTC, date, datetime, time, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketdata import calendars
from marketdata.calendars import (
    HISTORY_START,
    NEW_YORK,
    NEW_YORK_ZONE,
    SessionCalendar,
    SessionOverride,
    calendar,
    parse_overrides,
    read_overrides,
    utc_now,
)
from marketdata.recovery import errors

NYSE = calendar()
DAYS = st.dates(NYSE.first, NYSE.last - timedelta(days=30))
HEADER = "exchange,session_date,status,close_local,announced_on,source\n"


@pytest.mark.parametrize(
    "day",
    [
        date(2025, 1, 9),  # mourning for President Carter
        date(2018, 12, 5),  # mourning for President Bush
        date(2012, 10, 29),  # hurricane Sandy
        date(2012, 10, 30),
        date(2024, 3, 29),  # Good Friday
        date(2022, 6, 20),  # Juneteenth, observed
        date(2024, 11, 30),  # a Saturday
    ],
)
def test_no_session_is_expected_on_a_closed_day(day: date) -> None:
    """Unplanned closures of a single day included."""
    assert not NYSE.is_session(day)
    assert NYSE.sessions(day, day) == []
    with pytest.raises(ValueError, match=f"{day} is no session of XNYS"):
        NYSE.close_at(day)


@pytest.mark.parametrize(
    ("day", "local", "utc"),
    [
        (date(2024, 11, 29), time(13), time(18)),  # the day after Thanksgiving
        (date(2024, 12, 24), time(13), time(18)),
        (date(2024, 7, 3), time(13), time(17)),
        (date(2024, 3, 8), time(16), time(21)),  # the last session in winter time
        (date(2024, 3, 11), time(16), time(20)),  # the first in summer time
        (date(2024, 11, 1), time(16), time(20)),
        (date(2024, 11, 4), time(16), time(21)),
    ],
)
def test_a_session_closes_at_its_hour_in_new_york(day: date, local: time, utc: time) -> None:
    """Half days close at one; UTC follows the clock change there."""
    close = NYSE.close_at(day)
    assert close == datetime.combine(day, utc, UTC)
    assert close.tzinfo is UTC
    assert close.astimezone(NEW_YORK_ZONE).time() == local


def test_the_history_kept_begins_with_a_session() -> None:
    """Plans count from it."""
    assert NYSE.is_session(HISTORY_START)
    assert NYSE.first <= HISTORY_START


def test_a_year_has_as_many_sessions_as_it_had() -> None:
    """252 in 2024, 250 in 2025, both ends of the year asked for."""
    assert len(NYSE.sessions(date(2024, 1, 1), date(2024, 12, 31))) == 252
    assert len(NYSE.sessions(date(2025, 1, 1), date(2025, 12, 31))) == 250


@given(DAYS, DAYS)
def test_sessions_are_the_days_that_are_sessions(start: date, end: date) -> None:
    """Both ends included, oldest first, none for a reversed range."""
    days = (start + timedelta(days=on) for on in range((end - start).days + 1))
    assert NYSE.sessions(start, end) == [day for day in days if NYSE.is_session(day)]


@given(DAYS)
def test_the_next_session_is_the_first_one_after_a_day(day: date) -> None:
    """From a session, a weekend or a holiday alike."""
    following = NYSE.next_session(day)
    assert NYSE.sessions(day + timedelta(days=1), following) == [following]


def test_behind_the_calendars_end_no_session_is_made_up() -> None:
    """The error says where the calendar ends."""
    with pytest.raises(ValueError, match=f"ends at {NYSE.last}"):
        NYSE.next_session(NYSE.last)


@given(
    st.datetimes(
        datetime(2006, 1, 4),  # noqa: DTZ001  # hypothesis adds the zone
        datetime(2026, 1, 1),  # noqa: DTZ001
        timezones=st.sampled_from([UTC, NEW_YORK_ZONE]),
    )
)
def test_the_last_closed_session_is_the_latest_whose_close_has_passed(now: datetime) -> None:
    """Whatever zone the time is given in."""
    session = NYSE.last_closed(now)
    assert NYSE.close_at(session) <= now < NYSE.close_at(NYSE.next_session(session))


def test_a_session_counts_as_closed_from_its_very_close_on() -> None:
    """One microsecond before, it is the session before."""
    close = NYSE.close_at(date(2024, 11, 29))
    assert NYSE.last_closed(close) == date(2024, 11, 29)
    assert NYSE.last_closed(close - timedelta(microseconds=1)) == date(2024, 11, 27)


def test_before_the_first_close_no_session_has_closed() -> None:
    """The calendar does not return its last session instead."""
    with pytest.raises(ValueError, match="begins at"):
        NYSE.last_closed(NYSE.close_at(NYSE.first) - timedelta(seconds=1))


def test_a_process_that_lives_for_years_knows_the_sessions_of_its_own_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Which days those are was written down from the exchange's own rules for holidays."""
    assert calendar() is calendar()
    years_later = datetime(2029, 3, 5, 23, 30, tzinfo=UTC)
    monkeypatch.setattr(calendars, "utc_now", lambda: years_later)

    assert calendar() is calendar()
    assert calendar().is_session(date(2029, 3, 5))
    assert calendar().last_closed(years_later) == date(2029, 3, 5)
    assert not calendar().is_session(date(2029, 3, 30))  # Good Friday
    assert calendar().close_at(date(2029, 11, 23)) == datetime(2029, 11, 23, 18, tzinfo=UTC)
    assert calendar().next_session(date(2029, 12, 31)) == date(2030, 1, 2)


def test_closed_weekdays_and_sessions_share_out_all_weekdays() -> None:
    """None is both, none is neither."""
    closed = NYSE.closed_weekdays()
    sessions = NYSE.sessions(NYSE.first, NYSE.last)
    span = range((NYSE.last - NYSE.first).days + 1)
    days = (NYSE.first + timedelta(days=on) for on in span)
    assert sorted(closed + sessions) == [day for day in days if day.weekday() < 5]
    assert date(2025, 1, 9) in closed


def test_announced_changes_override_the_calendar() -> None:
    """A closure, an early close, a special session; those of other exchanges are ignored."""
    rows = (
        "XNYS,2024-11-25,closed,,2024-11-20,x\n"
        "XNYS,2024-11-26,early_close,13:00,2024-11-20,x\n"
        "XNYS,2024-11-30,open,,2024-11-20,x\n"
        "XNYS,2024-11-23,open,12:30,2024-11-20,x\n"
        "XNYS,2024-11-24,closed,,2024-11-20,x\n"
        "XLON,2024-11-27,closed,,2024-11-20,x\n"
    )
    changed = SessionCalendar(NEW_YORK, parse_overrides(HEADER + rows))
    assert changed.sessions(date(2024, 11, 22), date(2024, 11, 30)) == [
        date(2024, 11, 22),
        date(2024, 11, 23),
        date(2024, 11, 26),
        date(2024, 11, 27),
        date(2024, 11, 29),
        date(2024, 11, 30),
    ]
    assert changed.close_at(date(2024, 11, 26)) == datetime(2024, 11, 26, 18, tzinfo=UTC)
    assert changed.close_at(date(2024, 11, 23)) == datetime(2024, 11, 23, 17, 30, tzinfo=UTC)
    assert changed.close_at(date(2024, 11, 30)) == datetime(2024, 11, 30, 21, tzinfo=UTC)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("XNYS,2024-11-25,shut,,,", "unknown status 'shut'"),
        ("XNYS,25.11.2024,closed,,,", "25.11.2024"),
        ("XNYS,2024-11-25,early_close,1 pm,,", "1 pm"),
        ("XNYS,2024-11-25,early_close,,,", "needs its time"),
        ("XNYS,2024-11-25", "status"),
        ("XNYS", "line 3"),
    ],
)
def test_a_row_that_cannot_be_read_is_named_with_its_line_and_the_cure(row: str, said: str) -> None:
    """A typo in this file would move sessions."""
    text = f"{HEADER}XNYS,2024-11-25,closed,,2024-11-20,x\n{row}\n"
    with pytest.raises(errors.ConfigurationError, match=said) as caught:
        parse_overrides(text)
    assert "line 3" in str(caught.value)
    assert "a row is exchange,YYYY-MM-DD" in str(caught.value)


def test_a_file_with_another_header_is_refused() -> None:
    """Columns are known by their names."""
    with pytest.raises(errors.ConfigurationError, match="status"):
        parse_overrides("exchange,day\nXNYS,2024-11-25\n")


def test_the_projects_own_overrides_can_be_read() -> None:
    """The file that is shipped."""
    assert all(isinstance(read_override, SessionOverride) for read_override in read_overrides())


def test_the_present_is_aware() -> None:
    """And in UTC."""
    assert utc_now().tzinfo is UTC


def test_every_session_lies_within_a_day_of_utc_at_quarters_of_an_hour() -> None:
    """Bars of minutes rely on both: no bar holds two phases, and a day of UTC is the session's."""
    quarter = timedelta(minutes=15)
    for day in NYSE.sessions(NYSE.first, NYSE.last):
        hours = NYSE.open_at(day), NYSE.close_at(day)
        assert {at.date() for at in hours} == {day}
        assert all((at - datetime(2000, 1, 1, tzinfo=UTC)) % quarter == timedelta() for at in hours)
        assert hours[0].astimezone(NEW_YORK_ZONE).time() == time(9, 30)


def test_a_session_that_is_added_opens_at_the_usual_time() -> None:
    """An override gives the close; an early close keeps the calendar's open."""
    text = HEADER + "XNYS,2024-11-30,open,,2024-01-01,test\nXNYS,2024-11-27,early_close,13:00,,test"
    changed = SessionCalendar(NEW_YORK, parse_overrides(text))

    assert changed.open_at(date(2024, 11, 30)) == datetime(2024, 11, 30, 14, 30, tzinfo=UTC)
    assert changed.open_at(date(2024, 11, 27)) == NYSE.open_at(date(2024, 11, 27))
    with pytest.raises(ValueError, match="2024-12-25 is no session"):
        changed.open_at(date(2024, 12, 25))
