"""The oracle can fail: each kind of damage, fed to it, becomes a sentence."""

from datetime import UTC, date, datetime, timedelta

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from faults.oracle import (
    KEY,
    PACE_WINDOW,
    VALUES,
    Letter,
    LogFigures,
    at_pace,
    bar_findings,
    coverage_findings,
    letterless_findings,
    log_findings,
    missing,
    output_findings,
    secret_findings,
    window_findings,
)

DAYS = [date(2026, 11, day) for day in (16, 17, 18, 19, 20)]
TRUTH = pd.DataFrame(
    [
        (ticker, day, 1.0 + place, 3.0 + place, 1.0, 2.0, 1000.0)
        for ticker in ("AAPL", "MSFT")
        for place, day in enumerate(DAYS)
    ],
    columns=pd.Index([*KEY, *VALUES]),
)
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
MINUTE = timedelta(seconds=60)


def _without(ticker: str, *days: date) -> pd.DataFrame:
    return TRUTH[~((TRUTH["ticker"] == ticker) & TRUTH["session_date"].isin(days))]


def _letter(
    work: str = "instrument",
    subject: str = "MSFT",
    *,
    start: date | None = None,
    end: date | None = None,
    tickers: tuple[str, ...] = (),
) -> Letter:
    return Letter(
        work=work,
        subject=subject,
        state="open",
        error_class="X",
        start=start,
        end=end,
        tickers=tickers,
    )


def test_the_truth_itself_is_found_right() -> None:
    """Otherwise every scenario would fail."""
    assert bar_findings(TRUTH, TRUTH) == []
    assert coverage_findings(TRUTH, TRUTH[KEY]) == []
    assert letterless_findings(TRUTH, TRUTH, []) == []
    assert missing(TRUTH, TRUTH).empty


def test_a_lost_row_is_found() -> None:
    """One bar of one ticker, without a letter."""
    stored = _without("MSFT", DAYS[2])
    assert letterless_findings(TRUTH, stored, []) == [
        "1 bars are missing without a letter, such as MSFT 2026-11-18"
    ]


def test_a_duplicate_is_found() -> None:
    """Although the table's key forbids it: the oracle does not rely on it."""
    (finding,) = bar_findings(TRUTH, pd.concat([TRUTH, TRUTH.iloc[3:4]]))
    assert finding == "1 bars are stored twice, such as AAPL 2026-11-19"


@pytest.mark.parametrize("column", VALUES)
def test_a_wrong_value_is_found(column: str) -> None:
    """In any column, however small."""
    stored = TRUTH.copy()
    stored[column] += np.where(stored.index == 4, 1e-9, 0.0)
    (finding,) = bar_findings(TRUTH, stored)
    assert finding == "1 bars differ from the truth, such as AAPL 2026-11-20"


def test_a_missing_value_is_found() -> None:
    """A null is not equal to anything."""
    stored = TRUTH.copy()
    stored.loc[4, "close"] = None
    assert len(bar_findings(TRUTH, stored)) == 1


def test_a_bar_that_nobody_serves_is_found() -> None:
    """A ticker that was not asked for, or an instrument without a name."""
    foreign = TRUTH.assign(ticker="NVDA").iloc[:1]
    nameless = TRUTH.assign(ticker=None).iloc[:1]
    for stored in (foreign, nameless):
        (finding,) = bar_findings(TRUTH, pd.concat([TRUTH, stored]))
        assert finding.startswith("1 bars are stored, but not served or not asked for")


@pytest.mark.parametrize(
    ("letter", "explained"),
    [
        (_letter(), True),
        (_letter(subject="AAPL"), False),
        (_letter(start=DAYS[0], end=DAYS[4]), True),
        (_letter(start=DAYS[0], end=DAYS[1]), False),
        (_letter(work="record", subject="MSFT 2026-11-18"), True),
        (_letter(work="record", subject="MSFT 2026-11-19"), False),
        (_letter(work="record", subject="MSFT"), False),
        (_letter(work="session", subject="2026-11-18"), True),
        (_letter(work="session", subject="2026-11-17"), False),
        (_letter(work="run", subject="daily_bars 12ab", tickers=("MSFT",)), True),
        (_letter(work="run", subject="MSFT 12ab", tickers=("AAPL",)), False),
        (_letter(work="run", subject="daily_bars_by_session 2026-11-17 2026-11-18 12ab",
                 start=DAYS[1], end=DAYS[2]), True),
        (_letter(work="run", subject="daily_bars_by_session 2026-11-17 12ab",
                 start=DAYS[1], end=DAYS[1]), False),
    ],
)  # fmt: skip
def test_only_a_letter_about_the_bar_explains_it(letter: Letter, *, explained: bool) -> None:
    """A ticker without a letter is found even if there are letters about others."""
    findings = letterless_findings(TRUTH, _without("MSFT", DAYS[2]), [letter])
    assert (findings == []) == explained


