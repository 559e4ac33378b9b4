"""Which histories are asked for."""

from datetime import UTC, date, datetime

from hypothesis import given
from hypothesis import strategies as st

from marketdata.calendars import HISTORY_START, calendar
from marketdata.coverage import CoverageState, spans_of
from marketdata.planning import Ledger, plan_histories
from tests.marketdata.fakes import listed

NYSE = calendar()
NOW = datetime(2016, 2, 1, 22, tzinfo=UTC)
TODAY = date(2016, 2, 1)
SESSIONS = NYSE.sessions(HISTORY_START, TODAY)
A, B = listed("A", 1), listed("B", 2)


def _plan(ledger: Ledger, *, only_holes: bool) -> list[tuple[str, date, date, bool]]:
    requests = plan_histories(NYSE, [B, A], ledger, now=NOW, only_holes=only_holes)
    return [(one.instrument.ticker, one.start, one.end, one.from_listing) for one in requests]


def test_a_whole_history_reaches_from_the_start_to_the_last_closed_session() -> None:
    """Whatever the ledger knows, in the order given."""
    ledger = {1: {CoverageState.COMPLETE: spans_of(NYSE, SESSIONS)}}
    assert _plan(ledger, only_holes=False) == [
        ("B", HISTORY_START, TODAY, True),
        ("A", HISTORY_START, TODAY, True),
    ]


def test_an_instrument_without_holes_needs_no_request() -> None:
    """One that the ledger does not know has nothing but holes."""
    ledger = {1: {CoverageState.COMPLETE: spans_of(NYSE, SESSIONS)}}
    assert _plan(ledger, only_holes=True) == [("B", HISTORY_START, TODAY, True)]


@given(st.sets(st.sampled_from(SESSIONS)))
def test_one_request_spans_all_holes_and_no_more(complete: set[date]) -> None:
    """From the first to the last; only from the very start does it speak of the listing."""
    known = {CoverageState.COMPLETE: spans_of(NYSE, complete)}
    missing = [session for session in SESSIONS if session not in complete]
    expected = [(missing[0], missing[-1], missing[0] == HISTORY_START)] if missing else []
    plan = _plan({1: known, 2: known}, only_holes=True)
    assert [one[1:] for one in plan if one[0] == "A"] == expected
