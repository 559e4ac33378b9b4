"""Polygon's splits and dividends, into Arrow tables; amounts and ratios are exact.

Here: the rows of ``/stocks/v1/splits`` and ``/stocks/v1/dividends``. Not here: envelopes (wire.py),
which requests make one answer (client.py), or whether an action is believed
(marketdata/actions.py).

Wire facts: a 4-for-1 split is ``split_from`` 1 and ``split_to`` 4; ``cash_amount`` is as paid and
not adjusted for later splits (``split_adjusted_cash_amount`` is); unknown fields are absent.
"""

import decimal
import json
from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Decimal

import pyarrow as pa

from marketdata.actions import WIRE_DIVIDENDS, WIRE_SPLITS
from marketdata.rows import RejectedRow, unread
from resources.providers.answer_json import day_of
from resources.providers.answer_text import shortened
from resources.providers.polygon.bars import Row, Rows
from resources.providers.polygon.wire import malformed

_FREQUENCIES = {
    0: "Irregular",
    1: "Annual",
    2: "Semi-Annual",
    3: "Trimester",
    4: "Quarterly",
    12: "Monthly",
    24: "Bi-Monthly",
    26: "Bi-Weekly",
    52: "Weekly",
    365: "Daily",
}
"""Names of payments per year, as FMP's where it has one; others stay a number."""
_EIGHTEEN_DIGITS = Decimal(1).scaleb(-18)
_WHOLE_DIGITS = 20
_WIDE = decimal.Context(prec=60, rounding=decimal.ROUND_HALF_EVEN)


def split_rows(rows: Sequence[Row], *, operation: str) -> Rows:
    """Read splits into WIRE_SPLITS.

    ``kind`` is Polygon's ``forward_split``, ``reverse_split`` or ``stock_dividend``. Share
    counts are rounded half to even after 18 decimal places. One that is no number, or does not fit
    into a column, is null, which validation refuses.

    Raises:
        MalformedPayloadError: No row has a ticker and a date.
    """
    days = [_placed_on(row, "execution_date") for row in rows]
    _refuse_unplaced(rows, days, operation)
    wire_rows = [
        {
            "symbol": row["ticker"],
            "ex_date": day,
            "new_shares": _amount(row, "split_to"),
            "old_shares": _amount(row, "split_from"),
            "kind": _text(row.get("adjustment_type")),
        }
        for row, day in zip(rows, days, strict=True)
        if day is not None
    ]
    table = pa.Table.from_pylist(wire_rows, schema=WIRE_SPLITS)
    return Rows(table=table, left_out=_unplaced(rows, days))


def dividend_rows(rows: Sequence[Row], *, operation: str) -> Rows:
    """Read dividends into WIRE_DIVIDENDS.

    ``kind`` is ``regular`` for recurring ones and for unclassified ones with a frequency, otherwise
    ``special`` (special, supplemental, irregular). ``frequency`` of a supplemental one says so,
    since a special one may have the same ex-date. Amounts are treated as in ``split_rows``. A date
    that cannot be read is null, like a missing one.

    Raises:
        MalformedPayloadError: No row has a ticker and an ex-date.
    """
    days = [_placed_on(row, "ex_dividend_date") for row in rows]
    _refuse_unplaced(rows, days, operation)
    wire_rows = [
        {
            "symbol": row["ticker"],
            "ex_date": day,
            "kind": _kind(row),
            "amount": _amount(row, "cash_amount"),
            "currency": _currency(row),
            "declaration_date": day_of(row.get("declaration_date")),
            "record_date": day_of(row.get("record_date")),
            "payment_date": day_of(row.get("pay_date")),
            "frequency": _frequency(row),
        }
        for row, day in zip(rows, days, strict=True)
        if day is not None
    ]
    table = pa.Table.from_pylist(wire_rows, schema=WIRE_DIVIDENDS)
    return Rows(table=table, left_out=_unplaced(rows, days))


def _kind(row: Row) -> str:
    distribution_type = row.get("distribution_type")
    if distribution_type in {"special", "supplemental", "irregular"}:
        return "special"
    return (
        "special" if distribution_type != "recurring" and row.get("frequency") == 0 else "regular"
    )


def _currency(row: Row) -> str | None:
    """Return a code in capital letters: Polygon writes both ``USD`` and ``usd``."""
    code = _text(row.get("currency"))
    return None if code is None else code.upper()


def _frequency(row: Row) -> str | None:
    value = row.get("frequency")
    if row.get("distribution_type") == "supplemental":
        return "Supplemental"
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return _FREQUENCIES.get(value, str(value))


def _text(value: object) -> str | None:
    # Arrow and Postgres do not take every text that JSON can hold.
    return value if isinstance(value, str) and value and value.isprintable() else None


def _amount(row: Row, name: str) -> Decimal | None:
    value = row.get(name)
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        return None
    exact = Decimal(value)
    if exact and exact.adjusted() >= _WHOLE_DIGITS:
        return None
    return exact.quantize(_EIGHTEEN_DIGITS, context=_WIDE)


def _placed_on(row: Row, name: str) -> date | None:
    """Return the day of a row that has a ticker."""
    return day_of(row.get(name)) if _text(row.get("ticker")) is not None else None


def _refuse_unplaced(rows: Sequence[Row], days: Sequence[object], operation: str) -> None:
    if rows and all(day is None for day in days):
        raise malformed(
            f"no row can be placed, the first is {shortened(_json(rows[0]))}", operation
        )


def _unplaced(rows: Sequence[Row], days: Sequence[object]) -> tuple[RejectedRow, ...]:
    return tuple(
        unread(_json(row), symbol=_text(row.get("ticker")) or "")
        for row, day in zip(rows, days, strict=True)
        if day is None
    )


def _json(row: Mapping[str, object]) -> str:
    return json.dumps(row, default=str)
