"""What FMP's company profiles and index changes look like: bytes to Arrow tables.

Here: the parsing of one answer, pure functions of its bytes. Not here: which requests make one
answer (records.py), errors (wire.py), or which rows may be stored (marketdata/companies.py).

Wire facts: tests/recordings/fmp_profile_aapl.json; the historical constituents as measured by
public clients in 2026 (providers' sheet 1.5), unrecorded.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime

import pyarrow as pa

from marketdata.companies import WIRE_COMPANIES, WIRE_INDEX_CHANGES
from marketdata.instruments import our_tickers
from marketdata.rows import UNPLACED, RejectedRow, unread
from resources.providers.answer_json import (
    ReadableCells,
    UnreadableError,
    day_of,
    flag_of,
    optional_day_of,
    refuse_unstorable,
    text_of,
)
from resources.providers.answer_text import shortened
from resources.providers.fmp.wire import JSON, PROVIDER, malformed

INDEX_ENDPOINTS: Mapping[str, str] = {
    "sp500": "historical-sp500-constituent",
    "nasdaq": "historical-nasdaq-constituent",
    "dowjones": "historical-dowjones-constituent",
}
"""Endpoints by FMP's name of the index."""

DAILY_FIELDS = frozenset(
    {
        "price",
        "marketCap",
        "beta",
        "lastDividend",
        "range",
        "change",
        "changePercentage",
        "volume",
        "averageVolume",
    }
)
"""Fields that change every day, and are left out of a company's ``answer``."""

_TEXTS: Mapping[str, str] = {
    "name": "companyName",
    "cik": "cik",
    "isin": "isin",
    "cusip": "cusip",
    "exchange": "exchange",
    "currency": "currency",
    "sector": "sector",
    "industry": "industry",
    "country": "country",
    "website": "website",
    "description": "description",
}
_WHOLE = re.compile(r"([0-9]{1,18})(?:\.0+)?")

Fields = Mapping[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordPage:
    """One answer.

    Attributes:
        table: In the schema that the function names.
        left_out: Rows that cannot be placed or read, as JSON.
        notes: Optional cells that could not be read.
    """

    table: pa.Table
    left_out: tuple[RejectedRow, ...] = ()
    notes: tuple[str, ...] = ()


def company_page(body: bytes, *, symbol: str, operation: str) -> RecordPage:
    """Parse ``profile`` of ``symbol`` into WIRE_COMPANIES: one row, or none for ``[]``.

    FMP sends the number of employees as text, sometimes with a point and zeros. An empty text and a
    day of zeros are null. A cell that cannot be read is null and noted, since the other cells are
    worth keeping, and ``answer`` has the cell as it came.

    Raises:
        MalformedPayloadError: Not a list of at most one object; or the row is of another symbol.
    """
    rows = JSON.rows(body, operation)
    if len(rows) > 1:
        raise malformed(f"one company was asked for, {len(rows)} rows came", operation)
    if not rows:
        return RecordPage(table=WIRE_COMPANIES.empty_table())
    (row,) = rows
    if row.get("symbol") != symbol:
        symbol_received = shortened(repr(row.get("symbol")))
        raise malformed(
            f"a row that was not requested came, of symbol {symbol_received}", operation
        )
    try:
        refuse_unstorable(row)
    except UnreadableError as error:
        refused = unread(json.dumps(row), reason=str(error), symbol=symbol, what="")
        return RecordPage(table=WIRE_COMPANIES.empty_table(), left_out=(refused,))
    cells = ReadableCells(row)
    lasting = {name: value for name, value in row.items() if name not in DAILY_FIELDS}
    company = {
        "symbol": symbol,
        **{column: cells.read(text_of, name) for column, name in _TEXTS.items()},
        "listed_on": cells.read(optional_day_of, "ipoDate"),
        "employees": cells.read(_employees, "fullTimeEmployees"),
        "is_etf": cells.read(flag_of, "isEtf"),
        "is_trading": cells.read(flag_of, "isActivelyTrading"),
        "answer": json.dumps(lasting, ensure_ascii=False, allow_nan=False),
    }
    table = pa.Table.from_pylist([company], schema=WIRE_COMPANIES)
    return RecordPage(table=table, notes=cells.notes)


def index_change_page(body: bytes, *, index: str, operation: str) -> RecordPage:
    """Parse the historical constituents of ``index`` (FMP's name, such as ``sp500``).

    They become WIRE_INDEX_CHANGES. A row holds an addition, a removal or both, and becomes one
    row of each; the other side is an empty text or null. Tickers are in our spelling.
    ``effective_on`` is ``dateAdded``, a date in English words, or ``date`` if that cannot be read.
    The two differ by a day in some rows; in public examples ``dateAdded`` is the session from which
    the change holds (unverified). FMP does not say when a change was announced.

    Raises:
        MalformedPayloadError: Not a list of objects, or no row can be read.
    """
    changes: list[dict[str, object]] = []
    left_out: list[RejectedRow] = []
    rows = JSON.rows(body, operation)
    for row in rows:
        try:
            changes += _changes(row, index)
        except UnreadableError as error:
            left_out.append(unread(json.dumps(row), reason=str(error), symbol=index))
    if rows and not changes:
        raise malformed("no row has both a readable date and a company", operation)
    table = pa.Table.from_pylist(changes, schema=WIRE_INDEX_CHANGES)
    return RecordPage(table=table, left_out=tuple(left_out))


def _changes(row: Fields, index: str) -> list[dict[str, object]]:
    """Return the one or two changes of a row."""
    refuse_unstorable(row)
    effective_on = _english_day(text_of(row, "dateAdded")) or day_of(row.get("date"))
    sides = [
        ("added", text_of(row, "symbol"), text_of(row, "addedSecurity")),
        ("removed", text_of(row, "removedTicker"), text_of(row, "removedSecurity")),
    ]
    named = [(action, ticker, security) for action, ticker, security in sides if ticker]
    if effective_on is None or not named:
        raise UnreadableError(UNPLACED)
    spelling = our_tickers(PROVIDER)
    return [
        {
            "symbol": index,
            "effective_on": effective_on,
            "ticker": spelling.get(ticker, ticker),
            "action": action,
            "security": security,
            "reason": text_of(row, "reason"),
            "announced_on": None,
        }
        for action, ticker, security in named
    ]


def _employees(row: Fields, name: str) -> int | None:
    value = row.get(name)
    if value is None or value == "":
        return None
    whole = None if isinstance(value, bool) else _WHOLE.fullmatch(str(value))
    if whole is None:
        raise UnreadableError.field(name)
    return int(whole[1])


def _english_day(text: str | None) -> date | None:
    try:
        return None if text is None else datetime.strptime(text, "%B %d, %Y").date()  # noqa: DTZ007 - a day has no zone
    except ValueError:
        return None
