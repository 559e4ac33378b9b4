"""One read over hot and cold: bars of any interval, wherever their rows lie.

Here: the function for users, where the bars of an interval come from, and what the database is
asked for them. Not here: rules of the wish (request.py), SQL (snapshot.py), files (cold.py), or how
rows become bars (answers.py).
"""

import importlib
import importlib.util
import warnings
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc

from marketdata.adjusting import FactorSteps
from marketdata.archiving import ARCHIVED, ArchivedDataset
from marketdata.bars import DAY_INTERVALS, MINUTE_INTERVALS, Interval
from marketdata.batches import DAILY_BARS_DATASET
from marketdata.buckets import WIDTHS, bucket_of_day, bucket_of_moment, next_bucket_of_days
from marketdata.calendars import HISTORY_START, NEW_YORK_ZONE
from marketdata.crypto_pairs import crypto_pairs
from marketdata.datasets import DATASETS, InstrumentKind
from marketdata.recovery import errors
from resources import opening
from resources.reading import cold
from resources.reading.answers import Found, History, Rows, answer
from resources.reading.cold import DroppedDays
from resources.reading.missing import (
    DaySpan,
    MissingBarsWarning,
    day_spans,
    sentences,
    table,
)
from resources.reading.request import AFTER_ALL, BEFORE_ALL, MINUTE, BarsRequest, When, request
from resources.reading.snapshot import Named, Snapshot, snapshot
from resources.settings import StoreSettings, provider_of, read_store_settings

FRAMES = ("arrow", "pandas", "polars")
MISSING = ("warn", "raise", "ignore")
_INSTANT = timedelta(microseconds=1)

_MINUTES_OF = {InstrumentKind.EQUITY: "minute_bars", InstrumentKind.PAIR: "crypto_bars"}
"""The dataset that holds the minutes of a kind of instruments."""

_ZONE_OF = {InstrumentKind.EQUITY: NEW_YORK_ZONE, InstrumentKind.PAIR: UTC}
"""Whose days a wish in days means."""


def read_bars(
    tickers: str | Sequence[str],
    start: When | None = None,
    end: When | None = None,
    interval: str = "1d",
    adjusted: str | None = None,
    as_of: datetime | str | None = None,
    provider: str | None = None,
    *,
    to: Literal["arrow", "pandas", "polars"] = "arrow",
    missing: Literal["warn", "raise", "ignore"] = "warn",
    settings: StoreSettings | None = None,
) -> Any:
    """Read bars, from the database and the archive alike.

    Args:
        tickers: One or many, shares (``AAPL``) and pairs (``BTC-USD``). A name means whoever
            carried it last by ``end``, with all its history.
        start: The first bar begins on this day or at this moment (aware); None: with the oldest.
        end: The last bar begins on this day (included) or before this moment (aware); None: today.
            Days are New York's for shares and UTC's for pairs. ISO 8601 text will do for both.
        interval: ``1m``, ``5m``, ``15m``, ``1h``, ``1d``, ``1w``, ``1mo``, ``1q`` or ``1y``.
            Weeks and more are of shares only. Bars that are made of others are as fresh as the last
            refresh of the aggregates, unless they are ``as_of`` or (weeks and more) adjusted.
        adjusted: None: as stored (see ``adjustment``). ``splits``, or ``splits_and_dividends``.
        as_of: What was known at this moment (aware) instead of now; adjusted, that means bars,
            splits, dividends and confirmations of then, whatever was learnt of them later.
        provider: Whose minutes; None: whoever the configuration names for the dataset, or of a
            pair that this venue does not offer, the one that does. Daily bars are of whoever
            served them, unless one is named.
        to: A pyarrow Table, a Polars DataFrame (if Polars is installed), or a pandas DataFrame
            whose index (a DatetimeIndex) is ``bucket_start``.
        missing: What to do where bars should be there that are not (see ``coverage``): ``warn`` by
            a MissingBarsWarning, ``raise`` a MissingBarsError, or ``ignore``.
        settings: Where the data are; None: where the environment says.

    Returns:
        One row a bar, sorted by ``ticker``, ``bucket_start`` and ``phase``. Columns: ``ticker``,
        ``bucket_start`` (a day, or for bars shorter than a day the first moment in UTC), ``open``,
        ``high``, ``low``, ``close``, ``volume`` (in shares, or in the base currency), ``vwap`` and
        ``trades`` (null where nobody tells), ``source_bars`` (how many minutes or days a bar is
        made of; null for those that came as they are), ``adjustment`` (null where those of its
        days differ) and ``provider`` (null for bars that are made of days). Bars of 5m to 1h have
        ``phase`` behind ``bucket_start``: the hour in which a session begins is two rows.

    Raises:
        ArgumentError: The wish cannot be served, and what can.
        ConfigurationError: Without ``settings``: the environment lacks a variable.
        StorageUnavailableError: The database, or the bucket where it is needed, cannot be reached.
        StorageConflictError: One of the two refuses, or a share has no factors, or whether a
            split counted at ``as_of`` is not known any more.
        ArchiveMismatchError: The archive lacks files that its proofs name.
        MissingBarsError: Some of the bars are not here, and ``missing`` is ``raise``.

    Examples:
        >>> from wrdata import read_bars
        >>> bars = read_bars(["AAPL", "MSFT"], "2026-01-02", adjusted="splits", to="pandas")
        >>> closes = bars.pivot(columns="ticker", values="close")  # a column for each ticker
        >>> closes.pct_change().loc["2026-03"]
        >>> read_bars("BTC-USD", "2026-11-20T12:00:00Z", interval="1h")  # a pyarrow Table
    """
    _require_frame(to)
    if missing not in MISSING:
        message = f"missing={missing!r} is not known: take one of {', '.join(MISSING)}"
        raise errors.ArgumentError(message)
    wish = request(tickers, start, end, interval, adjusted, as_of, provider)
    where = settings or read_store_settings()
    found = _asked(where.database_url.get_secret_value(), wish)
    spans = [span for one in found for span in one.spans]
    if missing != "ignore" and any(span.is_missing for span in spans):
        if missing == "raise":
            raise errors.MissingBarsError(sentences(spans))
        warnings.warn(MissingBarsWarning(spans), stacklevel=2)
    s3 = opening.s3_settings(where)
    bars = pa.concat_tables([answer(one, wish, s3) for one in found])
    if len(found) > 1:  # Shares and pairs, or pairs of several venues.
        order = ("ticker", "bucket_start", "phase")
        bars = bars.sort_by([(one, "ascending") for one in order if one in bars.column_names])
    return _in_frame(bars, to)


