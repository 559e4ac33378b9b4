"""Replays a provider's kept answers, without any request.

Here: serving kept bodies to a client's own code, so that its parser and checks run again, for
instance after a fix. Not here: the pointers to them (provenance.py), where bodies are kept (the
caller passes a function that reads one), or the storing of rows.
"""

import asyncio
import hashlib
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from http import HTTPStatus
from typing import Protocol

from marketdata.recovery import errors
from resources.providers.http import HttpAnswer


class KeptBody(Protocol):
    """A kept body; ``fetched_at`` (aware) is when it came from the provider."""

    @property
    def body(self) -> bytes: ...
    @property
    def fetched_at(self) -> datetime: ...


class KeptGetter:
    """Serves kept bodies in order, whatever is requested: parsers notice a mismatch.

    Pass it to a provider's client in place of an HttpGetter, and repeat the original request. The
    answer has the time at which it was kept, so that it restates nothing newer, and counts no
    requests.

    Args:
        provider: Whose answer it is.
        read: Reads the body of a pointer, such as RawZone.read; called in a thread.
        raw_answers: The pointers of ONE answer, all pages in their order.
    """

    def __init__(
        self, provider: str, read: Callable[[str], KeptBody], raw_answers: Sequence[str]
    ) -> None:
        self._provider = provider
        self._read = read
        self._waiting = list(raw_answers)

    async def get(
        self, path: str, parameters: Mapping[str, str], *, operation: str, weight: int = 1
    ) -> HttpAnswer:
        """Return the next kept body.

        Raises:
            MalformedPayloadError: None is left: not all of the answer was kept.
            StorageError: The kept body cannot be read.
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
        """Refuse an answer that did not use all its kept pages.

        Raises:
            MalformedPayloadError: Kept pages are left over.
        """
        if self._waiting:
            raise self._incomplete(f"{len(self._waiting)} kept pages were not asked for", operation)

    def _incomplete(self, reason: str, operation: str) -> errors.MalformedPayloadError:
        return errors.MalformedPayloadError(
            f"{reason}; nothing was stored, ask the provider again: wrdata dlq retry",
            provider=self._provider,
            operation=operation,
        )
