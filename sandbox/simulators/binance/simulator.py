"""A simulator of Binance's public REST interface for spot pairs, over the crypto world.

Here: weights, limits, parameters, and which request gets which answer. Not here: bodies (wire.py),
klines (klines.py), files (files.py), or faults (../front.py). There is one address, so that all
requests share one limit.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import cast

import numpy as np

from marketdata.crypto_pairs import pairs_at
from sandbox.simulators.binance import wire
from sandbox.simulators.binance.klines import VENUE, chosen, instant, joined, klines_of_day
from sandbox.simulators.binance.parameters import (
    EPOCH,
    MILLISECOND,
    RefusedError,
    given,
    in_microseconds,
    limit_of,
    listed,
    number,
    pair_of,
    time_of,
    unread,
)
from sandbox.simulators.binance.weight import BinanceLimits, WeightMeter
from sandbox.simulators.faults import FaultRule, Reply
from sandbox.simulators.front import Request
from sandbox.simulators.worlds.crypto.trades import FIRST_DAY, MINUTES_A_DAY, PairMinutes, Trades
from sandbox.simulators.worlds.crypto.world import CryptoWorld

INTERVALS = {
    "1m": 1, "3m": 3, "5m": 5, "15m": 15, "30m": 30, "1h": 60, "2h": 120, "4h": 240, "6h": 360,
    "8h": 480, "12h": 720, "1d": 1440,
}  # fmt: skip
"""Minutes by interval. Binance also has 1s, 3d, 1w and 1M, which are not simulated."""
_ONE_DAY = timedelta(days=1)
_QUIRKS = ("banned", "firewall", "numbers", "restricted", "reversed")


@dataclass(frozen=True, slots=True)
class _Endpoint:
    """Weight, known parameters and handler of a request."""

    weight: int
    reads: frozenset[str]
    answer: Callable[[Request], Reply]


class BinanceSimulator:
    """Answers requests as Binance would.

    Args:
        now: Clock that returns aware UTC times; later trades are not served.
        crypto: The trades; those of the usual world by default.
        limits: Limits of the one address.
    """

    prefix = "/binance"

    def __init__(
        self,
        *,
        now: Callable[[], datetime],
        crypto: CryptoWorld | None = None,
        limits: BinanceLimits | None = None,
    ) -> None:
        self._now = now
        self._crypto = crypto or CryptoWorld()
        self._limits = limits or BinanceLimits()
        self._meter = WeightMeter(self._limits)
        page = {"symbol", "startTime", "endTime", "limit"}
        none, newest = frozenset[str](), frozenset({"symbol", "limit"})
        info = frozenset({"symbol", "symbols", "permissions", "showPermissionSets", "symbolStatus"})
        self._endpoints: Mapping[str, _Endpoint] = {
            "/api/v3/ping": _Endpoint(1, none, self._ping),
            "/api/v3/time": _Endpoint(1, none, self._time),
            "/api/v3/exchangeInfo": _Endpoint(20, info, self._exchange_info),
            "/api/v3/klines": _Endpoint(
                2, frozenset(page | {"interval", "timeZone"}), self._klines
            ),
            "/api/v3/aggTrades": _Endpoint(4, frozenset(page | {"fromId"}), self._agg_trades),
            "/api/v3/trades": _Endpoint(25, newest, self._trades),
            "/api/v3/historicalTrades": _Endpoint(25, newest | {"fromId"}, self._trades),
        }

    def key(self, query: Mapping[str, str], headers: Mapping[str, str]) -> tuple[str, str] | None:
        """Return a key that a client sent, to keep it out of the journal; none is needed."""
        del query
        return ("", headers["x-mbx-apikey"]) if headers.get("x-mbx-apikey") else None

    def subject(self, request: Request) -> str | None:
        """Return the requested symbol, in Binance's spelling."""
        return request.query.get("symbol")

    def refusal(self, request: Request) -> Reply | None:
        """Return the refusal beyond the limit, or None; counts the request's weight."""
        endpoint = self._endpoints.get(request.path)
        refused = self._meter.refusal(endpoint.weight if endpoint else 1, request.at)
        return None if refused is None else self._metered(refused, request)

    def answer(self, request: Request) -> Reply:
        """Return the endpoint's answer, with the weight used so far in two headers."""
        endpoint = self._endpoints.get(request.path)
        if endpoint is None:
            return self._metered(wire.no_such_path(request.path), request)
        strange = [name for name in request.query if name not in endpoint.reads]
        try:
            if strange:
                raise unread(len(request.query), len(strange))
            reply = endpoint.answer(request)
        except RefusedError as refused:
            reply = refused.reply
        return self._metered(reply, request)

    def error(self, status: int, text: str) -> Reply:
        """Return an error object; those of limits and regions have texts of their own."""
        return wire.status_reply(status, text)

    def nothing(self) -> Reply:
        """Return code -1121."""
        return wire.unknown_symbol()

    def spoilt(self, rule: FaultRule, reply: Reply) -> Reply:
        """Return ``reply`` with rows damaged."""
        return wire.spoilt(rule, reply)

    def quirk(self, name: str, request: Request) -> Reply:
        """Return the answer with one of Binance's quirks.

        ``banned`` is 418, ``firewall`` 403, ``restricted`` 451; ``numbers`` has figures without
        quotation marks, ``reversed`` the newest row first.

        Raises:
            ValueError: There is no such quirk.
        """
        if name == "banned":
            until = request.at + timedelta(seconds=self._limits.ban_s)
            seconds = int(self._limits.ban_s)
            return wire.banned(int(until.timestamp() * 1000), retry_after_s=seconds)
        if name == "restricted":
            return wire.restricted()
        if name == "firewall":
            return wire.firewall()
        if name == "numbers":
            reply = self.answer(request)
            return replace(reply, body=re.sub(rb'"(\d+\.\d+)"', rb"\1", reply.body))
        if name == "reversed":
            reply = self.answer(request)
            rows = cast("list[object]", json.loads(reply.body))
            return replace(reply, body=json.dumps(rows[::-1]).encode())
        message = f"Binance has no quirk {name!r}, but {', '.join(_QUIRKS)}"
        raise ValueError(message)

    def _metered(self, reply: Reply, request: Request) -> Reply:
        used = str(self._meter.used(request.at))
        headers = {"x-mbx-used-weight": used, "x-mbx-used-weight-1m": used}
        return replace(reply, headers={**reply.headers, **headers})

    def _ping(self, _: Request) -> Reply:
        return wire.json_reply({})

    def _time(self, request: Request) -> Reply:
        unit = timedelta(microseconds=1) if in_microseconds(request) else MILLISECOND
        return wire.json_reply({"serverTime": (self._now() - EPOCH) // unit})

    def _exchange_info(self, request: Request) -> Reply:
        pairs = pairs_at(VENUE)
        wanted = list(pairs)
        if "symbols" in request.query:
            wanted = listed(request.query["symbols"])
        elif "symbol" in request.query:
            wanted = [request.query["symbol"]]
        if any(symbol not in pairs for symbol in wanted):
            return wire.unknown_symbol()
        return wire.exchange_info(
            [(symbol, pairs[symbol]) for symbol in wanted],
            self._now(),
            weight_per_minute=self._limits.weight_per_minute,
            requests_per_five_minutes=self._limits.requests_per_five_minutes,
        )

    def _klines(self, request: Request) -> Reply:
        pair = pair_of(request).pair
        interval = given(request, "interval")
        if interval not in INTERVALS:
            raise RefusedError(-1120, "Invalid interval.")
        minutes = INTERVALS[interval]
        start, end = time_of(request, "startTime"), time_of(request, "endTime")
        klines = self._klines_between(pair, minutes, start, end, limit_of(request))
        rows = wire.kline_rows(klines, minutes=minutes, microseconds=in_microseconds(request))
        return wire.json_reply(rows)

    def _klines_between(
        self, pair: str, minutes: int, start: datetime | None, end: datetime | None, limit: int
    ) -> PairMinutes:
        """Return klines that open from ``start`` to ``end``, both included: the oldest ``limit``.

        Without a start the newest are returned.
        """
        now = self._now()
        until = min(end or now, now)
        day = until.date() if start is None else max(start.date(), FIRST_DAY)
        step = -_ONE_DAY if start is None else _ONE_DAY
        days: list[PairMinutes] = []
        # One day more than the rows need, since the first day may be partial.
        while (
            len(days) <= limit * minutes // MINUTES_A_DAY + 2 and FIRST_DAY <= day <= until.date()
        ):
            days.append(klines_of_day(self._crypto, pair, day, now, minutes=minutes))
            day += step
        klines = joined(days if start is not None else days[::-1])
        wanted = klines.opened_at <= instant(until)
        if start is not None:
            wanted &= klines.opened_at >= instant(start)
        places = np.flatnonzero(wanted)
        return chosen(klines, places[-limit:] if start is None else places[:limit])

    def _agg_trades(self, request: Request) -> Reply:
        micro = in_microseconds(request)
        trades = self._found_trades(request)
        return wire.agg_trades(wire.trade_rows(trades, microseconds=micro))

    def _found_trades(self, request: Request) -> Trades:
        pair, limit, now = pair_of(request).pair, limit_of(request), self._now()
        start, end = time_of(request, "startTime"), time_of(request, "endTime")
        from_id = number(request, "fromId")
        if from_id is not None and (start or end):
            raise RefusedError(-1128, "Combination of optional parameters invalid.")
        until = now if end is None else min(end + MILLISECOND, now)
        last = self._crypto.last_id(pair, until, venue=VENUE)
        if from_id is not None:
            first = max(from_id, 1)
        elif start is not None:
            first = self._crypto.last_id(pair, start, venue=VENUE) + 1
        else:
            first = max(last - limit + 1, 1)
        last = min(last, first + limit - 1)
        return self._crypto.trades_by_id(pair, first, last, venue=VENUE)

    def _trades(self, request: Request) -> Reply:
        trades = self._found_trades(request)
        return wire.single_trades(trades, microseconds=in_microseconds(request))
