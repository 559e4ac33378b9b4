"""What Financial Modeling Prep's answers mean: bytes to records or errors.

Here: classifying errors, and parsing lists and profiles, pure functions of an answer.
Not here: bars (bars.py), sending requests (../http.py) or which requests make one history
(client.py).

The wire facts are those of FMP's "stable" API as measured by public clients in 2026. Above all, an
error shows in the content of an answer, not in its status.
"""

import json
import re
from dataclasses import dataclass
from datetime import date
from typing import cast

from marketdata.instruments import Constituent, our_tickers
from marketdata.recovery import errors
from resources.providers.answer_json import (
    JsonAnswers,
    Row,
    UnreadableError,
    day_of,
    text_of,
)
from resources.providers.answer_text import plain_text, shortened, without_key
from resources.providers.http import HttpAnswer, status_error

PROVIDER = "fmp"
JSON = JsonAnswers(PROVIDER)
malformed = JSON.malformed
_TICKER = re.compile(r"[A-Z0-9][A-Z0-9.\-]{0,14}")
"""In our spelling."""
_CURES = {
    401: "; check the key",
    402: "; the plan does not include it",
    403: "; a legacy endpoint or a suspended account",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """FMP's profile of a company, as far as the project uses it.

    Attributes:
        symbol: FMP's own spelling.
        cik: SEC registrant number, ten digits.
        listed_on: Day of the first listing.
    """

    symbol: str
    name: str
    cik: str | None
    exchange: str | None
    currency: str | None
    sector: str | None
    listed_on: date | None
    is_trading: bool


def classify_error(answer: HttpAnswer, operation: str, *, key: str) -> errors.ProviderError | None:
    """Return the error of ``answer``, or None if it may be parsed.

    Facts: the bulk throttle and some limits come as HTTP 200 with an object (or a list of one)
    that has ``Error Message``; 400 and 402 are plain text labelled JSON; 403 is the legacy API
    or a suspended account; an unknown path is 404 with ``[]``.
    """
    text = _error_message(answer.body)
    detail = shortened(without_key(_plain_text(answer) if text is None else text, key))
    detail += _CURES.get(answer.status, "")
    error = status_error(answer, provider=PROVIDER, operation=operation, detail=detail)
    if error is not None or text is None:
        return error
    if "limit reach" in text.lower():
        return errors.RateLimitedError(detail, provider=PROVIDER, operation=operation)
    if text.lower().startswith("invalid api key"):
        return errors.KeyRefusedError(detail, provider=PROVIDER, operation=operation)
    return errors.RequestRejectedError(detail, provider=PROVIDER, operation=operation)


def check_symbol(symbol: str, operation: str) -> None:
    """Refuse symbols for which FMP would return an empty list, as if it had no data.

    Raises:
        RequestRejectedError: ``symbol`` is empty or has a comma in it.
    """
    if not symbol.strip() or "," in symbol:
        message = f"one symbol a request, not {symbol!r}; nothing was sent"
        raise errors.RequestRejectedError(message, provider=PROVIDER, operation=operation)


def _error_message(body: bytes) -> str | None:
    # Only the head is searched: a full history has a million bytes and no error.
    if b"Error Message" not in body[:1024]:
        return None
    try:
        parsed: object = json.loads(body)
    except (ValueError, RecursionError):
        return None
    rows = cast("list[object]", parsed) if isinstance(parsed, list) else [parsed]
    first = rows[0] if rows else None
    if not isinstance(first, dict):
        return None
    text = cast("dict[str, object]", first).get("Error Message")
    return None if text is None else str(text) or "an error without a text"


def _plain_text(answer: HttpAnswer) -> str:
    text = plain_text(answer.body)
    return "" if text == "[]" else text


@dataclass(frozen=True, slots=True, kw_only=True)
class ConstituentList:
    """The members of an index.

    Attributes:
        members: Tickers in our spelling.
        refused: FMP's symbols that are no tickers and are not in ``members``.
    """

    members: list[Constituent]
    refused: list[str]


def constituent_list(body: bytes, *, operation: str) -> ConstituentList:
    """Parse ``sp500-constituent``.

    Raises:
        MalformedPayloadError: A field has the wrong type, or no row has a ticker: an index
            without members would close every membership.
    """
    members: list[Constituent] = []
    refused: list[str] = []
    spelling = our_tickers(PROVIDER)
    for row in JSON.rows(body, operation):
        symbol = _text(row, "symbol", operation)
        ticker = spelling.get(symbol, symbol)
        if _TICKER.fullmatch(ticker) is None:
            refused.append(symbol)
            continue
        members.append(
            Constituent(
                ticker=ticker,
                name=_text(row, "name", operation),
                cik=_cik(row, operation),
                sector=_optional_text(row, "sector", operation),
            )
        )
    if not members:
        raise malformed("the index came without members", operation)
    return ConstituentList(members=members, refused=refused)


def company_profile(body: bytes, *, operation: str) -> Profile:
    """Parse ``profile``.

    Raises:
        UnknownSymbolError: The list is empty: FMP's answer for an unknown symbol.
        MalformedPayloadError: A field has the wrong type.
    """
    rows = JSON.rows(body, operation)
    if not rows:
        message = "nothing is known under this symbol; check its spelling (BRK-B, not BRK.B)"
        raise errors.UnknownSymbolError(message, provider=PROVIDER, operation=operation)
    row = rows[0]
    return Profile(
        symbol=_text(row, "symbol", operation),
        name=_text(row, "companyName", operation),
        cik=_cik(row, operation),
        exchange=_optional_text(row, "exchange", operation),
        currency=_optional_text(row, "currency", operation),
        sector=_optional_text(row, "sector", operation),
        listed_on=day_of(row.get("ipoDate")),
        is_trading=row.get("isActivelyTrading") is True,
    )


def _optional_text(row: Row, name: str, operation: str) -> str | None:
    """Read a text that must be readable: a member left out would count as one that left."""
    try:
        return text_of(row, name)
    except UnreadableError as error:
        raise malformed(str(error), operation) from error


def _text(row: Row, name: str, operation: str) -> str:
    value = _optional_text(row, name, operation)
    if value is None:
        raise malformed(f"field {name} is empty", operation)
    return value


def _cik(row: Row, operation: str) -> str | None:
    cik = _optional_text(row, "cik", operation)
    if cik is not None and re.fullmatch(r"\d{10}", cik) is None:
        raise malformed(f"field cik is not ten digits: {shortened(cik)}", operation)
    return cik
