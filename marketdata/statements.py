"""Financial statements as Arrow tables: their lines, keys, and the rules that a row must keep.

Here: schemas and rules of statements and ratios. Not here: wire formats (resources/providers),
SQL, or reads as of a moment (the migrations).
"""

from collections.abc import Mapping
from datetime import date
from enum import StrEnum

import pyarrow as pa
import pyarrow.compute as pc

from marketdata import rows
from marketdata.calendars import utc_now
from marketdata.rows import AMOUNT, INSTANT


class StatementKind(StrEnum):
    """The statements that are kept, by the names of their datasets."""

    INCOME = "income_statements"
    BALANCE_SHEET = "balance_sheets"
    CASH_FLOW = "cash_flows"
    RATIOS = "ratios"


class PeriodType(StrEnum):
    """What a row sums up: a fiscal year, or a half or a quarter of one."""

    ANNUAL = "annual"
    HALF_YEARLY = "half_yearly"
    QUARTERLY = "quarterly"


FISCAL_PERIODS: Mapping[PeriodType, tuple[str, ...]] = {
    PeriodType.ANNUAL: ("FY",),
    PeriodType.HALF_YEARLY: ("H1", "H2"),
    PeriodType.QUARTERLY: ("Q1", "Q2", "Q3", "Q4"),
}

KEY = ("period_type", "fiscal_date", "fiscal_period")
"""A fiscal year and its fourth quarter end on the same day."""

INCOME_LINES = (
    "revenue",
    "cost_of_revenue",
    "gross_profit",
    "research_and_development",
    "selling_general_and_administrative",
    "operating_expenses",
    "depreciation_and_amortization",
    "operating_income",
    "ebitda",
    "ebit",
    "interest_income",
    "interest_expense",
    "income_before_tax",
    "income_tax_expense",
    "net_income_from_continuing_operations",
    "net_income",
    "eps",
    "eps_diluted",
    "weighted_average_shares",
    "weighted_average_shares_diluted",
)

BALANCE_SHEET_LINES = (
    "cash_and_cash_equivalents",
    "short_term_investments",
    "net_receivables",
    "inventory",
    "total_current_assets",
    "property_plant_and_equipment",
    "goodwill",
    "intangible_assets",
    "long_term_investments",
    "total_assets",
    "accounts_payable",
    "short_term_debt",
    "deferred_revenue",
    "total_current_liabilities",
    "long_term_debt",
    "total_liabilities",
    "common_stock",
    "retained_earnings",
    "accumulated_other_comprehensive_income",
    "total_stockholders_equity",
    "minority_interest",
    "total_equity",
    "total_debt",
    "net_debt",
)

CASH_FLOW_LINES = (
    "net_income",
    "depreciation_and_amortization",
    "stock_based_compensation",
    "change_in_working_capital",
    "operating_cash_flow",
    "capital_expenditure",
    "acquisitions",
    "investing_cash_flow",
    "net_debt_issuance",
    "common_stock_issuance",
    "common_stock_repurchased",
    "dividends_paid",
    "financing_cash_flow",
    "effect_of_exchange_rates",
    "net_change_in_cash",
    "cash_at_beginning_of_period",
    "cash_at_end_of_period",
    "free_cash_flow",
    "income_taxes_paid",
    "interest_paid",
)

RATIO_LINES = (
    "gross_profit_margin",
    "ebitda_margin",
    "operating_profit_margin",
    "net_profit_margin",
    "receivables_turnover",
    "inventory_turnover",
    "asset_turnover",
    "current_ratio",
    "quick_ratio",
    "cash_ratio",
    "price_to_earnings",
    "price_to_book",
    "price_to_sales",
    "price_to_free_cash_flow",
    "debt_to_assets",
    "debt_to_equity",
    "financial_leverage",
    "interest_coverage",
    "dividend_payout",
    "dividend_yield",
    "dividend_per_share",
    "revenue_per_share",
    "book_value_per_share",
    "operating_cash_flow_per_share",
    "free_cash_flow_per_share",
    "effective_tax_rate",
    "enterprise_value_multiple",
)

