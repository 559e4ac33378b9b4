"""Faults in Coinbase's answers: damaged rows, and its own quirks.

Here: changes to a request or to an answer. Not here: which request meets a fault (../front.py).
"""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import cast

from sandbox.simulators.faults import FaultKind, FaultRule, Reply
from sandbox.simulators.front import Request

QUIRKS = ("stale_copy", "rows_before_start", "missing_row", "reversed", "texts")
"""The newest rows whatever the window (a cache that ignores it); buckets from before the window
(seen by one source); one row is not there; oldest first; figures of candles as text."""
_EARLIER_S = 600
_LOW, _HIGH, _CLOSE = 1, 2, 4
"""Places in a candle."""

Row = dict[str, object] | list[object]


def spoilt(rule: FaultRule, reply: Reply) -> Reply:
    """Return ``reply`` with its first rows damaged, as of MALFORMED_ROWS or DUPLICATE_ROWS.

    Of trades the first lacks its price, and the next has a size below zero.
    """
    duplicate = rule.kind is FaultKind.DUPLICATE_ROWS
    return _changed(reply, _first_twice if duplicate else _damaged)


def odd(name: str, reply: Reply) -> Reply:
    """Return ``reply`` with one of QUIRKS that change an answer.

    Raises:
        ValueError: There is no such quirk.
    """
    if name not in _CHANGES:
        message = f"Coinbase has no quirk {name!r}; it has {', '.join(QUIRKS)}"
        raise ValueError(message)
    return _changed(reply, _CHANGES[name])


def without_window(request: Request) -> Request:
    """Return the request without start and end."""
    window = {"start", "end"}
    return replace(
        request, query={name: text for name, text in request.query.items() if name not in window}
    )


def just_before(request: Request, start_s: int) -> Request:
    """Return the request for the ten minutes before ``start_s``."""
    window = {"start": str(start_s - _EARLIER_S), "end": str(start_s - 1)}
    return replace(request, query={**request.query, **window})


def joined(reply: Reply, older: Reply) -> Reply:
    """Return the rows of ``reply`` and those of ``older`` after them."""
    return _changed(reply, lambda rows: [*rows, *json.loads(older.body)])


def _changed(reply: Reply, change: Callable[[list[Row]], list[Row]]) -> Reply:
    """Change the rows of a list, or of an object with ``candles`` or ``trades``."""
    parsed: object = json.loads(reply.body)
    if isinstance(parsed, list):
        return replace(reply, body=json.dumps(change(cast("list[Row]", parsed))).encode())
    document = cast("dict[str, object]", parsed)
    for name in ("candles", "trades"):
        if isinstance(document.get(name), list):
            document[name] = change(cast("list[Row]", document[name]))
    return replace(reply, body=json.dumps(document).encode())


def _first_twice(rows: list[Row]) -> list[Row]:
    return [*rows[:1], *rows]


def _damaged(rows: list[Row]) -> list[Row]:
    first, second = rows[:1], rows[1:2]
    return [
        *(_without_close(row) for row in first),
        *(_upside_down(row) for row in second),
        *rows[2:],
    ]


def _without_close(row: Row) -> Row:
    if isinstance(row, list):
        return [None if place == _CLOSE else value for place, value in enumerate(row)]
    return {name: value for name, value in row.items() if name not in {"close", "price"}}


def _upside_down(row: Row) -> Row:
    if isinstance(row, list):
        changed = list(row)
        changed[_LOW], changed[_HIGH] = row[_HIGH], row[_LOW]
        return changed
    if "low" in row:
        return row | {"low": row["high"], "high": row["low"]}
    return row | {"size": f"-{row['size']}"} if "size" in row else row


def _as_texts(rows: list[Row]) -> list[Row]:
    return [[str(value) for value in row] if isinstance(row, list) else row for row in rows]


_CHANGES: dict[str, Callable[[list[Row]], list[Row]]] = {
    "missing_row": lambda rows: [*rows[: len(rows) // 2], *rows[len(rows) // 2 + 1 :]],
    "reversed": lambda rows: rows[::-1],
    "texts": _as_texts,
}
