"""Forecast of a load: time, quota, rows, bytes, and the schedules that it meets.

Here: arithmetic on figures that are known beforehand, and the measured sizes it uses. Not here:
which requests a load takes (planning.py), reading the figures, or printing the forecast
(pipelines/cli/plan.py).
"""

import bisect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from marketdata.coverage import HELD, CoverageState, Span
from marketdata.recovery.limits import Quota

DATABASE_BYTES_PER_BAR = 189
"""151 in daily_bar with its indexes (hypertable_size, 1.43 M rows of 503 instruments; the
same at 0.28 M) and 38 for its share of the bars of weeks to years; measured on
PostgreSQL 17 with TimescaleDB 2.19.3, uncompressed."""
RAW_BYTES_PER_ANSWER = 105
RAW_BYTES_PER_BAR = 44
"""Gzip of FMP's history as the simulator serves it: 149 bytes for one bar, 120,376 on average for
2,738 bars of eight tickers. The wire format is the recorded one, the figures are simulated."""
RAW_BYTES_PER_MARKET_DAY = 95_000
"""Gzip of the simulator's eod-bulk with 3,143 symbols; FMP's own has more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """The size of a load.

    Attributes:
        requests: Number of requests if none is repeated.
        interval_s: Seconds between two requests at the pace of their budgets.
        bars: Most bars that the answers can hold; a young instrument has fewer.
        rows: Those of the bars that are not kept yet.
        market_days: Answers that hold a whole market; 0 for histories.
    """

    requests: int
    interval_s: float
    bars: int
    rows: int
    market_days: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class QuotaUse:
    """The used part of a calendar quota; ``resets_at`` is aware."""

    quota: Quota
    used: int
    resets_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduledLoad:
    """The next run of a schedule, which goes before backfills; ``starts_at`` is aware."""

    name: str
    starts_at: datetime
    requests: int
    interval_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSlots:
    """Slots for runs, and how many are taken, without the load itself.

    Attributes:
        allowed: None for no limit.
    """

    allowed: int | None
    taken: int


@dataclass(frozen=True, slots=True, kw_only=True)
class QuotaShare:
    """The part of a quota that a load takes.

    Attributes:
        share: Share of the whole quota; more than 1 if the load is larger than the quota.
        left_before: Requests that the period still allows.
        left_after: Requests left after the load; negative if it does not fit.
        scheduled: Requests that schedules need before the quota resets.
    """

    quota: Quota
    resets_at: datetime
    share: float
    left_before: int
    left_after: int
    scheduled: int

    @property
    def endangered(self) -> bool:
        """Whether a schedule of this period could be left without its requests."""
        return self.scheduled > max(self.left_after, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Meeting:
    """How a load and a schedule's next run affect each other.

    Attributes:
        during: The load is still running when the schedule starts.
        slowed_s: Seconds by which the schedule delays the load.
        short_of: The quota that may not be enough for the schedule.
        without_slot: The load and the runs in progress leave no slot for the schedule.
    """

    schedule: ScheduledLoad
    during: bool
    slowed_s: float
    short_of: Quota | None
    without_slot: bool

    @property
    def endangered(self) -> bool:
        """Whether the run may be late or fail because of the load."""
        return self.short_of is not None or self.without_slot


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """Forecast of a load; bytes are estimates (see the constants).

    Attributes:
        minutes: Minutes to its end, with the schedules that start before it, without repeats.
        ends_at: Aware; equal to now if there is no request.
        meetings: One for each schedule, in the order of their starts.
    """

    load: Load
    minutes: float
    ends_at: datetime
    quotas: tuple[QuotaShare, ...]
    database_bytes: int
    raw_bytes: int
    meetings: tuple[Meeting, ...]

    @property
    def endangered(self) -> tuple[Meeting, ...]:
        """Return the meetings with schedules that are put at risk."""
        return tuple(meeting for meeting in self.meetings if meeting.endangered)


def forecast(
    load: Load,
    *,
    now: datetime,
    reserved_s: float,
    quotas: Sequence[QuotaUse],
    schedules: Sequence[ScheduledLoad],
    slots: RunSlots,
) -> Forecast:
    """Return the forecast of ``load`` if it starts now.

    Args:
        load: The size of the load.
        now: Aware time.
        reserved_s: Seconds for which others have reserved the budgets already.
        quotas: Quotas of the budgets that the load is charged to, with their use.
        schedules: The next run of each schedule that is charged to the same budgets.
        slots: Slots for runs.
    """
    ordered = sorted(schedules, key=lambda schedule: schedule.starts_at)
    ends_at, during = _end(load, now, reserved_s, ordered)
    shares = tuple(_share(load, use, ordered) for use in quotas)
    full = slots.allowed is not None and slots.taken + 1 >= slots.allowed
    meetings = tuple(
        Meeting(
            schedule=schedule,
            during=schedule in during,
            slowed_s=schedule.requests * schedule.interval_s if schedule in during else 0.0,
            short_of=_short(shares, schedule) if load.requests else None,
            without_slot=full and schedule in during,
        )
        for schedule in ordered
    )
    raw = load.market_days * RAW_BYTES_PER_MARKET_DAY or (
        load.requests * RAW_BYTES_PER_ANSWER + load.bars * RAW_BYTES_PER_BAR
    )
    return Forecast(
        load=load,
        minutes=(ends_at - now).total_seconds() / 60,
        ends_at=ends_at,
        quotas=shares,
        database_bytes=load.rows * DATABASE_BYTES_PER_BAR,
        raw_bytes=raw,
        meetings=meetings,
    )


def _end(
    load: Load, now: datetime, reserved_s: float, ordered: Sequence[ScheduledLoad]
) -> tuple[datetime, list[ScheduledLoad]]:
    """Return when the load ends, and the schedules that start before: each delays it."""
    if not load.requests:
        return now, []
    ends_at = now + timedelta(seconds=max(reserved_s, 0.0) + load.requests * load.interval_s)
    during: list[ScheduledLoad] = []
    for schedule in ordered:
        if schedule.starts_at < ends_at:
            ends_at += timedelta(seconds=schedule.requests * schedule.interval_s)
            during.append(schedule)
    return ends_at, during


def _share(load: Load, use: QuotaUse, schedules: Sequence[ScheduledLoad]) -> QuotaShare:
    """Charge the whole load to the present period, even if it lasts longer: the worst case."""
    remaining = max(use.quota.limit - use.used, 0)
    return QuotaShare(
        quota=use.quota,
        resets_at=use.resets_at,
        share=load.requests / use.quota.limit,
        left_before=remaining,
        left_after=remaining - load.requests,
        scheduled=sum(
            schedule.requests for schedule in schedules if schedule.starts_at < use.resets_at
        ),
    )


def _short(shares: Sequence[QuotaShare], schedule: ScheduledLoad) -> Quota | None:
    return next(
        (
            share.quota
            for share in shares
            if share.endangered and schedule.starts_at < share.resets_at
        ),
        None,
    )


def count_days(
    days: Sequence[date], coverage: Mapping[CoverageState, Sequence[Span]]
) -> tuple[int, int]:
    """Count the days of which an answer can hold rows, and those of which none are kept yet.

    Args:
        days: Requested days, in order.
        coverage: The ledger of the instrument; before its listing there are no rows.
    """
    unlisted = _covered(days, coverage.get(CoverageState.NOT_LISTED, ()))
    held = sum(_covered(days, coverage.get(state, ())) for state in HELD)
    return len(days) - unlisted, len(days) - unlisted - held


def _covered(days: Sequence[date], spans: Sequence[Span]) -> int:
    """Count days within ``spans``, which share no day."""
    return sum(
        bisect.bisect_left(days, end) - bisect.bisect_left(days, start) for start, end in spans
    )
