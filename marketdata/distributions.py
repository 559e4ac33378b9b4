"""Dividends in the currency of the prices that they adjust.

Here: which amount of a dividend counts, by what exchange rate, and why one does not. Not here: how
counted amounts adjust prices (price_factors.py), the rows of an answer (actions.py), or where
rates, confirmations and findings are stored (resources/storage/adjusted_bars.py).

A dividend in another currency is converted by the last rate of FRED's release H.10 before its
ex-date. Without one it adjusts nothing: no factor is made of an amount in the wrong currency.
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
"""Currency of all stored prices of shares: they are listed in New York."""
OLDEST_RATE = timedelta(days=10)
"""A rate from longer before the ex-date is not used: its series has ended, or is late."""
_DIGITS = Context(prec=28)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dividend:
    """A dividend per share of ``ex_date``, as the provider states it.

    Attributes:
        ordinal: Its number among dividends of its kind and day, from 1.
        currency: None where the provider names none: then that of the prices.
    """

    ex_date: date
    kind: str
    ordinal: int
    amount: Decimal
    currency: str | None

    @property
    def terms(self) -> "Terms":
        """The terms that a person confirms: another amount or currency is another dividend."""
        return self.ex_date, self.kind, self.amount, self.currency or ""


Terms = tuple[date, str, Decimal, str]
"""Ex-date, kind, amount and currency of a dividend."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """An exchange rate against the US dollar, as its series quotes it."""

    observed_on: date
    value: Decimal


class DividendVerdict(StrEnum):
    """How a dividend counts."""

    COUNTED = "counted"
    """As paid: it is in the currency of the prices, or names none."""
    CONVERTED = "converted"
    """Converted by an exchange rate."""
    CONFIRMED = "confirmed"
    """By the amount that a person confirmed."""
    NO_RATE = "no_rate"
    """It adjusts nothing: no rate of its currency is known for its day."""
    ABOVE_PRICE = "above_price"
    """It adjusts nothing: it is not below the price that it is paid out of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DividendFinding:
    """The verdict on one dividend.

    Attributes:
        reason: The reason in words.
        counted: Amount per share in the currency of the prices; None if it adjusts nothing.
        series: FRED's series of its currency, where there is one.
        rate: The rate that converted it.
    """

    dividend: Dividend
    verdict: DividendVerdict
    reason: str
    counted: Decimal | None
    series: str | None = None
    rate: Rate | None = None


def series_of(currency: str) -> macro.Series | None:
    """Return the series of exchange rates of a currency, or None if none is kept."""
    return next((series for series in macro.series().values() if series.currency == currency), None)


def judged(
    dividends: Sequence[Dividend],
    rates: Mapping[str, Sequence[Rate]],
    confirmed: Mapping[Terms, Decimal],
) -> list[DividendFinding]:
    """Return the finding on each dividend, in the same order.

    Args:
        dividends: Dividends of one instrument.
        rates: Rates by FRED's series, oldest first.
        confirmed: Amounts in the currency of the prices that a person confirmed.
    """
    return [_judged(dividend, rates, confirmed) for dividend in dividends]


def without_unusable(
    findings: Sequence[DividendFinding], unusable: Sequence[DividendTerms]
) -> list[DividendFinding]:
    """Return ``findings``; those of days whose sum is not below the price become ABOVE_PRICE."""
    days = {terms.ex_date: terms.amount for terms in unusable}
    return [
        replace(
            finding,
            verdict=DividendVerdict.ABOVE_PRICE,
            reason=f"the day's dividends of {days[finding.dividend.ex_date].normalize():f} "
            f"{PRICE_CURRENCY} are not below the price that they are paid out of",
            counted=None,
        )
        if finding.dividend.ex_date in days and finding.counted is not None
        else finding
        for finding in findings
    ]


def terms_of(findings: Sequence[DividendFinding]) -> list[DividendTerms]:
    """Return the terms of the dividends that count."""
    return [
        DividendTerms(ex_date=finding.dividend.ex_date, amount=finding.counted)
        for finding in findings
        if finding.counted
    ]


def _judged(
    dividend: Dividend, rates: Mapping[str, Sequence[Rate]], confirmed: Mapping[Terms, Decimal]
) -> DividendFinding:
    confirmed_amount = confirmed.get(dividend.terms)
    if confirmed_amount is not None:
        return DividendFinding(
            dividend=dividend,
            verdict=DividendVerdict.CONFIRMED,
            reason=f"a person says that it is {confirmed_amount.normalize():f} {PRICE_CURRENCY}",
            counted=confirmed_amount,
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
        return _without_rate(
            dividend, f"no series of exchange rates of {dividend.currency} is kept"
        )
    rate = _last_before(dividend.ex_date, rates.get(series.series, ()))
    if rate is None:
        reason = f"no rate of {series.series} is known for the {OLDEST_RATE.days} days before it"
        return _without_rate(dividend, reason, series.series)
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


def _without_rate(dividend: Dividend, reason: str, series: str | None = None) -> DividendFinding:
    return DividendFinding(
        dividend=dividend,
        verdict=DividendVerdict.NO_RATE,
        reason=f"it is in {dividend.currency}, the prices in {PRICE_CURRENCY}: {reason}",
        counted=None,
        series=series,
    )


def _last_before(day: date, rates: Sequence[Rate]) -> Rate | None:
    """Return the last rate before ``day`` that is not too old."""
    place = bisect.bisect_left(rates, day, key=lambda rate: rate.observed_on) - 1
    if place < 0 or rates[place].observed_on < day - OLDEST_RATE or rates[place].value <= 0:
        return None
    return rates[place]
