"""JSON of providers: what is read, and what is refused with the provider's name."""

import json
import math
from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketdata.recovery import errors
from resources.providers.answer_json import (
    JsonAnswers,
    Numbers,
    UnreadableError,
    day_of,
    flag_of,
    number_of,
    optional_day_of,
    refuse_unstorable,
    text_of,
)
from resources.providers.coinbase import wire as coinbase_wire
from resources.providers.fmp import actions_wire
from resources.providers.polygon import wire as polygon_wire

JSON = JsonAnswers("p")


@pytest.mark.parametrize(
    ("body", "numbers", "named"),
    [
        (b"", Numbers(), "not JSON"),
        (b"[" * 100_000, Numbers(), "not JSON"),
        (b"\xff\xfe[]", Numbers(), "not JSON"),
        (b"[1.0e99999999999999999999]", Numbers(parse_float=Decimal), "not JSON"),
        (b"{}", Numbers(), "a list was promised, a dict came"),
        (b"null", Numbers(), "a list was promised, a NoneType came"),
        (b"[{}, 1]", Numbers(), "the list holds something else than objects"),
    ],
)
def test_what_is_no_list_of_objects_is_malformed(body: bytes, numbers: Numbers, named: str) -> None:
    """Whatever json.loads or a Decimal raises, the provider and the operation are in the error."""
    with pytest.raises(errors.MalformedPayloadError, match=f"p op: {named}.*was not stored"):
        JSON.rows(body, "op", **numbers)


def test_an_exponent_that_no_decimal_holds_is_malformed_wherever_amounts_are_exact() -> None:
    """It raised decimal.InvalidOperation through the whole run before."""
    cell = b"1.0e99999999999999999999"
    with pytest.raises(errors.MalformedPayloadError, match="coinbase op: not JSON"):
        coinbase_wire.listed(b"[[%s]]" % cell, list, operation="op")
    with pytest.raises(errors.MalformedPayloadError, match="fmp op: not JSON"):
        actions_wire.dividend_page(b'[{"dividend": %s}]' % cell, operation="op")
    with pytest.raises(errors.MalformedPayloadError, match="polygon op: not JSON"):
        polygon_wire.page(b'{"results": [{"cash_amount": %s}]}' % cell, operation="op", exact=True)


def test_an_object_is_read_and_anything_else_is_malformed() -> None:
    """Numbers are read as the caller says."""
    assert JSON.envelope(b'{"a": 1.10}', "op", parse_float=str) == {"a": "1.10"}
    with pytest.raises(errors.MalformedPayloadError, match="an object was promised, a list came"):
        JSON.envelope(b"[]", "op")


@pytest.mark.parametrize(
    ("row", "named"),
    [
        ({"a": "x\x00"}, "zero character"),
        ({"a": "\ud800"}, "no text or no number"),
        ({"a": math.nan}, "no text or no number"),
        ({"a": Decimal("1e5000")}, "no text or no number"),
    ],
)
def test_a_row_that_the_database_cannot_hold_is_unreadable(
    row: dict[str, object], named: str
) -> None:
    """It would take the whole batch with it."""
    with pytest.raises(UnreadableError, match=named):
        refuse_unstorable(row)


def test_texts_flags_and_days_are_those_or_missing() -> None:
    """Null, the empty text and a day of zeros are missing; all else costs the row."""
    row = {"text": "a", "empty": "", "null": None, "yes": True, "number": 1, "zeros": "0000-00-00"}
    assert text_of(row, "text") == "a"
    assert [text_of(row, name) for name in ("empty", "null", "absent")] == [None] * 3
    assert flag_of(row, "yes") is True
    assert flag_of(row, "absent") is None
    assert optional_day_of(row, "zeros") is None
    for read in (text_of, flag_of, optional_day_of):
        with pytest.raises(UnreadableError, match=r"^field number cannot be read$"):
            read(row, "number")


@given(st.dates())
def test_a_day_is_read_as_it_is_written(day: date) -> None:
    """In the one form that providers send."""
    assert day_of(day.isoformat()) == day


@pytest.mark.parametrize(
    "cell",
    [None, 20260804, "", "20260804", "2026-W32-2", "2026-02-30", "2026-08-04T00:00", "٢٠٢٦-٠٨-٠٤"],
)
def test_other_cells_hold_no_day(cell: object) -> None:
    """Among them forms that Python would read."""
    assert day_of(cell) is None


@given(st.floats(allow_nan=False, allow_infinity=False) | st.integers())
def test_a_number_is_read_exactly_or_not_at_all(cell: float) -> None:
    """Also after its way through JSON: an integer that a double cannot hold is no number."""
    read = number_of(json.loads(json.dumps(cell)))
    assert read is None or read == cell
    if isinstance(cell, float) or abs(cell) <= 2**53:
        assert read == cell


@pytest.mark.parametrize("cell", [None, True, "1", math.nan, math.inf, 2**53 + 1, 10**400])
def test_other_cells_hold_no_number(cell: object) -> None:
    """A bool would be a price of 1."""
    assert number_of(cell) is None
