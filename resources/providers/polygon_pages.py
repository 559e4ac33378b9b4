"""Polygon's pages: asking for one after the other, and making one answer of them.

Here: where paging begins and ends, and the origin of an answer. Not here: what a page holds
(polygon_wire.py and its neighbours), or what is asked for (polygon.py).
"""

import hashlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace

import pyarrow as pa

from marketdata.ports import Answer
from resources.providers import polygon_wire
from resources.providers.http import Getter, HttpAnswer
from resources.providers.kept_answers import kept_as, pointers
from resources.providers.polygon_bars import Rows
from resources.providers.polygon_wire import NextPage, Page

PAGE_LIMIT = 1_000
"""Pages of one answer; beyond it the paging runs in a circle."""

Read = Callable[[Page, HttpAnswer, str], Rows]
"""Turns one page, and the reply it came in, into rows; the text is the operation."""


class Gathered:
    """What the replies of one answer held so far.

    Args:
        operation: What is asked; becomes the answer's ``request``.
    """

    def __init__(self, *, operation: str) -> None:
        self.tables: list[pa.Table] = []
        self.left_out: list[str] = []
        self._operation = operation
        self._digest = hashlib.sha256()
        self._replies: list[HttpAnswer] = []

    def next_operation(self) -> str:
        """Name the next request, for errors and for what is kept of it."""
        count = len(self._replies)
        return f"{self._operation} page={count + 1}" if count else self._operation

    def add(self, reply: HttpAnswer) -> None:
        """Count a reply in; its body is not needed any longer after it was parsed."""
        self._digest.update(reply.body)
        self._replies.append(replace(reply, body=b""))

    def kept(self) -> AbstractContextManager[None]:
        """Let an error that is raised within point to all replies so far."""
        return kept_as(self._replies)

    def answer(self) -> Answer:
        """Make one answer of all replies so far; there has to be one."""
        return Answer(
            rows=pa.concat_tables(self.tables),
            request=self._operation,
            content_sha256=self._digest.hexdigest(),
            fetched_at=self._replies[-1].fetched_at,
            requests=sum(reply.requests for reply in self._replies),
            raw_answers=pointers(self._replies),
            left_out=tuple(self.left_out),
        )


async def gather(
    getter: Getter, first: NextPage, read: Read, gathered: Gathered, *, exact: bool = False
) -> None:
    """Ask for a page and all that follow it, and add their rows to ``gathered``."""
    asked: NextPage | None = first
    seen: set[str] = set()
    while asked is not None:
        page_of = gathered.next_operation()
        reply = await getter.get(asked.path, asked.parameters, operation=page_of)
        gathered.add(reply)
        with gathered.kept():
            page = polygon_wire.page(reply.body, operation=page_of, exact=exact)
            rows = read(page, reply, page_of)
            asked = _after(page, seen, page_of)
        gathered.tables.append(rows.table)
        gathered.left_out.extend(rows.left_out)


def _after(page: Page, seen: set[str], operation: str) -> NextPage | None:
    if page.next_url is None:
        return None
    if page.next_url in seen or len(seen) >= PAGE_LIMIT:
        raise polygon_wire.malformed("the pages run in a circle", operation)
    seen.add(page.next_url)
    return polygon_wire.following(page.next_url, operation=operation)
