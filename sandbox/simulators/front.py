"""A simulator's HTTP front: faults, the journal, and the way to the controls.

Here: one ASGI application around any provider's simulator. Not here: what a provider answers
(fmp.py), or what the controls do (controls.py).
"""

import asyncio
import email.utils
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Protocol

from starlette.datastructures import Headers, QueryParams
from starlette.types import Message, Receive, Scope, Send

from sandbox.simulators import controls, faults
from sandbox.simulators.faults import FaultBook, FaultKind, FaultRule, Reply
from sandbox.simulators.journal import Journal, JournalEntry, stamp
from sandbox.simulators.world import World

_LONGEST_SILENCE_S = 3600.0
_DROPS = 200
"""A dripping body comes in so many pieces."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a provider sees of a request; ``query`` is without the key."""

    path: str
    query: Mapping[str, str]
    key: str | None
    at: datetime


class Provider(Protocol):
    """A provider's simulator."""

    def refusal(self, request: Request) -> Reply | None:
        """Return why the request is not looked at, or None."""
        ...

    def answer(self, request: Request) -> Reply:
        """Return what an admitted request gets."""
        ...


@dataclass(slots=True, kw_only=True)
class _Sent:
    """What went over the wire, as it goes."""

    status: int = 0
    bytes: int = 0


