"""What FRED's answers mean: bytes to observations, vintages and updates, or to errors.

Here: classifying errors and parsing single pages, pure functions of an answer. Not
here: sending requests (../http.py), or which requests make one answer (client.py).

Wire facts: recordings of GDP from January 2025 (tests/recordings/fred_*), error texts that
public clients' tests and issues quote. Everything is a text, missing values are ``"."``, errors
have an object with ``error_code`` in JSON and an element ``error`` in XML, which is what FRED
falls back to, and all of them but the throttle come as status 400.
"""

import decimal
import html
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from http import HTTPStatus
from typing import cast

import pyarrow as pa

from marketdata.macro import WIRE_OBSERVATIONS
from marketdata.recovery import errors
from marketdata.rows import RejectedRow, unread
from resources.providers.answer_json import JsonAnswers, day_of
from resources.providers.answer_text import plain_text, shortened, without_key
from resources.providers.http import HttpAnswer, status_error

PROVIDER = "fred"
JSON = JsonAnswers(PROVIDER)
malformed = JSON.malformed
_MISSING = "."
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,4})?", re.ASCII)
_XML_ERROR = re.compile(rb'<error\s+code="(\d{3})"\s+message="([^"]*)"')
_SCALE = decimal.Decimal(1).scaleb(-18)
_EXACT = decimal.Context(prec=38, rounding=decimal.ROUND_HALF_EVEN)
_HAS_NO_VINTAGES = "does not exist in alfred"


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One page of a list.

    Attributes:
        count: Rows of the whole list, as the answer has it.
        received: Rows of this page, including those left out.
    """

    count: int
    received: int


@dataclass(frozen=True, slots=True, kw_only=True)
class VintagePage(Page):
    """A page of ``series/vintagedates``; ``left_out`` are dates that cannot be read."""

    days: tuple[date, ...]
    left_out: tuple[RejectedRow, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservationPage(Page):
    """A page of ``series/observations``.

    Attributes:
        realtime: First and last day of the answer's real-time period.
        rows: WIRE_OBSERVATIONS, with spans as they came: clipped to ``realtime``.
        left_out: Rows that cannot be read; ``day`` is the period's, if readable.
    """

    realtime: tuple[date | None, date | None]
    rows: pa.Table
    left_out: tuple[RejectedRow, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdatePage(Page):
    """A page of ``series/updates``: when each series last changed (aware UTC), by id."""

    updated_at: Mapping[str, datetime]


def classify_error(answer: HttpAnswer, operation: str, *, key: str) -> errors.ProviderError | None:
    """Return the error of ``answer``, or None if it may be parsed.

    Under load, FRED calls even a good key "not registered": ``fred.classifier`` decides whether
    that counts.
    """
    own_error = _own_error(answer)
    if own_error is None:
        detail = shortened(without_key(plain_text(answer.body), key))
        return status_error(answer, provider=PROVIDER, operation=operation, detail=detail)
    status, message = own_error
    detail = shortened(without_key(message, key))
    lower = message.lower()
    if "api_key" in lower and status < HTTPStatus.TOO_MANY_REQUESTS:
        text = f"HTTP {status}: {detail}; check the key"
        return errors.KeyRefusedError(text, provider=PROVIDER, operation=operation)
    if _HAS_NO_VINTAGES in lower:
        text = (
            f"HTTP {status}: no vintages are kept of the series, so it cannot be had as it was "
            f"published: {detail}"
        )
        return errors.RequestRejectedError(text, provider=PROVIDER, operation=operation)
    if "series does not exist" in lower:
        text = f"HTTP {status}: {detail}"
        return errors.UnknownSymbolError(text, provider=PROVIDER, operation=operation)
    answer_with_code = replace(answer, status=status)
    return status_error(answer_with_code, provider=PROVIDER, operation=operation, detail=detail)


def is_unregistered(error: errors.ProviderError) -> bool:
    """Return whether an error of ``classify_error`` says that FRED does not know the key."""
    return isinstance(error, errors.KeyRefusedError) and "not registered" in error.reason


def _own_error(answer: HttpAnswer) -> tuple[int, str] | None:
    """Return code and text of FRED's own error, in any form and under any status."""
    head = answer.body[:4096]
    match = _XML_ERROR.search(head)
    if match is not None:
        return int(match[1]), html.unescape(match[2].decode("utf-8", "replace"))
    if b'"error_code"' not in head:
        return None
    try:
        parsed: object = json.loads(answer.body)
    except (ValueError, RecursionError):
        return None
    if not isinstance(parsed, dict):
        return None
    fields = cast("dict[str, object]", parsed)
    code, text = fields.get("error_code"), fields.get("error_message")
    # An error with an unusable code is still an error, and a permanent one.
    status = int(str(code)) if re.fullmatch(r"[345]\d\d", str(code)) else 400
    return status, str(text) if text else "an error without a text"


