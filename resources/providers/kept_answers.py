"""A provider's answers once more, from what was kept of them: no request is made, ever.

Here: serving kept bodies to a client's own code, so that its parser and its checks run again,
for instance after they were mended. Not here: the pointers that make this possible (provenance.py),
where bodies are kept (the caller gives a function that reads one), or what becomes of the rows.
"""

import asyncio
import hashlib
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from http import HTTPStatus
from typing import Protocol

from marketdata.recovery import errors
from resources.providers.http import HttpAnswer


class Kept(Protocol):
    """A body that was kept; ``fetched_at`` is aware and says when it came from the provider."""

    @property
    def body(self) -> bytes: ...
    @property
    def fetched_at(self) -> datetime: ...


class KeptGetter:
    """Hands out kept bodies one after the other, whatever is asked: the parsers will notice.

    Give it to a provider's client in the place of HTTP, and ask for what was asked for then. The
    answer carries the time at which it was kept, so that it restates nothing newer, and counts
    no requests.

    Args:
        provider: Whose answer it is.
        read: Fetches what a pointer points to, such as RawZone.read; called in a thread.
        raw_answers: The pointers of ONE answer, all pages in their order.
    """

    def __init__(
        self, provider: str, read: Callable[[str], Kept], raw_answers: Sequence[str]
    ) -> None:
        self._provider = provider
        self._read = read
        self._waiting = list(raw_answers)

    async def get(
        self, path: str, parameters: Mapping[str, str], *, operation: str, weight: int = 1
    ) -> HttpAnswer:
        """Return the next kept body.

        Raises:
            MalformedPayloadError: There is none left: not all of the answer was kept.
            StorageError: What was kept cannot be read.
        """
        del path, parameters, weight
        if not self._waiting:
            raise self._incomplete("not all of this answer was kept", operation)
        pointer = self._waiting.pop(0)
        kept = await asyncio.to_thread(self._read, pointer)
        return HttpAnswer(
            status=HTTPStatus.OK,
            headers={},
            body=kept.body,
            sha256=hashlib.sha256(kept.body).hexdigest(),
            fetched_at=kept.fetched_at,
            requests=0,
            raw_answer=pointer,
        )

    def require_all_read(self, operation: str) -> None:
        """Refuse an answer that did not need all that was kept of it.

        Raises:
            MalformedPayloadError: Kept pages are left over.
        """
        if self._waiting:
            raise self._incomplete(f"{len(self._waiting)} kept pages were not asked for", operation)

    def _incomplete(self, what: str, operation: str) -> errors.MalformedPayloadError:
        return errors.MalformedPayloadError(
            f"{what}; nothing was stored, ask the provider again: wrdata dlq retry",
            provider=self._provider,
            operation=operation,
        )
