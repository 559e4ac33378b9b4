"""Coinbase Exchange's answers, byte for byte as its REST API forms them.

Here: bodies and headers from the market's figures. Not here: which request gets which answer
(simulator.py), or the other API (advanced.py). Facts: Coinbase's reference of the Exchange API,
measurements of September 2026, tests/recordings/coinbase_*.
"""

import json
from collections.abc import Iterable
from datetime import datetime

import numpy as np

from marketdata.crypto_pairs import CryptoPair
from sandbox.simulators.coinbase.market import Candles, LastDay
from sandbox.simulators.faults import Reply
from sandbox.simulators.worlds.crypto.trades import (
    PRICE_DECIMALS,
    SIZE_DECIMALS,
    Integers,
    Trades,
    decimal_texts,
)

SHOWN_DECIMALS = 8
"""Digits behind the point of prices and sizes of trades."""


def json_reply(content: object, status: int = 200) -> Reply:
    """Return ``content`` as JSON."""
    return Reply(
        status=status,
        body=json.dumps(content, separators=(",", ":")).encode(),
        content_type="application/json; charset=utf-8",
    )


def error_reply(status: int, message: str) -> Reply:
    """Return the API's error object."""
    return json_reply({"message": message}, status)


def not_found() -> Reply:
    """Return the answer to an unknown product or path."""
    return error_reply(404, "NotFound")


def limit_reached() -> Reply:
    """Return the answer beyond the address's limit; no header names the limit."""
    return error_reply(429, "Public rate limit exceeded")


def unsupported_granularity() -> Reply:
    """Return the answer to an unsupported length of buckets."""
    return error_reply(400, "Unsupported granularity")


def too_many_buckets() -> Reply:
    """Return the answer to a window of more than 300 intervals, word for word as recorded."""
    return error_reply(
        400,
        "granularity too small for the requested time range. Count of aggregations requested "
        "exceeds 300",
    )


def listed_product(pair: CryptoPair) -> dict[str, object]:
    """Return the product of a pair that is traded."""
    return _product(pair.base, pair.quote, listed=True)


def delisted_product(name: str) -> dict[str, object]:
    """Return a product that is not traded any more."""
    base, _, quote = name.partition("-")
    return _product(base, quote, listed=False)


def _product(base: str, quote: str, *, listed: bool) -> dict[str, object]:
    """Return one product, with the fields and the order of the recording of 2026."""
    return {
        "id": f"{base}-{quote}",
        "base_currency": base,
        "quote_currency": quote,
        "quote_increment": "0.01",
        "base_increment": "0.00000001",
        "display_name": f"{base}-{quote}",
        "min_market_funds": "1",
        "margin_enabled": False,
        "post_only": False,
        "limit_only": False,
        "cancel_only": False,
        "status": "online" if listed else "delisted",
        "status_message": "",
        "trading_disabled": not listed,
        "fx_stablecoin": False,
        "max_slippage_percentage": "0.02000000",
        "auction_mode": False,
        "high_bid_limit_percentage": "",
    }


def candles(of: Candles) -> Reply:
    """Return ``candles``: [time, low, high, open, close, volume] in numbers, newest first."""
    columns = (
        of.opened_s.tolist(),
        *(_numbers(prices, PRICE_DECIMALS) for prices in (of.lows, of.highs, of.opens, of.closes)),
        _numbers(of.volumes, SIZE_DECIMALS),
    )
    rows = [list(row) for row in zip(*columns, strict=True)]
    return json_reply(rows[::-1])


def trades(of: Trades) -> Reply:
    """Return ``trades``, newest first; headers hold the newest and the oldest number."""
    columns = zip(
        of.trade_id.tolist(),
        maker_sides(of),
        decimal_texts(of.size_units, SIZE_DECIMALS, shown=SHOWN_DECIMALS),
        decimal_texts(of.price_units, PRICE_DECIMALS, shown=SHOWN_DECIMALS),
        times(of),
        strict=True,
    )
    rows = [
        {"trade_id": trade_id, "side": side, "size": size, "price": price, "time": at}
        for trade_id, side, size, price, at in columns
    ][::-1]
    reply = json_reply(rows)
    if not rows:
        return reply
    headers = {"cb-before": str(rows[0]["trade_id"]), "cb-after": str(rows[-1]["trade_id"])}
    return Reply(
        status=reply.status, body=reply.body, content_type=reply.content_type, headers=headers
    )


def ticker(last: Trades, day: LastDay) -> Reply:
    """Return ``ticker``: the last trade between two invented quotes."""
    price = int(last.price_units[-1])
    return json_reply(
        {
            "ask": price_text(price + 1),
            "bid": price_text(price),
            "volume": size_text(day.volume),
            "trade_id": int(last.trade_id[-1]),
            "price": price_text(price),
            "size": size_text(int(last.size_units[-1])),
            "time": times(last)[-1],
            "rfq_volume": "0",
        }
    )


def stats(day: LastDay, month_volume: int) -> dict[str, object]:
    """Return ``stats`` of one product."""
    return {**_stats_24_hours(day), "volume_30day": size_text(month_volume)}


def all_stats(figures: Iterable[tuple[str, LastDay, int]]) -> Reply:
    """Return the statistics of all products, by their names."""
    return json_reply(
        {
            name: {
                "stats_30day": {"volume": size_text(month_volume)},
                "stats_24hour": _stats_24_hours(day),
            }
            for name, day, month_volume in figures
        }
    )


def _stats_24_hours(day: LastDay) -> dict[str, object]:
    return {
        "open": price_text(day.open),
        "high": price_text(day.high),
        "low": price_text(day.low),
        "last": price_text(day.last),
        "volume": size_text(day.volume),
    }


def server_time(now: datetime) -> Reply:
    """Return ``time``: milliseconds as text, seconds with a fraction as a number."""
    return json_reply(
        {
            "iso": f"{now:%Y-%m-%dT%H:%M:%S}.{now.microsecond // 1000:03d}Z",
            "epoch": round(now.timestamp(), 3),
        }
    )


def maker_sides(of: Trades) -> list[str]:
    """Return the maker's side, the opposite of the taker's."""
    return np.where(of.taker_buys, "sell", "buy").tolist()


def times(of: Trades) -> list[str]:
    """Return the times of trades, to the microsecond."""
    texts: list[str] = np.datetime_as_string(of.traded_at, unit="us").tolist()
    return [f"{text}Z" for text in texts]


def price_text(units: int) -> str:
    """Return a price as text without trailing zeros."""
    return _plain(units, PRICE_DECIMALS)


def size_text(units: int) -> str:
    """Return a size or a volume as text without trailing zeros."""
    return _plain(units, SIZE_DECIMALS)


def _plain(units: int, decimals: int) -> str:
    text = decimal_texts(np.array([units], np.int64), decimals)[0]
    return text.rstrip("0").rstrip(".")


def _numbers(units: Integers, decimals: int) -> list[float | int]:
    """Return numbers as in the recording: a whole one has no decimal point."""
    unit = 10**decimals
    return [value // unit if value % unit == 0 else value / unit for value in units.tolist()]
