"""What Polygon's (Massive's) answers mean: envelopes, pages and errors.

Here: whether an answer is an error and of which kind, the envelope around rows, and where the next
page is. Not here: the rows themselves (bars.py, actions.py, companies.py), sending requests
(../http.py), or which requests make one answer (client.py).

The wire facts are those of the vendor's documentation and client library in 2026 and of recorded
answers: an error has its text under ``error`` or ``message``, an answer without rows may
lack ``results`` or have null there, and ``DELAYED`` is a status of good answers.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import cast
from urllib.parse import parse_qsl, urlsplit

from marketdata.recovery import errors
from resources.providers.answer_json import JsonAnswers, Numbers
from resources.providers.answer_text import plain_text, shortened, without_key
from resources.providers.http import HttpAnswer, status_error

PROVIDER = "polygon"
JSON = JsonAnswers(PROVIDER)
malformed = JSON.malformed
HOSTS = frozenset({"api.massive.com", "api.polygon.io"})
"""The vendor's hosts, new and old; a next page elsewhere is not followed."""
_GOOD = frozenset({"OK", "DELAYED"})
_NOT_FOUND = 404
_LONGEST_ERROR = 4096
"""Errors are short; a body longer than this is not searched for one."""
_CURES = {
    401: "; check the key",
    402: "; the plan does not include it",
    403: "; the plan does not include these data or days",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One answer's envelope.

    Attributes:
        rows: The objects of ``results``; floats are Decimal if the page was read exactly.
        ticker: Ticker of the rows, if the envelope has it.
        adjusted: Whether prices are adjusted for splits, if the envelope says so.
        next_url: URL of further rows; None on the last page.
    """

    rows: list[Mapping[str, object]]
    ticker: str | None
    adjusted: bool | None
    next_url: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class NextPage:
    """Path and query of the next page, without host and key."""

    path: str
    parameters: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class _OwnError:
    """Status and text of Polygon's own error."""

    status: str
    text: str


def classify_error(answer: HttpAnswer, operation: str, *, key: str) -> errors.ProviderError | None:
    """Return the error of ``answer``, or None if it may be parsed.

    Facts: 401 is a key that Polygon does not know; 403 with ``NOT_AUTHORIZED`` is data or days
    outside of the plan; 404 with ``NOT_FOUND`` is an unknown symbol (other paths are 404
    without it); 429 may come without a body, and without Retry-After. The same errors
    count inside a 200 too.
    """
    own_error = _own_error(answer.body)
    text = plain_text(answer.body) if own_error is None else own_error.text
    detail = shortened(without_key(text, key)) + _CURES.get(answer.status, "")
    if answer.status == _NOT_FOUND and own_error is not None and own_error.status == "NOT_FOUND":
        return errors.UnknownSymbolError(detail, provider=PROVIDER, operation=operation)
    error = status_error(answer, provider=PROVIDER, operation=operation, detail=detail)
    if error is not None or own_error is None:
        return error
    return _kind(own_error)(detail, provider=PROVIDER, operation=operation)


def _kind(own_error: _OwnError) -> type[errors.ProviderError]:
    text = own_error.text.lower()
    if "maximum requests" in text:
        return errors.RateLimitedError
    if "api key" in text:
        return errors.KeyRefusedError
    if own_error.status == "NOT_AUTHORIZED":
        return errors.NotEntitledError
    if own_error.status == "NOT_FOUND":
        return errors.UnknownSymbolError
    return errors.RequestRejectedError


def _own_error(body: bytes) -> _OwnError | None:
    if not 0 < len(body) <= _LONGEST_ERROR:
        return None
    try:
        parsed: object = json.loads(body)
    except (ValueError, RecursionError):
        return None
    if not isinstance(parsed, dict):
        return None
    envelope = cast("dict[str, object]", parsed)
    status = str(envelope.get("status", ""))
    text = envelope.get("error") or envelope.get("message")
    if status.upper() in _GOOD or envelope.get("results") or not (status or text):
        return None
    return _OwnError(status=status.upper(), text=str(text or f"status {status}"))


def page(body: bytes, *, operation: str, exact: bool = False) -> Page:
    """Read the envelope of a list.

    Args:
        body: The answer.
        operation: For errors.
        exact: Read numbers with a point as Decimal, for amounts.

    Raises:
        MalformedPayloadError: Not an object with a list of objects under ``results``; a status
            that no good answer has; a count of rows without rows.
    """
    envelope = _envelope(body, operation, exact=exact)
    next_url = envelope.get("next_url") or None
    if next_url is not None and not isinstance(next_url, str):
        raise malformed(f"field next_url holds {type(next_url).__name__}", operation)
    ticker, adjusted = envelope.get("ticker"), envelope.get("adjusted")
    return Page(
        rows=_rows(envelope, operation),
        ticker=ticker if isinstance(ticker, str) else None,
        adjusted=adjusted if isinstance(adjusted, bool) else None,
        next_url=next_url,
    )


def detail(body: bytes, *, operation: str) -> Mapping[str, object]:
    """Read the envelope around one object.

    Raises:
        MalformedPayloadError: ``results`` is no object, the status is not that of an answer, or a
            number is NaN or Infinity, which JSON does not have.
    """
    results = _envelope(body, operation, exact=False, finite=True).get("results")
    if not isinstance(results, dict):
        raise malformed(f"an object was promised, a {type(results).__name__} came", operation)
    return cast("Mapping[str, object]", results)


def _no_number(word: str) -> float:
    message = f"{word} is no number"
    raise ValueError(message)


def _envelope(
    body: bytes, operation: str, *, exact: bool, finite: bool = False
) -> Mapping[str, object]:
    numbers = Numbers()
    if exact:
        numbers["parse_float"] = Decimal
    if finite:
        numbers["parse_constant"] = _no_number
    envelope = JSON.envelope(body, operation, **numbers)
    status = envelope.get("status", "OK")
    if status not in _GOOD:
        raise malformed(f"status {shortened(repr(status))}", operation)
    return envelope


def _rows(envelope: Mapping[str, object], operation: str) -> list[Mapping[str, object]]:
    results = envelope.get("results")
    if results is None:
        results = []
    if not isinstance(results, list):
        raise malformed(f"results: a list was promised, a {type(results).__name__} came", operation)
    rows = cast("list[object]", results)
    if not all(isinstance(row, dict) for row in rows):
        raise malformed("results hold something else than objects", operation)
    promised = envelope.get("resultsCount")
    if not rows and isinstance(promised, int) and promised > 0:
        raise malformed(f"{promised} results were promised, none came", operation)
    return cast("list[Mapping[str, object]]", rows)


def following(next_url: str, *, operation: str) -> NextPage:
    """Read the address of the next page.

    Polygon sends a whole URL without the key. Only path and parameters are used, so that the key
    is never sent to a host that an answer names.

    Raises:
        MalformedPayloadError: It is no address of the vendor.
    """
    try:
        url = urlsplit(next_url)
    except ValueError as error:
        raise malformed(f"next_url is no address: {error}", operation) from error
    if url.scheme != "https" or url.netloc not in HOSTS or len(url.path) <= 1:
        raise malformed("next_url leads away from the vendor's hosts", operation)
    parameters = {
        name: value
        for name, value in parse_qsl(url.query, keep_blank_values=True)
        if name.lower() != "apikey"
    }
    return NextPage(path=url.path.removeprefix("/"), parameters=parameters)
