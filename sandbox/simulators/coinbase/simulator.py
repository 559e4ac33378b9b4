"""A simulator of Coinbase over the crypto world: its Exchange API, and dispatch to the other.

Here: limits, and which request gets which answer. Not here: bodies (wire.py), figures (market.py),
Advanced Trade (advanced.py), what faults do to an answer (faults.py), or the journal (../front.py).
Facts: see wire.py.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus

from marketdata.calendars import utc_now
from marketdata.crypto_pairs import pairs_at
from sandbox.simulators.coinbase import faults, wire
from sandbox.simulators.coinbase.advanced import PREFIX, AdvancedTrade
from sandbox.simulators.coinbase.limits import TokenBucket
from sandbox.simulators.coinbase.market import (
    ALIASES,
    VENUE,
    Candles,
    CoinbaseMarket,
    LastDay,
    seconds_of,
)
from sandbox.simulators.faults import FaultRule, Reply
from sandbox.simulators.front import Request
from sandbox.simulators.worlds.crypto.trades import Trades
from sandbox.simulators.worlds.crypto.world import CryptoWorld

GRANULARITIES = (60, 300, 900, 3_600, 21_600, 86_400)
MOST_INTERVALS = 300
"""Most intervals of a window; since both edges count, 301 rows may come."""
MOST_TRADES = 1000
NEWEST_ROWS = 350
"""Rows without a window."""
COPY_S = 300
"""Greatest age in seconds of an answer without a window."""
_PRODUCT_PATH = re.compile(
    r"/products/(?P<product>[^/]+)(?P<rest>|/candles|/trades|/ticker|/stats)"
)
_SUBJECT = re.compile(r".*/products/(?P<product>[^/]+-[^/]+)(/.*)?")
_SECONDS = re.compile(r"[0-9]{1,12}")


@dataclass(frozen=True, slots=True, kw_only=True)
class CoinbaseLimits:
    """What the simulator allows an address, in each of the two APIs."""

    per_second: float = 10.0
    burst: int = 15


class CoinbaseSimulator:
    """Answers requests as Coinbase would.

    Args:
        now: Clock that returns aware UTC times; later trades are not served.
        crypto: The trades; a world of its own by default.
        limits: Limits of an address.
    """

    prefix = "/coinbase"

    def __init__(
        self,
        *,
        now: Callable[[], datetime] = utc_now,
        crypto: CryptoWorld | None = None,
        limits: CoinbaseLimits | None = None,
    ) -> None:
        allowed = limits or CoinbaseLimits()
        self._now = now
        self._market = CoinbaseMarket(crypto or CryptoWorld())
        self._advanced = AdvancedTrade(self._market, now)
        self._bucket, self._advanced_bucket = (
            TokenBucket(per_second=allowed.per_second, burst=allowed.burst) for _ in range(2)
        )
        self._of_all: Mapping[str, Callable[[], Reply]] = {
            "/time": lambda: wire.server_time(now()),
            "/products": lambda: wire.json_reply(_every_product()),
            "/products/stats": self._all_stats,
        }
        self._of_product: Mapping[str, Callable[[str, Request], Reply]] = {
            "": self._product,
            "/candles": self._candles,
            "/trades": self._trades,
            "/ticker": self._ticker,
            "/stats": self._stats,
        }

    def key(self, query: Mapping[str, str], headers: Mapping[str, str]) -> tuple[str, str] | None:
        """Return None: nothing here asks for a key."""
        del query, headers

    def subject(self, request: Request) -> str | None:
        """Return the requested product."""
        match = _SUBJECT.fullmatch(request.path)
        return None if match is None else match["product"]

    def refusal(self, request: Request) -> Reply | None:
        """Return the answer beyond the limit, or None."""
        if request.path.startswith(f"{PREFIX}/"):
            admitted = self._advanced_bucket.admits(request.at)
            return None if admitted else self._advanced.limit_reached()
        return None if self._bucket.admits(request.at) else wire.limit_reached()

    def error(self, status: int, text: str) -> Reply:
        """Return an error message; that of the limit begins as Coinbase's does."""
        limited = status == HTTPStatus.TOO_MANY_REQUESTS
        message = f"Public rate limit exceeded ({text})" if limited else text
        return wire.error_reply(status, message)

    def nothing(self) -> Reply:
        """Return ``NotFound``."""
        return wire.not_found()

    def spoilt(self, rule: FaultRule, reply: Reply) -> Reply:
        """Return ``reply`` with rows damaged."""
        return faults.spoilt(rule, reply)

    def quirk(self, name: str, request: Request) -> Reply:
        """Return the answer with one of Coinbase's quirks (faults.QUIRKS).

        Raises:
            ValueError: There is no such quirk.
        """
        if name == "stale_copy":
            return self.answer(faults.without_window(request))
        if name == "rows_before_start":
            start = _seconds(request.query.get("start", "")) or 0
            older = self.answer(faults.just_before(request, start))
            return faults.joined(self.answer(request), older)
        return faults.odd(name, self.answer(request))

    def answer(self, request: Request) -> Reply:
        """Return the endpoint's answer."""
        if request.path.startswith(f"{PREFIX}/"):
            return self._advanced.answer(request)
        plain = self._of_all.get(request.path)
        if plain is not None:
            return plain()
        match = _PRODUCT_PATH.fullmatch(request.path)
        if match is None or match["product"] not in {*pairs_at(VENUE), *ALIASES}:
            return wire.not_found()
        if match["product"] in ALIASES:
            return _delisted(match["product"], match["rest"])
        return self._of_product[match["rest"]](match["product"], request)

    def _product(self, product: str, request: Request) -> Reply:
        del request
        return wire.json_reply(wire.listed_product(pairs_at(VENUE)[product]))

    def _candles(self, product: str, request: Request) -> Reply:
        granularity = request.query.get("granularity", "")
        if granularity not in {str(allowed) for allowed in GRANULARITIES}:
            return wire.unsupported_granularity()
        seconds = int(granularity)
        start, end = request.query.get("start"), request.query.get("end")
        if not start or not end:
            return wire.candles(self._newest(product, seconds, self._now()))
        first, last = _seconds(start), _seconds(end)
        if first is None or last is None:
            return wire.error_reply(400, "Invalid start or end")
        if first > last:
            return wire.error_reply(400, "start must be before end")
        if (last - first) // seconds > MOST_INTERVALS:
            return wire.too_many_buckets()
        return wire.candles(
            self._market.candles(self._pair(product), first, last, seconds, self._now())
        )

    def _newest(self, product: str, seconds: int, now: datetime) -> Candles:
        """Return the newest buckets as they were when the copy was made, up to 300 s ago."""
        at = seconds_of(now) // COPY_S * COPY_S
        copied = datetime.fromtimestamp(at, UTC)
        # A little further back, since buckets without trades are absent.
        first = at - (NEWEST_ROWS + 50) * seconds
        candles = self._market.candles(self._pair(product), first, at, seconds, copied)
        return candles.newest(NEWEST_ROWS)

    def _trades(self, product: str, request: Request) -> Reply:
        """Page by number: ``after`` goes back from it; ``before`` gives the newest above it."""
        numbers = {name: _number(request.query.get(name)) for name in ("limit", "after", "before")}
        if None in numbers.values():
            return wire.error_reply(400, "Invalid limit, after or before")
        limit = min(numbers["limit"] or MOST_TRADES, MOST_TRADES)
        newest = self._market.last_id(self._pair(product), self._now())
        last = min(newest, (numbers["after"] or newest + 1) - 1)
        first = max(last - limit + 1, (numbers["before"] or 0) + 1)
        return wire.trades(self._numbered(product, first, last))

    def _numbered(self, product: str, first: int, last: int) -> Trades:
        return self._market.trades(self._pair(product), first, max(last, first - 1))

    def _ticker(self, product: str, request: Request) -> Reply:
        del request
        last = self._market.last_id(self._pair(product), self._now())
        day = self._market.last_day(self._pair(product), self._now())
        return wire.ticker(self._numbered(product, last, last), day)

    def _stats(self, product: str, request: Request) -> Reply:
        del request
        return wire.json_reply(wire.stats(*self._figures(product)))

    def _all_stats(self) -> Reply:
        return wire.all_stats((product, *self._figures(product)) for product in pairs_at(VENUE))

    def _figures(self, product: str) -> tuple[LastDay, int]:
        now, pair = self._now(), self._pair(product)
        return self._market.last_day(pair, now), self._market.month_volume(pair, now)

    def _pair(self, product: str) -> str:
        return pairs_at(VENUE)[product].pair


def _every_product() -> list[dict[str, object]]:
    listed = [wire.listed_product(pair) for pair in pairs_at(VENUE).values()]
    return [*listed, *(wire.delisted_product(name) for name in ALIASES)]


def _delisted(product: str, rest: str) -> Reply:
    """Describe a delisted product, which has no rows any more."""
    if rest:
        return wire.json_reply([])
    return wire.json_reply(wire.delisted_product(product))


def _seconds(text: str) -> int | None:
    """Read seconds since 1970, or ISO 8601, in UTC where it has no zone."""
    if _SECONDS.fullmatch(text):
        return int(text)
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    return seconds_of(at if at.tzinfo is not None else at.replace(tzinfo=UTC))


def _number(text: str | None) -> int | None:
    """Read a positive number; 0 if absent, None if invalid."""
    if not text:
        return 0
    return int(text) if re.fullmatch(r"[0-9]{1,18}", text) else None