def coverage(
    tickers: str | Sequence[str],
    start: When | None = None,
    end: When | None = None,
    interval: str = "1d",
    provider: str | None = None,
    *,
    to: Literal["arrow", "pandas", "polars"] = "arrow",
    settings: StoreSettings | None = None,
) -> Any:
    """Say which days ``read_bars`` has bars of, which it lacks, and why.

    Args:
        tickers: As of ``read_bars``, and so are the others that it has too.
        start: The first day; None: where the history kept here begins.
        end: The last day; None: the last one that is over.
        interval: Bars of less than a day, and those of pairs, are made of minutes.
        provider: What this one was asked; None: for daily bars whoever was, for minutes whoever
            the configuration names.
        to: A pyarrow Table, a pandas DataFrame or a Polars DataFrame (if Polars is installed).
        settings: Where the data are; None: where the environment says.

    Returns:
        One row for neighbouring days in one state, sorted by ticker and day: ``ticker``,
        ``dataset``, ``first_day`` and ``last_day`` (both included), ``days`` (sessions of a share,
        days of UTC of a pair) and ``state``: ``held``; ``not_listed``, which is before a known day
        of listing; ``provider_empty``, ``quarantined`` (refused), ``failed`` or
        ``never_asked_for``, which are missing; ``before_history``, which nobody keeps here.

    Raises:
        ArgumentError: The wish cannot be served, and what can.
        StorageUnavailableError: The database cannot be reached.
    """
    _require_frame(to)
    wish = request(tickers, start or HISTORY_START, end, interval, None, None, provider)
    where = settings or read_store_settings()
    with snapshot(where.database_url.get_secret_value(), days=False, minutes=False) as at:
        named = _together(at, wish)
        spans = [
            span
            for (kind, venue), members in named.items()
            for span in _spans(at, wish, kind, members, venue)
        ]
    spans.sort(key=lambda span: (span.ticker, span.first_day))
    return _in_frame(table(spans), to)


def _require_frame(to: str) -> None:
    """Refuse before a long read what could not be handed out after it."""
    if to not in FRAMES:
        message = f"to={to!r} is not known: take one of {', '.join(FRAMES)}"
        raise errors.ArgumentError(message)
    if to == "polars" and importlib.util.find_spec("polars") is None:
        message = "Polars is not installed: pip install polars, or take to='arrow'"
        raise errors.ConfigurationError(message)


