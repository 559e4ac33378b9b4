"""Tiingo's bars: days of one ticker, one day of the market, and minutes, into Arrow tables.

Here: which cells, rows and answers can be read. One bad cell becomes null and is left to
validation; a row that cannot be placed is left out and reported; an answer of another shape is
refused. Not here: errors (wire.py), or which requests make one answer (client.py).

Times come in several forms: ``2023-01-03T00:00:00.000Z`` if dates were requested, ``…+00:00`` if
not, and ``2015-01-02`` in CSV.
"""

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc

from marketdata.bars import PRICES, WIRE_BARS
from marketdata.minute_bars import WIRE_MINUTE_BARS
from marketdata.rows import INSTANT, RejectedRow, unread
from resources.providers.answer_json import number_of
from resources.providers.answer_text import shortened
from resources.providers.tiingo.wire import JSON, malformed
from resources.telemetry import logs

_LOG = logs.logger("providers")
_NUMBERS = (*PRICES, "volume")
_DAY = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2})(T00:00:00(\.0{1,9})?(Z|\+00:00)?)?")
_MINUTE = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:00(\.0{1,9})?(Z|[+-][0-9]{2}:[0-9]{2})"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One answer.

    Attributes:
        bars: In the schema that the function names.
        rows: Rows that Tiingo sent, including those left out of ``bars``: its cap counts them.
        left_out: Rows that cannot be placed.
    """

    bars: pa.Table
    rows: int
    left_out: tuple[RejectedRow, ...]


def history_page(body: bytes, symbol: str, *, operation: str) -> Page:
    """Parse the daily prices of ``symbol`` into WIRE_BARS, as traded.

    The adjusted columns, ``divCash`` and ``splitFactor`` are ignored. A price or volume that is
    missing or no JSON number becomes null, numeric text too. Rows have no ticker, so ``symbol`` is
    the requested one.

    Raises:
        MalformedPayloadError: Not a list of objects, no row with a readable date, or none of
            several rows with a number in some field.
    """
    rows = JSON.rows(body, operation)
    days = [_day(row.get("date")) for row in rows]
    placed = [(row, day) for row, day in zip(rows, days, strict=True) if day is not None]
    _refuse_unplaced(rows, placed, operation)
    bars = pa.Table.from_arrays(
        [
            pa.array([symbol] * len(placed), pa.string()),
            pa.array([day for _, day in placed], pa.date32()),
            *_numbers([row for row, _ in placed], operation),
        ],
        schema=WIRE_BARS,
    )
    return Page(bars=bars, rows=len(rows), left_out=_unplaced(rows, days, symbol))


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketDay:
    """The latest day of the whole market.

    Attributes:
        day: The day of most rows.
        bars: WIRE_BARS of that day only.
        left_out: Rows with a ticker, but without a readable day.
    """

    day: date
    bars: pa.Table
    left_out: tuple[RejectedRow, ...]


def market_day(body: bytes, *, operation: str) -> MarketDay:
    """Parse the latest prices of all tickers, whose spelling becomes upper case.

    Every ticker comes with its own last day: an old one if it no longer trades, a day late for
    funds, sometimes a day early for Chinese shares, and the previous day for some tickers while
    Tiingo writes a new one. So the answer's day is that of most rows, and rows of other days are
    left out; the log says how many.

    Raises:
        MalformedPayloadError: Not a list of objects, no row with a readable ticker and date, or
            none of several rows with a number in some field.
    """
    rows = JSON.rows(body, operation)
    placed = [
        (ticker.upper(), day, row)
        for row in rows
        if (ticker := _ticker(row)) and (day := _day(row.get("date"))) is not None
    ]
    if not placed:
        raise malformed(f"none of {len(rows)} rows has a readable ticker and date", operation)
    [(latest, _)] = Counter(day for _, day, _ in placed).most_common(1)
    chosen = [(ticker, row) for ticker, day, row in placed if day == latest]
    _LOG.info(
        "tiingo %s: %d rows of %s; %d of other days left out",
        operation,
        len(chosen),
        latest,
        len(placed) - len(chosen),
    )
    if len(placed) < len(rows):
        _LOG.warning(
            "tiingo %s: %d of %d rows left out, without a readable ticker or date",
            operation,
            len(rows) - len(placed),
            len(rows),
        )
    bars = pa.Table.from_arrays(
        [
            pa.array([ticker for ticker, _ in chosen], pa.string()),
            pa.repeat(pa.scalar(latest, pa.date32()), len(chosen)),
            *_numbers([row for _, row in chosen], operation),
        ],
        schema=WIRE_BARS,
    )
    left_out = tuple(
        unread(json.dumps(row), symbol=ticker.upper(), day=latest)
        for row in rows
        if (ticker := _ticker(row)) and _day(row.get("date")) is None
    )
    return MarketDay(day=latest, bars=bars, left_out=left_out)


def minute_page(body: bytes, symbol: str, *, operation: str) -> Page:
    """Parse the IEX prices of ``symbol`` into WIRE_MINUTE_BARS.

    Volume is that of IEX alone, 2 to 3 per cent of all trading. ``vwap`` and ``trades`` are null:
    Tiingo does not send them. A time without a zone, or within a minute, counts as unreadable.

    Raises:
        MalformedPayloadError: Not a list of objects, no row with a readable time, or none of
            several rows with a number in some field, so that a missing volume is noticed.
    """
    rows = JSON.rows(body, operation)
    times = [_minute(row.get("date")) for row in rows]
    placed = [(row, at) for row, at in zip(rows, times, strict=True) if at is not None]
    _refuse_unplaced(rows, placed, operation)
    bars = pa.Table.from_arrays(
        [
            pa.array([symbol] * len(placed), pa.string()),
            pa.array([at for _, at in placed], INSTANT),
            *_numbers([row for row, _ in placed], operation),
            pa.nulls(len(placed), pa.float64()),
            pa.nulls(len(placed), pa.int64()),
        ],
        schema=WIRE_MINUTE_BARS,
    )
    return Page(bars=bars, rows=len(rows), left_out=_unplaced(rows, times, symbol))


def _refuse_unplaced(
    rows: Sequence[Mapping[str, object]], placed: Sequence[object], operation: str
) -> None:
    if rows and not placed:
        first = shortened(repr(rows[0].get("date")))
        raise malformed(
            f"field date: no row has a readable one, the first holds {first}", operation
        )


def _unplaced(
    rows: Sequence[Mapping[str, object]], keys: Sequence[object], symbol: str
) -> tuple[RejectedRow, ...]:
    return tuple(
        unread(json.dumps(row), symbol=symbol)
        for row, key in zip(rows, keys, strict=True)
        if key is None
    )


def _ticker(row: Mapping[str, object]) -> str | None:
    ticker = row.get("ticker")
    # Lone surrogates are valid in JSON, but not in Arrow.
    return ticker if isinstance(ticker, str) and ticker.isascii() else None


def _day(value: object) -> date | None:
    match = _DAY.fullmatch(value) if isinstance(value, str) else None
    try:
        return None if match is None else date.fromisoformat(match[1])
    except ValueError:
        return None


def _minute(value: object) -> datetime | None:
    if not isinstance(value, str) or _MINUTE.fullmatch(value) is None:
        return None
    try:
        return datetime.fromisoformat(value).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _numbers(rows: Sequence[Mapping[str, object]], operation: str) -> list[pa.Array]:
    columns = [
        pa.array([number_of(row.get(name)) for row in rows], pa.float64()) for name in _NUMBERS
    ]
    # One row without a number is a gap; a field without any number is another wire format.
    for name, column in zip(_NUMBERS, columns, strict=True):
        if len(rows) > 1 and column.null_count == len(rows):
            raise malformed(f"no row has a usable number in field {name}", operation)
    return columns


def over_by(bars: pa.Table, moment: datetime) -> pa.Table:
    """Return those of ``bars`` (WIRE_MINUTE_BARS) whose minute is over at ``moment``."""
    latest = pa.scalar(moment - timedelta(minutes=1), INSTANT)
    return bars.filter(pc.less_equal(bars["opened_at"], latest))
