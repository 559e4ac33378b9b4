"""GET requests, with what every provider needs around them.

Here: connection pool and time-outs, the budget before every attempt, retries by
marketdata/recovery/policy.py, hiding the key, and the translation of transport errors and status
codes into marketdata/recovery/errors.py. Not here: what an answer
means (one module per provider), or the numbers of the retry policy.
"""

import asyncio
import email.utils
import functools
import hashlib
import logging
import re
import ssl
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from http import HTTPStatus
from types import TracebackType
from typing import Protocol, Self

import httpx
import stamina

from marketdata.recovery import errors
from marketdata.recovery.policy import RequestRetry
from resources.providers.budget import Outcome, Permit, RequestBudget
from resources.telemetry import logs, traces

_LOG = logs.logger("providers")

TIMEOUT = httpx.Timeout(connect=5.0, read=30.0, write=10.0, pool=10.0)
_ASK_FOR_LESS = {
    HTTPStatus.REQUEST_TIMEOUT,
    HTTPStatus.TOO_MANY_REQUESTS,
    HTTPStatus.IM_A_TEAPOT,  # Binance's ban of an address that went on after a 429.
}
ATTEMPT_LIMIT_S = 120.0
"""Limit of one whole attempt: a server that sends a byte now and then never times out by reads."""
_OF_A_FIREWALL = re.compile(
    rb"^\s*<|error code: ?1\d{3}\b|access ?denied|for a while|temporar|try again|too many",
    re.IGNORECASE,
)
"""Texts of a 403 that is not the provider's own: a web page or XML of a firewall in front of it,
Cloudflare's codes (1006 to 1020), Akamai's and S3's "Access Denied"."""
_LOOKED_AT = 2000
"""Bytes of a 403 that are searched for it."""


