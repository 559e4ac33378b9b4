"""FMP's splits and dividends: JSON into WIRE_SPLITS and WIRE_DIVIDENDS.

Here: which cells, rows and answers can be read. A bad number becomes null and is left to
marketdata.actions; a row that cannot be placed is left out and reported; an answer of another shape
is refused. Not here: errors (wire.py), or which requests make one answer (actions.py).

Facts: FMP's reference of /stable and live measurements of August 2026 (jerbersoft/fmpdotnet);
tests/recordings/fmp_dividends_aapl.json.
"""

import decimal
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

import pyarrow as pa

from marketdata.actions import REGULAR, SPECIAL, WIRE_DIVIDENDS, WIRE_SPLITS
from marketdata.bars import PRICES, WIRE_BARS
from marketdata.rows import AMOUNT, RejectedRow, unread
from resources.providers.answer_json import day_of
from resources.providers.answer_text import shortened
from resources.providers.fmp.wire import JSON, malformed

Row = Mapping[str, object]

_PLACES = Decimal(1).scaleb(-AMOUNT.scale)
_EXACT = decimal.Context(prec=80, rounding=decimal.ROUND_HALF_EVEN)
_WHOLE_DIGITS = AMOUNT.precision - AMOUNT.scale
_NO_TYPE = "None"
"""FMP's text for an unknown ``splitType``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionPage:
    """One answer about corporate actions.

    Attributes:
        table: In the wire schema.
        rows: Rows that FMP sent, including those left out of ``table``: its cap counts them.
        left_out: Rows without a readable symbol or ex-date.
    """

    table: pa.Table
    rows: int
    left_out: tuple[RejectedRow, ...]


def split_page(body: bytes, *, operation: str) -> ActionPage:
    """Parse ``splits`` or ``splits-calendar`` into WIRE_SPLITS.

    ``numerator`` counts the new shares. An unknown ``splitType`` is missing, null, or the text
    ``None``; one with a control character becomes null.

    Raises:
        MalformedPayloadError: Not a list of objects; no row can be placed; none of several rows
            has a number in some field.
    """

    def placed(row: Row) -> Row:
        kind = _text(row, "splitType")
        return {
            "symbol": _symbol(row),
            "ex_date": _day(row, "date"),
            "new_shares": _amount(row, "numerator"),
            "old_shares": _amount(row, "denominator"),
            "kind": None if kind == _NO_TYPE else kind,
        }

    return _page(body, placed, WIRE_SPLITS, ("new_shares", "old_shares"), operation)


def dividend_page(body: bytes, *, operation: str) -> ActionPage:
    """Parse ``dividends`` or ``dividends-calendar`` into WIRE_DIVIDENDS.

    The amount is ``dividend``, as paid; ``adjDividend``, which changes with each later split,
    is left out, and so is ``yield``. A dividend is special if its ``frequency`` is ``Special``. FMP
    sends no currency, and an empty text for an unknown date. Dates other than the ex-date that
    cannot be read become null, and so does a ``frequency`` with a control character. Amounts keep
    18 decimal places, rounded half to even.

    Raises:
        MalformedPayloadError: See ``split_page``.
    """

    def placed(row: Row) -> Row:
        frequency = _text(row, "frequency")
        return {
            "symbol": _symbol(row),
            "ex_date": _day(row, "date"),
            "kind": SPECIAL if frequency == "Special" else REGULAR,
            "amount": _amount(row, "dividend"),
            "currency": None,
            "declaration_date": day_of(row.get("declarationDate")),
            "record_date": day_of(row.get("recordDate")),
            "payment_date": day_of(row.get("paymentDate")),
            "frequency": frequency,
        }

    return _page(body, placed, WIRE_DIVIDENDS, ("amount",), operation)


def as_traded_page(body: bytes, *, operation: str) -> ActionPage:
    """Parse ``historical-price-eod/non-split-adjusted`` into WIRE_BARS.

    Its prices are as traded, although the fields are named ``adjOpen`` and the like.

    Raises:
        MalformedPayloadError: See ``split_page``.
    """

    def number_of(row: Row, name: str) -> float | None:
        value = row.get(name)
        if isinstance(value, bool) or not isinstance(value, int | Decimal):
            return None
        return float(value)

    def placed(row: Row) -> Row:
        prices = {name: number_of(row, f"adj{name.title()}") for name in PRICES}
        volume = number_of(row, "volume")
        day = _day(row, "date")
        return {"symbol": _symbol(row), "session_date": day, **prices, "volume": volume}

    return _page(body, placed, WIRE_BARS, (*PRICES, "volume"), operation)


class _UnplacedError(ValueError):
    """A row has no readable symbol or ex-date."""


def _page(
    body: bytes,
    placed: Callable[[Row], Row],
    schema: pa.Schema,
    figures: Sequence[str],
    operation: str,
) -> ActionPage:
    # NaN is no JSON, but Python's parser accepts it and some of FMP's rows have it.
    received = JSON.rows(body, operation, parse_float=Decimal, parse_constant=lambda _: None)
    rows: list[Row] = []
    left_out: list[RejectedRow] = []
    for row in received:
        try:
            rows.append(placed(row))
        except _UnplacedError:
            text = json.dumps(row, default=str)
            left_out.append(unread(text, symbol=_text(row, "symbol") or ""))
    if received and not rows:
        raise malformed(
            f"no row has a symbol and a date; one is {shortened(str(received[0]))}", operation
        )
    # One row without a number is a gap; a field without any number is another wire format.
    for name in figures:
        if len(rows) > 1 and all(row[name] is None for row in rows):
            raise malformed(f"no row has a usable number in field {name}", operation)
    table = pa.Table.from_pylist(rows, schema=schema)
    return ActionPage(table=table, rows=len(received), left_out=tuple(left_out))


def _symbol(row: Row) -> str:
    symbol = row.get("symbol")
    # A zero character or a lone surrogate could not be stored.
    if not isinstance(symbol, str) or not symbol or not symbol.isprintable():
        raise _UnplacedError
    return symbol


def _text(row: Row, name: str) -> str | None:
    value = row.get(name)
    return value if isinstance(value, str) and value and value.isprintable() else None


def _day(row: Row, name: str) -> date:
    day = day_of(row.get(name))
    if day is None:
        raise _UnplacedError
    return day


def _amount(row: Row, name: str) -> Decimal | None:
    """Return an exact number; null for anything else, even numeric text: FMP sends numbers.

    A number that does not fit into a column is null too.
    """
    value = row.get(name)
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        return None
    number = Decimal(value)
    if number and number.adjusted() >= _WHOLE_DIGITS:
        return None
    return _EXACT.quantize(number, _PLACES)
