"""What a provider promised to be JSON: bodies and cells, read or refused.

Here: what is read alike, whoever sent it. Not here: which fields there are and what they mean (each
provider's wire.py and its neighbours), or how an answer is quoted in an error (answer_text.py).
"""

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import InvalidOperation
from typing import Any, TypedDict, Unpack, cast

from marketdata.recovery import errors
from resources.providers.answer_text import shortened

Row = Mapping[str, object]

_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


class Numbers(TypedDict, total=False):
    """How numbers are read, by the names of json.loads; without them, as int and float."""

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
        """Return the error of an answer that is not as promised."""
        return errors.MalformedPayloadError(
            f"{message}; the answer was not stored", provider=self.provider, operation=operation
        )

    def value(self, body: bytes, operation: str, **numbers: Unpack[Numbers]) -> object:
        """Read any JSON."""
        try:
            return json.loads(body, **numbers)
        # A Decimal refuses an exponent of twenty digits with an error of its own.
        except (ValueError, RecursionError, InvalidOperation) as error:
            raise self.malformed(f"not JSON: {shortened(str(error))}", operation) from error

    def items(self, body: bytes, operation: str, **numbers: Unpack[Numbers]) -> list[object]:
        """Read a list."""
        parsed = self.value(body, operation, **numbers)
        if not isinstance(parsed, list):
            what = type(parsed).__name__
            raise self.malformed(f"a list was promised, a {what} came", operation)
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
            what = type(parsed).__name__
            raise self.malformed(f"an object was promised, a {what} came", operation)
        return cast("Row", parsed)

    def text(self, row: Row, name: str, operation: str) -> str | None:
        """Read a text; a missing one is null or empty."""
        value = row.get(name)
        if value is None or value == "":
            return None
        if not isinstance(value, str):
            raise self.malformed(f"field {name} holds {type(value).__name__}", operation)
        return value

    def flag(self, row: Row, name: str, operation: str) -> bool | None:
        """Read a truth value."""
        value = row.get(name)
        if value is not None and not isinstance(value, bool):
            raise self.malformed(f"field {name} holds {type(value).__name__}", operation)
        return value

    def day(self, row: Row, name: str, operation: str) -> date | None:
        """Read a text that is a day; a missing one is null or empty."""
        told = self.text(row, name, operation)
        found = day_of(told)
        if told is not None and found is None:
            raise self.malformed(f"field {name} is no day: {shortened(told)}", operation)
        return found

    def refuse_unstorable(self, row: Row, operation: str) -> None:
        """Refuse text that is JSON, but that neither UTF-8 nor the database can hold.

        The database would refuse its whole batch.
        """
        try:
            text = json.dumps(row, ensure_ascii=False, allow_nan=False, default=str)
            text.encode()
        except ValueError as error:
            why = shortened(str(error))
            raise self.malformed(f"a row cannot be kept: {why}", operation) from error
        if "\\u0000" in text:
            raise self.malformed("a row cannot be kept: it holds a zero character", operation)


def day_of(value: object) -> date | None:
    """Return the day that a cell such as ``2026-08-04`` holds, or None if it holds none."""
    # fromisoformat alone also reads 20260804 and 2026-W32-2, which nobody sends.
    if not isinstance(value, str) or _DAY.fullmatch(value) is None:
        return None
    try:
        return date.fromisoformat(value)
    except ValueError:
        return None


def number_of(value: object) -> float | None:
    """Return the finite number that a cell holds, or None if it holds none."""
    # A bool is an int to Python, and would be taken for a price of 1.
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        found = float(value)
    except OverflowError:
        return None
    # Only an integer can differ from its double; rounding it would invent a figure.
    return found if math.isfinite(found) and found == value else None
