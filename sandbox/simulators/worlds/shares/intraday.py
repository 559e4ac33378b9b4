"""Invented minutes: a day's bar unfolded into bars of one minute that add up to it.

Here: the path within a day, as numbers, and what of it is over by a moment. Not here: the day's bar
itself (world.py, actions.py), or any wire format.

A day's minutes depend on its name and its bar alone, never on the clock: what was served of a
session while it ran is served again, unchanged, after it. A corrected or re-based bar scales the
same path, so that minutes and days never contradict each other.
"""

import functools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from datetime import UTC, date, datetime, time, timedelta

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from marketdata.calendars import NEW_YORK_ZONE, calendar
from marketdata.minute_bars import WIRE_MINUTE_BARS
from marketdata.rows import INSTANT
from sandbox.simulators.worlds.shares import market
from sandbox.simulators.worlds.shares.actions import Actions
from sandbox.simulators.worlds.shares.market import Floats
from sandbox.simulators.worlds.shares.world import SEED, Bars, World

Prices = tuple[float, float, float, float]
"""Open, high, low, close."""
BarsOf = Callable[[str, date, date, datetime], Bars]
"""Such as ``World.bars`` and ``Actions.as_traded``."""
Times = npt.NDArray[np.datetime64]

QUIET_SHARE = 0.03
"""Share of a share's regular minutes without a trade."""
MINUTE = np.timedelta64(60_000_000, "us")
OPENS_AT = time(9, 30)
"""New York's opening, half days included."""
_PRE_MARKET = timedelta(hours=5, minutes=30)
_AFTER_HOURS = timedelta(hours=4)
_EXTENDED_SHARE = 0.03
"""Share of the minutes before and after the session in which there is a trade."""
_EXTENDED_VOLUME = 20
"""Their volume, as shares for each minute with or without a trade."""
_DRAWS = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Minutes:
    """Minutes with trades, oldest first, one array per column; the arrays cannot be written.

    Attributes:
        opened_at: First moment of each minute, UTC, in microseconds.
        volumes: In shares or the pair's base currency; whole numbers for shares.
    """

    opened_at: Times
    opens: Floats
    highs: Floats
    lows: Floats
    closes: Floats
    volumes: Floats
    vwaps: Floats
    trades: npt.NDArray[np.int64]

    def __len__(self) -> int:
        """Return how many minutes there are."""
        return len(self.opened_at)

    def where(self, chosen: npt.NDArray[np.bool_]) -> "Minutes":
        """Return the minutes for which ``chosen`` is true."""
        return Minutes(**{field.name: getattr(self, field.name)[chosen] for field in fields(self)})

    def over_by(self, now: datetime) -> "Minutes":
        """Return the minutes that have ended by ``now`` (aware)."""
        return self.where(self.opened_at + MINUTE <= _instant(now))


def joined(parts: Iterable[Minutes]) -> Minutes:
    """Concatenate ``parts``."""
    all_parts = [NONE, *parts]
    return Minutes(
        **{
            field.name: np.concatenate([getattr(part, field.name) for part in all_parts])
            for field in fields(Minutes)
        }
    )


def fill_day(
    name: str,
    opens_at: datetime,
    minutes: int,
    *,
    open: float,  # noqa: A002 - the field's own word
    high: float,
    low: float,
    close: float,
    volume: float,
    quiet: float,
    decimals: int,
    volume_decimals: int = 0,
) -> Minutes:
    """Unfold one bar into minutes.

    The first open, the highest high, the lowest low, the last close and the summed volume are
    the bar's. The first and the last minute have trades, as long as there are two units.

    Args:
        name: What the path depends on, such as ``AAPL/2026-08-04``.
        opens_at: First moment of the bar, aware.
        minutes: Length of the bar.
        open: Of the bar, like ``high``, ``low`` and ``close``.
        high: See ``open``.
        low: See ``open``.
        close: See ``open``.
        volume: Of the bar, rounded to ``volume_decimals``.
        quiet: Share of the minutes without a trade; they are absent.
        decimals: Of prices; a ``vwap`` has two more.
        volume_decimals: 0 gives whole shares; their sum is exact in such units.

    Raises:
        ValueError: There is no volume.
    """
    units = round(volume * 10**volume_decimals)
    if units < 1:
        message = f"{name}: a bar without volume has no minutes"
        raise ValueError(message)
    return _filled(
        name,
        _instant(opens_at),
        minutes,
        (open, high, low, close),
        units,
        quiet,
        (decimals, volume_decimals),
    )


