"""Faults on demand: what a provider does wrong, for which requests, and how often.

Here: rules, which of them a request meets, and how an answer is spoilt. Not here: how HTTP is
spoken (front.py). Faults are forgotten when the simulator ends.
"""

import csv
import io
import json
import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

JSON = "application/json"
CSV = "text/csv"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """An HTTP answer; ``headers`` are those beside content type, length and Retry-After."""

    status: int
    body: bytes
    content_type: str = JSON
    retry_after: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict[str, str])


class FaultKind(StrEnum):
    """What goes wrong."""

    STATUS = "status"
    """An error status; with ``seconds`` also a Retry-After, in seconds or ``as_date``."""
    TIMEOUT = "timeout"
    """No answer, until a gateway gives up after ``seconds`` (an hour by default) with 504."""
    SLOW = "slow"
    """The right answer, ``seconds`` later."""
    DRIP = "drip"
    """The right answer, its body in drops over ``seconds`` (an hour by default)."""
    HALF_BODY = "half_body"
    """The connection breaks in the middle of the body."""
    ERROR_IN_200 = "error_in_200"
    """Status 200 with an error message."""
    MALFORMED = "malformed"
    """Half a body, declared as the whole."""
    HTML = "html"
    """A gateway's page, with ``status`` (502 by default)."""
    MALFORMED_ROWS = "malformed_rows"
    """One row lacks its close, the next has its low above its high."""
    UNKNOWN = "unknown"
    """Status 200 and an empty list, as for an unknown symbol."""
    DUPLICATE_ROWS = "duplicate_rows"
    """One row comes twice."""
    QUIRK = "quirk"
    """The provider's own quirk named by ``quirk`` (see the simulator's ``quirk``)."""


_OF_ROWS = frozenset({FaultKind.MALFORMED_ROWS, FaultKind.DUPLICATE_ROWS})


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultRule:
    """Spoil requests below ``path`` for ``symbol`` (all if None).

    Attributes:
        path: Beginning of the path, such as ``/stable/eod-bulk``.
        count: Number of requests to spoil; None is unlimited.
        probability: Share of the matching requests that is spoilt.
        seconds: Duration or Retry-After; see FaultKind.
        as_date: A Retry-After is written as an HTTP date instead of seconds.
        quirk: Name of the provider's own quirk, for QUIRK.
    """

    kind: FaultKind
    path: str = "/"
    symbol: str | None = None
    status: int | None = None
    count: int | None = None
    probability: float = 1.0
    seconds: float | None = None
    as_date: bool = False
    quirk: str | None = None


def rule_of(fields: Mapping[str, object]) -> FaultRule:
    """Build a rule from decoded JSON.

    Raises:
        ValueError: A field is unknown, missing or of the wrong type.
    """
    unknown = fields.keys() - _READERS.keys()
    if unknown or "kind" not in fields:
        message = f"a fault has a kind and may have {', '.join(_READERS)}; got {sorted(fields)}"
        raise ValueError(message)
    given = {name: value for name, value in fields.items() if value is not None}
    read = {name: _READERS[name](str(value)) for name, value in given.items()}
    return FaultRule(**read)


_READERS: Mapping[str, Callable[[str], Any]] = {
    "kind": FaultKind,
    "path": str,
    "symbol": str,
    "status": int,
    "count": int,
    "probability": float,
    "seconds": float,
    "as_date": lambda text: text == "True",
    "quirk": str,
}


class Draws:
    """Random numbers for requests: a pure function of the seed and the request.

    The nth equal request always gets the same numbers, in whatever order the requests of
    concurrent clients arrive.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._counts: Counter[tuple[str, ...]] = Counter()

    def next(self, *key: str) -> random.Random:
        """Return the source of numbers for the next request for ``key``."""
        self._counts[key] += 1
        return random.Random(f"{self._seed} {self._counts[key]} {' '.join(key)}")


def mixed(rules: Sequence[FaultRule], share: float) -> list[FaultRule]:
    """Return ``rules`` with probabilities by which ``share`` of the requests is spoilt in all.

    Each rule gets the same share. A rule only sees requests that the rules before it let pass,
    so later rules need higher probabilities.
    """
    part = share / len(rules)
    return [
        replace(rule, probability=part / (1.0 - part * place)) for place, rule in enumerate(rules)
    ]


class FaultBook:
    """The rules in force; the oldest that matches a request wins.

    Args:
        seed: Decides which requests a probability spoils.
    """

    def __init__(self, seed: int = 0) -> None:
        self._rules: list[FaultRule] = []
        self._draws = Draws(seed)

    def add(self, rule: FaultRule) -> None:
        """Add ``rule``."""
        self._rules.append(rule)

    def rules(self) -> list[FaultRule]:
        """Return the rules in force, with what is left of their counts."""
        return list(self._rules)

    def clear(self) -> None:
        """Forget every rule."""
        self._rules.clear()

    def take(self, path: str, symbol: str | None) -> FaultRule | None:
        """Return the rule that spoils this request, and count it down."""
        drawn = self._draws.next(path, symbol or "")
        for index, rule in enumerate(self._rules):
            if not _matches(rule, path, symbol) or drawn.random() >= rule.probability:
                continue
            if rule.count is not None:
                self._rules[index] = replace(rule, count=rule.count - 1)
                if rule.count <= 1:
                    del self._rules[index]
            return rule
        return None


def _matches(rule: FaultRule, path: str, symbol: str | None) -> bool:
    # A whole-market answer names no symbol, but a single row of it can be spoilt.
    whole_market = symbol is None and rule.kind in _OF_ROWS
    return path.startswith(rule.path) and (rule.symbol in {None, symbol} or whole_market)


def spoilt_rows(rule: FaultRule, reply: Reply) -> Reply:
    """Return ``reply`` (a JSON list or CSV) with the rows of ``rule`` damaged.

    The first rows are taken, or in a whole-market answer those of the rule's symbol.
    """
    if reply.content_type.startswith(CSV):
        return _spoilt_csv(rule, reply)
    rows: list[dict[str, object]] = json.loads(reply.body)
    if not rows:
        return reply
    if rule.kind is FaultKind.DUPLICATE_ROWS:
        rows.insert(0, dict(rows[0]))
    else:
        rows[0].pop("close", None)
        for row in rows[1:2]:
            row["low"], row["high"] = row["high"], row["low"]
    return replace(reply, body=json.dumps(rows).encode())


def _spoilt_csv(rule: FaultRule, reply: Reply) -> Reply:
    header, *rows = csv.reader(io.StringIO(reply.body.decode()))
    places = [
        index for index, row in enumerate(rows) if rule.symbol is None or row[0] == rule.symbol
    ][:2]
    if rule.kind is FaultKind.DUPLICATE_ROWS:
        for index in places[:1]:
            rows.insert(index, list(rows[index]))
    else:
        low, high, close = (header.index(name) for name in ("low", "high", "close"))
        for index in places[:1]:
            rows[index][close] = ""
        for index in places[1:]:
            row = rows[index]
            row[low], row[high] = row[high], row[low]
    text = io.StringIO()
    csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows([header, *rows])
    return replace(reply, body=text.getvalue().encode())