class Front:
    """ASGI application: the provider's paths, and below ``/_sandbox/`` the controls.

    Args:
        key_name: Query parameter or header that carries the key.
        now: Clock that returns aware UTC times.
        seed: Which requests meet a fault that spoils only a share of them.
    """

    def __init__(
        self,
        provider: Provider,
        *,
        world: World,
        journal: Journal,
        key_name: str,
        now: Callable[[], datetime],
        seed: int = 0,
    ) -> None:
        self._provider = provider
        self._journal = journal
        self._key_name = key_name
        self._now = now
        self._faults = FaultBook(seed)
        self._controls = controls.application(
            world=world, journal=journal, book=self._faults, now=now
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            return
        if scope["path"].startswith("/_sandbox/"):
            await self._controls(scope, receive, send)
            return
        request = self._request(scope)
        sent = _Sent()
        loop = asyncio.get_running_loop()
        began = loop.time()
        refusal = self._provider.refusal(request)
        rule = None if refusal else self._faults.take(request.path, request.query.get("symbol"))
        try:
            if refusal:
                await _send(refusal, _counting(send, sent))
            elif rule:
                await self._misbehave(rule, request, receive, _counting(send, sent))
            else:
                await _send(self._provider.answer(request), _counting(send, sent))
        finally:
            self._journal.append(
                JournalEntry(
                    at=stamp(request.at),
                    method=scope["method"],
                    path=request.path,
                    query=dict(request.query),
                    key=request.key[-4:] if request.key else None,
                    status=sent.status,
                    bytes=sent.bytes,
                    duration_s=round(loop.time() - began, 6),
                    fault=rule.kind if rule else None,
                )
            )

    def _request(self, scope: Scope) -> Request:
        query = dict(QueryParams(scope["query_string"]))
        key = query.pop(self._key_name, None) or Headers(scope=scope).get(self._key_name)
        return Request(path=scope["path"], query=query, key=key, at=self._now())

    async def _misbehave(
        self, rule: FaultRule, request: Request, receive: Receive, send: Send
    ) -> None:
        if rule.kind is FaultKind.TIMEOUT:
            if await _outlasts_the_client(rule.seconds or _LONGEST_SILENCE_S, receive):
                await _send(_gateway_page(HTTPStatus.GATEWAY_TIMEOUT), send)
            return
        reply = _instead(rule, request.at) or self._provider.answer(request)
        if rule.kind is FaultKind.SLOW:
            await asyncio.sleep(rule.seconds or 1.0)
        elif rule.kind in {FaultKind.MALFORMED_ROWS, FaultKind.DUPLICATE_ROWS}:
            reply = faults.spoilt_rows(rule, reply)
        elif rule.kind is FaultKind.MALFORMED:
            reply = Reply(status=reply.status, body=reply.body[: len(reply.body) // 2])
        elif rule.kind is FaultKind.DRIP:
            await _drip(reply, rule.seconds or _LONGEST_SILENCE_S, receive, send)
            return
        await _send(reply, send, break_off=rule.kind is FaultKind.HALF_BODY)


def _instead(rule: FaultRule, now: datetime) -> Reply | None:
    """Return the answer of faults which ask no provider."""
    if rule.kind is FaultKind.STATUS:
        status = rule.status or 500
        text = (
            "Limit Reach . (injected)"
            if status == HTTPStatus.TOO_MANY_REQUESTS
            else f"injected fault {status}"
        )
        return Reply(
            status=status,
            body=f'{{"Error Message": "{text}"}}'.encode(),
            retry_after=_retry_after(rule, now),
        )
    if rule.kind is FaultKind.HTML:
        return _gateway_page(HTTPStatus(rule.status or HTTPStatus.BAD_GATEWAY))
    if rule.kind is FaultKind.ERROR_IN_200:
        return Reply(status=200, body=b'{"Error Message": "Limit Reach . (injected)"}')
    if rule.kind is FaultKind.UNKNOWN:
        return Reply(status=200, body=b"[]")
    return None


def _retry_after(rule: FaultRule, now: datetime) -> str | None:
    if rule.seconds is None:
        return None
    if not rule.as_date:
        return f"{rule.seconds:g}"
    # An HTTP date has whole seconds: cut off, it would come a second too soon.
    at = now + timedelta(seconds=rule.seconds + 1)
    return email.utils.format_datetime(at, usegmt=True)


def _gateway_page(status: HTTPStatus) -> Reply:
    title = f"{status.value} {status.phrase}"
    page = (
        f"<html>\r\n<head><title>{title}</title></head>\r\n<body>\r\n"
        f"<center><h1>{title}</h1></center>\r\n<hr><center>nginx</center>\r\n"
        "</body>\r\n</html>\r\n"
    )
    return Reply(status=status.value, body=page.encode(), content_type="text/html")


async def _outlasts_the_client(silence_s: float, receive: Receive) -> bool:
    """Say nothing for ``silence_s``; return whether the client is still there then."""
    try:
        async with asyncio.timeout(silence_s):
            while (await receive())["type"] != "http.disconnect":
                pass
    except TimeoutError:
        return True
    return False


async def _send(reply: Reply, send: Send, *, break_off: bool = False) -> None:
    """Send ``reply``; ``break_off`` promises all of it and sends half, so that the server closes.

    uvicorn drops the connection when an application returns before its body is complete.
    """
    await send({"type": "http.response.start", "status": reply.status, "headers": _headers(reply)})
    body = reply.body[: len(reply.body) // 2] if break_off else reply.body
    await send({"type": "http.response.body", "body": body, "more_body": break_off})


def _headers(reply: Reply) -> list[tuple[bytes, bytes]]:
    headers = [
        (b"content-type", reply.content_type.encode()),
        (b"content-length", str(len(reply.body)).encode()),
    ]
    if reply.retry_after is not None:
        headers.append((b"retry-after", reply.retry_after.encode()))
    return headers


async def _drip(reply: Reply, duration_s: float, receive: Receive, send: Send) -> None:
    """Send ``reply`` in drops over ``duration_s``, as long as the client is there."""
    await send({"type": "http.response.start", "status": reply.status, "headers": _headers(reply)})
    size = max(len(reply.body) // _DROPS, 1)
    for place in range(0, len(reply.body), size):
        drop = reply.body[place : place + size]
        await send({"type": "http.response.body", "body": drop, "more_body": True})
        if not await _outlasts_the_client(duration_s / _DROPS, receive):
            return
    await send({"type": "http.response.body", "body": b"", "more_body": False})


def _counting(send: Send, sent: _Sent) -> Send:
    async def counted(message: Message) -> None:
        if message["type"] == "http.response.start":
            sent.status = message["status"]
        else:
            sent.bytes += len(message["body"])
        await send(message)

    return counted
