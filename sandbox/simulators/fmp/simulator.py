"""A simulator of FMP's /stable API over the simulated world.

Here: keys, plans, limits, and which request gets which answer. Not here: bodies (wire.py), faults
and the journal (../front.py), figures (../worlds/shares/world.py), endpoints of statements and
companies (fundamentals.py) or of corporate actions (actions.py), or the process (../providers.py).
Facts: see wire.py.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum
from http import HTTPStatus
from pathlib import Path

from marketdata.calendars import NEW_YORK_ZONE, calendar, utc_now
from marketdata.instruments import our_tickers, provider_spellings
from sandbox.simulators.faults import CSV, FaultKind, FaultRule, Reply, spoilt_rows
from sandbox.simulators.fmp import actions, wire
from sandbox.simulators.fmp import fundamentals as fmp_fundamentals
from sandbox.simulators.front import Front, Request
from sandbox.simulators.journal import Journal
from sandbox.simulators.limits import SlidingWindow
from sandbox.simulators.worlds.fundamentals.world import Fundamentals
from sandbox.simulators.worlds.shares import elsewhere
from sandbox.simulators.worlds.shares.world import SEED, Listing, World

ROW_CAP = 5000
"""Rows per answer; beyond it the OLDEST are dropped silently."""
SMALL_PLAN_SESSIONS = 1255
"""Sessions that a plan of five years shows, whatever is requested; no error says so."""
_DEFAULT_SPAN = timedelta(days=5 * 365 + 1)


class Plan(StrEnum):
    """The plan of a key."""

    FREE = "free"
    STARTER = "starter"
    PREMIUM = "premium"
    ULTIMATE = "ultimate"


FREE_SYMBOLS = frozenset({"AAPL", "AMZN", "GOOGL", "MSFT", "NVDA", "TSLA"})
"""An excerpt of the free plan's 87 symbols."""

