"""The simulators' HTTP front: faults, the journal, and the way to the controls.

Here: one ASGI application around all providers' simulators, so that they share one world. Not here:
what a provider answers (fmp/simulator.py and its like), or what the controls do (controls.py).
"""

import asyncio
import email.utils
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Protocol

from starlette.datastructures import Headers, QueryParams
from starlette.types import Message, Receive, Scope, Send

from sandbox.simulators import controls
from sandbox.simulators.faults import FaultBook, FaultKind, FaultRule, Reply
from sandbox.simulators.journal import Journal, JournalEntry, stamp
from sandbox.simulators.worlds.shares.world import World

_LONGEST_SILENCE_S = 3600.0
_DROPS = 200
"""Number of pieces of a dripping body."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A request as a provider sees it.

    Attributes:
        path: Without the provider's prefix.
        query: Without the key.
        headers: By lower-case name, including those that carry a key.
        at: Arrival, aware UTC.
    """

    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    key: str | None
    at: datetime


class Provider(Protocol):
    """A provider's simulator."""

    @property
    def prefix(self) -> str:
        """Beginning of its paths here, such as ``/polygon``; stands for the real host."""
        ...

    def key(self, query: Mapping[str, str], headers: Mapping[str, str]) -> tuple[str, str] | None:
        """Return the query parameter that carried the key (or an empty text) and the key."""
        ...

    def subject(self, request: Request) -> str | None:
        """Return the symbol that a request is about, for fault rules; None for a whole market."""
        ...

    def refusal(self, request: Request) -> Reply | None:
        """Return the refusal (key, limit), or None."""
        ...

    def answer(self, request: Request) -> Reply:
        """Return the answer to an admitted request."""
        ...

    def error(self, status: int, text: str) -> Reply:
        """Return an error in the provider's own form."""
        ...

    def nothing(self) -> Reply:
        """Return the answer to an unknown symbol."""
        ...

    def spoilt(self, rule: FaultRule, reply: Reply) -> Reply:
        """Return ``reply`` with its rows damaged as MALFORMED_ROWS or DUPLICATE_ROWS say."""
        ...

    def quirk(self, name: str, request: Request) -> Reply:
        """Return the answer to ``request`` with one of the provider's own quirks.

        Raises:
            ValueError: There is no such quirk; the text names the known ones.
        """
        ...


@dataclass(slots=True, kw_only=True)
class _Sent:
    """What has been sent so far."""

    status: int = 0
    bytes: int = 0


class Front:
    """ASGI application: the providers' paths, and below ``/_sandbox/`` the controls.

    Args:
        providers: A path belongs to the provider with the longest matching prefix.
        now: Clock that returns aware UTC times.
        seed: Decides which requests meet a fault with a probability.
    """

    def __init__(
        self,
        providers: Sequence[Provider],
        *,
        world: World,
        journal: Journal,
        now: Callable[[], datetime],
        seed: int = 0,
    ) -> None:
        self._providers = sorted(providers, key=lambda provider: len(provider.prefix), reverse=True)
        self._journal = journal
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
        path: str = scope["path"]
        provider = self._provider(path)
        if provider is None:
            await _send(_gateway_page(HTTPStatus.NOT_FOUND), send)
            return
        request = self._request(scope, provider)
        sent = _Sent()
        send = _dated(send, request.at)
        loop = asyncio.get_running_loop()
        began = loop.time()
        refusal = provider.refusal(request)
        rule = None if refusal else self._faults.take(path, provider.subject(request))
        try:
            if refusal:
                await _send(refusal, _counting(send, sent))
            elif rule:
                await _misbehave(provider, rule, request, receive, _counting(send, sent))
            else:
                await _send(provider.answer(request), _counting(send, sent))
        finally:
            self._journal.append(
                JournalEntry(
                    at=stamp(request.at),
                    method=scope["method"],
                    path=path,
                    query=dict(request.query),
                    key=request.key[-4:] if request.key else None,
                    status=sent.status,
                    bytes=sent.bytes,
                    duration_s=round(loop.time() - began, 6),
                    fault=rule.kind if rule else None,
                )
            )

    def _provider(self, path: str) -> Provider | None:
        matching = (
            provider for provider in self._providers if path.startswith(f"{provider.prefix}/")
        )
        return next(matching, None)

    def _request(self, scope: Scope, provider: Provider) -> Request:
        query = dict(QueryParams(scope["query_string"]))
        headers = dict(Headers(scope=scope))
        carried = provider.key(query, headers)
        if carried is not None:
            query.pop(carried[0], None)
        return Request(
            path=scope["path"].removeprefix(provider.prefix),
            query=query,
            headers=headers,
            key=carried[1] if carried is not None else None,
            at=self._now(),
        )


