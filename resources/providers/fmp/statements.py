"""What FMP's statements and ratios look like: bytes to Arrow tables.

Here: the parsing of one answer, pure functions of its bytes. Not here: the names of FMP's lines
(statement_fields.py), which requests make one answer (records.py), refusals (wire.py), or which
rows may be stored (marketdata/statements.py).

Wire facts: tests/recordings/fmp_income_statement_annual.json, fmp_balance_sheet_annual.json and
fmp_ratios_annual.json; the cash flow's lines by FMP's reference of the stable API, unrecorded.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import ROUND_HALF_EVEN, Context, Decimal, InvalidOperation
from typing import cast

import pyarrow as pa

from marketdata.calendars import NEW_YORK_ZONE
from marketdata.rows import AMOUNT
from marketdata.statements import (
    FISCAL_PERIODS,
    LINES,
    QUOTED_STATEMENTS,
    PeriodType,
    StatementKind,
)
from resources.providers.answer_json import day_of
from resources.providers.answer_text import shortened
from resources.providers.fmp.statement_fields import FIELDS
from resources.providers.fmp.wire import JSON, malformed

ENDPOINTS: Mapping[StatementKind, str] = {
    StatementKind.INCOME: "income-statement",
    StatementKind.BALANCE_SHEET: "balance-sheet-statement",
    StatementKind.CASH_FLOW: "cash-flow-statement",
    StatementKind.RATIOS: "ratios",
}

PERIOD_PARAMETERS: Mapping[PeriodType, str] = {
    PeriodType.ANNUAL: "annual",
    PeriodType.QUARTERLY: "quarter",
}

_ROUNDING = Context(prec=38, rounding=ROUND_HALF_EVEN)
"""Of an amount: 38 digits, since a column has room for no more."""
_PLACES = Decimal(1).scaleb(-AMOUNT.scale)
_NUMBER = re.compile(r"-?\d+(\.\d+)?([eE][+-]?\d+)?")
_LARGEST_EXPONENT = 1000
_YEAR = re.compile(r"\d{4}")
_GAP = re.compile(r"[ \t\r\n]*")


Fields = Mapping[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class StatementPage:
    """One answer.

    Attributes:
        table: In the schema of its kind.
        left_out: Rows without a readable date, as they came.
    """

    table: pa.Table
    left_out: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Row:
    """A row, parsed and as it came."""

    fields: Fields
    text: str


def statement_page(
    body: bytes, kind: StatementKind, *, symbol: str, period_type: PeriodType, operation: str
) -> StatementPage:
    """Parse one answer to a question for ``kind`` of ``symbol``, by year or by quarter.

    Numbers are taken digit by digit, also where they come as text or with an exponent; more
    than 18 digits behind the point are rounded half to even. A missing line is null, a line
    that FMP gives as 0 is 0. ``acceptedDate`` is New York's wall clock. ``answer`` is the row as
    it came, with all its digits.

    Raises:
        MalformedPayloadError: Not a list of objects; a field is of the wrong type or does not
            fit; no row has a readable date, or none has some line; or a row is of another
            symbol or period type, since FMP ignores parameters that it does not know.
    """
    rows = _rows(body, operation)
    _refuse_strangers(rows, symbol, period_type, operation)
    days = [day_of(row.fields.get("date")) for row in rows]
    placed = [(row, day) for row, day in zip(rows, days, strict=True) if day is not None]
    if rows and not placed:
        first = shortened(repr(rows[0].fields.get("date")))
        raise malformed(
            f"field date: no row has a readable one, the first holds {first}", operation
        )
    kept = [row for row, _ in placed]
    columns: dict[str, list[object]] = {
        "symbol": [symbol] * len(kept),
        "period_type": [str(period_type)] * len(kept),
        "fiscal_date": [day for _, day in placed],
        "fiscal_period": [JSON.text(row.fields, "period", operation) for row in kept],
        "fiscal_year": [_year(row.fields, operation) for row in kept],
        "reported_currency": [JSON.text(row.fields, "reportedCurrency", operation) for row in kept],
        "answer": [row.text for row in kept],
    }
    if kind is not StatementKind.RATIOS:
        columns["filing_date"] = [JSON.day(row.fields, "filingDate", operation) for row in kept]
        columns["accepted_at"] = [_accepted_at(row.fields, operation) for row in kept]
    for name in LINES[kind]:
        columns[name] = _line([row.fields for row in kept], FIELDS[kind][name], operation)
    schema = QUOTED_STATEMENTS[kind]
    arrays = [pa.array(columns[field.name], field.type) for field in schema]
    return StatementPage(
        table=pa.Table.from_arrays(arrays, schema=schema),
        left_out=tuple(row.text for row, day in zip(rows, days, strict=True) if day is None),
    )


def _rows(body: bytes, operation: str) -> list[_Row]:
    """Parse a JSON list of objects, and cut each one's text out of the body."""
    decoder = json.JSONDecoder(parse_float=_decimal, parse_constant=_refuse_constant)
    try:
        text = body.decode("utf-8")
        whole: object = decoder.decode(text)
    except (ValueError, RecursionError, InvalidOperation) as error:
        raise malformed(f"not JSON: {error}", operation) from error
    if not isinstance(whole, list):
        raise malformed(f"a list was promised, a {type(whole).__name__} came", operation)
    parsed = cast("list[object]", whole)
    if not all(isinstance(row, dict) for row in parsed):
        raise malformed("the list holds something else than objects", operation)
    rows: list[_Row] = []
    place = text.index("[") + 1
    for row in parsed:
        begin = _end_of_gap(text, place)
        _, end = decoder.raw_decode(text, begin)
        fields = cast("Fields", row)
        JSON.refuse_unstorable(fields, operation)
        rows.append(_Row(fields, text[begin:end]))
        place = _end_of_gap(text, end) + 1
    return rows


