"""What Financial Modeling Prep's answers mean: bytes to records or errors.

Here: the reading of refusals, and the parsing of lists and profiles, pure functions of an
answer. Not here: bars (fmp_bars.py), sending requests (http.py) or which requests make one
history (fmp.py).

The wire facts are those of FMP's "stable" API as measured by public clients in 2026. The first
of them: an error is told by the content of an answer, not by its status.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import cast

from marketdata.instruments import Constituent, our_tickers
from marketdata.recovery import errors
from resources.providers.answer_text import plain_text, shortened
from resources.providers.http import HttpAnswer, status_error

PROVIDER = "fmp"
_TICKER = re.compile(r"[A-Z0-9][A-Z0-9.\-]{0,14}")
"""In our spelling."""
_CURES = {
    401: "; check the key",
    402: "; the plan does not include it",
    403: "; a legacy endpoint or a suspended account",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """What FMP says of a company, as far as the project uses it.

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


def refusal(answer: HttpAnswer, operation: str, *, key: str) -> errors.ProviderError | None:
    """Return the error that ``answer`` is, or None where it may be parsed.

    Facts: the bulk throttle and some limits come as HTTP 200 with an object (or a list of one)
    that has ``Error Message``; 400 and 402 are plain text labelled JSON; 403 is the legacy API
    or a suspended account; an unknown path is 404 with ``[]``.
    """
    told = _error_message(answer.body)
    detail = shortened((_plain_text(answer) if told is None else told).replace(key, "***"))
    detail += _CURES.get(answer.status, "")
    error = status_error(answer, provider=PROVIDER, operation=operation, detail=detail)
    if error is not None or told is None:
        return error
    if "limit reach" in told.lower():
        return errors.RateLimitedError(detail, provider=PROVIDER, operation=operation)
    if told.lower().startswith("invalid api key"):
        return errors.KeyRefusedError(detail, provider=PROVIDER, operation=operation)
    return errors.RequestRejectedError(detail, provider=PROVIDER, operation=operation)


def _error_message(body: bytes) -> str | None:
    # Only the head is searched: a full history has a million bytes and no error in it.
    if b"Error Message" not in body[:1024]:
        return None
    try:
        parsed: object = json.loads(body)
    except (ValueError, RecursionError):
        return None
    first = cast("list[object]", parsed)[0] if isinstance(parsed, list) and parsed else parsed
    if not isinstance(first, dict):
        return None
    told = cast("dict[str, object]", first).get("Error Message")
    return None if told is None else str(told) or "an error without a text"


def _plain_text(answer: HttpAnswer) -> str:
    text = plain_text(answer.body)
    return "" if text == "[]" else text


def json_rows(body: bytes, *, operation: str) -> list[Mapping[str, object]]:
    """Parse a JSON list of objects.

    Raises:
        MalformedPayloadError: It is anything else.
    """
    try:
        parsed: object = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise malformed(f"not JSON: {error}", operation) from error
    if not isinstance(parsed, list):
        raise malformed(f"a list was promised, a {type(parsed).__name__} came", operation)
    rows = cast("list[object]", parsed)
    if not all(isinstance(row, dict) for row in rows):
        raise malformed("the list holds something else than objects", operation)
    return cast("list[Mapping[str, object]]", rows)


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
    for row in json_rows(body, operation=operation):
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
                sector=_text_or_none(row, "sector", operation),
            )
        )
    if not members:
        raise malformed("the index came without members", operation)
    return ConstituentList(members=members, refused=refused)


def company_profile(body: bytes, *, operation: str) -> Profile:
    """Parse ``profile``.

    Raises:
        UnknownSymbolError: The list is empty, which is how FMP says it.
        MalformedPayloadError: A field has the wrong type.
    """
    rows = json_rows(body, operation=operation)
    if not rows:
        message = "nothing is known under this symbol; check its spelling (BRK-B, not BRK.B)"
        raise errors.UnknownSymbolError(message, provider=PROVIDER, operation=operation)
    row = rows[0]
    return Profile(
        symbol=_text(row, "symbol", operation),
        name=_text(row, "companyName", operation),
        cik=_cik(row, operation),
        exchange=_text_or_none(row, "exchange", operation),
        currency=_text_or_none(row, "currency", operation),
        sector=_text_or_none(row, "sector", operation),
        listed_on=_listed_on(row, operation),
        is_trading=row.get("isActivelyTrading") is True,
    )


def _listed_on(row: Mapping[str, object], operation: str) -> date | None:
    listed = _text_or_none(row, "ipoDate", operation)
    try:
        return None if listed is None else date.fromisoformat(listed)
    except ValueError as error:
        raise malformed(f"field ipoDate: {shortened(str(error))}", operation) from error


def _text(row: Mapping[str, object], name: str, operation: str) -> str:
    value = _text_or_none(row, name, operation)
    if value is None:
        raise malformed(f"field {name} is empty", operation)
    return value


def _text_or_none(row: Mapping[str, object], name: str, operation: str) -> str | None:
    """FMP writes a missing text as the empty string or null."""
    value = row.get(name)
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        raise malformed(f"field {name} holds {type(value).__name__}", operation)
    return value


def _cik(row: Mapping[str, object], operation: str) -> str | None:
    cik = _text_or_none(row, "cik", operation)
    if cik is not None and re.fullmatch(r"\d{10}", cik) is None:
        raise malformed(f"field cik is not ten digits: {shortened(cik)}", operation)
    return cik


def malformed(message: str, operation: str) -> errors.MalformedPayloadError:
    """Return the error of an answer that is not as promised."""
    return errors.MalformedPayloadError(
        f"{message}; the answer was not stored", provider=PROVIDER, operation=operation
    )
