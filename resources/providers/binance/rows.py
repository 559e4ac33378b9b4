"""Binance's rows of text into bars and trades, whether they came by REST or in a file.

Here: which cells and rows can be read. A bad cell becomes null and is left to validation; a row
that cannot be placed is left out and reported; rows of another shape are refused. Not here: JSON
(wire.py), zip and CSV (files.py), or which requests make an answer (client.py).
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import ROUND_HALF_EVEN, Context, Decimal, InvalidOperation

import pyarrow as pa
import pyarrow.compute as pc

from marketdata.bars import PRICES
from marketdata.minute_bars import WIRE_MINUTE_BARS
from marketdata.rows import AMOUNT, INSTANT, UNPLACED, RejectedRow, unread
from marketdata.trades import WIRE_TRADES
from resources.providers.answer_text import shortened
from resources.providers.binance.wire import TextRows, malformed

_MICROSECONDS_FROM = 10**14
"""Larger times are in microseconds, smaller ones in milliseconds: valid from 1973 to 5138."""
_MINUTE_US = 60_000_000
TOO_FEW = "the row has too few fields"
_TIME = r"^[0-9]{1,17}$"
_COUNT = r"^[0-9]{1,18}$"
_NUMBER = r"^-?([0-9]{1,40}(\.[0-9]{0,40})?|\.[0-9]{1,40})([eE][+-]?[0-9]{1,2})?$"
"""Bounded, so that every match fits a double; otherwise Arrow's whole cast would fail."""
_PLAIN_AMOUNT = r"^-?[0-9]{1,20}(\.[0-9]{1,18})?$"
"""Texts that Arrow reads as AMOUNT without rounding."""
_SMALLEST_AMOUNT = Decimal(1).scaleb(-18)
_EXACT = Context(prec=200)


@dataclass(frozen=True, slots=True, kw_only=True)
class Klines:
    """The readable part of one-minute klines.

    Attributes:
        bars: WIRE_MINUTE_BARS of the minutes with a trade.
        quiet: Opening times of the minutes without one.
        left_out: Rows that are not of one minute; ``what`` is the opening time if it can be read.
        notes: See Answer.
        rows: Number of all received rows.
        last_at: The latest opening time of all rows that can be placed.
    """

    bars: pa.Table
    quiet: pa.ChunkedArray
    left_out: tuple[RejectedRow, ...]
    notes: tuple[str, ...]
    rows: int
    last_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """The readable part of trades.

    Attributes:
        table: WIRE_TRADES.
        left_out: Rows that cannot be placed.
        notes: See Answer.
    """

    table: pa.Table
    left_out: tuple[RejectedRow, ...]
    notes: tuple[str, ...]


