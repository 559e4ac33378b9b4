"""Polygon's quirks on demand: changes to right answers, as seen at Polygon.

Here: how a right answer is changed. Not here: right answers (simulator.py), or the faults that all
providers share (../front.py). Facts: the vendor's documentation and issue threads; those that no
source has seen are what a careful client has to survive all the same.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import cast

from sandbox.simulators.faults import FaultKind, FaultRule, Reply
from sandbox.simulators.polygon import wire

Content = dict[str, object]
Rows = list[dict[str, object]]


def spoilt(rule: FaultRule, reply: Reply) -> Reply:
    """Return ``reply`` with rows damaged: of the rule's symbol in a whole market, or the first."""
    content = wire.content_of(reply)
    if not isinstance(content.get("results"), list):
        return reply
    rows = cast("Rows", content["results"])
    places = [
        place
        for place, row in enumerate(rows)
        if rule.symbol is None or row.get("T", rule.symbol) == rule.symbol
    ][:2]
    if rule.kind is FaultKind.DUPLICATE_ROWS:
        rows[:0] = [dict(rows[place]) for place in places[:1]]
    else:
        for place, damage in zip(places, (_without_figure, _impossible), strict=False):
            damage(rows[place])
    return replace(reply, body=json.dumps(content).encode())


def _without_figure(row: dict[str, object]) -> None:
    for name in ("c", "split_to", "cash_amount"):
        row.pop(name, None)


def _impossible(row: dict[str, object]) -> None:
    if "l" in row:
        row["l"], row["h"] = row["h"], row["l"]
    for name in ("split_to", "cash_amount"):
        if name in row:
            row[name] = -1


def apply(name: str, reply: Reply) -> Reply:
    """Return ``reply`` changed by the quirk ``name``.

    Raises:
        ValueError: There is no such quirk; the text names the known ones.
    """
    if name in _REPLIES:
        return _REPLIES[name]
    change = _CHANGES.get(name)
    if change is None:
        message = f"Polygon has no quirk {name!r}, but {', '.join([*_REPLIES, *_CHANGES])}"
        raise ValueError(message)
    content = wire.content_of(reply)
    change(content)
    return replace(reply, body=json.dumps(content).encode())


def _rows(content: Content) -> Rows:
    return cast("Rows", content.get("results") or [])


def _delayed(content: Content) -> None:
    content["status"] = "DELAYED"


def _no_results(content: Content) -> None:
    content.pop("results", None)
    content.pop("next_url", None)
    content.update({name: 0 for name in _COUNTS if name in content})


def _null_results(content: Content) -> None:
    _no_results(content)
    content["results"] = None


def _lost_results(content: Content) -> None:
    content.pop("results", None)


def _exponents(content: Content) -> None:
    """Write volume and count as doubles: in JSON 1e3 equals 1000."""
    for row in _rows(content):
        for name in ("v", "n"):
            row[name] = float(cast("float", row[name]))


def _unweighted(content: Content) -> None:
    for row in _rows(content):
        row.pop("vw", None)
        row.pop("n", None)


def _as_text(content: Content) -> None:
    for row in _rows(content):
        row.update({name: str(value) for name, value in row.items() if name in _FIGURES})


def _reversed(content: Content) -> None:
    _rows(content).reverse()


def _adjusted(content: Content) -> None:
    content["adjusted"] = True


def _other_ticker(content: Content) -> None:
    content["ticker"] = "ZZZZ"


def _other_host(content: Content) -> None:
    content["next_url"] = "https://example.com/v2/aggs?cursor=YQ"


def _seconds(content: Content) -> None:
    for row in _rows(content):
        row["t"] = cast("int", row["t"]) // 1000


_COUNTS = ("queryCount", "resultsCount", "count")
_FIGURES = frozenset({"o", "h", "l", "c", "v", "vw", "n"})
_CHANGES: Mapping[str, Callable[[Content], None]] = {
    "delayed": _delayed,
    "no_results": _no_results,
    "null_results": _null_results,
    "lost_results": _lost_results,
    "exponents": _exponents,
    "no_weighted_price": _unweighted,
    "numbers_as_text": _as_text,
    "reversed": _reversed,
    "adjusted": _adjusted,
    "other_ticker": _other_ticker,
    "other_host": _other_host,
    "seconds": _seconds,
}
_REPLIES: Mapping[str, Reply] = {
    "empty_429": Reply(status=429, body=b""),
    "plain_text": Reply(status=200, body=b"Service is restarting, try again later"),
    "forbidden_error": Reply(
        status=403, body=b'{"status":"ERROR","request_id":"0","error":"Not entitled to this data"}'
    ),
    "not_entitled_in_200": Reply(
        status=200,
        body=b'{"status":"NOT_AUTHORIZED","request_id":"0","message":"Upgrade your plan"}',
    ),
}
