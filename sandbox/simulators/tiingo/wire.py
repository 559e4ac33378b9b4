"""Tiingo's answers, byte for byte as its REST API forms them.

Here: rows, CSV and error bodies from the world's figures. Not here: which request gets which answer
(simulator.py). Facts: Tiingo's documentation of 2026, live measurements of September 2026
(kenshin579/tiingo-go), tests/recordings/tiingo_*.
"""

import bisect
import csv
import hashlib
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime

from sandbox.simulators.faults import CSV, Reply
from sandbox.simulators.tiingo.iex import IexBar
from sandbox.simulators.worlds.shares.actions import Dividend, Split
from sandbox.simulators.worlds.shares.market import Floats
from sandbox.simulators.worlds.shares.world import Bars, Listing

Row = Mapping[str, object]

_UPGRADE = "Please upgrade at https://api.tiingo.com/pricing to have your limits increased."
_TEXT = "text/html; charset=utf-8"
_ADJUSTED = ("adjClose", "adjHigh", "adjLow", "adjOpen", "adjVolume")
_NEEDS_AGREEMENT = (
    "lastSaleTimestamp", "quoteTimestamp", "mid", "last", "lastSize", "bidSize", "bidPrice",
    "askPrice", "askSize",
)  # fmt: skip
"""Null out of hours, and for keys without a market-data agreement with IEX."""


def json_reply(content: object, status: int = 200) -> Reply:
    """Return ``content`` as JSON."""
    return Reply(status=status, body=json.dumps(content, separators=(",", ":")).encode())


def detail(status: int, text: str) -> Reply:
    """Return Tiingo's error object."""
    return json_reply({"detail": text}, status)


def not_found() -> Reply:
    """Return the answer to an unknown path, and of metadata and IEX prices to an unknown ticker."""
    return detail(404, "Not found.")


def bare_text(text: str, status: int = 200) -> Reply:
    """Return an error as bare text, as for CSV requests and the cap of symbols."""
    return Reply(status=status, body=text.encode(), content_type=_TEXT)


def overrun(which: str) -> str:
    """Return the text for a used-up ``hourly`` or ``daily`` allocation."""
    return f"Error: You have run over your {which} request allocation. {_UPGRADE}"


def symbol_cap(limit: int) -> str:
    """Return the text for a used-up monthly number of different symbols."""
    return f"You have run over your {limit} symbol look up for this month. {_UPGRADE}"


def bandwidth() -> str:
    """Return the text for a used-up monthly bandwidth."""
    return f"Error: You have run over your monthly bandwidth allocation. {_UPGRADE}"


def moved(location: str) -> Reply:
    """Return the redirect to the same path with a slash; it has no body."""
    return Reply(status=301, body=b"", content_type=_TEXT, headers={"location": location})


