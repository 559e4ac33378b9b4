"""Invented daily prices: one endless series per ticker, a pure function of seed and day.

Here: numbers, and the splits that are part of a ticker's past. Not here: listings,
corrections, or what has happened yet (world.py); dividends (actions.py).

A day's bar never depends on how far a series reaches or on which days are sessions, so that
tomorrow's simulator serves yesterday's bars unchanged, and a calendar correction moves no
price. Randomness is Philox's raw output, whose values numpy promises to keep.
"""

import functools
import hashlib
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

FIRST_DAY = date(2006, 1, 3)
"""The oldest bar there is."""

_DRAWS_PER_DAY = 8
_LATE_LISTINGS = 8
"""One ticker in so many was listed later than FIRST_DAY."""
_LATEST_LISTING = date(2023, 12, 29)


_SPLIT_RATIOS = ((2, 1), (4, 1), (3, 1), (3, 2), (2, 1), (10, 1), (1, 8), (21, 20))
"""New for old shares; 1 for 8 is a reverse split and 21 for 20 a stock dividend of 5 %."""
_SMALLEST_SPLIT = 1.25
_YEAR_DAYS = 365
_SPLIT_TICKERS = 3
"""One ticker in so many has split."""
_FIRST_SPLIT, _LAST_SPLIT = date(2007, 3, 1), date(2024, 3, 1)
_KNOWN_SPLITS = {"AAPL": ((date(2014, 6, 9), 7, 1), (date(2020, 8, 31), 4, 1))}
"""Where readers expect a split, it is where it was; prices are invented all the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """``old_shares`` became ``new_shares`` before the session ``ex_date``.

    Attributes:
        kind: ``stock-split`` or ``stock-dividend``.
    """

    ex_date: date
    new_shares: int
    old_shares: int
    kind: str

    @property
    def ratio(self) -> float:
        """New shares for each old one."""
        return self.new_shares / self.old_shares


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """Bars of one ticker for every calendar day from FIRST_DAY on.

    Prices and volumes are in the shares of after the last of ``splits``.
    """

    opens: Floats
    highs: Floats
    lows: Floats
    closes: Floats
    volumes: npt.NDArray[np.int64]


def series(seed: str, ticker: str, through: date) -> Series:
    """Return ``ticker``'s bars through ``through``; weekends are filled in like any day."""
    return _series(seed, ticker, (through - FIRST_DAY).days // 512 + 1)


@functools.lru_cache(maxsize=2048)
def _series(seed: str, ticker: str, blocks: int) -> Series:
    # Whole blocks, so that a world that runs past midnight finds its series made already.
    draws = uniforms(f"{seed}/{ticker}", blocks * 512, _DRAWS_PER_DAY)
    traits = uniforms(f"{seed}/{ticker}/traits", 1, 4)[0]
    sigma = 0.008 + 0.012 * traits[0]
    steps = 0.0001 + sigma * 2.0 * (draws[:, 0:3].sum(axis=1) - 1.5)
    closes = (15.0 + 285.0 * traits[1] ** 2) * np.exp(np.cumsum(steps))
    before = np.concatenate(([closes[0]], closes[:-1]))
    opens = before * np.exp(sigma * (draws[:, 3] + draws[:, 4] - 1.0))
    highs = np.maximum(opens, closes) * (1.0 + sigma * draws[:, 5] ** 2)
    lows = np.minimum(opens, closes) * (1.0 - sigma * draws[:, 6] ** 2)
    typical_volume = 3e5 * np.exp(5.0 * traits[2])
    volumes = np.rint(typical_volume * np.exp(1.6 * (draws[:, 7] - 0.5))).astype(np.int64)
    return Series(
        opens=in_cents(opens),
        highs=in_cents(highs),
        lows=in_cents(lows),
        closes=in_cents(closes),
        volumes=volumes,
    )


def listed_on(seed: str, ticker: str) -> date:
    """Return ``ticker``'s first day: FIRST_DAY for most, a later one for some."""
    digest = _digest(f"{seed}/{ticker}/listing")
    if digest[0] % _LATE_LISTINGS:
        return FIRST_DAY
    span = (_LATEST_LISTING - FIRST_DAY).days
    return FIRST_DAY + timedelta(days=int.from_bytes(digest[1:5], "big") % span)


@functools.lru_cache(maxsize=2048)
def splits(seed: str, ticker: str) -> tuple[Split, ...]:
    """Return the splits of ``ticker``'s past, oldest first, on Mondays, holidays included."""
    if ticker in _KNOWN_SPLITS:
        return tuple(split_of(*facts) for facts in _KNOWN_SPLITS[ticker])
    digest = _digest(f"{seed}/{ticker}/splits")
    if digest[0] % _SPLIT_TICKERS:
        return ()
    drawn: list[Split] = []
    for place in range(1 + digest[1] % 2):
        days = int.from_bytes(digest[4 * place + 4 : 4 * place + 8], "big")
        day = _FIRST_SPLIT + timedelta(days=days % (_LAST_SPLIT - _FIRST_SPLIT).days)
        new, old = _SPLIT_RATIOS[digest[2 + place] % len(_SPLIT_RATIOS)]
        drawn.append(split_of(day - timedelta(days=day.weekday()), new, old))
    trading = listed_on(seed, ticker) + timedelta(days=90)
    return tuple(
        sorted(
            (split for split in drawn if split.ex_date > trading and _is_alone(split, drawn)),
            key=lambda split: split.ex_date,
        )
    )


def split_of(ex_date: date, new_shares: int, old_shares: int) -> Split:
    """Return a split of the kind that its ratio has: a few per cent are a stock dividend."""
    small = old_shares < new_shares < old_shares * _SMALLEST_SPLIT
    kind = "stock-dividend" if small else "stock-split"
    return Split(ex_date=ex_date, new_shares=new_shares, old_shares=old_shares, kind=kind)


def _is_alone(split: Split, others: list[Split]) -> bool:
    """Tell whether no other split lies within a year."""
    near = [other for other in others if abs((other.ex_date - split.ex_date).days) < _YEAR_DAYS]
    return len(near) == 1


def in_cents(prices: Floats) -> Floats:
    """Round to cents, and to hundredths of a cent below one dollar; never down to zero.

    Rounding keeps the order of its arguments, so low, open, close and high stay in theirs.
    """
    fine = np.round(np.maximum(prices, 0.0001), 4)
    return np.where(fine < 1.0, fine, np.round(prices, 2))


def uniforms(name: str, rows: int, columns: int) -> Floats:
    """Return numbers in [0, 1) that depend on ``name`` alone.

    Row i is the same however many rows are asked for.
    """
    key = int.from_bytes(_digest(name)[:16], "big")
    raw = np.random.Philox(key=key).random_raw(rows * columns)
    return (raw >> np.uint64(11)).astype(np.float64).reshape(rows, columns) * 2.0**-53


def _digest(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()
