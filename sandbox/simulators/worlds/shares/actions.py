"""The simulated world's splits and dividends, and prices adjusted for them.

Here: which corporate actions there are, what has been announced by a moment, prices as they were
paid, and prices adjusted for everything. Not here: where splits are kept (world.py), or any wire
format (../../fmp/actions.py and its like).

Dividends are a pure function of seed, ticker and quarter. An ex-date is a session; record,
payment and declaration follow it by fixed distances, so nothing moves when time passes.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from decimal import Decimal

import numpy as np
import pyarrow as pa

from marketdata.actions import WIRE_DIVIDENDS, WIRE_SPLITS
from marketdata.calendars import NEW_YORK_ZONE, SessionCalendar
from sandbox.simulators.worlds.shares import market
from sandbox.simulators.worlds.shares.market import Split
from sandbox.simulators.worlds.shares.world import SEED, Bars, World, scaled

__all__ = ["Actions", "Dividend", "Split"]

ANNOUNCED_BEFORE = timedelta(days=30)
"""Time from a split's announcement to its ex-date."""
_DECLARED_BEFORE = timedelta(days=25)
_PAID_AFTER = timedelta(days=16)
_SAME_DAY_RECORD = date(2024, 5, 28)
"""Since shares settle after one day, the record date is the ex-date."""
_PAYERS, _OF = 2, 3
_KNOWN_PAYERS = frozenset({"AAPL", "MSFT"})
"""Symbols of the free plan that pay dividends."""
_SPECIAL_PAYERS = 12
"""One in this many payers pays a special dividend in some Decembers."""
_UNDECLARED = 9
"""One in this many dividends has no known declaration date."""
_TENTH_OF_CENT = Decimal("0.001")
_QUARTERS = 4
_A_DAY = timedelta(days=1)
_REGULAR, _SPECIAL = "regular", "special"
_FREQUENCIES = {_REGULAR: "Quarterly", _SPECIAL: "Special"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Dividend:
    """Payment of a share to its holders before ``ex_date``.

    Attributes:
        amount: US dollars for one share of that day, as paid.
        kind: ``regular`` or ``special``.
        declaration_date: None if unknown.
        frequency: In FMP's words: ``Quarterly``, or ``Special``.
    """

    ex_date: date
    amount: Decimal
    kind: str
    declaration_date: date | None
    record_date: date | None
    payment_date: date | None
    frequency: str


_INVENTED: dict[tuple[SessionCalendar, str, tuple[Split, ...], int], list[Dividend]] = {}
"""Dividends by calendar, series, splits and last year, which they follow from in every world."""


class Actions:
    """Splits, dividends and the prices that follow from them, as they are known at a moment.

    Tickers are spelt our way.
    """

    def __init__(self, world: World) -> None:
        self._world = world

    def splits(self, ticker: str, now: datetime) -> list[Split]:
        """Return the splits announced by ``now`` (30 days before they happen), oldest first."""
        horizon = _day_in_new_york(now) + ANNOUNCED_BEFORE
        return [split for split in self._world.splits(ticker) if split.ex_date <= horizon]

    def dividends(self, ticker: str, now: datetime) -> list[Dividend]:
        """Return the dividends declared by ``now`` (25 days before the ex-date), oldest first."""
        horizon = _day_in_new_york(now) + _DECLARED_BEFORE
        return [
            dividend
            for dividend in self._every_dividend(ticker, horizon)
            if dividend.ex_date <= horizon
        ]

    def as_traded(self, ticker: str, start: date, end: date, now: datetime) -> Bars:
        """Return bars with prices and volumes as they were paid, in cents."""
        bars = self._world.bars_unscaled(ticker, start, end, now)
        return scaled(bars, self._scales(ticker, bars))

    def total_return(self, ticker: str, start: date, end: date, now: datetime) -> Bars:
        """Return bars adjusted for all splits and dividends whose ex-date has come by ``now``.

        A dividend multiplies all earlier prices by (1 - amount / close), with the last close
        before it; volumes are adjusted for splits only. Prices are in cents.
        """
        bars = self._world.bars(ticker, start, end, now)
        factors = np.ones(len(bars.dates))
        for ex_date, share in self.dividend_shares(ticker, now).items():
            factors[bars.dates < np.datetime64(ex_date, "D")] *= share
        return replace(scaled(bars, factors), volumes=bars.volumes)

    def dividend_shares(self, ticker: str, now: datetime) -> dict[date, float]:
        """Return by past ex-date the factor of its dividends on earlier prices, oldest first."""
        today = _day_in_new_york(now)
        paid = self.as_traded(ticker, market.FIRST_DAY, today, now)
        amounts: dict[date, float] = {}
        for dividend in self.dividends(ticker, now):
            if dividend.ex_date <= today:
                amounts[dividend.ex_date] = amounts.get(dividend.ex_date, 0.0) + float(
                    dividend.amount
                )
        shares: dict[date, float] = {}
        for ex_date, amount in amounts.items():
            place = int(np.searchsorted(paid.dates, np.datetime64(ex_date, "D"))) - 1
            if place < 0:
                continue
            # A split of the same day puts the price before it on other shares.
            last: date = paid.dates[place].item()
            price = float(paid.closes[place]) * (
                self._world.scale_on(ticker, ex_date) / self._world.scale_on(ticker, last)
            )
            shares[ex_date] = 1.0 - amount / price
        return shares

    def split_truth(self, tickers: Iterable[str], now: datetime) -> pa.Table:
        """Return the announced splits as WIRE_SPLITS, by ticker and ex-date."""
        rows = [
            {
                "symbol": ticker,
                "ex_date": split.ex_date,
                "new_shares": Decimal(split.new_shares),
                "old_shares": Decimal(split.old_shares),
                "kind": split.kind,
            }
            for ticker in sorted(tickers)
            for split in self.splits(ticker, now)
        ]
        return pa.Table.from_pylist(rows, schema=WIRE_SPLITS)

    def dividend_truth(self, tickers: Iterable[str], now: datetime) -> pa.Table:
        """Return the declared dividends as WIRE_DIVIDENDS, by ticker, ex-date and kind.

        The currency is null, since FMP does not serve it.
        """
        rows = [
            {
                "symbol": ticker,
                "ex_date": dividend.ex_date,
                "kind": dividend.kind,
                "amount": dividend.amount,
                "currency": None,
                "declaration_date": dividend.declaration_date,
                "record_date": dividend.record_date,
                "payment_date": dividend.payment_date,
                "frequency": dividend.frequency,
            }
            for ticker in sorted(tickers)
            for dividend in self.dividends(ticker, now)
        ]
        return pa.Table.from_pylist(rows, schema=WIRE_DIVIDENDS)

    def _scales(self, ticker: str, bars: Bars) -> market.Floats:
        """Return for each day the factor from an unscaled to a paid price."""
        if not len(bars.dates):
            return np.ones(0)
        first: date = bars.dates[0].item()
        scales = np.full(len(bars.dates), self._world.scale_on(ticker, first))
        for split in self._world.splits(ticker):
            if split.ex_date > first:
                later = bars.dates >= np.datetime64(split.ex_date, "D")
                scales[later] = self._world.scale_on(ticker, split.ex_date)
        return scales

    def _every_dividend(self, ticker: str, horizon: date) -> list[Dividend]:
        """Return all dividends of the years up to that of ``horizon``, oldest first.

        Kept, since a calendar of one day looks through those of all tickers.
        """
        world = self._world
        listing = world.listing(ticker)
        key = listing.series if listing else ticker
        of = (world.calendar, key, tuple(world.splits(ticker)), horizon.year)
        if of not in _INVENTED:
            _INVENTED[of] = self._invented(ticker, key, horizon.year)
        return _INVENTED[of]

    def _invented(self, ticker: str, key: str, last_year: int) -> list[Dividend]:
        name = f"{SEED}/{key}/dividends"
        habits = market.uniforms(name, 1, 8)[0].tolist()
        if key not in _KNOWN_PAYERS and habits[0] * _OF >= _PAYERS:
            return []
        first = self._world.listed_on(ticker) + timedelta(days=120)
        dividends: list[Dividend] = []
        for year in range(first.year, last_year + 1):
            draws = market.uniforms(f"{name}/{year}", _QUARTERS + 1, 2).tolist()
            for quarter in range(_QUARTERS):
                month = 1 + int(habits[1] * 3) + 3 * quarter
                day = date(year, month, 2 + int(habits[2] * 20) + int(draws[quarter][0] * 4))
                declared = draws[quarter][1] * _UNDECLARED >= 1.0
                if day > first:
                    share = (0.005 + 0.035 * habits[3]) / _QUARTERS
                    dividend = self._dividend(ticker, day, share, _REGULAR, declared=declared)
                    dividends.append(dividend)
            christmas = date(year, 12, 1 + int(draws[_QUARTERS][0] * 6))
            if christmas > first and habits[4] * _SPECIAL_PAYERS < 1.0 > 2 * draws[_QUARTERS][1]:
                share = 0.01 + 0.03 * habits[5]
                dividends.append(self._dividend(ticker, christmas, share, _SPECIAL, declared=True))
        return sorted(dividends, key=lambda dividend: (dividend.ex_date, dividend.kind))

    def _dividend(
        self, ticker: str, day: date, share: float, kind: str, *, declared: bool
    ) -> Dividend:
        """Return the dividend that pays ``share`` of the year's first price about ``day``."""
        ex_date = self._world.session_from(day)
        price = self._world.close_unscaled(ticker, date(day.year, 1, 3))
        paid = Decimal(share * price * self._world.scale_on(ticker, ex_date))
        settles_at_once = ex_date >= _SAME_DAY_RECORD
        record = ex_date if settles_at_once else self._world.session_from(ex_date + _A_DAY)
        return Dividend(
            ex_date=ex_date,
            amount=max(paid.quantize(_TENTH_OF_CENT), _TENTH_OF_CENT),
            kind=kind,
            declaration_date=ex_date - _DECLARED_BEFORE if declared else None,
            record_date=record,
            payment_date=self._world.session_from(ex_date + _PAID_AFTER),
            frequency=_FREQUENCIES[kind],
        )


def _day_in_new_york(now: datetime) -> date:
    return now.astimezone(NEW_YORK_ZONE).date()
