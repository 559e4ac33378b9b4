"""Where an answer came from: the replies that it is made of.

Here: collecting replies, pointing to the kept ones, also from errors, and building the answer. Not
here: requesting and keeping (http.py), or replaying kept answers (kept_answers.py).
"""

import hashlib
from collections.abc import Collection, Generator, Iterable, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from datetime import date, datetime

import pyarrow as pa

from marketdata.ports import Answer
from marketdata.recovery import errors
from marketdata.rows import RejectedRow
from resources.providers.http import HttpAnswer
from resources.telemetry import logs

_LOG = logs.logger("providers")


def pointers(replies: Iterable[HttpAnswer | None]) -> tuple[str, ...]:
    """Return the pointers to the kept replies of one answer.

    They end at the first reply that has not come or is not kept. Otherwise a replay would take a
    later page for it; ``KeptGetter`` refuses an answer that breaks off.

    Args:
        replies: In the order of requests; None for one that has not come yet.
    """
    raw_answers: list[str] = []
    for reply in replies:
        if reply is None or reply.raw_answer is None:
            break
        raw_answers.append(reply.raw_answer)
    return tuple(raw_answers)


@contextmanager
def kept_as(replies: Sequence[HttpAnswer | None]) -> Generator[None]:
    """Attach pointers to all ``replies`` of the answer so far to errors raised in the block.

    All of them, since a single page replayed alone would count as the whole answer.
    """
    try:
        yield
    except errors.ProviderError as error:
        error.raw_answers = pointers(replies)
        raise


class Replies:
    """The replies of one answer, in the order in which they came."""

    def __init__(self, *replies: HttpAnswer) -> None:
        self._replies: list[HttpAnswer] = []
        self._digest = hashlib.sha256()
        for reply in replies:
            self.add(reply)

    def __len__(self) -> int:
        return len(self._replies)

    def add(self, reply: HttpAnswer) -> None:
        """Add a reply; its body is not kept in memory."""
        self._digest.update(reply.body)
        self._replies.append(replace(reply, body=b""))

    def kept(self) -> AbstractContextManager[None]:
        """Attach pointers to all replies so far to errors raised in the block."""
        return kept_as(self._replies)

    @property
    def requests(self) -> int:
        """HTTP requests that they took, retries included."""
        return sum(reply.requests for reply in self._replies)

    @property
    def fetched_at(self) -> datetime:
        """Aware UTC time of the earliest reply: all content is at least as new."""
        return min(reply.fetched_at for reply in self._replies)

    @property
    def raw_answers(self) -> tuple[str, ...]:
        """Pointers to the kept replies."""
        return pointers(self._replies)

    @property
    def content_sha256(self) -> str:
        """Hex digest of all bodies, one after the other."""
        return self._digest.hexdigest()

    def answer(
        self,
        request: str,
        rows: pa.Table,
        left_out: Iterable[RejectedRow] = (),
        *,
        notes: Iterable[str] = (),
        untold: Collection[date] = (),
    ) -> Answer:
        """Make one answer of them (at least one), and log its distinct notes."""
        # Pages of one answer may have the same note.
        different = tuple(dict.fromkeys(notes))
        for note in different:
            _LOG.warning("%s: %s", request, note)
        return Answer(
            rows=rows,
            request=request,
            content_sha256=self.content_sha256,
            fetched_at=self.fetched_at,
            requests=self.requests,
            raw_answers=self.raw_answers,
            left_out=tuple(left_out),
            notes=different,
            untold=frozenset(untold),
        )
