"""Binance's rows of text into bars and trades, whether they came by REST or in a file.

Here: which cells and rows can be read. A bad cell becomes null and is for validation to judge; a
row that cannot be placed is left out and told; rows of another shape are refused. Not here: JSON
(wire.py), zip and CSV (files.py), or which requests make an answer (client.py).
"""

import re
from dataclasses import dataclass
from datetime import datetime
from decimal import ROUND_HALF_EVEN, Context, Decimal, InvalidOperation

import pyarrow as pa
import pyarrow.compute as pc

from marketdata.bars import PRICES
from marketdata.minute_bars import QUOTED_MINUTE_BARS
from marketdata.rows import AMOUNT, INSTANT
from marketdata.trades import QUOTED_TRADES
from resources.providers.answer_text import shortened
from resources.providers.binance.wire import malformed

_MICROSECONDS_FROM = 10**14
"""A time above is in microseconds, one below in milliseconds: from 1973 to 5138 they are apart."""
_MINUTE_US = 60_000_000
_TIME = r"^[0-9]{1,17}$"
_COUNT = r"^[0-9]{1,18}$"
_NUMBER = r"^-?([0-9]{1,40}(\.[0-9]{0,40})?|\.[0-9]{1,40})([eE][+-]?[0-9]{1,2})?$"
"""Bounded, so that every match fits a double: one that does not would fail Arrow's whole cast."""
_PLAIN_AMOUNT = r"^-?[0-9]{1,20}(\.[0-9]{1,18})?$"
"""What Arrow reads as AMOUNT without rounding."""
_SMALLEST_AMOUNT = Decimal(1).scaleb(-18)
_EXACT = Context(prec=200)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """What could be read.

    Attributes:
        table: In the dataset's quoted schema.
        left_out: Rows that cannot be placed, as text.
        last_at: The latest time of all rows that can be placed, those without a trade included.
    """

    table: pa.Table
    left_out: tuple[str, ...]
    last_at: datetime | None


def minute_bars(rows: pa.Table, symbol: str, *, operation: str) -> Rows:
    """Turn klines of one minute (columns KLINE_FIELDS) into QUOTED_MINUTE_BARS of ``symbol``.

    Times are UTC. ``vwap`` is the quote volume over the volume. A kline without a trade, which a
    running venue writes for a quiet minute, is no bar and is dropped. A row whose opening time
    cannot be read or is within a minute is left out, and told.

    Raises:
        MalformedPayloadError: A kline is not one minute long, no row can be placed, or of two rows
            and more none has a number in some field.
    """
    opened = _microseconds(rows["open_time"])
    whole = pc.equal(pc.subtract(opened, _floored(opened, _MINUTE_US)), 0)
    placed = pc.fill_null(whole, False)
    _refuse_unplaced(rows["open_time"], placed, operation)
    _refuse_other_lengths(opened, _microseconds(rows["close_time"]), operation)
    numbers = {name: _numbers(rows[name]) for name in (*PRICES, "volume", "quote_volume")}
    numbers["trades"] = _counts(rows["trades"])
    for name, column in numbers.items():
        _refuse_empty(name, column, operation)
    volume = numbers["volume"]
    sold = pc.if_else(pc.greater(volume, 0.0), volume, pa.scalar(None, pa.float64()))
    quiet = pc.and_(pc.equal(volume, 0.0), pc.equal(numbers["trades"], 0))
    table = pa.Table.from_arrays(
        [
            pa.repeat(pa.scalar(symbol), rows.num_rows),
            opened.cast(INSTANT),
            *(numbers[name] for name in (*PRICES, "volume")),
            pc.divide(numbers["quote_volume"], sold),
            numbers["trades"],
        ],
        names=QUOTED_MINUTE_BARS.names,
    )
    kept = pc.and_(placed, pc.invert(pc.fill_null(quiet, False)))
    return Rows(
        table=table.filter(kept).cast(QUOTED_MINUTE_BARS),
        left_out=_as_texts(rows.filter(pc.invert(placed))),
        last_at=pc.max(table["opened_at"].filter(placed)).as_py(),
    )


