"""The truth of a database filled from Polygon: actions and companies.

Here: the world in Polygon's words, in wire schemas and under our tickers. Not here: days
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
            "ex_date": split.ex_date,
            "new_shares": Decimal(split.new_shares),
            "old_shares": Decimal(split.old_shares),
            "kind": wire.split_row(ticker, split, 1.0)["adjustment_type"],
        }
        for ticker in sorted(tickers)
        for split in actions.splits(ticker, now)
    ]
    return pa.Table.from_pylist(rows, schema=WIRE_SPLITS)


def dividend_truth(actions: Actions, tickers: Iterable[str], now: datetime) -> pa.Table:
    """Return the declared dividends (WIRE_DIVIDENDS) by ticker, ex-date and kind."""
    rows = [
        {
            "symbol": ticker,
            "ex_date": dividend.ex_date,
            "kind": dividend.kind,
            "amount": dividend.amount,
            "currency": "USD",
            "declaration_date": dividend.declaration_date,
            "record_date": dividend.record_date,
            "payment_date": dividend.payment_date,
            "frequency": "Quarterly" if dividend.kind == "regular" else "Irregular",
        }
        for ticker in sorted(tickers)
        for dividend in actions.dividends(ticker, now)
    ]
    return pa.Table.from_pylist(rows, schema=WIRE_DIVIDENDS)


def company_truth(world: World, tickers: Iterable[str], now: datetime) -> pa.Table:
    """Return Polygon's data of each company (WIRE_COMPANIES), by ticker."""
    rows: list[dict[str, object]] = []
    for ticker in sorted(tickers):
        detail = wire.ticker_detail(ticker, profile(world, ticker, now), now)
        lasting = {name: value for name, value in detail.items() if name != "market_cap"}
        rows.append(
            {
                "symbol": ticker,
                "name": detail["name"],
                "cik": detail["cik"],
                "exchange": detail["primary_exchange"],
                "currency": "USD",
                "industry": detail["sic_description"],
                "listed_on": date.fromisoformat(str(detail["list_date"])),
                "employees": detail.get("total_employees"),
                "website": detail.get("homepage_url"),
                "description": detail["description"],
                "is_etf": False,
                "is_trading": True,
                "answer": json.dumps(lasting, sort_keys=True, ensure_ascii=False),
            }
        )
    return pa.Table.from_pylist(rows, schema=WIRE_COMPANIES)