def minute_bars(rows: TextRows, symbol: str, *, operation: str) -> Klines:
    """Turn klines of one minute (columns KLINE_FIELDS) into bars of ``symbol``.

    Times are UTC. ``vwap`` is the quote volume over the volume. A kline without a trade, which a
    running venue writes for a quiet minute, is no bar. A kline that ends before its minute does,
    as at the beginning of an outage (2018-02-08 00:28 UTC lasts 14.8 seconds), is the bar of that
    minute, since nothing traded in the rest of it; it is noted. A kline that opens within a minute,
    as in the hours after that outage, or that is longer than a minute, covers several minutes and
    is left out.

    Raises:
        MalformedPayloadError: No opening time can be read, no row is of one minute, or none of
            several rows has a number in some field.
    """
    texts = rows.table
    opened = _microseconds(texts["open_time"])
    lasts = pc.subtract(_microseconds(texts["close_time"]), opened)
    _refuse_unplaced(texts["open_time"], pc.is_valid(opened), operation)
    # The closing time is the minute's last millisecond, or its last microsecond.
    long = pc.fill_null(pc.greater_equal(lasts, _MINUTE_US), False)
    if texts.num_rows and pc.all(long).as_py():
        raise malformed("no kline came that is one minute long", operation)
    reasons = pc.case_when(
        pc.make_struct(
            pc.is_null(opened),
            pc.not_equal(pc.subtract(opened, _floored(opened, _MINUTE_US)), 0),
            long,
            pc.fill_null(pc.less(lasts, 0), False),
        ),
        UNPLACED,
        "the kline opens within a minute",
        "the kline is longer than a minute",
        "the kline ends before it begins",
        pa.scalar(None, pa.string()),
    )
    is_minute = pc.is_null(reasons)
    short = texts.filter(pc.and_(is_minute, pc.fill_null(pc.less(lasts, _MINUTE_US - 1000), False)))
    numbers = {name: _numbers(texts[name]) for name in (*PRICES, "volume", "quote_volume")}
    numbers["trades"] = _counts(texts["trades"])
    for name, column in numbers.items():
        _refuse_empty(name, column, operation)
    volume = numbers["volume"]
    positive_volume = pc.if_else(pc.greater(volume, 0.0), volume, pa.scalar(None, pa.float64()))
    is_quiet = pc.and_(pc.equal(volume, 0.0), pc.equal(numbers["trades"], 0))
    quiet = pc.fill_null(is_quiet, False)
    table = pa.Table.from_arrays(
        [
            pa.repeat(pa.scalar(symbol), texts.num_rows),
            opened.cast(INSTANT),
            *(numbers[name] for name in (*PRICES, "volume")),
            pc.divide(numbers["quote_volume"], positive_volume),
            numbers["trades"],
        ],
        names=WIRE_MINUTE_BARS.names,
    )
    rejected = texts.append_column("opened_at", table["opened_at"]).append_column("reason", reasons)
    return Klines(
        bars=table.filter(pc.and_(is_minute, pc.invert(quiet))).cast(WIRE_MINUTE_BARS),
        quiet=table["opened_at"].filter(pc.and_(is_minute, quiet)),
        left_out=(
            *_left_out(rejected.filter(pc.invert(is_minute)), symbol),
            *(unread(text, reason=TOO_FEW, symbol=symbol) for text in rows.odd),
        ),
        notes=(*rows.notes, *_note_of_short(short)),
        rows=texts.num_rows + len(rows.odd),
        last_at=pc.max(table["opened_at"]).as_py(),
    )


def trades(rows: TextRows, symbol: str, *, operation: str) -> Rows:
    """Turn aggregate trades (columns TRADE_FIELDS) into WIRE_TRADES of ``symbol``.

    Times are UTC, cut to whole milliseconds: REST and files before 2025 have no more digits, and
    the time is part of a trade's key. Amounts with more than 18 decimal places are rounded
    half-even; one that does not fit into a column is null. A row whose id or time cannot be read
    is left out and reported.

    Raises:
        MalformedPayloadError: No row can be placed, or none of several rows has a value in some
            field.
    """
    texts = rows.table
    at = _floored(_microseconds(texts["T"]), 1000)
    numbers = _counts(texts["a"])
    placed = pc.and_(pc.is_valid(at), pc.is_valid(numbers))
    _refuse_unplaced(texts["T"], placed, operation)
    values = {
        "price": _amounts(texts["p"]),
        "size": _amounts(texts["q"]),
        "taker_side": _taker_sides(texts["m"]),
    }
    for name, column in values.items():
        _refuse_empty(name, column, operation)
    table = pa.Table.from_arrays(
        [
            pa.repeat(pa.scalar(symbol), texts.num_rows),
            numbers,
            at.cast(INSTANT),
            *values.values(),
        ],
        names=WIRE_TRADES.names,
    )
    unplaced = [_as_text(row) for row in texts.filter(pc.invert(placed)).to_pylist()]
    return Rows(
        table=table.filter(placed).cast(WIRE_TRADES),
        left_out=(
            *(unread(text, symbol=symbol) for text in unplaced),
            *(unread(text, reason=TOO_FEW, symbol=symbol) for text in rows.odd),
        ),
        notes=rows.notes,
    )


