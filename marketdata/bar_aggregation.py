"""Bars of coarser intervals, computed in memory from given source bars.

Here: aggregates for adjusted reads and reads as of a moment. Tests also compare the database's
aggregates with them, to the last bit: the two share only their contract. Not here: aggregates in
the database (resources/storage), or reading source bars.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from marketdata.bars import PRICES, Interval, Phase, aggregated_bars
from marketdata.calendars import SessionCalendar

Array = npt.NDArray[Any]
Columns = Mapping[str, Array]

_MINUTE = 60_000_000
"""Times are microseconds since 1970, days are days since 1970."""
_DAY = 1440 * _MINUTE
_WIDTHS = {
    Interval.FIVE_MINUTES: 5 * _MINUTE,
    Interval.QUARTER_HOUR: 15 * _MINUTE,
    Interval.HOUR: 60 * _MINUTE,
}
_MONTHS = {Interval.MONTH: 1, Interval.QUARTER: 3, Interval.YEAR: 12}
_FROM_MINUTES = {
    Interval.FIVE_MINUTES: (Interval.FIVE_MINUTES,),
    Interval.QUARTER_HOUR: (Interval.FIVE_MINUTES, Interval.QUARTER_HOUR),
    Interval.HOUR: (Interval.FIVE_MINUTES, Interval.QUARTER_HOUR, Interval.HOUR),
    Interval.DAY: (Interval.FIVE_MINUTES, Interval.QUARTER_HOUR, Interval.DAY),
}
"""The intermediate intervals of each: the last digit of a sum depends on them."""
_FROM_DAYS = {
    Interval.WEEK: (Interval.WEEK,),
    Interval.MONTH: (Interval.MONTH,),
    Interval.QUARTER: (Interval.MONTH, Interval.QUARTER),
    Interval.YEAR: (Interval.MONTH, Interval.QUARTER, Interval.YEAR),
}
_UNLIKE = -1
"""Stands for the adjustment where those of the days differ."""


def aggregate_minutes(
    bars: pa.Table, interval: Interval, sessions: SessionCalendar | None
) -> pa.Table:
    """Aggregate minute bars to 5m, 15m, 1h or 1d.

    Args:
        bars: ``instrument_id``, ``provider``, ``opened_at`` (UTC), prices, ``volume``, ``vwap``
            and ``trades``, in any order; one row a minute. Other columns are ignored.
        interval: Length of the buckets.
        sessions: Calendar of the exchange; None for pairs, which trade around the clock.

    Returns:
        ``aggregated_bars(interval)``, sorted by instrument, provider and time.

    Raises:
        KeyError: The interval is not made of minutes.
    """
    steps = _FROM_MINUTES[interval]
    volume, providers = _floats(bars["volume"]), bars["provider"].unique().sort()
    rolled: dict[str, Array] = {
        "instrument_id": bars["instrument_id"].to_numpy(),
        "provider": _codes(bars["provider"], providers),
        "at": bars["opened_at"].cast(pa.timestamp("us", tz="UTC")).cast(pa.int64()).to_numpy(),
        "phase": np.zeros(bars.num_rows, np.int64),
        **{name: _floats(bars[name]) for name in PRICES},
        "volume": volume,
        # An unknown vwap is NaN, and so is every sum that it is part of.
        "turnover": np.where(volume > 0, _floats(bars["vwap"]) * volume, 0.0),
        "trades": bars["trades"].fill_null(0).to_numpy(),
        "trades_missing": bars["trades"].is_null().to_numpy().astype(np.int64),
        "source_bars": np.ones(bars.num_rows, np.int64),
    }
    hours = _hours(sessions) if sessions is not None else None
    for step in steps:
        if step is Interval.DAY:
            regular = rolled["phase"] == 1
            rolled = {name: column[regular] for name, column in rolled.items()}
            rolled = _grouped(rolled, _day_of(rolled["at"], hours))
        else:
            rolled = _grouped(rolled, rolled["at"] - rolled["at"] % _WIDTHS[step])
        if step is Interval.FIVE_MINUTES:
            rolled["phase"] = _is_regular(rolled["at"], hours)
    return _table(
        rolled,
        interval,
        provider=providers.take(pa.array(rolled["provider"])),
        phase=pa.array(np.where(rolled["phase"] == 1, Phase.REGULAR.value, Phase.EXTENDED.value)),
        vwap=_ratio(rolled["turnover"], rolled["volume"]),
        trades=pa.array(rolled["trades"], mask=rolled["trades_missing"] > 0),
    )


def aggregate_days(bars: pa.Table, interval: Interval) -> pa.Table:
    """Aggregate daily bars to 1w, 1mo, 1q or 1y.

    Args:
        bars: ``instrument_id``, ``session_date``, prices, ``volume`` and ``adjustment``, in any
            order; one row a day. Other columns are ignored.
        interval: Length of the buckets.

    Returns:
        ``aggregated_bars(interval)``, sorted by instrument and time.

    Raises:
        KeyError: The interval is not made of days.
    """
    steps = _FROM_DAYS[interval]
    adjustments = bars["adjustment"].unique().sort()
    rolled: dict[str, Array] = {
        "instrument_id": bars["instrument_id"].to_numpy(),
        "at": bars["session_date"].cast(pa.int32()).to_numpy().astype(np.int64),
        **{name: _floats(bars[name]) for name in PRICES},
        "volume": _floats(bars["volume"]),
        "adjustment": _codes(bars["adjustment"], adjustments),
        "source_bars": np.ones(bars.num_rows, np.int64),
    }
    for step in steps:
        rolled = _grouped(rolled, _first_day(rolled["at"], step))
    alike = rolled["adjustment"] != _UNLIKE
    return _table(
        rolled,
        interval,
        vwap=pa.nulls(len(alike), pa.float64()),
        adjustment=adjustments.take(pa.array(rolled["adjustment"], mask=~alike)),
    )


def _table(rolled: Columns, interval: Interval, **named: pa.Array) -> pa.Table:
    """Build the table of the schema: columns from ``named``, the others from ``rolled``."""
    schema = aggregated_bars(interval)
    start = schema.field("bucket_start").type
    at = pa.array(rolled["at"])
    named["bucket_start"] = (at.cast(pa.int32()) if start == pa.date32() else at).cast(start)
    arrays = [named[name] if name in named else pa.array(rolled[name]) for name in schema.names]
    return pa.table(
        [array.cast(field.type) for array, field in zip(arrays, schema, strict=True)],
        schema=schema,
    )


def _grouped(bars: Columns, buckets: Array) -> dict[str, Array]:
    """Merge all bars of an instrument, provider, phase and bucket; sorted, ``at`` is the bucket."""
    keys = [name for name in ("instrument_id", "provider") if name in bars]
    by = [bars[name] for name in keys] + [buckets] + ([bars["phase"]] if "phase" in bars else [])
    order = np.lexsort((bars["at"], *reversed(by)))
    ordered = [column[order] for column in by]
    is_new = np.ones(len(order), np.bool_)
    for position, column in enumerate(ordered):
        changes = column[1:] != column[:-1]
        is_new[1:] = changes if position == 0 else is_new[1:] | changes
    starts = np.flatnonzero(is_new)
    groups = np.diff(starts, append=len(order))
    rolled: dict[str, Array] = {"at": buckets[order][starts]}
    for name, column in bars.items():
        if name != "at":
            rolled[name] = _RULES.get(name, _first)(column[order], starts, groups)
    return rolled


def _first(column: Array, starts: Array, _: Array) -> Array:
    return column[starts]


def _last(column: Array, starts: Array, sizes: Array) -> Array:
    return column[starts + sizes - 1]


def _greatest(column: Array, starts: Array, _: Array) -> Array:
    return np.maximum.reduceat(column, starts) if len(starts) else column


def _least(column: Array, starts: Array, _: Array) -> Array:
    return np.minimum.reduceat(column, starts) if len(starts) else column


def _sum(column: Array, starts: Array, sizes: Array) -> Array:
    """Add values one after the other, as Postgres does: numpy adds them in pairs."""
    total = column[starts]
    for place in range(1, sizes.max(initial=0)):
        longer = sizes > place
        total[longer] += column[starts[longer] + place]
    return total


def _one_alike(column: Array, starts: Array, sizes: Array) -> Array:
    least, greatest = _least(column, starts, sizes), _greatest(column, starts, sizes)
    return np.where(least == greatest, least, _UNLIKE)


_RULES: Mapping[str, Callable[[Array, Array, Array], Array]] = {
    "open": _first,
    "high": _greatest,
    "low": _least,
    "close": _last,
    "volume": _sum,
    "turnover": _sum,
    "trades": _sum,
    "trades_missing": _sum,
    "source_bars": _sum,
    "adjustment": _one_alike,
}
"""How values of several bars become one; other columns are equal in all of them."""


def _hours(sessions: SessionCalendar) -> tuple[Array, Array, Array]:
    """Return the opens, closes and days of all sessions."""
    dates = sessions.sessions(sessions.first, sessions.last)
    opens = np.array([sessions.open_at(day).timestamp() for day in dates], np.int64) * 1_000_000
    closes = np.array([sessions.close_at(day).timestamp() for day in dates], np.int64) * 1_000_000
    return opens, closes, np.array(dates, "datetime64[D]").astype(np.int64)


def _is_regular(at: Array, hours: tuple[Array, Array, Array] | None) -> Array:
    if hours is None:
        return np.ones(len(at), np.int64)
    session = np.searchsorted(hours[0], at, side="right") - 1
    return ((session >= 0) & (at < hours[1][session])).astype(np.int64)


def _day_of(at: Array, hours: tuple[Array, Array, Array] | None) -> Array:
    """Return the session's day of each time, or without ``hours`` its UTC day."""
    if hours is None:
        return at // _DAY
    return hours[2][np.searchsorted(hours[0], at, side="right") - 1]


def _first_day(days: Array, interval: Interval) -> Array:
    if interval is Interval.WEEK:
        # 1970-01-01 was a Thursday.
        return days - (days + 3) % 7
    months = days.astype("datetime64[D]").astype("datetime64[M]").astype(np.int64)
    first = months - months % _MONTHS[interval]
    return first.astype("datetime64[M]").astype("datetime64[D]").astype(np.int64)


def _ratio(turnover: Array, volume: Array) -> pa.Array:
    is_known = ~np.isnan(turnover) & (volume > 0)
    return pa.array(
        np.divide(turnover, volume, out=np.zeros_like(turnover), where=is_known), mask=~is_known
    )


def _floats(column: pa.ChunkedArray) -> Array:
    return column.cast(pa.float64()).to_numpy()


def _codes(column: pa.ChunkedArray, values: pa.Array) -> Array:
    return pc.index_in(column, values).to_numpy().astype(np.int64)
