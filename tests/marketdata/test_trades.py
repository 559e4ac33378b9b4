"""Which trades may be stored."""

from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketdata.trades import KEY, WIRE_TRADES, validate

GOOD: Mapping[str, object] = {
    "symbol": "BTCUSDT",
    "trade_id": 7,
    "traded_at": datetime(2026, 11, 20, 23, 59, 59, 999000, tzinfo=UTC),
    "price": Decimal("75916.23"),
    "size": Decimal("0.02097"),
    "taker_side": "buy",
}


def _wire_rows(*changes: Mapping[str, object]) -> pa.Table:
    return pa.Table.from_pylist([{**GOOD, **change} for change in changes], schema=WIRE_TRADES)


def test_a_good_trade_is_accepted_as_it_came() -> None:
    """Amounts are exact."""
    validated = validate(_wire_rows({}))
    assert validated.rejected == ()
    assert validated.accepted.equals(_wire_rows({}))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"price": None}, "price is missing or not a number"),
        ({"price": Decimal(0)}, "price is not above zero"),
        ({"price": Decimal("-0.01")}, "price is not above zero"),
        ({"size": None}, "size is missing or not a number"),
        ({"size": Decimal(0)}, "size is not above zero"),
        ({"taker_side": None}, "taker_side is neither buy nor sell"),
        ({"taker_side": "BUY"}, "taker_side is neither buy nor sell"),
        ({"trade_id": -1}, "trade_id is negative"),
    ],
)
def test_a_bad_trade_is_refused_with_its_reason(change: Mapping[str, object], reason: str) -> None:
    """And with what came, in a form that JSON can hold; the good one beside it stays."""
    validated = validate(_wire_rows({"trade_id": 6}, change))
    assert validated.accepted["trade_id"].to_pylist() == [6]
    (refused,) = validated.rejected
    assert (refused.symbol, refused.day, refused.reason) == ("BTCUSDT", date(2026, 11, 20), reason)
    received = refused.received[0]
    assert not isinstance(received, str)
    assert received["traded_at"] == "2026-11-20T23:59:59.999000+00:00"


def test_of_a_trade_that_comes_twice_one_is_kept_if_they_are_equal() -> None:
    """If they differ none is, since the right one is unknown."""
    assert validate(_wire_rows({}, {})).accepted.num_rows == 1
    validated = validate(_wire_rows({}, {"size": Decimal(1)}))
    assert validated.accepted.num_rows == 0
    assert len(validated.rejected[0].received) == 2


def test_a_number_may_be_used_at_two_times() -> None:
    """Binance gave ZILBTC's 12027555 to the last trade of a day and to the first of the next."""
    assert KEY == ("traded_at", "trade_id")
    later = datetime(2026, 11, 21, tzinfo=UTC)
    assert validate(_wire_rows({}, {"traded_at": later})).accepted.num_rows == 2


@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "trade_id": st.integers(-2, 4),
                "price": st.none() | st.decimals("-1", "2", places=2),
                "taker_side": st.sampled_from(["buy", "sell", "none", None]),
            }
        ),
        max_size=12,
    )
)
def test_every_trade_is_accepted_or_refused(changes: list[Mapping[str, object]]) -> None:
    """None is lost, and a key is accepted once at most."""
    wire_rows = _wire_rows(*changes)
    validated = validate(wire_rows)
    keys = validated.accepted["trade_id"].to_pylist()
    assert len(keys) == len(set(keys))
    refused = {
        str(row["trade_id"])
        for rejection in validated.rejected
        for row in rejection.received
        if not isinstance(row, str)
    }
    assert {str(key) for key in keys} | refused == {
        str(trade_id) for trade_id in wire_rows["trade_id"].to_pylist()
    }
