"""FMP's answers, byte for byte as its /stable API forms them.

Here: rows, CSV and error bodies from the world's figures. Not here: which request gets which answer
(simulator.py). Facts: FMP's reference of /stable, live measurements of 2026 (jerbersoft/fmpdotnet,
MehdiZare/fmp-data), tests/recordings/fmp_*.
"""

import csv
import io
import json
from collections.abc import Iterable
from datetime import date

import numpy as np

from sandbox.simulators.faults import CSV, Reply
from sandbox.simulators.worlds.shares.elsewhere import ForeignRow
from sandbox.simulators.worlds.shares.market import Floats
from sandbox.simulators.worlds.shares.world import Bars, Listing

BULK_HEADER = ("symbol", "date", "open", "low", "high", "close", "adjClose", "volume")
_SITE = "https://site.financialmodelingprep.com/"


def json_reply(content: object, status: int = 200) -> Reply:
    """Return ``content`` as JSON."""
    return Reply(status=status, body=json.dumps(content).encode())


def error_reply(status: int, message: str) -> Reply:
    """Return FMP's error object."""
    return json_reply({"Error Message": message}, status)


def nothing(status: int = 200) -> Reply:
    """Return ``[]``: an unknown symbol, a reversed range, or with 404 an unknown path."""
    return json_reply([], status)


def invalid_key() -> Reply:
    """Return the answer to a missing or wrong key."""
    return error_reply(
        401,
        "Invalid API KEY. Feel free to create a Free API Key or visit "
        f"{_SITE}faqs?search=why-is-my-api-key-invalid for more information.",
    )


def missing_parameter(name: str) -> Reply:
    """Return plain text under a content type that says JSON, as measured."""
    text = f"Query Error: Invalid or missing query parameter - {name}"
    return Reply(status=400, body=text.encode())


def restricted_endpoint() -> Reply:
    """Return the plain text for an endpoint outside the key's plan."""
    text = (
        "Restricted Endpoint: This endpoint is not available under your current subscription "
        f"please visit our subscription page to upgrade your plan at {_SITE}"
    )
    return Reply(status=402, body=text.encode(), content_type="text/plain")


def restricted_symbol() -> Reply:
    """Return the plain text for a symbol outside the key's plan."""
    text = (
        "Premium Query Parameter: 'Special Endpoint : This value set for 'symbol' is not "
        "available under your current subscription please visit our subscription page to "
        "upgrade your plan at https://financialmodelingprep.com/"
    )
    return Reply(status=402, body=text.encode(), content_type="text/plain")


def restricted_limit(most: int) -> Reply:
    """Return the plain text for a ``limit`` beyond the ``most`` rows of the key's plan."""
    text = (
        "Premium Query Parameter: 'Special Parameters : The values for 'limit' must be between 0 "
        f"and {most} based on your current subscription. Please visit our subscription page to "
        "upgrade your plan at https://financialmodelingprep.com/"
    )
    return Reply(status=402, body=text.encode(), content_type="text/plain")


def legacy_endpoint() -> Reply:
    """Return the answer of /api/v3 and /api/v4 to keys of recent subscriptions."""
    return error_reply(
        403,
        "Legacy Endpoint : Due to Legacy endpoints being no longer supported - This endpoint is "
        f"only available for legacy users. Please visit {_SITE}developer/docs/pricing",
    )


def limit_reached() -> Reply:
    """Return the answer beyond the limit per minute; there is no Retry-After."""
    return error_reply(
        429, f"Limit Reach . Please upgrade your plan or visit our documentation at {_SITE}"
    )


def bulk_throttled() -> Reply:
    """Return the bulk endpoints' own refusal: an error inside a 200."""
    return error_reply(
        200,
        "Limit Reach. This is a bulk endpoint, please wait before you call it again: abuse can "
        "restrict your key.",
    )


def full_history(symbol: str, bars: Bars) -> Reply:
    """Return ``historical-price-eod/full``, newest first.

    ``change`` is close minus open, and ``vwap`` the mean of open, high, low and close: so in
    the recording, whatever its name promises.
    """
    change = np.round(bars.closes - bars.opens, 4)
    percent = np.round(change / bars.opens * 100.0, 5)
    vwap = np.round((bars.opens + bars.highs + bars.lows + bars.closes) / 4.0, 6)
    columns = zip(
        np.datetime_as_string(bars.dates, unit="D").tolist(),
        *(_numbers(prices) for prices in (bars.opens, bars.highs, bars.lows, bars.closes)),
        bars.volumes.tolist(),
        _numbers(change),
        _numbers(percent),
        _numbers(vwap),
        strict=True,
    )
    names = (
        "date", "open", "high", "low", "close", "volume", "change", "changePercent", "vwap",
    )  # fmt: skip
    rows = [{"symbol": symbol, **dict(zip(names, row, strict=True))} for row in columns]
    rows.reverse()
    return json_reply(rows)


def constituents(listings: Iterable[tuple[str, Listing]]) -> Reply:
    """Return ``sp500-constituent`` for pairs of FMP's spelling and listing."""
    return json_reply(
        [
            {
                "symbol": symbol,
                "name": listing.name,
                "sector": listing.sector,
                "subSector": listing.sub_sector,
                "headQuarter": listing.headquarter,
                "dateFirstAdded": listing.added_on,
                "cik": listing.cik,
                "founded": listing.founded,
            }
            for symbol, listing in listings
        ]
    )


def bulk_row(symbol: str, day: date, bars: Bars) -> list[str]:
    """Return one constituent's row of ``eod-bulk``; ``bars`` holds exactly that day."""
    figures = (bars.opens, bars.lows, bars.highs, bars.closes, bars.closes)
    prices = [str(_numbers(figure)[0]) for figure in figures]
    return [symbol, day.isoformat(), *prices, str(int(bars.volumes[0]))]


def foreign_row(day: date, row: ForeignRow) -> list[str]:
    """Return the row of a security that is no constituent."""
    prices = [row.open, row.low, row.high, row.close, row.close]
    return [row.symbol, day.isoformat(), *prices, row.volume]


def bulk(rows: Iterable[list[str]]) -> Reply:
    """Return ``eod-bulk``: CSV with quotes around everything, low before high."""
    text = io.StringIO()
    writer = csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\n")
    writer.writerow(BULK_HEADER)
    writer.writerows(rows)
    return Reply(status=200, body=text.getvalue().encode(), content_type=CSV)


def _numbers(values: Floats) -> list[float | int]:
    """Return numbers as JavaScript prints them: a whole one has no decimal point."""
    return [int(value) if value.is_integer() else value for value in values.tolist()]
