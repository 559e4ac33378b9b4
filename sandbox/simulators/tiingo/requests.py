"""The parameters of a request to Tiingo: tickers, days, length of bars, format.

Here: the reading of paths and parameters. Not here: keys and limits (simulator.py), or answers.
"""

import re
from collections.abc import Mapping
from datetime import date, timedelta

from marketdata.instruments import our_tickers, provider_spellings
from sandbox.simulators.front import Request
from sandbox.simulators.worlds.shares.world import Listing, World

_FREQUENCY = re.compile(r"([1-9][0-9]{0,3})(min|hour)", re.IGNORECASE)


def find(world: World, symbol: str) -> Listing | None:
    """Return the listing in Tiingo's spelling, ignoring case; ours may be unknown."""
    upper = symbol.upper()
    if upper in provider_spellings("tiingo"):
        return None
    return world.listing(our_tickers("tiingo").get(upper, upper))


def spelt(listing: Listing) -> str:
    """Return Tiingo's spelling in upper case."""
    return provider_spellings("tiingo").get(listing.ticker, listing.ticker)


def ticker_of(path: str) -> str | None:
    """Return the ticker of a path; None for a whole market."""
    match path.strip("/").split("/"):
        case ["tiingo", "daily", "prices"]:
            return None
        case ["iex", ticker, *_] | ["tiingo", "daily", ticker, *_]:
            return ticker
        case _:
            return None


def symbols(request: Request) -> list[str]:
    """Return the tickers that a request names, as it spells them."""
    ticker = ticker_of(request.path)
    if ticker:
        return [ticker]
    return [symbol for symbol in request.query.get("tickers", "").split(",") if symbol]


def wants_csv(request: Request) -> bool:
    """Return whether the request wants CSV."""
    return request.query.get("format", "").lower() == "csv"


def span(query: Mapping[str, str]) -> tuple[date | None, date | None]:
    """Return the first and last requested day.

    Raises:
        ValueError: A day cannot be read; the text names the parameter.
    """
    return _asked_day(query, "startDate"), _asked_day(query, "endDate")


def _asked_day(query: Mapping[str, str], name: str) -> date | None:
    """Read a day; Tiingo's own examples write ``2012-1-1``.

    Raises:
        ValueError: It cannot be read; the text names the parameter.
    """
    text = query.get(name)
    if not text:
        return None
    try:
        year, month, day = (int(part) for part in text.split("-"))
        return date(year, month, day)
    except ValueError as error:
        message = f"{name} must be in YYYY-MM-DD format"
        raise ValueError(message) from error


def length(frequency: str) -> timedelta | None:
    """Read the length of an IEX bar, such as ``5min`` or ``2Hour``; None if unreadable."""
    match = _FREQUENCY.fullmatch(frequency)
    if match is None:
        return None
    count = int(match[1])
    return timedelta(hours=count) if match[2].lower() == "hour" else timedelta(minutes=count)
