"""Planned requests for histories."""

from datetime import UTC, date, datetime

from hypothesis import given
from hypothesis import strategies as st

from marketdata.calendars import HISTORY_START, calendar
from marketdata.coverage import CoverageState, Span, spans_of
from marketdata.datasets import DATASETS
from marketdata.day_calendars import TradingDays
from marketdata.planning import Ledger, Wanted, plan_requests
from tests.marketdata.fakes import listed

NYSE = calendar()
DAYS, BARS = TradingDays(NYSE), DATASETS["daily_bars"]
NOW = datetime(2016, 2, 1, 22, tzinfo=UTC)
TODAY = date(2016, 2, 1)
SESSIONS = NYSE.sessions(HISTORY_START, TODAY)
A, B = listed("A", 1), listed("B", 2)


def _plan(
    ledger: Ledger, *, only_missing: bool, now: datetime = NOW, probes: bool = True
) -> list[tuple[str, date, date, bool]]:
    wanted = Wanted(only_missing=only_missing, probes=probes)
    requests = plan_requests(BARS, NYSE, [B, A], ledger, wanted, now=now)
    return [
        (request.instrument.ticker, request.start, request.end, request.from_inception)
        for request in requests
    ]


def test_a_whole_history_reaches_from_the_start_to_the_last_closed_session() -> None:
    """Whatever the ledger holds, in the given order."""
    ledger = {1: {CoverageState.COMPLETE: spans_of(DAYS, SESSIONS)}}
    assert _plan(ledger, only_missing=False) == [
        ("B", HISTORY_START, TODAY, True),
        ("A", HISTORY_START, TODAY, True),
    ]


def test_an_instrument_without_holes_needs_no_request() -> None:
    """An instrument that is not in the ledger has only holes."""
    ledger = {1: {CoverageState.COMPLETE: spans_of(DAYS, SESSIONS)}}
    assert _plan(ledger, only_missing=True) == [("B", HISTORY_START, TODAY, True)]


@given(st.sets(st.sampled_from(SESSIONS)))
def test_one_request_spans_all_holes_and_no_more(complete: set[date]) -> None:
    """From the first to the last hole; only from the very start can it show the listing."""
    known = {CoverageState.COMPLETE: spans_of(DAYS, complete)}
    missing = [session for session in SESSIONS if session not in complete]
    expected = [(missing[0], missing[-1], missing[0] == HISTORY_START)] if missing else []
    plan = _plan({1: known, 2: known}, only_missing=True)
    assert [piece[1:] for piece in plan if piece[0] == "A"] == expected


LATER = datetime(2018, 2, 1, 22, tzinfo=UTC)
NOW_SESSIONS = NYSE.sessions(HISTORY_START, LATER.date())


def _absent_until(first_bar: date) -> dict[CoverageState, tuple[Span, ...]]:
    """Return a ledger of which the days before a bar are empty at the provider."""
    return {
        CoverageState.PROVIDER_EMPTY: ((HISTORY_START, first_bar),),
        CoverageState.COMPLETE: ((first_bar, NYSE.next_session(NOW_SESSIONS[-1])),),
    }


def test_where_no_history_begins_at_the_beginning_one_request_finds_out_whether_it_does_now() -> (
    None
):
    """That of the history which begins first; the request covers only its holes."""
    ledger = {1: _absent_until(date(2017, 2, 1)), 2: _absent_until(date(2017, 6, 1))}

    assert _plan(ledger, only_missing=True, now=LATER) == [
        ("A", HISTORY_START, date(2017, 1, 31), True)
    ]
    assert _plan(ledger, only_missing=True, now=LATER, probes=False) == []


def test_where_a_history_begins_at_the_beginning_the_others_are_believed() -> None:
    """The key shows the whole range: absences have another reason."""
    ledger = {
        1: _absent_until(date(2017, 2, 1)),
        2: {CoverageState.COMPLETE: spans_of(DAYS, NOW_SESSIONS)},
    }

    assert _plan(ledger, only_missing=True, now=LATER) == []


def test_a_share_whose_listing_is_known_is_no_reason_to_ask() -> None:
    """The days before it are no absence."""
    unlisted = {
        CoverageState.NOT_LISTED: ((HISTORY_START, date(2017, 2, 1)),),
        CoverageState.COMPLETE: ((date(2017, 2, 1), NYSE.next_session(NOW_SESSIONS[-1])),),
    }

    assert _plan({1: unlisted, 2: unlisted}, only_missing=True, now=LATER) == []


def test_the_latest_sessions_are_asked_again_although_they_are_settled() -> None:
    """Instruments with holes come first; one request covers both."""
    settled = {CoverageState.COMPLETE: spans_of(DAYS, SESSIONS)}
    lacking = {CoverageState.COMPLETE: spans_of(DAYS, [*SESSIONS[:8], *SESSIONS[9:]])}
    ledger = {1: lacking, 2: settled}
    requests = plan_requests(BARS, NYSE, [B, A], ledger, Wanted(again=True), now=NOW)

    asked = [(request.instrument.ticker, request.start, request.end) for request in requests]
    assert asked == [("A", SESSIONS[8], TODAY), ("B", SESSIONS[-5], TODAY)]
