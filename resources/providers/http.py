"""One GET, with everything around it that each provider needs.

Here: connection pool and time-outs, the budget before every attempt, retries as
marketdata/recovery/policy.py decides them, the key kept out of sight, and the translation of
transport errors and status codes into marketdata/recovery/errors.py. Not here: what an answer
means (one module per provider), or the numbers of the retry policy.
"""

import asyncio
import email.utils
import hashlib
import logging
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from types import TracebackType
from typing import Self

import httpx
import stamina

from marketdata.recovery import errors
from marketdata.recovery.policy import RequestRetry
from resources.providers.budget import RequestBudget

TIMEOUT = httpx.Timeout(connect=5.0, read=30.0, write=10.0, pool=10.0)
ATTEMPT_LIMIT_S = 120.0
"""Bounds one attempt in all: a server that drips a byte now and then never times out by reads."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpAnswer:
    """An answer of the provider, read to its end.

    Attributes:
        headers: By lower-case name.
        sha256: Hex digest of ``body``.
        fetched_at: Aware UTC time at which the body was complete.
        requests: HTTP requests it took, repeats included.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    sha256: str
    fetched_at: datetime
    requests: int


Judge = Callable[[HttpAnswer, str], errors.ProviderError | None]
"""Tells what is wrong with the answer to an operation, or None: errors come inside a 200 too."""


