"""The engine of aggregates that only TimescaleDB's Community edition has: continuous aggregates.

Here: refreshing the windows of time that the invalidations name, level by level, and comparing
with a recomputation. Not here: what the aggregates are (engines.py sets them up), or the
engine that every edition has (rollup_engine.py).

TimescaleDB refreshes by time only, all instruments at once: one revised instrument costs as much
as all. Its refresh commits by itself, so invalidations are removed afterwards. After a crash in
between they are still there, and the same windows are refreshed again.

TimescaleDB's own invalidations are known to lose some months, quarters and years (known_faults.py).
So these are refreshed by force, where our own invalidations name them.
"""

from collections import Counter
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, LiteralString

from psycopg import sql as composed

from marketdata.bars import DAY_INTERVALS, MINUTE_INTERVALS, Interval
from marketdata.batches import DAILY_BARS_DATASET
from marketdata.buckets import MONTHS, Span, joined, weeks, whole_buckets_of_days
from marketdata.calendars import SessionCalendar, calendar
from resources.storage import sql, timescale
from resources.storage.aggregates import invalidations
from resources.storage.aggregates.contract import Difference, Progress, RefreshResult, SourceTable
from resources.storage.aggregates.rollup_engine import RollUps
from resources.storage.aggregates.sessions import keep_sessions
from resources.storage.timescale import Connection, Timescale

ENGINE = "continuous_aggregates"
SCHEMA = "continuous"
"""The schema of the aggregates, and of views with the names and columns of the roll-ups."""

SHARES, PAIRS = "shares", "pairs"
FAMILIES = (SHARES, PAIRS)
"""Aggregated separately, since days of one family may be dropped and not those of the other."""


def kept(interval: Interval) -> composed.Identifier:
    """Return the relation with all bars of an interval, in the columns of its roll-up."""
    return composed.Identifier(SCHEMA, f"rollup_{interval.value}")


def aggregate(interval: Interval, family: str = "") -> composed.Identifier:
    """Return the continuous aggregate of an interval.

    Args:
        interval: Which bars.
        family: ``shares`` or ``pairs``; empty for bars made of daily bars.
    """
    if interval in MINUTE_INTERVALS:
        return composed.Identifier(SCHEMA, f"{family}_{interval.value}")
    return kept(interval)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Portion:
    """A month of minutes, or a year of days, that has waiting invalidations.

    Attributes:
        family: One of FAMILIES; empty for daily bars.
        spans: Whole days of UTC for minutes, days for daily bars, of all instruments together.
    """

    family: str
    invalidation_ids: Sequence[int]
    instrument_ids: Sequence[int]
    spans: Sequence[Span[Any]]


