"""Two tables of one dataset are compared row by row, exactly."""

from collections.abc import Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pytest

from demo.comparison import Comparison, compare, compare_rows
from marketdata.rows import AMOUNT, INSTANT
from tests.fixtures.pipeline import Pipeline

STATEMENTS = pa.schema(
    [
        pa.field("symbol", pa.string()),
        pa.field("fiscal_date", pa.date32()),
        pa.field("revenue", AMOUNT),
        pa.field("answer", pa.string()),
    ]
)
MINUTES = pa.schema(
    [
        pa.field("symbol", pa.string()),
        pa.field("opened_at", INSTANT),
        pa.field("close", pa.float64()),
        pa.field("vwap", pa.float64()),
    ]
)
DAY = date(2026, 6, 27)


def _statements(*rows: tuple[str, str | None, str | None]) -> pa.Table:
    return pa.Table.from_pylist(
        [
            {
                "symbol": symbol,
                "fiscal_date": DAY,
                "revenue": None if revenue is None else Decimal(revenue),
                "answer": answer,
            }
            for symbol, revenue, answer in rows
        ],
        schema=STATEMENTS,
    )


def _minutes(*rows: tuple[str, datetime, float | None]) -> pa.Table:
    return pa.Table.from_pylist(
        [
            {"symbol": symbol, "opened_at": at, "close": close, "vwap": None}
            for symbol, at, close in rows
        ],
        schema=MINUTES,
    )


def _compared(stored: pa.Table, truth: pa.Table, **options: Any) -> Comparison:
    return compare_rows(stored, truth, key=(stored.column_names[1],), **options)


def test_equal_rows_in_another_order_are_equal() -> None:
    """Null equals null, and an amount equals itself with other trailing zeros."""
    stored = _statements(("A", "1.50", None), ("B", None, None))
    truth = _statements(("B", None, None), ("A", "1.5", None))
    compared = _compared(stored, truth)
    assert (compared.equal, compared.perfect) == (2, True)


@pytest.mark.parametrize(
    ("stored", "truth"),
    [
        ("1.000000000000000001", "1"),
        (None, "0"),
        ("0", None),
        ("99999999999999999999.999999999999999999", "99999999999999999999.999999999999999998"),
    ],
)
def test_the_last_digit_and_missing_count(stored: str | None, truth: str | None) -> None:
    """An amount is compared as a decimal, and missing is not zero."""
    compared = _compared(_statements(("A", stored, None)), _statements(("A", truth, None)))
    assert (compared.equal, compared.different, compared.sample) == (0, 1, ("A 2026-06-27",))


@pytest.mark.parametrize(
    ("stored", "same"),
    [
        ('{"eps": 1.50, "revenue": 9100000000}', True),
        ('{"revenue":9100000000,"eps":1.5}', True),
        ('{"revenue": 9100000000, "eps": 1.500000000000000001}', False),
        ('{"revenue": 9100000000}', False),
        ('{"revenue": 9100000000, "eps": "1.5"}', False),
    ],
)
def test_documents_are_compared_by_what_they_say(stored: str, same: bool) -> None:
    """The database writes a document with other blanks, order and zeros."""
    truth = '{"revenue": 9.1e9, "eps": 1.5}'
    compared = _compared(_statements(("A", "1", stored)), _statements(("A", "1", truth)))
    assert compared.perfect is same


def test_rows_of_one_side_only_are_told_apart() -> None:
    """A row that is not served is foreign; one that is not stored is absent."""
    stored = _statements(("A", "1", None), ("X", "1", None))
    truth = _statements(("A", "1", None), ("B", "1", None), ("C", "1", None))
    compared = _compared(stored, truth)
    assert (compared.equal, compared.different, compared.foreign, compared.absent) == (1, 0, 1, 2)
    assert compared.sample == ("B 2026-06-27", "C 2026-06-27", "X 2026-06-27")


def _at(day: int, hour: int) -> datetime:
    return datetime(2026, 8, day, hour, tzinfo=UTC)


@pytest.mark.parametrize(
    ("zone", "spans", "absent"),
    [
        ("UTC", [(date(2026, 8, 4), date(2026, 8, 5))], 1),
        ("UTC", [(date(2026, 8, 4), date(2026, 8, 6))], 2),
        # One o'clock in the morning of UTC is the evening before in New York.
        ("America/New_York", [(date(2026, 8, 4), date(2026, 8, 5))], 2),
        ("UTC", [], 0),
        ("UTC", [(date(2026, 8, 1), date(2026, 8, 2)), (date(2026, 8, 5), date(2026, 8, 6))], 1),
    ],
)
def test_only_rows_of_answered_days_can_be_absent(
    zone: str, spans: Sequence[tuple[date, date]], absent: int
) -> None:
    """A day belongs to its zone, and a span's end does not belong to it."""
    truth = _minutes(("A", _at(4, 15), 1.0), ("A", _at(5, 1), 1.0), ("B", _at(4, 15), 1.0))
    compared = _compared(truth.slice(0, 0), truth, zone=ZoneInfo(zone), answered={"A": spans})
    assert (compared.absent, compared.foreign) == (absent, 0)


def test_prices_are_compared_to_the_last_bit() -> None:
    """A float that is one step away is another price."""
    stored = _minutes(("A", _at(4, 15), 0.1 + 0.2), ("A", _at(4, 16), 0.3))
    truth = _minutes(("A", _at(4, 15), 0.3), ("A", _at(4, 16), 0.3))
    compared = _compared(stored, truth)
    assert (compared.equal, compared.different) == (1, 1)


def test_nothing_against_nothing_is_perfect() -> None:
    """Empty tables are equal, and nothing is counted."""
    empty = _minutes()
    assert _compared(empty, empty) == Comparison(
        equal=0, different=0, foreign=0, absent=0, sample=()
    )


def test_daily_bars_are_compared_with_what_their_own_provider_says(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Polygon's prices are as they were traded, FMP's are adjusted: AAPL split in 2020."""
    monkeypatch.setenv("WRDATA_DAILY_BARS_PROVIDER", "polygon")
    assert pipeline.run("universe").success
    assert pipeline.backfill(["AAPL"]).success

    compared = compare(pipeline.stores, pipeline.simulator)

    assert compared.perfect
    assert compared.equal > 400
