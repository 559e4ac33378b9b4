"""Ratios of an invented company, from its books and its price.

Here: the formulas. Those that need one period alone give FMP's recorded ratios from its recorded
statements (tests/recordings/fmp_ratios_annual.json), but for debtServiceCoverageRatio, whose
formula is not known. Not here: the books (ledger.py), or prices (../../worlds/shares/world.py).

Ratios are plain fractions. What would be divided by zero is 0, as FMP writes it. Of the two fields
that FMP added on 30 July 2026 neither the place nor the formula is on record.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from sandbox.simulators.worlds.fundamentals.ledger import Amounts, Lines
from sandbox.simulators.worlds.shares.market import Floats

_Numbers = npt.NDArray[np.floating[Any]] | Amounts


def ratios(
    income: Lines, balance: Lines, flow: Lines, *, shares: Amounts, eps: Floats, price: Floats
) -> Mapping[str, Floats]:
    """Return FMP's ratios in FMP's order, one entry a period, oldest first.

    Args:
        income: Lines of the periods, like ``balance`` and ``flow``.
        balance: At the end of each period.
        flow: Lines of the cash flow.
        shares: Weighted average.
        eps: Earnings per share as reported, in cents.
        price: Close on the last session of each period; 0 where there is none.
    """
    # FMP adds the last three at the end of the row.
    value = price * shares
    earned_per_share = _over(income["netIncome"], shares)
    paid = -flow["netDividendsPaid"]
    return {
        **_margins(income),
        **_turnovers(income, balance),
        **_of_price(income, balance, flow, value=value, eps=eps),
        **_of_debt(balance),
        **_of_cash(income, balance, flow),
        "dividendPayoutRatio": _over(paid, income["netIncome"]),
        "dividendYield": _over(paid, value),
        "dividendYieldPercentage": _over(paid, value) * 100.0,
        **_per_share(income, balance, flow, shares),
        "netIncomePerEBT": _over(income["netIncome"], income["incomeBeforeTax"]),
        "ebtPerEbit": _over(income["incomeBeforeTax"], income["ebit"]),
        "priceToFairValue": _over(value, balance["totalStockholdersEquity"]),
        "debtToMarketCap": _over(balance["shortTermDebt"] + balance["longTermDebt"], value),
        "effectiveTaxRate": _over(income["incomeTaxExpense"], income["incomeBeforeTax"]),
        "enterpriseValueMultiple": _over(value + balance["netDebt"], income["ebitda"]),
        "dividendPerShare": _over(paid, shares),
        "priceToEarningsDilutedRatio": _over(price, earned_per_share * 0.992),
        "priceToEarningsDilutedGrowthRatio": _over(
            _over(price, earned_per_share * 0.992), _growth(eps) * 100.0
        ),
    }


def _margins(income: Lines) -> Mapping[str, Floats]:
    of = {
        "grossProfitMargin": "grossProfit",
        "ebitMargin": "ebit",
        "ebitdaMargin": "ebitda",
        "operatingProfitMargin": "operatingIncome",
        "pretaxProfitMargin": "incomeBeforeTax",
        "continuousOperationsProfitMargin": "netIncomeFromContinuingOperations",
        "netProfitMargin": "netIncome",
        "bottomLineProfitMargin": "bottomLineNetIncome",
    }
    return {name: _over(income[line], income["revenue"]) for name, line in of.items()}


def _turnovers(income: Lines, balance: Lines) -> Mapping[str, Floats]:
    revenue, cost = income["revenue"], income["costOfRevenue"]
    owed = balance["totalCurrentLiabilities"]
    earned = income["netIncome"] + income["depreciationAndAmortization"]
    return {
        "receivablesTurnover": _over(revenue, balance["netReceivables"]),
        "payablesTurnover": _over(cost, balance["accountPayables"]),
        "inventoryTurnover": _over(cost, balance["inventory"]),
        "fixedAssetTurnover": _over(revenue, balance["propertyPlantEquipmentNet"]),
        "assetTurnover": _over(revenue, balance["totalAssets"]),
        "currentRatio": _over(balance["totalCurrentAssets"], owed),
        "quickRatio": _over(balance["totalCurrentAssets"] - balance["inventory"], owed),
        "solvencyRatio": _over(earned, balance["totalLiabilities"]),
        "cashRatio": _over(balance["cashAndCashEquivalents"], owed),
    }


def _of_price(
    income: Lines, balance: Lines, flow: Lines, *, value: Floats, eps: Floats
) -> Mapping[str, Floats]:
    to_earnings = _over(value, income["netIncome"])
    to_growth = _over(to_earnings, _growth(eps) * 100.0)
    return {
        "priceToEarningsRatio": to_earnings,
        "priceToEarningsGrowthRatio": to_growth,
        "forwardPriceToEarningsGrowthRatio": to_growth,
        "priceToBookRatio": _over(value, balance["totalStockholdersEquity"]),
        "priceToSalesRatio": _over(value, income["revenue"]),
        "priceToFreeCashFlowRatio": _over(value, flow["freeCashFlow"]),
        "priceToOperatingCashFlowRatio": _over(value, flow["operatingCashFlow"]),
    }


def _of_debt(balance: Lines) -> Mapping[str, Floats]:
    debt, equity = balance["totalDebt"], balance["totalStockholdersEquity"]
    lasting = balance["longTermDebt"]
    return {
        "debtToAssetsRatio": _over(debt, balance["totalAssets"]),
        "debtToEquityRatio": _over(debt, equity),
        "debtToCapitalRatio": _over(debt, debt + equity),
        "longTermDebtToCapitalRatio": _over(lasting, lasting + equity),
        "financialLeverageRatio": _over(balance["totalAssets"], equity),
    }


def _of_cash(income: Lines, balance: Lines, flow: Lines) -> Mapping[str, Floats]:
    operating, spent = flow["operatingCashFlow"], -flow["capitalExpenditure"]
    paid = -flow["netDividendsPaid"]
    working = balance["totalCurrentAssets"] - balance["totalCurrentLiabilities"]
    average = (working + np.concatenate((working[:1], working[:-1]))) / 2.0
    return {
        "workingCapitalTurnoverRatio": _over(income["revenue"], average),
        "operatingCashFlowRatio": _over(operating, balance["totalCurrentLiabilities"]),
        "operatingCashFlowSalesRatio": _over(operating, income["revenue"]),
        "freeCashFlowOperatingCashFlowRatio": _over(flow["freeCashFlow"], operating),
        "debtServiceCoverageRatio": _over(
            operating, balance["shortTermDebt"] + income["interestExpense"]
        ),
        "interestCoverageRatio": _over(income["ebit"], income["interestExpense"]),
        "shortTermOperatingCashFlowCoverageRatio": _over(operating, balance["shortTermDebt"]),
        "operatingCashFlowCoverageRatio": _over(operating, balance["totalDebt"]),
        "capitalExpenditureCoverageRatio": _over(operating, spent),
        "dividendPaidAndCapexCoverageRatio": _over(operating, spent + paid),
    }


def _per_share(income: Lines, balance: Lines, flow: Lines, shares: Amounts) -> Mapping[str, Floats]:
    equity = balance["totalStockholdersEquity"]
    of = {
        "revenuePerShare": income["revenue"],
        "netIncomePerShare": income["netIncome"],
        "interestDebtPerShare": balance["totalDebt"] + income["interestExpense"],
        "cashPerShare": balance["cashAndShortTermInvestments"],
        "bookValuePerShare": equity,
        "tangibleBookValuePerShare": equity - balance["goodwillAndIntangibleAssets"],
        "shareholdersEquityPerShare": equity,
        "operatingCashFlowPerShare": flow["operatingCashFlow"],
        "capexPerShare": -flow["capitalExpenditure"],
        "freeCashFlowPerShare": flow["freeCashFlow"],
    }
    return {name: _over(line, shares) for name, line in of.items()}


def _growth(eps: Floats) -> Floats:
    """Return by which fraction earnings grew since the period before; 0 for the first one."""
    before = np.concatenate((eps[:1], eps[:-1]))
    return _over(eps - before, before)


def _over(part: _Numbers, whole: _Numbers) -> Floats:
    part, whole = part.astype(np.float64), whole.astype(np.float64)
    return np.divide(part, whole, out=np.zeros_like(part), where=whole != 0.0)
