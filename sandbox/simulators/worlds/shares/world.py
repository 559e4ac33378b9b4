"""The simulated world: listings, bars as of a moment, and late corrections.

Here: constituents, bars as of a moment, splits, and the changes that tests make; changes are kept
in the world's folder. Not here: prices as numbers (market.py), what splits and dividends make of
prices (actions.py), or any wire format.
"""

import csv
import functools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date, datetime, timedelta
from importlib import resources
from pathlib import Path
from typing import cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from machine import private_files
from marketdata.calendars import NEW_YORK_ZONE, SessionCalendar, calendar
from sandbox.simulators.worlds.shares import market
from sandbox.simulators.worlds.shares.former_tickers import Carried, FormerTicker, timeline

SEED = "wrdata"

TRUTH = pa.schema(
    [
        pa.field("symbol", pa.string()),
        pa.field("date", pa.date32()),
        *(pa.field(name, pa.float64()) for name in ("open", "high", "low", "close")),
        pa.field("volume", pa.int64()),
    ]
)
"""What a correct database equals; ``symbol`` is our own ticker spelling."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """One security of the simulated world.

    Attributes:
        ticker: Our spelling, such as ``BRK.B``.
        cik: Ten digits.
        series: Ticker whose prices it carries on: its own, or the former one after a rename.
        in_index: Whether it is a constituent; others still trade.
    """

    ticker: str
    name: str
    sector: str
    sub_sector: str
    headquarter: str
    added_on: str
    cik: str
    founded: str
    series: str
    in_index: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Bars:
    """Bars of one ticker, oldest first, one array per column."""

    dates: npt.NDArray[np.datetime64]
    opens: market.Floats
    highs: market.Floats
    lows: market.Floats
    closes: market.Floats
    volumes: npt.NDArray[np.int64]

    def newest(self, count: int) -> "Bars":
        """Return the last ``count`` bars."""
        return replace(
            self,
            dates=self.dates[-count:],
            opens=self.opens[-count:],
            highs=self.highs[-count:],
            lows=self.lows[-count:],
            closes=self.closes[-count:],
            volumes=self.volumes[-count:],
        )


class World:
    """Listings and bars, as they are known at a moment.

    Args:
        root: Folder in which corrections and changes of the index are kept.
    """

    def __init__(self, root: Path, *, sessions: SessionCalendar | None = None) -> None:
        self._file = root / "world.json"
        self._given_calendar = sessions
        self._listings = {listing.ticker: listing for listing in _read_constituents()}
        self._corrections: dict[str, dict[date, float]] = {}
        self._splits: dict[str, list[market.Split]] = {}
        self._former: list[FormerTicker] = []
        self._sessions_of_splits: dict[str, tuple[market.Split, ...]] = {}
        self._restore()

    @property
    def calendar(self) -> SessionCalendar:
        """The sessions of this world."""
        return self._given_calendar or calendar()

    def constituents(self) -> list[Listing]:
        """Return the present members of the index."""
        return [listing for listing in self._listings.values() if listing.in_index]

    def listings(self) -> list[Listing]:
        """Return everything that trades, members of the index or not."""
        return list(self._listings.values())

    def listing(self, ticker: str) -> Listing | None:
        """Return the security that trades as ``ticker`` now, in the index or not."""
        return self._listings.get(ticker)

    def holders(self, ticker: str, first: date, last: date) -> list[Carried]:
        """Return the holders of ``ticker`` from ``first`` to ``last``, oldest first."""
        series = {earlier.series for earlier in self._former if earlier.ticker == ticker}
        holders = [
            carried
            for listing in self.listings()
            if listing.ticker == ticker or listing.series in series
            for carried in timeline(listing.ticker, listing.series, self._former, first, last)
            if carried.ticker == ticker
        ]
        return sorted(holders, key=lambda carried: carried.first)

    def ticker_on(self, ticker: str, day: date) -> str:
        """Return the ticker on ``day`` of the security that is ``ticker`` now."""
        return timeline(ticker, self._listings[ticker].series, self._former, day, day)[0].ticker

    def listed_on(self, ticker: str) -> date:
        """Return the day of the first bar of ``ticker``'s prices."""
        return market.listed_on(SEED, self._listings[ticker].series)

    def is_closed_session(self, day: date, now: datetime) -> bool:
        """Return whether ``day`` was a session that is over by ``now``."""
        return self.calendar.is_session(day) and self.calendar.close_at(day) <= now

    def bars(self, ticker: str, start: date, end: date, now: datetime) -> Bars:
        """Return the bars of the sessions from ``start`` to ``end`` that closed by ``now``.

        Prices and volumes are adjusted for all splits whose ex-date has come by ``now`` in New
        York: after a split the whole history changes.
        """
        bars = self.bars_unscaled(ticker, start, end, now)
        return scaled(bars, np.full(len(bars.dates), self.scale(ticker, now)))

    def bars_unscaled(self, ticker: str, start: date, end: date, now: datetime) -> Bars:
        """Return bars like ``bars``, in the shares of after the last split of market.splits."""
        first = max(start, self.listed_on(ticker))
        last = min(end, self.calendar.last_closed(now))
        key = self._listings[ticker].series
        all_days = market.series(SEED, key, self.calendar.last)
        known = _session_dates(self.calendar)
        dates = known[np.searchsorted(known, np.datetime64(first, "D")) :]
        dates = dates[: np.searchsorted(dates, np.datetime64(last, "D"), side="right")]
        rows = (dates - np.datetime64(market.FIRST_DAY, "D")).astype(np.int64)
        return self._corrected(
            key,
            Bars(
                dates=dates,
                opens=all_days.opens[rows],
                highs=all_days.highs[rows],
                lows=all_days.lows[rows],
                closes=all_days.closes[rows],
                volumes=all_days.volumes[rows],
            ),
        )

    def scale(self, ticker: str, now: datetime) -> float:
        """Return the factor from prices of ``bars_unscaled`` to prices in shares of ``now``."""
        today = now.astimezone(NEW_YORK_ZONE).date()
        return self.scale_on(ticker, today)

    def scale_on(self, ticker: str, day: date) -> float:
        """Return the factor from prices of ``bars_unscaled`` to prices in shares of ``day``."""
        key = self._listings[ticker].series
        past = [split.ratio for split in self._past_splits(key) if split.ex_date > day]
        added = [split.ratio for split in self._splits.get(key, []) if split.ex_date <= day]
        return math.prod(past) / math.prod(added)

    def splits(self, ticker: str) -> list[market.Split]:
        """Return all splits of ``ticker``, announced or not, oldest first."""
        key = self._listings[ticker].series
        splits = [*self._past_splits(key), *self._splits.get(key, [])]
        return sorted(splits, key=lambda split: split.ex_date)

    def _past_splits(self, key: str) -> Sequence[market.Split]:
        """Return the splits of a series' past; an ex-date is the first session in new shares."""
        known = self._sessions_of_splits.get(key)
        if known is None:
            known = tuple(
                replace(split, ex_date=self.session_from(split.ex_date))
                for split in market.splits(SEED, key)
            )
            self._sessions_of_splits[key] = known
        return known

    def session_from(self, day: date) -> date:
        """Return ``day`` if it is a session, otherwise the next one."""
        if day > self.calendar.last:
            return day
        return self.calendar.next_session(day - timedelta(days=1))

    def close_unscaled(self, ticker: str, day: date) -> float:
        """Return the price of any calendar day, in the shares that ``bars_unscaled`` has."""
        key = self._listings[ticker].series
        closes = market.series(SEED, key, self.calendar.last).closes
        return float(closes[(day - market.FIRST_DAY).days])

    def truth(self, tickers: Iterable[str], start: date, end: date, now: datetime) -> pa.Table:
        """Return all bars (TRUTH) as they are now, sorted by ticker and date."""
        tables = [
            _as_table(ticker, self.bars(ticker, start, end, now)) for ticker in sorted(tickers)
        ]
        return pa.concat_tables(tables) if tables else TRUTH.empty_table()

    def correct(self, ticker: str, day: date, factor: float) -> None:
        """Restate one bar from now on: its prices become ``factor`` times the original ones."""
        self._corrections.setdefault(self._listings[ticker].series, {})[day] = factor
        self._keep()

    def split(self, ticker: str, ex_date: date, new_shares: int, old_shares: int) -> None:
        """Add a split: prices paid before ``ex_date`` stay as they were paid.

        From ``ex_date`` on prices are divided by the ratio, and ``bars`` of all days as well.

        Raises:
            ValueError: The ratio is not above zero or is 1, or the day has a split already.
        """
        if min(new_shares, old_shares) < 1 or new_shares == old_shares:
            message = f"{new_shares} shares for {old_shares} is no split"
            raise ValueError(message)
        if any(split.ex_date == ex_date for split in self.splits(ticker)):
            message = f"{ticker} splits on {ex_date} already"
            raise ValueError(message)
        kept = self._splits.setdefault(self._listings[ticker].series, [])
        kept.append(market.split_of(ex_date, new_shares, old_shares))
        self._keep()

    def put(self, listing: Listing) -> None:
        """List a security, or change one; a new ticker of a series replaces its former one."""
        for other in self.listings():
            if other.series == listing.series:
                del self._listings[other.ticker]
        self._listings[listing.ticker] = listing
        self._keep()

    def was_called(self, ticker: str, former: str, first: date, last: date) -> None:
        """Let the security that is ``ticker`` now have traded as ``former`` for some days.

        Only providers that keep each day under the ticker of that day show it.
        """
        series = self._listings[ticker].series
        self._former.append(FormerTicker(series=series, ticker=former, first=first, last=last))
        self._keep()

    def leave_index(self, ticker: str) -> None:
        """Remove ``ticker`` from the index; it still trades."""
        self._listings[ticker] = replace(self._listings[ticker], in_index=False)
        self._keep()

    def _corrected(self, key: str, bars: Bars) -> Bars:
        factors = np.ones(len(bars.dates))
        for day, factor in self._corrections.get(key, {}).items():
            factors[bars.dates == np.datetime64(day, "D")] = factor
        if bool(np.all(factors == 1.0)):
            return bars
        return replace(
            bars,
            opens=_scaled(bars.opens, factors),
            highs=_scaled(bars.highs, factors),
            lows=_scaled(bars.lows, factors),
            closes=_scaled(bars.closes, factors),
        )

    def _keep(self) -> None:
        """Write the changes of the invented world."""
        original = {listing.ticker: listing for listing in _read_constituents()}
        private_files.write_json(
            self._file,
            {
                "listings": [
                    asdict(listing)
                    for listing in self._listings.values()
                    if original.get(listing.ticker) != listing
                ],
                "gone": sorted(original.keys() - self._listings.keys()),
                "corrections": {
                    key: {day.isoformat(): factor for day, factor in days.items()}
                    for key, days in self._corrections.items()
                },
                "former_tickers": [
                    [
                        former.series,
                        former.ticker,
                        former.first.isoformat(),
                        former.last.isoformat(),
                    ]
                    for former in self._former
                ],
                "splits": {
                    key: [
                        [split.ex_date.isoformat(), split.new_shares, split.old_shares]
                        for split in kept
                    ]
                    for key, kept in self._splits.items()
                },
            },
        )

    def _restore(self) -> None:
        kept = private_files.read_json(self._file)
        for fields in cast("list[dict[str, str | bool]]", kept.get("listings", [])):
            listing = Listing(**fields)  # pyright: ignore[reportArgumentType] - written by _keep
            self._listings[listing.ticker] = listing
        for ticker in cast("list[str]", kept.get("gone", [])):
            self._listings.pop(ticker, None)
        corrections = cast("Mapping[str, Mapping[str, float]]", kept.get("corrections", {}))
        self._corrections = {
            key: {date.fromisoformat(day): factor for day, factor in days.items()}
            for key, days in corrections.items()
        }
        self._former = [
            FormerTicker(
                series=series,
                ticker=ticker,
                first=date.fromisoformat(first),
                last=date.fromisoformat(last),
            )
            for series, ticker, first, last in cast(
                "list[tuple[str, str, str, str]]", kept.get("former_tickers", [])
            )
        ]
        splits = cast("Mapping[str, list[tuple[str, int, int]]]", kept.get("splits", {}))
        self._splits = {
            key: [market.split_of(date.fromisoformat(day), new, old) for day, new, old in entries]
            for key, entries in splits.items()
        }


