"""What answers of Coinbase Exchange mean: rows, an error, or something unreadable.

Here: classifying errors, reading JSON, and checking requests; pure functions. Not
here: minute bars and trades (rows.py), which requests make one answer (client.py, trades.py), or
sending them (../http.py).

Wire facts: Coinbase's reference of its Exchange REST API, measurements of September 2026, and
tests/recordings/coinbase_error_granularity_400.json.
"""

import json
import re
from collections.abc import Sized
from datetime import date
from decimal import Decimal
from http import HTTPStatus
from typing import TypeVar, cast

from marketdata.recovery import errors
from resources.providers.answer_json import JsonAnswers
from resources.providers.answer_text import plain_text, shortened
from resources.providers.http import HttpAnswer, status_error

PROVIDER = "coinbase"
JSON = JsonAnswers(PROVIDER)
malformed = JSON.malformed
_Row = TypeVar("_Row", bound=Sized)
_PRODUCT = re.compile(r"[A-Za-z0-9]{1,20}(-[A-Za-z0-9]{1,20})+")


def classify_error(answer: HttpAnswer, operation: str) -> errors.ProviderError | None:
    """Return the error of ``answer``, or None if it may be parsed.

    Facts: errors are an object with ``message``; an unknown product is 404 ``NotFound``;
    the limit by address is 429 ``Public rate limit exceeded`` without Retry-After. Data is
    always a list, so that an object with a message is an error under status 200 too, which an
    older source has seen.
    """
    text = _message(answer.body)
    detail = shortened(plain_text(answer.body) if text is None else text)
    not_found = (text or "").lower().replace(" ", "") == "notfound"
    if not_found and answer.status in {HTTPStatus.OK, HTTPStatus.NOT_FOUND}:
        message = f"no product of this name ({detail}); check its spelling (BTC-USD)"
        return errors.UnknownSymbolError(message, provider=PROVIDER, operation=operation)
    error = status_error(
        answer, provider=PROVIDER, operation=operation, detail=detail, keyless=True
    )
    if error is not None or text is None:
        return error
    if "rate limit" in text.lower():
        return errors.RateLimitedError(detail, provider=PROVIDER, operation=operation)
    return errors.RequestRejectedError(detail, provider=PROVIDER, operation=operation)


def _message(body: bytes) -> str | None:
    if not body[:100].lstrip().startswith(b"{"):
        return None
    try:
        parsed: object = json.loads(body)
    except (ValueError, RecursionError):
        return None
    text = cast("dict[str, object]", parsed).get("message") if isinstance(parsed, dict) else None
    return None if text is None else str(text) or "an error without a text"


def listed(body: bytes, kind: type[_Row], *, operation: str) -> list[_Row]:
    """Parse a JSON list of rows; numbers with a fraction or an exponent become exact decimals.

    Raises:
        MalformedPayloadError: It is anything else.
    """
    rows = cast("list[_Row]", JSON.items(body, operation, parse_float=Decimal))
    if not all(isinstance(row, kind) for row in rows):
        raise malformed(f"the list holds something else than a {kind.__name__} a row", operation)
    return rows


def check_request(symbol: str, start: date, end: date, operation: str) -> None:
    """Refuse a request that would mean something else.

    The symbol becomes a part of the path: with a slash or a question mark in it, it would name
    another endpoint. A reversed range is the program's mistake; an odd symbol is data, and
    concerns that symbol alone.

    Raises:
        RequestRejectedError: ``symbol`` cannot be a product's name.
        ValueError: ``start`` is after ``end``.
    """
    if start > end:
        message = f"the range of {symbol} is reversed: {start} is after {end}"
        raise ValueError(message)
    if _PRODUCT.fullmatch(symbol) is None:
        message = f"a product has a name like BTC-USD, not {symbol!r}; nothing was sent"
        raise errors.RequestRejectedError(message, provider=PROVIDER, operation=operation)
