"""Binance's REST answers, byte for byte as its /api/v3 forms them.

Here: klines, trades, exchangeInfo and error bodies from the world's figures. Not here: which
request gets which answer (simulator.py), or files (files.py). Facts: Binance's rest-api.md and
errors.md of November 2026, tests/recordings/binance_*; texts of limits as clients met them.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, cast

import numpy as np

from marketdata.calendars import utc_now
from marketdata.crypto_pairs import CryptoPair
from sandbox.simulators.faults import FaultKind, FaultRule, Reply
from sandbox.simulators.worlds.crypto.trades import (
    PRICE_DECIMALS,
    SIZE_DECIMALS,
    Integers,
    PairMinutes,
    Trades,
    decimal_texts,
)
from sandbox.simulators.worlds.shares.intraday import Times

SHOWN = 8
"""Digits behind the point of every figure."""
_BANNED = 418
_FIREWALL = 403
_TOO_MANY = 429
_RESTRICTED = 451
_GENERAL_CODE = -1000

KlineRow = tuple[int, str, str, str, str, str, int, str, int, str, str, str]
TradeRow = tuple[int, str, str, int, int, int, bool, bool]


def json_reply(content: object, status: int = 200) -> Reply:
    """Return ``content`` as JSON without blanks, as Binance writes it."""
    body = json.dumps(content, separators=(",", ":")).encode()
    return Reply(status=status, body=body, content_type="application/json;charset=UTF-8")


def error_reply(code: int, message: str, status: int = 400) -> Reply:
    """Return Binance's error object."""
    return json_reply({"code": code, "msg": message}, status)


def status_reply(status: int, text: str) -> Reply:
    """Return the answer of a bare status, with Binance's code for it."""
    if status == _TOO_MANY:
        return too_much_weight(6000, retry_after_s=None)
    if status == _BANNED:
        # The fault's Retry-After says how long the ban lasts; the text does not contradict it.
        return banned(int(utc_now().timestamp() * 1000), retry_after_s=None)
    if status == _RESTRICTED:
        return restricted()
    if status == _FIREWALL:
        return firewall()
    return error_reply(_GENERAL_CODE, text, status)


def unknown_symbol() -> Reply:
    """Return the answer to a symbol that is not listed."""
    return error_reply(-1121, "Invalid symbol.")


def no_such_path(path: str) -> Reply:
    """Return the answer to a path that does not exist: an error object, as all errors are.

    Code and text are those of Binance's futures API; those of spot are unverified.
    """
    return error_reply(-5000, f"Path {path}, Method GET is invalid", 404)


def too_much_weight(limit: int, *, retry_after_s: int | None) -> Reply:
    """Return the answer beyond the limit."""
    reply = error_reply(
        -1003,
        f"Too much request weight used; current limit is {limit} request weight per 1 MINUTE. "
        "Please use WebSocket Streams for live updates to avoid polling the API.",
        _TOO_MANY,
    )
    return reply if retry_after_s is None else replace(reply, retry_after=str(retry_after_s))


def banned(until_ms: int, *, retry_after_s: int | None) -> Reply:
    """Return the answer to a banned address."""
    reply = error_reply(
        -1003,
        f"Way too much request weight used; IP banned until {until_ms}. "
        "Please use WebSocket Streams for live updates to avoid bans.",
        _BANNED,
    )
    return reply if retry_after_s is None else replace(reply, retry_after=str(retry_after_s))


def restricted() -> Reply:
    """Return the answer to an address in a restricted country, as recorded."""
    message = (
        "Service unavailable from a restricted location according to 'b. Eligibility' in "
        "https://www.binance.com/en/terms. Please contact customer service if you believe you "
        "received this message in error."
    )
    body = json.dumps({"code": 0, "msg": message}, indent=2).encode()
    return Reply(status=_RESTRICTED, body=body)


def firewall() -> Reply:
    """Return the firewall's page."""
    page = (
        "<html>\r\n<head><title>403 Forbidden</title></head>\r\n<body>\r\n"
        "<center><h1>403 Forbidden</h1></center>\r\n</body>\r\n</html>\r\n"
    )
    return Reply(status=_FIREWALL, body=page.encode(), content_type="text/html")


def kline_rows(klines: PairMinutes, *, minutes: int, microseconds: bool) -> list[KlineRow]:
    """Return klines of a length in minutes as rows; the closing time is their last moment."""
    unit = 1 if microseconds else 1000
    opens_at = _epoch_us(klines.opened_at) // unit
    closes_at = opens_at + minutes * 60_000_000 // unit - 1
    money = PRICE_DECIMALS + SIZE_DECIMALS
    prices = (klines.opens, klines.highs, klines.lows, klines.closes)
    return list(
        zip(
            opens_at.tolist(),
            *(decimal_texts(price, PRICE_DECIMALS, shown=SHOWN) for price in prices),
            decimal_texts(klines.volumes, SIZE_DECIMALS, shown=SHOWN),
            closes_at.tolist(),
            decimal_texts(klines.quotes, money, shown=SHOWN),
            klines.trades.tolist(),
            decimal_texts(klines.taker_buys, SIZE_DECIMALS, shown=SHOWN),
            decimal_texts(klines.taker_buy_quotes, money, shown=SHOWN),
            ["0"] * len(opens_at),
            strict=True,
        )
    )


