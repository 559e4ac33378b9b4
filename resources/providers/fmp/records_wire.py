"""What FMP's company profiles and index changes look like: bytes to Arrow tables.

Here: the parsing of one answer, pure functions of its bytes. Not here: which requests make one
answer (records.py), refusals (wire.py), or which rows may be stored (marketdata/companies.py).

Wire facts: tests/recordings/fmp_profile_aapl.json; the historical constituents as measured by
public clients in 2026 (providers' sheet 1.5), unrecorded.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime

import pyarrow as pa

from marketdata.companies import QUOTED_COMPANIES, QUOTED_INDEX_CHANGES
from marketdata.instruments import our_tickers
from resources.providers.answer_json import day_of
from resources.providers.answer_text import shortened
from resources.providers.fmp.wire import JSON, PROVIDER, malformed

INDEX_ENDPOINTS: Mapping[str, str] = {
    "sp500": "historical-sp500-constituent",
    "nasdaq": "historical-nasdaq-constituent",
    "dowjones": "historical-dowjones-constituent",
}
"""By FMP's own name of an index."""

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
"""What changes every day, and is left out of a company's ``answer``."""

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
_WHOLE = re.compile(r"\d{1,18}")

Fields = Mapping[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexChangePage:
    """One answer.

    Attributes:
        table: QUOTED_INDEX_CHANGES.
        left_out: Rows without a readable date or without any company, as JSON.
    """

    table: pa.Table
    left_out: tuple[str, ...]


def company_table(body: bytes, *, symbol: str, operation: str) -> pa.Table:
    """Parse ``profile`` of ``symbol`` into QUOTED_COMPANIES: one row, or none for ``[]``.

    FMP sends the number of employees as text; a text that is empty is null.

    Raises:
        MalformedPayloadError: Not a list of one object at most; a field is of the wrong type;
            or the row is of another symbol.
    """
    rows = JSON.rows(body, operation)
    if len(rows) > 1:
        raise malformed(f"one company was asked for, {len(rows)} rows came", operation)
    return pa.Table.from_pylist(
        [_company(row, symbol, operation) for row in rows], schema=QUOTED_COMPANIES
    )


def _company(row: Fields, symbol: str, operation: str) -> dict[str, object]:
    if row.get("symbol") != symbol:
        came = shortened(repr(row.get("symbol")))
        raise malformed(f"a row nobody asked for came, of symbol {came}", operation)
    JSON.refuse_unstorable(row, operation)
    lasting = {name: value for name, value in row.items() if name not in DAILY_FIELDS}
    return {
        "symbol": symbol,
        **{column: JSON.text(row, name, operation) for column, name in _TEXTS.items()},
        "listed_on": JSON.day(row, "ipoDate", operation),
        "employees": _employees(row, operation),
        "is_etf": JSON.flag(row, "isEtf", operation),
        "is_trading": JSON.flag(row, "isActivelyTrading", operation),
        "answer": json.dumps(lasting, ensure_ascii=False, allow_nan=False),
    }


def index_change_page(body: bytes, *, index: str, operation: str) -> IndexChangePage:
    """Parse the historical constituents of ``index`` (FMP's name, such as ``sp500``).

    A row holds an addition, a removal or both, and becomes one row of each; the other side is
    an empty text or null. Tickers are in our spelling. ``effective_on`` is ``dateAdded``, a
    date in English words, and ``date`` where that cannot be read: the two differ by a day in
    some rows, and of those seen in public ``dateAdded`` is the session from which the change
    holds (unverified). When a change was announced is not told.

    Raises:
        MalformedPayloadError: Not a list of objects, a field is of the wrong type, or no row can
            be read.
    """
    spelling = our_tickers(PROVIDER)
    changes: list[dict[str, object]] = []
    left_out: list[str] = []
    rows = JSON.rows(body, operation)
    for row in rows:
        JSON.refuse_unstorable(row, operation)
        effective_on = _english_day(JSON.text(row, "dateAdded", operation))
        effective_on = effective_on or day_of(JSON.text(row, "date", operation))
        sides = [
            (
                "added",
                JSON.text(row, "symbol", operation),
                JSON.text(row, "addedSecurity", operation),
            ),
            (
                "removed",
                JSON.text(row, "removedTicker", operation),
                JSON.text(row, "removedSecurity", operation),
            ),
        ]
        found = [side for side in sides if side[1] is not None]
        if effective_on is None or not found:
            left_out.append(json.dumps(row))
        else:
            reason = JSON.text(row, "reason", operation)
            for action, ticker, security in found:
                change: dict[str, object] = {
                    "symbol": index,
                    "effective_on": effective_on,
                    "ticker": spelling.get(ticker or "", ticker),
                    "action": action,
                    "security": security,
                    "reason": reason,
                    "announced_on": None,
                }
                changes.append(change)
    if rows and not changes:
        raise malformed("no row has both a readable date and a company", operation)
    table = pa.Table.from_pylist(changes, schema=QUOTED_INDEX_CHANGES)
    return IndexChangePage(table=table, left_out=tuple(left_out))


def _employees(row: Fields, operation: str) -> int | None:
    told = row.get("fullTimeEmployees")
    if told is None or told == "":
        return None
    if isinstance(told, bool) or _WHOLE.fullmatch(str(told)) is None:
        shown = shortened(repr(told))
        raise malformed(f"field fullTimeEmployees is no whole number: {shown}", operation)
    return int(str(told))


def _english_day(text: str | None) -> date | None:
    try:
        return None if text is None else datetime.strptime(text, "%B %d, %Y").date()  # noqa: DTZ007 - a day has no zone
    except ValueError:
        return None