@functools.cache
def trusted_authorities() -> ssl.SSLContext:
    """Return the certificates that servers have to be signed by.

    They are read once a process: a client that reads them anew takes 25 ms.
    """
    return httpx.create_ssl_context()


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpAnswer:
    """A complete answer of the provider.

    Attributes:
        headers: By lower-case name.
        sha256: Hex digest of ``body``.
        fetched_at: Aware UTC time at which the body was complete.
        requests: HTTP requests it took, retries included.
        raw_answer: The keeper's pointer to the body; None without a keeper.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    sha256: str
    fetched_at: datetime
    requests: int
    raw_answer: str | None = None


ResponseClassifier = Callable[[HttpAnswer, str], errors.ProviderError | None]
"""Returns the error of an answer to an operation, or None: errors come inside a 200 too."""


class Getter(Protocol):
    """Returns the answer to a request: by HTTP, or from kept answers (kept_answers.py)."""

    async def get(
        self, path: str, parameters: Mapping[str, str], *, operation: str, weight: int = 1
    ) -> HttpAnswer: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryKey:
    """A key that is sent in the query, as the parameter ``name``."""

    name: str
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HeaderKey:
    """A key that is sent in the Authorization header, after the word ``scheme``."""

    scheme: str
    value: str


Key = QueryKey | HeaderKey


class AnswerKeeper(Protocol):
    """Keeps answers as they came; called in a thread, so it may block."""

    def keep(self, provider: str, operation: str, body: bytes, sha256: str, media_type: str) -> str:
        """Keep ``body`` and return the pointer to it.

        Args:
            provider: Short name, such as ``fmp``.
            operation: What was asked, without the key.
            body: The answer as it came.
            sha256: Hex digest of ``body``.
            media_type: The answer's content type, or empty.

        Raises:
            StorageError: It cannot be kept; then the answer is not used.
        """
        ...


class HttpGetter:
    """Sends GET requests to one provider; open it with ``async with``.

    Args:
        provider: Short name for errors, such as ``fmp``.
        base_url: Prefix of every path.
        key: Where the key is sent, and its value; None for a provider without keys.
        budget: Waited for before every attempt, retries included; gets the outcome.
        retry: Bounds of retries.
        classify: Returns the error of an answer.
        in_flight: Most requests at once, including those that wait for the budget.
        keep: Keeps every answer that is no error, before it is used.

    Raises:
        ConfigurationError: The address or the key cannot be used.
    """

    def __init__(
        self,
        *,
        provider: str,
        base_url: str,
        key: Key | None,
        budget: RequestBudget,
        retry: RequestRetry,
        classify: ResponseClassifier,
        in_flight: int,
        keep: AnswerKeeper | None = None,
    ) -> None:
        _check_settings(provider, base_url, key)
        self.requests_sent = 0
        self._provider = provider
        self._base_url = base_url
        self._key = key
        self._budget = budget
        self._retry = retry
        # No time limit of stamina: it would include the waiting for the budget.
        self._repeat = stamina.AsyncRetryingCaller(
            attempts=retry.attempts,
            timeout=None,
            wait_initial=retry.first_wait_s,
            wait_max=retry.longest_wait_s,
            wait_jitter=retry.jitter_s,
        )
        self._classify = classify
        self._in_flight = in_flight
        self._keep = keep
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
            transport=_Keyed(
                self._key, httpx.AsyncHTTPTransport(verify=trusted_authorities(), limits=limits)
            ),
            timeout=TIMEOUT,
            # A cache in between may hold prices that are hours old (Coinbase allows 4).
            headers={"user-agent": "wrdata", "cache-control": "no-cache"},
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

    async def get(
        self, path: str, parameters: Mapping[str, str], *, operation: str, weight: int = 1
    ) -> HttpAnswer:
        """Request ``path``, again after some errors, and return the answer.

        Args:
            path: Appended to the base address.
            parameters: The query, without the key.
            operation: Description of the request, for error messages.
            weight: Budget charge of one attempt.

        Raises:
            ProviderError: By the classifier or the transport's failure, when ``retry`` allows no
                further attempt; NotSentError at once.
            StorageError: The budget's store or the keeper's cannot be used.
            RuntimeError: The getter is not open.
        """
        if self._client is None:
            message = f"the {self._provider} client is not open: use it inside `async with`"
            raise RuntimeError(message)
        request = _Request(self._client, path, parameters, operation, weight)
        sent = 0
        patience = _Patience(self._retry)
        failed: errors.ProviderError | None = None

        async def attempt() -> HttpAnswer:
            nonlocal sent, failed
            patience.pause_ends()
            try:
                permit = await self._budget.acquire(operation=operation, weight=weight)
            except errors.NotSentError:
                if failed is None:
                    raise
                # It was sent before: that attempt's error says more.
                patience.ends()
                raise failed from None
            sent += 1
            self.requests_sent += 1
            limit_s = min(patience.left_s, permit.answer_within_s or ATTEMPT_LIMIT_S)
            try:
                with patience:
                    return await self._attempt(
                        request, _Attempt(permit=permit, limit_s=limit_s, repeated=sent > 1)
                    )
            except errors.ProviderError as error:
                failed = error
                if sent >= self._retry.connect_attempts and _never_connected(error):
                    patience.ends()
                raise

        async with self._slots:
            answer = await self._repeat(patience.back_off, attempt)
            return await self._keep_answer(replace(answer, requests=sent), operation)

    async def _attempt(self, request: "_Request", attempt: "_Attempt") -> HttpAnswer:
        """Send once; the budget counts every attempt and gets the outcome.

        A repeated failure of the same request is no outcome: one symbol that always fails must not
        open the breaker for all others.
        """
        outcome: Outcome | None = None
        began = time.monotonic()
        try:
            with traces.span("request", provider=self._provider, operation=request.operation):
                answer = await self._once(request, attempt.limit_s)
                traces.note(status=answer.status)
            error = self._classify(answer, request.operation)
            outcome = Outcome(error=error, status=answer.status, headers=answer.headers)
        except errors.ProviderError as error:
            outcome = Outcome(error=error, status=None, headers={})
            raise
        finally:
            seconds = time.monotonic() - began
            if outcome is not None:
                self._budget.add_request(seconds, outcome.error)
            self._log(request, outcome, seconds)
            is_trial = attempt.permit.answer_within_s is not None
            if not attempt.repeated or is_trial or not _is_mere_failure(outcome):
                await self._budget.settle(attempt.permit, outcome)
        if error is not None:
            raise error
        return answer

    def _log(self, request: "_Request", outcome: Outcome | None, duration_s: float) -> None:
        error = outcome.error if outcome else None
        _LOG.debug(
            "request sent",
            extra={
                "provider": self._provider,
                "operation": request.operation,
                "status": outcome.status if outcome else None,
                "error_class": type(error).__name__ if error else None,
                "weight": request.weight,
                "duration_s": round(duration_s, 3),
            },
        )

    async def _once(self, request: "_Request", limit_s: float) -> HttpAnswer:
        translated = _translated(self._provider, request.operation, self._base_url)
        async with translated, asyncio.timeout(limit_s):
            response = await request.client.get(request.path, params=dict(request.parameters))
        return HttpAnswer(
            status=response.status_code,
            headers=dict(response.headers),
            body=response.content,
            sha256=hashlib.sha256(response.content).hexdigest(),
            fetched_at=datetime.now(UTC),
            requests=1,
        )

    async def _keep_answer(self, answer: HttpAnswer, operation: str) -> HttpAnswer:
        if self._keep is None:
            return answer
        pointer = await asyncio.to_thread(
            self._keep.keep,
            self._provider,
            operation,
            answer.body,
            answer.sha256,
            answer.headers.get("content-type", ""),
        )
        return replace(answer, raw_answer=pointer)


def _is_mere_failure(outcome: Outcome | None) -> bool:
    """Return whether the provider only failed, and named no pause for all processes to keep."""
    error = outcome.error if outcome else None
    return isinstance(error, errors.ProviderUnavailableError) and error.retry_after_s is None


@dataclass(frozen=True, slots=True)
class _Request:
    """What each attempt sends."""

    client: httpx.AsyncClient
    path: str
    parameters: Mapping[str, str]
    operation: str
    weight: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Attempt:
    """One attempt at a request; ``repeated`` if an earlier one failed."""

    permit: Permit
    limit_s: float
    repeated: bool


class _Patience:
    """Adds up the time of attempts and pauses, and ends retries when it is used up.

    Used as a context manager around each attempt. The time between ``pause_ends`` and the next
    attempt is waiting for the budget and does not count.
    """

    def __init__(self, retry: RequestRetry) -> None:
        self._retry = retry
        self._clock = asyncio.get_running_loop().time
        self._spent_s = 0.0
        self._since: float | None = None

    def __enter__(self) -> None:
        self._since = self._clock()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._count()

    @property
    def left_s(self) -> float:
        """Seconds that an attempt may take now, within the total."""
        return min(ATTEMPT_LIMIT_S, max(self._retry.total_s - self._spent_s, 1.0))

    def ends(self) -> None:
        """Allow no further attempt."""
        self._spent_s = self._retry.total_s

    def pause_ends(self) -> None:
        """Count the pause since the last attempt, if there was one."""
        if self._since is not None:
            self._count()

    def back_off(self, error: Exception) -> bool | float:
        """Decide as the policy does, within its total time."""
        decided = self._retry.back_off(error)
        pause_s = 0.0 if isinstance(decided, bool) else decided
        return decided if self._spent_s + pause_s < self._retry.total_s else False

    def _count(self) -> None:
        now = self._clock()
        self._spent_s += now - (now if self._since is None else self._since)
        self._since = now


class _Keyed(httpx.AsyncBaseTransport):
    """Adds the key to a request at the last moment.

    So the request that httpx logs (its INFO line prints the whole URL) and attaches to its
    exceptions has no key.
    """

    def __init__(self, key: Key | None, wire: httpx.AsyncBaseTransport) -> None:
        self._key = key
        self._wire = wire

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        url, headers = request.url, request.headers.copy()
        if isinstance(self._key, QueryKey):
            url = url.copy_set_param(self._key.name, self._key.value)
        elif self._key is not None:
            headers["authorization"] = f"{self._key.scheme} {self._key.value}"
        return await self._wire.handle_async_request(
            httpx.Request(
                request.method,
                url,
                headers=headers,
                stream=request.stream,
                extensions=request.extensions,
            )
        )

    async def aclose(self) -> None:
        await self._wire.aclose()


def status_error(
    answer: HttpAnswer, *, provider: str, operation: str, detail: str, keyless: bool = False
) -> errors.ProviderError | None:
    """Return the error for an answer's status, or None for the 2xx family.

    A 403 that is not the provider's own is from a firewall that refuses us for a while: it counts
    as an unreachable provider. A 403 for data outside the plan has the provider's own form.

    Args:
        answer: Its status and Retry-After count.
        provider: For the error.
        operation: For the error.
        detail: The provider's text, fit to be shown.
        keyless: The provider has no keys, and so no plans that exclude data.
    """
    status = answer.status
    if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
        return None
    message = f"HTTP {status}: {detail}" if detail else f"HTTP {status}"
    if (passing := _passing_class(answer, keyless=keyless)) is not None:
        return passing(
            message,
            provider=provider,
            operation=operation,
            retry_after_s=retry_after_s(answer.headers.get("retry-after"), now=answered_at(answer)),
        )
    return _lasting_class(status)(message, provider=provider, operation=operation)


def _passing_class(
    answer: HttpAnswer, *, keyless: bool
) -> type[errors.TransientProviderError] | None:
    if answer.status in _ASK_FOR_LESS:
        return errors.RateLimitedError
    if answer.status == HTTPStatus.FORBIDDEN:
        firewall = keyless or _OF_A_FIREWALL.search(answer.body[:_LOOKED_AT])
        return errors.ProviderUnavailableError if firewall else None
    failed = answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR
    return errors.ProviderUnavailableError if failed else None


def _lasting_class(status: int) -> type[errors.ProviderError]:
    if status == HTTPStatus.UNAUTHORIZED:
        return errors.KeyRefusedError
    if status in {HTTPStatus.PAYMENT_REQUIRED, HTTPStatus.FORBIDDEN}:
        return errors.NotEntitledError
    return errors.RequestRejectedError


def answered_at(answer: HttpAnswer) -> datetime:
    """Return the time of an answer, by the provider's clock if it is sent: ours may be off."""
    return _http_date(answer.headers.get("date", "")) or answer.fetched_at


