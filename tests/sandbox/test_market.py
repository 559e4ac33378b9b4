"""Prices are a pure function of seed, ticker and day."""

from datetime import date

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sandbox.simulators.worlds.shares import market

TICKERS = st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ.", min_size=1, max_size=5)
DAYS = st.dates(market.FIRST_DAY, date(2031, 1, 1))


@given(TICKERS, DAYS, DAYS)
def test_a_bar_does_not_depend_on_how_far_the_series_reaches(
    ticker: str, first: date, second: date
) -> None:
    """The shorter of two series is the beginning of the longer one."""
    short = market.series("seed", ticker, min(first, second))
    long = market.series("seed", ticker, max(first, second))
    length = len(short.closes)
    for name in ("opens", "highs", "lows", "closes", "volumes"):
        np.testing.assert_array_equal(getattr(short, name), getattr(long, name)[:length])


@given(TICKERS, DAYS)
def test_every_bar_is_in_order_and_above_zero(ticker: str, through: date) -> None:
    """Low is lowest, high is highest, and volume is positive."""
    bars = market.series("seed", ticker, through)
    assert (bars.lows > 0).all()
    assert (bars.lows <= np.minimum(bars.opens, bars.closes)).all()
    assert (bars.highs >= np.maximum(bars.opens, bars.closes)).all()
    assert (bars.volumes > 0).all()


@given(st.floats(0.0, 1e6))
def test_prices_have_two_digits_or_four_below_a_dollar(price: float) -> None:
    """A price in JSON is short, as with a real provider."""
    rounded = float(market.in_cents(np.array([price]))[0])
    assert rounded == round(rounded, 2 if rounded >= 1 else 4)
    assert rounded > 0


def test_tickers_and_seeds_have_prices_of_their_own() -> None:
    """Two tickers, or two seeds, do not share a series."""
    through = date(2007, 1, 1)
    series = [
        market.series(seed, ticker, through).closes
        for seed, ticker in (("a", "X"), ("a", "Y"), ("b", "X"))
    ]
    assert not np.array_equal(series[0], series[1])
    assert not np.array_equal(series[0], series[2])


def test_some_tickers_were_listed_late() -> None:
    """About one in eight; the others begin with the world."""
    tickers = [f"T{number}" for number in range(400)]
    late = [ticker for ticker in tickers if market.listed_on("seed", ticker) > market.FIRST_DAY]
    assert 25 < len(late) < 80
