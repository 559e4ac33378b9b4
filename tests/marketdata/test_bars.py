"""Which bars may be stored."""

import math
from datetime import date

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketdata.bars import PRICES, WIRE_BARS, validate

DAY = date(2024, 1, 2)
GOOD = {"open": 10.0, "high": 12.0, "low": 9.0, "close": 11.0, "volume": 100.0}


def _table(*rows: dict[str, object]) -> pa.Table:
    keyed = [{"symbol": "A", "session_date": DAY, **GOOD, **row} for row in rows]
    return pa.Table.from_pylist(keyed, schema=WIRE_BARS)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"open": None}, "open is missing or not a finite number"),
        ({"high": math.nan}, "high is missing or not a finite number"),
        ({"low": -math.inf}, "low is missing or not a finite number"),
        ({"close": math.inf}, "close is missing or not a finite number"),
        ({"volume": None}, "volume is missing or not a finite number"),
        ({"volume": math.nan}, "volume is missing or not a finite number"),
        ({"open": 0.0}, "open is not above zero"),
        ({"close": -1.0}, "close is not above zero"),
        ({"volume": -0.5}, "volume is negative"),
        ({"low": 10.5}, "low is above open"),
        ({"open": 11.5, "low": 11.2}, "low is above close"),
        ({"high": 9.5, "close": 9.2}, "high is below open"),
        ({"high": 10.5}, "high is below close"),
        ({"open": None, "close": None}, "open is missing or not a finite number"),
    ],
)
def test_a_bar_that_breaks_a_rule_is_rejected_with_the_rules_name(
    change: dict[str, object], reason: str
) -> None:
    """The first broken rule is named, and the good bar beside it is kept."""
    validated = validate(_table(change, {"symbol": "B"}))
    (rejected,) = validated.rejected
    assert (rejected.symbol, rejected.day, rejected.reason) == ("A", DAY, reason)
    (received,) = rejected.received
    assert not isinstance(received, str)
    for name, value in change.items():
        assert str(received[name]) == str(value), "what came is kept as it came"
    assert validated.accepted["symbol"].to_pylist() == ["B"]


@pytest.mark.parametrize(
    "change",
    [{}, {"volume": 0.0}, {"volume": 0.25}, dict.fromkeys(PRICES, 1e-8), {"low": 10, "high": 11}],
)
def test_bars_at_the_edge_of_the_rules_are_accepted(change: dict[str, object]) -> None:
    """No trade, a fraction of one, one price all day, very small prices."""
    validated = validate(_table(change))
    assert (validated.accepted.num_rows, validated.rejected) == (1, ())


def test_an_empty_answer_has_neither_good_nor_bad_bars() -> None:
    """And keeps its schema."""
    validated = validate(WIRE_BARS.empty_table())
    assert validated.accepted.equals(WIRE_BARS.empty_table())
    assert validated.rejected == ()


def test_equal_repeats_of_a_bar_are_kept_once() -> None:
    """FMP repeats rows at page seams."""
    validated = validate(_table({}, {"symbol": "B"}, {}))
    assert sorted(validated.accepted["symbol"].to_pylist()) == ["A", "B"]
    assert validated.rejected == ()


def test_of_contradictory_repeats_none_is_kept() -> None:
    """The right one is unknown; other sessions are stored."""
    validated = validate(_table({}, {"symbol": "B"}, {"volume": 1.0}, {}))
    assert validated.accepted["symbol"].to_pylist() == ["B"]
    assert [(row.symbol, row.day) for row in validated.rejected] == [("A", DAY)]
    assert "more than once, with different values" in validated.rejected[0].reason
    came = [row for row in validated.rejected[0].received if not isinstance(row, str)]
    assert sorted(str(row["volume"]) for row in came) == ["1.0", "100.0"]


def test_a_broken_repeat_leaves_the_good_bar() -> None:
    """The broken one is reported all the same."""
    validated = validate(_table({}, {"close": None}))
    assert validated.accepted.num_rows == 1
    assert len(validated.rejected) == 1


def test_a_table_in_several_pieces_is_judged_like_one() -> None:
    """Answers of several requests come in chunks."""
    pieces = pa.concat_tables([_table({}), _table({"symbol": "B", "open": 0.0}), _table({})])
    validated = validate(pieces)
    assert validated.accepted["symbol"].to_pylist() == ["A"]
    assert [rejection.symbol for rejection in validated.rejected] == ["B"]


_VALUES = st.none() | st.sampled_from([0.0, 1.0, 2.0, 3.0, -1.0, math.nan, math.inf])
_ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "symbol": st.sampled_from(["A", "B"]),
            "session_date": st.sampled_from([DAY, date(2024, 1, 3)]),
            **dict.fromkeys((*PRICES, "volume"), st.sampled_from([1.0, 2.0]) | _VALUES),
        }
    ),
    max_size=30,
)


@given(_ROWS)
def test_every_key_is_judged_and_every_accepted_bar_obeys_the_rules(
    rows: list[dict[str, object]],
) -> None:
    """Accepted and rejected together are the input; each accepted key comes once, unchanged."""
    table = pa.Table.from_pylist(rows, schema=WIRE_BARS)
    validated = validate(table)
    accepted = validated.accepted.to_pylist()
    keys = [(row["symbol"], row["session_date"]) for row in accepted]
    refused = [(row.symbol, row.day) for row in validated.rejected]
    assert len(keys) == len(set(keys))
    assert {*keys, *refused} == {(row["symbol"], row["session_date"]) for row in rows}
    assert validated.accepted.schema == WIRE_BARS
    for row in accepted:
        assert row in rows
        assert all(math.isfinite(row[name]) and row[name] > 0 for name in PRICES)
        assert math.isfinite(row["volume"])
        assert row["volume"] >= 0
        assert row["low"] <= min(row["open"], row["close"])
        assert row["high"] >= max(row["open"], row["close"])
