"""What shares pay out, in the currency of the prices that it is taken out of.

Here: which amount of a dividend counts, by what exchange rate, and why one does not. Not here: what
counted amounts do to prices (price_factors.py), the rows of an answer (actions.py), or where rates,
words of a person and findings are kept (resources/storage/adjusted_bars.py).

A dividend in another currency is converted by the last rate of FRED's release H.10 before its
ex-date. Without one it adjusts nothing: an amount in the wrong currency is wrong for good.
"""

import bisect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from decimal import Context, Decimal
from enum import StrEnum

from marketdata import macro
from marketdata.price_factors import DividendTerms

PRICE_CURRENCY = "USD"
"""Of all prices that are kept here: shares listed in New York."""
OLDEST_RATE = timedelta(days=10)
"""A rate this much older than the ex-date is that of a series which has ended, or not come."""
_DIGITS = Context(prec=28)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dividend:
    """What a share of ``ex_date`` pays, as a provider tells it.

    Attributes:
        ordinal: Which of its kind and day, from 1.
        currency: None where the provider does not tell: that of the prices.
    """

    ex_date: date
    kind: str
    ordinal: int
    amount: Decimal
    currency: str | None

    @property
    def terms(self) -> "Terms":
        """What a person vouches for: another amount or currency is another dividend."""
        return self.ex_date, self.kind, self.amount, self.currency or ""


Terms = tuple[date, str, Decimal, str]
"""Ex-date, kind, amount and currency of a dividend."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """An exchange rate against the US dollar, as its series quotes it."""

    observed_on: date
    value: Decimal


class DividendVerdict(StrEnum):
    """What becomes of a dividend."""

    COUNTED = "counted"
    """It is in the currency of the prices, or of none that is told."""
    CONVERTED = "converted"
    """By an exchange rate."""
    CONFIRMED = "confirmed"
    """A person says what it is worth."""
    NO_RATE = "no_rate"
    """It adjusts nothing: no rate of its currency is known for its day."""
    ABOVE_PRICE = "above_price"
    """It adjusts nothing: it is not below the price that it is paid out of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DividendFinding:
    """What becomes of one dividend.

    Attributes:
        reason: In words.
        counted: For one share, in the currency of the prices; None if it adjusts nothing.
        series: FRED's series of its currency, where there is one.
        rate: What it was converted by.
    """

    dividend: Dividend
    verdict: DividendVerdict
    reason: str
    counted: Decimal | None
    series: str | None = None
    rate: Rate | None = None


def series_of(currency: str) -> macro.Series | None:
    """Return the series of exchange rates of a currency, or None if none is kept."""
    return next((one for one in macro.series().values() if one.currency == currency), None)


def judged(
    dividends: Sequence[Dividend],
    rates: Mapping[str, Sequence[Rate]],
    words: Mapping[Terms, Decimal],
) -> list[DividendFinding]:
    """Return what becomes of each dividend, in the same order.

    Args:
        dividends: Of one instrument.
        rates: By FRED's series, oldest first.
        words: What a person says that dividends are in the currency of the prices.
    """
    return [_judged(one, rates, words) for one in dividends]


def without_unusable(
    findings: Sequence[DividendFinding], unusable: Sequence[DividendTerms]
) -> list[DividendFinding]:
    """Return ``findings`` with those of days whose sum is not below the price as such."""
    days = {one.ex_date: one.amount for one in unusable}
    return [
        replace(
            one,
            verdict=DividendVerdict.ABOVE_PRICE,
            reason=f"the day's dividends of {days[one.dividend.ex_date].normalize():f} "
            f"{PRICE_CURRENCY} are not below the price that they are paid out of",
            counted=None,
        )
        if one.dividend.ex_date in days and one.counted is not None
        else one
        for one in findings
    ]


def terms_of(findings: Sequence[DividendFinding]) -> list[DividendTerms]:
    """Return what counts."""
    return [
        DividendTerms(ex_date=one.dividend.ex_date, amount=one.counted)
        for one in findings
        if one.counted
    ]


def _judged(
    dividend: Dividend, rates: Mapping[str, Sequence[Rate]], words: Mapping[Terms, Decimal]
) -> DividendFinding:
    told = words.get(dividend.terms)
    if told is not None:
        return DividendFinding(
            dividend=dividend,
            verdict=DividendVerdict.CONFIRMED,
            reason=f"a person says that it is {told.normalize():f} {PRICE_CURRENCY}",
            counted=told,
        )
    if dividend.currency in {None, PRICE_CURRENCY}:
        return DividendFinding(
            dividend=dividend,
            verdict=DividendVerdict.COUNTED,
            reason="as paid",
            counted=dividend.amount,
        )
    series = series_of(dividend.currency or "")
    if series is None:
        return _waits(dividend, f"no series of exchange rates of {dividend.currency} is kept")
    rate = _last_before(dividend.ex_date, rates.get(series.series, ()))
    if rate is None:
        reason = f"no rate of {series.series} is known for the {OLDEST_RATE.days} days before it"
        return _waits(dividend, reason, series.series)
    amount = dividend.amount
    counted = (
        _DIGITS.divide(amount, rate.value)
        if series.per_dollar
        else _DIGITS.multiply(amount, rate.value)
    )
    return DividendFinding(
        dividend=dividend,
        verdict=DividendVerdict.CONVERTED,
        reason=f"by {series.series} of {rate.observed_on}: {rate.value.normalize():f}",
        counted=counted,
        series=series.series,
        rate=rate,
    )


def _waits(dividend: Dividend, reason: str, series: str | None = None) -> DividendFinding:
    return DividendFinding(
        dividend=dividend,
        verdict=DividendVerdict.NO_RATE,
        reason=f"it is in {dividend.currency}, the prices in {PRICE_CURRENCY}: {reason}",
        counted=None,
        series=series,
    )


def _last_before(day: date, rates: Sequence[Rate]) -> Rate | None:
    """Return the last rate before ``day`` that is not too old."""
    place = bisect.bisect_left(rates, day, key=lambda one: one.observed_on) - 1
    if place < 0 or rates[place].observed_on < day - OLDEST_RATE or rates[place].value <= 0:
        return None
    return rates[place]
