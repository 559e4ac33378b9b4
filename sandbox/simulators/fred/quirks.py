"""Faults in FRED's answers: damaged rows, and its own quirks.

Here: good answers turned into bad ones. Not here: good answers (simulator.py), or which requests
meet them (../faults.py).
"""

import json
from collections.abc import Callable
from dataclasses import replace
from http import HTTPStatus
from typing import cast

from sandbox.simulators.faults import FaultKind, FaultRule, Reply
from sandbox.simulators.fred import wire
from sandbox.simulators.front import Request

_QUIRKS = ("key_not_registered", "not_in_alfred", "truncated", "xml")


def spoilt(rule: FaultRule, reply: Reply) -> Reply:
    """Damage observations: one lacks its value, and the next ends before it begins.

    Or the first comes twice, and is counted twice. Other answers stay as they are.
    """
    if b'"observations":[{' not in reply.body:
        return reply
    content = json.loads(reply.body)
    rows: list[dict[str, str]] = content["observations"]
    if rule.kind is FaultKind.DUPLICATE_ROWS:
        rows.insert(0, dict(rows[0]))
        content["count"] += 1
    else:
        del rows[0]["value"]
        for row in rows[1:2]:
            row["realtime_start"], row["realtime_end"] = (
                row["realtime_end"],
                row["realtime_start"],
            )
    return wire.json_reply(content)


def quirk(
    name: str, request: Request, answer: Callable[[Request], Reply], *, as_json: bool
) -> Reply:
    """Return the answer to ``request`` with one of FRED's quirks; ``answer`` is without it.

    ``key_not_registered``: denies a good key, as under load; ``not_in_alfred``: has no vintages
    of the series; ``truncated``: leaves out half of the rows without a word; ``xml``: answers in
    XML whatever was asked for.

    Raises:
        ValueError: There is no such quirk.
    """
    if name == "key_not_registered":
        return wire.error(400, wire.KEY_NOT_REGISTERED, as_json=as_json)
    if name == "not_in_alfred":
        return wire.error(400, wire.NOT_IN_ALFRED, as_json=as_json)
    if name == "xml":
        return answer(replace(request, query={**request.query, "file_type": "xml"}))
    if name == "truncated":
        return _halved(answer(request))
    message = f"FRED's quirks are {', '.join(_QUIRKS)}, not {name!r}"
    raise ValueError(message)


def _halved(reply: Reply) -> Reply:
    """Return a list without the second half of its rows; its count stays."""
    if reply.status != HTTPStatus.OK or not reply.body.startswith(b"{"):
        return reply
    content: dict[str, object] = json.loads(reply.body)
    for name, rows in content.items():
        if isinstance(rows, list):
            listed = cast("list[object]", rows)
            content[name] = listed[: len(listed) // 2]
    return wire.json_reply(content)
