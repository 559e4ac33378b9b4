"""The rest of the world in a bulk answer: foreign shares and crypto pairs.

Here: rows that a whole-market file carries beside the constituents, for one date. Not here: the
constituents (world.py), or CSV (../../fmp/wire.py).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date

import numpy as np

from sandbox.simulators.worlds.shares import market

FOREIGN_SHARES = 2400
CRYPTO_PAIRS = 240
_PLACES = ("L", "DE", "TO", "HK", "PA", "SW", "AX", "NS")
_SMALLEST_WITHOUT_EXPONENT = 1e-6
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignRow:
    """One row, figures already as text: tiny prices in exponents, volumes with fractions."""

    symbol: str
    open: str
    low: str
    high: str
    close: str
    volume: str


def foreign_shares(seed: str, day: date) -> Iterator[ForeignRow]:
    """Yield shares of other exchanges; their tickers end in a dot and a place."""
    names = (f"{_code(index)}.{_PLACES[index % len(_PLACES)]}" for index in range(FOREIGN_SHARES))
    prices = 5.0 + 500.0 * market.uniforms(f"{seed}/foreign", FOREIGN_SHARES, 1)[:, 0] ** 2
    yield from _rows(names, prices, f"{seed}/foreign/{day}", whole_volume=True)


def crypto_pairs(seed: str, day: date) -> Iterator[ForeignRow]:
    """Yield crypto pairs, which trade every day, some of them at a billionth of a dollar."""
    names = (f"{_code(index)}X{index % 10}USD" for index in range(CRYPTO_PAIRS))
    exponents = market.uniforms(f"{seed}/crypto", CRYPTO_PAIRS, 1)[:, 0] * 13.0 - 9.0
    yield from _rows(names, 10.0**exponents, f"{seed}/crypto/{day}", whole_volume=False)


def _rows(
    names: Iterator[str], prices: market.Floats, noise: str, *, whole_volume: bool
) -> Iterator[ForeignRow]:
    draws = market.uniforms(noise, len(prices), 5)
    opens = prices * (0.9 + 0.2 * draws[:, 0])
    closes = prices * (0.9 + 0.2 * draws[:, 1])
    highs = np.maximum(opens, closes) * (1.0 + 0.05 * draws[:, 2])
    lows = np.minimum(opens, closes) * (1.0 - 0.05 * draws[:, 3])
    volumes = 1e7 * draws[:, 4]
    columns = (opens, lows, highs, closes, volumes)
    for name, *figures in zip(names, *(column.tolist() for column in columns), strict=True):
        first, low, high, last = (_figure(figure) for figure in figures[:4])
        volume = f"{figures[4]:.0f}" if whole_volume else f"{figures[4]:.2f}"
        yield ForeignRow(symbol=name, open=first, low=low, high=high, close=last, volume=volume)


def _code(index: int) -> str:
    letters = ""
    for _ in range(3):
        index, place = divmod(index, len(_LETTERS))
        letters = _LETTERS[place] + letters
    return letters


def _figure(value: float) -> str:
    """Write six significant digits as JavaScript does: exponents only below a millionth."""
    rounded = float(f"{value:.6g}")
    if rounded < _SMALLEST_WITHOUT_EXPONENT:
        mantissa, _, exponent = f"{rounded:.5e}".partition("e")
        return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"
    return f"{rounded:.12f}".rstrip("0").rstrip(".")
