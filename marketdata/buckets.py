"""Where the buckets of aggregated bars begin and end.

Here: arithmetic on times (UTC) and days, and widening spans to whole buckets. Not here: values of
bars (bar_aggregation.py), or which spans are invalidated (resources/storage).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Generic, TypeVar

from marketdata.bars import Interval

Moment = TypeVar("Moment", date, datetime)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

WIDTHS = {
    Interval.FIVE_MINUTES: timedelta(minutes=5),
    Interval.QUARTER_HOUR: timedelta(minutes=15),
    Interval.HOUR: timedelta(hours=1),
    # A session of New York begins and ends within one day of UTC.
    Interval.DAY: timedelta(days=1),
}
"""Length of a bucket of minute bars."""

MONTHS = {Interval.MONTH: 1, Interval.QUARTER: 3, Interval.YEAR: 12}
"""Months of a bucket of daily bars; a week has seven days."""


@dataclass(frozen=True, slots=True, order=True)
class Span(Generic[Moment]):
    """A span of time of one instrument, and of one provider where bars are kept by provider.

    Attributes:
        provider: Empty where bars are not kept by provider.
        start: The first moment (UTC) or day.
        end: The first moment or day after the span.
    """

    instrument_id: int
    provider: str
    start: Moment
    end: Moment


def bucket_of_moment(interval: Interval, moment: datetime) -> datetime:
    """Return the first moment (UTC) of the bucket of minute bars that holds ``moment`` (aware)."""
    at = moment.astimezone(UTC)
    return at - (at - _EPOCH) % WIDTHS[interval]


def bucket_of_day(interval: Interval, day: date) -> date:
    """Return the first day of the week, month, quarter or year that holds ``day``."""
    if interval is Interval.WEEK:
        return day - timedelta(days=day.weekday())
    months = MONTHS[interval]
    return date(day.year, (day.month - 1) // months * months + 1, 1)


def next_bucket_of_days(interval: Interval, start: date) -> date:
    """Return the day after the week, month, quarter or year that begins on ``start``."""
    if interval is Interval.WEEK:
        return start + timedelta(days=7)
    month = start.month - 1 + MONTHS[interval]
    return date(start.year + month // 12, month % 12 + 1, 1)


def whole_buckets_of_minutes(
    interval: Interval, spans: Iterable[Span[datetime]]
) -> list[Span[datetime]]:
    """Widen spans to whole buckets, and join those that touch."""
    width, instant = WIDTHS[interval], timedelta(microseconds=1)
    return joined(
        Span(
            span.instrument_id,
            span.provider,
            bucket_of_moment(interval, span.start),
            bucket_of_moment(interval, span.end - instant) + width,
        )
        for span in spans
    )


def whole_buckets_of_days(interval: Interval, spans: Iterable[Span[date]]) -> list[Span[date]]:
    """Widen spans to whole buckets, and join those that touch."""
    return joined(
        Span(
            span.instrument_id,
            span.provider,
            bucket_of_day(interval, span.start),
            next_bucket_of_days(interval, bucket_of_day(interval, span.end - timedelta(days=1))),
        )
        for span in spans
    )


def weeks(spans: Sequence[Span[date]]) -> list[Span[date]]:
    """Return every week that the spans touch, each once as its own span."""
    week = timedelta(days=7)
    return [
        Span(span.instrument_id, span.provider, start, start + week)
        for span in whole_buckets_of_days(Interval.WEEK, spans)
        for start in (
            span.start + week * number for number in range((span.end - span.start) // week)
        )
    ]


def joined(spans: Iterable[Span[Moment]]) -> list[Span[Moment]]:
    """Join spans of one instrument and provider that touch or overlap; sorted."""
    united: list[Span[Moment]] = []
    for span in sorted(spans):
        last = united[-1] if united else None
        if (
            last is not None
            and (last.instrument_id, last.provider) == (span.instrument_id, span.provider)
            and span.start <= last.end
        ):
            end = max(last.end, span.end)
            united[-1] = Span(last.instrument_id, last.provider, last.start, end)
        else:
            united.append(span)
    return united
