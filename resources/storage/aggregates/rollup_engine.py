"""The engine of aggregates that every edition of TimescaleDB has: roll-ups in tables of ours.

Here: refreshing exactly the buckets that the invalidations name, level by level (decision 0037),
and comparing with a recomputation. Not here: the statements (rollup_sql.py), the invalidations
(invalidations.py), the native engine (continuous_engine.py), or when a refresh runs.
"""

import math
import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time

from marketdata.bars import DAY_INTERVALS, MINUTE_INTERVALS, Interval
from marketdata.buckets import (
    Moment,
    Span,
    bucket_of_day,
    next_bucket_of_days,
    weeks,
    whole_buckets_of_days,
    whole_buckets_of_minutes,
)
from marketdata.calendars import SessionCalendar, calendar
from resources.storage import sql
from resources.storage.aggregates import invalidations, rollup_sql
from resources.storage.aggregates.contract import Difference, Progress, RefreshResult, SourceTable
from resources.storage.aggregates.sessions import keep_sessions
from resources.storage.timescale import Connection, Timescale

COMPARED_SPANS = {SourceTable.MINUTES: 50, SourceTable.DAYS: 500}
"""Spans compared by one statement: a month of minutes, or a year of days, each."""

ENGINE = "rollups"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Slice:
    """What one transaction of a refresh did."""

    claims: int
    instruments: frozenset[int]
    changed: Mapping[Interval, int]
    buckets: int


class RollUps:
    """Fulfils resources.storage.aggregates.Aggregates.

    Args:
        timescale: An open Timescale whose database is migrated.
        sessions: Returns the calendar, from which the phases of a day follow.
    """

    engine = ENGINE

    def __init__(
        self, timescale: Timescale, sessions: Callable[[], SessionCalendar] = calendar
    ) -> None:
        self._timescale = timescale
        self._sessions = sessions
        self._kept_sessions: SessionCalendar | None = None

    def refresh(self, source: SourceTable, *, everything: bool = False) -> RefreshResult:
        """Recompute the touched buckets, in slices of one transaction each."""
        if source is SourceTable.MINUTES and self._kept_sessions is not (
            sessions := self._sessions()
        ):
            keep_sessions(self._timescale, sessions)
            self._kept_sessions = sessions
        if everything:
            with self._timescale.connection() as connection:
                invalidations.everything(connection, source)
        done = list(self._slices(source))
        changed: Counter[Interval] = Counter()
        for part in done:
            changed.update(part.changed)
        return RefreshResult(
            buckets=sum(part.buckets for part in done),
            changed={interval: changed[interval] for interval in source.intervals},
            instruments=len(frozenset[int]().union(*(part.instruments for part in done))),
            invalidations=sum(part.claims for part in done),
        )

    def differences(
        self,
        interval: Interval,
        *,
        limit: int = 100,
        sample: float | None = None,
        within: tuple[date, date] | None = None,
        progress: Progress | None = None,
    ) -> list[Difference]:
        """Compare with a recomputation from the source, month by month or year by year."""
        source = SourceTable.DAYS if interval in DAY_INTERVALS else SourceTable.MINUTES
        periods = self._periods(interval, source)
        if within is not None:
            periods = [
                period for period in periods if period[0] < within[1] and period[1] > within[0]
            ]
        spans = [
            (period, instrument_id)
            for period in periods
            for instrument_id in self._instruments(interval, period)
        ]
        if sample is not None:
            spans = sorted(random.sample(spans, math.ceil(len(spans) * sample)))
        differing: list[Difference] = []
        for begin in range(0, len(spans), COMPARED_SPANS[source]):
            differing += self._compare(
                interval, spans[begin : begin + COMPARED_SPANS[source]], limit - len(differing)
            )
            if len(differing) >= limit:
                break
            if progress is not None:
                progress(min(begin + COMPARED_SPANS[source], len(spans)), len(spans))
        return differing

    def rows(self, interval: Interval) -> int:
        """Return how many bars are kept, of all instruments; counts them one by one."""
        with self._timescale.connection() as connection:
            row = connection.execute(rollup_sql.count(interval)).fetchone()
        return row[0] if row else 0

    def waiting(self, source: SourceTable) -> int:
        """Return how many invalidations of a source wait."""
        with self._timescale.connection() as connection:
            return invalidations.waiting(connection, source)

    def waiting_since(self, source: SourceTable) -> datetime | None:
        """Return since when (UTC) work for a refresh has waited; None if there is none."""
        with self._timescale.connection() as connection:
            return invalidations.waiting_since(connection, source)

    def _slices(self, source: SourceTable) -> Iterator[_Slice]:
        with self._timescale.connection() as connection:
            up_to = invalidations.last(connection, source)
        while up_to:
            with self._timescale.connection() as connection:
                done = (
                    _refresh_minutes(connection, up_to)
                    if source is SourceTable.MINUTES
                    else _refresh_days(connection, up_to)
                )
            if not done.claims:
                return
            yield done

    def _instruments(self, interval: Interval, period: tuple[date, date]) -> list[int]:
        with self._timescale.connection() as connection:
            rows = connection.execute(
                rollup_sql.compared_instruments(interval), {"first": period[0], "last": period[1]}
            ).fetchall()
        return [row[0] for row in rows]

    def _periods(self, interval: Interval, source: SourceTable) -> list[tuple[date, date]]:
        """Return the months or years from the first bar to the last, as whole buckets."""
        with self._timescale.connection() as connection:
            row = connection.execute(
                sql.query("rollups", "compared_days"), {"source": source.value}
            ).fetchone()
        first, last = row or (None, None)
        if first is None or last is None:
            return []
        portion = Interval.MONTH if source is SourceTable.MINUTES else Interval.YEAR
        start, periods = bucket_of_day(portion, first), list[tuple[date, date]]()
        while start <= last:
            end = next_bucket_of_days(portion, start)
            # Weeks do not end with the year: each belongs to the year in which it ends.
            whole = (
                (bucket_of_day(interval, start), bucket_of_day(interval, end))
                if interval is Interval.WEEK
                else (start, end)
            )
            periods.append(whole)
            start = end
        return periods

    def _compare(
        self, interval: Interval, spans: Sequence[tuple[tuple[date, date], int]], limit: int
    ) -> list[Difference]:
        starts: list[date] = [_edge(interval, period[0]) for period, _ in spans]
        ends: list[date] = [_edge(interval, period[1]) for period, _ in spans]
        with self._timescale.connection() as connection:
            rows = connection.execute(
                rollup_sql.differences(interval),
                {
                    "instrument_ids": [instrument_id for _, instrument_id in spans],
                    "providers": [""] * len(spans),
                    "starts": starts,
                    "ends": ends,
                    "first": min(starts),
                    "last": max(ends),
                    "limit": limit,
                },
            ).fetchall()
        return [
            Difference(
                interval=interval,
                instrument_id=instrument_id,
                provider=provider,
                bucket_start=start,
                difference=text,
            )
            for instrument_id, provider, start, text in rows
        ]


