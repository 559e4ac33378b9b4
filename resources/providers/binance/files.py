"""Binance's public files: which exist, and what they contain.

Here: paths and days of publication, checksums, zip and CSV into rows of text. Not here: what the
rows mean (rows.py), or which files make one answer (client.py).

Facts: binance/binance-public-data (README and issues). Each zip holds one CSV and has a file with
its SHA-256 beside it; spot files have no header and those of futures have one; booleans are written
True and False; a file may be replaced later. Days are published on the next day, months from
their following month's first Monday on.
"""

import hashlib
import io
import re
import zipfile
import zlib
from collections import Counter
from collections.abc import Sequence
from datetime import date, timedelta
from http import HTTPStatus
from typing import Any

import pyarrow as pa
import pyarrow.csv as pa_csv

from resources.providers.answer_json import more_fields
from resources.providers.answer_text import shortened
from resources.providers.binance.wire import KLINE_FIELDS, TRADE_FIELDS, TextRows, malformed
from resources.providers.http import HttpAnswer

KLINES_LIMIT = 64 * 2**20
"""Bytes of a month of klines, unpacked; real ones have about 6 million."""
TRADES_LIMIT = 2**30
"""Bytes of a day of aggregate trades, unpacked; the busiest ones have several hundred million."""

_HEAD = 4096
"""Bytes read to find a header and the number of columns."""
_FIRST_LINES = 9

_CHECKSUM = re.compile(r"([0-9a-fA-F]{64}) [ *](\S+)\s*")
_MISSING = b"<Code>NoSuchKey</Code>"


def is_missing(answer: HttpAnswer) -> bool:
    """Return whether the file does not exist: by the status, or for a kept answer by its body."""
    return answer.status == HTTPStatus.NOT_FOUND or _MISSING in answer.body[:1024]


def month_of_klines(symbol: str, month: date) -> str:
    """Return the path of a month's klines of one minute."""
    return f"data/spot/monthly/klines/{symbol}/1m/{symbol}-1m-{month:%Y-%m}.zip"


def day_of_klines(symbol: str, day: date) -> str:
    """Return the path of a day's klines of one minute."""
    return f"data/spot/daily/klines/{symbol}/1m/{symbol}-1m-{day}.zip"


def day_of_trades(symbol: str, day: date) -> str:
    """Return the path of a day's aggregate trades.

    Monthly files are not used: a busy pair's has gigabytes, and an answer is held in memory.
    """
    return f"data/spot/daily/aggTrades/{symbol}/{symbol}-aggTrades-{day}.zip"


def month_published_on(month: date) -> date:
    """Return the day from which on a month's file is expected: the next month's first Monday."""
    first = (month.replace(day=1) + timedelta(days=31)).replace(day=1)
    return first + timedelta(days=-first.weekday() % 7)


def checksum(body: bytes, path: str) -> str | None:
    """Parse the file beside a zip: its SHA-256 in hex, two blanks, its name.

    None if it is anything else, or of another file: then nothing can be compared.
    """
    match = _CHECKSUM.fullmatch(body[:1024].decode("utf-8", "replace"))
    if match is None or match[2] != path.rpartition("/")[2]:
        return None
    return match[1].lower()


def verify(body: bytes, expected: str, *, operation: str) -> None:
    """Compare a zip with its checksum.

    Raises:
        MalformedPayloadError: They differ: the file is cut or damaged, or is just being replaced.
    """
    actual = hashlib.sha256(body).hexdigest()
    if actual != expected:
        message = f"the file's SHA-256 is {actual[:12]}…, its checksum says {expected[:12]}…"
        raise malformed(message, operation)


def kline_rows(body: bytes, path: str, *, operation: str, limit: int = KLINES_LIMIT) -> TextRows:
    """Unpack a file of klines into one column of text for each of KLINE_FIELDS.

    Further columns are noted and not read.

    Raises:
        MalformedPayloadError: See ``unpacked``; or the CSV has fewer than twelve columns.
    """
    content = unpacked(body, path, operation=operation, limit=limit)
    return _csv_rows(content, "klines", KLINE_FIELDS, operation)


def trade_rows(body: bytes, path: str, *, operation: str, limit: int = TRADES_LIMIT) -> TextRows:
    """Unpack a file of aggregate trades into one column of text for each of TRADE_FIELDS.

    Further columns are noted and not read.

    Raises:
        MalformedPayloadError: See ``unpacked``; or the CSV has fewer than eight columns.
    """
    content = unpacked(body, path, operation=operation, limit=limit)
    return _csv_rows(content, "aggTrades", TRADE_FIELDS, operation)


def unpacked(body: bytes, path: str, *, operation: str, limit: int) -> bytes:
    """Return the one CSV in a zip.

    Raises:
        MalformedPayloadError: No zip, a damaged one, one with other files than the CSV of its
            name, or one that unpacks to more than ``limit`` bytes.
    """
    name = path.rpartition("/")[2].removesuffix(".zip") + ".csv"
    try:
        with zipfile.ZipFile(io.BytesIO(body)) as archive:
            if archive.namelist() != [name]:
                shown = shortened(", ".join(archive.namelist()))
                raise malformed(f"the zip should hold {name}, it holds {shown}", operation)
            # The length in the zip may be wrong: only the bytes read count.
            with archive.open(name) as member:
                content = member.read(limit + 1)
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, RuntimeError) as error:
        raise malformed(f"the zip cannot be read: {error}", operation) from error
    if len(content) > limit:
        raise malformed(f"the zip unpacks to more than {limit} bytes", operation)
    return content


def _csv_rows(content: bytes, kind: str, fields: Sequence[str], operation: str) -> TextRows:
    """Read CSV with or without a header: a line of figures begins with a digit."""
    types = dict.fromkeys(fields, pa.string())
    header = content[:1].isalpha()
    lines = content[:_HEAD].strip().splitlines()[int(header) :]
    if not lines:
        return TextRows(table=pa.schema(types.items()).empty_table())
    # The usual count among the first lines: a single odd line does not matter.
    count = Counter(line.count(b",") + 1 for line in lines[:_FIRST_LINES]).most_common(1)[0][0]
    extra_columns = [f"more {place}" for place in range(count - len(fields))]
    odd: list[str] = []

    def leave_out(row: Any) -> str:
        odd.append(row.text)
        return "skip"

    if count < len(fields):
        raise malformed(f"not the promised CSV: {count} columns came of {len(fields)}", operation)
    try:
        table = pa_csv.read_csv(
            pa.BufferReader(content),
            read_options=pa_csv.ReadOptions(
                column_names=[*fields, *extra_columns], skip_rows=int(header), use_threads=False
            ),
            # A quotation mark would swallow the lines that follow it.
            parse_options=pa_csv.ParseOptions(quote_char=False, invalid_row_handler=leave_out),
            convert_options=pa_csv.ConvertOptions(column_types=types, include_columns=list(fields)),
        )
    except pa.ArrowInvalid as error:
        raise malformed(f"not the promised CSV: {shortened(str(error))}", operation) from error
    return TextRows(table=table, odd=tuple(odd), notes=more_fields(kind, count, len(fields)))
