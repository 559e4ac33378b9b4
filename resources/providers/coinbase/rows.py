"""Coinbase's candles and trades: JSON into WIRE_MINUTE_BARS and WIRE_TRADES.

Here: which cells, rows and answers can be read. One bad cell becomes null and is left to the
dataset's validation; a row that cannot be placed is left out and reported; an answer of another
shape is refused. Not here: errors (wire.py), or which requests make one answer (client.py,
trades.py).

Wire facts: Coinbase's reference (the maker's side), measurements of September 2026 (columns of a
candle), and tests/recordings/coinbase_*.
"""

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Context, Decimal, InvalidOperation
from typing import cast

import pyarrow as pa
import pyarrow.compute as pc

from marketdata.minute_bars import WIRE_MINUTE_BARS
from marketdata.rows import AMOUNT, RejectedRow, unread
from marketdata.trades import WIRE_TRADES
from resources.providers.answer_json import more_fields, unknown_fields
from resources.providers.answer_text import shortened
from resources.providers.coinbase.wire import listed, malformed

MINUTE = timedelta(minutes=1)
_CANDLE = ("time", "low", "high", "open", "close", "volume")
"""Columns of a candle: low and high come before open and close."""
_TRADE = ("time", "trade_id", "size", "price", "side")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST_S = 253_402_300_799
_LARGEST_ID = 2**63 - 1
_INSTANT = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,6})?)[0-9]*Z"
)
"""Coinbase sends microseconds; further digits are cut."""
_DECIMAL = re.compile(r"-?[0-9]{1,40}(\.[0-9]{1,40})?([eE][+-]?[0-9]{1,3})?")
_EXACT = Context(prec=38, rounding=ROUND_HALF_EVEN)
_STEP = Decimal(1).scaleb(-18)
_TAKER = {"buy": "sell", "sell": "buy"}
"""The taker's side by the maker's, which Coinbase sends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CandlePage:
    """One answer of the candles.

    Attributes:
        bars: WIRE_MINUTE_BARS, ``vwap`` and ``trades`` null: Coinbase does not send them.
        left_out: Rows that cannot be placed.
        notes: See Answer.
    """

    bars: pa.Table
    left_out: tuple[RejectedRow, ...]
    notes: tuple[str, ...]


def candle_page(body: bytes, symbol: str, *, operation: str) -> CandlePage:
    """Parse ``candles`` of one-minute buckets: a list of [time, low, high, open, close, volume].

    Times are seconds in UTC, at the start of the bucket. A value that is no JSON number within a
    double becomes null, numeric text too, since Coinbase sends numbers. A row with fewer columns,
    or without the time of a minute, cannot be placed: it is left out and reported. Further columns
    are noted and not read.

    Raises:
        MalformedPayloadError: Not a list of lists, no row can be placed, or none of several
            rows has a number in some column.
    """
    rows = cast("list[list[object]]", listed(body, list, operation=operation))
    placed = [(at, row) for row in rows if (at := _minute(row)) is not None]
    _refuse_unplaced(rows, placed, "candle", operation)
    bars = pa.table(
        {
            "symbol": pa.repeat(pa.scalar(symbol), len(placed)),
            "opened_at": [at for at, _ in placed],
            **{
                name: pa.array([_number(row[place]) for _, row in placed], pa.float64())
                for place, name in enumerate(_CANDLE)
                if place
            },
            "vwap": pa.nulls(len(placed), pa.float64()),
            "trades": pa.nulls(len(placed), pa.int64()),
        }
    )
    _refuse_empty_fields(bars, _CANDLE[1:], operation)
    return CandlePage(
        bars=bars.select(WIRE_MINUTE_BARS.names).cast(WIRE_MINUTE_BARS),
        left_out=tuple(
            unread(_as_text(row), symbol=symbol) for row in rows if _minute(row) is None
        ),
        notes=more_fields("candles", max(map(len, rows), default=0), len(_CANDLE)),
    )


def _minute(row: Sequence[object]) -> datetime | None:
    at = row[0] if len(row) >= len(_CANDLE) else None
    if isinstance(at, bool) or not isinstance(at, int) or not 0 < at <= _LATEST_S or at % 60:
        return None
    return _EPOCH + timedelta(seconds=at)


def _number(value: object) -> float | None:
    # In Python a bool is an int, and would count as a price of 1.
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class TradePage:
    """One answer of the trades.

    Attributes:
        trades: WIRE_TRADES, in the order in which they came.
        left_out: Rows that cannot be placed.
        notes: See Answer.
    """

    trades: pa.Table
    left_out: tuple[RejectedRow, ...]
    notes: tuple[str, ...]


def trade_page(body: bytes, symbol: str, *, operation: str) -> TradePage:
    """Parse ``trades``: a list of objects, price and size as text, the time in UTC.

    ``side`` is the maker's; the taker's is the opposite. Price and size are exact, rounded half to
    even after 18 decimal places. A value that is no number, or does not fit into a column, becomes
    null, and so does an unknown side. A row without a readable id or time cannot be placed: it is
    left out and reported.

    Raises:
        MalformedPayloadError: Not a list of objects, no row can be placed, or none of several
            rows has a usable value in some field.
    """
    rows = cast("list[Mapping[str, object]]", listed(body, dict, operation=operation))
    placed = [(key, row) for row in rows if (key := _trade_key(row)) is not None]
    _refuse_unplaced(rows, placed, "trade", operation)
    sides = [_TAKER.get(str(row.get("side"))) for _, row in placed]
    trades = pa.table(
        {
            "symbol": pa.repeat(pa.scalar(symbol), len(placed)),
            "trade_id": [trade_id for (trade_id, _), _ in placed],
            "traded_at": [at for (_, at), _ in placed],
            "price": pa.array([_amount(row.get("price")) for _, row in placed], AMOUNT),
            "size": pa.array([_amount(row.get("size")) for _, row in placed], AMOUNT),
            "taker_side": pa.array(sides, pa.string()),
        }
    )
    _refuse_empty_fields(trades, ("price", "size", "taker_side"), operation)
    return TradePage(
        trades=trades.cast(WIRE_TRADES),
        left_out=tuple(
            unread(_as_text(row), symbol=symbol) for row in rows if _trade_key(row) is None
        ),
        notes=unknown_fields("trades", rows, _TRADE),
    )


def _trade_key(row: Mapping[str, object]) -> tuple[int, datetime] | None:
    trade_id, at = row.get("trade_id"), row.get("time")
    if isinstance(trade_id, bool) or not isinstance(trade_id, int):
        return None
    # fromisoformat alone also reads dates without a time or zone, which would have to be guessed.
    match = _INSTANT.fullmatch(at) if isinstance(at, str) else None
    if match is None:
        return None
    try:
        traded_at = datetime.fromisoformat(f"{match[1]}Z")
    except ValueError:
        return None
    return (trade_id, traded_at) if 0 < trade_id <= _LARGEST_ID else None


def _amount(value: object) -> Decimal | None:
    figure = _decimal(value)
    try:
        return None if figure is None else figure.quantize(_STEP, context=_EXACT)
    except InvalidOperation:
        return None


def _decimal(value: object) -> Decimal | None:
    """Read a figure: text as Coinbase sends it, or a JSON number, which is exact as well."""
    if isinstance(value, str):
        # Decimal alone also reads NaN, underscores and the digits of every script.
        return Decimal(value) if _DECIMAL.fullmatch(value) is not None else None
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        return None
    return Decimal(value)


def _refuse_unplaced(
    rows: Sequence[object], placed: Sequence[object], kind: str, operation: str
) -> None:
    if rows and not placed:
        first = shortened(_as_text(rows[0]))
        raise malformed(f"no {kind} can be placed, the first is {first}", operation)


def _refuse_empty_fields(table: pa.Table, names: Sequence[str], operation: str) -> None:
    # One row without a number is a gap; a field without any number is another wire format.
    for name in names:
        if table.num_rows > 1 and pc.count(table[name]).as_py() == 0:
            raise malformed(f"no row has a usable value in field {name}", operation)


def _as_text(row: object) -> str:
    return json.dumps(row, default=str)
