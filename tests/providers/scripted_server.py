"""A real HTTP server on loopback that answers with what a test wrote down for it.

Bytes are written as given, so that answers no well-behaved server would send can be sent too.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, urlsplit


@dataclass(frozen=True, kw_only=True)
class Reply:
    """One answer.

    Attributes:
        cut: It promises more bytes than it sends.
        silent: It never comes.
        byte_every_s: The body drips, one byte after each pause.
    """

    status: int = 200
    body: bytes = b"[]"
    headers: Mapping[str, str] = field(default_factory=dict)
    cut: bool = False
    silent: bool = False
    byte_every_s: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Request:
    """A request and its arrival by the loop's clock."""

    path: str
    query: Mapping[str, str]
    at_s: float


Script = Callable[[Request], Reply]


@dataclass(kw_only=True)
class ScriptedServer:
    """Answers by ``script`` and keeps what it was asked."""

    url: str
    requests: list[Request]


@asynccontextmanager
async def serve(script: Script) -> AsyncGenerator[ScriptedServer]:
    """Serve ``script`` on a free port of 127.0.0.1."""
    server = ScriptedServer(url="", requests=[])
    tasks: set[asyncio.Task[None]] = set()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            target = urlsplit(head.split(" ", 2)[1])
            request = Request(
                path=target.path,
                query=dict(parse_qsl(target.query, keep_blank_values=True)),
                at_s=asyncio.get_running_loop().time(),
            )
            server.requests.append(request)
            reply = script(request)
            if reply.silent:
                await asyncio.Event().wait()
            writer.write(_head(reply))
            if reply.byte_every_s:
                for byte in reply.body:
                    await asyncio.sleep(reply.byte_every_s)
                    writer.write(bytes([byte]))
                    await writer.drain()
            else:
                writer.write(reply.body)
            await writer.drain()
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    listener = await asyncio.start_server(answer, "127.0.0.1", 0)
    server.url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}/stable"
    try:
        yield server
    finally:
        listener.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _head(reply: Reply) -> bytes:
    length = len(reply.body) + (100 if reply.cut else 0)
    headers = {"content-type": "application/json", "content-length": str(length)}
    headers |= {"connection": "close", **reply.headers}
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {reply.status} Scripted\r\n{lines}\r\n".encode()


def always(reply: Reply) -> Script:
    """Answer every request alike."""
    return lambda _: reply


def one_by_one(*replies: Reply) -> Script:
    """Answer with each of ``replies`` once, the last one for ever after."""
    rest = list(replies)
    return lambda _: rest.pop(0) if len(rest) > 1 else rest[0]


def as_json(value: object) -> Reply:
    """Answer 200 with ``value``."""
    return Reply(body=json.dumps(value).encode())
