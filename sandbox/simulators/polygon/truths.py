"""What a correct database equals that was filled from Polygon: actions and companies.

Here: the world in Polygon's words, in quoted schemas and under our tickers. Not here: days
(Actions.as_traded) and minutes (intraday.minute_truth), or the wire form (wire.py).
"""

import json
from collections.abc import Iterable
from datetime import date, datetime
from decimal import Decimal

import pyarrow as pa

from marketdata.actions import WIRE_DIVIDENDS, WIRE_SPLITS
from marketdata.companies import WIRE_COMPANIES
from sandbox.simulators.polygon import wire
from sandbox.simulators.worlds.fundamentals.reference import profile
from sandbox.simulators.worlds.shares.actions import Actions
from sandbox.simulators.worlds.shares.world import World


def split_truth(actions: Actions, tickers: Iterable[str], now: datetime) -> pa.Table:
    """Return the announced splits (WIRE_SPLITS) by ticker and ex-date, with Polygon's kinds."""
    rows = [
        {
            "symbol": ticker,
            "ex_date": one.ex_date,
            "new_shares": Decimal(one.new_shares),
            "old_shares": Decimal(one.old_shares),
            "kind": wire.split_row(ticker, one, 1.0)["adjustment_type"],
        }
        for ticker in sorted(tickers)
        for one in actions.splits(ticker, now)
    ]
    return pa.Table.from_pylist(rows, schema=WIRE_SPLITS)


def dividend_truth(actions: Actions, tickers: Iterable[str], now: datetime) -> pa.Table:
    """Return the declared dividends (WIRE_DIVIDENDS) by ticker, ex-date and kind."""
    rows = [
        {
            "symbol": ticker,
            "ex_date": one.ex_date,
            "kind": one.kind,
            "amount": one.amount,
            "currency": "USD",
            "declaration_date": one.declaration_date,
            "record_date": one.record_date,
            "payment_date": one.payment_date,
            "frequency": "Quarterly" if one.kind == "regular" else "Irregular",
        }
        for ticker in sorted(tickers)
        for one in actions.dividends(ticker, now)
    ]
    return pa.Table.from_pylist(rows, schema=WIRE_DIVIDENDS)


def company_truth(world: World, tickers: Iterable[str], now: datetime) -> pa.Table:
    """Return what Polygon knows of each company (WIRE_COMPANIES), by ticker."""
    rows: list[dict[str, object]] = []
    for ticker in sorted(tickers):
        told = wire.ticker_detail(ticker, profile(world, ticker, now), now)
        lasting = {name: value for name, value in told.items() if name != "market_cap"}
        rows.append(
            {
                "symbol": ticker,
                "name": told["name"],
                "cik": told["cik"],
                "exchange": told["primary_exchange"],
                "currency": "USD",
                "industry": told["sic_description"],
                "listed_on": date.fromisoformat(str(told["list_date"])),
                "employees": told.get("total_employees"),
                "website": told.get("homepage_url"),
                "description": told["description"],
                "is_etf": False,
                "is_trading": True,
                "answer": json.dumps(lasting, sort_keys=True, ensure_ascii=False),
            }
        )
    return pa.Table.from_pylist(rows, schema=WIRE_COMPANIES)
