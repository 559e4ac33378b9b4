"""The oracle of datasets can fail: each kind of damage, fed to it, becomes a sentence."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pyarrow as pa
import pytest

from faults.dataset_oracle import (
    Slice,
    SliceLetter,
    budget_findings,
    letterless_findings,
    row_findings,
)
from faults.oracle import Letter
from marketdata.actions import WIRE_SPLITS
from sandbox.simulators.journal import JournalEntry

SPLITS = Slice(dataset="splits", provider="fmp", symbols=("AAPL", "MSFT"))
MINUTES = Slice(
    dataset="minute_bars",
    provider="polygon",
    symbols=("AAPL",),
    start=date(2026, 11, 19),
    end=date(2026, 11, 20),
)
DAY = date(2026, 11, 20)
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


def _splits(*rows: tuple[str, int]) -> pa.Table:
    return pa.Table.from_pylist(
        [
            {
                "symbol": symbol,
                "ex_date": DAY,
                "new_shares": Decimal(new),
                "old_shares": Decimal(1),
                "kind": None,
            }
            for symbol, new in rows
        ],
        schema=WIRE_SPLITS,
    )


TRUTH = _splits(("AAPL", 4), ("MSFT", 2))


def test_the_truth_itself_is_found_right() -> None:
    """Otherwise every scenario would fail; a missing row is for letters to explain."""
    assert row_findings(SPLITS, TRUTH, TRUTH) == []
    assert row_findings(SPLITS, TRUTH.slice(1), TRUTH) == []


@pytest.mark.parametrize(
    ("stored", "sign"),
    [
        (_splits(("AAPL", 4), ("MSFT", 3)), "1 rows differ from the truth, such as MSFT"),
        (_splits(("AAPL", 4), ("MSFT", 2), ("NVDA", 2)), "1 rows are stored, but not served"),
        (_splits(("AAPL", 4), ("MSFT", 2), ("MSFT", 2)), "1 rows are stored twice"),
    ],
)
def test_a_row_that_is_wrong_foreign_or_there_twice_is_found(stored: pa.Table, sign: str) -> None:
    """Whatever the table's key promises."""
    assert any(sign in finding for finding in row_findings(SPLITS, stored, TRUTH))


def _letter(subject: str, day: date | None = None, *, work: str = "instrument") -> Letter:
    return Letter(work=work, subject=subject, state="open", error_class="X", start=day, end=day)


@pytest.mark.parametrize(
    ("dataset", "provider", "letter", "explained"),
    [
        ("minute_bars", "polygon", _letter("AAPL"), True),
        ("minute_bars", "polygon", _letter("AAPL", DAY), True),
        ("minute_bars", "polygon", _letter("AAPL from 2026-11-19"), True),
        ("minute_bars", "polygon", _letter("AAPL", MINUTES.start), False),
        ("minute_bars", "polygon", _letter("MSFT"), False),
        ("minute_bars", "tiingo", _letter("AAPL"), False),
        ("splits", "polygon", _letter("AAPL"), False),
        ("minute_bars", None, _letter("minute_bars 12ab", work="run"), True),
    ],
)
def test_only_a_letter_about_the_row_explains_it(
    dataset: str, provider: str | None, letter: Letter, *, explained: bool
) -> None:
    """Of the dataset, the provider, the subject and the day."""
    letters = [SliceLetter(letter=letter, dataset=dataset, provider=provider)]
    findings = letterless_findings(MINUTES, [("AAPL", DAY)], letters)
    assert (findings == []) == explained


def test_each_provider_is_held_to_its_own_limit() -> None:
    """Ten a second is Coinbase's, two FRED's; what weighs more counts more."""
    findings = [
        *budget_findings(_arrivals("/coinbase/products", 10), 120),
        *budget_findings(_arrivals("/fred/series", 2), 120),
        *budget_findings(_arrivals("/binance/api/v3/aggTrades", 1_500), 120),
    ]
    assert findings == []
    for path, count in (
        ("/coinbase/products", 11), ("/fred/series", 3), ("/polygon/v2", 301),
        ("/binance/api/v3/aggTrades", 1_501), ("/stable/splits", 121),
    ):  # fmt: skip
        assert any(
            "requests in" in budget_finding
            for budget_finding in budget_findings(_arrivals(path, count), 120)
        )


def test_an_error_that_nobody_injected_is_found() -> None:
    """The provider's own error for too many requests."""
    (finding,) = budget_findings(_arrivals("/tiingo/iex", 1, status=429), 120)
    assert finding == "/tiingo/: the provider itself refused 1 requests for its limit"
    assert budget_findings(_arrivals("/tiingo/iex", 1, status=429, fault="status"), 120) == []


def _arrivals(
    path: str, count: int, *, status: int = 200, fault: str | None = None
) -> list[JournalEntry]:
    return [
        JournalEntry(
            at=(NOON + timedelta(microseconds=place)).isoformat(),
            method="GET",
            path=path,
            query={},
            key=None,
            status=status,
            bytes=0,
            duration_s=0.0,
            fault=fault,
        )
        for place in range(count)
    ]