def vintage_page(body: bytes, *, operation: str) -> VintagePage:
    """Parse ``series/vintagedates``.

    Raises:
        MalformedPayloadError: It is anything else, or no date can be read.
    """
    envelope = _envelope(body, operation)
    listed = _list(envelope, "vintage_dates", operation)
    days = [day_of(text) for text in listed]
    odd = [text for text, day in zip(listed, days, strict=True) if day is None]
    if odd and len(odd) == len(listed):
        raise malformed(f"vintage_dates holds {shortened(repr(odd[0]))}", operation)
    return VintagePage(
        left_out=tuple(
            unread(json.dumps(text, default=str), reason="a vintage's date cannot be read")
            for text in odd
        ),
        count=_count(envelope, operation),
        received=len(listed),
        days=tuple(day for day in days if day is not None),
    )


def update_page(body: bytes, *, operation: str) -> UpdatePage:
    """Parse ``series/updates``.

    Raises:
        MalformedPayloadError: It is anything else, or a row lacks id or time: no changed series
            may be missed.
    """
    envelope = _envelope(body, operation)
    listed = _list(envelope, "seriess", operation)
    updated_at: dict[str, datetime] = {}
    for row in listed:
        fields = cast("dict[str, object]", row) if isinstance(row, dict) else {}
        name, at = fields.get("id"), _moment(fields.get("last_updated"))
        if not isinstance(name, str) or not name or at is None:
            raise malformed(f"seriess holds {shortened(repr(cast('object', row)))}", operation)
        updated_at[name] = at
    return UpdatePage(
        count=_count(envelope, operation), received=len(listed), updated_at=updated_at
    )


def observation_page(body: bytes, series: str, *, operation: str) -> ObservationPage:
    """Parse ``series/observations`` with ``output_type=1``; rows get the symbol ``series``.

    Values are exact decimals, rounded half-even after 18 decimal places. A value that is no number
    must not look like a missing one: its row is left out, as is one without readable dates.

    Raises:
        MalformedPayloadError: The structure is wrong, or no row can be read.
    """
    envelope = _envelope(body, operation)
    if str(envelope.get("output_type", 1)) != "1" or envelope.get("units", "lin") != "lin":
        raise malformed("the answer is of another output type or unit than asked for", operation)
    listed = _list(envelope, "observations", operation)
    columns: list[tuple[date, date, date, decimal.Decimal | None]] = []
    left_out: list[RejectedRow] = []
    for row in listed:
        fields = cast("dict[str, object]", row) if isinstance(row, dict) else {}
        read = _observation(fields)
        if read is None:
            text = shortened(json.dumps(row, default=str))
            left_out.append(unread(text, symbol=series, day=day_of(fields.get("date"))))
        else:
            columns.append(read)
    if listed and not columns:
        first = shortened(json.dumps(listed[0], default=str))
        raise malformed(f"no row can be read, such as {first}", operation)
    names = ("observed_on", "realtime_start", "realtime_end", "value")
    table = pa.Table.from_pydict(
        {
            "symbol": [series] * len(columns),
            **{name: [row[place] for row in columns] for place, name in enumerate(names)},
        },
        schema=WIRE_OBSERVATIONS,
    )
    return ObservationPage(
        count=_count(envelope, operation),
        received=len(listed),
        realtime=(day_of(envelope.get("realtime_start")), day_of(envelope.get("realtime_end"))),
        rows=table,
        left_out=tuple(left_out),
    )


def _observation(
    fields: Mapping[str, object],
) -> tuple[date, date, date, decimal.Decimal | None] | None:
    days = [day_of(fields.get(name)) for name in ("date", "realtime_start", "realtime_end")]
    observed_on, start, end = days
    text = str(fields.get("value"))
    is_missing = text == _MISSING
    if observed_on is None or start is None or end is None:
        return None
    amount = None if is_missing else _amount(text)
    if amount is None and not is_missing:
        return None
    return observed_on, start, end, amount


def _amount(text: str) -> decimal.Decimal | None:
    """Return a number, or None if it is none or has more than 20 digits before the point."""
    if _NUMBER.fullmatch(text) is None:
        return None
    try:
        return decimal.Decimal(text).quantize(_SCALE, context=_EXACT)
    except decimal.InvalidOperation:
        return None


def _moment(text: object) -> datetime | None:
    """Read ``2024-12-19 07:55:01-06``; the offset is St. Louis's at that time."""
    try:
        at = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return None if at.tzinfo is None else at.astimezone(UTC)


def _envelope(body: bytes, operation: str) -> Mapping[str, object]:
    if body.lstrip()[:1] == b"<":
        raise malformed("XML or a web page came instead of JSON", operation)
    # Numbers stay text: a value must not pass through a float.
    return JSON.envelope(body, operation, parse_float=str, parse_int=str, parse_constant=str)


def _list(envelope: Mapping[str, object], name: str, operation: str) -> list[object]:
    rows = envelope.get(name)
    if not isinstance(rows, list):
        raise malformed(f"the answer has no list {name}", operation)
    return cast("list[object]", rows)


def _count(envelope: Mapping[str, object], operation: str) -> int:
    text = str(envelope.get("count"))
    if not (text.isascii() and text.isdigit()):
        raise malformed(f"field count holds {shortened(text)}", operation)
    return int(text)
