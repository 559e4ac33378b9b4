"""IEX in the simulated world: the small part of a share's minutes that is traded on that exchange.

Here: which minutes, with which volume, in bars of any length. Not here: the minutes of all
exchanges (../worlds/shares/intraday.py), or any wire format (wire.py).
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta

import numpy as np
import pyarrow as pa

from marketdata.calendars import NEW_YORK_ZONE, calendar
from marketdata.minute_bars import WIRE_MINUTE_BARS
from sandbox.simulators.worlds.shares import intraday, market
from sandbox.simulators.worlds.shares.actions import Actions
from sandbox.simulators.worlds.shares.intraday import MINUTE, Minutes
from sandbox.simulators.worlds.shares.world import SEED, World

_OPENS_AT = time(8)
_OPEN_MINUTES = 540
"""IEX trades from 8 to 17 o'clock New York, half days included in this world."""
_QUIET_SHARE = 0.2
"""Share of the minutes with trades in which none is on IEX."""
_LEAST_SHARE, _SHARE_SPREAD = 0.02, 0.01
"""IEX has 2 to 3 per cent of the volume."""


def iex_minutes(world: World, ticker: str, session: date, now: datetime) -> Minutes:
    """Return the minutes of ``session`` (a New York day) with trades on IEX, over by ``now``.

    Prices are those of all exchanges, as traded: Tiingo documents no adjustment of them.
    ``vwaps`` and ``trades`` stay those of all exchanges too; Tiingo does not serve them. Empty
    where the ticker did not trade.
    """
    listing = world.listing(ticker)
    series = ticker if listing is None else listing.series
    bars = intraday.running(Actions(world).as_traded, ticker, session, session, now)
    minutes = intraday.unfolded(world, ticker, bars, now)
    opens_at = np.datetime64(_utc(session, _OPENS_AT).replace(tzinfo=None), "us")
    places = (minutes.opened_at - opens_at) // MINUTE
    inside = (places >= 0) & (places < _OPEN_MINUTES)
    minutes, places = minutes.where(inside), places[inside]
    draws = market.uniforms(f"{SEED}/{series}/{session}/iex", _OPEN_MINUTES, 2)[places]
    volumes = np.maximum(
        np.rint(minutes.volumes * (_LEAST_SHARE + _SHARE_SPREAD * draws[:, 1])), 1.0
    )
    return replace(minutes, volumes=volumes).where(draws[:, 0] >= _QUIET_SHARE)


def regular(minutes: Minutes, session: date) -> Minutes:
    """Return those of ``minutes`` that lie within the session's regular hours."""
    opens_at = np.datetime64(_utc(session, intraday.OPENS_AT).replace(tzinfo=None), "us")
    closes_at = np.datetime64(calendar().close_at(session).replace(tzinfo=None), "us")
    return minutes.where((minutes.opened_at >= opens_at) & (minutes.opened_at < closes_at))


@dataclass(frozen=True, slots=True, kw_only=True)
class IexBar:
    """One bar of some length; ``opened_at`` is aware UTC."""

    opened_at: datetime
    open: float
    high: float
    low: float
    close: float
    volume: float


def resampled(minutes: Minutes, length: timedelta) -> list[IexBar]:
    """Return bars of ``length`` that begin at its multiples, oldest first; none is empty."""
    if not len(minutes):
        return []
    buckets = minutes.opened_at - minutes.opened_at.astype("int64") % (
        length // timedelta(microseconds=1)
    ) * np.timedelta64(1, "us")
    firsts = np.flatnonzero(np.diff(buckets.astype("int64"), prepend=-1))
    lasts = np.append(firsts[1:], len(minutes)) - 1
    columns = (
        buckets[firsts].tolist(),
        minutes.opens[firsts].tolist(),
        np.maximum.reduceat(minutes.highs, firsts).tolist(),
        np.minimum.reduceat(minutes.lows, firsts).tolist(),
        minutes.closes[lasts].tolist(),
        np.add.reduceat(minutes.volumes, firsts).tolist(),
    )
    return [
        IexBar(
            opened_at=opened_at.replace(tzinfo=UTC),
            open=first,
            high=high,
            low=low,
            close=last,
            volume=volume,
        )
        for opened_at, first, high, low, last, volume in zip(*columns, strict=True)
    ]


def iex_minute_truth(
    world: World, tickers: Iterable[str], start: date, end: date, now: datetime
) -> pa.Table:
    """Return all minutes on IEX of the days from ``start`` to ``end`` that are over by ``now``.

    In WIRE_MINUTE_BARS under our tickers, sorted by ticker and time, with those before and
    after the session; ``vwap`` and ``trades`` are null.
    """
    tables = [
        _as_table(ticker, iex_minutes(world, ticker, session, now))
        for ticker in sorted(tickers)
        for session in calendar().sessions(start, end)
    ]
    return pa.concat_tables(tables) if tables else WIRE_MINUTE_BARS.empty_table()


def _as_table(ticker: str, minutes: Minutes) -> pa.Table:
    table = intraday.as_table(ticker, minutes)
    columns = [table[name] for name in WIRE_MINUTE_BARS.names[:-2]]
    nulls = [pa.nulls(len(minutes), field.type) for field in list(WIRE_MINUTE_BARS)[-2:]]
    return pa.table([*columns, *nulls], schema=WIRE_MINUTE_BARS)


def _utc(session: date, at: time) -> datetime:
    return datetime.combine(session, at, NEW_YORK_ZONE).astimezone(UTC)