def retry_after_s(header: str | None, *, now: datetime) -> float | None:
    """Read a Retry-After header: seconds from ``now``, or None if it is unusable.

    RFC 9110, section 10.2.3: a number of seconds or an HTTP date. A past date gives 0.
    """
    if header is None:
        return None
    text = header.strip()
    if text.isascii() and text.isdigit():
        return float(text)
    at = _http_date(text)
    return None if at is None else max((at - now).total_seconds(), 0.0)


def _http_date(text: str) -> datetime | None:
    try:
        at = email.utils.parsedate_to_datetime(text)
    except ValueError:
        return None
    return at if at.tzinfo is not None else at.replace(tzinfo=UTC)


@asynccontextmanager
async def _translated(provider: str, operation: str, base_url: str) -> AsyncGenerator[None]:
    """Turn transport errors into ours, most specific first; they name only the URL's host."""
    try:
        yield
    except (httpx.TimeoutException, TimeoutError) as error:
        message = f"no answer in time ({type(error).__name__})"
        raise errors.ProviderUnavailableError(
            message, provider=provider, operation=operation
        ) from error
    except httpx.ConnectError as error:
        url = httpx.URL(base_url)
        host = f"{url.host}:{url.port}" if url.port else url.host
        message = f"no connection to {host} ({type(error).__name__}: {error}); is that its address?"
        raise errors.ProviderUnavailableError(
            message, provider=provider, operation=operation
        ) from error
    except (httpx.TransportError, httpx.DecodingError) as error:
        message = f"the connection failed ({type(error).__name__}): {error}"
        raise errors.ProviderUnavailableError(
            message, provider=provider, operation=operation
        ) from error


def _never_connected(error: errors.ProviderError) -> bool:
    return isinstance(error.__cause__, httpx.ConnectError)


def _check_settings(provider: str, base_url: str, key: Key | None) -> None:
    if key is not None and (not key.value or key.value != key.value.strip()):
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
