"""The simulated world's statements: filings by a moment, and restatements.

Here: which periods of which company are public, and FMP's rows of them. Not here: figures
(ledger.py, ratios.py), dates (periods.py), the truth (truth.py), or HTTP
(../../fmp/fundamentals.py).
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import date, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Context, Decimal
from pathlib import Path
from typing import cast

import numpy as np

from machine import private_files
from marketdata.calendars import NEW_YORK_ZONE
from marketdata.instruments import provider_spellings
from marketdata.statements import StatementKind
from sandbox.simulators.worlds.fundamentals import ledger as books
from sandbox.simulators.worlds.fundamentals.ledger import (
    FIRST_YEAR,
    QUARTERS,
    YEARS,
    Amounts,
    Ledger,
)
from sandbox.simulators.worlds.fundamentals.periods import (
    FISCAL_QUARTERS,
    Filing,
    Restatement,
    filed_at,
    filing,
    fiscal_end,
    restatement,
)
from sandbox.simulators.worlds.fundamentals.ratios import ratios
from sandbox.simulators.worlds.shares.market import Floats
from sandbox.simulators.worlds.shares.world import SEED, Listing, World

ANNUAL, QUARTERLY = "annual", "quarterly"
_ROUNDING = Context(prec=38, rounding=ROUND_HALF_EVEN)

Row = Mapping[str, str | int | float]
"""One of FMP's rows: names, order and types are FMP's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A published quarter or year.

    Attributes:
        filing: Of the latest report on it, which may be a restatement.
    """

    fiscal_year: int
    period: str
    fiscal_date: date
    filing: Filing


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ordered:
    """A requested restatement."""

    series: str
    fiscal_year: int
    quarter: int
    factor: float
    accepted_at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Published:
    """The first quarters of a company, as far as they are public, oldest first."""

    first_year: int
    reports: tuple[Report, ...]
    factors: Floats


class FiledStatements:
    """Statements and ratios of every listing, as they are known at a moment.

    Args:
        world: Listings, and prices for ratios.
        folder: Where restatements are kept, the world's folder; without one they last as long as
            this object.
    """

    def __init__(self, world: World, folder: Path | None = None) -> None:
        self.world = world
        self._file = None if folder is None else folder / "fundamentals.json"
        kept = {} if self._file is None else private_files.read_json(self._file)
        ordered = cast("list[dict[str, str | int | float]]", kept.get("restatements", []))
        self._ordered = [_Ordered(**order) for order in ordered]  # pyright: ignore[reportArgumentType] - written by restate

    def restate(
        self, ticker: str, fiscal_year: int, period: str, factor: float, at: datetime
    ) -> None:
        """See ``Fundamentals.restate``."""
        listing = self.world.listing(ticker)
        periods = (*FISCAL_QUARTERS, "FY")
        if listing is None or period not in periods or not factor > 0.0:
            message = f"cannot restate {ticker} {period} by {factor}: a ticker of ours, one of "
            raise ValueError(message + f"{', '.join(periods)}, and a factor above zero are needed")
        quarters = range(1, QUARTERS + 1) if period == "FY" else [periods.index(period) + 1]
        public = {
            (filing.fiscal_year, filing.period)
            for filing in self._published(listing, at, original=True)
        }
        if any((fiscal_year, FISCAL_QUARTERS[number - 1]) not in public for number in quarters):
            message = f"{ticker} had not reported {period} of {fiscal_year} by {at}"
            raise ValueError(message)
        accepted_at = filed_at(at).accepted_at.isoformat()
        self._ordered += [
            _Ordered(
                series=listing.series,
                fiscal_year=fiscal_year,
                quarter=quarter,
                factor=factor,
                accepted_at=accepted_at,
            )
            for quarter in quarters
        ]
        if self._file is not None:
            content: dict[str, object] = {
                "restatements": [asdict(order) for order in self._ordered]
            }
            private_files.write_json(self._file, content)

    def reports(self, ticker: str, period_type: str, now: datetime) -> list[Report]:
        """Return what ``ticker`` has reported by ``now``, annual or quarterly, oldest first."""
        quarters = self._quarters(self._listed(ticker), now).reports
        return list(quarters) if period_type == QUARTERLY else _years(quarters)

    def rows(self, kind: StatementKind, ticker: str, period_type: str, now: datetime) -> list[Row]:
        """Return FMP's rows of ``ticker``, annual or quarterly, oldest first."""
        listing = self._listed(ticker)
        quarters = self._quarters(listing, now)
        yearly = period_type == ANNUAL
        reports = _years(quarters.reports) if yearly else list(quarters.reports)
        if not reports:
            return []
        first = (quarters.first_year - FIRST_YEAR) * QUARTERS
        ledger = books.part(books.ledger(SEED, listing.series), first, len(quarters.reports))
        ledger = books.reclassified(ledger, quarters.factors)
        if yearly:
            ledger = books.by_year(ledger)
        lines = self._lines(kind, listing, ledger, reports, now)
        symbol = provider_spellings("fmp").get(ticker, ticker)
        columns = [_numbers(line) for line in lines.values()]
        return [
            _head(kind, symbol, listing, ledger.currency, report)
            | dict(zip(lines, figures, strict=True))
            for report, figures in zip(reports, zip(*columns, strict=True), strict=True)
        ]

    def filings(self, since: datetime, now: datetime) -> list[tuple[datetime, str, Report]]:
        """Return every report accepted after ``since`` and by ``now`` with its ticker."""
        # Recent filings are about recent years, except for restatements.
        years = {
            *range(since.year - 2, now.year + 2),
            *(order.fiscal_year for order in self._ordered),
        }
        return [
            (report.filing.accepted_at, listing.ticker, report)
            for listing in self.world.listings()
            for quarters in [list(self._published(listing, now, years=years))]
            for report in (*quarters, *_years(quarters))
            if since < report.filing.accepted_at
        ]

    def _listed(self, ticker: str) -> Listing:
        listing = self.world.listing(ticker)
        if listing is None:
            message = f"nothing trades as {ticker}"
            raise ValueError(message)
        return listing

    def _quarters(self, listing: Listing, now: datetime) -> _Published:
        reports = tuple(self._published(listing, now))
        first_year = reports[0].fiscal_year if reports else FIRST_YEAR
        factors = [
            1.0 if restated is None else restated.factor
            for report in reports
            for restated in [self._restated(listing, report.fiscal_year, report.period, now)]
        ]
        return _Published(first_year=first_year, reports=reports, factors=np.array(factors))

    def _published(
        self,
        listing: Listing,
        now: datetime,
        *,
        original: bool = False,
        years: Collection[int] = range(FIRST_YEAR, FIRST_YEAR + YEARS),
    ) -> Iterator[Report]:
        """Yield the quarters public by ``now``, from the first whole year since listing."""
        name = listing.series
        listed_on = self.world.listed_on(listing.ticker)
        for year in sorted(years):
            if year < FIRST_YEAR or fiscal_end(SEED, name, year, 1) < listed_on:
                continue
            for quarter, period in enumerate(FISCAL_QUARTERS, start=1):
                first = filing(SEED, name, year, quarter)
                if first.accepted_at > now:
                    return
                restated = None if original else self._restated(listing, year, period, now)
                yield Report(
                    fiscal_year=year,
                    period=period,
                    fiscal_date=fiscal_end(SEED, name, year, quarter),
                    filing=first if restated is None else restated.filing,
                )

    def _restated(
        self, listing: Listing, year: int, period: str, now: datetime
    ) -> Restatement | None:
        """Return the latest restatement of a quarter by ``now``."""
        quarter = FISCAL_QUARTERS.index(period) + 1
        restatements = [
            Restatement(
                factor=order.factor, filing=filed_at(datetime.fromisoformat(order.accepted_at))
            )
            for order in self._ordered
            if (order.series, order.fiscal_year, order.quarter) == (listing.series, year, quarter)
        ]
        invented = restatement(SEED, listing.series, year, quarter)
        if invented is not None:
            restatements.insert(0, invented)
        public = [restated for restated in restatements if restated.filing.accepted_at <= now]
        # Of two in the same second the later order wins; max alone would return the first.
        return max(reversed(public), key=lambda restated: restated.filing.accepted_at, default=None)

    def _lines(
        self,
        kind: StatementKind,
        listing: Listing,
        ledger: Ledger,
        reports: list[Report],
        now: datetime,
    ) -> Mapping[str, Amounts | Floats]:
        eps = np.round(ledger.income["netIncome"] / ledger.shares, 2)
        if kind is StatementKind.INCOME:
            diluted = np.round(ledger.income["netIncome"] / ledger.diluted_shares, 2)
            return {
                **ledger.income,
                "eps": eps,
                "epsDiluted": diluted,
                "weightedAverageShsOut": ledger.shares,
                "weightedAverageShsOutDil": ledger.diluted_shares,
            }
        if kind is StatementKind.BALANCE_SHEET:
            return ledger.balance
        if kind is StatementKind.CASH_FLOW:
            return ledger.cash_flow
        return ratios(
            ledger.income,
            ledger.balance,
            ledger.cash_flow,
            shares=ledger.shares,
            eps=eps,
            price=self._closes(listing, [report.fiscal_date for report in reports], now),
        )

    def _closes(self, listing: Listing, days: list[date], now: datetime) -> Floats:
        """Return the close on each day or on the last session before; 0 where there is none."""
        bars = self.world.bars(listing.ticker, days[0] - timedelta(days=10), days[-1], now)
        if not len(bars.dates):
            return np.zeros(len(days))
        places = np.searchsorted(bars.dates, np.array(days, "datetime64[D]"), side="right") - 1
        return np.where(places < 0, 0.0, bars.closes[np.maximum(places, 0)])