@functools.lru_cache(maxsize=128)
def _filled(
    name: str,
    opens_at: np.datetime64,
    minutes: int,
    prices: Prices,
    units: int,
    quiet: float,
    decimals: tuple[int, int],
) -> Minutes:
    draws = market.uniforms(f"{SEED}/{name}/minutes", minutes, _DRAWS)
    traded = draws[:, 0] >= quiet
    traded[0] = traded[-1] = True
    places = np.flatnonzero(traded)
    if units < len(places):
        # Every minute with trades has a volume.
        places = places[np.linspace(0, len(places) - 1, units).astype(np.int64)]
    draws = draws[places]
    opens, highs, lows, closes = _path(draws, prices, decimals[0])
    # Busy at both ends of the day, quiet at noon.
    share = (places + 0.5) / minutes
    weights = (0.5 + 6.0 * (share - 0.5) ** 2) * np.exp(1.5 * (draws[:, 4] - 0.5))
    whole = _dealt_out(units, weights)
    relative = weights / weights.mean()
    filled = Minutes(
        opened_at=opens_at + places * MINUTE,
        opens=opens,
        highs=highs,
        lows=lows,
        closes=closes,
        volumes=whole / 10.0 ** decimals[1],
        vwaps=np.clip(np.round((highs + lows + closes) / 3.0, decimals[0] + 2), lows, highs),
        trades=np.minimum(1 + (relative * (20.0 + 180.0 * draws[:, 5])).astype(np.int64), whole),
    )
    for field in fields(filled):
        getattr(filled, field.name).setflags(write=False)
    return filled


def _path(draws: Floats, prices: Prices, decimals: int) -> tuple[Floats, Floats, Floats, Floats]:
    """Return a path from the day's open to its close, through its high and low."""
    first, high, low, last = prices
    share = np.arange(len(draws) + 1) / len(draws)
    walk = np.concatenate(([0.0], np.cumsum(draws[:, 1] - 0.5)))
    bridge = walk - walk[-1] * share
    reach = max(float(np.abs(bridge).max()), 1e-12)
    body: Floats = first + (last - first) * share + bridge * (0.6 * (high - low) / reach)
    body = np.clip(np.round(body, decimals), low, high)
    body[0], body[-1] = first, last
    opens, closes = body[:-1], body[1:]
    wick = 0.03 * (high - low)
    tops, bottoms = np.maximum(opens, closes), np.minimum(opens, closes)
    highs = np.clip(np.round(tops + wick * draws[:, 2], decimals), tops, high)
    lows = np.clip(np.round(bottoms - wick * draws[:, 3], decimals), low, bottoms)
    highs[np.argmax(highs)] = high
    lows[np.argmin(lows)] = low
    return opens.copy(), highs, lows, closes.copy()


def _dealt_out(units: int, weights: Floats) -> npt.NDArray[np.int64]:
    """Split ``units`` by ``weights`` into whole numbers from 1 on that add up to it."""
    rest = units - len(weights)
    marks = np.floor(np.cumsum(weights) / weights.sum() * rest).astype(np.int64)
    marks[-1] = rest
    return np.diff(marks, prepend=np.int64(0)) + 1


def session_minutes(world: World, ticker: str, session: date, now: datetime) -> Minutes:
    """Return the minutes of ``session`` (a New York day) that are over by ``now``.

    Prices are adjusted for splits, as those of ``world.bars``, whose bar of the session the
    regular minutes add up to. A few minutes before the opening and after the close come on top:
    their prices lie within the day's, their volume is not in the day's. Empty where the ticker
    did not trade.
    """
    sessions = calendar()
    if not sessions.is_session(session):
        return NONE
    at = max(now, sessions.close_at(session))
    return unfolded(world, ticker, world.bars(ticker, session, session, at), now)


