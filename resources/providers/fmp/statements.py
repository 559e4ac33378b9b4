"""What FMP's statements and ratios look like: bytes to Arrow tables.

Here: the parsing of one answer, pure functions of its bytes. Not here: the names of FMP's lines
(statement_fields.py), which requests make one answer (records.py), errors (wire.py), or which
rows may be stored (marketdata/statements.py).

Wire facts: tests/recordings/fmp_income_statement_annual.json, fmp_balance_sheet_annual.json and
fmp_ratios_annual.json; the cash flow's lines by FMP's reference of the stable API, unrecorded.
"""

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import ROUND_HALF_EVEN, Context, Decimal, InvalidOperation
from typing import cast

import pyarrow as pa

from marketdata.calendars import NEW_YORK_ZONE
from marketdata.rows import AMOUNT, UNPLACED, RejectedRow, unread
from marketdata.statements import (
    FISCAL_PERIODS,
    LINES,
    WIRE_STATEMENTS,
    PeriodType,
    StatementKind,
)
from resources.providers.answer_json import (
    NO_DAY,
    UnreadableError,
    day_of,
    optional_day_of,
    refuse_unstorable,
    text_of,
)
from resources.providers.answer_text import shortened
from resources.providers.fmp.statement_fields import FIELDS
from resources.providers.fmp.wire import malformed

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
"""Rounding of an amount to the 38 digits of a column."""
_PLACES = Decimal(1).scaleb(-AMOUNT.scale)
_NUMBER = re.compile(r"-?\d+(\.\d+)?([eE][+-]?\d+)?")
_YEAR = re.compile(r"\d{4}")
_GAP = re.compile(r"[ \t\r\n]*")