_NEEDS = {
    "sp500-constituent": frozenset({Plan.PREMIUM, Plan.ULTIMATE}),
    "historical-sp500-constituent": frozenset({Plan.PREMIUM, Plan.ULTIMATE}),
    "eod-bulk": frozenset({Plan.ULTIMATE}),
    "latest-financial-statements": frozenset({Plan.ULTIMATE}),
}
FREE_STATEMENTS = 5
"""Most rows of statements or ratios in the free plan."""
_OF_ACTIONS = frozenset({"numerator", "dividend", "adjClose", "price"})
"""Field names by which rows of corporate actions are recognised."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FmpLimits:
    """Limits of a key.

    Attributes:
        per_minute: Requests in any 60 seconds; the key of this project has 120.
        bulk_interval_s: Pause between two bulk requests.
    """

    per_minute: int = 120
    bulk_interval_s: float = 10.0


class FmpSimulator:
    """Answers requests as FMP would.

    Args:
        world: Listings, prices and corporate actions.
        keys: Plan by key.
        limits: Limits of each key.
        now: Clock that returns aware UTC times; a session's bar is served after its close.
        fundamentals: Source of statements; without restatements if None.
    """

    def __init__(
        self,
        world: World,
        *,
        keys: Mapping[str, Plan],
        limits: FmpLimits,
        now: Callable[[], datetime],
        fundamentals: Fundamentals | None = None,
    ) -> None:
        self._world = world
        self._keys = keys
        self._now = now
        self._window = SlidingWindow(limit=limits.per_minute)
        self._bulk = SlidingWindow(limit=1, window=timedelta(seconds=limits.bulk_interval_s))
        self._endpoints: Mapping[str, Callable[[Request], Reply]] = {
            "historical-price-eod/full": self._full_history,
            "eod-bulk": self._eod_bulk,
            "sp500-constituent": self._constituents,
            **fmp_fundamentals.endpoints(world, now, fundamentals),
            **actions.endpoints(world, now),
        }
        self._quirks = {"five_years": self._five_years, **actions.quirks(world, now)}

    prefix = ""

    def key(self, query: Mapping[str, str], headers: Mapping[str, str]) -> tuple[str, str] | None:
        """Return the key of the query, or of the header of the same name."""
        if query.get("apikey"):
            return "apikey", query["apikey"]
        return ("", headers["apikey"]) if headers.get("apikey") else None

    def subject(self, request: Request) -> str | None:
        """Return the requested symbol."""
        return request.query.get("symbol")

    def error(self, status: int, text: str) -> Reply:
        """Return an error message; that of a limit begins as FMP's does."""
        limited = status == HTTPStatus.TOO_MANY_REQUESTS
        return wire.error_reply(status, f"Limit Reach . ({text})" if limited else text)

    def nothing(self) -> Reply:
        """Return an empty list."""
        return wire.nothing()

    def spoilt(self, rule: FaultRule, reply: Reply) -> Reply:
        """Return ``reply`` with rows damaged according to their kind."""
        if reply.status != HTTPStatus.OK or reply.content_type.startswith(CSV):
            return spoilt_rows(rule, reply) if reply.status == HTTPStatus.OK else reply
        rows: list[Mapping[str, object]] = json.loads(reply.body)
        names = rows[0].keys() if rows else frozenset[str]()
        if rule.kind is FaultKind.DUPLICATE_ROWS or {"close", "low"} <= names:
            return spoilt_rows(rule, reply)
        if "companyName" not in names and names & _OF_ACTIONS:
            return actions.spoilt(reply)
        return fmp_fundamentals.spoilt(rule, reply)

    def quirk(self, name: str, request: Request) -> Reply:
        """Return the answer with a quirk of FMP, to a request for splits or a history.

        Raises:
            ValueError: There is no such quirk; the text names the known ones.
        """
        if name not in self._quirks:
            message = f"FMP has no quirk {name!r}; it has {', '.join(self._quirks)}"
            raise ValueError(message)
        return self._quirks[name](request)

    def refusal(self, request: Request) -> Reply | None:
        """Return the refusal (key, legacy path, limit), or None."""
        if request.key is None or request.key not in self._keys:
            return wire.invalid_key()
        if request.path.startswith(("/api/v3/", "/api/v4/")):
            return wire.legacy_endpoint()
        if not self._window.admits(request.key, request.at):
            return wire.limit_reached()
        return None

    def answer(self, request: Request) -> Reply:
        """Return the endpoint's answer; unknown parameters are ignored, as measured."""
        name = request.path.removeprefix("/stable/")
        endpoint = self._endpoints.get(name)
        if endpoint is None or name == request.path:
            return wire.nothing(404)
        plan = self._keys[request.key or ""]
        if plan not in _NEEDS.get(name, frozenset(Plan)):
            return wire.restricted_endpoint()
        symbol = request.query.get("symbol")
        if plan is Plan.FREE and symbol and symbol not in FREE_SYMBOLS:
            return wire.restricted_symbol()
        too_long = name in fmp_fundamentals.STATEMENTS and _limit(request) > FREE_STATEMENTS
        if plan is Plan.FREE and too_long:
            return wire.restricted_limit(FREE_STATEMENTS)
        return endpoint(request)

    def _five_years(self, request: Request) -> Reply:
        """Return a history as in a smaller plan: the newest sessions only."""
        last = calendar().last_closed(self._now())
        shown = calendar().sessions(last - 2 * _DEFAULT_SPAN, last)[-SMALL_PLAN_SESSIONS:]
        return self._full_history(request, shown[0])

    def _full_history(self, request: Request, first: date = date.min) -> Reply:
        symbol = request.query.get("symbol")
        if not symbol:
            return wire.missing_parameter("symbol")
        try:
            start, end = self._span(request.query)
        except ValueError as error:
            return wire.missing_parameter(str(error))
        listing = self._find(symbol)
        if listing is None or start > end:
            return wire.nothing()
        bars = self._world.bars(listing.ticker, max(start, first), end, self._now())
        return wire.full_history(symbol, bars.newest(ROW_CAP))

    def _span(self, query: Mapping[str, str]) -> tuple[date, date]:
        """Return the first and last requested day: five years back without ``from``.

        Raises:
            ValueError: A date cannot be read; the text is the parameter's name.
        """
        end = _day(query, "to") or self._now().astimezone(NEW_YORK_ZONE).date()
        return _day(query, "from") or end - _DEFAULT_SPAN, end

    def _eod_bulk(self, request: Request) -> Reply:
        try:
            day = _day(request.query, "date")
        except ValueError:
            day = None
        if day is None:
            return wire.missing_parameter("date")
        if not self._bulk.admits(request.key or "", request.at):
            return wire.bulk_throttled()
        return wire.bulk(self._bulk_rows(day))

    def _bulk_rows(self, day: date) -> list[list[str]]:
        """Return the rows of one day by symbol; without a closed session only crypto."""
        now = self._now()
        if day > now.date():
            return []
        rows = [wire.foreign_row(day, pair) for pair in elsewhere.crypto_pairs(SEED, day)]
        if self._world.is_closed_session(day, now):
            rows += [wire.foreign_row(day, share) for share in elsewhere.foreign_shares(SEED, day)]
            for listing in self._world.listings():
                bars = self._world.bars(listing.ticker, day, day, now)
                if len(bars.dates):
                    rows.append(wire.bulk_row(_spelt(listing), day, bars))
        return sorted(rows)

    def _constituents(self, _: Request) -> Reply:
        return wire.constituents(
            (_spelt(listing), listing) for listing in self._world.constituents()
        )

    def _find(self, symbol: str) -> Listing | None:
        """Return the listing in FMP's spelling; ours is unknown where the two differ."""
        if symbol in provider_spellings("fmp"):
            return None
        return self._world.listing(our_tickers("fmp").get(symbol, symbol))


def create_front(
    root: Path,
    *,
    keys: Mapping[str, Plan],
    limits: FmpLimits | None = None,
    now: Callable[[], datetime] = utc_now,
    seed: int = 0,
) -> Front:
    """Return the ASGI application of a simulator whose world and journal lie in ``root``.

    ``seed`` decides which requests meet a fault with a probability.
    """
    world = World(root)
    simulator = FmpSimulator(world, keys=keys, limits=limits or FmpLimits(), now=now)
    journal = Journal(root / "requests.jsonl")
    return Front([simulator], world=world, journal=journal, now=now, seed=seed)


def _spelt(listing: Listing) -> str:
    return provider_spellings("fmp").get(listing.ticker, listing.ticker)


def _day(query: Mapping[str, str], name: str) -> date | None:
    text = query.get(name)
    if not text:
        return None
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise ValueError(name) from error


def _limit(request: Request) -> int:
    """Return the requested number of rows; FMP's default if unreadable."""
    text = request.query.get("limit", "")
    return int(text) if text.isdecimal() else FREE_STATEMENTS