def test_a_ledger_that_claims_or_forgets_is_found() -> None:
    """Held by the ledger alone, held by the table alone, and in two states at once."""
    stored = _without("MSFT", DAYS[0])
    covered = TRUTH[TRUTH["session_date"] != DAYS[4]][KEY]
    findings = coverage_findings(stored, pd.concat([covered, covered.iloc[:1]]))
    assert [finding.partition(" sessions ")[2].partition(",")[0] for finding in findings] == [
        "have two states in the ledger",
        "are held but not in the ledger",
        "are held by the ledger alone",
    ]


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"inserted": 9}, "the log inserted 9 bars, there are 10"),
        ({"restated": 1}, "0 bars were replaced (1 by the log)"),
        ({"versions": 1}, "1 bars were replaced (0 by the log)"),
        ({"orphans": 2}, "2 bars came with no answer of the log"),
    ],
)
def test_a_log_that_tells_another_story_is_found(changed: dict[str, int], sentence: str) -> None:
    """Rows are inserted once, never replaced where nothing was restated, and have an answer."""
    right = {"inserted": 10, "restated": 0, "bars": 10, "versions": 0, "orphans": 0}
    assert log_findings(LogFigures(**right)) == []
    (finding,) = log_findings(LogFigures(**{**right, **changed}))
    assert finding.startswith(sentence)


def test_a_window_over_the_limit_is_found_at_its_edges() -> None:
    """Closed: two arrivals exactly a minute apart are in one window, a microsecond more not."""
    third = NOON + MINUTE
    arrivals = [NOON, NOON + timedelta(seconds=1), third]
    assert window_findings(arrivals, limit=3, window=MINUTE) == []
    (finding,) = window_findings(arrivals, limit=2, window=MINUTE)
    assert finding.startswith("3 requests in 60 s from 12:00:00.000000 on, 2 are allowed")
    later = [NOON, NOON + timedelta(seconds=1), third + timedelta(microseconds=1)]
    assert window_findings(later, limit=2, window=MINUTE) == []


@given(
    seconds=st.lists(st.integers(0, 300), max_size=60),
    limit=st.integers(1, 12),
)
def test_no_window_over_the_limit_stays_hidden(seconds: list[int], limit: int) -> None:
    """Beside the plain definition: every window, begun at every second there is."""
    arrivals = [NOON + timedelta(seconds=second) for second in seconds]
    plain = any(
        sum(begin <= second <= begin + 60 for second in seconds) > limit for begin in range(301)
    )
    assert bool(window_findings(arrivals, limit=limit, window=MINUTE)) == plain


@pytest.mark.parametrize("per_minute", [60, 120, 300])
def test_two_workers_that_do_not_share_are_found_before_the_minute_is_over(per_minute: int) -> None:
    """At the pace of one nothing is found, at that of two it is."""
    pause = MINUTE / per_minute
    arrivals = [NOON + place * pause for place in range(per_minute // 4)]
    both = [*arrivals, *arrivals]
    limit = at_pace(per_minute)
    assert window_findings(arrivals, limit=limit, window=PACE_WINDOW) == []
    assert window_findings(both, limit=limit, window=PACE_WINDOW) != []
    assert window_findings(both, limit=per_minute, window=MINUTE) == []


def test_a_traceback_is_found() -> None:
    """And an abandoned task; a one-line error is neither."""
    assert output_findings("backfill", "error: the provider is away\n") == []
    for text in (
        "Traceback (most recent call last):\n  File x\nKeyError: 1\n",
        "Task was destroyed but it is pending!\n",
        "Task exception was never retrieved\n",
    ):
        (finding,) = output_findings("backfill", text)
        assert finding.startswith("`wrdata backfill` said")


def test_a_key_in_a_text_is_found() -> None:
    """Wherever it stands."""
    assert secret_findings(["k1", "k2"], ["nothing here"]) == []
    assert secret_findings(["k1", "k2"], ["error: apikey=k2", "k1"]) == [
        "2 texts hold a key or a password"
    ]