class HttpGetter:
    """Sends GET requests to one provider; open it with ``async with``.

    Args:
        provider: Short name for errors, such as ``fmp``.
        base_url: What every path is appended to.
        key: Name and value of the query parameter that carries the key.
        budget: Waited for before every attempt, repeats included.
        retry: Bounds of the repetition.
        judge: What the provider's answers mean.
        in_flight: Requests under way at once. It also keeps the queue in front of the budget
            short: time spent there counts against ``retry.total_s``.

    Raises:
        ConfigurationError: The address or the key cannot be used.
    """

    def __init__(
        self,
        *,
        provider: str,
        base_url: str,
        key: tuple[str, str],
        budget: RequestBudget,
        retry: RequestRetry,
        judge: Judge,
        in_flight: int,
    ) -> None:
        _check_settings(provider, base_url, key[1])
        self.requests_sent = 0
        self._provider = provider
        self._base_url = base_url
        self._key = key
        self._budget = budget
        self._retry = retry
        self._judge = judge
        self._in_flight = in_flight
        self._slots = asyncio.Semaphore(in_flight)
        self._client: httpx.AsyncClient | None = None

    async def __aenter__(self) -> Self:
        """Open the connection pool."""
        # httpcore's DEBUG lines hold the headers of answers, among them a redirect's
        # Location, which may repeat the query and the key within it.
        logging.getLogger("httpcore").setLevel(logging.INFO)
        limits = httpx.Limits(max_connections=self._in_flight)
        self._client = httpx.AsyncClient(
            base_url=self._base_url,
            transport=_KeyInQuery(self._key, httpx.AsyncHTTPTransport(limits=limits)),
            timeout=TIMEOUT,
            headers={"user-agent": "wrdata"},
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the connection pool."""
        if self._client is not None:
            await self._client.aclose()
            self._client = None

    async def get(self, path: str, parameters: Mapping[str, str], *, operation: str) -> HttpAnswer:
        """Return the answer to ``path`` once the judge has nothing to say against it.

        Args:
            path: Appended to the base address.
            parameters: The query, without the key.
            operation: What is asked, for error messages.

        Raises:
            ProviderError: Of the kind that the judge or the transport's failure calls for,
                once ``retry`` allows no further attempt.
            RuntimeError: The getter is not open.
        """
        if self._client is None:
            message = f"the {self._provider} client is not open: use it inside `async with`"
            raise RuntimeError(message)
        client, sent = self._client, 0

        async def attempt() -> HttpAnswer:
            nonlocal sent
            await self._budget.acquire()
            sent += 1
            self.requests_sent += 1
            answer = await self._once(client, path, parameters, operation, sent)
            if (error := self._judge(answer, operation)) is not None:
                raise error
            return answer

        repeat = stamina.AsyncRetryingCaller(
            attempts=self._retry.attempts,
            timeout=self._retry.total_s,
            wait_initial=self._retry.first_wait_s,
            wait_max=self._retry.longest_wait_s,
            wait_jitter=self._retry.jitter_s,
        )
        async with self._slots:
            return await repeat(self._retry.back_off, attempt)

    async def _once(
        self,
        client: httpx.AsyncClient,
        path: str,
        parameters: Mapping[str, str],
        operation: str,
        sent: int,
    ) -> HttpAnswer:
        async with _translated(self._provider, operation), asyncio.timeout(ATTEMPT_LIMIT_S):
            response = await client.get(path, params=dict(parameters))
        return HttpAnswer(
            status=response.status_code,
            headers=dict(response.headers),
            body=response.content,
            sha256=hashlib.sha256(response.content).hexdigest(),
            fetched_at=datetime.now(UTC),
            requests=sent,
        )


class _KeyInQuery(httpx.AsyncBaseTransport):
    """Adds the key to a request at the last moment.

    So the request that httpx logs (its INFO line prints the whole URL) and hangs on its
    exceptions is one without the key.
    """

    def __init__(self, key: tuple[str, str], wire: httpx.AsyncBaseTransport) -> None:
        self._key = key
        self._wire = wire

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        name, value = self._key
        return await self._wire.handle_async_request(
            httpx.Request(
                request.method,
                request.url.copy_set_param(name, value),
                headers=request.headers,
                stream=request.stream,
                extensions=request.extensions,
            )
        )

    async def aclose(self) -> None:
        await self._wire.aclose()


def status_error(
    answer: HttpAnswer, *, provider: str, operation: str, detail: str
) -> errors.ProviderError | None:
    """Return the error that an answer's status calls for, or None for the 2xx family.

    Args:
        answer: Whose status and Retry-After count.
        provider: For the error.
        operation: For the error.
        detail: What the provider says, fit to be shown.
    """
    status = answer.status
    if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
        return None
    message = f"HTTP {status}: {detail}" if detail else f"HTTP {status}"
    if status in {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS}:
        return errors.RateLimitedError(
            message,
            provider=provider,
            operation=operation,
            retry_after_s=retry_after_s(answer.headers.get("retry-after"), now=answer.fetched_at),
        )
    return _status_class(status)(message, provider=provider, operation=operation)


def _status_class(status: int) -> type[errors.ProviderError]:
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return errors.ProviderUnavailableError
    if status == HTTPStatus.UNAUTHORIZED:
        return errors.KeyRefusedError
    if status in {HTTPStatus.PAYMENT_REQUIRED, HTTPStatus.FORBIDDEN}:
        return errors.NotEntitledError
    return errors.RequestRejectedError


def retry_after_s(header: str | None, *, now: datetime) -> float | None:
    """Read a Retry-After header: seconds from ``now``, or None where it says nothing usable.

    RFC 9110, section 10.2.3: a number of seconds or an HTTP date. A date gone by gives 0.
    """
    if header is None:
        return None
    text = header.strip()
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        at = email.utils.parsedate_to_datetime(text)
    except ValueError:
        return None
    at = at if at.tzinfo is not None else at.replace(tzinfo=UTC)
    return max((at - now).total_seconds(), 0.0)


@asynccontextmanager
async def _translated(provider: str, operation: str) -> AsyncGenerator[None]:
    """Turn transport errors into ours, most specific first; their texts hold no URL."""
    try:
        yield
    except (httpx.TimeoutException, TimeoutError) as error:
        message = f"no answer in time ({type(error).__name__})"
        raise errors.ProviderUnavailableError(
            message, provider=provider, operation=operation
        ) from error
    except (httpx.TransportError, httpx.DecodingError) as error:
        message = f"the connection failed ({type(error).__name__}): {error}"
        raise errors.ProviderUnavailableError(
            message, provider=provider, operation=operation
        ) from error


def _check_settings(provider: str, base_url: str, key: str) -> None:
    if not key or key != key.strip():
        message = f"the {provider} key is empty or has blanks around it: set it to the bare key"
        raise errors.ConfigurationError(message)
    try:
        url = httpx.URL(base_url)
    except httpx.InvalidURL as error:
        message = f"the {provider} base address is not a URL: {error}"
        raise errors.ConfigurationError(message) from error
    if url.scheme not in {"http", "https"} or not url.host:
        message = f"the {provider} base address must be http(s)://host/path; it has no such form"
        raise errors.ConfigurationError(message)
