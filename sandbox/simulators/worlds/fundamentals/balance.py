"""The balance sheet of an invented company, from its cash flow.

Here: levels and their sums; it balances because every flow has its other side. Not here: income and
cash flow (ledger.py).

Lines have FMP's names, in FMP's order (tests/recordings/fmp_balance_sheet_annual.json).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Amounts = npt.NDArray[np.int64]
Lines = Mapping[str, Amounts]


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """Initial figures of a company: its first revenue, and goodwill as a share of it."""

    revenue: float
    goodwill: float


def balance_sheet(income: Lines, levels: Lines, flow: Lines, start: Start) -> Lines:
    """Return FMP's lines in FMP's order.

    Args:
        income: Lines of the income statement.
        levels: What business needs at the end of each quarter (``fundamentals_ledger``).
        flow: Lines of the cash flow.
        start: What there is from the beginning.
    """
    assets = _assets(levels, flow, start)
    debts = _liabilities(levels, flow, start)
    total = assets["totalAssets"]
    equity = total - debts["totalLiabilities"]
    abroad = np.cumsum(flow["effectOfForexChangesOnCash"])
    base = thousands(income["revenue"][:1] * 2.0)
    stock = base + np.cumsum(flow["stockBasedCompensation"] + flow["commonStockIssuance"])
    nothing = np.zeros_like(total)
    invested = assets["shortTermInvestments"] + assets["longTermInvestments"]
    owed = levels["short_debt"] + levels["long_debt"] + debts["capitalLeaseObligations"]
    return {
        **assets,
        **debts,
        "treasuryStock": nothing,
        "preferredStock": nothing,
        "commonStock": stock,
        "retainedEarnings": equity - stock - abroad,
        "additionalPaidInCapital": nothing,
        "accumulatedOtherComprehensiveIncomeLoss": abroad,
        "otherTotalStockholdersEquity": nothing,
        "totalStockholdersEquity": equity,
        "totalEquity": equity,
        "minorityInterest": nothing,
        "totalLiabilitiesAndTotalEquity": total,
        "totalInvestments": invested,
        "totalDebt": owed,
        "netDebt": owed - levels["cash"],
    }


def _assets(levels: Lines, flow: Lines, start: Start) -> Lines:
    cash = levels["cash"]
    nothing = np.zeros_like(cash)
    invested = _always(cash, start.revenue) - np.cumsum(
        flow["purchasesOfInvestments"] + flow["salesMaturitiesOfInvestments"]
    )
    soon = thousands(invested * 0.3)
    other = _always(cash, start.revenue * 0.4)
    current = cash + soon + levels["receivables"] + levels["inventory"] + other
    plant = _always(cash, start.revenue * 2.0) - np.cumsum(
        flow["capitalExpenditure"] + flow["depreciationAndAmortization"]
    )
    goodwill = _always(cash, start.revenue * start.goodwill)
    intangible = _always(cash, start.revenue * start.goodwill * 0.4)
    remaining = _always(cash, start.revenue * 0.7)
    lasting = plant + goodwill + intangible + (invested - soon) + remaining
    return {
        "cashAndCashEquivalents": cash,
        "shortTermInvestments": soon,
        "cashAndShortTermInvestments": cash + soon,
        "netReceivables": levels["receivables"],
        "accountsReceivables": levels["receivables"],
        "otherReceivables": nothing,
        "inventory": levels["inventory"],
        "prepaids": nothing,
        "otherCurrentAssets": other,
        "totalCurrentAssets": current,
        "propertyPlantEquipmentNet": plant,
        "goodwill": goodwill,
        "intangibleAssets": intangible,
        "goodwillAndIntangibleAssets": goodwill + intangible,
        "longTermInvestments": invested - soon,
        "taxAssets": nothing,
        "otherNonCurrentAssets": remaining,
        "totalNonCurrentAssets": lasting,
        "otherAssets": nothing,
        "totalAssets": current + lasting,
    }


def _liabilities(levels: Lines, flow: Lines, start: Start) -> Lines:
    payables = levels["payables"]
    nothing = np.zeros_like(payables)
    leased_soon = _always(payables, start.revenue * 0.02)
    leased = _always(payables, start.revenue * 0.1)
    other_soon = _always(payables, start.revenue * 0.3)
    other = _always(payables, start.revenue * 0.4)
    deferred_tax = _always(payables, start.revenue * 0.2) + np.cumsum(flow["deferredIncomeTax"])
    current = payables + levels["short_debt"] + leased_soon + levels["deferred"] + other_soon
    lasting = levels["long_debt"] + leased + deferred_tax + other
    return {
        "totalPayables": payables,
        "accountPayables": payables,
        "otherPayables": nothing,
        "accruedExpenses": nothing,
        "shortTermDebt": levels["short_debt"],
        "capitalLeaseObligationsCurrent": leased_soon,
        "taxPayables": nothing,
        "deferredRevenue": levels["deferred"],
        "otherCurrentLiabilities": other_soon,
        "totalCurrentLiabilities": current,
        "longTermDebt": levels["long_debt"],
        "capitalLeaseObligationsNonCurrent": leased,
        "deferredRevenueNonCurrent": nothing,
        "deferredTaxLiabilitiesNonCurrent": deferred_tax,
        "otherNonCurrentLiabilities": other,
        "totalNonCurrentLiabilities": lasting,
        "otherLiabilities": nothing,
        "capitalLeaseObligations": leased_soon + leased,
        "totalLiabilities": current + lasting,
    }


def thousands(amounts: npt.NDArray[np.floating[Any]] | Amounts) -> Amounts:
    """Return whole thousands, the unit of all books."""
    return np.rint(amounts / 1000.0).astype(np.int64) * 1000


def _always(like: Amounts, amount: float) -> Amounts:
    return np.full_like(like, round(amount / 1000.0) * 1000)