def _end_of_gap(text: str, place: int) -> int:
    gap = _GAP.match(text, place)
    return place if gap is None else gap.end()


def _refuse_constant(name: str) -> object:
    # Python reads NaN and Infinity, which are no JSON and which jsonb refuses.
    message = f"{name} is no number"
    raise ValueError(message)


def _decimal(text: str) -> Decimal:
    # jsonb writes numbers out, and the database refuses those that are too long.
    number = Decimal(text)
    if abs(number.adjusted()) > _LARGEST_EXPONENT:
        message = f"{shortened(text)} is out of range"
        raise ValueError(message)
    return number


def _refuse_strangers(
    rows: Sequence[_Row], symbol: str, period_type: PeriodType, operation: str
) -> None:
    others = {one for kind, named in FISCAL_PERIODS.items() if kind != period_type for one in named}
    for row in rows:
        came, period = row.fields.get("symbol"), row.fields.get("period")
        if came == symbol and period not in others:
            continue
        what = f"period {period}" if came == symbol else f"symbol {shortened(repr(came))}"
        raise malformed(f"rows nobody asked for came, such as of {what}", operation)


def _line(rows: Sequence[Fields], name: str, operation: str) -> list[object]:
    """Return a line's amounts; a line that no row has is another wire format."""
    if rows and not any(name in row for row in rows):
        raise malformed(f"no row has the field {name}", operation)
    return [_amount(row.get(name), name, operation) for row in rows]


def _amount(value: object, name: str, operation: str) -> Decimal | None:
    if value is None:
        return None
    # A bool is an int to Python, and would be taken for an amount of 1.
    is_number = isinstance(value, int | Decimal) and not isinstance(value, bool)
    is_text = isinstance(value, str) and _NUMBER.fullmatch(value) is not None
    if not is_number and not is_text:
        raise malformed(f"field {name} is no number: {shortened(repr(value))}", operation)
    try:
        return Decimal(cast("int | str | Decimal", value)).quantize(_PLACES, context=_ROUNDING)
    except InvalidOperation as error:
        shown = shortened(str(value))
        raise malformed(f"field {name} has too many digits: {shown}", operation) from error


def _year(fields: Fields, operation: str) -> int | None:
    """A text here, but a number on other endpoints of FMP."""
    value = fields.get("fiscalYear")
    if value is None or value == "":
        return None
    text = str(value)
    if isinstance(value, bool) or _YEAR.fullmatch(text) is None:
        raise malformed(f"field fiscalYear is no year: {shortened(repr(value))}", operation)
    return int(text)


def _accepted_at(fields: Fields, operation: str) -> datetime | None:
    """Read New York's wall clock; of an hour that comes twice in autumn the first is meant."""
    told = JSON.text(fields, "acceptedDate", operation)
    if told is None:
        return None
    try:
        local = datetime.strptime(told, "%Y-%m-%d %H:%M:%S").replace(tzinfo=NEW_YORK_ZONE)
        return local.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise malformed(f"field acceptedDate is no time: {shortened(told)}", operation) from error
