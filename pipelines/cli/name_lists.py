"""Lists of names that a person gives: tickers, pairs or series, typed or in a file.

Here: reading such a list as editors, terminals and spreadsheets write it. Not here: which names
exist (load_options.py), or anything with a database.
"""

import codecs
import csv
import difflib
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from marketdata.recovery import errors

HEADINGS = {
    "ticker", "tickers", "symbol", "symbols", "pair", "pairs", "series", "series id", "series_id",
    "subject", "subjects",
}  # fmt: skip
"""Headings of the column of names, in lower case. Without a heading all cells are names."""
DELIMITERS = "\t;,"
LONGEST_SHOWN = 24
"""Most characters of a name that a message shows."""
SAME_LENGTH = 0.15
"""Bonus: a wrong letter, or two exchanged ones, are likelier than a missing letter."""

_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_INVISIBLE = dict.fromkeys(map(ord, "\ufeff\u200b\u200c\u200d\u2060\u00ad"))
_SEPARATORS = re.compile(r"[\s,;]+")
_WORKBOOKS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")


def names_in(text: str) -> list[str]:
    """Return the names in a text, upper case, each once; split at blanks, commas, semicolons."""
    plain = text.translate(_INVISIBLE).replace('"', " ")
    return list(dict.fromkeys(word.upper() for word in _SEPARATORS.split(plain) if word))


def names_of_file(file: Path) -> list[str]:
    """Return the names that a file lists, upper case, each once, in their order.

    A line holds one name or several. The file may come from an editor or a spreadsheet: with a
    byte-order mark, as UTF-16, with commas, semicolons or tabs, quotes, and a heading. Of a table
    with headings the column of tickers (or symbols, pairs, series) is read.

    Raises:
        ArgumentError: The file cannot be read, or is no text.
    """
    try:
        content = file.read_bytes()
    except OSError as error:
        message = f"{file} cannot be read: {error.strerror}; it holds one ticker a line"
        raise errors.ArgumentError(message) from error
    lines = [line for line in _decoded(content, file).splitlines() if line.strip()]
    if lines and lines[0].strip().lower().startswith("sep="):
        lines = lines[1:]  # Excel names its delimiter in a first line
    rows = list(csv.reader(lines, delimiter=_delimiter(lines), skipinitialspace=True))
    return names_in(" ".join(_cells(rows)))


def near(name: str, known: Iterable[str]) -> Sequence[str]:
    """Return up to three of ``known`` that are similar to ``name``, the likeliest first."""

    def likeness(candidate: str) -> float:
        alike = difflib.SequenceMatcher(None, name, candidate).ratio()
        # A typing mistake is seldom in the first letter.
        return alike + SAME_LENGTH * ((len(candidate) == len(name)) + (candidate[:1] == name[:1]))

    close = difflib.get_close_matches(name, known, n=20, cutoff=0.5)
    return sorted(close, key=likeness, reverse=True)[:3]


def suggested(name: str, known: Iterable[str]) -> str:
    """Return ``name``, followed by similar names of ``known``."""
    close = near(name, known)
    return f"{shown(name)} (did you mean {', '.join(close)}?)" if close else shown(name)


def shown(name: str) -> str:
    """Return ``name``, shortened to fit a line."""
    return (
        name if len(name) <= LONGEST_SHOWN else f"{name[:LONGEST_SHOWN]}… ({len(name):,} letters)"
    )


def _decoded(content: bytes, file: Path) -> str:
    if content.startswith(_WORKBOOKS):
        message = f"{file} is a spreadsheet's workbook: save it as CSV"
        raise errors.ArgumentError(message)
    marked = (name for mark, name in _BYTE_ORDER_MARKS if content.startswith(mark))
    try:
        return content.decode(next(marked, _unmarked(content))).translate(_INVISIBLE)
    except UnicodeDecodeError:
        message = f"{file} is not a text in UTF-8 or UTF-16: save it as CSV UTF-8"
        raise errors.ArgumentError(message) from None


def _unmarked(content: bytes) -> str:
    """Return the encoding of a text without a mark: in UTF-16 every other byte is 0."""
    head = content[:64]
    if b"\0" not in head:
        return "utf-8"
    return "utf-16-be" if head[0] == 0 else "utf-16-le"


def _delimiter(lines: Sequence[str]) -> str:
    """Return the delimiter of the first line."""
    first = lines[0] if lines else ""
    return max(DELIMITERS, key=first.count)


def _cells(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the cells that hold names: those of a headed column, otherwise all."""
    heading = [cell.strip().lower() for cell in rows[0]] if rows else []
    place = next((place for place, cell in enumerate(heading) if cell in HEADINGS), None)
    if place is None:
        return [cell for row in rows for cell in row]
    return [row[place] for row in rows[1:] if place < len(row)]
