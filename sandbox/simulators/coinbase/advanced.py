"""The public half of Coinbase's Advanced Trade API: the same market in another form.

Here: its endpoints and bodies. Not here: figures (market.py), the Exchange API (simulator.py,
wire.py), or limits. Facts: measurements of September 2026, the types of coinbase-advanced-py,
tests/recordings/coinbase_advanced_*. All figures are text, and all answers claim to be fresh for
four hours.
"""

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from marketdata.crypto_pairs import pairs_at
from sandbox.simulators.coinbase import wire
from sandbox.simulators.coinbase.market import (
    ALIASES,
    DAY,
    VENUE,
    CoinbaseMarket,
    moment_of,
    seconds_of,
)
from sandbox.simulators.coinbase.wire import json_reply, price_text, size_text
from sandbox.simulators.faults import Reply
from sandbox.simulators.front import Request

PREFIX = "/api/v3/brokerage"
GRANULARITIES = {
    "ONE_MINUTE": 60,
    "FIVE_MINUTE": 300,
    "FIFTEEN_MINUTE": 900,
    "THIRTY_MINUTE": 1_800,
    "ONE_HOUR": 3_600,
    "TWO_HOUR": 7_200,
    "FOUR_HOUR": 14_400,
    "SIX_HOUR": 21_600,
    "ONE_DAY": 86_400,
}
MOST_CANDLES = 350
MOST_TRADES = 100
"""Trades of one answer, whatever the requested number."""
_LARGEST_LIMIT = 1000
"""Beyond it the server fails."""
_CACHED = {"cache-control": "public, max-age=14400"}
_PRODUCT_PATH = re.compile(r"/market/products/(?P<product>[^/]+)(?P<rest>|/candles|/ticker)")


