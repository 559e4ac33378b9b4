"""Statements and companies: which rows may be stored, and why the others may not."""

from datetime import date
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketdata import companies, rows, statements
from marketdata.statements import FISCAL_PERIODS, WIRE_STATEMENTS, StatementKind

ON = date(2026, 11, 21)
FILED = [kind for kind in StatementKind if kind is not StatementKind.RATIOS]


def _row(kind: StatementKind, **change: object) -> dict[str, Any]:
    row: dict[str, Any] = dict.fromkeys(WIRE_STATEMENTS[kind].names)
    row |= {
        "symbol": "AAA",
        "period_type": "quarterly",
        "fiscal_date": date(2026, 6, 27),
        "fiscal_period": "Q3",
        "fiscal_year": 2026,
        "reported_currency": "USD",
        "answer": "{}",
    }
    return row | change


def _validated(kind: StatementKind, *wire_rows: dict[str, Any]) -> rows.Validated:
    table = pa.Table.from_pylist(list(wire_rows), schema=WIRE_STATEMENTS[kind])
    return statements.validate(kind, table, on=ON)


@pytest.mark.parametrize("kind", list(StatementKind))
def test_a_statement_of_which_nothing_but_the_frame_is_known_is_accepted(
    kind: StatementKind,
) -> None:
    """No line is compulsory, and neither is the time of the filing."""
    validated = _validated(kind, _row(kind), _row(kind, fiscal_period="FY", period_type="annual"))
    assert (validated.accepted.num_rows, validated.rejected) == (2, ())
    assert validated.accepted.schema == WIRE_STATEMENTS[kind]


@pytest.mark.parametrize("kind", list(StatementKind))
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"reported_currency": None}, "the reported currency is missing"),
        ({"reported_currency": ""}, "the reported currency is missing"),
        ({"fiscal_year": None}, "the fiscal year is missing"),
        ({"fiscal_period": None}, "the fiscal period does not go with the period type"),
        ({"fiscal_period": "Q5"}, "the fiscal period does not go with the period type"),
        ({"fiscal_period": "FY"}, "the fiscal period does not go with the period type"),
        ({"period_type": "annual"}, "the fiscal period does not go with the period type"),
        ({"period_type": "monthly"}, "the period type is unknown"),
        ({"fiscal_date": date(2026, 11, 22)}, "the fiscal date is in the future"),
    ],
)
def test_a_row_that_cannot_be_used_is_refused_with_its_reason(
    kind: StatementKind, change: dict[str, object], reason: str
) -> None:
    """And only that one."""
    validated = _validated(kind, _row(kind, **change), _row(kind, fiscal_period="Q2"))
    assert validated.accepted["fiscal_period"].to_pylist() == ["Q2"]
    (rejected,) = validated.rejected
    assert (rejected.symbol, rejected.reason) == ("AAA", reason)


@pytest.mark.parametrize("kind", FILED)
def test_nothing_is_filed_before_its_period_is_over(kind: StatementKind) -> None:
    """On the last day of the period it may be: FMP has such rows of long ago."""
    fiscal_date = date(2026, 6, 27)
    validated = _validated(
        kind,
        _row(kind, filing_date=date(2026, 6, 26)),
        _row(kind, fiscal_period="Q2", filing_date=fiscal_date),
    )
    (rejected,) = validated.rejected
    assert rejected.reason == "filed before the fiscal date"
    assert (rejected.what, rejected.day) == ("quarterly 2026-06-27 Q3", fiscal_date)
    assert validated.accepted.num_rows == 1


def test_a_repeated_row_is_kept_once_and_a_contradicted_one_not_at_all() -> None:
    """It is unknown which figure is right; exact amounts are shown unchanged."""
    kind = StatementKind.INCOME
    twice = _row(kind, fiscal_period="Q1", revenue=Decimal("1.5"))
    validated = _validated(
        kind, twice, twice, _row(kind, revenue=Decimal(1)), _row(kind, revenue=Decimal(2))
    )
    assert validated.accepted["fiscal_period"].to_pylist() == ["Q1"]
    (rejected,) = validated.rejected
    received = [row for row in rejected.received if not isinstance(row, str)]
    assert [row["revenue"] for row in received] == ["1", "2"]


