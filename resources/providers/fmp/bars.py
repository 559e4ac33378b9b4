"""FMP's bars: the JSON of one symbol's history and the CSV of one day, into WIRE_BARS.

Here: which cells, rows and answers can be read. One bad cell becomes null and is left to
marketdata.bars.validate; a row that cannot be placed is left out and logged; an answer of another
shape is refused. Not here: errors and the other endpoints (wire.py), or which requests make one
history (client.py).
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from marketdata.bars import PRICES, WIRE_BARS
from marketdata.rows import RejectedRow, unread
from resources.providers.answer_json import day_of, number_of
from resources.providers.answer_text import shortened
from resources.providers.fmp.wire import JSON, malformed
from resources.telemetry import logs

_LOG = logs.logger("providers")
_NUMBERS = (*PRICES, "volume")
_CSV_COLUMNS = ("symbol", "date", *_NUMBERS)
_NUMBER_TEXT = r"^-?([0-9]{1,40}(\.[0-9]{0,40})?|\.[0-9]{1,40})([eE][+-]?[0-9]{1,2})?$"
"""Bounded, so that every match fits a double; otherwise Arrow's whole cast would fail."""
_REPLACED = "\ufffd"
"""Replacement for a byte that is no UTF-8."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryPage:
    """One answer of the history.

    Attributes:
        bars: WIRE_BARS.
        rows: Rows that FMP sent, including those left out of ``bars``: its cap counts them.
        left_out: Rows that cannot be placed.
    """

    bars: pa.Table
    rows: int
    left_out: tuple[RejectedRow, ...]


def history_page(body: bytes, *, operation: str) -> HistoryPage:
    """Parse ``historical-price-eod/full``.

    ``vwap`` is left out: in real answers it is the mean of open, high, low and close. A price or
    volume that is missing or no JSON number within a double becomes null, numeric text too, since
    FMP sends numbers. A row without a readable date cannot be placed: it is left out and reported.

    json.loads and one Arrow array per column take 20 ms for 5,000 rows; pyarrow.json takes
    7 ms, but reads no JSON arrays (the text would have to be cut into lines) and fails as a
    whole on one bad cell. At two requests a second the difference does not matter.

    Raises:
        MalformedPayloadError: Not a list of objects, a symbol that is no text, no row with a
            readable date, or none of several rows with a number in some field.
    """
    rows = JSON.rows(body, operation)
    symbols = _symbols(rows, operation)
    days = pa.array([day_of(row.get("date")) for row in rows], pa.date32())
    numbers = [
        pa.array([number_of(row.get(name)) for row in rows], pa.float64()) for name in _NUMBERS
    ]
    if rows and days.null_count == len(rows):
        first = shortened(repr(rows[0].get("date")))
        raise malformed(
            f"field date: no row has a readable one, the first holds {first}", operation
        )
    table = pa.Table.from_arrays([symbols, days, *numbers], names=WIRE_BARS.names)
    _refuse_empty_fields(table, operation)
    placed = table.filter(pc.is_valid(table["session_date"]))
    return HistoryPage(
        bars=placed.cast(WIRE_BARS),
        rows=len(rows),
        left_out=tuple(
            unread(json.dumps(row), symbol=str(row.get("symbol")))
            for row, day in zip(rows, days.to_pylist(), strict=True)
            if day is None
        ),
    )


def _symbols(rows: Sequence[Mapping[str, object]], operation: str) -> pa.Array:
    symbols = [row.get("symbol") for row in rows]
    strange = {type(symbol).__name__ for symbol in symbols if not isinstance(symbol, str)}
    if strange:
        raise malformed(f"field symbol holds {', '.join(sorted(strange))}", operation)
    try:
        return pa.array(symbols, pa.string())
    except UnicodeEncodeError as error:
        raise malformed(f"field symbol: {error.reason}", operation) from error


def _refuse_empty_fields(bars: pa.Table, operation: str) -> None:
    # One row without a number is a gap; a field without any number is another wire format.
    for name in _NUMBERS:
        if bars.num_rows > 1 and bars[name].null_count == bars.num_rows:
            raise malformed(f"no row has a usable number in field {name}", operation)


def market_page(body: bytes, session: date, *, operation: str) -> HistoryPage:
    """Parse the CSV of ``eod-bulk`` for ``session`` into WIRE_BARS.

    The header is quoted and has low before high; numbers may have exponents and volumes
    fractions; symbols are those of the whole world, crypto pairs included. ``[]`` counts as a
    day without rows.

    A price or volume that is no number becomes null. Left out are lines with a wrong number of
    cells or of quotes, and rows whose symbol or date cannot be read or is of another day; the log
    says how many. 50,000 rows take about 0.1 s.

    Raises:
        MalformedPayloadError: Not this CSV, or cut within its last line; rows came, but none
            of ``session``; none of several rows has a number in some field.
    """
    if body.strip() == b"[]":
        return HistoryPage(bars=WIRE_BARS.empty_table(), rows=0, left_out=())
    _refuse_cut(body, operation)
    rows, unread_lines = _csv_rows(body, operation)
    days = pc.utf8_trim_whitespace(rows["date"])
    named = pc.invert(
        pc.or_(pc.equal(rows["symbol"], ""), pc.match_substring(rows["symbol"], _REPLACED))
    )
    of_session = pc.equal(days, session.isoformat())
    table = rows.filter(pc.and_(of_session, named))
    left_out = unread_lines + rows.num_rows - table.num_rows
    if left_out and not table.num_rows:
        raise malformed(_nothing_of(session, days), operation)
    bars = pa.Table.from_arrays(
        [
            table["symbol"],
            pa.repeat(pa.scalar(session, pa.date32()), table.num_rows),
            *(_numbers(table[name]) for name in _NUMBERS),
        ],
        schema=WIRE_BARS,
    )
    _refuse_empty_fields(bars, operation)
    if left_out:
        _LOG.warning(
            "fmp %s: %d of %d rows left out: %d lines that cannot be read, %d rows without a "
            "readable symbol or of another day",
            operation,
            left_out,
            left_out + table.num_rows,
            unread_lines,
            left_out - unread_lines,
        )
    other_days = rows.filter(pc.and_(pc.invert(of_session), named))
    return HistoryPage(
        bars=bars,
        rows=left_out + table.num_rows,
        left_out=tuple(
            unread(
                json.dumps(row),
                reason="the row is of another day, or of none",
                symbol=row["symbol"],
                day=session,
            )
            for row in other_days.to_pylist()
        ),
    )


def _refuse_cut(body: bytes, operation: str) -> None:
    """Refuse a body that ends within a line, since whole rows may be missing after it.

    A cut that leaves as many cells as the header has cannot be detected.
    """
    header, _, rest = body.partition(b"\n")
    last = rest.rpartition(b"\n")[2].strip()
    short = last.count(b",") < header.count(b",") or last.endswith(b",")
    if last and (short or last.count(b'"') % 2):
        raise malformed("the CSV ends in the middle of a line", operation)


def _csv_rows(body: bytes, operation: str) -> tuple[pa.Table, int]:
    """Return the promised columns as text, and how many lines could not be read."""
    text = body.decode("utf-8", "replace").encode()
    lines = text.split(b"\n")
    # Arrow would read an open quote into the following lines and lose them too.
    closed = [line for line in lines if line.count(b'"') % 2 == 0]
    skipped: list[object] = []

    def skip(line: object) -> str:
        skipped.append(line)
        return "skip"

    try:
        table = pa_csv.read_csv(
            pa.BufferReader(b"\n".join(closed) + b"\n"),
            parse_options=pa_csv.ParseOptions(invalid_row_handler=skip),
            convert_options=pa_csv.ConvertOptions(
                include_columns=_CSV_COLUMNS,
                column_types=dict.fromkeys(_CSV_COLUMNS, pa.string()),
            ),
        )
    except (pa.ArrowInvalid, pa.ArrowKeyError) as error:
        raise malformed(f"not the promised CSV: {error}", operation) from error
    return table, len(skipped) + len(lines) - len(closed)


def _nothing_of(session: date, days: pa.ChunkedArray) -> str:
    dates = [repr(day) for day in pc.unique(days).to_pylist()]
    if not dates:
        return "no line of the CSV can be read"
    return f"no readable row of {session} came; the dates are {shortened(', '.join(dates[:3]))}"


def _numbers(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    bare = pc.utf8_trim_whitespace(texts)
    fits = pc.match_substring_regex(bare, _NUMBER_TEXT)
    return pc.if_else(fits, bare, pa.scalar(None, pa.string())).cast(pa.float64())
