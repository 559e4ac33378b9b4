"""Statements of the roll-ups, put together from the parts in queries/rollups.sql.

Here: which table is made of which, and the two statements that all of them share: refresh, and
compare with a recomputation. Not here: running them (rollup_engine.py), or the text of the parts.
"""

from collections.abc import Mapping, Sequence
from functools import cache

from psycopg import sql as composed

from marketdata.bars import DAY_INTERVALS, PRICES, Interval
from marketdata.buckets import MONTHS, WIDTHS
from resources.storage import sql

_MADE_OF: Mapping[Interval, Interval | None] = {
    Interval.FIVE_MINUTES: None,
    Interval.QUARTER_HOUR: Interval.FIVE_MINUTES,
    Interval.HOUR: Interval.QUARTER_HOUR,
    Interval.DAY: Interval.QUARTER_HOUR,
    Interval.WEEK: None,
    Interval.MONTH: None,
    Interval.QUARTER: Interval.MONTH,
    Interval.YEAR: Interval.QUARTER,
}
"""The finer interval that bars of an interval are made of; None is the source itself."""

_UNITS = {
    Interval.WEEK: "week",
    Interval.MONTH: "month",
    Interval.QUARTER: "quarter",
    Interval.YEAR: "year",
}

_Names = Sequence[str]


def rollup(interval: Interval) -> composed.Identifier:
    """Return the table that keeps the bars of an interval."""
    return composed.Identifier(f"rollup_{interval.value}")


@cache
def refresh(interval: Interval) -> composed.Composed:
    """Return the statement that recomputes the buckets within some spans.

    It takes ``instrument_ids``, ``providers`` (not for days), ``starts`` and ``ends`` of the
    spans, whole buckets each, and ``first`` and ``last``, the bounds of all of them; it returns
    one row: bars changed, bars recomputed.
    """
    key, values = _key(interval), _values(interval)
    spans = _spans(interval)
    if interval is Interval.WEEK:
        spans = _part("whole_day_spans", spans=spans)
    return _part(
        "refresh",
        fresh=_bars(interval, spans, by_provider=True, from_source=False),
        held=_kept(interval, spans, by_provider=True),
        rollup=rollup(interval),
        columns=_listed([*key, *values]),
        key=_listed(key),
        values=_listed(values),
        excluded_values=_listed(values, "excluded"),
        same_bucket=_equal(key, "kept", "gone"),
    )


@cache
def differences(interval: Interval) -> composed.Composed:
    """Return the statement that compares kept bars with a recomputation from the source.

    It takes ``instrument_ids``, ``starts`` and ``ends`` of the spans, whole buckets each,
    ``first`` and ``last``, the bounds of all of them, and ``limit``; it returns instrument,
    provider, start of the bucket and what is wrong.
    """
    spans = _spans(interval)
    return _part(
        "differences",
        fresh=_bars(interval, spans, by_provider=False, from_source=True),
        held=_kept(interval, spans, by_provider=False),
        columns=_listed([*_key(interval), *_values(interval)]),
        key=_listed(_key(interval)),
        judged=_judged(interval),
    )


@cache
def compared_instruments(interval: Interval) -> composed.Composed:
    """Return the statement that lists the instruments with bars to compare.

    It takes ``first``, the first day of a period, and ``last``, the day after its last.
    """
    of_days = interval in DAY_INTERVALS
    source, start = ("daily_bar", "session_date") if of_days else ("minute_bar", "opened_at")
    return _part(
        "compared_instruments",
        in_source=_occurs(composed.Identifier(source), start, by_day=of_days),
        is_kept=_occurs(
            rollup(interval), "bucket_start", by_day=of_days or interval is Interval.DAY
        ),
    )


def count(interval: Interval) -> composed.Composed:
    """Return the statement that counts the bars of an interval."""
    return _part("count_rows", rollup=rollup(interval))


def _judged(interval: Interval) -> composed.Composed:
    if interval in DAY_INTERVALS:
        length = "1 week" if interval is Interval.WEEK else f"{MONTHS[interval]} months"
        return _part("judged_days", length=composed.Literal(length))
    start = composed.SQL("differing.bucket_start")
    if interval is Interval.DAY:
        start = composed.SQL("({}::timestamp at time zone 'UTC')").format(start)
    return _part("judged_minutes", start=start, length=composed.Literal(WIDTHS[interval]))


def _occurs(bars: composed.Identifier, start: str, *, by_day: bool) -> composed.Composed:
    first: composed.Composable = composed.Placeholder("first")
    last: composed.Composable = composed.Placeholder("last")
    if not by_day:
        first, last = _part("midnight", day=first), _part("midnight", day=last)
    return _part("occurs", bars=bars, start=composed.Identifier(start), first=first, last=last)


def _bars(
    interval: Interval, spans: composed.Composable, *, by_provider: bool, from_source: bool
) -> composed.Composable:
    """Return the query that computes bars, from the finer interval or from the source."""
    made_of = _MADE_OF[interval]
    if made_of is not None and from_source:
        rows = _bars(made_of, spans, by_provider=by_provider, from_source=True)
    elif made_of is not None:
        rows = _kept(made_of, spans, by_provider=by_provider)
    else:
        rows = _part(
            "days_within" if interval in DAY_INTERVALS else "minutes_within",
            spans=spans,
            same_series=_series(interval, by_provider=by_provider),
        )
    if interval in DAY_INTERVALS:
        return _part("buckets_of_days", unit=composed.Literal(_UNITS[interval]), rows=rows)
    summed = _part("values_of_minutes")
    if interval is Interval.DAY:
        return _part("sessions_of_minutes", values=summed, rows=rows)
    width = composed.Literal(WIDTHS[interval])
    buckets = _part("buckets_of_minutes", width=width, values=summed, rows=rows)
    return _part("buckets_with_phase", rows=buckets) if made_of is None else buckets


def _kept(
    interval: Interval, spans: composed.Composable, *, by_provider: bool
) -> composed.Composable:
    return _part(
        "sessions_within" if interval is Interval.DAY else "buckets_within",
        spans=spans,
        rollup=rollup(interval),
        same_series=_series(interval, by_provider=by_provider),
    )


def _spans(interval: Interval) -> composed.Composable:
    return _part("day_spans" if interval in DAY_INTERVALS else "minute_spans")


def _series(interval: Interval, *, by_provider: bool) -> composed.Composable:
    named = ["instrument_id"]
    if by_provider and interval not in DAY_INTERVALS:
        named.append("provider")
    return _equal(named, "held", "span")


def _key(interval: Interval) -> _Names:
    if interval in DAY_INTERVALS:
        return ("instrument_id", "bucket_start")
    key = ("instrument_id", "provider", "bucket_start")
    return key if interval is Interval.DAY else (*key, "phase")


def _values(interval: Interval) -> _Names:
    if interval in DAY_INTERVALS:
        return (*PRICES, "volume", "adjustment", "source_bars")
    return (*PRICES, "volume", "turnover", "trades", "source_bars")


def _part(name: str, **parts: composed.Composable) -> composed.Composed:
    return composed.SQL(sql.query("rollups", name)).format(**parts)


def _listed(names: _Names, table: str = "") -> composed.Composed:
    return composed.SQL(", ").join(
        composed.Identifier(table, name) if table else composed.Identifier(name) for name in names
    )


def _equal(names: _Names, left: str, right: str) -> composed.Composed:
    return composed.SQL(" and ").join(
        composed.SQL("{} = {}").format(
            composed.Identifier(left, name), composed.Identifier(right, name)
        )
        for name in names
    )
