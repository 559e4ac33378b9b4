"""Which minute bars may be stored."""

import math
from datetime import UTC, date, datetime, timedelta

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketdata.bars import PRICES
from marketdata.calendars import NEW_YORK_ZONE
from marketdata.minute_bars import WIRE_MINUTE_BARS, validate

OPENED = datetime(2026, 1, 6, 0, 30, tzinfo=UTC)
GOOD = {
    "open": 10.0, "high": 12.0, "low": 9.0, "close": 11.0,
    "volume": 100.0, "vwap": 10.5, "trades": 7,
}  # fmt: skip


def _table(*rows: dict[str, object]) -> pa.Table:
    keyed = [{"symbol": "A", "opened_at": OPENED, **GOOD, **row} for row in rows]
    return pa.Table.from_pylist(keyed, schema=WIRE_MINUTE_BARS)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"open": None}, "open is missing or not a finite number"),
        ({"close": math.nan}, "close is missing or not a finite number"),
        ({"volume": None}, "volume is missing or not a finite number"),
        ({"low": 0.0}, "low is not above zero"),
        ({"volume": -1.0}, "volume is negative"),
        ({"low": 10.5}, "low is above open"),
        ({"high": 10.5}, "high is below close"),
        ({"opened_at": OPENED + timedelta(seconds=1)}, "opened_at is not a whole minute"),
        ({"opened_at": OPENED + timedelta(microseconds=1)}, "opened_at is not a whole minute"),
        ({"vwap": math.inf}, "vwap is not a finite number above zero"),
        ({"vwap": 0.0}, "vwap is not a finite number above zero"),
        ({"trades": -1}, "trades is negative"),
    ],
)
def test_a_minute_that_breaks_a_rule_is_rejected_with_the_rules_name(
    change: dict[str, object], reason: str
) -> None:
    """The good one beside it is kept."""
    validated = validate(_table(change, {"symbol": "B"}))
    (rejected,) = validated.rejected
    assert (rejected.symbol, rejected.reason) == ("A", reason)
    assert validated.accepted["symbol"].to_pylist() == ["B"]


@pytest.mark.parametrize(
    "change",
    [
        {"vwap": None},
        {"trades": None},
        {"vwap": 13.0},
        {"trades": 0, "volume": 0.0},
        {"volume": 0.25},
        dict.fromkeys(PRICES, 1e-8),
    ],
)
def test_what_providers_do_not_tell_or_weigh_differently_is_no_mistake(
    change: dict[str, object],
) -> None:
    """A missing figure stays missing."""
    validated = validate(_table(change))
    assert validated.rejected == ()
    assert validated.accepted.equals(_table(change))


def test_a_refused_minute_is_of_its_exchanges_day() -> None:
    """Half past midnight in UTC is still the evening before in New York."""
    bad = _table({"close": None})
    assert validate(bad).rejected[0].day == date(2026, 1, 6)
    assert validate(bad, zone=NEW_YORK_ZONE).rejected[0].day == date(2026, 1, 5)


def test_a_minute_that_comes_twice_is_kept_once_or_not_at_all() -> None:
    """Equal ones count once; of different ones the right one is unknown."""
    assert validate(_table({}, {})).accepted.num_rows == 1
    validated = validate(_table({}, {"volume": 101.0}))
    assert validated.accepted.num_rows == 0
    assert len(validated.rejected[0].received) == 2


@given(
    st.lists(
        st.fixed_dictionaries(
            {name: st.one_of(st.none(), st.floats(width=32)) for name in (*PRICES, "volume")}
        ),
        max_size=6,
    )
)
def test_no_minute_is_lost_and_none_is_invented(rows: list[dict[str, object]]) -> None:
    """Every minute is either accepted or rejected, whatever its figures."""
    wire_rows = _table(
        *({**row, "opened_at": OPENED + timedelta(minutes=at)} for at, row in enumerate(rows))
    )
    validated = validate(wire_rows)
    assert validated.accepted.num_rows + len(validated.rejected) == wire_rows.num_rows
    assert validated.accepted.schema == WIRE_MINUTE_BARS
    for row in validated.accepted.to_pylist():
        assert row["low"] <= row["open"] <= row["high"]
        assert row["low"] <= row["close"] <= row["high"]


def test_bars_of_five_minutes_are_not_taken_for_those_of_one() -> None:
    """A row has no length; the times of many rows show it."""
    begins = datetime(2026, 1, 6, 15, tzinfo=UTC)
    rows = [
        {
            "symbol": "A", "opened_at": begins + timedelta(minutes=5 * number), "open": 1.0,
            "high": 1.0, "low": 1.0, "close": 1.0, "volume": 1.0,
        }
        for number in range(30)
    ]  # fmt: skip
    coarse = pa.Table.from_pylist(rows, schema=WIRE_MINUTE_BARS)
    assert {rejection.reason for rejection in validate(coarse).rejected} == {
        "the bars are longer than a minute: none opens between those of five"
    }
    assert len(validate(coarse).rejected) == 30
    minute = rows[0] | {"opened_at": begins + timedelta(minutes=1)}
    fine = pa.Table.from_pylist([*rows, minute], schema=WIRE_MINUTE_BARS)
    assert validate(fine).rejected == ()
    assert validate(coarse.slice(0, 12)).rejected == ()