async def _misbehave(
    provider: Provider, rule: FaultRule, request: Request, receive: Receive, send: Send
) -> None:
    if rule.kind is FaultKind.TIMEOUT:
        if await _outlasts_the_client(rule.seconds or _LONGEST_SILENCE_S, receive):
            await _send(_gateway_page(HTTPStatus.GATEWAY_TIMEOUT), send)
        return
    reply = _instead(provider, rule, request) or provider.answer(request)
    if rule.kind is FaultKind.SLOW:
        await asyncio.sleep(rule.seconds or 1.0)
    elif rule.kind in {FaultKind.MALFORMED_ROWS, FaultKind.DUPLICATE_ROWS}:
        reply = provider.spoilt(rule, reply)
    elif rule.kind is FaultKind.MALFORMED:
        reply = replace(reply, body=reply.body[: len(reply.body) // 2])
    elif rule.kind is FaultKind.DRIP:
        await _drip(reply, rule.seconds or _LONGEST_SILENCE_S, receive, send)
        return
    await _send(reply, send, break_off=rule.kind is FaultKind.HALF_BODY)


def _instead(provider: Provider, rule: FaultRule, request: Request) -> Reply | None:
    """Return the answer of a fault that ignores the request."""
    if rule.kind is FaultKind.STATUS:
        status = rule.status or 500
        reply = provider.error(status, f"injected fault {status}")
        return replace(reply, retry_after=_retry_after(rule, request.at))
    if rule.kind is FaultKind.HTML:
        return _gateway_page(HTTPStatus(rule.status or HTTPStatus.BAD_GATEWAY))
    if rule.kind is FaultKind.ERROR_IN_200:
        return replace(provider.error(HTTPStatus.TOO_MANY_REQUESTS, "injected"), status=200)
    if rule.kind is FaultKind.UNKNOWN:
        return provider.nothing()
    if rule.kind is FaultKind.QUIRK:
        return provider.quirk(rule.quirk or "", request)
    return None


def _retry_after(rule: FaultRule, now: datetime) -> str | None:
    if rule.seconds is None:
        return None
    if not rule.as_date:
        return f"{rule.seconds:g}"
    # An HTTP date has whole seconds: cut off, it would be a second too early.
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
    """Send nothing for ``silence_s``; return whether the client is still connected."""
    try:
        async with asyncio.timeout(silence_s):
            while (await receive())["type"] != "http.disconnect":
                pass
    except TimeoutError:
        return True
    return False


async def _send(reply: Reply, send: Send, *, break_off: bool = False) -> None:
    """Send ``reply``; ``break_off`` announces all of it and sends half, so the server closes.

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
    headers += [(name.encode(), value.encode()) for name, value in reply.headers.items()]
    return headers


async def _drip(reply: Reply, duration_s: float, receive: Receive, send: Send) -> None:
    """Send ``reply`` in pieces over ``duration_s``, while the client is connected."""
    await send({"type": "http.response.start", "status": reply.status, "headers": _headers(reply)})
    size = max(len(reply.body) // _DROPS, 1)
    for place in range(0, len(reply.body), size):
        drop = reply.body[place : place + size]
        await send({"type": "http.response.body", "body": drop, "more_body": True})
        if not await _outlasts_the_client(duration_s / _DROPS, receive):
            return
    await send({"type": "http.response.body", "body": b"", "more_body": False})


def _dated(send: Send, at: datetime) -> Send:
    """Add a Date from the clock reading of Retry-After.

    The server's own Date is a second or more behind while the machine is busy.
    """
    date = (b"date", email.utils.format_datetime(at, usegmt=True).encode())

    async def dated(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [date, *message["headers"]]
        await send(message)

    return dated


def _counting(send: Send, sent: _Sent) -> Send:
    async def counted(message: Message) -> None:
        if message["type"] == "http.response.start":
            sent.status = message["status"]
        else:
            sent.bytes += len(message["body"])
        await send(message)

    return counted