def trade_rows(trades: Trades, *, microseconds: bool) -> list[TradeRow]:
    """Return aggregate trades as rows: each is one trade, at the best price."""
    at = _epoch_us(trades.traded_at) // (1 if microseconds else 1000)
    numbers = trades.trade_id.tolist()
    return list(
        zip(
            numbers,
            decimal_texts(trades.price_units, PRICE_DECIMALS, shown=SHOWN),
            decimal_texts(trades.size_units, SIZE_DECIMALS, shown=SHOWN),
            numbers,
            numbers,
            at.tolist(),
            (~trades.taker_buys).tolist(),
            [True] * len(numbers),
            strict=True,
        )
    )


def agg_trades(rows: Iterable[TradeRow]) -> Reply:
    """Return ``aggTrades``."""
    return json_reply([dict(zip("apqflTmM", row, strict=True)) for row in rows])


def single_trades(trades: Trades, *, microseconds: bool) -> Reply:
    """Return ``trades`` and ``historicalTrades``."""
    money = decimal_texts(
        trades.price_units * trades.size_units, PRICE_DECIMALS + SIZE_DECIMALS, shown=SHOWN
    )
    rows = zip(trade_rows(trades, microseconds=microseconds), money, strict=True)
    return json_reply(
        [
            {
                "id": row[0],
                "price": row[1],
                "qty": row[2],
                "quoteQty": paid,
                "time": row[5],
                "isBuyerMaker": row[6],
                "isBestMatch": row[7],
            }
            for row, paid in rows
        ]
    )


def exchange_info(
    pairs: Sequence[tuple[str, CryptoPair]],
    now: datetime,
    *,
    weight_per_minute: int,
    requests_per_five_minutes: int,
) -> Reply:
    """Return ``exchangeInfo`` for pairs of Binance's spelling and pair."""
    return json_reply(
        {
            "timezone": "UTC",
            "serverTime": int(now.timestamp() * 1000),
            "rateLimits": [
                _limit("REQUEST_WEIGHT", "MINUTE", 1, weight_per_minute),
                _limit("ORDERS", "SECOND", 10, 100),
                _limit("ORDERS", "DAY", 1, 200_000),
                _limit("RAW_REQUESTS", "MINUTE", 5, requests_per_five_minutes),
            ],
            "exchangeFilters": [],
            "symbols": [_symbol(spelling, pair) for spelling, pair in pairs],
        }
    )


def _limit(kind: str, interval: str, count: int, limit: int) -> Mapping[str, object]:
    return {"rateLimitType": kind, "interval": interval, "intervalNum": count, "limit": limit}


def _symbol(spelling: str, pair: CryptoPair) -> Mapping[str, object]:
    flags = (
        "icebergAllowed", "ocoAllowed", "otoAllowed", "opoAllowed", "quoteOrderQtyMarketAllowed",
        "allowTrailingStop", "cancelReplaceAllowed", "amendAllowed", "pegInstructionsAllowed",
        "isSpotTradingAllowed",
    )  # fmt: skip
    precisions = (
        "quotePrecision", "quoteAssetPrecision", "baseCommissionPrecision",
        "quoteCommissionPrecision",
    )  # fmt: skip
    tick, step = (_unit(decimals) for decimals in (PRICE_DECIMALS, SIZE_DECIMALS))
    return {
        "symbol": spelling,
        "status": "TRADING",
        "baseAsset": pair.base,
        "baseAssetPrecision": SHOWN,
        "quoteAsset": pair.quote,
        **dict.fromkeys(precisions, SHOWN),
        "orderTypes": ["LIMIT", "LIMIT_MAKER", "MARKET", "STOP_LOSS", "STOP_LOSS_LIMIT"],
        **dict.fromkeys(flags, True),
        "isMarginTradingAllowed": False,
        "filters": [
            {
                "filterType": "PRICE_FILTER",
                "minPrice": tick,
                "maxPrice": "1000000.00000000",
                "tickSize": tick,
            },
            {"filterType": "LOT_SIZE", "minQty": step, "maxQty": "9000.00000000", "stepSize": step},
            {"filterType": "NOTIONAL", "minNotional": "5.00000000", "applyMinToMarket": True},
            {"filterType": "MAX_NUM_ORDERS", "maxNumOrders": 200},
        ],
        "permissions": [],
        "permissionSets": [["SPOT"]],
        "defaultSelfTradePreventionMode": "EXPIRE_MAKER",
        "allowedSelfTradePreventionModes": ["EXPIRE_TAKER", "EXPIRE_MAKER", "EXPIRE_BOTH"],
    }


def _unit(decimals: int) -> str:
    return decimal_texts(np.array([1]), decimals, shown=SHOWN)[0]


def _epoch_us(times: Times) -> Integers:
    return times.astype("datetime64[us]").astype(np.int64)


def spoilt(rule: FaultRule, reply: Reply) -> Reply:
    """Return ``reply`` (klines or aggregate trades) with its first rows damaged."""
    parsed: object = json.loads(reply.body)
    if not isinstance(parsed, list) or not parsed:
        return reply
    rows = cast("list[Any]", parsed)
    if rule.kind is FaultKind.DUPLICATE_ROWS:
        rows.insert(0, rows[0])
    elif isinstance(rows[0], list):
        rows[0][4] = None
        for row in rows[1:2]:
            row[2] = "0.00000001"
    else:
        rows[0].pop("p", None)
        for row in rows[1:2]:
            row["q"] = f"-{row['q']}"
    return replace(json_reply(rows), headers=reply.headers)