def trades(rows: pa.Table, symbol: str, *, operation: str) -> Rows:
    """Turn aggregate trades (columns TRADE_FIELDS) into QUOTED_TRADES of ``symbol``.

    Times are UTC, cut to whole milliseconds: REST answers and files before 2025 tell no more, and
    the time belongs to a trade's key. Amounts with more than 18 digits behind the point are
    rounded half-even. A row whose number or time cannot be read is left out, and told.

    Raises:
        MalformedPayloadError: No row can be placed, an amount has more than 20 digits before its
            point, or of two rows and more none has a value in some field.
    """
    at = _floored(_microseconds(rows["T"]), 1000)
    numbers = _counts(rows["a"])
    placed = pc.and_(pc.is_valid(at), pc.is_valid(numbers))
    _refuse_unplaced(rows["T"], placed, operation)
    values = {
        "price": _amounts(rows["p"], "price", operation),
        "size": _amounts(rows["q"], "size", operation),
        "taker_side": _taker_sides(rows["m"]),
    }
    for name, column in values.items():
        _refuse_empty(name, column, operation)
    table = pa.Table.from_arrays(
        [
            pa.repeat(pa.scalar(symbol), rows.num_rows),
            numbers,
            at.cast(INSTANT),
            *values.values(),
        ],
        names=QUOTED_TRADES.names,
    )
    return Rows(
        table=table.filter(placed).cast(QUOTED_TRADES),
        left_out=_as_texts(rows.filter(pc.invert(placed))),
        last_at=pc.max(table["traded_at"].filter(placed)).as_py(),
    )


def refuse_outside(
    table: pa.Table, column: str, start: datetime, end: datetime, operation: str
) -> None:
    """Refuse rows before ``start``, or not before ``end``: nobody asked for them.

    Raises:
        MalformedPayloadError: There are some.
    """
    at = table[column]
    first, last = pa.scalar(start, INSTANT), pa.scalar(end, INSTANT)
    outside = table.filter(pc.or_(pc.less(at, first), pc.greater_equal(at, last)))
    if outside.num_rows:
        shown = outside[column][0].as_py()
        raise malformed(f"rows nobody asked for came, such as of {shown}", operation)


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


def _amounts(texts: pa.ChunkedArray, name: str, operation: str) -> pa.ChunkedArray:
    plain = pc.fill_null(pc.match_substring_regex(texts, _PLAIN_AMOUNT), True)
    if pc.all(plain).as_py() is not False:
        return texts.cast(AMOUNT)
    values = [_amount(text, name, operation) for text in texts.to_pylist()]
    return pa.chunked_array([pa.array(values, AMOUNT)])


def _amount(text: str | None, name: str, operation: str) -> Decimal | None:
    """Read what is written in an unusual way, such as with an exponent."""
    if text is None or re.fullmatch(_NUMBER.strip("^$"), text) is None:
        return None
    try:
        value = Decimal(text).quantize(_SMALLEST_AMOUNT, ROUND_HALF_EVEN, _EXACT)
    except InvalidOperation:
        value = None
    if value is None or abs(value) >= 10**20:
        raise malformed(f"field {name} holds {shortened(text)}, which does not fit", operation)
    return value


def _taker_sides(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return what the taker did: where the buyer is the maker, the taker sold."""
    maker_bought = pc.utf8_lower(texts)
    other = pc.if_else(pc.equal(maker_bought, "false"), "buy", pa.scalar(None, pa.string()))
    return pc.if_else(pc.equal(maker_bought, "true"), "sell", other)


def _refuse_unplaced(told: pa.ChunkedArray, placed: pa.ChunkedArray, operation: str) -> None:
    if len(told) and not pc.any(placed).as_py():
        first = shortened(repr(told[0].as_py()))
        raise malformed(f"no row can be placed in time, the first holds {first}", operation)


def _refuse_other_lengths(opened: pa.ChunkedArray, closed: pa.ChunkedArray, operation: str) -> None:
    # The closing time is the minute's last millisecond, or its last microsecond.
    lasts = pc.subtract(closed, opened)
    odd = pc.or_(pc.less(lasts, _MINUTE_US - 1000), pc.greater_equal(lasts, _MINUTE_US))
    if pc.any(pc.fill_null(odd, False)).as_py():
        raise malformed("a kline came that is not one minute long", operation)


def _refuse_empty(name: str, column: pa.ChunkedArray, operation: str) -> None:
    # One row without a number is a hole; a field that no row has is another wire format.
    if len(column) > 1 and column.null_count == len(column):
        raise malformed(f"no row has a usable value in field {name}", operation)


def _as_texts(rows: pa.Table) -> tuple[str, ...]:
    return tuple(
        ",".join("" if one is None else one for one in row.values()) for row in rows.to_pylist()
    )