class AdvancedTrade:
    """Answers the requests below ``/api/v3/brokerage``."""

    def __init__(self, market: CoinbaseMarket, now: Callable[[], datetime]) -> None:
        self._market = market
        self._now = now

    def answer(self, request: Request) -> Reply:
        """Return the endpoint's answer, with the header that asks caches to keep it."""
        return replace(self._answer(request), headers=_CACHED)

    def limit_reached(self) -> Reply:
        """Return the answer beyond the limit; that it has this form is unverified."""
        error = {"id": "rate_limit_exceeded", "message": "Too many requests"}
        return replace(json_reply({"errors": [error]}, 429), headers=_CACHED)

    def _answer(self, request: Request) -> Reply:
        path = request.path.removeprefix(PREFIX)
        if path == "/time":
            return _server_time(self._now())
        if path == "/market/products":
            return self._products(request)
        match = _PRODUCT_PATH.fullmatch(path)
        if match is None:
            # Paths outside /market need a signed token, which no client has here.
            return Reply(status=401, body=b"Unauthorized\n", content_type="text/plain")
        return self._of_product(match["product"], match["rest"], request)

    def _of_product(self, product: str, rest: str, request: Request) -> Reply:
        if ALIASES.get(product, product) not in pairs_at(VENUE):
            return _error(404, "NOT_FOUND", f"valid product_id is required: {product}")
        if rest == "/candles":
            return self._candles(product, request)
        if rest == "/ticker":
            return self._trades(product, request)
        return json_reply(self._product(product, self._now()))

    def _products(self, request: Request) -> Reply:
        names = [*pairs_at(VENUE), *ALIASES]
        wanted = request.query.get("product_ids")
        products = [
            # In the list, quotes are left empty.
            self._product(name, self._now()) | {"best_bid_price": "", "best_ask_price": ""}
            for name in names
            if wanted in {None, name}
        ]
        first = _whole(request.query.get("offset")) or 0
        shown = products[first : first + (_whole(request.query.get("limit")) or len(products))]
        return json_reply({"products": shown, "num_products": len(shown)})

    def _product(self, name: str, now: datetime) -> dict[str, object]:
        book = ALIASES.get(name, name)
        day = self._market.last_day(book, now)
        before = self._market.last_day(book, now - DAY)
        base, _, quote = name.partition("-")
        return {
            "product_id": name,
            "price": price_text(day.last),
            "price_percentage_change_24h": f"{(day.last / day.open - 1.0) * 100.0:.14f}",
            "volume_24h": size_text(day.volume),
            "volume_percentage_change_24h": f"{(day.volume / before.volume - 1.0) * 100.0:.14f}",
            "base_increment": "0.00000001",
            "quote_increment": "0.01",
            "quote_min_size": "1",
            "quote_max_size": "150000000",
            "base_min_size": "0.00000001",
            "base_max_size": "3400",
            "base_name": base,
            "quote_name": quote,
            "watched": False,
            "is_disabled": False,
            "new": False,
            "status": "online",
            "cancel_only": False,
            "limit_only": False,
            "post_only": False,
            "trading_disabled": False,
            "auction_mode": False,
            "product_type": "SPOT",
            "quote_currency_id": quote,
            "base_currency_id": base,
            "fcm_trading_session_details": None,
            "mid_market_price": "",
            "alias": book if book != name else "",
            "alias_to": [other for other, of in ALIASES.items() if of == name],
            "base_display_symbol": base,
            "quote_display_symbol": quote,
            "view_only": False,
            "price_increment": "0.01",
            "display_name": name,
            "product_venue": "CBE",
            "approximate_quote_24h_volume": str(day.volume * day.last // 10**7),
            "best_bid_price": price_text(day.last),
            "best_ask_price": price_text(day.last + 1),
        }

    def _candles(self, product: str, request: Request) -> Reply:
        query = request.query
        seconds = GRANULARITIES.get(query.get("granularity", ""))
        if seconds is None:
            return _invalid("granularity argument is invalid")
        start, end = _whole(query.get("start")), _whole(query.get("end"))
        if start is None or end is None or end < start:
            return _invalid("start and end argument is invalid")
        if (end - start) // seconds + 1 > MOST_CANDLES:
            return _invalid(
                "start and end argument is invalid - number of candles requested should be less "
                f"than {MOST_CANDLES}"
            )
        book = ALIASES.get(product, product)
        of = self._market.candles(book, start, end, seconds, self._now())
        rows = [
            {
                "start": str(of.opened_s[place]),
                "low": price_text(int(of.lows[place])),
                "high": price_text(int(of.highs[place])),
                "open": price_text(int(of.opens[place])),
                "close": price_text(int(of.closes[place])),
                "volume": size_text(int(of.volumes[place])),
            }
            for place in reversed(range(len(of)))
        ]
        return json_reply({"candles": rows[: _whole(query.get("limit")) or MOST_CANDLES]})

    def _trades(self, product: str, request: Request) -> Reply:
        limit = _whole(request.query.get("limit")) or MOST_TRADES
        if limit > _LARGEST_LIMIT:
            return _error(500, "INTERNAL", "internal server error")
        book = ALIASES.get(product, product)
        start, end = (_whole(request.query.get(name)) for name in ("start", "end"))
        last = self._market.last_id(book, self._now())
        of = self._market.trades(book, last - MOST_TRADES + 1, last)
        if start is not None and end is not None:
            until = min(moment_of(end), self._now())
            of = self._market.trades_between(book, moment_of(start), until)
        columns = zip(
            of.trade_id.tolist(),
            of.price_units.tolist(),
            of.size_units.tolist(),
            wire.times(of),
            wire.maker_sides(of),
            strict=True,
        )
        rows = [
            {
                "trade_id": str(trade_id),
                "product_id": product,
                "price": price_text(price),
                "size": size_text(size),
                "time": at,
                "side": side.upper(),
                "bid": "",
                "ask": "",
                "exchange": "coinbase",
            }
            for trade_id, price, size, at, side in columns
        ][::-1]
        newest = int(self._market.trades(book, last, last).price_units[-1])
        return json_reply(
            {
                "trades": rows[: min(limit, MOST_TRADES)],
                "best_bid": price_text(newest),
                "best_ask": price_text(newest + 1),
            }
        )


def _server_time(now: datetime) -> Reply:
    seconds = seconds_of(now)
    return json_reply(
        {
            "iso": f"{now:%Y-%m-%dT%H:%M:%SZ}",
            "epochSeconds": str(seconds),
            "epochMillis": str(seconds * 1000 + now.microsecond // 1000),
        }
    )


def _invalid(text: str) -> Reply:
    return _error(400, "INVALID_ARGUMENT", text)


def _error(status: int, kind: str, text: str) -> Reply:
    return json_reply({"error": kind, "error_details": text, "message": text}, status)


def _whole(text: str | None) -> int | None:
    return int(text) if text is not None and re.fullmatch(r"[0-9]{1,12}", text) else None