def _in_frame(rows: pa.Table, to: str) -> Any:
    if to == "pandas":
        frame = rows.to_pandas(date_as_object=False)
        # Bars have a time of their own; spans of days have two.
        return frame.set_index("bucket_start") if "bucket_start" in frame else frame
    return importlib.import_module("polars").from_arrow(rows) if to == "polars" else rows


def _asked(url: str, wish: BarsRequest) -> list[Found]:
    """Ask the database all that has to be known, as of one moment."""
    remade = wish.interval in DAY_INTERVALS and (wish.as_of or wish.adjusted)
    with snapshot(
        url,
        days=wish.interval == Interval.DAY or bool(remade or (wish.as_of and wish.adjusted)),
        minutes=wish.interval == MINUTE or bool(wish.as_of and wish.interval in MINUTE_INTERVALS),
    ) as at:
        return [
            _found(at, wish, kind, members, venue)
            for (kind, venue), members in _together(at, wish).items()
        ]


def _together(
    at: Snapshot, wish: BarsRequest
) -> Mapping[tuple[InstrumentKind, str | None], Sequence[Named]]:
    """Return the instruments of a wish by kind, and pairs by venue: each is asked for at once."""
    named = at.carriers(wish.tickers, wish.days()[1])
    _require_possible(wish, [one.ticker for one in named if one.kind is InstrumentKind.PAIR])
    together: dict[tuple[InstrumentKind, str | None], list[Named]] = {}
    for one in named:
        venue = _venue(wish, one.ticker) if one.kind is InstrumentKind.PAIR else None
        together.setdefault((one.kind, venue), []).append(one)
    return together


def _spans(
    at: Snapshot, wish: BarsRequest, kind: InstrumentKind, named: Sequence[Named], venue: str | None
) -> list[DaySpan]:
    """Return what is known of the days of instruments of one kind, and of pairs of one venue."""
    ids = [one.instrument_id for one in named]
    if not _of_minutes(wish, kind):
        _provider(wish, DAILY_BARS_DATASET)
        known = at.coverage(DAILY_BARS_DATASET, ids, wish.provider)
        return day_spans(wish, DAILY_BARS_DATASET, named, known)
    dataset = _MINUTES_OF[kind]
    known = at.coverage(dataset, ids, venue or _provider(wish, dataset))
    return day_spans(wish, dataset, named, known)


def _of_minutes(wish: BarsRequest, kind: InstrumentKind) -> bool:
    """Tell whether the bars of a wish are minutes, or made of them."""
    if wish.interval == Interval.DAY:
        return kind is not InstrumentKind.EQUITY
    return wish.interval == MINUTE or wish.interval in MINUTE_INTERVALS


def _require_possible(wish: BarsRequest, pairs: Sequence[str]) -> None:
    """Refuse what shares have and pairs have not."""
    if pairs and wish.interval in DAY_INTERVALS:
        message = f"{pairs[0]} is a pair, and has bars of 1m to 1d: not of {wish.interval}"
        raise errors.ArgumentError(message)
    if pairs and wish.adjusted:
        message = f"{pairs[0]} is a pair, whose prices nothing adjusts: leave out adjusted"
        raise errors.ArgumentError(message)


def _venue(wish: BarsRequest, pair: str) -> str:
    """Return whose bars of a pair are wanted: the configured venue's, if it offers the pair.

    Raises:
        ArgumentError: The venue that is named does not.
    """
    venue = _provider(wish, _MINUTES_OF[InstrumentKind.PAIR])
    offering = next((list(one.spellings) for one in crypto_pairs() if one.pair == pair), [venue])
    if venue in offering:
        return venue
    if wish.provider is not None:
        message = f"{venue} does not offer {pair}: leave out provider, or take {offering[0]}"
        raise errors.ArgumentError(message)
    return offering[0]


def _found(
    at: Snapshot, wish: BarsRequest, kind: InstrumentKind, named: Sequence[Named], venue: str | None
) -> Found:
    """Ask for the bars of instruments of one kind, and of pairs those of one venue.

    Days of shares and minutes of all are rows of a dataset. Everything else is kept in views,
    except for what a view cannot tell: what was known once, and adjusted weeks and more, whose
    days may be in the archive only.
    """
    ids = [one.instrument_id for one in named]
    bounds = wish.bounds(_ZONE_OF[kind])
    factors = _factors(at, wish, ids)
    if _of_minutes(wish, kind):
        dataset = _MINUTES_OF[kind]
        provider = venue or _provider(wish, dataset)
        if wish.interval == MINUTE or wish.as_of:
            bars = _minutes(at, wish, dataset, ids, provider)
        else:
            bars = at.aggregates(Interval(wish.interval), ids, bounds, provider)
    elif wish.interval == Interval.DAY or wish.as_of or wish.adjusted:
        bars = _days(at, wish, ids, factors)
    else:
        bars = at.aggregates(Interval(wish.interval), ids, bounds, "")
    spans = _spans(at, wish, kind, named, venue)
    return Found(named=named, bars=bars, bounds=bounds, factors=factors, spans=spans)


