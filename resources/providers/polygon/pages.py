"""Polygon's pages: requesting them in order, and making one answer of them.

Here: where paging begins and ends, and the provenance of an answer. Not here: what a page holds
(wire.py and its neighbours), or the requests (client.py).
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
"""Most pages of one answer; more would be an endless loop."""

Read = Callable[[Page, HttpAnswer, str], Rows]
"""Turns one page, and the reply it came in, into rows; the text is the operation."""


class Gathered:
    """The replies and rows of one answer so far.

    Args:
        operation: Description of the request; becomes the answer's ``request``.
    """

    def __init__(self, *, operation: str) -> None:
        self.tables: list[pa.Table] = []
        self.left_out: list[RejectedRow] = []
        self.notes: list[str] = []
        self._operation = operation
        self._replies = Replies()

    def next_operation(self) -> str:
        """Name the next request, for errors and for the kept answer."""
        count = len(self._replies)
        return f"{self._operation} page={count + 1}" if count else self._operation

    def add(self, reply: HttpAnswer) -> None:
        """Add a reply."""
        self._replies.add(reply)

    def take(self, rows: Rows) -> None:
        """Add rows to the answer."""
        self.tables.append(rows.table)
        self.left_out.extend(rows.left_out)
        self.notes.extend(rows.notes)

    def kept(self) -> AbstractContextManager[None]:
        """Attach pointers to all replies so far to errors raised in the block."""
        return self._replies.kept()

    def answer(self) -> Answer:
        """Make one answer of all replies so far; there must be at least one."""
        return self._replies.answer(
            self._operation, pa.concat_tables(self.tables), self.left_out, notes=self.notes
        )


async def gather(
    getter: Getter, first: NextPage, read: Read, gathered: Gathered, *, exact: bool = False
) -> None:
    """Request a page and all that follow it, and add their rows to ``gathered``."""
    next_page: NextPage | None = first
    seen: set[str] = set()
    while next_page is not None:
        operation = gathered.next_operation()
        reply = await getter.get(next_page.path, next_page.parameters, operation=operation)
        gathered.add(reply)
        with gathered.kept():
            page = wire.page(reply.body, operation=operation, exact=exact)
            rows = read(page, reply, operation)
            next_page = _after(page, seen, operation)
        gathered.take(rows)


def _after(page: Page, seen: set[str], operation: str) -> NextPage | None:
    if page.next_url is None:
        return None
    if page.next_url in seen or len(seen) >= PAGE_LIMIT:
        raise wire.malformed("the pages run in a circle", operation)
    seen.add(page.next_url)
    return wire.following(page.next_url, operation=operation)
