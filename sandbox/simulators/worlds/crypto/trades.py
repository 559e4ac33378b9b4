"""Crypto trades as numbers: one endless series a pair, and the minutes that trades make.

Here: a day's trades as a pure function of seed, pair and day, and their sums. Not here: which venue
stood still and what has happened yet (world.py), or any wire format.

A day of a pair has always the same number of trades, so that a trade's number follows from its
day alone.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import date, timedelta

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from sandbox.simulators.worlds.shares import intraday, market
from sandbox.simulators.worlds.shares.intraday import Minutes

Integers = npt.NDArray[np.int64]

FIRST_DAY = date(2019, 1, 1)
"""Of all pairs."""
TRADES_A_DAY = 8_000
PRICE_DECIMALS = 2
SIZE_DECIMALS = 5
MINUTES_A_DAY = 1440

_MINUTE_US = 60_000_000
_QUIET_SHARE = 0.03
"""Share of the minutes of a day without a trade."""
_FIRST_PRICES = {"BTC": 20_000.0, "ETH": 1_500.0, "SOL": 60.0, "BNB": 300.0}
_OTHER_FIRST_PRICE = 100.0
_TYPICAL_TRADE = 600.0
"""Money of a trade, on average."""
_BLOCK_DAYS = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class Trades:
    """Trades of one pair in the order of their numbers, one array per column.

    Attributes:
        trade_id: Contiguous, beginning with 1 on FIRST_DAY.
        traded_at: UTC, in microseconds.
        price_units: Prices in units of the last of PRICE_DECIMALS.
        size_units: Sizes in the base currency, in units of the last of SIZE_DECIMALS.
        taker_buys: Whether the active party bought.
    """

    trade_id: Integers
    traded_at: intraday.Times
    price_units: Integers
    size_units: Integers
    taker_buys: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        """Return how many trades there are."""
        return len(self.trade_id)

    @property
    def price(self) -> list[str]:
        """Prices as decimal text, such as ``60759.60``."""
        return decimal_texts(self.price_units, PRICE_DECIMALS)

    @property
    def size(self) -> list[str]:
        """Sizes as decimal text, such as ``0.00841``."""
        return decimal_texts(self.size_units, SIZE_DECIMALS)

    @property
    def taker_side(self) -> list[str]:
        """``buy`` or ``sell``."""
        return np.where(self.taker_buys, "buy", "sell").tolist()

    def where(self, chosen: npt.NDArray[np.bool_]) -> "Trades":
        """Return the trades for which ``chosen`` is true."""
        return Trades(**{field.name: getattr(self, field.name)[chosen] for field in fields(self)})


@dataclass(frozen=True, slots=True, kw_only=True)
class PairMinutes:
    """Minutes with trades, in whole units: prices and sizes as in Trades.

    Attributes:
        quotes: Money that changed hands, in units of PRICE_DECIMALS + SIZE_DECIMALS.
        taker_buys: Part of the volume that was bought by the active party.
        taker_buy_quotes: The same in money.
    """

    opened_at: intraday.Times
    opens: Integers
    highs: Integers
    lows: Integers
    closes: Integers
    volumes: Integers
    quotes: Integers
    taker_buys: Integers
    taker_buy_quotes: Integers
    trades: Integers

    def as_minutes(self) -> Minutes:
        """Return them as numbers; each is the double nearest to its decimal text."""
        unit, size = 10.0**PRICE_DECIMALS, 10.0**SIZE_DECIMALS
        volumes = self.volumes / size
        return Minutes(
            opened_at=self.opened_at,
            opens=self.opens / unit,
            highs=self.highs / unit,
            lows=self.lows / unit,
            closes=self.closes / unit,
            volumes=volumes,
            vwaps=self.quotes / (unit * size) / volumes,
            trades=self.trades,
        )


def decimal_texts(units: Integers, decimals: int, *, shown: int | None = None) -> list[str]:
    """Write whole units as decimals, with zeros up to ``shown`` digits behind the point."""
    # Arrow joins texts several times faster than a loop does; a month of bars has 350,000.
    unit = 10**decimals
    whole = pa.array(units // unit).cast(pa.string())
    behind = pc.utf8_slice_codeunits(pa.array(units % unit + unit).cast(pa.string()), 1)
    joined_up = pc.binary_join_element_wise(whole, behind, ".")
    zeros = "0" * ((shown or decimals) - decimals)
    return pc.binary_join_element_wise(joined_up, zeros, "").to_pylist()


def joined(parts: Sequence[Trades]) -> Trades:
    """Concatenate ``parts``."""
    all_parts = [NO_TRADES, *parts]
    return Trades(
        **{
            field.name: np.concatenate([getattr(part, field.name) for part in all_parts])
            for field in fields(Trades)
        }
    )


def minutes_of(trades: Trades) -> PairMinutes:
    """Return the minutes that ``trades`` make."""
    opened_at = trades.traded_at.astype("datetime64[m]").astype("datetime64[us]")
    starts = np.flatnonzero(np.diff(opened_at, prepend=np.datetime64(-1, "us")))
    quotes = trades.price_units * trades.size_units
    ends = np.append(starts[1:], len(trades)) - 1 if len(starts) else starts

    def summed(values: Integers) -> Integers:
        return np.add.reduceat(values, starts) if len(starts) else values

    return PairMinutes(
        opened_at=opened_at[starts],
        opens=trades.price_units[starts],
        highs=np.maximum.reduceat(trades.price_units, starts) if len(starts) else starts,
        lows=np.minimum.reduceat(trades.price_units, starts) if len(starts) else starts,
        closes=trades.price_units[ends],
        volumes=summed(trades.size_units),
        quotes=summed(quotes),
        taker_buys=summed(np.where(trades.taker_buys, trades.size_units, 0)),
        taker_buy_quotes=summed(np.where(trades.taker_buys, quotes, 0)),
        trades=ends - starts + 1,
    )


@functools.lru_cache(maxsize=96)
def day_of_trades(seed: str, pair: str, day: int, outages: tuple[tuple[int, int], ...]) -> Trades:
    """Return the trades of one day.

    Args:
        seed: Of the world.
        pair: Our name.
        day: Days since FIRST_DAY.
        outages: Minutes of that day without trades, as first one and first one after them.
    """
    name = f"{seed}/{pair}/{day}"
    draws = market.uniforms(f"{name}/trades", TRADES_A_DAY, 4)
    traded = market.uniforms(f"{name}/quiet", MINUTES_A_DAY, 1)[:, 0] >= _QUIET_SHARE
    for first, last in outages:
        traded[first:last] = False
    minutes = np.flatnonzero(traded)
    places = np.sort(draws[:, 0]) * len(minutes)
    within_us = ((places % 1.0) * _MINUTE_US).astype(np.int64)
    at_us = minutes[places.astype(np.int64)] * _MINUTE_US + within_us
    logs = np.interp(at_us / _MINUTE_US, np.arange(MINUTES_A_DAY + 1), _path(seed, pair, day))
    prices = np.exp(logs + 0.0001 * (draws[:, 1] - 0.5))
    money = -_TYPICAL_TRADE * np.log1p(-draws[:, 2])
    return Trades(
        trade_id=np.arange(TRADES_A_DAY, dtype=np.int64) + day * TRADES_A_DAY + 1,
        traded_at=np.datetime64(FIRST_DAY + timedelta(days=day), "us") + at_us,
        price_units=np.maximum(np.rint(prices * 10**PRICE_DECIMALS), 1.0).astype(np.int64),
        size_units=np.ceil(money / prices * 10**SIZE_DECIMALS).astype(np.int64) + 1,
        taker_buys=draws[:, 3] < 0.5,  # noqa: PLR2004 - half of them
    )


def _path(seed: str, pair: str, day: int) -> market.Floats:
    """Return the logarithm of the price at each minute's edge: from day to day without a jump."""
    base, _, quote = pair.partition("-")
    levels = _levels(seed, base, day // _BLOCK_DAYS + 1)
    steps = market.uniforms(f"{seed}/{base}/{day}/path", MINUTES_A_DAY, 2).sum(axis=1) - 1.0
    walk = np.concatenate(([0.0], np.cumsum(steps))) * 0.0008
    share = np.arange(MINUTES_A_DAY + 1) / MINUTES_A_DAY
    premium = 0.0 if quote == "USD" else 0.0003
    level = levels[day] + (levels[day + 1] - levels[day]) * share
    return level + walk - walk[-1] * share + premium


@functools.lru_cache(maxsize=32)
def _levels(seed: str, base: str, blocks: int) -> market.Floats:
    # Whole blocks, and one day more: a day's path ends at the next day's level.
    draws = market.uniforms(f"{seed}/{base}/levels", blocks * _BLOCK_DAYS, 3)
    steps = 0.0004 + 0.03 * (draws.sum(axis=1) - 1.5)
    first = np.log(_FIRST_PRICES.get(base, _OTHER_FIRST_PRICE))
    return first + np.concatenate(([0.0], np.cumsum(steps)))


NO_TRADES = Trades(
    trade_id=np.array([], np.int64),
    traded_at=np.array([], "datetime64[us]"),
    price_units=np.array([], np.int64),
    size_units=np.array([], np.int64),
    taker_buys=np.array([], np.bool_),
)
