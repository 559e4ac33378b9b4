"""Lists of names that a person gives: tickers, pairs or series, typed or out of a file.

Here: what editors, terminals and spreadsheets make of such a list. Not here: which names there are
(load_options.py), or anything with a database.
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
"""What the column of names is headed with, in lower case; where there is no heading all cells are
names."""
DELIMITERS = "\t;,"
LONGEST_SHOWN = 24
"""Characters of a name that a message repeats."""
SAME_LENGTH = 0.15
"""A letter mistaken or two exchanged are likelier than one left out."""

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
    """Return the names of a text, upper case, each once; blanks, commas, semicolons between."""
    plain = text.translate(_INVISIBLE).replace('"', " ")
    return list(dict.fromkeys(word.upper() for word in _SEPARATORS.split(plain) if word))


def names_of_file(file: Path) -> list[str]:
    """Return the names that a file lists, upper case, each once, in their order.

    One a line or several; as an editor saves them, or as a spreadsheet does: with a byte-order
    mark, as UTF-16, with commas, semicolons or tabs, quotes, and a heading. Of a table with
    headings the column of tickers (or symbols, pairs, series) is taken.

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
        lines = lines[1:]  # Excel's own word for which delimiter follows
    rows = list(csv.reader(lines, delimiter=_delimiter(lines), skipinitialspace=True))
    return names_in(" ".join(_cells(rows)))


def near(name: str, known: Iterable[str]) -> Sequence[str]:
    """Return up to three of ``known`` that ``name`` may have meant, the likeliest first."""

    def likeness(one: str) -> float:
        alike = difflib.SequenceMatcher(None, name, one).ratio()
        # Whoever types a name wrong seldom does so at its first letter.
        return alike + SAME_LENGTH * ((len(one) == len(name)) + (one[:1] == name[:1]))

    close = difflib.get_close_matches(name, known, n=20, cutoff=0.5)
    return sorted(close, key=likeness, reverse=True)[:3]


def suggested(name: str, known: Iterable[str]) -> str:
    """Return ``name`` with those of ``known`` that it may have meant."""
    close = near(name, known)
    return f"{shown(name)} (did you mean {', '.join(close)}?)" if close else shown(name)


def shown(name: str) -> str:
    """Return ``name`` at a length that a line has room for."""
    return (
        name if len(name) <= LONGEST_SHOWN else f"{name[:LONGEST_SHOWN]}… ({len(name):,} letters)"
    )


def _decoded(content: bytes, file: Path) -> str:
    if content.startswith(_WORKBOOKS):
        message = f"{file} is a spreadsheet's own file: save it as CSV"
        raise errors.ArgumentError(message)
    marked = (name for mark, name in _BYTE_ORDER_MARKS if content.startswith(mark))
    try:
        return content.decode(next(marked, _unmarked(content))).translate(_INVISIBLE)
    except UnicodeDecodeError:
        message = f"{file} is not a text in UTF-8 or UTF-16: save it as CSV UTF-8"
        raise errors.ArgumentError(message) from None


def _unmarked(content: bytes) -> str:
    """Tell the encoding without a mark: in UTF-16 each other byte of a ticker is 0."""
    head = content[:64]
    if b"\0" not in head:
        return "utf-8"
    return "utf-16-be" if head[0] == 0 else "utf-16-le"


def _delimiter(lines: Sequence[str]) -> str:
    """Return what the first line is divided by."""
    first = lines[0] if lines else ""
    return max(DELIMITERS, key=first.count)


def _cells(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the cells that hold names: a column where one is headed so, otherwise all."""
    heading = [cell.strip().lower() for cell in rows[0]] if rows else []
    place = next((place for place, cell in enumerate(heading) if cell in HEADINGS), None)
    if place is None:
        return [cell for row in rows for cell in row]
    return [row[place] for row in rows[1:] if place < len(row)]
