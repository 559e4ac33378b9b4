"""Limits of an address at Binance: weight in a minute, requests in five, and the ban.

Here: counting, in the clock's own minutes as Binance counts. Not here: what a request weighs
(simulator.py), or the texts (wire.py).
"""

from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sandbox.simulators.binance import wire
from sandbox.simulators.faults import Reply

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MINUTE_S = 60
_FIVE_MINUTES_S = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class BinanceLimits:
    """Limits of the simulator's one address.

    Attributes:
        refused_before_ban: Requests beyond the limit within a minute that get 429; one more is a
            ban.
        ban_s: Length of the first ban; each further one is twice as long. Binance's own run from
            two minutes to three days.
    """

    weight_per_minute: int = 6_000
    requests_per_five_minutes: int = 61_000
    refused_before_ban: int = 10
    ban_s: float = 120.0


class WeightMeter:
    """Counts requests; refused ones have no weight, but lead to the ban."""

    def __init__(self, limits: BinanceLimits) -> None:
        self._limits = limits
        self._weights = _Window(_MINUTE_S)
        self._requests = _Window(_FIVE_MINUTES_S)
        self._refused = _Window(_MINUTE_S)
        self._banned_until = _EPOCH
        self._bans: deque[datetime] = deque()

    def used(self, at: datetime) -> int:
        """Return the weight used in the minute of ``at``."""
        return self._weights.count(at)

    def refusal(self, weight: int, at: datetime) -> Reply | None:
        """Count a request, or return why it is refused."""
        if at < self._banned_until:
            return self._banned(at)
        heavy = self._weights.count(at) + weight > self._limits.weight_per_minute
        many = self._requests.count(at) >= self._limits.requests_per_five_minutes
        if not heavy and not many:
            self._weights.add(weight, at)
            self._requests.add(1, at)
            return None
        self._refused.add(1, at)
        if self._refused.count(at) > self._limits.refused_before_ban:
            ban_s = self._limits.ban_s * 2 ** len(self._bans)
            self._bans.append(at)
            self._banned_until = at + timedelta(seconds=ban_s)
            return self._banned(at)
        window = self._weights if heavy else self._requests
        return wire.too_much_weight(
            self._limits.weight_per_minute, retry_after_s=window.seconds_left(at)
        )

    def _banned(self, at: datetime) -> Reply:
        seconds = -(-(self._banned_until - at) // timedelta(seconds=1))
        until_ms = (self._banned_until - _EPOCH) // timedelta(milliseconds=1)
        return wire.banned(until_ms, retry_after_s=seconds)


class _Window:
    """Counts within clock spans that begin at multiples of their length."""

    def __init__(self, length_s: int) -> None:
        self._length = timedelta(seconds=length_s)
        self._place = -1
        self._count = 0

    def count(self, at: datetime) -> int:
        return self._count if (at - _EPOCH) // self._length == self._place else 0

    def add(self, amount: int, at: datetime) -> None:
        self._count = self.count(at) + amount
        self._place = (at - _EPOCH) // self._length

    def seconds_left(self, at: datetime) -> int:
        """Return the whole seconds until the next span begins, at least one."""
        left = self._length - (at - _EPOCH) % self._length
        return -(-left // timedelta(seconds=1))