def _edge(interval: Interval, day: date) -> date | datetime:
    if interval in DAY_INTERVALS:
        return day
    return datetime.combine(day, time(), UTC)


def _refresh_minutes(connection: Connection, up_to: int) -> _Slice:
    connection.execute(sql.query("sessions", "hold_sessions"))
    claims = invalidations.claim_minutes(connection, up_to)
    instruments = frozenset(claim.instrument_id for claim in claims)
    invalidations.lock(connection, SourceTable.MINUTES, instruments)
    written = {
        interval: _recompute(connection, interval, whole_buckets_of_minutes(interval, claims))
        for interval in MINUTE_INTERVALS
    }
    return _slice(len(claims), instruments, written)


def _refresh_days(connection: Connection, up_to: int) -> _Slice:
    claims = invalidations.claim_days(connection, up_to)
    instruments = frozenset(claim.instrument_id for claim in claims)
    invalidations.lock(connection, SourceTable.DAYS, instruments)
    touched = weeks(claims)
    written = {Interval.WEEK: _recompute(connection, Interval.WEEK, touched)}
    invalidations.postpone_frozen_weeks(connection, touched)
    for interval in (Interval.MONTH, Interval.QUARTER, Interval.YEAR):
        spans = whole_buckets_of_days(interval, claims)
        written[interval] = _recompute(connection, interval, spans)
    return _slice(len(claims), instruments, written)


def _slice(
    claims: int, instruments: frozenset[int], written: Mapping[Interval, tuple[int, int]]
) -> _Slice:
    return _Slice(
        claims=claims,
        instruments=instruments,
        changed={interval: changed for interval, (changed, _) in written.items()},
        buckets=sum(buckets for _, buckets in written.values()),
    )


def _recompute(
    connection: Connection, interval: Interval, spans: Sequence[Span[Moment]]
) -> tuple[int, int]:
    """Recompute whole buckets; return how many bars changed and how many were recomputed."""
    if not spans:
        return 0, 0
    row = connection.execute(
        rollup_sql.refresh(interval),
        {
            "instrument_ids": [span.instrument_id for span in spans],
            "providers": [span.provider for span in spans],
            "starts": [span.start for span in spans],
            "ends": [span.end for span in spans],
            "first": min(span.start for span in spans),
            "last": max(span.end for span in spans),
        },
    ).fetchone()
    return row or (0, 0)
