"""Reads bars of any interval, hot and cold alike.

Here: the function for users, which rows the bars of an interval come from, and the queries for
them. Not here: rules of the request (request.py), SQL (snapshot.py), files (cold.py), or how rows
become bars (answers.py).
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
from resources.reading.answers import History, Rows, StoredBars, answer
from resources.reading.cold import DroppedDays
from resources.reading.missing import (
    DaySpan,
    MissingBarsWarning,
    day_spans,
    sentences,
    table,
)
from resources.reading.request import (
    AFTER_ALL,
    BEFORE_ALL,
    MINUTE,
    BarsRequest,
    When,
    parse_request,
)
from resources.reading.snapshot import Named, Snapshot, snapshot
from resources.settings import StoreSettings, provider_of, read_store_settings

FRAMES = ("arrow", "pandas", "polars")
MISSING = ("warn", "raise", "ignore")
_INSTANT = timedelta(microseconds=1)

_MINUTES_OF = {InstrumentKind.EQUITY: "minute_bars", InstrumentKind.PAIR: "crypto_bars"}
"""The dataset that holds the minutes of a kind of instruments."""

_ZONE_OF = {InstrumentKind.EQUITY: NEW_YORK_ZONE, InstrumentKind.PAIR: UTC}
"""The zone of the days in a request."""


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
        tickers: One or many, shares (``AAPL``) and pairs (``BTC-USD``). A ticker means the
            instrument that held it last on or before ``end``, with all its history.
        start: The first bar begins on this day or at this moment (aware); None: with the oldest.
        end: The last bar begins on this day (included) or before this moment (aware); None: today.
            Days are New York's for shares and UTC's for pairs. ISO 8601 text is accepted too.
        interval: ``1m``, ``5m``, ``15m``, ``1h``, ``1d``, ``1w``, ``1mo``, ``1q`` or ``1y``.
            Weeks and longer are for shares only. Aggregated bars are as fresh as the last refresh
            of the aggregates, unless they are ``as_of`` or (weeks and longer) adjusted.
        adjusted: None: as stored (see ``adjustment``). ``splits``, or ``splits_and_dividends``.
        as_of: Read what was known at this moment (aware) instead of now. If adjusted, bars, splits,
            dividends and confirmations are those known then.
        provider: Whose minutes; None: the configured provider of the dataset, or for a pair that
            this venue does not offer, the first that does. Daily bars are of any provider, unless
            one is named.
        to: A pyarrow Table, a Polars DataFrame (if Polars is installed), or a pandas DataFrame
            whose index (a DatetimeIndex) is ``bucket_start``.
        missing: What to do about missing bars (see ``coverage``): ``warn`` by a
            MissingBarsWarning, ``raise`` a MissingBarsError, or ``ignore``.
        settings: Where the data are; None: from the environment.

    Returns:
        One row per bar, sorted by ``ticker``, ``bucket_start`` and ``phase``. Columns: ``ticker``,
        ``bucket_start`` (a day, or for bars shorter than a day the first moment in UTC), ``open``,
        ``high``, ``low``, ``close``, ``volume`` (in shares, or in the base currency), ``vwap`` and
        ``trades`` (null where unknown), ``source_bars`` (number of minutes or days in an
        aggregated bar, otherwise null), ``adjustment`` (null where those of its days differ) and
        ``provider`` (null for bars made of days). Bars of 5m to 1h have ``phase`` after
        ``bucket_start``: the hour in which a session begins is two rows.

    Raises:
        ArgumentError: The request cannot be served; the message says what can.
        ConfigurationError: ``settings`` is None and the environment lacks a variable.
        StorageUnavailableError: The database, or the bucket if it is needed, cannot be reached.
        StorageConflictError: The database or bucket refuses, a share has no factors, or it is no
            longer known whether a split counted at ``as_of``.
        ArchiveMismatchError: The archive lacks files that its proofs name.
        MissingBarsError: Some bars are missing, and ``missing`` is ``raise``.

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
    request = parse_request(tickers, start, end, interval, adjusted, as_of, provider)
    where = settings or read_store_settings()
    stored = _query(where.database_url.get_secret_value(), request)
    spans = [span for bars_of_kind in stored for span in bars_of_kind.spans]
    if missing != "ignore" and any(span.is_missing for span in spans):
        if missing == "raise":
            raise errors.MissingBarsError(sentences(spans))
        warnings.warn(MissingBarsWarning(spans), stacklevel=2)
    s3 = opening.s3_settings(where)
    bars = pa.concat_tables([answer(bars_of_kind, request, s3) for bars_of_kind in stored])
    if len(stored) > 1:  # Shares and pairs, or pairs of several venues.
        order = ("ticker", "bucket_start", "phase")
        bars = bars.sort_by([(name, "ascending") for name in order if name in bars.column_names])
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
    """Return the days for which ``read_bars`` has bars, the days it lacks, and why.

    Args:
        tickers: As in ``read_bars``, like all arguments that both have.
        start: The first day; None: the start of the kept history.
        end: The last day; None: the last one that is over.
        interval: Bars shorter than a day, and those of pairs, are made of minutes.
        provider: Only what this provider was asked; None: any provider for daily bars, the
            configured one for minutes.
        to: A pyarrow Table, a pandas DataFrame or a Polars DataFrame (if Polars is installed).
        settings: Where the data are; None: from the environment.

    Returns:
        One row per span of neighbouring days in one state, sorted by ticker and day: ``ticker``,
        ``dataset``, ``first_day`` and ``last_day`` (both included), ``days`` (sessions for a share,
        UTC days for a pair) and ``state``: ``held``; ``not_listed`` (before a known day of
        listing); ``provider_empty``, ``quarantined`` (refused), ``failed`` or
        ``never_asked_for``, which are missing; ``before_history``, which is not kept.

    Raises:
        ArgumentError: The request cannot be served; the message says what can.
        StorageUnavailableError: The database cannot be reached.
    """
    _require_frame(to)
    request = parse_request(tickers, start or HISTORY_START, end, interval, None, None, provider)
    where = settings or read_store_settings()
    with snapshot(where.database_url.get_secret_value(), days=False, minutes=False) as at:
        named = _by_kind(at, request)
        spans = [
            span
            for (kind, venue), members in named.items()
            for span in _spans(at, request, kind, members, venue)
        ]
    spans.sort(key=lambda span: (span.ticker, span.first_day))
    return _in_frame(table(spans), to)


def _require_frame(to: str) -> None:
    """Refuse an unknown frame, or Polars where it is not installed, before a long read."""
    if to not in FRAMES:
        message = f"to={to!r} is not known: take one of {', '.join(FRAMES)}"
        raise errors.ArgumentError(message)
    if to == "polars" and importlib.util.find_spec("polars") is None:
        message = "Polars is not installed: pip install polars, or take to='arrow'"
        raise errors.ConfigurationError(message)


def _in_frame(rows: pa.Table, to: str) -> Any:
    if to == "pandas":
        frame = rows.to_pandas(date_as_object=False)
        # Bars have one time; spans of days have two.
        return frame.set_index("bucket_start") if "bucket_start" in frame else frame
    return importlib.import_module("polars").from_arrow(rows) if to == "polars" else rows


def _query(url: str, request: BarsRequest) -> list[StoredBars]:
    """Run all queries of a read, as of one moment."""
    aggregated_here = request.interval in DAY_INTERVALS and (request.as_of or request.adjusted)
    with snapshot(
        url,
        days=request.interval == Interval.DAY
        or bool(aggregated_here or (request.as_of and request.adjusted)),
        minutes=request.interval == MINUTE
        or bool(request.as_of and request.interval in MINUTE_INTERVALS),
    ) as at:
        return [
            _stored_bars(at, request, kind, members, venue)
            for (kind, venue), members in _by_kind(at, request).items()
        ]


def _by_kind(
    at: Snapshot, request: BarsRequest
) -> Mapping[tuple[InstrumentKind, str | None], Sequence[Named]]:
    """Group the requested instruments by kind, and pairs by venue: one query per group."""
    named = at.resolve_tickers(request.tickers, request.days()[1])
    _require_possible(
        request,
        [instrument.ticker for instrument in named if instrument.kind is InstrumentKind.PAIR],
    )
    groups: dict[tuple[InstrumentKind, str | None], list[Named]] = {}
    for instrument in named:
        venue = (
            _venue(request, instrument.ticker) if instrument.kind is InstrumentKind.PAIR else None
        )
        groups.setdefault((instrument.kind, venue), []).append(instrument)
    return groups


def _spans(
    at: Snapshot,
    request: BarsRequest,
    kind: InstrumentKind,
    named: Sequence[Named],
    venue: str | None,
) -> list[DaySpan]:
    """Return the state of the days of instruments of one kind; pairs are of one venue."""
    ids = [instrument.instrument_id for instrument in named]
    if not _made_of_minutes(request, kind):
        _provider(request, DAILY_BARS_DATASET)
        ledger_spans = at.coverage(DAILY_BARS_DATASET, ids, request.provider)
        return day_spans(request, DAILY_BARS_DATASET, named, ledger_spans)
    dataset = _MINUTES_OF[kind]
    ledger_spans = at.coverage(dataset, ids, venue or _provider(request, dataset))
    return day_spans(request, dataset, named, ledger_spans)


def _made_of_minutes(request: BarsRequest, kind: InstrumentKind) -> bool:
    """Return whether the requested bars are minutes, or made of them."""
    if request.interval == Interval.DAY:
        return kind is not InstrumentKind.EQUITY
    return request.interval == MINUTE or request.interval in MINUTE_INTERVALS


def _require_possible(request: BarsRequest, pairs: Sequence[str]) -> None:
    """Refuse what only shares have if pairs are asked for."""
    if pairs and request.interval in DAY_INTERVALS:
        message = f"{pairs[0]} is a pair, which has bars of 1m to 1d, not of {request.interval}"
        raise errors.ArgumentError(message)
    if pairs and request.adjusted:
        message = f"{pairs[0]} is a pair, whose prices nothing adjusts: leave out adjusted"
        raise errors.ArgumentError(message)


def _venue(request: BarsRequest, pair: str) -> str:
    """Return the venue of a pair's bars: the configured one if it offers the pair.

    Raises:
        ArgumentError: The request names a venue that does not offer the pair.
    """
    venue = _provider(request, _MINUTES_OF[InstrumentKind.PAIR])
    venues = next(
        (list(crypto_pair.spellings) for crypto_pair in crypto_pairs() if crypto_pair.pair == pair),
        [venue],
    )
    if venue in venues:
        return venue
    if request.provider is not None:
        message = f"{venue} does not offer {pair}: leave out provider, or take {venues[0]}"
        raise errors.ArgumentError(message)
    return venues[0]


def _stored_bars(
    at: Snapshot,
    request: BarsRequest,
    kind: InstrumentKind,
    named: Sequence[Named],
    venue: str | None,
) -> StoredBars:
    """Query the bars of instruments of one kind; pairs are of one venue.

    Days of shares, and minutes of both kinds, are rows of a dataset. Other intervals are views,
    except what a view cannot answer: what was known at a past moment, and adjusted weeks and
    longer, whose days may be in the archive only.
    """
    ids = [instrument.instrument_id for instrument in named]
    bounds = request.bounds(_ZONE_OF[kind])
    factors = _factors(at, request, ids)
    if _made_of_minutes(request, kind):
        dataset = _MINUTES_OF[kind]
        provider = venue or _provider(request, dataset)
        if request.interval == MINUTE or request.as_of:
            bars = _minutes(at, request, dataset, ids, provider)
        else:
            bars = at.aggregates(Interval(request.interval), ids, bounds, provider)
    elif request.interval == Interval.DAY or request.as_of or request.adjusted:
        bars = _days(at, request, ids, factors)
    else:
        bars = at.aggregates(Interval(request.interval), ids, bounds, "")
    spans = _spans(at, request, kind, named, venue)
    return StoredBars(named=named, bars=bars, bounds=bounds, factors=factors, spans=spans)


def _factors(
    at: Snapshot, request: BarsRequest, ids: Sequence[int]
) -> Mapping[int, FactorSteps] | History:
    """Query the current factors, or the data that factors as of a moment are derived from."""
    if not request.adjusted:
        return {}
    if request.as_of is None:
        return at.factors(ids)
    return History(
        days=_daily_rows(at, ids, (BEFORE_ALL, AFTER_ALL), request),
        actions=at.actions(ids, request.as_of),
        moment=request.as_of,
    )


def _days(
    at: Snapshot,
    request: BarsRequest,
    ids: Sequence[int],
    factors: Mapping[int, FactorSteps] | History,
) -> Rows:
    """Query daily bars, including all days of the last requested bar."""
    first, last = request.days()
    end = last + timedelta(days=1)
    if request.interval != Interval.DAY:
        interval = Interval(request.interval)
        end = next_bucket_of_days(interval, bucket_of_day(interval, last))
    _provider(request, DAILY_BARS_DATASET)
    if isinstance(factors, History):
        return factors.days.between(first, end)
    return _daily_rows(at, ids, (first, end), request)


def _daily_rows(
    at: Snapshot, ids: Sequence[int], bounds: tuple[date, date], request: BarsRequest
) -> Rows:
    first, end = bounds
    dataset = ARCHIVED[DAILY_BARS_DATASET]
    dropped = at.dropped(dataset.name, first, end - timedelta(days=1))
    # Factors count from the day on which a bar came.
    origin = {"known_from"} if request.adjusted else set[str]()
    hot = at.days(ids, bounds, request.as_of, _hot_schema(dataset, dropped, origin))
    answers = _answers(at, dataset, hot, dropped)
    return Rows(
        dataset=dataset, hot=hot, dropped=dropped, answers=answers, bounds=bounds, provider=None
    )


def _minutes(
    at: Snapshot, request: BarsRequest, dataset: str, ids: Sequence[int], provider: str
) -> Rows:
    """Query minutes, including all minutes of the last requested bar."""
    archived = ARCHIVED[dataset]
    start, end = request.moments(_ZONE_OF[archived.kind])
    if request.interval != MINUTE:
        interval = Interval(request.interval)
        end = bucket_of_moment(interval, end - _INSTANT) + WIDTHS[interval]
    dropped = at.dropped(dataset, start.date(), (end - _INSTANT).date())
    schema = _hot_schema(archived, dropped, set())
    hot = at.minutes(ids, (start, end), provider, request.as_of, schema)
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
    """Return the columns to read of hot rows; ``ingest_id`` and ``known_from`` only if needed.

    Where some days are in the archive only, hot rows of these days may be late.
    """
    unread = {"ticker"} if dropped else {"ticker", "ingest_id", "known_from"} - set(origin)
    return pa.schema([field for field in dataset.schema if field.name not in unread])


def _answers(
    at: Snapshot, dataset: ArchivedDataset, hot: pa.Table, dropped: Sequence[DroppedDays]
) -> pa.Table | None:
    """Query the answers by which late rows and archived ones are compared, if any row is late."""
    if not dropped:
        return None
    late = hot.filter(cold.are_dropped(dataset, hot.schema, dropped))
    if not late.num_rows:
        return None
    return at.answers(dataset.name, pc.unique(late["ingest_id"]).to_pylist())


def _provider(request: BarsRequest, dataset: str) -> str:
    """Return the provider of a dataset's bars: the requested or the configured one.

    Raises:
        ArgumentError: The requested provider does not serve the dataset.
    """
    sources = DATASETS[dataset].sources
    if request.provider is not None and request.provider not in sources:
        message = f"{request.provider} does not serve {dataset}: {', '.join(sources)} do"
        raise errors.ArgumentError(message)
    return request.provider or provider_of(dataset)
