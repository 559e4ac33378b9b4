"""What the answers of Binance's REST interface mean: bytes to rows of text, or errors.

Here: the errors of REST and of the file host, and the JSON of klines and aggregate trades. Not
here: the zip files (files.py), parsing the rows of both (rows.py), sending (../http.py), or which
requests make one answer (client.py).

The wire facts are those of Binance's own documentation of November 2026 (rest-api.md, errors.md),
of real answers in tests/recordings, and of reports in its public issues.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import cast

import pyarrow as pa

from marketdata.recovery import errors
from resources.providers.answer_json import JsonAnswers, Numbers, more_fields, unknown_fields
from resources.providers.answer_text import plain_text, shortened
from resources.providers.http import HttpAnswer, answered_at, retry_after_s, status_error

PROVIDER = "binance"
JSON = JsonAnswers(PROVIDER)
malformed = JSON.malformed

KLINE_FIELDS = (
    "open_time", "open", "high", "low", "close", "volume", "close_time", "quote_volume", "trades",
    "taker_base", "taker_quote", "unused",
)  # fmt: skip
"""Fields of a kline, in the order of its array and of the files' columns."""
TRADE_FIELDS = ("a", "p", "q", "f", "l", "T", "m", "M")
"""Fields of an aggregate trade: id, price, quantity, first and last trade, time, whether the buyer
is the maker, whether the price was the best; the files' columns have the same order."""

_AS_TEXT = Numbers(parse_float=str, parse_int=str, parse_constant=str)
"""Numbers are read as text, so that amounts keep every digit, quoted or not."""
_BANNED = 418
_INVALID_SYMBOL = -1121
_TOO_MANY_REQUESTS = -1003
_BANNED_UNTIL = re.compile(r"banned until (\d{13})\b")
_LATEST = datetime(2200, 1, 1, tzinfo=UTC)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECONDS_FROM = 10**14
_CURES = {
    403: "; the firewall refuses this address for a while: ask less",
    451: "; Binance serves nobody at this place: every request would fail, whatever it asks for",
}


def classify_error(answer: HttpAnswer, operation: str) -> errors.ProviderError | None:
    """Return the error of a REST answer, or None if it may be parsed.

    Facts: errors are 400 with ``code`` and ``msg``; 429 and, for an address that went on asking,
    418 say in Retry-After when to come back, 418 in its text too; 403 is the firewall's, for a
    while; 451 is the answer to a restricted country. It concerns every request, so it is a
    KeyRefusedError although there is no key: the work stops.
    """
    code, text = _error(answer.body)
    detail = shortened(plain_text(answer.body) if text is None else text)
    detail += _CURES.get(answer.status, "")
    if answer.status == _BANNED or (code == _TOO_MANY_REQUESTS and answer.status in {200, 400}):
        return errors.RateLimitedError(
            f"HTTP {answer.status}: {detail}",
            provider=PROVIDER,
            operation=operation,
            retry_after_s=_retry_after_s(answer, text or ""),
        )
    if answer.status == HTTPStatus.UNAVAILABLE_FOR_LEGAL_REASONS:
        message = f"HTTP {answer.status}: {detail}"
        return errors.KeyRefusedError(message, provider=PROVIDER, operation=operation)
    if code == _INVALID_SYMBOL and answer.status < HTTPStatus.INTERNAL_SERVER_ERROR:
        return errors.UnknownSymbolError(detail, provider=PROVIDER, operation=operation)
    error = status_error(
        answer, provider=PROVIDER, operation=operation, detail=detail, keyless=True
    )
    if error is not None or text is None:
        return error
    return errors.RequestRejectedError(
        f"code {code}: {detail}", provider=PROVIDER, operation=operation
    )


def classify_file_error(answer: HttpAnswer, operation: str) -> errors.ProviderError | None:
    """Return the error of the file host's answer, or None if it may be parsed.

    404 is no error here: the file does not exist (``files.is_missing``).
    """
    if answer.status == HTTPStatus.NOT_FOUND:
        return None
    text = answer.body[:2000].decode("utf-8", "replace").strip()
    detail = shortened(re.sub(r"<[^>]*>", " ", text)).strip() if text.startswith("<") else ""
    return status_error(answer, provider=PROVIDER, operation=operation, detail=detail, keyless=True)


