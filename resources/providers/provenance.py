"""Where an answer came from: the replies that it was made of.

Here: counting replies in, pointing to where they are kept, also from errors, and the answer that
they make. Not here: asking and keeping (http.py), or reading what was kept (kept_answers.py).
"""

import hashlib
import logging
from collections.abc import Collection, Generator, Iterable, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from datetime import date, datetime

import pyarrow as pa

from marketdata.ports import Answer
from marketdata.recovery import errors
from marketdata.rows import RejectedRow
from resources.providers.http import HttpAnswer

_LOG = logging.getLogger(__name__)


def pointers(replies: Iterable[HttpAnswer | None]) -> tuple[str, ...]:
    """Return where the replies of one answer are kept.

    It ends at the first one that has not come or is not kept: a later page in its place would be
    taken for it, while an answer that breaks off is refused by ``KeptGetter``.

    Args:
        replies: In the order of asking; None for one that has not come yet.
    """
    found: list[str] = []
    for reply in replies:
        if reply is None or reply.raw_answer is None:
            break
        found.append(reply.raw_answer)
    return tuple(found)


@contextmanager
def kept_as(replies: Sequence[HttpAnswer | None]) -> Generator[None]:
    """Let an error that is raised within point to all ``replies`` of the answer so far.

    To all, since a page that is replayed by itself would pass for the whole answer.
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
        """Count a reply in; its body is not held any longer."""
        self._digest.update(reply.body)
        self._replies.append(replace(reply, body=b""))

    def kept(self) -> AbstractContextManager[None]:
        """Let an error that is raised within point to all replies so far."""
        return kept_as(self._replies)

    @property
    def requests(self) -> int:
        """HTTP requests that they took, repeats included."""
        return sum(reply.requests for reply in self._replies)

    @property
    def fetched_at(self) -> datetime:
        """Aware UTC time of the earliest: what they hold together is at least as new."""
        return min(reply.fetched_at for reply in self._replies)

    @property
    def raw_answers(self) -> tuple[str, ...]:
        """Where they are kept."""
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
        """Make one answer of them; there has to be one. The log has its notes, each once."""
        # Pages of one answer note the same.
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
