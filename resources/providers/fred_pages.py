"""Lists that FRED hands out in pages, and the origin of what was read from them.

Here: asking for one list until it is whole, and the facts of an answer. Not here: what a page
looks like (fred_wire.py), or which lists make one answer (fred.py).

FRED cuts a list off at its limit without a word: only ``count`` tells.
"""

import hashlib
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import TypeVar

from marketdata.recovery import errors
from resources.providers import fred_wire
from resources.providers.http import Getter

_Page = TypeVar("_Page", bound=fred_wire.Page)


class Origin:
    """Where the parts of one answer came from, in the order in which they came.

    Attributes:
        requests: HTTP requests so far, repeats included.
        fetched_at: Aware UTC time at which the last body was complete.
        raw_answers: Pointers of the bodies that are kept.
    """

    def __init__(self) -> None:
        self.requests = 0
        self.fetched_at = datetime.min.replace(tzinfo=UTC)
        self.raw_answers: list[str] = []
        self._digest = hashlib.sha256()

    @property
    def content_sha256(self) -> str:
        """Hex digest of all bodies."""
        return self._digest.hexdigest()

    async def read(
        self,
        getter: Getter,
        path: str,
        parameters: Mapping[str, str],
        *,
        limit: int,
        parse: Callable[[bytes, str], _Page],
    ) -> list[_Page]:
        """Return all pages of one list, one at least.

        Args:
            getter: Sends the requests.
            path: The endpoint.
            parameters: The query, without key, format, limit and offset.
            limit: Rows that are asked for in one page.
            parse: Reads a body; its second argument is the operation, for errors.

        Raises:
            ProviderUnavailableError: Besides the usual reasons, the list changed between two pages.
            MalformedPayloadError: More or fewer rows came than the answer counts, or ``parse``
                says so; the error points to all bodies of the answer so far.
        """
        asked = " ".join([path, *(f"{name}={value}" for name, value in parameters.items())])
        pages: list[_Page] = []
        received = 0
        while not pages or received < pages[0].count:
            operation = f"{asked} offset={received}"
            # Without file_type the answer would be XML, errors included.
            page_of = {"file_type": "json", "limit": str(limit), "offset": str(received)}
            reply = await getter.get(path, {**parameters, **page_of}, operation=operation)
            self._digest.update(reply.body)
            self.requests += reply.requests
            self.fetched_at = reply.fetched_at
            if reply.raw_answer is not None:
                self.raw_answers.append(reply.raw_answer)
            try:
                page = parse(reply.body, operation)
                _check_length(page, received, limit, operation)
                pages.append(page)
                _check_count(pages, operation)
            except errors.ProviderError as error:
                error.raw_answers = tuple(self.raw_answers)
                raise
            received += page.received
        return pages


def _check_length(page: fred_wire.Page, before: int, limit: int, operation: str) -> None:
    expected = min(limit, max(page.count - before, 0))
    if page.received != expected:
        message = f"{page.received} rows came where {expected} were left of {page.count}"
        raise fred_wire.malformed(message, operation)


def _check_count(pages: list[_Page], operation: str) -> None:
    if pages[-1].count != pages[0].count:
        message = (
            f"the list grew from {pages[0].count} to {pages[-1].count} rows between two requests; "
            "ask for it again"
        )
        raise errors.ProviderUnavailableError(
            message, provider=fred_wire.PROVIDER, operation=operation
        )