def metadata(symbol: str, listing: Listing, start: date, end: date) -> Reply:
    """Return ``/tiingo/daily/<ticker>``, fields in the recorded order."""
    return json_reply(
        {
            "endDate": end.isoformat(),
            "startDate": start.isoformat(),
            "exchangeCode": "NYSE",
            "name": listing.name,
            "description": f"{listing.name} in a simulated world.",
            "ticker": symbol.upper(),
        }
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Dailies:
    """One ticker's days, as traded and adjusted, and the actions that fell on them."""

    traded: Bars
    adjusted: Bars
    splits: Sequence[Split]
    dividends: Sequence[Dividend]


def daily_rows(days: Dailies) -> list[Row]:
    """Return the rows of ``/tiingo/daily/<ticker>/prices``, oldest first; ``date`` is a day.

    ``divCash`` is what was paid on that ex-date, ``splitFactor`` the new shares for an old one. An
    action of a day without trading stands on the first day that trades without it.
    """
    cash: dict[date, float] = {}
    ratios: dict[date, float] = {}
    traded = days.traded.dates.tolist()
    # Whether an action before the first row moved its price is not known here.
    for dividend in days.dividends:
        day = _first_from(dividend.ex_date, traded)
        cash[day] = cash.get(day, 0.0) + float(dividend.amount)
    for split in days.splits:
        day = _first_from(split.ex_date, traded)
        ratios[day] = ratios.get(day, 1.0) * split.new_shares / split.old_shares
    names = ("close", "high", "low", "open", "volume", *_ADJUSTED)
    columns = zip(*_columns(days.traded), *_columns(days.adjusted), strict=True)
    return [
        {
            "date": day.isoformat(),
            **dict(zip(names, values, strict=True)),
            "divCash": cash.get(day, 0.0),
            "splitFactor": ratios.get(day, 1.0),
        }
        for day, values in zip(traded, columns, strict=True)
    ]


def _first_from(day: date, traded: Sequence[date]) -> date:
    """Return the first of ``traded`` not before ``day``; ``day`` itself outside of them."""
    place = bisect.bisect_left(traded, day)
    return traded[place] if 0 < place < len(traded) else day


def _columns(bars: Bars) -> list[list[float]]:
    prices: tuple[Floats, ...] = (bars.closes, bars.highs, bars.lows, bars.opens)
    return [*(price.tolist() for price in prices), bars.volumes.tolist()]


def latest(rows: Iterable[Row]) -> Reply:
    """Return the form of an answer without dates: fields by the alphabet, dates in ``+00:00``."""
    return json_reply(
        [dict(sorted({**row, "date": f"{row['date']}T00:00:00+00:00"}.items())) for row in rows]
    )


def history(rows: Iterable[Row]) -> Reply:
    """Return the form of an answer for a span of days."""
    return json_reply([{**row, "date": f"{row['date']}T00:00:00.000Z"} for row in rows])


def table(rows: Sequence[Row], names: Sequence[str]) -> Reply:
    """Return CSV, with a header even where there is no row."""
    text = io.StringIO()
    writer = csv.DictWriter(text, names, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return Reply(status=200, body=text.getvalue().encode(), content_type=CSV)


DAILY_COLUMNS = (
    "date", "close", "high", "low", "open", "volume", *_ADJUSTED, "divCash", "splitFactor",
)  # fmt: skip
"""Order of the recorded CSV."""


def iex_rows(bars: Iterable[IexBar], *, with_volume: bool) -> list[Row]:
    """Return the rows of ``/iex/<ticker>/prices``; volume, a float, only if it was named."""
    return [
        {
            "date": bar.opened_at.strftime("%Y-%m-%dT%H:%M:%S.000Z"),
            "open": bar.open,
            "high": bar.high,
            "low": bar.low,
            "close": bar.close,
            **({"volume": bar.volume} if with_volume else {}),
        }
        for bar in bars
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Quote:
    """A ticker's day.

    Attributes:
        volume: Of IEX while the session runs, of all exchanges after it.
        is_live: Whether bids, asks and sales are in the answer.
    """

    symbol: str
    at: datetime
    open: float
    high: float
    low: float
    last: float
    volume: int
    before: float
    is_live: bool


def quotes(last: Sequence[Quote]) -> Reply:
    """Return ``/iex/``: fields in the measured order, tickers in none."""
    shuffled = sorted(
        last, key=lambda quote: hashlib.sha256(quote.symbol.encode()).digest(), reverse=True
    )
    return json_reply([_quote(quote) for quote in shuffled])


def _quote(quote: Quote) -> Row:
    # Nanoseconds while it runs, whole seconds for the close.
    at = quote.at.strftime("%Y-%m-%dT%H:%M:%S") + (
        ".186520297+00:00" if quote.is_live else "+00:00"
    )
    row: dict[str, object] = {
        "ticker": quote.symbol,
        "timestamp": at,
        "lastSaleTimestamp": at,
        "quoteTimestamp": at,
        "open": quote.open,
        "high": quote.high,
        "low": quote.low,
        "mid": quote.last,
        "tngoLast": quote.last,
        "last": quote.last,
        "lastSize": 100,
        "bidSize": 100,
        "bidPrice": round(quote.last - 0.01, 4),
        "askPrice": round(quote.last + 0.01, 4),
        "askSize": 200,
        "volume": quote.volume,
        "prevClose": quote.before,
    }
    return row if quote.is_live else row | dict.fromkeys(_NEEDS_AGREEMENT)
