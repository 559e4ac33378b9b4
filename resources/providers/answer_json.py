"""Reads JSON bodies and cells of any provider, or refuses them.

Here: what all providers have in common. Not here: which fields there are and what they mean (each
provider's wire.py and its neighbours), or how an error quotes an answer (answer_text.py).
"""

import json
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal, InvalidOperation
from typing import Any, Self, TypedDict, TypeVar, Unpack, cast

from marketdata.recovery import errors
from resources.providers.answer_text import shortened

Row = Mapping[str, object]
Cell = TypeVar("Cell")

NO_DAY = "0000-00-00"
"""How some databases write a missing day."""
_LARGEST_EXPONENT = 1000
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


class Numbers(TypedDict, total=False):
    """How numbers are read, as arguments of json.loads; by default as int and float."""

    parse_float: Callable[[str], Any]
    parse_int: Callable[[str], Any]
    parse_constant: Callable[[str], Any]


@dataclass(frozen=True, slots=True)
class JsonAnswers:
    """Reads the JSON of one provider.

    Every method but ``malformed`` raises MalformedPayloadError for what it cannot read.
    """

    provider: str

    def malformed(self, message: str, operation: str) -> errors.MalformedPayloadError:
        """Return the error of an answer of the wrong form."""
        return errors.MalformedPayloadError(
            f"{message}; the answer was not stored", provider=self.provider, operation=operation
        )

    def value(self, body: bytes, operation: str, **numbers: Unpack[Numbers]) -> object:
        """Read any JSON."""
        try:
            return json.loads(body, **numbers)
        # Decimal raises its own error for an exponent of twenty digits.
        except (ValueError, RecursionError, InvalidOperation) as error:
            raise self.malformed(f"not JSON: {shortened(str(error))}", operation) from error

    def items(self, body: bytes, operation: str, **numbers: Unpack[Numbers]) -> list[object]:
        """Read a list."""
        parsed = self.value(body, operation, **numbers)
        if not isinstance(parsed, list):
            kind = type(parsed).__name__
            raise self.malformed(f"a list was promised, a {kind} came", operation)
        return cast("list[object]", parsed)

    def rows(self, body: bytes, operation: str, **numbers: Unpack[Numbers]) -> list[Row]:
        """Read a list of objects."""
        items = self.items(body, operation, **numbers)
        if not all(isinstance(item, dict) for item in items):
            raise self.malformed("the list holds something else than objects", operation)
        return cast("list[Row]", items)

    def envelope(self, body: bytes, operation: str, **numbers: Unpack[Numbers]) -> Row:
        """Read an object."""
        parsed = self.value(body, operation, **numbers)
        if not isinstance(parsed, dict):
            kind = type(parsed).__name__
            raise self.malformed(f"an object was promised, a {kind} came", operation)
        return cast("Row", parsed)


class UnreadableError(ValueError):
    """A row cannot be read; the text says why. It costs this row, not the answer."""

    @classmethod
    def field(cls, name: str) -> Self:
        """Return the error of a cell with the wrong kind of value."""
        return cls(f"field {name} cannot be read")


def text_of(row: Row, name: str) -> str | None:
    """Read a text; a missing one is null or empty.

    Raises:
        UnreadableError: It is anything else.
    """
    value = row.get(name)
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        raise UnreadableError.field(name)
    return value


def flag_of(row: Row, name: str) -> bool | None:
    """Read a truth value; a missing one is null.

    Raises:
        UnreadableError: It is anything else.
    """
    value = row.get(name)
    if value is not None and not isinstance(value, bool):
        raise UnreadableError.field(name)
    return value


def optional_day_of(row: Row, name: str) -> date | None:
    """Read a text that is a day; a missing one is null, empty, or a database's day of zeros.

    Raises:
        UnreadableError: It is anything else.
    """
    text = text_of(row, name)
    day = day_of(text)
    if text is not None and day is None and text != NO_DAY:
        raise UnreadableError.field(name)
    return day


class ReadableCells:
    """Reads optional cells: one that cannot be read is null, and noted."""

    def __init__(self, row: Row) -> None:
        self._row = row
        self._unread: list[str] = []

    def read(self, read: Callable[[Row, str], Cell | None], name: str) -> Cell | None:
        """Return field ``name`` as ``read`` reads it, or None if it cannot be read."""
        try:
            return read(self._row, name)
        except UnreadableError:
            self._unread.append(name)
            return None

    @property
    def notes(self) -> tuple[str, ...]:
        """One sentence for each field that could not be read."""
        return tuple(
            f"field {name} cannot be read and is stored as null: it came as "
            f"{shortened(repr(self._row.get(name)))}"
            for name in self._unread
        )


def refuse_unstorable(row: Row) -> None:
    """Refuse a row that JSON can hold but the database cannot: the whole batch would fail.

    Raises:
        UnreadableError: The row has a text that is no UTF-8, a zero character, NaN, or a number
            with too many digits.
    """
    try:
        text = json.dumps(row, ensure_ascii=False, allow_nan=False, default=_written_out)
        text.encode()
    except ValueError as error:
        message = "the row cannot be kept: it holds what is no text or no number"
        raise UnreadableError(message) from error
    if "\\u0000" in text:
        message = "the row cannot be kept: it holds a zero character"
        raise UnreadableError(message)


def _written_out(value: object) -> str:
    # jsonb writes numbers out, and the database refuses those that are too long.
    if isinstance(value, Decimal) and abs(value.adjusted()) > _LARGEST_EXPONENT:
        message = "a number out of range"
        raise ValueError(message)
    return str(value)


def more_fields(rows: str, received: int, known: int) -> tuple[str, ...]:
    """Note rows with more fields than are known, where fields go by their position."""
    return (f"{rows} have {received} fields, {known} are known",) if received > known else ()


def unknown_fields(kind: str, rows: Sequence[Row], known: Iterable[str]) -> tuple[str, ...]:
    """Note unknown fields of the first and last row."""
    ends = (rows[0], rows[-1]) if rows else ()
    strange = sorted({name for row in ends for name in row}.difference(known))
    shown = shortened(", ".join(map(repr, strange)))
    return (f"{kind} have fields that were not known: {shown}",) if strange else ()


def day_of(value: object) -> date | None:
    """Return the day that a cell such as ``2026-08-04`` holds, or None if it holds none."""
    # fromisoformat alone also reads 20260804 and 2026-W32-2, which no provider sends.
    if not isinstance(value, str) or _DAY.fullmatch(value) is None:
        return None
    try:
        return date.fromisoformat(value)
    except ValueError:
        return None


def number_of(value: object) -> float | None:
    """Return the finite number that a cell holds, or None if it holds none."""
    # In Python a bool is an int, and would count as a price of 1.
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    # Only an integer can differ from its double; rounding it would invent a figure.
    return number if math.isfinite(number) and number == value else None
