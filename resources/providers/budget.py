"""How many requests may be sent to a provider: callers wait for their permit.

Here: the protocol (``RequestBudget``), and pacing within one process. Not here: permits that all
processes share (leased_budget.py), sending and repeating requests (http.py), or the limits
themselves (marketdata/recovery/limits.py).
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Protocol

from aiolimiter import AsyncLimiter

from marketdata.recovery import errors
from marketdata.recovery.limits import RequestLimits
from marketdata.recovery.policy import BUDGET


@dataclass(frozen=True, slots=True, kw_only=True)
class Permit:
    """The right to send one request now.

    Attributes:
        lease_id: Its lease; None without leases.
        answer_within_s: Time within which a trial of an open breaker needs an answer; None for
            every other request.
    """

    lease_id: int | None = None
    answer_within_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The outcome of one attempt.

    Attributes:
        error: The error of the answer or of the transport; None for a good answer.
        status: None if no answer came.
        headers: Of the answer, by lower-case name.
    """

    error: errors.ProviderError | None
    status: int | None
    headers: Mapping[str, str]


class RequestBudget(Protocol):
    """Grants permits to send requests, within the provider's limits."""

    async def acquire(self, weight: int = 1, *, operation: str = "request") -> Permit:
        """Wait until a request that the provider counts as ``weight`` may be sent.

        Raises:
            NotSentError: It may not be sent for a longer time; the error names ``operation``.
            StorageUnavailableError: The store of permits cannot be reached.
        """
        ...

    async def settle(self, permit: Permit, outcome: Outcome | None) -> None:
        """Record the outcome of the attempt; None if it was cancelled."""
        ...

    def add_request(self, seconds: float, error: errors.ProviderError | None) -> None:
        """Count an attempt that ended: how long it took, and its error if it had one."""
        ...


class PacedBudget:
    """Paces requests at even intervals, never in bursts, without a database.

    It knows of no other process, and counts nothing: for use by hand. It keeps the pauses that the
    provider asks for.

    See marketdata.recovery.limits.RequestLimits for why intervals are even and a little longer
    than the limit.

    A request of weight n waits for n permits and is sent with the last one, so that only a window
    that begins with such a request can hold up to n - 1 more than the limit.

    Use one instance per event loop: the limiter inside belongs to the loop that first waits.

    Args:
        limits: All that apply; the slowest pace keeps the others. Quotas are not counted.
    """

    def __init__(self, *limits: RequestLimits) -> None:
        self.interval_s = max(each.interval_s for each in limits)
        self._limiter = AsyncLimiter(1, self.interval_s)
        self._paused_until = 0.0
        self._paused_by: errors.ProviderError | None = None

    async def acquire(self, weight: int = 1, *, operation: str = "request") -> Permit:
        """Wait for ``weight`` permits (see the class).

        Raises:
            ProviderPausedError: The provider asked for a pause longer than callers wait.
        """
        clock = asyncio.get_running_loop().time
        while self._paused_by is not None and (left_s := self._paused_until - clock()) > 0:
            if left_s > BUDGET.waited_pause_s:
                raise errors.ProviderPausedError(
                    f"the provider asks to be left alone for {left_s:.0f} s: "
                    f"{self._paused_by.reason}",
                    provider=self._paused_by.provider,
                    operation=operation,
                    retry_after_s=left_s,
                )
            await asyncio.sleep(left_s)
        for _ in range(weight):
            await self._limiter.acquire()
        return Permit()

    async def settle(self, permit: Permit, outcome: Outcome | None) -> None:
        """Keep the pause that the answer asks for, if any."""
        del permit
        if outcome is None or outcome.status == HTTPStatus.REQUEST_TIMEOUT:
            return
        seconds = BUDGET.hold_s(outcome.error)
        until = asyncio.get_running_loop().time() + seconds
        if seconds and until > self._paused_until:
            self._paused_until, self._paused_by = until, outcome.error

    def add_request(self, seconds: float, error: errors.ProviderError | None) -> None:
        """Count nothing: without a database there is nobody who would read it."""