def _error(body: bytes) -> tuple[int | None, str | None]:
    """Return code and text of an error object, or nothing if ``body`` is none."""
    # Rows come as a list, so only an object can be an error.
    if body.lstrip()[:1] != b"{" or b'"code"' not in body[:1024]:
        return None, None
    try:
        parsed: object = json.loads(body)
    except (ValueError, RecursionError):
        return None, None
    fields = cast("dict[str, object]", parsed) if isinstance(parsed, dict) else {}
    code = fields.get("code")
    text = str(fields.get("msg") or "an error without a text")
    return (code, text) if type(code) is int else (None, None)


def _retry_after_s(answer: HttpAnswer, text: str) -> float | None:
    """Return the requested pause, by header or text, whichever is longer."""
    now = answered_at(answer)
    seconds = retry_after_s(answer.headers.get("retry-after"), now=now)
    until = _BANNED_UNTIL.search(text)
    if until is None:
        return seconds
    return max(int(until[1]) / 1000 - now.timestamp(), seconds or 0.0)


def server_time(body: bytes, *, operation: str) -> datetime:
    """Parse ``time``: Binance's own clock, aware UTC, milliseconds or microseconds.

    Raises:
        MalformedPayloadError: It has no such time.
    """
    parsed = JSON.value(body, operation, **_AS_TEXT)
    text = cast("dict[str, object]", parsed).get("serverTime") if isinstance(parsed, dict) else None
    if not isinstance(text, str) or re.fullmatch(r"[0-9]{13,16}", text) is None:
        raise malformed("field serverTime holds no time", operation)
    value = int(text)
    at = _EPOCH + timedelta(microseconds=value if value > _MICROSECONDS_FROM else value * 1000)
    if at > _LATEST:
        raise malformed(f"field serverTime holds the year {at.year}", operation)
    return at


@dataclass(frozen=True, slots=True, kw_only=True)
class TextRows:
    """Rows of one reply, still text.

    Attributes:
        table: One column for each field.
        odd: Rows with fewer fields, as text.
        notes: See Answer.
    """

    table: pa.Table
    odd: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def kline_rows(body: bytes, *, operation: str) -> TextRows:
    """Parse ``klines`` into one column of text for each of KLINE_FIELDS.

    Further fields at the end of an array are noted and not read.

    Raises:
        MalformedPayloadError: Not a list, or no array in it has as many fields.
    """
    rows = JSON.items(body, operation, **_AS_TEXT)
    arrays = [cast("list[object]", row) for row in rows if isinstance(row, list)]
    whole = [row for row in arrays if len(row) >= len(KLINE_FIELDS)]
    if rows and not arrays:
        raise malformed("the list holds something else than arrays", operation)
    if rows and not whole:
        count = len(arrays[0])
        raise malformed(f"an array of {count} came, klines have {len(KLINE_FIELDS)}", operation)
    odd = [
        json.dumps(row)
        for row in rows
        if not isinstance(row, list) or len(cast("list[object]", row)) < len(KLINE_FIELDS)
    ]
    most = max(map(len, whole), default=len(KLINE_FIELDS))
    return TextRows(
        table=_columns(whole, KLINE_FIELDS),
        odd=tuple(odd),
        notes=more_fields("klines", most, len(KLINE_FIELDS)),
    )


def trade_rows(body: bytes, *, operation: str) -> TextRows:
    """Parse ``aggTrades`` into one column of text for each of TRADE_FIELDS; absent ones are null.

    Raises:
        MalformedPayloadError: Not a list of objects.
    """
    rows = JSON.rows(body, operation, **_AS_TEXT)
    arrays = [[row.get(name) for name in TRADE_FIELDS] for row in rows]
    return TextRows(
        table=_columns(arrays, TRADE_FIELDS), notes=unknown_fields("aggTrades", rows, TRADE_FIELDS)
    )


def _columns(rows: Sequence[Sequence[object]], fields: Sequence[str]) -> pa.Table:
    columns = [
        pa.array([_text(row[place]) for row in rows], pa.string()) for place in range(len(fields))
    ]
    return pa.Table.from_arrays(columns, names=list(fields))


def _text(value: object) -> str | None:
    if isinstance(value, bool):
        return str(value)
    if value is None or isinstance(value, str):
        # A lone surrogate is valid JSON text but no valid Unicode.
        return None if value is None or not _is_unicode(value) else value
    return json.dumps(value)


def _is_unicode(text: str) -> bool:
    return text.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in text)
