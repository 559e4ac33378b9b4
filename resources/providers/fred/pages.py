"""Lists that FRED returns in pages.

Here: requesting one list until it is complete. Not here: what a page looks like (wire.py), or which
lists make one answer (client.py).

FRED silently cuts a list off at its limit: only ``count`` shows it.
"""

from collections.abc import Callable, Mapping
from typing import TypeVar

from marketdata.recovery import errors
from resources.providers.fred import wire
from resources.providers.http import Getter
from resources.providers.provenance import Replies

_Page = TypeVar("_Page", bound=wire.Page)


async def read(
    replies: Replies,
    getter: Getter,
    path: str,
    parameters: Mapping[str, str],
    *,
    limit: int,
    parse: Callable[[bytes, str], _Page],
) -> list[_Page]:
    """Return all pages of one list, at least one.

    Args:
        replies: Replies of the whole answer, to which those of this list are added.
        getter: Sends the requests.
        path: The endpoint.
        parameters: The query, without key, format, limit and offset.
        limit: Rows requested per page.
        parse: Reads a body; its second argument is the operation, for errors.

    Raises:
        ProviderUnavailableError: Besides the usual reasons, the list changed between two pages.
        MalformedPayloadError: The number of rows differs from the answer's count, or ``parse``
            raised it; the error points to all bodies of the answer so far.
    """
    request = " ".join([path, *(f"{name}={value}" for name, value in parameters.items())])
    pages: list[_Page] = []
    received = 0
    while not pages or received < pages[0].count:
        operation = f"{request} offset={received}"
        # Without file_type the answer would be XML, errors included.
        page_parameters = {"file_type": "json", "limit": str(limit), "offset": str(received)}
        reply = await getter.get(path, {**parameters, **page_parameters}, operation=operation)
        replies.add(reply)
        with replies.kept():
            page = parse(reply.body, operation)
            _check_length(page, received, limit, operation)
            pages.append(page)
            _check_count(pages, operation)
        received += page.received
    return pages


def _check_length(page: wire.Page, before: int, limit: int, operation: str) -> None:
    expected = min(limit, max(page.count - before, 0))
    if page.received != expected:
        message = f"{page.received} rows came where {expected} were left of {page.count}"
        raise wire.malformed(message, operation)


def _check_count(pages: list[_Page], operation: str) -> None:
    if pages[-1].count != pages[0].count:
        message = (
            f"the list grew from {pages[0].count} to {pages[-1].count} rows between two requests; "
            "ask for it again"
        )
        raise errors.ProviderUnavailableError(message, provider=wire.PROVIDER, operation=operation)