def _years(quarters: Iterable[Report]) -> list[Report]:
    """Return the years whose four quarters are public; the latest report on any is the year's."""
    fiscal_dates = list(quarters)
    return [
        Report(
            fiscal_year=last.fiscal_year,
            period="FY",
            fiscal_date=last.fiscal_date,
            filing=max(
                (filing.filing for filing in fiscal_dates[place - QUARTERS + 1 : place + 1]),
                key=lambda filing: filing.accepted_at,
            ),
        )
        for place, last in enumerate(fiscal_dates)
        if last.period == FISCAL_QUARTERS[-1]
    ]


def _head(
    kind: StatementKind, symbol: str, listing: Listing, currency: str, report: Report
) -> dict[str, str | int | float]:
    if kind is StatementKind.RATIOS:
        return {
            "symbol": symbol,
            "date": report.fiscal_date.isoformat(),
            "fiscalYear": str(report.fiscal_year),
            "period": report.period,
            "reportedCurrency": currency,
        }
    accepted = report.filing.accepted_at.astimezone(NEW_YORK_ZONE)
    return {
        "date": report.fiscal_date.isoformat(),
        "symbol": symbol,
        "reportedCurrency": currency,
        "cik": listing.cik,
        "filingDate": report.filing.filing_date.isoformat(),
        "acceptedDate": f"{accepted:%Y-%m-%d %H:%M:%S}",
        "fiscalYear": str(report.fiscal_year),
        "period": report.period,
    }


def _numbers(line: Amounts | Floats) -> list[int | float]:
    """Return numbers as JavaScript prints them: a whole one has no decimal point."""
    if line.dtype.kind == "i":
        return line.tolist()
    return [int(value) if value.is_integer() else value for value in line.tolist()]


def exact(number: str | float) -> Decimal:
    """Return a number of a row as it stands in a database: 18 places, rounded half to even."""
    return Decimal(repr(number)).quantize(Decimal("1e-18"), context=_ROUNDING)
