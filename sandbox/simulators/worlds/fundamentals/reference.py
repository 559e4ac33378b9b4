"""The simulated world's companies and the index's history, as FMP's rows and as the truth.

Here: profiles, changes of the index, and what a correct database holds of both. Not here:
statements (statements.py), or HTTP (../../fmp/fundamentals.py).
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta

import pyarrow as pa

from marketdata.companies import WIRE_COMPANIES, WIRE_INDEX_CHANGES
from marketdata.instruments import provider_spellings
from sandbox.simulators.worlds.fundamentals import ledger as books
from sandbox.simulators.worlds.shares.world import SEED, Listing, World

INDEX = "sp500"

_DAILY = (
    "price", "marketCap", "beta", "lastDividend", "range", "change", "changePercentage", "volume",
    "averageVolume",
)  # fmt: skip
_ABROAD = {
    "United Kingdom": "GB",
    "Ireland": "IE",
    "Switzerland": "CH",
    "Netherlands": "NL",
    "Bermuda": "BM",
    "Canada": "CA",
}
_ISSUER_LETTERS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_OLDEST_CHANGE = date(1990, 1, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexChange:
    """An addition and the removal it came with, if there was one.

    Attributes:
        effective_on: The first day with the new member.
        ticker: Ours; empty where FMP has the removal alone.
        reported_on: FMP's ``date``: sometimes the day before.
    """

    effective_on: date
    reported_on: date
    ticker: str
    security: str
    removed_ticker: str
    removed_security: str
    reason: str


def profile(world: World, ticker: str, now: datetime) -> dict[str, object]:
    """Return FMP's 36 fields of the company behind ``ticker``.

    Employees and website are missing for some; ``isin`` and ``cusip`` have right check digits.

    Raises:
        ValueError: Nothing trades as ``ticker``.
    """
    listing = world.listing(ticker)
    if listing is None:
        message = f"nothing trades as {ticker}"
        raise ValueError(message)
    digest = _digest(f"profile/{listing.series}")
    symbol = provider_spellings("fmp").get(ticker, ticker)
    cusip = _cusip(digest)
    country = _ABROAD.get(listing.headquarter.rpartition(", ")[2], "US")
    city, _, region = listing.headquarter.partition(", ")
    nasdaq = digest[0] % 3 == 0
    return {
        "symbol": symbol,
        **_market_figures(world, listing, now),
        "companyName": listing.name,
        "currency": "USD",
        "cik": listing.cik,
        "isin": _isin(cusip),
        "cusip": cusip,
        "exchangeFullName": "NASDAQ Global Select" if nasdaq else "New York Stock Exchange",
        "exchange": "NASDAQ" if nasdaq else "NYSE",
        "industry": listing.sub_sector,
        "website": "" if digest[1] % 20 == 0 else f"https://www.{symbol.lower()}.example.com",
        "description": f"{listing.name} is a company of a simulated world.",
        "ceo": "",
        "sector": listing.sector,
        "country": country,
        "fullTimeEmployees": (
            None if digest[2] % 25 == 0 else str(100 + int.from_bytes(digest[3:6], "big") % 300_000)
        ),
        "phone": f"{200 + digest[6]} 555 01{digest[7] % 100:02d}",
        "address": f"{1 + digest[8]} Main Street",
        "city": city,
        "state": region,
        "zip": f"{10_000 + int.from_bytes(digest[9:11], 'big')}",
        "image": f"https://images.financialmodelingprep.com/symbol/{symbol}.png",
        "ipoDate": world.listed_on(ticker).isoformat(),
        "defaultImage": False,
        "isEtf": False,
        "isActivelyTrading": True,
        "isAdr": False,
        "isFund": False,
    }


def _market_figures(world: World, listing: Listing, now: datetime) -> dict[str, object]:
    bars = world.bars(listing.ticker, now.date() - timedelta(days=365), now.date(), now)
    close, before = (float(value) for value in (bars.closes[-1], bars.closes[-2]))
    shares = int(books.ledger(SEED, listing.series).shares[0])
    return {
        "price": close,
        "marketCap": round(close * shares, 2),
        "beta": round(0.5 + _digest(f"beta/{listing.series}")[0] / 200.0, 3),
        "lastDividend": 0,
        "range": f"{bars.lows.min():g}-{bars.highs.max():g}",
        "change": round(close - before, 4),
        "changePercentage": round((close / before - 1.0) * 100.0, 5),
        "volume": int(bars.volumes[-1]),
        "averageVolume": int(bars.volumes.mean()),
    }


def company_truth(world: World, tickers: Iterable[str], now: datetime) -> pa.Table:
    """Return the data of each company (WIRE_COMPANIES) under our tickers."""
    rows: list[dict[str, object]] = []
    for ticker in sorted(tickers):
        fields = profile(world, ticker, now)
        known = {name: value or None for name, value in fields.items()}
        employees = known["fullTimeEmployees"]
        lasting = {name: value for name, value in fields.items() if name not in _DAILY}
        row: dict[str, object] = {
            "symbol": ticker,
            "name": known["companyName"],
            "listed_on": world.listed_on(ticker),
            "employees": None if employees is None else int(str(employees)),
            "is_etf": fields["isEtf"],
            "is_trading": fields["isActivelyTrading"],
            "answer": json.dumps(lasting, ensure_ascii=False),
        }
        same = set(WIRE_COMPANIES.names) - row.keys()
        rows.append(row | {name: known[name] for name in same})
    return pa.Table.from_pylist(rows, schema=WIRE_COMPANIES)


def index_changes(world: World, now: datetime) -> list[IndexChange]:
    """Return the additions of today's members and invented removals, oldest first.

    Like FMP's history it is incomplete: one member in twenty has no addition.
    """
    changes: list[IndexChange] = []
    for listing in world.constituents():
        digest = _digest(f"index/{listing.series}")
        try:
            effective_on = date.fromisoformat(listing.added_on)
        except ValueError:
            continue
        if digest[0] % 20 and _OLDEST_CHANGE <= effective_on <= now.date():
            changes += _changes_of(listing, effective_on, digest)
    return sorted(
        changes, key=lambda change: (change.effective_on, change.ticker, change.removed_ticker)
    )


def _changes_of(listing: Listing, effective_on: date, digest: bytes) -> Iterator[IndexChange]:
    # A tenth of FMP's rows have the day before in ``date``.
    reported_on = effective_on - timedelta(days=1 if digest[1] % 10 == 0 else 0)
    removed = _invented_ticker(digest)
    removed_security = f"{removed.title()} Holdings"
    together = digest[2] % 3 == 0
    yield IndexChange(
        effective_on=effective_on,
        reported_on=reported_on,
        ticker=listing.ticker,
        security=listing.name,
        removed_ticker=removed if together else "",
        removed_security=removed_security if together else "",
        reason="Market capitalization change.",
    )
    if not together:
        yield IndexChange(
            effective_on=effective_on,
            reported_on=reported_on,
            ticker="",
            security="",
            removed_ticker=removed,
            removed_security=removed_security,
            reason=f"{removed.title()} Holdings was acquired.",
        )


def index_rows(world: World, now: datetime) -> list[Mapping[str, str | None]]:
    """Return FMP's ``historical-sp500-constituent``, newest first; a missing side is "" or null."""
    spelt = provider_spellings("fmp")
    rows: list[Mapping[str, str | None]] = []
    for change in reversed(index_changes(world, now)):
        day = change.effective_on
        nothing = "" if change.effective_on.day % 2 else None
        rows.append(
            {
                "dateAdded": f"{day:%B} {day.day}, {day.year}",
                "addedSecurity": change.security or nothing,
                "removedTicker": change.removed_ticker or nothing,
                "removedSecurity": change.removed_security or nothing,
                "date": change.reported_on.isoformat(),
                "symbol": spelt.get(change.ticker, change.ticker) or nothing,
                "reason": change.reason,
            }
        )
    return rows


