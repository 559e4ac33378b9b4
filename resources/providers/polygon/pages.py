"""Polygon's pages: asking for one after the other, and making one answer of them.

Here: where paging begins and ends, and the origin of an answer. Not here: what a page holds
(wire.py and its neighbours), or what is asked for (client.py).
"""

from collections.abc import Callable
from contextlib import AbstractContextManager

import pyarrow as pa

from marketdata.ports import Answer
from marketdata.rows import RejectedRow
from resources.providers.http import Getter, HttpAnswer
from resources.providers.polygon import wire
from resources.providers.polygon.bars import Rows
from resources.providers.polygon.wire import NextPage, Page
from resources.providers.provenance import Replies

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
        self.left_out: list[RejectedRow] = []
        self.notes: list[str] = []
        self._operation = operation
        self._replies = Replies()

    def next_operation(self) -> str:
        """Name the next request, for errors and for what is kept of it."""
        count = len(self._replies)
        return f"{self._operation} page={count + 1}" if count else self._operation

    def add(self, reply: HttpAnswer) -> None:
        """Count a reply in."""
        self._replies.add(reply)

    def take(self, rows: Rows) -> None:
        """Take rows into the answer."""
        self.tables.append(rows.table)
        self.left_out.extend(rows.left_out)
        self.notes.extend(rows.notes)

    def kept(self) -> AbstractContextManager[None]:
        """Let an error that is raised within point to all replies so far."""
        return self._replies.kept()

    def answer(self) -> Answer:
        """Make one answer of all replies so far; there has to be one."""
        return self._replies.answer(
            self._operation, pa.concat_tables(self.tables), self.left_out, notes=self.notes
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
            page = wire.page(reply.body, operation=page_of, exact=exact)
            rows = read(page, reply, page_of)
            asked = _after(page, seen, page_of)
        gathered.take(rows)


def _after(page: Page, seen: set[str], operation: str) -> NextPage | None:
    if page.next_url is None:
        return None
    if page.next_url in seen or len(seen) >= PAGE_LIMIT:
        raise wire.malformed("the pages run in a circle", operation)
    seen.add(page.next_url)
    return wire.following(page.next_url, operation=operation)
