"""What Financial Modeling Prep's answers mean: bytes to Arrow, records or errors.

Here: parsing and the reading of refusals, pure functions of an answer. Not here: sending
requests (http.py) or which requests make one history (fmp.py).

The wire facts are those of FMP's "stable" API as measured by public clients in 2026. The first
of them: an error is told by the content of an answer, not by its status.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import cast

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from marketdata.bars import PRICES, QUOTED_BARS
from marketdata.instruments import Constituent, our_tickers
from marketdata.recovery import errors
from resources.providers.http import HttpAnswer, status_error

PROVIDER = "fmp"
_NUMBERS = (*PRICES, "volume")
_SHOWN = 200
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
    detail = _shortened((_plain_text(answer) if told is None else told).replace(key, "***"))
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
    text = answer.body[:2000].decode("utf-8", "replace").strip()
    if text.startswith("<"):
        return "a web page instead of data"
    return "" if text == "[]" else text


def _shortened(text: str) -> str:
    line = re.sub(r"\s+", " ", text)
    return line if len(line) <= _SHOWN else line[: _SHOWN - 1] + "…"


def history_table(body: bytes, *, operation: str) -> pa.Table:
    """Parse ``historical-price-eod/full`` into QUOTED_BARS.

    ``vwap`` is left out: in real answers it is the mean of open, high, low and close. A price
    that a row lacks becomes null and is for validation to judge.

    json.loads and one Arrow array per column take 13 ms for 5,000 rows; pyarrow.json takes
    7 ms, but reads no JSON arrays (the text would have to be cut into lines) and cannot say
    which field has the wrong type. At two requests a second the difference does not matter.

    Raises:
        MalformedPayloadError: Not a list of objects, or a value of the wrong type.
    """
    rows = json_rows(body, operation=operation)
    columns = [
        pa.array(_column(rows, "symbol", (str,), operation), pa.string()),
        _dates(_column(rows, "date", (str,), operation), operation),
        *(_floats(rows, name, operation) for name in _NUMBERS),
    ]
    return pa.Table.from_arrays(columns, schema=QUOTED_BARS)


def json_rows(body: bytes, *, operation: str) -> list[Mapping[str, object]]:
    """Parse a JSON list of objects.

    Raises:
        MalformedPayloadError: It is anything else.
    """
    try:
        parsed: object = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise _malformed(f"not JSON: {error}", operation) from error
    if not isinstance(parsed, list):
        raise _malformed(f"a list was promised, a {type(parsed).__name__} came", operation)
    rows = cast("list[object]", parsed)
    if not all(isinstance(row, dict) for row in rows):
        raise _malformed("the list holds something else than objects", operation)
    return cast("list[Mapping[str, object]]", rows)


def _column(
    rows: Sequence[Mapping[str, object]], name: str, types: tuple[type, ...], operation: str
) -> list[object]:
    values = [row.get(name) for row in rows]
    # Exact types: a bool is an int to Python, and Arrow takes it for a price of 1.
    strange = set(map(type, values)).difference(types)
    if strange:
        names = ", ".join(sorted(kind.__name__ for kind in strange))
        raise _malformed(f"field {name} holds {names}", operation)
    return values


def _floats(rows: Sequence[Mapping[str, object]], name: str, operation: str) -> pa.Array:
    # One row without a price is a hole; a field that no row has is another wire format.
    if len(rows) > 1 and not any(name in row for row in rows):
        raise _malformed(f"no row has the field {name}", operation)
    values = _column(rows, name, (int, float, type(None)), operation)
    try:
        return pa.array(values, pa.float64())
    except pa.ArrowInvalid as error:
        raise _malformed(f"field {name}: {error}", operation) from error


def _dates(values: Sequence[object], operation: str) -> pa.Array:
    try:
        return pa.array(values, pa.string()).cast(pa.date32())
    except pa.ArrowInvalid as error:
        raise _malformed(f"field date: {error}", operation) from error


def market_table(body: bytes, session: date, *, operation: str) -> pa.Table:
    """Parse the CSV of ``eod-bulk`` for ``session`` into QUOTED_BARS.

    The header is quoted and has low before high; numbers may have exponents and volumes
    fractions; symbols are those of the whole world, crypto pairs included. ``[]`` is taken for
    a day without rows.

    Raises:
        MalformedPayloadError: Not this CSV, a value of the wrong type, or rows of another day.
    """
    if body.strip() == b"[]":
        return QUOTED_BARS.empty_table()
    try:
        table = pa_csv.read_csv(
            pa.BufferReader(body if body.endswith(b"\n") else body + b"\n"),
            convert_options=pa_csv.ConvertOptions(
                include_columns=["symbol", "date", *_NUMBERS],
                column_types={
                    "symbol": pa.string(),
                    "date": pa.date32(),
                    **{name: pa.float64() for name in _NUMBERS},
                },
                null_values=["", "null"],
                quoted_strings_can_be_null=True,
            ),
        )
    except (pa.ArrowInvalid, pa.ArrowKeyError) as error:
        raise _malformed(_named_column(str(error), body), operation) from error
    others = [str(day) for day in pc.unique(table["date"]).to_pylist() if day != session]
    if others:
        raise _malformed(f"rows of another day came: {', '.join(others[:3])}", operation)
    return table.rename_columns(QUOTED_BARS.names).cast(QUOTED_BARS)


def _named_column(message: str, body: bytes) -> str:
    """Put the column's name into Arrow's message, which has only its number."""
    header = body.split(b"\n", 1)[0].decode("utf-8", "replace").replace('"', "").split(",")
    found = re.search(r"In CSV column #(\d+)", message)
    if found and int(found[1]) < len(header):
        return f"field {header[int(found[1])].strip()}: {message}"
    return f"not the promised CSV: {message}"


def constituent_list(body: bytes, *, operation: str) -> list[Constituent]:
    """Parse ``sp500-constituent``, tickers in our spelling.

    Raises:
        MalformedPayloadError: A field has the wrong type, or the list is empty: an index
            without members would close every membership.
    """
    rows = json_rows(body, operation=operation)
    if not rows:
        raise _malformed("the index came without members", operation)
    spelling = our_tickers(PROVIDER)
    symbols = [_text(row, "symbol", operation) for row in rows]
    return [
        Constituent(
            ticker=spelling.get(symbol, symbol),
            name=_text(row, "name", operation),
            cik=_cik(row, operation),
            sector=_text_or_none(row, "sector", operation),
        )
        for symbol, row in zip(symbols, rows, strict=True)
    ]


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
    listed = _text_or_none(row, "ipoDate", operation)
    return Profile(
        symbol=_text(row, "symbol", operation),
        name=_text(row, "companyName", operation),
        cik=_cik(row, operation),
        exchange=_text_or_none(row, "exchange", operation),
        currency=_text_or_none(row, "currency", operation),
        sector=_text_or_none(row, "sector", operation),
        listed_on=None if listed is None else _dates([listed], operation)[0].as_py(),
        is_trading=row.get("isActivelyTrading") is True,
    )


def _text(row: Mapping[str, object], name: str, operation: str) -> str:
    value = _text_or_none(row, name, operation)
    if value is None:
        raise _malformed(f"field {name} is empty", operation)
    return value


def _text_or_none(row: Mapping[str, object], name: str, operation: str) -> str | None:
    """FMP writes a missing text as the empty string or null."""
    value = row.get(name)
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        raise _malformed(f"field {name} holds {type(value).__name__}", operation)
    return value


def _cik(row: Mapping[str, object], operation: str) -> str | None:
    cik = _text_or_none(row, "cik", operation)
    if cik is not None and re.fullmatch(r"\d{10}", cik) is None:
        raise _malformed(f"field cik is not ten digits: {_shortened(cik)}", operation)
    return cik


def _malformed(message: str, operation: str) -> errors.MalformedPayloadError:
    return errors.MalformedPayloadError(
        f"{message}; the answer was not stored", provider=PROVIDER, operation=operation
    )
