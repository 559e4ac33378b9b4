"""A simulator of Tiingo's daily prices and of its IEX prices over the simulated world.

Here: keys, plans, quirks, and which request gets which answer. Not here: bodies (wire.py), rows
(daily.py, quotes.py), what is counted (limits.py), or faults and the journal (../front.py). Facts:
see wire.py.

Tiingo's own paths lie below the prefix, so that ``/tiingo/daily/AAPL`` is
``/tiingo/tiingo/daily/AAPL`` here. Not simulated: weekly and longer bars, ``forceFill``, a
month's bandwidth.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from http import HTTPStatus
from typing import cast
from urllib.parse import urlencode

from marketdata.calendars import utc_now
from sandbox.simulators.faults import CSV, FaultRule, Reply, spoilt_rows
from sandbox.simulators.front import Request
from sandbox.simulators.tiingo import requests, wire
from sandbox.simulators.tiingo.daily import DailyPrices
from sandbox.simulators.tiingo.iex import iex_minute_truth
from sandbox.simulators.tiingo.limits import PLAN_LIMITS, Plan, PlanLimits, Usage
from sandbox.simulators.tiingo.quotes import IexPrices
from sandbox.simulators.tiingo.wire import Row
from sandbox.simulators.worlds.shares.world import World

__all__ = ["Plan", "PlanLimits", "TiingoSimulator", "iex_minute_truth"]


class TiingoSimulator:
    """Answers requests as Tiingo would.

    Args:
        keys: Plan by key; only keys of the power plan have an agreement with IEX.
        now: Clock that returns aware UTC times.
        limits: Limits of each plan.
    """

    prefix = "/tiingo"

    def __init__(
        self,
        world: World,
        keys: Mapping[str, Plan],
        *,
        now: Callable[[], datetime] = utc_now,
        limits: Mapping[Plan, PlanLimits] = PLAN_LIMITS,
    ) -> None:
        self._world = world
        self._daily = DailyPrices(world, now)
        self._iex = IexPrices(world, now)
        self._keys = keys
        self._limits = limits
        self._usage = Usage()

    def key(self, query: Mapping[str, str], headers: Mapping[str, str]) -> tuple[str, str] | None:
        """Return the key of the query, or of the header after the word Token."""
        if query.get("token"):
            return "token", query["token"]
        scheme, _, key = headers.get("authorization", "").partition(" ")
        return ("", key) if scheme.lower() == "token" and key else None

    def subject(self, request: Request) -> str | None:
        """Return the ticker of the path, in upper case."""
        ticker = requests.ticker_of(request.path)
        return ticker.upper() if ticker else None

    def error(self, status: int, text: str) -> Reply:
        """Return an error with ``detail``; that of a limit begins as Tiingo's does."""
        limited = status == HTTPStatus.TOO_MANY_REQUESTS
        message = f"{wire.overrun('hourly')} ({text})" if limited else text
        return wire.detail(status, message)

    def nothing(self) -> Reply:
        """Return the answer of metadata and IEX prices to an unknown ticker."""
        return wire.not_found()

    def spoilt(self, rule: FaultRule, reply: Reply) -> Reply:
        """Return ``reply`` with rows damaged: the first, or those of the rule's symbol."""
        if reply.content_type.startswith(CSV):
            return spoilt_rows(rule, reply)
        parsed: object = json.loads(reply.body)
        if not isinstance(parsed, list):
            return reply
        rows = cast("list[Row]", parsed)
        named = [row for row in rows if str(row.get("ticker", "")).upper() == rule.symbol]
        others = [row for row in rows if row not in named] if named else []
        damaged = spoilt_rows(rule, wire.json_reply(named or rows))
        return replace(reply, body=wire.json_reply([*json.loads(damaged.body), *others]).body)

    def quirk(self, name: str, request: Request) -> Reply:
        """Return the answer to ``request`` with the quirk ``name``.

        ``symbol_cap`` and ``symbol_cap_json`` are the month's cap inside a 200, as text and as an
        object; ``daily_limit`` and ``bandwidth`` other allocations used up; ``bad_key`` the word
        None with 403; ``outside_plan`` a 403 with detail; ``moved`` a redirect; ``newest_first``
        the rows in reverse; ``no_volume`` rows without volume; ``day_before`` daily prices
        without the latest session.
        """
        cap = wire.symbol_cap(500)
        simple: Mapping[str, Callable[[], Reply]] = {
            "symbol_cap": lambda: wire.bare_text(cap),
            "symbol_cap_json": lambda: wire.detail(200, cap),
            "daily_limit": lambda: wire.detail(429, wire.overrun("daily")),
            "bandwidth": lambda: wire.detail(429, wire.bandwidth()),
            "bad_key": lambda: wire.bare_text("None", 403),
            "outside_plan": lambda: wire.detail(403, "You do not have permission."),
            "moved": lambda: self._moved(request),
            "newest_first": lambda: _changed(self.answer(request), lambda rows: rows[::-1]),
            "no_volume": lambda: _changed(self.answer(request), _without_volume),
            "day_before": lambda: self._answer(request, behind=1),
        }
        if name not in simple:
            message = f"Tiingo has no quirk {name!r}; it has {', '.join(simple)}"
            raise ValueError(message)
        return simple[name]()

    def refusal(self, request: Request) -> Reply | None:
        """Return the refusal (key, allocation, cap of symbols), or None.

        Errors of CSV requests are bare text in a 200.
        """
        key = request.key
        if key is None:
            return wire.detail(403, "Please supply a token")
        if key not in self._keys:
            return wire.detail(401, "Invalid token.")
        limits = self._limits[self._keys[key]]
        which = self._usage.overrun(key, limits, request.at)
        if which is not None:
            text = wire.overrun(which)
            if requests.wants_csv(request):
                return wire.bare_text(text)
            return wire.detail(HTTPStatus.TOO_MANY_REQUESTS, text)
        listings = (requests.find(self._world, symbol) for symbol in requests.symbols(request))
        known = {listing.ticker for listing in listings if listing is not None}
        if not self._usage.admits(key, limits, known, request.at):
            return wire.bare_text(wire.symbol_cap(limits.symbols_per_month or 0))
        return None

    def answer(self, request: Request) -> Reply:
        """Return the endpoint's answer; unknown parameters are ignored."""
        return self._answer(request, behind=0)

    def _answer(self, request: Request, *, behind: int) -> Reply:
        """Answer with daily prices that are ``behind`` sessions late."""
        published = self._daily.published(behind)
        match request.path.strip("/").split("/"):
            case ["iex", *rest]:
                return self._iex_answer(rest, request)
            case ["tiingo", "daily", "prices"]:
                return self._daily.market(published, request)
            case ["tiingo", "daily", ticker]:
                return self._daily.metadata(ticker, published)
            case ["tiingo", "daily", ticker, "prices"]:
                return self._daily.history(ticker, published, request)
            case _:
                return self.nothing()

    def _iex_answer(self, rest: Sequence[str], request: Request) -> Reply:
        match rest:
            case [] if not request.path.endswith("/"):
                return self._moved(request)
            case [] | [_]:
                agreed = self._keys[request.key or ""] is Plan.POWER
                return self._iex.quotes(request, agreed=agreed)
            case [ticker, "prices"]:
                return self._iex.prices(ticker, request)
            case _:
                return self.nothing()

    def _moved(self, request: Request) -> Reply:
        query = f"?{urlencode(request.query)}" if request.query else ""
        return wire.moved(f"{self.prefix}{request.path.rstrip('/')}/{query}")


def _changed(reply: Reply, change: Callable[[list[Row]], list[Row]]) -> Reply:
    parsed: object = json.loads(reply.body)
    if not isinstance(parsed, list):
        return reply
    return replace(reply, body=wire.json_reply(change(cast("list[Row]", parsed))).body)


def _without_volume(rows: list[Row]) -> list[Row]:
    return [{name: value for name, value in row.items() if name != "volume"} for row in rows]