def unfolded(world: World, ticker: str, bars: Bars, now: datetime) -> Minutes:
    """Return the minutes of ``bars`` of ``ticker`` that are over by ``now``.

    ``bars`` may be adjusted in any way: a session's path stays the same, differently scaled.
    """
    listing = world.listing(ticker)
    series = ticker if listing is None else listing.series
    prices = zip(
        *(column.tolist() for column in (bars.opens, bars.highs, bars.lows, bars.closes)),
        strict=True,
    )
    days = [
        _whole_session(series, *day)
        for day in zip(bars.dates.tolist(), prices, bars.volumes.tolist(), strict=True)
    ]
    return joined(days).over_by(now)


@functools.lru_cache(maxsize=256)
def _whole_session(series: str, session: date, prices: Prices, volume: int) -> Minutes:
    opens_at = datetime.combine(session, OPENS_AT, NEW_YORK_ZONE).astimezone(UTC)
    closes_at = calendar().close_at(session)
    name, decimals = f"{series}/{session}", 2 if min(prices) >= 1.0 else 4
    before = _extended(f"{name}/before", opens_at - _PRE_MARKET, _PRE_MARKET, prices[0], prices)
    after = _extended(f"{name}/after", closes_at, _AFTER_HOURS, prices[3], prices)
    regular = _filled(
        name,
        _instant(opens_at),
        _minutes(closes_at - opens_at),
        prices,
        volume,
        QUIET_SHARE,
        (decimals, 0),
    )
    return joined((before, regular, after))


def _extended(
    name: str, begins_at: datetime, lasts: timedelta, near: float, prices: Prices
) -> Minutes:
    """Return the few trades outside the session: near ``near``, and within the day's prices."""
    _, high, low, _ = prices
    aside = market.in_cents(np.array([near * 1.001, near * 0.999]))
    minutes = _minutes(lasts)
    return _filled(
        name,
        _instant(begins_at),
        minutes,
        (near, min(high, float(aside[0])), max(low, float(aside[1])), near),
        minutes * _EXTENDED_VOLUME,
        1.0 - _EXTENDED_SHARE,
        (2 if low >= 1.0 else 4, 0),
    )


def minute_truth(
    world: World, tickers: Iterable[str], start: date, end: date, now: datetime
) -> pa.Table:
    """Return all minutes (WIRE_MINUTE_BARS) as Polygon serves them, by ticker and time.

    Under our tickers, as traded, of the New York sessions from ``start`` to ``end``, before
    the opening and after the close included.
    """
    as_traded = Actions(world).as_traded
    tables = [
        as_table(ticker, unfolded(world, ticker, running(as_traded, ticker, start, end, now), now))
        for ticker in sorted(tickers)
    ]
    return pa.concat_tables(tables) if tables else WIRE_MINUTE_BARS.empty_table()


def running(bars: BarsOf, ticker: str, start: date, end: date, now: datetime) -> Bars:
    """Return bars of ``ticker``, that of a session under way as it will be at its close."""
    last = min(end, now.astimezone(NEW_YORK_ZONE).date())
    sessions = calendar().sessions(start, last)
    at = max([now, *(calendar().close_at(session) for session in sessions[-1:])])
    return bars(ticker, start, last, at)


def as_table(symbol: str, minutes: Minutes) -> pa.Table:
    """Return ``minutes`` as WIRE_MINUTE_BARS of ``symbol``."""
    columns = [
        pa.array([symbol] * len(minutes), pa.string()),
        pa.array(minutes.opened_at, pa.timestamp("us")).cast(INSTANT),
        *(
            pa.array(prices)
            for prices in (minutes.opens, minutes.highs, minutes.lows, minutes.closes)
        ),
        pa.array(minutes.volumes),
        pa.array(minutes.vwaps),
        pa.array(minutes.trades),
    ]
    return pa.table(columns, schema=WIRE_MINUTE_BARS)


def _minutes(span: timedelta) -> int:
    return span // timedelta(minutes=1)


def _instant(moment: datetime) -> np.datetime64:
    return np.datetime64(moment.astimezone(UTC).replace(tzinfo=None), "us")


NONE = Minutes(
    opened_at=np.array([], "datetime64[us]"),
    opens=np.array([], np.float64),
    highs=np.array([], np.float64),
    lows=np.array([], np.float64),
    closes=np.array([], np.float64),
    volumes=np.array([], np.float64),
    vwaps=np.array([], np.float64),
    trades=np.array([], np.int64),
)