def scaled(bars: Bars, factors: market.Floats) -> Bars:
    """Return ``bars`` with each day's prices times its factor, in cents, and volumes divided."""
    if bool(np.all(factors == 1.0)):
        return bars
    return replace(
        bars,
        opens=_scaled(bars.opens, factors),
        highs=_scaled(bars.highs, factors),
        lows=_scaled(bars.lows, factors),
        closes=_scaled(bars.closes, factors),
        volumes=np.rint(bars.volumes / factors).astype(np.int64),
    )


def _scaled(prices: market.Floats, factors: market.Floats) -> market.Floats:
    return np.where(factors == 1.0, prices, market.in_cents(prices * factors))


@functools.cache
def _session_dates(sessions: SessionCalendar) -> npt.NDArray[np.datetime64]:
    """Return all sessions: converting a list of dates costs more than all the rest of an answer."""
    dates = np.array(sessions.sessions(sessions.first, sessions.last), "datetime64[D]")
    dates.setflags(write=False)
    return dates


def _as_table(ticker: str, bars: Bars) -> pa.Table:
    columns = [
        pa.array([ticker] * len(bars.dates), pa.string()),
        pa.array(bars.dates, pa.date32()),
        *(pa.array(prices) for prices in (bars.opens, bars.highs, bars.lows, bars.closes)),
        pa.array(bars.volumes),
    ]
    return pa.table(columns, schema=TRUTH)


def _read_constituents() -> list[Listing]:
    text = resources.files("sandbox").joinpath("data/sp500_constituents.csv").read_text("utf-8")
    return [
        Listing(
            ticker=row["Symbol"],
            name=row["Security"],
            sector=row["GICS Sector"],
            sub_sector=row["GICS Sub-Industry"],
            headquarter=row["Headquarters Location"],
            added_on=row["Date added"],
            cik=row["CIK"].zfill(10),
            founded=row["Founded"],
            series=row["Symbol"],
        )
        for row in csv.DictReader(text.splitlines())
    ]
