"""A simulator of Polygon's (Massive's) REST API over the simulated world.

Here: keys, plans, limits, and which request gets which answer. Not here: what is found in the world
(market.py), bodies (wire.py), quirks on demand (quirks.py), faults and the journal (../front.py).
Facts: see wire.py.

A running session has no daily bar here: what Polygon says of it is not known for sure.
"""

import re
from collections.abc import Callable, Mapping
from datetime import date, datetime, timedelta
from enum import StrEnum
from http import HTTPStatus

from marketdata.calendars import NEW_YORK_ZONE
from sandbox.simulators.faults import FaultRule, Reply
from sandbox.simulators.front import Request
from sandbox.simulators.limits import SlidingWindow
from sandbox.simulators.polygon import market, quirks, wire
from sandbox.simulators.polygon.market import MINUTE_MS, AggregatesRequest
from sandbox.simulators.polygon.references import References
from sandbox.simulators.worlds.shares.actions import Actions
from sandbox.simulators.worlds.shares.world import World


class Plan(StrEnum):
    """The plan of a key."""

    FREE = "free"
    """5 requests a minute, two years, 15 minutes late."""
    STARTER = "starter"
    """Five years, 15 minutes late: good answers have the status DELAYED."""
    ADVANCED = "advanced"
    """All data, without delay."""


_PER_MINUTE = {Plan.FREE: 5, Plan.STARTER: 300, Plan.ADVANCED: 300}
"""Paid plans have no hard limit; 300 still checks a client's pace."""
_YEARS = {Plan.FREE: 2, Plan.STARTER: 5, Plan.ADVANCED: 20}
_LATE = {Plan.FREE: timedelta(minutes=15), Plan.STARTER: timedelta(minutes=15)}
_BAR_MS = {"minute": MINUTE_MS, "hour": 60 * MINUTE_MS, "day": None} | dict.fromkeys(market.SPANS)
_DEFAULT_LIMIT, _LARGEST_LIMIT = 5_000, 50_000
_AGGREGATES = re.compile(
    r"/v2/aggs/ticker/(?P<ticker>[^/]+)/range/(?P<multiplier>[0-9]{1,4})/(?P<timespan>[a-z]+)"
    r"/(?P<first>[^/]+)/(?P<last>[^/]+)"
)
_GROUPED = re.compile(r"/v2/aggs/grouped/locale/us/market/stocks/(?P<day>[^/]+)")
_TICKER = re.compile(r"/v3/reference/tickers/(?P<ticker>[^/]+)")
_MILLISECONDS = re.compile(r"[0-9]{10,13}")


