"""Forecast of a load, by simple arithmetic."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketdata import forecast
from marketdata.calendars import HISTORY_START, calendar
from marketdata.coverage import HELD, CoverageState, spans_of
from marketdata.day_calendars import TradingDays
from marketdata.forecast import Forecast, Load, QuotaUse, RunSlots, ScheduledLoad
from marketdata.recovery.limits import Quota, QuotaPeriod

NOW = datetime(2026, 11, 23, 22, 0, tzinfo=UTC)
FREE = RunSlots(allowed=2, taken=0)
DAILY = Quota(limit=1000, period=QuotaPeriod.DAY, zone="America/New_York")
MIDNIGHT = datetime(2026, 11, 24, 5, 0, tzinfo=UTC)
SESSIONS = calendar().sessions(HISTORY_START, date(2016, 12, 30))


def _load(requests: int, *, interval_s: float = 0.5, market_days: int = 0) -> Load:
    return Load(
        requests=requests,
        interval_s=interval_s,
        bars=requests * 2000,
        rows=requests * 100,
        market_days=market_days,
    )


def _tonight(after_s: float, requests: int = 503, name: str = "daily") -> ScheduledLoad:
    starts_at = NOW + timedelta(seconds=after_s)
    return ScheduledLoad(name=name, starts_at=starts_at, requests=requests, interval_s=0.5)


def _forecast(
    load: Load,
    *schedules: ScheduledLoad,
    reserved_s: float = 0.0,
    quotas: Sequence[QuotaUse] = (),
    slots: RunSlots = FREE,
) -> Forecast:
    return forecast.forecast(
        load, now=NOW, reserved_s=reserved_s, quotas=quotas, schedules=schedules, slots=slots
    )


def test_time_is_the_requests_at_their_pace_after_what_is_reserved() -> None:
    """120 requests at two a second, behind six seconds of others."""
    forecast = _forecast(_load(120), reserved_s=6.0)

    assert forecast.minutes == pytest.approx(1.1)
    assert forecast.ends_at == NOW + timedelta(seconds=66)


def test_a_schedule_that_starts_meanwhile_goes_first_and_puts_the_load_back() -> None:
    """The load is only slower: the schedule is not endangered."""
    before, meanwhile, after = _tonight(-1, 10), _tonight(59, 60), _tonight(1000, 60)

    forecast = _forecast(_load(120), after, meanwhile, before)

    assert [meeting.schedule for meeting in forecast.meetings] == [before, meanwhile, after]
    assert [meeting.slowed_s for meeting in forecast.meetings] == [5.0, 30.0, 0.0]
    assert [meeting.during for meeting in forecast.meetings] == [True, True, False]
    assert forecast.minutes == pytest.approx((60 + 5 + 30) / 60)
    assert forecast.endangered == ()


def test_a_schedule_that_starts_within_the_delay_of_another_is_met_too() -> None:
    """The first delays the end beyond the start of the second."""
    forecast = _forecast(_load(120), _tonight(50, 60), _tonight(80, 20))

    assert forecast.ends_at == NOW + timedelta(seconds=60 + 30 + 10)


def test_nothing_to_ask_takes_nothing_and_meets_nobody() -> None:
    """Not even reserved slots, or a spent quota."""
    spent = QuotaUse(quota=DAILY, used=1000, resets_at=MIDNIGHT)
    forecast = _forecast(
        Load(requests=0, interval_s=0.5, bars=0, rows=0),
        _tonight(0),
        reserved_s=60.0,
        quotas=[spent],
        slots=RunSlots(allowed=1, taken=1),
    )

    assert (forecast.minutes, forecast.database_bytes, forecast.raw_bytes) == (0.0, 0, 0)
    assert forecast.endangered == ()
    assert forecast.quotas[0].share == 0.0


@pytest.mark.parametrize(
    ("used", "asked", "left_after", "endangered"),
    [
        (0, 497, 503, False),
        (0, 498, 502, True),
        (400, 97, 503, False),
        (400, 98, 502, True),
        (0, 1500, -500, True),
        (2000, 1, -1, True),
    ],
)
def test_a_quota_too_small_for_both_endangers_the_schedule(
    used: int, asked: int, left_after: int, endangered: bool
) -> None:
    """What is left after the load has to be enough for the 503 requests of the evening."""
    use = QuotaUse(quota=DAILY, used=used, resets_at=MIDNIGHT)
    forecast = _forecast(_load(asked), _tonight(3600), quotas=[use])

    (share,) = forecast.quotas
    assert (share.left_after, share.scheduled) == (left_after, 503)
    assert share.share == pytest.approx(asked / 1000)
    assert bool(forecast.endangered) is endangered
    assert forecast.meetings[0].short_of == (DAILY if endangered else None)


def test_a_quota_that_resets_before_the_schedule_concerns_it_not() -> None:
    """The next day's run has the next day's quota."""
    use = QuotaUse(quota=DAILY, used=0, resets_at=MIDNIGHT)
    forecast = _forecast(_load(1000), _tonight(8 * 3600), quotas=[use])

    assert forecast.quotas[0].scheduled == 0
    assert forecast.endangered == ()


@pytest.mark.parametrize(
    ("allowed", "taken", "after_s", "endangered"),
    [
        (2, 0, 30, False),
        (2, 1, 30, True),
        (2, 2, 30, True),
        (1, 0, 30, True),
        (2, 1, 90, False),
        (None, 9, 30, False),
    ],
)
def test_a_load_that_takes_the_last_slot_endangers_what_starts_meanwhile(
    allowed: int | None, taken: int, after_s: float, endangered: bool
) -> None:
    """A schedule that starts after its end finds the slot free again."""
    forecast = _forecast(
        _load(120), _tonight(after_s), slots=RunSlots(allowed=allowed, taken=taken)
    )

    assert forecast.meetings[0].without_slot is endangered
    assert bool(forecast.endangered) is endangered


def test_bytes_follow_from_rows_answers_and_bars() -> None:
    """One history of 2,738 bars comes to what was measured."""
    result = _forecast(Load(requests=1, interval_s=0.5, bars=2738, rows=2738))

    assert result.raw_bytes == pytest.approx(120_376, rel=0.01)
    assert result.database_bytes == 2738 * 189
    days = _forecast(Load(requests=2, interval_s=30.0, bars=1006, rows=503, market_days=2))
    assert days.raw_bytes == 2 * forecast.RAW_BYTES_PER_MARKET_DAY


SCHEDULES = st.lists(
    st.builds(_tonight, st.floats(-100, 5000), st.integers(0, 1000), st.text(max_size=3)),
    max_size=5,
    unique_by=lambda meeting: meeting.starts_at,
)


@given(
    requests=st.integers(1, 5000),
    more=st.integers(0, 5000),
    reserved_s=st.floats(0, 100),
    schedules=SCHEDULES,
)
def test_more_requests_never_end_sooner_or_meet_fewer(
    requests: int, more: int, reserved_s: float, schedules: list[ScheduledLoad]
) -> None:
    """The end is the pace, the reserved time, and the delay by each schedule met."""
    small = _forecast(_load(requests), *schedules, reserved_s=reserved_s)
    large = _forecast(_load(requests + more), *schedules, reserved_s=reserved_s)

    assert large.ends_at >= small.ends_at
    assert {meeting.schedule for meeting in small.meetings if meeting.during} <= {
        meeting.schedule for meeting in large.meetings if meeting.during
    }
    lasts_s = reserved_s + requests * 0.5 + sum(meeting.slowed_s for meeting in small.meetings)
    assert small.minutes * 60 == pytest.approx(lasts_s, abs=0.001)
    for meeting in small.meetings:
        assert meeting.during == (meeting.schedule.starts_at < small.ends_at)


@given(
    states=st.lists(
        st.sampled_from([*sorted(CoverageState), None]),
        min_size=len(SESSIONS),
        max_size=len(SESSIONS),
    ),
    asked=st.tuples(st.integers(0, len(SESSIONS)), st.integers(0, len(SESSIONS))),
)
def test_bars_are_counted_as_the_ledger_has_their_sessions(
    states: list[CoverageState | None], asked: tuple[int, int]
) -> None:
    """Whatever the ledger holds: each session asked for counts once, by its own state."""
    by_state: dict[CoverageState, list[date]] = {}
    for session, state in zip(SESSIONS, states, strict=True):
        if state is not None:
            by_state.setdefault(state, []).append(session)
    known = {state: spans_of(TradingDays(calendar()), days) for state, days in by_state.items()}
    low, high = min(asked), max(asked)

    bars, missing = forecast.count_days(SESSIONS[low:high], known)

    wanted = states[low:high]
    assert bars == sum(state is not CoverageState.NOT_LISTED for state in wanted)
    assert missing == bars - sum(state in HELD for state in wanted)
