"""What Polygon knows of one company, into QUOTED_COMPANIES.

Here: the object of ``/v3/reference/tickers/{ticker}``. Not here: its envelope (polygon_wire.py),
or when it is asked for (polygon.py).

Wire facts: what is not known is absent; an exchange is a market identifier code such as ``XNYS``,
a currency a lower-case name such as ``usd``; the industry is that of the SEC's SIC code.
"""

import json
import re
from collections.abc import Mapping
from datetime import date

import pyarrow as pa

from marketdata.companies import QUOTED_COMPANIES
from resources.providers.answer_text import shortened
from resources.providers.polygon_wire import malformed

_EVERY_DAY = frozenset({"market_cap", "last_updated_utc"})
"""Fields that change without the company changing."""
_MOST = 10**18
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


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
    currency = _text(found, "currency_name", operation)
    row = {
        "symbol": symbol,
        "name": _text(found, "name", operation),
        "cik": _text(found, "cik", operation),
        "exchange": _text(found, "primary_exchange", operation),
        "currency": None if currency is None else currency.upper(),
        "industry": _text(found, "sic_description", operation),
        "listed_on": _day(found, "list_date", operation),
        "employees": _count(found, "total_employees", operation),
        "website": _text(found, "homepage_url", operation),
        "description": _text(found, "description", operation),
        "is_etf": _is_etf(found, operation),
        "is_trading": _truth(found, "active", operation),
        "answer": answer,
    }
    return pa.Table.from_pylist([row], schema=QUOTED_COMPANIES)


def _answer(found: Mapping[str, object], operation: str) -> str:
    """Return what lasts as JSON that Postgres takes."""
    lasting = {name: value for name, value in found.items() if name not in _EVERY_DAY}
    text = json.dumps(lasting, sort_keys=True, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise malformed(f"a text that cannot be stored: {error.reason}", operation) from error
    if "\\u0000" in text:
        raise malformed("a text that cannot be stored: it has a zero byte", operation)
    return text


def _is_etf(found: Mapping[str, object], operation: str) -> bool | None:
    kind = _text(found, "type", operation)
    return None if kind is None else kind == "ETF"


def _text(found: Mapping[str, object], name: str, operation: str) -> str | None:
    value = found.get(name)
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        raise malformed(f"field {name} holds {type(value).__name__}", operation)
    return value


def _truth(found: Mapping[str, object], name: str, operation: str) -> bool | None:
    value = found.get(name)
    if value is not None and not isinstance(value, bool):
        raise malformed(f"field {name} holds {type(value).__name__}", operation)
    return value


def _count(found: Mapping[str, object], name: str, operation: str) -> int | None:
    value = found.get(name)
    if value is None:
        return None
    if isinstance(value, int | float) and not isinstance(value, bool) and -_MOST < value < _MOST:
        number = int(value)
        if number == value:
            return number
    raise malformed(f"field {name} is no whole number: {shortened(repr(value))}", operation)


def _day(found: Mapping[str, object], name: str, operation: str) -> date | None:
    value = _text(found, name, operation)
    if value is None:
        return None
    try:
        if _DAY.fullmatch(value) is not None:
            return date.fromisoformat(value)
    except ValueError:
        pass
    raise malformed(f"field {name} is no day: {shortened(value)}", operation)
