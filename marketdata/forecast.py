"""What a load would take, before anything of it runs: time, quota, rows, bytes, and whom it meets.

Here: arithmetic on figures that are known beforehand, and the measured sizes it rests on. Not
here: which requests a load takes (planning.py), asking anybody for the figures, or the words of
the command line (pipelines/cli/plan.py).
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
    """What is to be loaded.

    Attributes:
        requests: How many it takes if none is repeated.
        interval_s: Seconds between two of them at the pace of their budgets.
        bars: Bars that the answers hold at most: an instrument may be younger than it is asked.
        rows: Those of them that are not held yet.
        market_days: Answers that hold a whole market; 0 for histories.
    """

    requests: int
    interval_s: float
    bars: int
    rows: int
    market_days: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class QuotaUse:
    """How much of a calendar quota is used already; ``resets_at`` is aware."""

    quota: Quota
    used: int
    resets_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduledLoad:
    """The next run of a schedule: it goes first, whatever else waits; ``starts_at`` is aware."""

    name: str
    starts_at: datetime
    requests: int
    interval_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSlots:
    """How many runs may be under way at once, and how many are, the load not counted.

    Attributes:
        allowed: None for no limit.
    """

    allowed: int | None
    taken: int


@dataclass(frozen=True, slots=True, kw_only=True)
class QuotaShare:
    """What a load takes of a quota.

    Attributes:
        share: Of the whole quota; more than 1 if it is larger.
        left_before: Requests that the period still allows.
        left_after: Negative if the load does not fit.
        scheduled: What schedules need of it before it resets.
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
    """What becomes of a schedule's next run.

    Attributes:
        during: The load is still under way when it starts.
        slowed_s: Seconds by which the load is put back for it.
        short_of: The quota that may not be enough for it.
        without_slot: The load and the runs under way now leave no slot for it.
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
    """What a load would take; bytes are estimates (see the constants).

    Attributes:
        minutes: From now to the end, schedules that start before it included, nothing repeated.
        ends_at: Aware; equal to now if nothing is asked.
        meetings: Schedules in the order in which they start.
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
        """Return the schedules that are put at risk."""
        return tuple(one for one in self.meetings if one.endangered)


def forecast(
    load: Load,
    *,
    now: datetime,
    reserved_s: float,
    quotas: Sequence[QuotaUse],
    schedules: Sequence[ScheduledLoad],
    slots: RunSlots,
) -> Forecast:
    """Work out what ``load`` takes if it starts now.

    Args:
        load: What is wished for.
        now: Aware time.
        reserved_s: Seconds for which the budgets are reserved by others already.
        quotas: Of the budgets that the load is charged to, with their use.
        schedules: The next run of each schedule that is charged to the same budgets.
        slots: For runs.
    """
    ordered = sorted(schedules, key=lambda one: one.starts_at)
    ends_at, during = _end(load, now, reserved_s, ordered)
    shares = tuple(_share(load, use, ordered) for use in quotas)
    full = slots.allowed is not None and slots.taken + 1 >= slots.allowed
    meetings = tuple(
        Meeting(
            schedule=one,
            during=one in during,
            slowed_s=one.requests * one.interval_s if one in during else 0.0,
            short_of=_short(shares, one) if load.requests else None,
            without_slot=full and one in during,
        )
        for one in ordered
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
    """Return when the load ends, and the schedules that start before: each puts it back."""
    if not load.requests:
        return now, []
    ends_at = now + timedelta(seconds=max(reserved_s, 0.0) + load.requests * load.interval_s)
    during: list[ScheduledLoad] = []
    for one in ordered:
        if one.starts_at < ends_at:
            ends_at += timedelta(seconds=one.requests * one.interval_s)
            during.append(one)
    return ends_at, during


def _share(load: Load, use: QuotaUse, schedules: Sequence[ScheduledLoad]) -> QuotaShare:
    """Count the whole load in the present period, even if it lasts beyond: the worse case."""
    left = max(use.quota.limit - use.used, 0)
    return QuotaShare(
        quota=use.quota,
        resets_at=use.resets_at,
        share=load.requests / use.quota.limit,
        left_before=left,
        left_after=left - load.requests,
        scheduled=sum(one.requests for one in schedules if one.starts_at < use.resets_at),
    )


def _short(shares: Sequence[QuotaShare], schedule: ScheduledLoad) -> Quota | None:
    return next(
        (one.quota for one in shares if one.endangered and schedule.starts_at < one.resets_at),
        None,
    )


def count_days(
    days: Sequence[date], known: Mapping[CoverageState, Sequence[Span]]
) -> tuple[int, int]:
    """Count the days of which an answer can hold rows, and those of which none are held yet.

    Args:
        days: Asked for, in order.
        known: What the ledger knows of the instrument; before its listing there are no rows.
    """
    unlisted = _covered(days, known.get(CoverageState.NOT_LISTED, ()))
    held = sum(_covered(days, known.get(state, ())) for state in HELD)
    return len(days) - unlisted, len(days) - unlisted - held


def _covered(days: Sequence[date], spans: Sequence[Span]) -> int:
    """Count days within ``spans``, which share no day."""
    return sum(
        bisect.bisect_left(days, end) - bisect.bisect_left(days, start) for start, end in spans
    )
