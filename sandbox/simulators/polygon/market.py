"""Data of Polygon's market endpoints from the world: days, minutes and whole markets.

Here: which bars a request covers, how far its limit reaches, and bars of several minutes. Not here:
requests as text (simulator.py), or the wire form (wire.py).
"""

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from datetime import UTC, date, datetime, time, timedelta

import numpy as np
import numpy.typing as npt

from marketdata.calendars import NEW_YORK_ZONE, calendar
from sandbox.simulators.polygon.wire import BarRows, days
from sandbox.simulators.worlds.shares import intraday, market
from sandbox.simulators.worlds.shares.actions import Actions
from sandbox.simulators.worlds.shares.intraday import BarsOf, Minutes
from sandbox.simulators.worlds.shares.world import SEED, Bars, World

MINUTE_MS = 60_000
_SESSIONS_AT_ONCE = 20
_PREFERRED = 12
"""Number of preferred shares beside the listings; their symbols have a lower-case letter."""

Whole = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class AggregatesRequest:
    """A request for aggregates, its edges in milliseconds, both included.

    Attributes:
        bar_ms: Length of a bar; None for days and what is made of days.
        span: ``week`` and more; None for days and less.
        limit: Base bars (days or minutes) that one answer may be made of.
    """

    ticker: str
    bar_ms: int | None
    begin: int
    end: int
    adjusted: bool
    descending: bool
    limit: int
    span: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Bars of an answer, and the moment where the next page begins (None on the last)."""

    rows: BarRows
    base_bars: int
    goes_on_at: int | None = None


def aggregates(world: World, actions: Actions, asked: AggregatesRequest, now: datetime) -> Found:
    """Return the bars of ``asked`` over by ``now``, of each day's holder of the ticker.

    An unknown ticker has none.
    """
    if asked.span is not None and asked.begin <= asked.end:
        asked = _stretched(asked, asked.span)
    holders = world.holders(asked.ticker, _day(asked.begin), _day(asked.end))
    if not holders or asked.begin > asked.end:
        return Found(rows=days(_NO_BARS, np.array([], np.int64)), base_bars=0)
    bars_of = world.bars if asked.adjusted else actions.as_traded
    parts = [
        replace(
            asked,
            ticker=carried.listed,
            begin=max(asked.begin, first_moment(carried.first)),
            end=min(asked.end, first_moment(carried.last + timedelta(days=1)) - 1),
        )
        for carried in holders
    ]
    if asked.bar_ms is None:
        base = _concatenated([_days(bars_of, part, now) for part in parts])
    else:
        base = _concatenated([_minutes(world, bars_of, part, now) for part in parts])
    if asked.span is not None:
        starts = _starts(base.times, asked.span)
    else:
        starts = base.times if asked.bar_ms is None else base.times // asked.bar_ms * asked.bar_ms
    used, goes_on_at = _within_limit(starts, asked)
    rows = _taken(base, used)
    if asked.span is not None or asked.bar_ms not in {None, MINUTE_MS}:
        rows = _grouped(rows, starts[used])
    if asked.descending:
        rows = _taken(rows, slice(None, None, -1))
    return Found(rows=rows, base_bars=len(starts[used]), goes_on_at=goes_on_at)


def whole_market(
    world: World, actions: Actions, session: date, now: datetime, *, adjusted: bool
) -> BarRows:
    """Return the bars of all stocks for ``session``; ``t`` is its close."""
    if not world.is_closed_session(session, now):
        return days(_NO_BARS, np.array([], np.int64))
    bars_of = world.bars if adjusted else actions.as_traded
    by_ticker = {
        world.ticker_on(listing.ticker, session): bars_of(listing.ticker, session, session, now)
        for listing in world.listings()
    }
    traded = {ticker: bars for ticker, bars in by_ticker.items() if len(bars.dates)}
    all_bars = [*traded.values(), _preferred(session)]
    together = Bars(
        **{
            field.name: np.concatenate([getattr(bars, field.name) for bars in all_bars])
            for field in fields(Bars)
        }
    )
    names = [*traded, *(f"{ticker}p{'ABC'[place % 3]}" for place, ticker in _issuers(world))]
    close = _ms(calendar().close_at(session))
    return days(together, np.full(len(names), close), names)


def first_moment(day: date) -> int:
    """Return midnight in New York, in milliseconds since the epoch."""
    return _ms(datetime.combine(day, time(), NEW_YORK_ZONE))


def _concatenated(parts: Sequence[BarRows]) -> BarRows:
    if len(parts) == 1:
        return parts[0]
    columns = [field.name for field in fields(BarRows) if field.name != "tickers"]
    joined = {name: np.concatenate([getattr(part, name) for part in parts]) for name in columns}
    return replace(parts[0], **joined)


SPANS = ("week", "month", "quarter", "year")
"""What bars of days are made into; a week begins on Sunday."""
_A_DAY = timedelta(days=1)


def _first_of(day: date, span: str) -> date:
    """Return the first day of the span of a day."""
    if span == "week":
        return day - timedelta(days=(day.weekday() + 1) % 7)
    month = {"month": day.month, "quarter": (day.month - 1) // 3 * 3 + 1, "year": 1}[span]
    return date(day.year, month, 1)


def _stretched(asked: AggregatesRequest, span: str) -> AggregatesRequest:
    """Return the request from the beginning of its first span to the end of its last one."""
    last = _day(asked.end)
    first = _first_of(last, span)
    while _first_of(last, span) == first:
        last += _A_DAY
    begin = first_moment(_first_of(_day(asked.begin), span))
    return replace(asked, begin=begin, end=first_moment(last) - 1)


def _starts(times: Whole, span: str) -> Whole:
    """Return the first moment of the span of each day."""
    return np.array([first_moment(_first_of(_day(at), span)) for at in times.tolist()], np.int64)


def _days(bars_of: BarsOf, asked: AggregatesRequest, now: datetime) -> BarRows:
    bars = bars_of(asked.ticker, _day(asked.begin), _day(asked.end), now)
    rows = days(bars, _midnights(tuple(bars.dates.tolist())))
    return _taken(rows, (rows.times >= asked.begin) & (rows.times <= asked.end))


def _minutes(world: World, bars_of: BarsOf, asked: AggregatesRequest, now: datetime) -> BarRows:
    """Return minutes of ``asked``: all, or slightly more than its limit."""
    parts: list[Minutes] = []
    count = 0
    for first, last in _spans(asked, now):
        bars = intraday.running(bars_of, asked.ticker, first, last, now)
        part = intraday.unfolded(world, asked.ticker, bars, now)
        times = part.opened_at.astype("datetime64[ms]").astype(np.int64)
        part = part.where((times >= asked.begin) & (times <= asked.end))
        parts.append(part)
        count += len(part)
        if count > asked.limit + 1:
            break
    minutes = intraday.joined(reversed(parts) if asked.descending else parts)
    return BarRows(
        times=minutes.opened_at.astype("datetime64[ms]").astype(np.int64),
        opens=minutes.opens,
        highs=minutes.highs,
        lows=minutes.lows,
        closes=minutes.closes,
        volumes=minutes.volumes,
        vwaps=minutes.vwaps,
        trades=minutes.trades,
    )


def _spans(asked: AggregatesRequest, now: datetime) -> Iterator[tuple[date, date]]:
    """Yield spans of sessions in the order in which the answer needs them."""
    last = min(_day(asked.end), now.astimezone(NEW_YORK_ZONE).date())
    sessions = calendar().sessions(_day(asked.begin), last)
    if asked.descending:
        sessions.reverse()
    for place in range(0, len(sessions), _SESSIONS_AT_ONCE):
        part = sessions[place : place + _SESSIONS_AT_ONCE]
        yield min(part), max(part)


def _within_limit(starts: Whole, asked: AggregatesRequest) -> tuple[slice, int | None]:
    """Return the base bars of one answer, and where the next one begins or ends.

    An answer ends with a whole bar, unless a single one takes more than the limit.
    """
    if len(starts) <= asked.limit:
        return slice(None), None
    if asked.descending:
        place = len(starts) - asked.limit
        whole = int(np.searchsorted(starts, int(starts[place - 1]), side="right"))
        place = whole if whole < len(starts) else place
        return slice(place, None), int(starts[place]) - 1
    whole = int(np.searchsorted(starts, int(starts[asked.limit])))
    place = whole or asked.limit
    return slice(None, place), int(starts[place])


def _grouped(rows: BarRows, starts: Whole) -> BarRows:
    """Merge all bars that begin within the same longer bar."""
    if not len(starts):
        return rows
    firsts = np.flatnonzero(np.concatenate(([True], starts[1:] != starts[:-1])))
    lasts = np.append(firsts[1:], len(starts)) - 1
    volumes = np.add.reduceat(rows.volumes, firsts)
    return BarRows(
        times=starts[firsts],
        opens=rows.opens[firsts],
        highs=np.maximum.reduceat(rows.highs, firsts),
        lows=np.minimum.reduceat(rows.lows, firsts),
        closes=rows.closes[lasts],
        volumes=volumes,
        vwaps=np.round(np.add.reduceat(rows.vwaps * rows.volumes, firsts) / volumes, 4),
        trades=np.add.reduceat(rows.trades, firsts),
    )


def _taken(rows: BarRows, chosen: slice | npt.NDArray[np.bool_]) -> BarRows:
    columns = [field.name for field in fields(BarRows) if field.name != "tickers"]
    return replace(rows, **{name: getattr(rows, name)[chosen] for name in columns})


def _issuers(world: World) -> list[tuple[int, str]]:
    return list(enumerate(sorted(listing.ticker for listing in world.listings())[:_PREFERRED]))


def _preferred(session: date) -> Bars:
    """Return preferred shares near 25 dollars."""
    draws = market.uniforms(f"{SEED}/preferred/{session}", _PREFERRED, 5)
    opens, closes = 24.0 + 2.0 * draws[:, 0], 24.0 + 2.0 * draws[:, 1]
    return Bars(
        dates=np.full(_PREFERRED, np.datetime64(session, "D")),
        opens=market.in_cents(opens),
        highs=market.in_cents(np.maximum(opens, closes) + 0.3 * draws[:, 2]),
        lows=market.in_cents(np.minimum(opens, closes) - 0.3 * draws[:, 3]),
        closes=market.in_cents(closes),
        volumes=(1_000 + 50_000 * draws[:, 4]).astype(np.int64),
    )


@functools.lru_cache(maxsize=64)
def _midnights(dates: tuple[date, ...]) -> Whole:
    return np.array([first_moment(day) for day in dates], np.int64)


def _day(at: int) -> date:
    return (
        (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=at))
        .astimezone(NEW_YORK_ZONE)
        .date()
    )


def _ms(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)


_NO_BARS = Bars(
    dates=np.array([], "datetime64[D]"),
    opens=np.array([], np.float64),
    highs=np.array([], np.float64),
    lows=np.array([], np.float64),
    closes=np.array([], np.float64),
    volumes=np.array([], np.int64),
)
