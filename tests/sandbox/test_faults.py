"""The requests that a fault meets, and its damage to rows."""

import csv
import io
import json
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sandbox.simulators.faults import (
    CSV,
    FaultBook,
    FaultKind,
    FaultRule,
    Reply,
    mixed,
    rule_of,
    spoilt_rows,
)

ROWS = [
    {"symbol": "A", "date": "2026-01-06", "low": 1.0, "high": 2.0, "close": 1.5},
    {"symbol": "A", "date": "2026-01-05", "low": 3.0, "high": 4.0, "close": 3.5},
]
BULK = '"symbol","low","high","close"\n"A","1","2","1.5"\n"B","3","4","3.5"\n'


def test_a_count_is_used_up() -> None:
    """After this number of requests the provider behaves again."""
    book = FaultBook()
    book.add(FaultRule(kind=FaultKind.STATUS, count=2))
    taken = [book.take("/stable/x", None) is not None for _ in range(4)]
    assert taken == [True, True, False, False]


@pytest.mark.parametrize(
    ("rule", "path", "symbol", "meets"),
    [
        (FaultRule(kind=FaultKind.STATUS), "/stable/profile", "A", True),
        (FaultRule(kind=FaultKind.STATUS, path="/stable/profile"), "/stable/profile", "A", True),
        (FaultRule(kind=FaultKind.STATUS, path="/stable/eod-bulk"), "/stable/profile", "A", False),
        (FaultRule(kind=FaultKind.STATUS, symbol="A"), "/stable/profile", "A", True),
        (FaultRule(kind=FaultKind.STATUS, symbol="A"), "/stable/profile", "B", False),
        (FaultRule(kind=FaultKind.STATUS, symbol="A"), "/stable/eod-bulk", None, False),
        (FaultRule(kind=FaultKind.MALFORMED_ROWS, symbol="A"), "/stable/eod-bulk", None, True),
        (FaultRule(kind=FaultKind.STATUS, probability=0.0), "/stable/profile", "A", False),
    ],
)
def test_a_rule_meets_its_path_and_symbol(
    rule: FaultRule, path: str, symbol: str | None, *, meets: bool
) -> None:
    """A symbol's rule meets a whole-market answer only where single rows are spoilt."""
    book = FaultBook()
    book.add(rule)
    assert (book.take(path, symbol) is not None) == meets


def test_a_probability_spoils_a_share() -> None:
    """About one in four, and the same ones in every run."""

    def spoilt() -> list[bool]:
        book = FaultBook()
        book.add(FaultRule(kind=FaultKind.STATUS, probability=0.25))
        return [book.take("/", None) is not None for _ in range(400)]

    assert 70 < sum(spoilt()) < 130
    assert spoilt() == spoilt()


def _fates(seed: int, symbols: list[str], rules: list[FaultRule]) -> dict[str, list[str | None]]:
    """Ask for each symbol in turn, in the order given, and note which fault each request met."""
    book = FaultBook(seed)
    for rule in rules:
        book.add(rule)
    fates: dict[str, list[str | None]] = {}
    for symbol in symbols:
        rule = book.take("/stable/x", symbol)
        fates.setdefault(symbol, []).append(rule.kind if rule else None)
    return fates


def test_the_order_of_arrival_changes_no_fate() -> None:
    """Concurrent clients arrive in any order; the seed alone decides which request is spoilt."""
    rules = [FaultRule(kind=FaultKind.STATUS, probability=0.5)]
    symbols = [f"T{place}" for place in range(40)] * 3
    assert _fates(7, symbols, rules) == _fates(7, symbols[::-1], rules)
    assert _fates(7, symbols, rules) != _fates(8, symbols, rules)


@settings(max_examples=40, deadline=None)
@given(kinds=st.integers(1, 12), share=st.floats(0.01, 0.99), seed=st.integers())
def test_a_mix_spoils_its_share_and_each_kind_alike(kinds: int, share: float, seed: int) -> None:
    """Five standard deviations around the share, in all and for each kind."""
    rules = mixed([FaultRule(kind=kind) for kind in list(FaultKind)[:kinds]], share)
    asked = 2000
    fates = _fates(seed, [str(place) for place in range(asked)], rules)
    met = Counter(fate for (fate,) in fates.values())
    for count, expected in [
        (asked - met[None], share),
        *((met[r.kind], share / kinds) for r in rules),
    ]:
        assert abs(count - asked * expected) < 5 * (asked * expected * (1 - expected)) ** 0.5 + 3


def test_malformed_rows_spoil_two_rows_of_json() -> None:
    """The first lacks its close, the second has its low above its high."""
    reply = Reply(status=200, body=json.dumps(ROWS).encode())
    rows = json.loads(spoilt_rows(FaultRule(kind=FaultKind.MALFORMED_ROWS), reply).body)
    assert "close" not in rows[0]
    assert rows[1]["low"] > rows[1]["high"]


def test_malformed_rows_spoil_the_named_row_of_csv() -> None:
    """All other rows of the whole-market answer are as they were."""
    reply = Reply(status=200, body=BULK.encode(), content_type=CSV)
    rule = FaultRule(kind=FaultKind.MALFORMED_ROWS, symbol="B")
    rows = list(csv.reader(io.StringIO(spoilt_rows(rule, reply).body.decode())))
    assert rows[1:] == [["A", "1", "2", "1.5"], ["B", "3", "4", ""]]


@pytest.mark.parametrize(
    ("reply", "lines"),
    [
        (Reply(status=200, body=json.dumps(ROWS).encode()), 3),
        (Reply(status=200, body=b"[]"), 0),
    ],
)
def test_duplicate_rows_repeat_one(reply: Reply, lines: int) -> None:
    """One row comes twice; an empty answer stays empty."""
    spoilt = spoilt_rows(FaultRule(kind=FaultKind.DUPLICATE_ROWS), reply)
    assert len(json.loads(spoilt.body)) == lines


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"kind": "nonsense"},
        {"kind": "status", "colour": "red"},
        {"kind": "slow", "seconds": "x"},
    ],
)
def test_nonsense_is_no_rule(fields: dict[str, object]) -> None:
    """A typo must not give a fault that meets everything."""
    with pytest.raises(ValueError, match=r"fault|nonsense|could not"):
        rule_of(fields)


def test_a_rule_is_read_from_json() -> None:
    """Fields that are null keep their defaults."""
    rule = rule_of({"kind": "status", "status": 503, "symbol": None, "count": 2})
    assert rule == FaultRule(kind=FaultKind.STATUS, status=503, count=2)