def refuse_outside(
    table: pa.Table, column: str, start: datetime, end: datetime, operation: str
) -> None:
    """Refuse rows before ``start``, or not before ``end``: they were not requested.

    Raises:
        MalformedPayloadError: There are such rows.
    """
    at = table[column]
    first, last = pa.scalar(start, INSTANT), pa.scalar(end, INSTANT)
    outside = table.filter(pc.or_(pc.less(at, first), pc.greater_equal(at, last)))
    if outside.num_rows:
        shown = outside[column][0].as_py()
        raise malformed(f"rows that were not requested came, such as of {shown}", operation)


def between(table: pa.Table, column: str, start: datetime, end: datetime) -> pa.Table:
    """Return the rows from ``start`` on and before ``end``."""
    at = table[column]
    begun = pc.greater_equal(at, pa.scalar(start, INSTANT))
    return table.filter(pc.and_(begun, pc.less(at, pa.scalar(end, INSTANT))))


def _microseconds(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    values = _matching(texts, _TIME).cast(pa.int64())
    return pc.if_else(pc.greater(values, _MICROSECONDS_FROM), values, pc.multiply(values, 1000))


def _floored(values: pa.ChunkedArray, unit: int) -> pa.ChunkedArray:
    return pc.multiply(pc.divide(values, unit), unit)


def _numbers(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    return _matching(texts, _NUMBER).cast(pa.float64())


def _counts(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    return _matching(texts, _COUNT).cast(pa.int64())


def _matching(texts: pa.ChunkedArray, pattern: str) -> pa.ChunkedArray:
    fits = pc.match_substring_regex(texts, pattern)
    return pc.if_else(fits, texts, pa.scalar(None, pa.string()))


def _amounts(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    plain = pc.fill_null(pc.match_substring_regex(texts, _PLAIN_AMOUNT), True)
    if pc.all(plain).as_py() is not False:
        return texts.cast(AMOUNT)
    return pa.chunked_array([pa.array([_amount(text) for text in texts.to_pylist()], AMOUNT)])


def _amount(text: str | None) -> Decimal | None:
    """Read an amount in an unusual form, such as with an exponent."""
    if text is None or re.fullmatch(_NUMBER.strip("^$"), text) is None:
        return None
    try:
        value = Decimal(text).quantize(_SMALLEST_AMOUNT, ROUND_HALF_EVEN, _EXACT)
    except InvalidOperation:
        return None
    return value if abs(value) < 10**20 else None


def _taker_sides(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return the taker's side: if the buyer is the maker, the taker sold."""
    maker_bought = pc.utf8_lower(texts)
    otherwise = pc.if_else(pc.equal(maker_bought, "false"), "buy", pa.scalar(None, pa.string()))
    return pc.if_else(pc.equal(maker_bought, "true"), "sell", otherwise)


def _refuse_unplaced(texts: pa.ChunkedArray, placed: pa.ChunkedArray, operation: str) -> None:
    if len(texts) and not pc.any(placed).as_py():
        first = shortened(repr(texts[0].as_py()))
        raise malformed(f"no row can be placed in time, the first holds {first}", operation)


def _refuse_empty(name: str, column: pa.ChunkedArray, operation: str) -> None:
    # One row without a number is a gap; a field without any number is another wire format.
    if len(column) > 1 and column.null_count == len(column):
        raise malformed(f"no row has a usable value in field {name}", operation)


def _left_out(rows: pa.Table, symbol: str) -> Iterator[RejectedRow]:
    """Yield klines that are not of one minute, with their opening time and reason."""
    for row in rows.to_pylist():
        at: datetime | None = row.pop("opened_at")
        reason: str = row.pop("reason")
        yield unread(
            _as_text(row),
            reason=reason,
            symbol=symbol,
            day=None if at is None else at.date(),
            what=None if at is None else at.isoformat(),
        )


def _note_of_short(rows: pa.Table) -> tuple[str, ...]:
    if not rows.num_rows:
        return ()
    first = shortened(_as_text(rows.slice(0, 1).to_pylist()[0]))
    return (f"{rows.num_rows} klines end before their minute does, such as {first}",)


def _as_text(row: Mapping[str, str | None]) -> str:
    return ",".join("" if cell is None else cell for cell in row.values())
