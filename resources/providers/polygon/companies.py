"""What Polygon knows of one company, into WIRE_COMPANIES.

Here: the object of ``/v3/reference/tickers/{ticker}``. Not here: its envelope (wire.py), or when it
is asked for (client.py).

Wire facts: what is not known is absent; an exchange is a market identifier code such as ``XNYS``,
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
"""Fields that change without the company changing."""
_MOST = 10**18


def company(found: Mapping[str, object], symbol: str, *, operation: str) -> Rows:
    """Read the company behind ``symbol``: one row of WIRE_COMPANIES.

    Polygon tells no ISIN, no CUSIP, no sector and no country: they are null. A cell that cannot be
    read is null and noted: what is known of a company besides is worth keeping, and ``answer`` has
    the cell as it came.

    Raises:
        MalformedPayloadError: It is about another ticker.
    """
    if found.get("ticker") != symbol:
        told = shortened(repr(found.get("ticker")))
        raise malformed(f"the answer is about another ticker: {told}", operation)
    lasting = {name: value for name, value in found.items() if name not in _EVERY_DAY}
    try:
        refuse_unstorable(lasting)
    except UnreadableError as error:
        refused = unread(json.dumps(lasting), reason=str(error), symbol=symbol, what="")
        return Rows(table=WIRE_COMPANIES.empty_table(), left_out=(refused,))
    cells = ReadableCells(found)
    currency, kind = cells.read(text_of, "currency_name"), cells.read(text_of, "type")
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
        "is_etf": None if kind is None else kind == "ETF",
        "is_trading": cells.read(flag_of, "active"),
        "answer": json.dumps(lasting, sort_keys=True, ensure_ascii=False),
    }
    return Rows(table=pa.Table.from_pylist([row], schema=WIRE_COMPANIES), notes=cells.notes)


def _count(found: Mapping[str, object], name: str) -> int | None:
    value = found.get(name)
    if value is None:
        return None
    if isinstance(value, int | float) and not isinstance(value, bool) and -_MOST < value < _MOST:
        number = int(value)
        if number == value:
            return number
    raise UnreadableError.field(name)