def index_change_truth(world: World, now: datetime) -> pa.Table:
    """Return the history of the index (WIRE_INDEX_CHANGES), tickers in our spelling."""
    rows = [
        {
            "symbol": INDEX,
            "effective_on": change.effective_on,
            "ticker": ticker,
            "action": action,
            "security": security,
            "reason": change.reason,
            "announced_on": None,
        }
        for change in index_changes(world, now)
        for action, ticker, security in (
            ("added", change.ticker, change.security),
            ("removed", change.removed_ticker, change.removed_security),
        )
        if ticker
    ]
    return pa.Table.from_pylist(rows, schema=WIRE_INDEX_CHANGES)


def _invented_ticker(digest: bytes) -> str:
    """Return five letters, which no real member has."""
    return "".join(_ISSUER_LETTERS[10 + letter % 26] for letter in digest[10:15])


def _cusip(digest: bytes) -> str:
    base = "".join(_ISSUER_LETTERS[byte % 36] for byte in digest[12:18]) + "10"
    total = 0
    for place, letter in enumerate(base):
        value = _ISSUER_LETTERS.index(letter) * (2 if place % 2 else 1)
        total += value // 10 + value % 10
    return f"{base}{-total % 10}"


def _isin(cusip: str) -> str:
    digits = "".join(str(_ISSUER_LETTERS.index(letter)) for letter in f"US{cusip}")
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = int(digit) * (1 if place % 2 else 2)
        total += value // 10 + value % 10
    return f"US{cusip}{-total % 10}"


def _digest(name: str) -> bytes:
    return hashlib.sha256(f"{SEED}/{name}".encode()).digest()