LINES: Mapping[StatementKind, tuple[str, ...]] = {
    StatementKind.INCOME: INCOME_LINES,
    StatementKind.BALANCE_SHEET: BALANCE_SHEET_LINES,
    StatementKind.CASH_FLOW: CASH_FLOW_LINES,
    StatementKind.RATIOS: RATIO_LINES,
}
"""Lines with their own column; all others are in ``answer``."""


def _schema(kind: StatementKind) -> pa.Schema:
    filed = [pa.field("filing_date", pa.date32()), pa.field("accepted_at", INSTANT)]
    return pa.schema(
        [
            pa.field("symbol", pa.string(), nullable=False),
            pa.field("period_type", pa.string(), nullable=False),
            pa.field("fiscal_date", pa.date32(), nullable=False),
            pa.field("fiscal_period", pa.string()),
            pa.field("fiscal_year", pa.int32()),
            pa.field("reported_currency", pa.string()),
            *(filed if kind is not StatementKind.RATIOS else []),
            *(pa.field(name, AMOUNT) for name in LINES[kind]),
            pa.field("answer", pa.string(), nullable=False),
        ]
    )


WIRE_STATEMENTS: Mapping[StatementKind, pa.Schema] = {kind: _schema(kind) for kind in StatementKind}
"""Wire schema of each kind: one row for each fiscal period of a company.

``fiscal_date`` is the last day of the period. ``fiscal_period`` is FY of an annual row, H1 or H2
of a half-yearly one and Q1 to Q4 of a quarterly one, in the words of the provider. Amounts are in
whole units of ``reported_currency``, expenses positive and outflows of cash negative; ratios are
plain fractions. ``accepted_at`` (aware UTC) is when the filing became public, as the provider says:
an impossible time is judged by statement_public_at in SQL. Ratios have neither ``filing_date`` nor
``accepted_at``. ``answer`` is the provider's whole row as JSON.

A line that a company does not report has the provider's value: FMP sends 0, which looks like a
true zero. Null is only what came as null.
"""


def validate(kind: StatementKind, wire_rows: pa.Table, *, on: date | None = None) -> rows.Validated:
    """Split rows of WIRE_STATEMENTS into those to store and those to refuse.

    Rules: a currency and a fiscal year; a known fiscal period that fits the period type; a fiscal
    date that is not in the future; no filing before the fiscal date. Equal rows count once; of rows
    that differ none is kept.

    Args:
        kind: Kind of the statements.
        wire_rows: Rows in any order.
        on: The day of the answer; default today in UTC.
    """
    today = utc_now().date() if on is None else on
    rules: list[rows.Rule] = [
        ("the period type is unknown", _not_in(wire_rows["period_type"], tuple(FISCAL_PERIODS))),
        ("the fiscal period does not go with the period type", _mismatched(wire_rows)),
        ("the fiscal year is missing", pc.is_null(wire_rows["fiscal_year"])),
        (
            "the reported currency is missing",
            pc.fill_null(pc.equal(wire_rows["reported_currency"], ""), True),
        ),
        ("the fiscal date is in the future", pc.greater(wire_rows["fiscal_date"], today)),
    ]
    if kind is not StatementKind.RATIOS:
        early = pc.less(wire_rows["filing_date"], wire_rows["fiscal_date"])
        rules.append(("filed before the fiscal date", early))
    return rows.validate(wire_rows, key=KEY, rules=rules, day=_fiscal_date)


def _mismatched(wire_rows: pa.Table) -> pa.ChunkedArray:
    pairs = [f"{kind} {period}" for kind, periods in FISCAL_PERIODS.items() for period in periods]
    given = pc.binary_join_element_wise(wire_rows["period_type"], wire_rows["fiscal_period"], " ")
    return _not_in(given, pairs)


def _not_in(column: pa.ChunkedArray, known: list[str] | tuple[str, ...]) -> pa.ChunkedArray:
    return pc.invert(pc.is_in(column, pa.array(known, pa.string())))


def _fiscal_date(row: Mapping[str, object]) -> date:
    day = row["fiscal_date"]
    if not isinstance(day, date):
        message = f"fiscal_date is no date: {day!r}"
        raise TypeError(message)
    return day
