"""Binance's klines: every minute in which the venue ran, also quiet ones.

Here: quiet minutes filled in, the minute under way, and longer intervals, in whole units. Not here:
texts and JSON (wire.py), or the trades themselves (../worlds/crypto/trades.py).

A running venue writes a kline without volume for a quiet minute, at the last price; an outage
leaves none at all.
"""

import functools
from collections.abc import Sequence
from dataclasses import fields
from datetime import UTC, date, datetime, time, timedelta

import numpy as np

from sandbox.simulators.worlds.crypto.trades import (
    FIRST_DAY,
    MINUTES_A_DAY,
    NO_TRADES,
    TRADES_A_DAY,
    Integers,
    PairMinutes,
    minutes_of,
)
from sandbox.simulators.worlds.crypto.world import CryptoWorld
from sandbox.simulators.worlds.shares.intraday import Times

VENUE = "binance"
_ONE_DAY = timedelta(days=1)
_MINUTE = np.timedelta64(60_000_000, "us")
_SUMMED = ("volumes", "quotes", "taker_buys", "taker_buy_quotes", "trades")


def klines_of_day(
    world: CryptoWorld, pair: str, day: date, now: datetime, *, minutes: int = 1
) -> PairMinutes:
    """Return the klines of a UTC day that have begun by ``now``; the last may be under way.

    Args:
        world: Source of the trades.
        pair: Our name.
        day: From FIRST_DAY on.
        now: Aware.
        minutes: Length of a kline; a divisor of a day's minutes.
    """
    over = datetime.combine(day + _ONE_DAY, time(), UTC) <= now
    klines = _whole_day(world, pair, day) if over else _day_by(world, pair, day, now)
    return klines if minutes == 1 else _longer(klines, minutes)


@functools.lru_cache(maxsize=64)
def _whole_day(world: CryptoWorld, pair: str, day: date) -> PairMinutes:
    return _day_by(world, pair, day, datetime.combine(day + _ONE_DAY, time(), UTC))


def _day_by(world: CryptoWorld, pair: str, day: date, now: datetime) -> PairMinutes:
    begins = datetime.combine(day, time(), UTC)
    until = min(begins + _ONE_DAY, max(now, begins))
    traded = minutes_of(world.trades(pair, begins, until, venue=VENUE))
    grid = np.datetime64(day, "us") + np.arange(MINUTES_A_DAY) * _MINUTE
    running = grid < instant(until)
    for start, end in world.outage(VENUE):
        running &= (grid < instant(start)) | (grid >= instant(end))
    before = world.trade(pair, (day - FIRST_DAY).days * TRADES_A_DAY, venue=VENUE).price_units
    filled = _filled(traded, grid, int(before[0]) if len(before) else 0)
    return chosen(filled, np.flatnonzero(running & (filled.closes > 0)))


def _filled(traded: PairMinutes, grid: Times, before: int) -> PairMinutes:
    """Put ``traded`` into ``grid``; minutes without trades have the last price (``before``)."""
    places = (traded.opened_at - grid[0]) // _MINUTE
    latest = np.full(len(grid), -1)
    latest[places] = np.arange(len(places))
    latest = np.maximum.accumulate(latest)
    closes = np.append(traded.closes, before)[latest]

    def placed(values: Integers, otherwise: Integers) -> Integers:
        row = otherwise.copy()
        row[places] = values
        return row

    nothing = np.zeros(len(grid), np.int64)
    return PairMinutes(
        opened_at=grid,
        closes=closes,
        **{name: placed(getattr(traded, name), closes) for name in ("opens", "highs", "lows")},
        **{name: placed(getattr(traded, name), nothing) for name in _SUMMED},
    )


def chosen(klines: PairMinutes, places: Integers) -> PairMinutes:
    """Return the klines at ``places``."""
    return PairMinutes(
        **{field.name: getattr(klines, field.name)[places] for field in fields(klines)}
    )


def _longer(klines: PairMinutes, minutes: int) -> PairMinutes:
    """Join minutes to klines of ``minutes``, which begin with the day."""
    if not len(klines.opened_at):
        return klines
    opened_at = klines.opened_at - (klines.opened_at - np.datetime64(0, "us")) % (minutes * _MINUTE)
    starts = np.flatnonzero(np.diff(opened_at, prepend=np.datetime64(-1, "us")))
    return PairMinutes(
        opened_at=opened_at[starts],
        opens=klines.opens[starts],
        highs=np.maximum.reduceat(klines.highs, starts),
        lows=np.minimum.reduceat(klines.lows, starts),
        closes=klines.closes[np.append(starts[1:], len(opened_at)) - 1],
        **{name: np.add.reduceat(getattr(klines, name), starts) for name in _SUMMED},
    )


def joined(parts: Sequence[PairMinutes]) -> PairMinutes:
    """Concatenate ``parts``."""
    all_parts = [_NONE, *parts]
    return PairMinutes(
        **{
            field.name: np.concatenate([getattr(part, field.name) for part in all_parts])
            for field in fields(PairMinutes)
        }
    )


def instant(moment: datetime) -> np.datetime64:
    """Return an aware time as in the klines."""
    return np.datetime64(moment.astimezone(UTC).replace(tzinfo=None), "us")


_NONE = minutes_of(NO_TRADES)
