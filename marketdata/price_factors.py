"""Adjustment factors of splits and dividends for every day: pure functions of the actions.

Here: the steps of an instrument's adjustment. Not here: which splits may be used
(split_checks.py), or the multiplication of bars (resources/storage/sql).

A price before a split is multiplied by old shares / new shares, a volume divided by it. A price
before a dividend is multiplied by (1 - amount / last close before the ex-date). The amount is as
paid, and both are in shares of the ex-date. So the returns of the adjusted series are those with
the dividend reinvested. Several dividends of one day count as their sum. Providers do not agree on
this: Tiingo multiplies by close / (close + amount) with the close of the ex-date itself (its
recorded prices of Apple fit to the last digit), which differs from ours by the move of that day
times the yield.
Split factors are exact fractions. Dividend factors have 28 digits: more than the close has, which
is a double.
"""

import bisect
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Context, Decimal
from fractions import Fraction
from itertools import pairwise

from marketdata.bars import Adjustment
from marketdata.split_checks import PricePoint, SplitTerms

BEGINNING, END = date(1, 1, 1), date(9999, 12, 31)
"""Bounds of the first and the last step: before and after every session."""
_DIGITS = Context(prec=28)


@dataclass(frozen=True, slots=True, kw_only=True)
class DividendTerms:
    """A dividend per share of ``ex_date``, in the currency of its prices (distributions.py)."""

    ex_date: date
    amount: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class FactorStep:
    """The factors of the sessions from ``first_day`` to the day before ``before_day``.

    Attributes:
        split_factor: Turns an as-traded price into one in the shares of the latest bar.
        dividend_factor: Takes later dividends out of a price, adjusted for splits or not.
    """

    first_day: date
    before_day: date
    split_factor: Fraction
    dividend_factor: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Factors:
    """The steps of one instrument.

    Attributes:
        steps: Oldest first, without gaps, from BEGINNING to END; the last one's factors are 1.
        unusable: Dividends that are not below the price they are paid out of; they adjust nothing.
    """

    steps: tuple[FactorStep, ...]
    unusable: tuple[DividendTerms, ...]


def price_factors(
    splits: Sequence[SplitTerms],
    dividends: Sequence[DividendTerms],
    prices: Sequence[PricePoint],
) -> Factors:
    """Return the factors of one instrument.

    Args:
        splits: Usable splits; several of one ex-date are multiplied.
        dividends: Dividends in the currency of the prices.
        prices: All daily bars, oldest first, as traded or adjusted for splits. Actions after the
            last bar change nothing yet, and dividends before the first one change nothing.

    Raises:
        ValueError: A price that a dividend needs is adjusted for dividends already.
    """
    last = prices[-1].session_date if prices else BEGINNING
    happened = [split for split in splits if split.ex_date <= last]
    shares: dict[date, Decimal] = {}
    unusable: list[DividendTerms] = []
    for ex_date, amount in daily(dividends).items():
        close = _close_before(ex_date, happened, prices) if ex_date <= last else None
        if close is None:
            continue
        if amount >= close:
            unusable.append(DividendTerms(ex_date=ex_date, amount=amount))
        else:
            shares[ex_date] = _DIGITS.subtract(Decimal(1), _DIGITS.divide(amount, close))
    days = sorted({*shares, *(split.ex_date for split in happened)})
    return Factors(steps=tuple(_steps(days, happened, shares)), unusable=tuple(unusable))


def _steps(
    days: Sequence[date], splits: Sequence[SplitTerms], shares: dict[date, Decimal]
) -> list[FactorStep]:
    """Return the steps, built backwards from the latest, whose factors are 1."""
    steps: list[FactorStep] = []
    split_factor, dividend_factor = Fraction(1), Decimal(1)
    for first, before in reversed(list(pairwise([BEGINNING, *days, END]))):
        steps.append(
            FactorStep(
                first_day=first,
                before_day=before,
                split_factor=split_factor,
                dividend_factor=dividend_factor,
            )
        )
        split_factor *= _ratio([split for split in splits if split.ex_date == first])
        dividend_factor = _DIGITS.multiply(dividend_factor, shares.get(first, Decimal(1)))
    return steps[::-1]


def daily(dividends: Sequence[DividendTerms]) -> dict[date, Decimal]:
    """Return the sum of dividends of each ex-date."""
    sums: dict[date, Decimal] = {}
    for dividend in dividends:
        sums[dividend.ex_date] = sums.get(dividend.ex_date, Decimal(0)) + dividend.amount
    return sums


def _ratio(splits: Sequence[SplitTerms]) -> Fraction:
    """Return old shares for each new one over all ``splits``."""
    product = Fraction(1)
    for split in splits:
        product *= Fraction(split.old_shares) / Fraction(split.new_shares)
    return product


def _close_before(
    day: date, splits: Sequence[SplitTerms], prices: Sequence[PricePoint]
) -> Decimal | None:
    """Return the last close before ``day``, not adjusted for dividends, in shares of ``day``."""
    at = _place(day, prices) - 1
    if at < 0:
        return None
    price = prices[at]
    close = Fraction(Decimal(repr(price.close)))
    if price.adjustment is Adjustment.SPLITS_AND_DIVIDENDS:
        message = f"the bar of {price.session_date} is adjusted for dividends already"
        raise ValueError(message)
    # Convert from the shares of the price to those of the day, in either direction.
    shares_day = price.shares_of
    close /= _ratio([split for split in splits if day < split.ex_date <= shares_day])
    close *= _ratio([split for split in splits if shares_day < split.ex_date <= day])
    return _DIGITS.divide(Decimal(close.numerator), Decimal(close.denominator))


def _place(day: date, prices: Sequence[PricePoint]) -> int:
    return bisect.bisect_left(prices, day, key=lambda price: price.session_date)