Fields = Mapping[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class StatementPage:
    """One answer.

    Attributes:
        table: In the schema of its kind.
        left_out: Rows with a cell that cannot be read, as they came.
    """

    table: pa.Table
    left_out: tuple[RejectedRow, ...]


@dataclass(frozen=True, slots=True)
class _Row:
    """A row, parsed and as it came."""

    fields: Fields
    text: str


def statement_page(
    body: bytes, kind: StatementKind, *, symbol: str, period_type: PeriodType, operation: str
) -> StatementPage:
    """Parse one answer for ``kind`` of ``symbol``, annual or quarterly.

    Numbers are exact, even as text or with an exponent, and rounded half to even after 18 decimal
    places. A missing line is null; a line that FMP gives as 0 is 0. ``acceptedDate`` is New York's
    wall clock. ``answer`` is the row as it came, with all its digits. Half-years come among the
    quarters.

    A cell that cannot be read costs its row: without it, the statement would say that the company
    had nothing to report there.

    Raises:
        MalformedPayloadError: Not a list of objects; no row has a readable date, or none has some
            line; none of several rows can be read; or a row is of another symbol or period
            type, since FMP ignores unknown parameters.
    """
    rows = _rows(body, operation)
    _refuse_strangers(rows, symbol, period_type, operation)
    _refuse_missing_lines(rows, kind, operation)
    wire_rows: list[Fields] = []
    left_out: list[RejectedRow] = []
    for row in rows:
        day = day_of(row.fields.get("date"))
        if day is None:
            left_out.append(unread(row.text, symbol=symbol))
            continue
        try:
            wire_rows.append(_wire_row(row, kind, symbol, period_type, day))
        except UnreadableError as error:
            label = f"{period_type} {day} {row.fields.get('period')}"
            refused = unread(row.text, reason=str(error), symbol=symbol, day=day, what=label)
            left_out.append(refused)
    _refuse_nothing_readable(rows, wire_rows, left_out, operation)
    schema = WIRE_STATEMENTS[kind]
    arrays = [pa.array([row[field.name] for row in wire_rows], field.type) for field in schema]
    return StatementPage(
        table=pa.Table.from_arrays(arrays, schema=schema), left_out=tuple(left_out)
    )


def _wire_row(
    row: _Row, kind: StatementKind, symbol: str, period_type: PeriodType, day: date
) -> Fields:
    """Return a row with the field names of the schema."""
    fields = row.fields
    refuse_unstorable(fields)
    period = text_of(fields, "period")
    is_half = period in FISCAL_PERIODS[PeriodType.HALF_YEARLY]
    wire_row: dict[str, object] = {
        "symbol": symbol,
        "period_type": str(PeriodType.HALF_YEARLY if is_half else period_type),
        "fiscal_date": day,
        "fiscal_period": period,
        "fiscal_year": _year(fields),
        "reported_currency": text_of(fields, "reportedCurrency"),
        "answer": row.text,
    }
    if kind is not StatementKind.RATIOS:
        wire_row["filing_date"] = optional_day_of(fields, "filingDate")
        wire_row["accepted_at"] = _accepted_at(fields)
    for line in LINES[kind]:
        wire_row[line] = _amount(fields, FIELDS[kind][line])
    return wire_row


def _rows(body: bytes, operation: str) -> list[_Row]:
    """Parse a JSON list of objects, keeping the text of each one."""
    decoder = json.JSONDecoder(parse_float=_decimal, parse_constant=_no_number)
    try:
        text = body.decode("utf-8")
        whole: object = decoder.decode(text)
    except (ValueError, RecursionError) as error:
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
        rows.append(_Row(cast("Fields", row), text[begin:end]))
        place = _end_of_gap(text, end) + 1
    return rows


def _end_of_gap(text: str, place: int) -> int:
    gap = _GAP.match(text, place)
    return place if gap is None else gap.end()


def _no_number(_: str) -> float:
    # Python reads NaN and Infinity, which are no JSON; jsonb refuses them: the row is left out.
    return math.nan


def _decimal(text: str) -> Decimal | float:
    try:
        return Decimal(text)
    except InvalidOperation:
        return math.nan


def _refuse_strangers(
    rows: Sequence[_Row], symbol: str, period_type: PeriodType, operation: str
) -> None:
    other_types = {PeriodType.ANNUAL, PeriodType.QUARTERLY} - {period_type}
    named = {period for other_type in other_types for period in FISCAL_PERIODS[other_type]}
    for row in rows:
        row_symbol, period = row.fields.get("symbol"), row.fields.get("period")
        if row_symbol == symbol and not (isinstance(period, str) and period in named):
            continue
        stranger = (
            f"period {period}" if row_symbol == symbol else f"symbol {shortened(repr(row_symbol))}"
        )
        raise malformed(f"rows that were not requested came, such as of {stranger}", operation)


def _refuse_missing_lines(rows: Sequence[_Row], kind: StatementKind, operation: str) -> None:
    """Refuse rows if none has some line: that is another wire format."""
    for name in FIELDS[kind].values():
        if rows and not any(name in row.fields for row in rows):
            raise malformed(f"no row has the field {name}", operation)


def _refuse_nothing_readable(
    rows: Sequence[_Row],
    wire_rows: Sequence[Fields],
    left_out: Sequence[RejectedRow],
    operation: str,
) -> None:
    # One row that cannot be read is a bad row; if no row can be, it is another wire format.
    if wire_rows or not rows or (len(rows) == 1 and left_out[0].reason != UNPLACED):
        return
    first = shortened(repr(rows[0].fields.get("date")))
    message = f"field date: no row has a readable one, the first holds {first}"
    placed = [row.reason for row in left_out if row.reason != UNPLACED]
    raise malformed(f"no row can be read: {placed[0]}" if placed else message, operation)


def _amount(fields: Fields, name: str) -> Decimal | None:
    value = fields.get(name)
    if value is None:
        return None
    # In Python a bool is an int, and would count as an amount of 1.
    is_number = isinstance(value, int | Decimal) and not isinstance(value, bool)
    is_text = isinstance(value, str) and _NUMBER.fullmatch(value) is not None
    if not is_number and not is_text:
        raise UnreadableError.field(name)
    try:
        return Decimal(cast("int | str | Decimal", value)).quantize(_PLACES, context=_ROUNDING)
    except InvalidOperation as error:
        raise UnreadableError.field(name) from error


def _year(fields: Fields) -> int | None:
    """A text here, but a number on other endpoints of FMP."""
    value = fields.get("fiscalYear")
    if value is None or value == "":
        return None
    text = str(value)
    if isinstance(value, bool) or _YEAR.fullmatch(text) is None:
        raise UnreadableError.field("fiscalYear")
    return int(text)


def _accepted_at(fields: Fields) -> datetime | None:
    """Read New York's wall clock; of an hour that comes twice in autumn, take the first."""
    text = text_of(fields, "acceptedDate")
    if text is None or text.startswith(NO_DAY):
        return None
    try:
        local = datetime.strptime(text, "%Y-%m-%d %H:%M:%S").replace(tzinfo=NEW_YORK_ZONE)
        return local.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise UnreadableError.field("acceptedDate") from error
