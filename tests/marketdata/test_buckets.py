"""Buckets of aggregated bars: where they begin and end, and spans made of whole ones."""

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketdata.bars import DAY_INTERVALS, MINUTE_INTERVALS, Interval
from marketdata.buckets import (
    Span,
    bucket_of_day,
    bucket_of_moment,
    next_bucket_of_days,
    weeks,
    whole_buckets_of_days,
    whole_buckets_of_minutes,
)

DAYS = st.dates(date(2006, 1, 1), date(2030, 12, 31))
MOMENTS = st.datetimes(datetime(2006, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001


@given(day=DAYS, interval=st.sampled_from(DAY_INTERVALS))
def test_every_day_lies_in_its_bucket(day: date, interval: Interval) -> None:
    """And the day after a bucket begins the next one."""
    start = bucket_of_day(interval, day)
    after = next_bucket_of_days(interval, start)

    assert start <= day < after
    assert bucket_of_day(interval, after) == after
    assert bucket_of_day(interval, after - timedelta(days=1)) == start


@given(moment=MOMENTS, interval=st.sampled_from(MINUTE_INTERVALS))
def test_every_moment_lies_in_its_bucket(moment: datetime, interval: Interval) -> None:
    """Buckets of minutes are those of UTC's clock."""
    start = bucket_of_moment(interval, moment)
    [span] = whole_buckets_of_minutes(
        interval, [Span(1, "polygon", moment, moment + timedelta(microseconds=1))]
    )

    assert (span.start, start <= moment < span.end) == (start, True)
    assert bucket_of_moment(interval, span.end) == span.end


@pytest.mark.parametrize(
    ("interval", "start", "after"),
    [
        (Interval.WEEK, date(2024, 12, 30), date(2025, 1, 6)),
        (Interval.MONTH, date(2024, 12, 1), date(2025, 1, 1)),
        (Interval.QUARTER, date(2024, 10, 1), date(2025, 1, 1)),
        (Interval.YEAR, date(2024, 1, 1), date(2025, 1, 1)),
    ],
)
def test_the_last_day_of_a_year(interval: Interval, start: date, after: date) -> None:
    """Only its week continues into the next one."""
    assert bucket_of_day(interval, date(2024, 12, 31)) == start
    assert next_bucket_of_days(interval, start) == after


def test_spans_of_one_series_that_touch_are_joined() -> None:
    """Those of another provider are not, and none is counted twice."""
    noon = datetime(2024, 6, 3, 12, tzinfo=UTC)

    def span(provider: str, start: int, end: int) -> Span[datetime]:
        return Span(1, provider, noon + timedelta(minutes=start), noon + timedelta(minutes=end))

    given_spans = [span("a", 20, 25), span("a", 5, 10), span("b", 0, 5), span("a", 50, 55)]

    assert whole_buckets_of_minutes(Interval.QUARTER_HOUR, given_spans) == [
        span("a", 0, 30), span("a", 45, 60), span("b", 0, 15),
    ]  # fmt: skip


def test_weeks_are_spans_of_their_own() -> None:
    """A week that two spans touch is one; months that touch are joined."""
    spans = [Span(1, "", date(2024, 12, 24), date(2024, 12, 31)),
             Span(1, "", date(2025, 1, 2), date(2025, 1, 3))]  # fmt: skip

    assert [(week.start, week.end) for week in weeks(spans)] == [
        (date(2024, 12, 23), date(2024, 12, 30)), (date(2024, 12, 30), date(2025, 1, 6)),
    ]  # fmt: skip
    assert [
        (whole_buckets_of_day.start, whole_buckets_of_day.end)
        for whole_buckets_of_day in whole_buckets_of_days(Interval.MONTH, spans)
    ] == [
        (date(2024, 12, 1), date(2025, 2, 1)),
    ]
