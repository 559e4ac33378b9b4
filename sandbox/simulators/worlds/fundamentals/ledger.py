"""Invented books of a company: every line of every quarter, a pure function of seed and name.

Here: numbers that fit together: the balance sheet balances, the cash flow ends in the balance
sheet's cash, and earnings and pay-outs are what moves equity. Not here: the balance sheet
(balance.py), fiscal dates (periods.py), ratios (ratios.py), or what is published and restated
(statements.py).

Lines have FMP's names, in FMP's order (its reference of the stable API; tests/recordings). A line
that a company does not report is 0. Amounts are whole thousands of the company's currency.
"""

import functools
from dataclasses import dataclass, replace

import numpy as np

from sandbox.simulators.worlds.fundamentals.balance import (
    Amounts,
    Lines,
    Start,
    balance_sheet,
    thousands,
)
from sandbox.simulators.worlds.shares import market
from sandbox.simulators.worlds.shares.market import Floats

FIRST_YEAR = 2006
"""The first fiscal year of every book."""
YEARS = 40
"""A book's length is fixed, so that no figure depends on the requested range."""
QUARTERS = 4
_BAD_QUARTERS = 0.05
"""Share of the quarters with a charge that makes most companies lose money."""
CURRENCIES = ("USD",) * 19 + ("EUR", "GBP", "CAD", "CHF", "EUR")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """The books of one company, one array a line with an entry for each quarter.

    Attributes:
        income: Without the lines per share.
        shares: Weighted average of the quarter.
        diluted_shares: The same with all options exercised.
    """

    currency: str
    income: Lines
    balance: Lines
    cash_flow: Lines
    shares: Amounts
    diluted_shares: Amounts


@dataclass(frozen=True, slots=True, kw_only=True)
class _Traits:
    """Traits of a company; shares are of its revenue."""

    revenue: float
    cost: float
    research: float
    overhead: float
    overhead_is_split: bool
    depreciation: float
    reports_interest: bool
    has_inventory: bool
    pays_dividends: bool
    trades_abroad: bool
    goodwill: float
    tax_rate: float


@functools.lru_cache(maxsize=1024)
def ledger(seed: str, name: str) -> Ledger:
    """Return the books of the company ``name``."""
    traits = _traits(seed, name)
    income = _income(seed, name, traits)
    levels = _levels(income, traits)
    cash_flow = _cash_flow(income, levels, traits)
    start = Start(revenue=traits.revenue, goodwill=traits.goodwill)
    balance = balance_sheet(income, levels, cash_flow, start)
    place = np.arange(YEARS * QUARTERS)
    shares = thousands(traits.revenue * 0.5 * 0.997**place)
    return Ledger(
        currency=CURRENCIES[int(_uniform(seed, name, "currency") * len(CURRENCIES))],
        income=income,
        balance=balance,
        cash_flow=cash_flow,
        shares=shares,
        diluted_shares=shares + thousands(shares * 0.008),
    )


def reclassified(of: Ledger, factors: Floats) -> Ledger:
    """Return the books with some quarters restated by ``factors`` (1 leaves a quarter alone).

    Revenue, receivables and stock compensation become so many times what they were; cost, other
    current assets and other non-cash items take the difference. Profit, cash and equity stay, so
    that a restated quarter changes no other one.
    """
    income, balance, flow = dict(of.income), dict(of.balance), dict(of.cash_flow)
    more = thousands(income["revenue"] * (factors - 1.0))
    for name in ("revenue", "costOfRevenue", "costAndExpenses"):
        income[name] = income[name] + more
    more = thousands(balance["netReceivables"] * (factors - 1.0))
    for name in ("netReceivables", "accountsReceivables"):
        balance[name] = balance[name] + more
    balance["otherCurrentAssets"] = balance["otherCurrentAssets"] - more
    more = thousands(flow["stockBasedCompensation"] * (factors - 1.0))
    flow["stockBasedCompensation"] = flow["stockBasedCompensation"] + more
    flow["otherNonCashItems"] = flow["otherNonCashItems"] - more
    return replace(of, income=income, balance=balance, cash_flow=flow)


def part(of: Ledger, first: int, count: int) -> Ledger:
    """Return the books of ``count`` quarters, the first of them the one in place ``first``."""
    piece = slice(first, first + count)
    return replace(
        of,
        income={name: line[piece] for name, line in of.income.items()},
        balance={name: line[piece] for name, line in of.balance.items()},
        cash_flow={name: line[piece] for name, line in of.cash_flow.items()},
        shares=of.shares[piece],
        diluted_shares=of.diluted_shares[piece],
    )