def _factors(
    at: Snapshot, wish: BarsRequest, ids: Sequence[int]
) -> Mapping[int, FactorSteps] | History:
    """Ask for the factors of now, or for what those of a moment were made of."""
    if not wish.adjusted:
        return {}
    if wish.as_of is None:
        return at.factors(ids)
    return History(
        days=_rows_of_days(at, ids, (BEFORE_ALL, AFTER_ALL), wish),
        actions=at.actions(ids, wish.as_of),
        moment=wish.as_of,
    )


def _days(
    at: Snapshot,
    wish: BarsRequest,
    ids: Sequence[int],
    factors: Mapping[int, FactorSteps] | History,
) -> Rows:
    """Return daily bars, those that the last bar of the wish is made of included."""
    first, last = wish.days()
    end = last + timedelta(days=1)
    if wish.interval != Interval.DAY:
        interval = Interval(wish.interval)
        end = next_bucket_of_days(interval, bucket_of_day(interval, last))
    _provider(wish, DAILY_BARS_DATASET)
    if isinstance(factors, History):
        return factors.days.between(first, end)
    return _rows_of_days(at, ids, (first, end), wish)


def _rows_of_days(
    at: Snapshot, ids: Sequence[int], bounds: tuple[date, date], wish: BarsRequest
) -> Rows:
    first, end = bounds
    dataset = ARCHIVED[DAILY_BARS_DATASET]
    dropped = at.dropped(dataset.name, first, end - timedelta(days=1))
    # Factors count from the day on which a bar came.
    origin = {"known_from"} if wish.adjusted else set[str]()
    hot = at.days(ids, bounds, wish.as_of, _hot_schema(dataset, dropped, origin))
    answers = _answers(at, dataset, hot, dropped)
    return Rows(
        dataset=dataset, hot=hot, dropped=dropped, answers=answers, bounds=bounds, provider=None
    )


def _minutes(
    at: Snapshot, wish: BarsRequest, dataset: str, ids: Sequence[int], provider: str
) -> Rows:
    """Ask for minutes, those that the last bar of the wish is made of included."""
    archived = ARCHIVED[dataset]
    start, end = wish.moments(_ZONE_OF[archived.kind])
    if wish.interval != MINUTE:
        interval = Interval(wish.interval)
        end = bucket_of_moment(interval, end - _INSTANT) + WIDTHS[interval]
    dropped = at.dropped(dataset, start.date(), (end - _INSTANT).date())
    schema = _hot_schema(archived, dropped, set())
    hot = at.minutes(ids, (start, end), provider, wish.as_of, schema)
    return Rows(
        dataset=archived,
        hot=hot,
        dropped=dropped,
        answers=_answers(at, archived, hot, dropped),
        bounds=(start, end),
        provider=provider,
    )


def _hot_schema(
    dataset: ArchivedDataset, dropped: Sequence[DroppedDays], origin: Collection[str]
) -> pa.Schema:
    """Return the columns that are read of hot rows: what they came by only where it is needed.

    Where some days are in the archive only, hot rows may be late ones of these.
    """
    unread = {"ticker"} if dropped else {"ticker", "ingest_id", "known_from"} - set(origin)
    return pa.schema([field for field in dataset.schema if field.name not in unread])


def _answers(
    at: Snapshot, dataset: ArchivedDataset, hot: pa.Table, dropped: Sequence[DroppedDays]
) -> pa.Table | None:
    """Ask for what tells a late row's answer from that of the archived one, if any row is late."""
    if not dropped:
        return None
    late = hot.filter(cold.are_dropped(dataset, hot.schema, dropped))
    if not late.num_rows:
        return None
    return at.answers(dataset.name, pc.unique(late["ingest_id"]).to_pylist())


def _provider(wish: BarsRequest, dataset: str) -> str:
    """Return whose bars of a dataset are wanted.

    Raises:
        ArgumentError: The provider that is named does not serve the dataset.
    """
    serve = DATASETS[dataset].sources
    if wish.provider is not None and wish.provider not in serve:
        message = f"{wish.provider} serves no {dataset}: {', '.join(serve)} do"
        raise errors.ArgumentError(message)
    return wish.provider or provider_of(dataset)
