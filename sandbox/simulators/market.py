"""Invented daily prices: one endless series per ticker, a pure function of seed and day.

Here: numbers. Not here: who is listed, corrections, or what has happened yet (world.py).

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """Bars of one ticker for every calendar day from FIRST_DAY on."""

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
