"""Coinbase's market until now: products, buckets of trades, the last day.

Here: figures in whole units, the same for both of Coinbase's APIs, which show one order book. Not
here: the trades themselves (../worlds/crypto/world.py), bodies (wire.py, advanced.py), or which
request gets which answer.
"""

from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta

import numpy as np

from sandbox.simulators.worlds.crypto.trades import Integers, Trades
from sandbox.simulators.worlds.crypto.world import CryptoWorld

VENUE = "coinbase"
ALIASES = {"BTC-USDC": "BTC-USD", "ETH-USDC": "ETH-USD"}
"""USDC books that were joined with those of the dollar: delisted in the one API, other names of
the dollar's book in the other."""
MONTH = timedelta(days=30)
DAY = timedelta(days=1)
_SECOND_US = 1_000_000
_DAY_S = 86_400
_LATEST_S = 4_102_444_800
"""The year 2100: the end of all requests."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Candles:
    """Buckets with trades, oldest first, in whole units (see crypto_trades.Trades).

    Attributes:
        opened_s: First second of each bucket since 1970.
    """

    opened_s: Integers
    opens: Integers
    highs: Integers
    lows: Integers
    closes: Integers
    volumes: Integers

    def __len__(self) -> int:
        """Return how many buckets there are."""
        return len(self.opened_s)

    def newest(self, count: int) -> "Candles":
        """Return the last ``count`` buckets."""
        return Candles(**{field.name: getattr(self, field.name)[-count:] for field in fields(self)})


@dataclass(frozen=True, slots=True, kw_only=True)
class LastDay:
    """The last 24 hours of a pair in whole units (see crypto_trades.Trades)."""

    open: int
    high: int
    low: int
    last: int
    volume: int


class CoinbaseMarket:
    """The crypto world as Coinbase shows it at a moment; the newest bucket is still growing."""

    def __init__(self, crypto: CryptoWorld) -> None:
        self._crypto = crypto

    def candles(self, pair: str, first_s: int, last_s: int, seconds: int, now: datetime) -> Candles:
        """Return the buckets of ``seconds`` that open from ``first_s`` to ``last_s``.

        Both are seconds since 1970 and included; only trades before ``now`` are in a bucket.
        """
        first = -(-first_s // seconds) * seconds
        until = min(moment_of((last_s // seconds + 1) * seconds), now)
        start = min(moment_of(first), until)
        return buckets(self._crypto.trades(pair, start, until, venue=VENUE), seconds)

    def last_id(self, pair: str, now: datetime) -> int:
        """Return the number of the newest trade."""
        return self._crypto.last_id(pair, now, venue=VENUE)

    def trades(self, pair: str, first_id: int, last_id: int) -> Trades:
        """Return the trades numbered from ``first_id`` to ``last_id``, oldest first."""
        return self._crypto.trades_by_id(pair, first_id, last_id, venue=VENUE)

    def trades_between(self, pair: str, start: datetime, end: datetime) -> Trades:
        """Return the trades from ``start`` on and before ``end``, oldest first."""
        return self._crypto.trades(pair, start, end, venue=VENUE)

    def last_day(self, pair: str, now: datetime) -> LastDay:
        """Return the figures of the last 24 hours."""
        day = buckets(self._crypto.trades(pair, now - DAY, now, venue=VENUE), _DAY_S)
        return LastDay(
            open=int(day.opens[0]),
            high=int(day.highs.max()),
            low=int(day.lows.min()),
            last=int(day.closes[-1]),
            volume=int(day.volumes.sum()),
        )

    def month_volume(self, pair: str, now: datetime) -> int:
        """Return the volume of the last 30 days."""
        return int(self._crypto.trades(pair, now - MONTH, now, venue=VENUE).size_units.sum())


def buckets(trades: Trades, seconds: int) -> Candles:
    """Return the buckets of ``seconds`` of ``trades``; those without trades are absent."""
    at_us = trades.traded_at.astype(np.int64)
    opened_s = at_us // (seconds * _SECOND_US) * seconds
    starts = np.flatnonzero(np.diff(opened_s, prepend=-1))
    if not len(starts):
        none = np.array([], np.int64)
        return Candles(opened_s=none, opens=none, highs=none, lows=none, closes=none, volumes=none)
    ends = np.append(starts[1:], len(trades)) - 1
    return Candles(
        opened_s=opened_s[starts],
        opens=trades.price_units[starts],
        highs=np.maximum.reduceat(trades.price_units, starts),
        lows=np.minimum.reduceat(trades.price_units, starts),
        closes=trades.price_units[ends],
        volumes=np.add.reduceat(trades.size_units, starts),
    )


def seconds_of(moment: datetime) -> int:
    """Return whole seconds since 1970."""
    return (moment - _EPOCH) // timedelta(seconds=1)


def moment_of(seconds: int) -> datetime:
    """Return the moment ``seconds`` after the beginning of 1970, at most the year 2100's."""
    return _EPOCH + timedelta(seconds=min(seconds, _LATEST_S))
