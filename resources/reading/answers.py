"""Turns stored rows into bars: joins hot and cold, adjusts, rolls up, in the reader's columns.

Here: one kind of instruments at a time, without the database. Not here: the database queries
(bars.py), or the arithmetic of factors and of longer bars (marketdata/adjusting.py,
marketdata/bar_aggregation.py).
"""

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from marketdata import adjusting
from marketdata.adjusting import FactorSteps
from marketdata.archiving import ArchivedDataset, Portion
from marketdata.bar_aggregation import aggregate_days, aggregate_minutes
from marketdata.bars import DAY_INTERVALS, PRICES, Adjustment, Interval
from marketdata.calendars import NEW_YORK_ZONE, calendar
from marketdata.datasets import InstrumentKind
from marketdata.factors_as_of import KnownActions, factors_as_of
from marketdata.local_days import local_days
from marketdata.recovery import errors
from marketdata.rows import INSTANT
from resources.reading import cold
from resources.reading.cold import DroppedDays
from resources.reading.missing import DaySpan
from resources.reading.request import MINUTE, BarsRequest
from resources.reading.snapshot import Bounds, Named
from resources.storage.object_store import S3Settings

_BEFORE_ALL = pa.scalar(datetime.min.replace(tzinfo=UTC), INSTANT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """Rows of a dataset, hot and cold.

    Attributes:
        dataset: The dataset.
        hot: Rows in the database, in no order.
        dropped: Days whose rows are in the archive only, and their files.
        answers: Arrival times of answers (ingest_id, fetched_at), from the oldest late row's
            answer on; None without a late row.
        bounds: Of the column that dates the rows.
        provider: Provider of the rows, where a dataset holds those of several side by side.
    """

    dataset: ArchivedDataset
    hot: pa.Table
    dropped: Sequence[DroppedDays]
    answers: pa.Table | None
    bounds: Bounds
    provider: str | None

    @property
    def interval(self) -> str:
        """Interval of the rows themselves."""
        return Interval.DAY if self.dataset.portion is Portion.YEAR else MINUTE

    def between(self, first: date, end: date) -> "Rows":
        """Return the rows from ``first`` to before ``end``, without a new query."""
        day = pc.field(self.dataset.dated_by)
        hot = self.hot.filter((day >= first) & (day < end))
        return replace(self, hot=hot, bounds=(first, end))


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """The data behind the factors of some shares at a moment.

    Attributes:
        days: All their daily bars, as known at the moment.
        actions: The splits and dividends known then, by instrument.
        moment: The moment.
    """

    days: Rows
    actions: Mapping[int, KnownActions]
    moment: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredBars:
    """What the database holds for the instruments of one kind.

    Attributes:
        named: The instruments, in the order of their names.
        bars: Rows of a dataset, or bars of a view (aggregated_bars).
        bounds: Of ``bucket_start``.
        factors: By instrument, if prices are to be adjusted; as of a moment, the data behind them.
        spans: State of the requested days.
    """

    named: Sequence[Named]
    bars: Rows | pa.Table
    bounds: Bounds
    factors: Mapping[int, FactorSteps] | History
    spans: Sequence[DaySpan]


def columns(interval: str) -> pa.Schema:
    """Return the columns of the bars that readers get (see ``read_bars``)."""
    by_day = interval == Interval.DAY or interval in DAY_INTERVALS
    phase = [] if by_day or interval == MINUTE else [pa.field("phase", pa.string())]
    return pa.schema(
        [
            pa.field("ticker", pa.string()),
            pa.field("bucket_start", pa.date32() if by_day else INSTANT),
            *phase,
            *(pa.field(name, pa.float64()) for name in (*PRICES, "volume", "vwap")),
            pa.field("trades", pa.int64()),
            pa.field("source_bars", pa.int32()),
            pa.field("adjustment", pa.string()),
            pa.field("provider", pa.string()),
        ]
    )


def answer(stored: StoredBars, request: BarsRequest, s3: S3Settings) -> pa.Table:
    """Return the requested bars, in ``columns(request.interval)``, sorted.

    Raises:
        StorageConflictError: A share has no factors, or they can no longer be derived.
        StorageError: The archive is needed and cannot be read.
    """
    ids = [instrument.instrument_id for instrument in stored.named]
    if isinstance(stored.bars, Rows):
        bars = _read_and_join(stored.bars, ids, request.as_of, s3)
    else:
        bars = _sort(stored.bars, ids)
    if request.provider is not None:
        bars = bars.filter(pc.field("provider") == request.provider)
    rolls = isinstance(stored.bars, Rows) and request.interval != stored.bars.interval
    # All minutes of a bar have one factor. It is applied after the sums, as in the views, so that
    # both results are equal to the last bit.
    if rolls and not request.by_day:
        bars = _roll_up(bars, Interval(request.interval), stored)
    if request.adjusted:
        bars = _adjust(bars, stored, request.adjusted, s3)
    if rolls and request.by_day:
        bars = _roll_up(bars, Interval(request.interval), stored)
    return _in_columns(bars, stored.named, request.interval)


def _read_and_join(
    rows: Rows, instrument_ids: Sequence[int], as_of: datetime | None, s3: S3Settings
) -> pa.Table:
    """Return hot and cold rows together, sorted, one row per key."""
    dataset, dated_by = rows.dataset, rows.dataset.dated_by
    unread = {"ingest_id"} if rows.answers is None else set[str]()
    schema = pa.schema([field for field in rows.hot.schema if field.name not in unread])
    bars = rows.hot.select(schema.names)
    if rows.dropped:
        row_filter = cold.RowFilter(
            instrument_ids=instrument_ids, bounds=rows.bounds, provider=rows.provider
        )
        archived = cold.read_dropped(s3, dataset, schema, rows.dropped, row_filter)
        bars = pa.concat_tables([bars, archived])
        if as_of is not None:
            bars = bars.filter(pc.field("known_from") <= pa.scalar(as_of, INSTANT))
    bars = bars.rename_columns({dated_by: "bucket_start"})
    if rows.answers is None:
        return _sort(bars, instrument_ids)
    # A late row lies beside the archived one until retention joins them; the later answer counts.
    bars = _sort(_with_fetched_at(bars, rows.answers), instrument_ids)
    bars = bars.filter(pa.array(_last_of_each_key(bars)))
    return bars.drop_columns(["fetched_at", "ingest_id"])


def _sort(bars: pa.Table, instrument_ids: Sequence[int]) -> pa.Table:
    """Sort bars by instrument (in the order given), then by time and the rest of the key.

    ``extended`` comes before ``regular``: in the hour in which a session begins, it is earlier.
    """
    place = pc.index_in(bars["instrument_id"], value_set=pa.array(instrument_ids, pa.int64()))
    if _are_sorted(place, bars["bucket_start"]):
        return bars
    keyed = bars.append_column("place", place)
    keys = ["place", "bucket_start", "phase", "fetched_at", "known_from"]
    order = [(name, "ascending") for name in keys if name in keyed.column_names]
    return keyed.sort_by(order).drop_columns("place")


def _are_sorted(places: pa.ChunkedArray, starts: pa.ChunkedArray) -> bool:
    """Return whether bars are sorted by place and time, without duplicates."""
    place, start = places.to_numpy(), starts.to_numpy()
    later = (place[1:] == place[:-1]) & (start[1:] > start[:-1])
    return bool((later | (place[1:] > place[:-1])).all())


def _with_fetched_at(bars: pa.Table, answers: pa.Table) -> pa.Table:
    """Add each bar's ``fetched_at``; a bar that is not in ``answers`` gets the earliest time."""
    place = pc.index_in(bars["ingest_id"], value_set=answers["ingest_id"])
    fetched_at = answers["fetched_at"].cast(INSTANT).take(place)
    return bars.append_column("fetched_at", fetched_at.fill_null(_BEFORE_ALL))


def _last_of_each_key(bars: pa.Table) -> npt.NDArray[np.bool_]:
    """Mark the last bar of each instrument and time; bars are sorted."""
    last = np.ones(bars.num_rows, np.bool_)
    ids = bars["instrument_id"].to_numpy()
    starts = bars["bucket_start"].to_numpy()
    last[:-1] = (ids[1:] != ids[:-1]) | (starts[1:] != starts[:-1])
    return last


def _adjust(bars: pa.Table, stored: StoredBars, adjustment: Adjustment, s3: S3Settings) -> pa.Table:
    """Multiply bars by their factors.

    Raises:
        StorageConflictError: There are no factors, or prices are adjusted for dividends already.
    """
    bars = _with_adjustment(bars)
    ids = set(pc.unique(bars["instrument_id"]).to_pylist())
    if isinstance(stored.factors, History):
        factors = _factors_then(stored.factors, stored.named, ids, s3)
        missing = "no daily bar of {} was known then to derive factors from: take a later as_of"
    else:
        factors = stored.factors
        missing = "no factors have been derived for {}: load splits and dividends"
    _require_none(
        stored.named,
        ids - set(factors),
        f"{missing}, or read without adjusted",
    )
    reduced = bars.filter(pc.field("adjustment") == Adjustment.SPLITS_AND_DIVIDENDS.value)
    _require_none(
        stored.named,
        set(reduced["instrument_id"].to_pylist()),
        "prices of {} came adjusted for dividends: read without adjusted",
    )
    if pa.types.is_date(bars.schema.field("bucket_start").type):
        days = bars["bucket_start"]
        shares = adjusting.shares_days(days, bars["adjustment"], bars["known_from"])
    else:  # All minutes of a day have its factors.
        days = shares = local_days(bars["bucket_start"], NEW_YORK_ZONE)
    return adjusting.adjusted(bars, factors, adjustment, days=days, shares=shares)


def _factors_then(
    history: History, named: Sequence[Named], instrument_ids: Container[int], s3: S3Settings
) -> dict[int, FactorSteps]:
    """Return the factors of the given shares that had a daily bar at the moment.

    Raises:
        StorageConflictError: The factors of a share cannot be derived.
    """
    tickers = {instrument.instrument_id: instrument.ticker for instrument in named}
    # One chunk: each share's rows are sliced out of it.
    days = _read_and_join(history.days, list(tickers), history.moment, s3).combine_chunks()
    factors: dict[int, FactorSteps] = {}
    for instrument_id, positions in adjusting.runs(days["instrument_id"].to_numpy()):
        if instrument_id not in instrument_ids:
            continue
        own = days.slice(positions.start, positions.stop - positions.start)
        try:
            factors[instrument_id] = factors_as_of(
                history.actions[instrument_id], own, history.moment
            )
        except ValueError as error:
            raise errors.StorageConflictError(f"{tickers[instrument_id]}: {error}") from error
    return factors


def _require_none(named: Sequence[Named], instrument_ids: Container[int], message: str) -> None:
    """Refuse to go on if there are such instruments, and name them in the message."""
    names = [
        instrument.ticker for instrument in named if instrument.instrument_id in instrument_ids
    ]
    if names:
        raise errors.StorageConflictError(message.format(", ".join(names)))


def _roll_up(bars: pa.Table, interval: Interval, stored: StoredBars) -> pa.Table:
    """Aggregate days or minutes to an interval; bars that begin out of bounds are left out."""
    if interval in DAY_INTERVALS:
        days = bars.rename_columns({"bucket_start": "session_date"})
        rolled = aggregate_days(days, interval)
    else:
        minutes = bars.rename_columns({"bucket_start": "opened_at"})
        shares = stored.named[0].kind is InstrumentKind.EQUITY
        rolled = aggregate_minutes(minutes, interval, calendar() if shares else None)
    start, end = stored.bounds
    within = (pc.field("bucket_start") >= start) & (pc.field("bucket_start") < end)
    return _sort(rolled.filter(within), [instrument.instrument_id for instrument in stored.named])


def _with_adjustment(bars: pa.Table) -> pa.Table:
    """Mark minutes, and bars made of minutes, as traded."""
    if "adjustment" in bars.column_names:
        return bars
    as_traded = pa.repeat(Adjustment.AS_TRADED.value, bars.num_rows)
    return bars.append_column("adjustment", as_traded)


def _in_columns(bars: pa.Table, named: Sequence[Named], interval: str) -> pa.Table:
    """Give bars the columns that readers get; a column without a source is null."""
    ids = pa.array([instrument.instrument_id for instrument in named], pa.int64())
    tickers = pa.array([instrument.ticker for instrument in named], pa.string())
    place = pc.index_in(bars["instrument_id"], value_set=ids)
    schema = columns(interval)
    bars_with_ticker = _with_adjustment(bars).append_column("ticker", tickers.take(place))
    return pa.table(
        [
            bars_with_ticker[field.name].cast(field.type)
            if field.name in bars_with_ticker.column_names
            else pa.nulls(bars_with_ticker.num_rows, field.type)
            for field in schema
        ],
        schema=schema,
    )