def test_a_year_and_its_last_quarter_end_on_the_same_day() -> None:
    """They are two rows."""
    kind = StatementKind.INCOME
    annual = _row(kind, period_type="annual", fiscal_period="FY")
    validated = _validated(kind, annual, _row(kind, fiscal_period="Q4"))
    assert validated.accepted.num_rows == 2


_EVERY_PERIOD = [(kind, period) for kind, named in FISCAL_PERIODS.items() for period in named]


@given(
    st.lists(
        st.tuples(
            st.sampled_from(_EVERY_PERIOD),
            st.dates(date(2020, 1, 1), date(2030, 1, 1)),
            st.sampled_from(["USD", "", None]),
        ),
        max_size=12,
    )
)
def test_no_row_is_lost_between_the_two_halves(
    drawn: list[tuple[tuple[str, str], date, str | None]],
) -> None:
    """Accepted, refused, or an equal repeat of one that was accepted."""
    kind = StatementKind.RATIOS
    wire_rows = [
        _row(kind, period_type=period_type, fiscal_period=period, fiscal_date=day)
        | {"reported_currency": currency}
        for (period_type, period), day, currency in drawn
    ]
    validated = _validated(kind, *wire_rows)
    sound = {
        (period, day) for (_, period), day, currency in drawn if currency == "USD" and day <= ON
    }
    assert validated.accepted.num_rows == len(sound)
    unsound = [row for row in drawn if row[2] != "USD" or row[1] > ON]
    assert len(validated.rejected) == len(unsound)


def _company(**change: object) -> dict[str, Any]:
    row: dict[str, Any] = dict.fromkeys(companies.WIRE_COMPANIES.names)
    return row | {"symbol": "AAA", "name": "AAA Inc.", "answer": "{}"} | change


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"name": None}, "name is missing"),
        ({"name": "  "}, "name is missing"),
        ({"cik": "320193"}, "cik is not ten digits"),
        ({"employees": -1}, "employees is negative"),
    ],
)
def test_a_company_that_cannot_be_right_is_refused(change: dict[str, object], reason: str) -> None:
    """A missing value is no reason to refuse."""
    wire_rows = [_company(**change), _company(symbol="BBB", cik="0000320193", employees=0)]
    table = pa.Table.from_pylist(wire_rows, schema=companies.WIRE_COMPANIES)
    validated = companies.validate_companies(table)
    assert [(rejection.symbol, rejection.reason) for rejection in validated.rejected] == [
        ("AAA", reason)
    ]
    assert validated.accepted["symbol"].to_pylist() == ["BBB"]


def test_an_instrument_is_one_company() -> None:
    """Two different rows are both refused; the same row twice counts once."""
    wire_rows = [
        _company(),
        _company(name="Another"),
        _company(symbol="BBB"),
        _company(symbol="BBB"),
    ]
    table = pa.Table.from_pylist(wire_rows, schema=companies.WIRE_COMPANIES)
    validated = companies.validate_companies(table)
    assert validated.accepted["symbol"].to_pylist() == ["BBB"]
    assert len(validated.rejected) == 1


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"ticker": ""}, "ticker is missing"),
        ({"action": "renamed"}, "action is unknown"),
        ({"announced_on": date(2026, 6, 23)}, "announced after it took effect"),
    ],
)
def test_an_index_change_that_cannot_be_right_is_refused(
    change: dict[str, object], reason: str
) -> None:
    """An addition and a removal of one ticker on one day are two changes."""
    row = dict.fromkeys(companies.WIRE_INDEX_CHANGES.names) | {
        "symbol": "sp500",
        "effective_on": date(2026, 6, 22),
        "ticker": "AAA",
        "action": "added",
    }
    table = pa.Table.from_pylist(
        [row | change, row | {"ticker": "BBB"}, row | {"ticker": "BBB", "action": "removed"}],
        schema=companies.WIRE_INDEX_CHANGES,
    )
    validated = companies.validate_index_changes(table)
    assert [rejection.reason for rejection in validated.rejected] == [reason]
    assert validated.accepted["action"].to_pylist() == ["added", "removed"]