class ContinuousAggregates:
    """Fulfils resources.storage.aggregates.Aggregates.

    Args:
        opened: An open Timescale whose bars are kept by continuous aggregates.
        sessions: Returns the calendar, from which the phases of a day follow.
    """

    engine = ENGINE

    def __init__(
        self, opened: Timescale, sessions: Callable[[], SessionCalendar] = calendar
    ) -> None:
        self._timescale = opened
        self._sessions = sessions
        self._kept_sessions: SessionCalendar | None = None
        self._with_aggregates = _WithAggregates(opened)
        self._kept = RollUps(self._with_aggregates, sessions)

    def refresh(self, source: SourceTable, *, everything: bool = False) -> RefreshResult:
        """Refresh the touched windows; ``changed`` counts the bars within them.

        TimescaleDB does not report which of the rewritten bars differ.
        """
        if source is SourceTable.MINUTES and self._kept_sessions is not (
            sessions := self._sessions()
        ):
            keep_sessions(self._timescale, sessions)
            self._kept_sessions = sessions
        if everything:
            with self._with_aggregates.connection() as connection:
                invalidations.everything(connection, source)
        written: Counter[Interval] = Counter()
        with timescale.connect(self._timescale.url) as connection, _alone(connection, source):
            portions = _waiting(connection, source)
            changed_sessions = _refresh_changed_sessions(connection, portions)
            # Level by level over all portions: the next level computes from the source whatever
            # this one has not materialized. Portion by portion, 20 days of 500 shares took 570 s.
            for interval in source.intervals:
                by_force = everything or interval in MONTHS
                for portion in portions:
                    written[interval] += _refresh(connection, interval, portion, by_force=by_force)
            for portion in portions:
                connection.execute(
                    _query(f"settle_{source.value}"),
                    {"invalidation_ids": list(portion.invalidation_ids)},
                )
            if changed_sessions:
                connection.execute(_query("forget_sessions"), {"days": changed_sessions})
        return RefreshResult(
            buckets=written.total(),
            changed={interval: written[interval] for interval in source.intervals},
            instruments=len(
                {instrument_id for portion in portions for instrument_id in portion.instrument_ids}
            ),
            invalidations=sum(len(portion.invalidation_ids) for portion in portions),
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
        return self._kept.differences(
            interval, limit=limit, sample=sample, within=within, progress=progress
        )

    def rows(self, interval: Interval) -> int:
        """Return how many bars are kept, of all instruments; counts them one by one."""
        return self._kept.rows(interval)

    def waiting(self, source: SourceTable) -> int:
        """Return how many invalidations of a source wait."""
        with self._timescale.connection() as connection:
            return invalidations.waiting(connection, source)

    def waiting_since(self, source: SourceTable) -> datetime | None:
        """Return since when (UTC) work for a refresh has waited; None if there is none."""
        with self._timescale.connection() as connection:
            return invalidations.waiting_since(connection, source)


class _WithAggregates(Timescale):
    """The same pool; a query that names a roll-up reads the aggregate of that name."""

    def __init__(self, opened: Timescale) -> None:
        super().__init__(opened.url)
        self._opened = opened

    @contextmanager
    def connection(self) -> Generator[Connection]:
        with self._opened.connection() as connection:
            connection.execute(
                composed.SQL("set local search_path = {}, public").format(
                    composed.Identifier(SCHEMA)
                )
            )
            yield connection


@contextmanager
def _alone(connection: Connection, source: SourceTable) -> Generator[None]:
    """Wait for other refreshes of ``source`` to end, and block new ones."""
    connection.execute(_query("lock_refresh"), {"source": source.value})
    try:
        yield
    finally:
        connection.execute(_query("unlock_refresh"), {"source": source.value})


def _waiting(connection: Connection, source: SourceTable) -> list[_Portion]:
    """Return the waiting portions, oldest first.

    Younger ones are read from the source until it is their turn.
    """
    rows = connection.execute(_query(f"waiting_for_{source.value}")).fetchall()
    return [
        _Portion(
            family=family,
            invalidation_ids=ids,
            instrument_ids=instruments,
            spans=[Span(0, "", start, end) for start, end in zip(starts, ends, strict=True)],
        )
        for family, ids, instruments, starts, ends in rows
    ]


def _refresh_changed_sessions(connection: Connection, portions: Sequence[_Portion]) -> list[date]:
    """Materialize days whose session has changed; TimescaleDB does not notice them by itself.

    Returns:
        These days; changed sessions without waiting invalidations stay for a later refresh.
    """
    changed_days: list[date] = []
    share_portions = [portion for portion in portions if portion.family == SHARES]
    for waiting in (span for portion in share_portions for span in portion.spans):
        window = {"start": waiting.start, "end": waiting.end}
        days = [day for (day,) in connection.execute(_query("changed_sessions"), window)]
        for span in joined(Span(0, "", day, day + timedelta(days=1)) for day in days):
            _materialize(connection, aggregate(Interval.FIVE_MINUTES, SHARES), span, by_force=True)
        changed_days += days
    return changed_days


def _refresh(
    connection: Connection, interval: Interval, portion: _Portion, *, by_force: bool
) -> int:
    """Materialize one interval of a portion; return how many bars it has."""
    whole = portion.spans
    if interval is Interval.WEEK:
        frozen = connection.execute(_query("frozen_days")).fetchall()
        dropped = [(start, end) for dataset, start, end in frozen if dataset == DAILY_BARS_DATASET]
        whole = joined(week for week in weeks(whole) if not _touches(week, dropped))
    elif interval in DAY_INTERVALS:
        whole = whole_buckets_of_days(interval, whole)
    refreshed, bars = aggregate(interval, portion.family), 0
    for span in whole:
        # Before 2.26, a forced refresh leaves TimescaleDB's change log as it is: this settles it.
        _materialize(connection, refreshed, span)
        if by_force:
            _materialize(connection, refreshed, span, by_force=True)
        bars += _count(connection, refreshed, span)
    return bars


def _touches(span: Span[date], days: Sequence[tuple[date, date]]) -> bool:
    return any(span.start < end and start < span.end for start, end in days)


def _materialize(
    connection: Connection,
    refreshed: composed.Identifier,
    span: Span[Any],
    *,
    by_force: bool = False,
) -> None:
    statement = composed.SQL(_query("refresh")).format(
        aggregate=composed.Literal(refreshed.as_string()),
        start=composed.Literal(span.start),
        end=composed.Literal(span.end),
        force=composed.Literal(by_force),
    )
    connection.execute(statement)


def _count(connection: Connection, refreshed: composed.Identifier, span: Span[Any]) -> int:
    statement = composed.SQL(_query("count_within")).format(aggregate=refreshed)
    row = connection.execute(statement, {"start": span.start, "end": span.end}).fetchone()
    return row[0] if row else 0


def _query(name: str) -> LiteralString:
    return sql.query("continuous_aggregates", name)