def by_year(of: Ledger) -> Ledger:
    """Return the books by whole years: flows are added up, levels are those of the last quarter."""

    def years(line: Amounts) -> Amounts:
        return line[: len(line) // QUARTERS * QUARTERS].reshape(-1, QUARTERS)

    flow = {name: years(line).sum(axis=1) for name, line in of.cash_flow.items()}
    flow["cashAtBeginningOfPeriod"] = years(of.cash_flow["cashAtBeginningOfPeriod"])[:, 0]
    flow["cashAtEndOfPeriod"] = years(of.cash_flow["cashAtEndOfPeriod"])[:, -1]
    return replace(
        of,
        income={name: years(line).sum(axis=1) for name, line in of.income.items()},
        balance={name: years(line)[:, -1] for name, line in of.balance.items()},
        cash_flow=flow,
        shares=years(of.shares).sum(axis=1) // QUARTERS,
        diluted_shares=years(of.diluted_shares).sum(axis=1) // QUARTERS,
    )


def _traits(seed: str, name: str) -> _Traits:
    draws = [float(draw) for draw in market.uniforms(f"{seed}/{name}/company", 1, 12)[0]]
    return _Traits(
        revenue=10.0 ** (8.2 + 2.3 * draws[0]),
        cost=0.45 + 0.2 * draws[1],
        research=(0.02 + 0.08 * draws[2]) * _of_share(draws[3], 0.4),
        overhead=0.08 + 0.1 * draws[4],
        overhead_is_split=_of_share(draws[5], 0.5),
        depreciation=0.02 + 0.04 * draws[6],
        reports_interest=_of_share(draws[7], 0.6),
        has_inventory=_of_share(draws[8], 0.6),
        pays_dividends=_of_share(draws[9], 0.6),
        trades_abroad=_of_share(draws[10], 0.5),
        goodwill=max(0.0, draws[11] - 0.3),
        tax_rate=0.15 + 0.1 * draws[0],
    )


def _of_share(draw: float, share: float) -> bool:
    return draw < share


def _uniform(seed: str, name: str, purpose: str) -> float:
    return float(market.uniforms(f"{seed}/{name}/{purpose}", 1, 1)[0, 0])


def _income(seed: str, name: str, traits: _Traits) -> Lines:
    draws = market.uniforms(f"{seed}/{name}/quarters", YEARS * QUARTERS, 4)
    season = 1.0 + 0.08 * np.sin(np.arange(len(draws)) % QUARTERS * np.pi / 2.0)
    growth = np.exp(np.cumsum(0.012 + 0.06 * (draws[:, 0] - 0.5)))
    revenue = thousands(traits.revenue * growth * season)
    cost = thousands(revenue * (traits.cost + 0.06 * (draws[:, 1] - 0.5)))
    research = thousands(revenue * traits.research)
    overhead = thousands(revenue * (traits.overhead + 0.03 * (draws[:, 2] - 0.5)))
    selling = thousands(overhead * 0.4) * int(traits.overhead_is_split)
    other = thousands(revenue * np.where(draws[:, 3] < _BAD_QUARTERS, 0.25, 0.0))
    expenses = research + overhead + other
    nothing = np.zeros_like(revenue)
    earned = thousands(revenue * 0.004) * int(traits.reports_interest)
    owed = thousands(revenue * 0.012) * int(traits.reports_interest)
    operating = revenue - cost - expenses
    depreciation = thousands(revenue * traits.depreciation)
    before_tax = operating + earned - owed
    tax = thousands(before_tax * traits.tax_rate)
    return {
        "revenue": revenue,
        "costOfRevenue": cost,
        "grossProfit": revenue - cost,
        "researchAndDevelopmentExpenses": research,
        "generalAndAdministrativeExpenses": (overhead - selling) * int(traits.overhead_is_split),
        "sellingAndMarketingExpenses": selling,
        "sellingGeneralAndAdministrativeExpenses": overhead,
        "otherExpenses": other,
        "operatingExpenses": expenses,
        "costAndExpenses": cost + expenses,
        "netInterestIncome": earned - owed,
        "interestIncome": earned,
        "interestExpense": owed,
        "depreciationAndAmortization": depreciation,
        "ebitda": operating + depreciation,
        "ebit": operating,
        "nonOperatingIncomeExcludingInterest": nothing,
        "operatingIncome": operating,
        "totalOtherIncomeExpensesNet": earned - owed,
        "incomeBeforeTax": before_tax,
        "incomeTaxExpense": tax,
        "netIncomeFromContinuingOperations": before_tax - tax,
        "netIncomeFromDiscontinuedOperations": nothing,
        "otherAdjustmentsToNetIncome": nothing,
        "netIncome": before_tax - tax,
        "netIncomeDeductions": nothing,
        "bottomLineNetIncome": before_tax - tax,
    }


def _levels(income: Lines, traits: _Traits) -> Lines:
    """Return the operating levels of the balance sheet at the end of each quarter."""
    revenue, cost = income["revenue"], income["costOfRevenue"]
    return {
        "cash": thousands(revenue * 0.5),
        "receivables": thousands(revenue * 0.55),
        "inventory": thousands(cost * 0.35) * int(traits.has_inventory),
        "payables": thousands(cost * 0.5),
        "deferred": thousands(revenue * 0.12),
        "short_debt": thousands(revenue * 0.2),
        "long_debt": thousands(revenue * 1.1),
    }


def _cash_flow(income: Lines, levels: Lines, traits: _Traits) -> Lines:
    revenue, earned = income["revenue"], income["netIncome"]
    nothing = np.zeros_like(revenue)
    depreciation = income["depreciationAndAmortization"]
    deferred_tax = thousands(income["incomeTaxExpense"] * 0.05)
    compensation = thousands(revenue * 0.02)
    change = {name: _change(level) for name, level in levels.items()}
    working = change["payables"] + change["deferred"] - change["receivables"] - change["inventory"]
    operating = earned + depreciation + deferred_tax + compensation + working
    spent = -thousands(revenue * (traits.depreciation + 0.01))
    bought, sold = -thousands(revenue * 0.03), thousands(revenue * 0.025)
    investing = spent + bought + sold
    borrowed = change["short_debt"] + change["long_debt"]
    paid = -thousands(np.maximum(earned, 0) * 0.3) * int(traits.pays_dividends)
    sway = np.sin(np.arange(len(revenue)) * 1.7)
    abroad = thousands(revenue * 0.002 * sway) * int(traits.trades_abroad)
    # Cash beyond the need of business buys shares back; a lack is met by issuing shares.
    left = operating + investing + borrowed + paid + abroad - change["cash"]
    issued, repurchased = np.maximum(-left, 0), -np.maximum(left, 0)
    financing = borrowed + issued + repurchased + paid
    before = levels["cash"] - change["cash"]
    return {
        "netIncome": earned,
        "depreciationAndAmortization": depreciation,
        "deferredIncomeTax": deferred_tax,
        "stockBasedCompensation": compensation,
        "changeInWorkingCapital": working,
        "accountsReceivables": -change["receivables"],
        "inventory": -change["inventory"],
        "accountsPayables": change["payables"],
        "otherWorkingCapital": change["deferred"],
        "otherNonCashItems": nothing,
        "netCashProvidedByOperatingActivities": operating,
        "investmentsInPropertyPlantAndEquipment": spent,
        "acquisitionsNet": nothing,
        "purchasesOfInvestments": bought,
        "salesMaturitiesOfInvestments": sold,
        "otherInvestingActivities": nothing,
        "netCashProvidedByInvestingActivities": investing,
        "netDebtIssuance": borrowed,
        "longTermNetDebtIssuance": change["long_debt"],
        "shortTermNetDebtIssuance": change["short_debt"],
        "netStockIssuance": issued + repurchased,
        "netCommonStockIssuance": issued + repurchased,
        "commonStockIssuance": issued,
        "commonStockRepurchased": repurchased,
        "netPreferredStockIssuance": nothing,
        "netDividendsPaid": paid,
        "commonDividendsPaid": paid,
        "preferredDividendsPaid": nothing,
        "otherFinancingActivities": nothing,
        "netCashProvidedByFinancingActivities": financing,
        "effectOfForexChangesOnCash": abroad,
        "netChangeInCash": change["cash"],
        "cashAtEndOfPeriod": levels["cash"],
        "cashAtBeginningOfPeriod": before,
        "operatingCashFlow": operating,
        "capitalExpenditure": spent,
        "freeCashFlow": operating + spent,
        "incomeTaxesPaid": income["incomeTaxExpense"] - deferred_tax,
        "interestPaid": income["interestExpense"],
    }


def _change(level: Amounts) -> Amounts:
    """Return the rise of a level in each quarter; 0 in the first."""
    return np.diff(level, prepend=level[:1])
