"""Coverage of each session: states, spans and holes."""

import itertools
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketdata.calendars import calendar
from marketdata.coverage import (
    ASK_AGAIN_FOR,
    SETTLE_AFTER,
    SETTLED,
    CoverageState,
    Span,
    assess,
    holes,
    percent_held,
    spans_of,
)
from marketdata.day_calendars import TradingDays

NYSE = calendar()
DAYS = TradingDays(NYSE)
SESSIONS = NYSE.sessions(date(2024, 1, 1), date(2024, 3, 31))
NOW = datetime(2024, 6, 1, tzinfo=UTC)
_SOME = st.sets(st.sampled_from(SESSIONS))


def _assess(
    asked: list[date],
    received: set[date] | None = None,
    rejected: set[date] | None = None,
    now: datetime = NOW,
) -> dict[CoverageState, list[date]]:
    return assess(
        DAYS,
        asked,
        received=received or set(),
        rejected=rejected or set(),
        now=now,
    )


@given(_SOME, _SOME, _SOME, st.sampled_from(SESSIONS))
def test_every_closed_session_asked_for_gets_exactly_one_state(
    asked: set[date], received: set[date], rejected: set[date], today: date
) -> None:
    """States are disjoint; together they are what was asked and has closed, or came anyway."""
    now = NYSE.close_at(today)
    states = _assess(sorted(asked), received, rejected, now)
    sorted_in = [session for sessions in states.values() for session in sessions]
    assert len(sorted_in) == len(set(sorted_in))
    answered = received | rejected
    assert set(sorted_in) == {
        session for session in asked if NYSE.close_at(session) <= now or session in answered
    }
    assert all(states.values())
    for state in (CoverageState.COMPLETE, CoverageState.PROVISIONAL):
        assert received.issuperset(states.get(state, []))


@pytest.mark.parametrize(
    ("after_close", "state"),
    [
        (-timedelta(hours=1), CoverageState.PROVISIONAL),
        (timedelta(0), CoverageState.PROVISIONAL),
        (SETTLE_AFTER - timedelta(seconds=1), CoverageState.PROVISIONAL),
        (SETTLE_AFTER, CoverageState.COMPLETE),
    ],
)
def test_a_bar_is_complete_once_its_session_has_settled(
    after_close: timedelta, state: CoverageState
) -> None:
    """A bar fetched too early may still change, even one of an open session."""
    session = date(2024, 11, 29)
    now = NYSE.close_at(session) + after_close
    assert _assess([session], {session}, now=now) == {state: [session]}


def test_a_bar_that_came_in_a_good_and_a_broken_form_counts_as_received() -> None:
    """The stored bar decides."""
    session = SESSIONS[0]
    assert _assess([session], {session}, {session}) == {CoverageState.COMPLETE: [session]}


def test_sessions_before_the_first_bar_are_no_more_than_empty() -> None:
    """A later listing looks like a plan of five years: evidence decides."""
    first, second, third = SESSIONS[:3]
    states = _assess([first, second, third], {third}, {second})
    assert states == {
        CoverageState.PROVIDER_EMPTY: [first],
        CoverageState.QUARANTINED: [second],
        CoverageState.COMPLETE: [third],
    }
    assert _assess([first]) == {CoverageState.PROVIDER_EMPTY: [first]}


def test_a_day_without_session_cannot_be_assessed() -> None:
    """Asking for one is a bug."""
    with pytest.raises(ValueError, match="no session"):
        _assess([date(2024, 1, 1)])


@given(_SOME)
def test_spans_cover_exactly_the_sessions(sessions: set[date]) -> None:
    """In order, never touching each other, and no other session within them."""
    spans = spans_of(DAYS, sessions)
    covered = {
        session for session in SESSIONS if any(start <= session < end for start, end in spans)
    }
    assert covered == sessions
    for (_, end), (start, _) in itertools.pairwise(spans):
        assert end < start


def test_sessions_that_follow_each_other_give_one_span() -> None:
    """Over a weekend and a holiday too, whatever their order."""
    days = [date(2024, 1, 16), date(2024, 1, 12), date(2024, 1, 11), date(2024, 1, 12)]
    assert spans_of(DAYS, days) == ((date(2024, 1, 11), date(2024, 1, 17)),)
    assert spans_of(DAYS, []) == ()


@pytest.mark.parametrize("state", list(CoverageState))
def test_only_settled_states_and_old_empty_answers_need_no_request(state: CoverageState) -> None:
    """An empty answer is asked again for a week."""
    session = SESSIONS[0]
    ledger: dict[CoverageState, tuple[Span, ...]] = {state: spans_of(DAYS, [session])}
    soon = holes([session], ledger, today=session + ASK_AGAIN_FOR)
    later = holes([session], ledger, today=session + ASK_AGAIN_FOR + timedelta(days=1))
    assert (soon == []) is (state in SETTLED)
    assert (later == []) is (state in SETTLED | {CoverageState.PROVIDER_EMPTY})


def test_coverage_is_the_share_of_what_should_be_there() -> None:
    """What was never asked for is missing; what was not listed should not be there."""
    sessions = {
        CoverageState.COMPLETE: 2,
        CoverageState.PROVISIONAL: 1,
        CoverageState.ARCHIVED: 1,
        CoverageState.NOT_LISTED: 90,
        CoverageState.PROVIDER_EMPTY: 1,
        CoverageState.FAILED: 1,
        CoverageState.QUARANTINED: 1,
    }
    assert percent_held(sessions, unknown=1) == 50.0
    assert percent_held({CoverageState.COMPLETE: 999_999}, unknown=1) == 99.99, "not all"
    assert percent_held({CoverageState.NOT_LISTED: 5}) == 100.0
    assert percent_held({}, unknown=3) == 0.0


@given(_SOME, _SOME, _SOME)
def test_holes_are_the_expected_sessions_that_nothing_settles(
    expected: set[date], complete: set[date], failed: set[date]
) -> None:
    """In the order asked for; what a failure says of a session leaves it a hole."""
    ledger = {
        CoverageState.COMPLETE: spans_of(DAYS, complete),
        CoverageState.FAILED: spans_of(DAYS, failed - complete),
    }
    missing = holes(sorted(expected), ledger, today=NOW.date())
    assert missing == sorted(expected - complete)


@given(_SOME, _SOME)
def test_an_assessed_answer_leaves_no_settled_session_a_hole(
    received: set[date], rejected: set[date]
) -> None:
    """From answer to ledger to plan: what is complete or not listed is not asked for again."""
    states = _assess(SESSIONS, received, rejected - received)
    ledger = {state: spans_of(DAYS, sessions) for state, sessions in states.items()}
    missing = holes(SESSIONS, ledger, today=SESSIONS[-1])
    again = {CoverageState.QUARANTINED, CoverageState.PROVIDER_EMPTY}
    assert missing == sorted(
        session
        for state in again
        for session in states.get(state, [])
        if state is CoverageState.QUARANTINED or SESSIONS[-1] - session <= ASK_AGAIN_FOR
    )
