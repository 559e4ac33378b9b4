"""What was found becomes bars: hot and cold joined, adjusted, rolled up, in the reader's columns.

Here: one kind of instruments at a time, without the database. Not here: what is looked for
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
    """Rows of a dataset, wherever they lie.

    Attributes:
        dataset: Which one.
        hot: What the database holds, in no order.
        dropped: Where the others are.
        answers: When answers came that late rows and archived ones may be of (ingest_id,
            fetched_at), those before the oldest late row's left out; None without a late row.
        bounds: Of the column that dates the rows.
        provider: Whose they are, where those of several stand side by side.
    """

    dataset: ArchivedDataset
    hot: pa.Table
    dropped: Sequence[DroppedDays]
    answers: pa.Table | None
    bounds: Bounds
    provider: str | None

    @property
    def interval(self) -> str:
        """How long the rows themselves are."""
        return Interval.DAY if self.dataset.portion is Portion.YEAR else MINUTE

    def between(self, first: date, end: date) -> "Rows":
        """Return those of fewer days, ``end`` excluded, without asking anew."""
        day = pc.field(self.dataset.dated_by)
        wanted = self.hot.filter((day >= first) & (day < end))
        return replace(self, hot=wanted, bounds=(first, end))


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """What factors of some shares were made of at a moment.

    Attributes:
        days: All their daily bars of then.
        actions: What was known of splits and dividends, by instrument.
        moment: That moment.
    """

    days: Rows
    actions: Mapping[int, KnownActions]
    moment: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What the database told of the instruments of one kind.

    Attributes:
        named: The instruments, in the order of their names.
        bars: Rows of a dataset, or bars of a view (aggregated_bars).
        bounds: Of ``bucket_start``.
        factors: By instrument, where prices are to be adjusted; as of a moment what makes them.
        spans: What is known of the days that are asked for.
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


def answer(found: Found, wish: BarsRequest, s3: S3Settings) -> pa.Table:
    """Return the bars that were wished for, in ``columns(wish.interval)``, sorted.

    Raises:
        StorageConflictError: A share has no factors, or they cannot be told any more.
        StorageError: The archive is needed and cannot be read.
    """
    ids = [one.instrument_id for one in found.named]
    if isinstance(found.bars, Rows):
        bars = _joined(found.bars, ids, wish.as_of, s3)
    else:
        bars = _sorted(found.bars, ids)
    if wish.provider is not None:
        bars = bars.filter(pc.field("provider") == wish.provider)
    rolls = isinstance(found.bars, Rows) and wish.interval != found.bars.interval
    # Minutes of one bar have one factor: it comes after the sums, as in the views, to the last bit.
    if rolls and not wish.by_day:
        bars = _rolled_up(bars, Interval(wish.interval), found)
    if wish.adjusted:
        bars = _adjusted(bars, found, wish.adjusted, s3)
    if rolls and wish.by_day:
        bars = _rolled_up(bars, Interval(wish.interval), found)
    return _in_columns(bars, found.named, wish.interval)


def _joined(
    rows: Rows, instrument_ids: Sequence[int], as_of: datetime | None, s3: S3Settings
) -> pa.Table:
    """Return hot and cold rows together, one a key, sorted."""
    dataset, dated_by = rows.dataset, rows.dataset.dated_by
    unread = {"ingest_id"} if rows.answers is None else set[str]()
    schema = pa.schema([field for field in rows.hot.schema if field.name not in unread])
    bars = rows.hot.select(schema.names)
    if rows.dropped:
        which = cold.Wanted(
            instrument_ids=instrument_ids, bounds=rows.bounds, provider=rows.provider
        )
        archived = cold.read_dropped(s3, dataset, schema, rows.dropped, which)
        bars = pa.concat_tables([bars, archived])
        if as_of is not None:
            bars = bars.filter(pc.field("known_from") <= pa.scalar(as_of, INSTANT))
    bars = bars.rename_columns({dated_by: "bucket_start"})
    if rows.answers is None:
        return _sorted(bars, instrument_ids)
    # A late row stands beside the archived one until retention joins them: the later answer counts.
    bars = _sorted(_with_fetched_at(bars, rows.answers), instrument_ids)
    bars = bars.filter(pa.array(_last_of_each_key(bars)))
    return bars.drop_columns(["fetched_at", "ingest_id"])


def _sorted(bars: pa.Table, instrument_ids: Sequence[int]) -> pa.Table:
    """Sort bars by instrument, in the order given, by time, and by what else tells them apart.

    ``extended`` comes before ``regular``: of the hour in which a session begins that is earlier.
    """
    place = pc.index_in(bars["instrument_id"], value_set=pa.array(instrument_ids, pa.int64()))
    if _are_sorted(place, bars["bucket_start"]):
        return bars
    keyed = bars.append_column("place", place)
    keys = ["place", "bucket_start", "phase", "fetched_at", "known_from"]
    order = [(name, "ascending") for name in keys if name in keyed.column_names]
    return keyed.sort_by(order).drop_columns("place")


def _are_sorted(places: pa.ChunkedArray, starts: pa.ChunkedArray) -> bool:
    """Tell whether bars are sorted by place and time, and no two are of one of both."""
    place, start = places.to_numpy(), starts.to_numpy()
    later = (place[1:] == place[:-1]) & (start[1:] > start[:-1])
    return bool((later | (place[1:] > place[:-1])).all())


def _with_fetched_at(bars: pa.Table, answers: pa.Table) -> pa.Table:
    """Say of each bar when its answer came; before all others if ``answers`` leave it out."""
    place = pc.index_in(bars["ingest_id"], value_set=answers["ingest_id"])
    fetched_at = answers["fetched_at"].cast(INSTANT).take(place)
    return bars.append_column("fetched_at", fetched_at.fill_null(_BEFORE_ALL))


def _last_of_each_key(bars: pa.Table) -> npt.NDArray[np.bool_]:
    """Tell of sorted bars which one is the last of its instrument and time."""
    last = np.ones(bars.num_rows, np.bool_)
    ids = bars["instrument_id"].to_numpy()
    starts = bars["bucket_start"].to_numpy()
    last[:-1] = (ids[1:] != ids[:-1]) | (starts[1:] != starts[:-1])
    return last


def _adjusted(bars: pa.Table, found: Found, adjustment: Adjustment, s3: S3Settings) -> pa.Table:
    """Multiply bars by their factors.

    Raises:
        StorageConflictError: There are none, or prices came without dividends already.
    """
    bars = _with_adjustment(bars)
    ids = set(pc.unique(bars["instrument_id"]).to_pylist())
    if isinstance(found.factors, History):
        factors = _factors_then(found.factors, found.named, ids, s3)
        missing = "no daily bar of {} was known then, of which factors are made"
    else:
        factors = found.factors
        missing = "no factors have been derived for {}: load splits and dividends"
    _require_none(
        found.named,
        ids - set(factors),
        f"{missing}, or read without adjusted",
    )
    reduced = bars.filter(pc.field("adjustment") == Adjustment.SPLITS_AND_DIVIDENDS.value)
    _require_none(
        found.named,
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
    history: History, named: Sequence[Named], wanted: Container[int], s3: S3Settings
) -> dict[int, FactorSteps]:
    """Return the factors of the shares that are wanted and of which a daily bar was known.

    Raises:
        StorageConflictError: Those of a share cannot be told.
    """
    tickers = {one.instrument_id: one.ticker for one in named}
    # In one piece: rows are taken out of it once for each share.
    days = _joined(history.days, list(tickers), history.moment, s3).combine_chunks()
    found: dict[int, FactorSteps] = {}
    for one, rows in adjusting.runs(days["instrument_id"].to_numpy()):
        if one not in wanted:
            continue
        own = days.slice(rows.start, rows.stop - rows.start)
        try:
            found[one] = factors_as_of(history.actions[one], own, history.moment)
        except ValueError as error:
            raise errors.StorageConflictError(f"{tickers[one]}: {error}") from error
    return found


def _require_none(named: Sequence[Named], instrument_ids: Container[int], message: str) -> None:
    """Refuse to go on if there are such instruments; their names stand in the message."""
    names = [one.ticker for one in named if one.instrument_id in instrument_ids]
    if names:
        raise errors.StorageConflictError(message.format(", ".join(names)))


def _rolled_up(bars: pa.Table, interval: Interval, found: Found) -> pa.Table:
    """Make the bars of an interval from days or minutes; those that begin outside are left out."""
    if interval in DAY_INTERVALS:
        days = bars.rename_columns({"bucket_start": "session_date"})
        rolled = aggregate_days(days, interval)
    else:
        minutes = bars.rename_columns({"bucket_start": "opened_at"})
        shares = found.named[0].kind is InstrumentKind.EQUITY
        rolled = aggregate_minutes(minutes, interval, calendar() if shares else None)
    start, end = found.bounds
    within = (pc.field("bucket_start") >= start) & (pc.field("bucket_start") < end)
    return _sorted(rolled.filter(within), [one.instrument_id for one in found.named])


def _with_adjustment(bars: pa.Table) -> pa.Table:
    """Say of minutes, and of what is made of them, that they are as traded."""
    if "adjustment" in bars.column_names:
        return bars
    as_traded = pa.repeat(Adjustment.AS_TRADED.value, bars.num_rows)
    return bars.append_column("adjustment", as_traded)


def _in_columns(bars: pa.Table, named: Sequence[Named], interval: str) -> pa.Table:
    """Give bars the columns that readers get; what nobody tells is null."""
    ids = pa.array([one.instrument_id for one in named], pa.int64())
    tickers = pa.array([one.ticker for one in named], pa.string())
    place = pc.index_in(bars["instrument_id"], value_set=ids)
    schema = columns(interval)
    given = _with_adjustment(bars).append_column("ticker", tickers.take(place))
    return pa.table(
        [
            given[field.name].cast(field.type)
            if field.name in given.column_names
            else pa.nulls(given.num_rows, field.type)
            for field in schema
        ],
        schema=schema,
    )
