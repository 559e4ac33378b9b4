"""The truth of a database of statements.

Here: the world's statements as Arrow tables in the schemas of marketdata/statements.py. Not here:
the statements (statements.py), or the truth of companies and indices (reference.py).
"""

import functools
import json
import re
from collections.abc import Iterable, Mapping
from datetime import date, datetime

import pyarrow as pa

from marketdata.statements import LINES, WIRE_STATEMENTS, StatementKind
from sandbox.simulators.worlds.fundamentals.statements import (
    ANNUAL,
    QUARTERLY,
    FiledStatements,
    Report,
    Row,
    exact,
)

_RENAMED: Mapping[str, str] = {
    "research_and_development_expenses": "research_and_development",
    "selling_general_and_administrative_expenses": "selling_general_and_administrative",
    "weighted_average_shs_out": "weighted_average_shares",
    "weighted_average_shs_out_dil": "weighted_average_shares_diluted",
    "property_plant_equipment_net": "property_plant_and_equipment",
    "account_payables": "accounts_payable",
    "accumulated_other_comprehensive_income_loss": "accumulated_other_comprehensive_income",
    "net_cash_provided_by_investing_activities": "investing_cash_flow",
    "net_cash_provided_by_financing_activities": "financing_cash_flow",
    "acquisitions_net": "acquisitions",
    "net_dividends_paid": "dividends_paid",
    "effect_of_forex_changes_on_cash": "effect_of_exchange_rates",
    "price_to_earnings_ratio": "price_to_earnings",
    "price_to_book_ratio": "price_to_book",
    "price_to_sales_ratio": "price_to_sales",
    "price_to_free_cash_flow_ratio": "price_to_free_cash_flow",
    "debt_to_assets_ratio": "debt_to_assets",
    "debt_to_equity_ratio": "debt_to_equity",
    "financial_leverage_ratio": "financial_leverage",
    "interest_coverage_ratio": "interest_coverage",
    "dividend_payout_ratio": "dividend_payout",
}
"""Columns whose name is not FMP's in snake case."""


def statement_truth(
    filed: FiledStatements, kind: StatementKind, tickers: Iterable[str], now: datetime
) -> pa.Table:
    """Return all rows of ``kind`` (WIRE_STATEMENTS) that are public by ``now``.

    Symbols are our tickers; ``answer`` is FMP's row in FMP's spelling. Sorted by ticker, period
    type and date.
    """
    schema = WIRE_STATEMENTS[kind]
    rows = [
        {name: value for name, value in row.items() if name in schema.names}
        for ticker in sorted(tickers)
        for period_type in (ANNUAL, QUARTERLY)
        for row in _rows(filed, kind, ticker, period_type, now)
    ]
    return pa.Table.from_pylist(rows, schema=schema)


def _rows(
    filed: FiledStatements, kind: StatementKind, ticker: str, period_type: str, now: datetime
) -> list[dict[str, object]]:
    reports = filed.reports(ticker, period_type, now)
    rows = filed.rows(kind, ticker, period_type, now)
    return [
        {
            "symbol": ticker,
            "period_type": period_type,
            **_dates(report),
            "reported_currency": row["reportedCurrency"],
            **_lines(kind, row),
            "answer": json.dumps(row),
        }
        for report, row in zip(reports, rows, strict=True)
    ]


def _dates(report: Report) -> dict[str, str | int | date | datetime]:
    return {
        "fiscal_date": report.fiscal_date,
        "fiscal_period": report.period,
        "fiscal_year": report.fiscal_year,
        "filing_date": report.filing.filing_date,
        "accepted_at": report.filing.accepted_at,
    }


def _lines(kind: StatementKind, row: Row) -> dict[str, object]:
    return {_column(name): exact(row[name]) for name in row if _column(name) in LINES[kind]}


@functools.cache
def _column(name: str) -> str:
    plain = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()
    return _RENAMED.get(plain, plain)