class PolygonSimulator:
    """Answers requests as Polygon would.

    Args:
        keys: Plan by key.
        now: Clock that returns aware UTC times; a session's bar is served after its close.
    """

    prefix = "/polygon"

    def __init__(
        self, world: World, keys: Mapping[str, Plan], *, now: Callable[[], datetime]
    ) -> None:
        self._world = world
        self._actions = Actions(world)
        self._references = References(world, self._actions)
        self._keys = keys
        self._now = now
        self._windows = {plan: SlidingWindow(limit=limit) for plan, limit in _PER_MINUTE.items()}

    def key(self, query: Mapping[str, str], headers: Mapping[str, str]) -> tuple[str, str] | None:
        """Return the key of the query, or of the header."""
        if query.get("apiKey"):
            return "apiKey", query["apiKey"]
        scheme, _, key = headers.get("authorization", "").partition(" ")
        return ("", key) if scheme.lower() == "bearer" and key else None

    def subject(self, request: Request) -> str | None:
        """Return the ticker of the path or of the query."""
        match = _AGGREGATES.fullmatch(request.path) or _TICKER.fullmatch(request.path)
        return match["ticker"] if match else request.query.get("ticker")

    def refusal(self, request: Request) -> Reply | None:
        """Return the refusal (key, limit), or None."""
        identity = wire.request_id(request)
        if request.key is None or request.key not in self._keys:
            return wire.error(HTTPStatus.UNAUTHORIZED, "Unknown API Key", identity=identity)
        if not self._windows[self._keys[request.key]].admits(request.key, request.at):
            return self.error(HTTPStatus.TOO_MANY_REQUESTS, "wait, or upgrade the plan")
        return None

    def answer(self, request: Request) -> Reply:
        """Return the endpoint's answer; an unknown path is 404 in plain text."""
        match = _AGGREGATES.fullmatch(request.path)
        if match is not None:
            return self._aggregates(request, match)
        match = _GROUPED.fullmatch(request.path)
        if match is not None:
            return self._grouped(request, match["day"])
        match = _TICKER.fullmatch(request.path)
        if match is not None:
            return self._references.ticker(request, match["ticker"], self._now())
        reply = self._references.listing(request, self._now())
        return reply or Reply(status=404, body=b"404 page not found", content_type="text/plain")

    def error(self, status: int, text: str) -> Reply:
        """Return an error message; that of a limit begins as Polygon's does."""
        if status == HTTPStatus.TOO_MANY_REQUESTS:
            text = f"You've exceeded the maximum requests per minute ({text})"
        return wire.error(status, text)

    def nothing(self) -> Reply:
        """Return the answer to an unknown symbol: an envelope without ``results``."""
        body = (
            b'{"queryCount":0,"resultsCount":0,"adjusted":true,"status":"OK",'
            b'"request_id":"00000000000000000000000000000000","count":0}'
        )
        return Reply(status=200, body=body)

    def spoilt(self, rule: FaultRule, reply: Reply) -> Reply:
        """Return ``reply`` with rows damaged."""
        return quirks.spoilt(rule, reply)

    def quirk(self, name: str, request: Request) -> Reply:
        """Return the answer to ``request`` with a quirk of quirks.py."""
        return quirks.apply(name, self.answer(request))

    def _aggregates(self, request: Request, path: Mapping[str, str] | re.Match[str]) -> Reply:
        query = wire.asked(request.query)
        asked = None if query is None else _read(path, query)
        if query is None or asked is None:
            return self._unreadable(request)
        if self._is_too_old(request, asked.begin):
            return self._too_old(request)
        page = market.aggregates(self._world, self._actions, asked, self._seen(request))
        following = None
        if page.goes_on_at is not None:
            first, last = path["first"], path["last"]
            edge = str(page.goes_on_at)
            ends = f"{first}/{edge}" if asked.descending else f"{edge}/{last}"
            head = request.path.removesuffix(f"{first}/{last}")
            following = wire.next_url(f"{head}{ends}", query)
        return wire.aggregates(
            page.rows,
            request,
            ticker=asked.ticker,
            base_bars=page.base_bars,
            adjusted=asked.adjusted,
            status=self._status(request),
            next_url=following,
        )

    def _grouped(self, request: Request, text: str) -> Reply:
        day = _day(text)
        if day is None:
            return self._unreadable(request)
        if self._is_too_old(request, market.first_moment(day)):
            return self._too_old(request)
        adjusted = request.query.get("adjusted", "true") != "false"
        rows = market.whole_market(
            self._world, self._actions, day, self._seen(request), adjusted=adjusted
        )
        return wire.aggregates(
            rows,
            request,
            ticker=None,
            base_bars=len(rows),
            adjusted=adjusted,
            status=self._status(request),
        )

    def _seen(self, request: Request) -> datetime:
        """Return the latest moment that the request's plan shows."""
        return self._now() - _LATE.get(self._plan(request), timedelta())

    def _status(self, request: Request) -> str:
        return "DELAYED" if self._plan(request) is Plan.STARTER else "OK"

    def _plan(self, request: Request) -> Plan:
        return self._keys[request.key or ""]

    def _is_too_old(self, request: Request, begin: int) -> bool:
        today = self._now().astimezone(NEW_YORK_ZONE).date()
        oldest = today - timedelta(days=365 * _YEARS[self._plan(request)] + 5)
        return self._plan(request) is not Plan.ADVANCED and begin < market.first_moment(oldest)

    def _too_old(self, request: Request) -> Reply:
        return wire.error(
            HTTPStatus.FORBIDDEN,
            "Your plan does not include data this old. Please upgrade your plan.",
            identity=wire.request_id(request),
        )

    def _unreadable(self, request: Request) -> Reply:
        return wire.error(
            HTTPStatus.BAD_REQUEST,
            "Could not parse a parameter",
            identity=wire.request_id(request),
        )


def _read(
    path: Mapping[str, str] | re.Match[str], query: Mapping[str, str]
) -> AggregatesRequest | None:
    """Read a request for aggregates; None if something in it cannot be read."""
    begin, end = _edge(path["first"], last=False), _edge(path["last"], last=True)
    multiplier, limit = int(path["multiplier"]), query.get("limit", str(_DEFAULT_LIMIT))
    is_readable = begin is not None and end is not None and limit.isdecimal() and multiplier
    if not is_readable or path["timespan"] not in _BAR_MS or begin is None or end is None:
        return None
    unit = _BAR_MS[path["timespan"]]
    if not 1 <= int(limit) <= _LARGEST_LIMIT or (unit is None and multiplier > 1):
        return None
    return AggregatesRequest(
        ticker=path["ticker"],
        bar_ms=None if unit is None else unit * multiplier,
        begin=begin,
        end=end,
        adjusted=query.get("adjusted", "true") != "false",
        descending=query.get("sort") == "desc",
        limit=int(limit),
        span=path["timespan"] if path["timespan"] in market.SPANS else None,
    )


def _edge(text: str, *, last: bool) -> int | None:
    """Read a day or milliseconds; a last day counts to its end."""
    if _MILLISECONDS.fullmatch(text):
        return int(text)
    day = _day(text)
    if day is None:
        return None
    return market.first_moment(day + timedelta(days=1)) - 1 if last else (market.first_moment(day))


def _day(text: str) -> date | None:
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None
