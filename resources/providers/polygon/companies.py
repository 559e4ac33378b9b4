"""Polygon's details of one company, into WIRE_COMPANIES.

Here: the object of ``/v3/reference/tickers/{ticker}``. Not here: its envelope (wire.py), or its
request (client.py).

Wire facts: unknown fields are absent; an exchange is a market identifier code such as ``XNYS``,
a currency a lower-case name such as ``usd``; the industry is that of the SEC's SIC code.
"""

import json
from collections.abc import Mapping

import pyarrow as pa

from marketdata.companies import WIRE_COMPANIES
from marketdata.rows import unread
from resources.providers.answer_json import (
    ReadableCells,
    UnreadableError,
    flag_of,
    optional_day_of,
    refuse_unstorable,
    text_of,
)
from resources.providers.answer_text import shortened
from resources.providers.polygon.bars import Rows
from resources.providers.polygon.wire import malformed

_EVERY_DAY = frozenset({"market_cap", "last_updated_utc"})
"""Fields that change every day."""
_MOST = 10**18


def company(detail: Mapping[str, object], symbol: str, *, operation: str) -> Rows:
    """Read the company with ``symbol``: one row of WIRE_COMPANIES.

    Polygon sends no ISIN, CUSIP, sector or country: they are null. A cell that cannot be read is
    null and noted, since the other cells are worth keeping, and ``answer`` has the cell as it came.

    Raises:
        MalformedPayloadError: It is about another ticker.
    """
    if detail.get("ticker") != symbol:
        ticker = shortened(repr(detail.get("ticker")))
        raise malformed(f"the answer is about another ticker: {ticker}", operation)
    lasting = {name: value for name, value in detail.items() if name not in _EVERY_DAY}
    try:
        refuse_unstorable(lasting)
    except UnreadableError as error:
        refused = unread(json.dumps(lasting), reason=str(error), symbol=symbol, what="")
        return Rows(table=WIRE_COMPANIES.empty_table(), left_out=(refused,))
    cells = ReadableCells(detail)
    currency, type_name = cells.read(text_of, "currency_name"), cells.read(text_of, "type")
    row = {
        "symbol": symbol,
        "name": cells.read(text_of, "name"),
        "cik": cells.read(text_of, "cik"),
        "exchange": cells.read(text_of, "primary_exchange"),
        "currency": None if currency is None else currency.upper(),
        "industry": cells.read(text_of, "sic_description"),
        "listed_on": cells.read(optional_day_of, "list_date"),
        "employees": cells.read(_count, "total_employees"),
        "website": cells.read(text_of, "homepage_url"),
        "description": cells.read(text_of, "description"),
        "is_etf": None if type_name is None else type_name == "ETF",
        "is_trading": cells.read(flag_of, "active"),
        "answer": json.dumps(lasting, sort_keys=True, ensure_ascii=False),
    }
    return Rows(table=pa.Table.from_pylist([row], schema=WIRE_COMPANIES), notes=cells.notes)


def _count(fields: Mapping[str, object], name: str) -> int | None:
    value = fields.get(name)
    if value is None:
        return None
    if isinstance(value, int | float) and not isinstance(value, bool) and -_MOST < value < _MOST:
        number = int(value)
        if number == value:
            return number
    raise UnreadableError.field(name)
