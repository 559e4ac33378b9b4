"""Points at which a worker is paused, so that a seed fixes where the fault strikes.

Here: holding it at a request to the bucket or before a write to a table, and corrupting single
requests. Not here: which points a scenario draws (archive_scenarios.py), or
refusing a share of all requests (sandbox/simulators/object_store_front.py).
"""

import contextlib
import re
import threading
from collections.abc import Generator
from dataclasses import dataclass
from enum import StrEnum

import psycopg
from psycopg import sql
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from resources.storage.object_store import ObjectStore
from sandbox.simulators.object_store_front import ObjectStoreFront

HELD_WITHIN_S = 120.0
"""Longest hold, so that a scenario that forgets to release still ends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PausePoint:
    """Where a worker is held.

    Attributes:
        name: In words, for the table of faults.
        request: Hold the first request that matches this pattern of ``METHOD key?query``, followed
            by a blank and the byte range if there is one.
        done: Hold the answer, after the server has done its work; otherwise hold the request.
        table: Instead of a request: hold the first write to this table.
    """

    name: str
    request: str = ""
    done: bool = False
    table: str = ""


class Corruption(StrEnum):
    """How one request that the server would serve is corrupted."""

    HALF_KEPT = "half of an object kept"
    """The answer is right, but half of the bytes are stored."""
    HALF_ANSWER = "half of an answer"
    DONE_BUT_500 = "500 to what was done"


class Hold:
    """One pause point in force."""

    def __init__(self, point: PausePoint) -> None:
        self.point = point
        self.abandoned = False
        self._reached, self._released = threading.Event(), threading.Event()

    def reach(self) -> None:
        """Note that the point is reached, and wait for the release."""
        self._reached.set()
        self._released.wait(HELD_WITHIN_S)

    def is_reached(self) -> bool:
        """Return whether a worker is, or was, held."""
        return self._reached.is_set()

    def release(self) -> None:
        """Let the worker continue."""
        self._released.set()


class WatchedFront(ObjectStoreFront):
    """A front that can also hold one request, and corrupt the next ones that match a pattern.

    Args:
        origin: The S3 server's origin.
        store: The bucket behind the front, to damage objects in it.

    Attributes:
        corrupted: How many requests were corrupted so far.
    """

    def __init__(self, origin: str, *, seed: int, store: ObjectStore) -> None:
        super().__init__(origin, seed=seed)
        self._store = store
        self._hold: Hold | None = None
        self._corrupting: tuple[Corruption, re.Pattern[str], int] | None = None
        self.corrupted = 0

    def hold(self, point: PausePoint) -> Hold:
        """Hold the next request of the point."""
        self._hold = Hold(point)
        return self._hold

    def corrupt(self, how: Corruption, request: str, count: int) -> None:
        """Corrupt the next ``count`` requests whose ``METHOD key?query`` matches the pattern."""
        self._corrupting = (how, re.compile(request), count)

    def heal(self) -> None:
        """Pass everything on again."""
        self.fault = self._corrupting = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            return
        request = Request(scope)
        _, _, key = request.url.path.lstrip("/").partition("/")
        part = f" {asked}" if (asked := request.headers.get("range")) else ""
        text = f"{request.method} {key}?{request.url.query}{part}"
        hold, corruption = self._taken_hold(text), self._taken_corruption(text)
        if hold and not hold.point.done:
            await run_in_threadpool(hold.reach)
            if hold.abandoned:
                await Response(status_code=503)(scope, receive, send)
                return
        if hold and hold.point.done:
            send = _held(hold, send)
        if corruption is Corruption.HALF_KEPT:
            send = self._halving(key, send)
        elif corruption is Corruption.HALF_ANSWER:
            send = _cut(send)
        elif corruption is Corruption.DONE_BUT_500:
            await super().__call__(scope, receive, _discard)
            await Response(status_code=500)(scope, receive, send)
            return
        await super().__call__(scope, receive, send)

    def _taken_hold(self, text: str) -> Hold | None:
        hold = self._hold
        if hold is None or not re.search(hold.point.request, text):
            return None
        self._hold = None
        return hold

    def _taken_corruption(self, text: str) -> Corruption | None:
        if self._corrupting is None or not self._corrupting[1].search(text):
            return None
        how, pattern, count = self._corrupting
        self._corrupting = (how, pattern, count - 1) if count > 1 else None
        self.corrupted += 1
        return how

    def _halving(self, key: str, send: Send) -> Send:
        def halve() -> None:
            content = self._store.get(key).content
            self._store.put_bytes(
                key, content[: len(content) // 2], content_type="application/octet-stream"
            )

        async def halving(message: Message) -> None:
            if message["type"] == "http.response.start":
                await run_in_threadpool(halve)
            await send(message)

        return halving


@contextlib.contextmanager
def held(front: WatchedFront, database_url: str, point: PausePoint) -> Generator[Hold]:
    """Hold the worker that reaches ``point`` until the block ends.

    If the server ends meanwhile, its lock on a table is gone too.
    """
    if not point.table:
        hold = front.hold(point)
        try:
            yield hold
        finally:
            hold.release()
        return
    # Not a context manager: that would commit, which fails after a restart of the server.
    holder = psycopg.connect(database_url)
    try:
        table = sql.Identifier(point.table)
        holder.execute(sql.SQL("lock table {} in exclusive mode").format(table))
        yield _TableHold(point, database_url)
    finally:
        holder.close()


class _TableHold(Hold):
    def __init__(self, point: PausePoint, database_url: str) -> None:
        super().__init__(point)
        self._database_url = database_url

    def is_reached(self) -> bool:
        """Return whether a session waits for the table."""
        with psycopg.connect(self._database_url) as connection:
            row = connection.execute(
                """
                select from pg_locks
                where
                    relation = %s::regclass
                    and not granted
                    and database = (select oid from pg_database where datname = current_database())
                """,
                [self.point.table],
            ).fetchone()
        return row is not None


def _held(hold: Hold, send: Send) -> Send:
    async def holding(message: Message) -> None:
        if message["type"] == "http.response.start":
            await run_in_threadpool(hold.reach)
        await send(message)

    return holding


def _cut(send: Send) -> Send:
    async def cutting(message: Message) -> None:
        if message["type"] == "http.response.body":
            body = message["body"]
            await send({**message, "body": body[: len(body) // 2], "more_body": True})
            why = "half of an answer is sent, as was asked for"
            raise ConnectionAbortedError(why)
        await send(message)

    return cutting


async def _discard(_: Message) -> None:
    """Swallow an answer."""
