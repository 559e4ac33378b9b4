"""What Polygon knows of one company, into QUOTED_COMPANIES.

Here: the object of ``/v3/reference/tickers/{ticker}``. Not here: its envelope (wire.py), or when it
is asked for (client.py).

Wire facts: what is not known is absent; an exchange is a market identifier code such as ``XNYS``,
a currency a lower-case name such as ``usd``; the industry is that of the SEC's SIC code.
"""

import json
from collections.abc import Mapping

import pyarrow as pa

from marketdata.companies import QUOTED_COMPANIES
from resources.providers.answer_text import shortened
from resources.providers.polygon.wire import JSON, malformed

_EVERY_DAY = frozenset({"market_cap", "last_updated_utc"})
"""Fields that change without the company changing."""
_MOST = 10**18


def company(found: Mapping[str, object], symbol: str, *, operation: str) -> pa.Table:
    """Read the company behind ``symbol``: one row of QUOTED_COMPANIES.

    Polygon tells no ISIN, no CUSIP, no sector and no country: they are null.

    Raises:
        MalformedPayloadError: It is about another ticker, or a field has the wrong type.
    """
    if found.get("ticker") != symbol:
        told = shortened(repr(found.get("ticker")))
        raise malformed(f"the answer is about another ticker: {told}", operation)
    answer = _answer(found, operation)
    currency = JSON.text(found, "currency_name", operation)
    row = {
        "symbol": symbol,
        "name": JSON.text(found, "name", operation),
        "cik": JSON.text(found, "cik", operation),
        "exchange": JSON.text(found, "primary_exchange", operation),
        "currency": None if currency is None else currency.upper(),
        "industry": JSON.text(found, "sic_description", operation),
        "listed_on": JSON.day(found, "list_date", operation),
        "employees": _count(found, "total_employees", operation),
        "website": JSON.text(found, "homepage_url", operation),
        "description": JSON.text(found, "description", operation),
        "is_etf": _is_etf(found, operation),
        "is_trading": JSON.flag(found, "active", operation),
        "answer": answer,
    }
    return pa.Table.from_pylist([row], schema=QUOTED_COMPANIES)


def _answer(found: Mapping[str, object], operation: str) -> str:
    """Return what lasts as JSON that Postgres takes."""
    lasting = {name: value for name, value in found.items() if name not in _EVERY_DAY}
    JSON.refuse_unstorable(lasting, operation)
    return json.dumps(lasting, sort_keys=True, ensure_ascii=False)


def _is_etf(found: Mapping[str, object], operation: str) -> bool | None:
    kind = JSON.text(found, "type", operation)
    return None if kind is None else kind == "ETF"


def _count(found: Mapping[str, object], name: str, operation: str) -> int | None:
    value = found.get(name)
    if value is None:
        return None
    if isinstance(value, int | float) and not isinstance(value, bool) and -_MOST < value < _MOST:
        number = int(value)
        if number == value:
            return number
    raise malformed(f"field {name} is no whole number: {shortened(repr(value))}", operation)
