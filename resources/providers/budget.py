"""How many requests a provider may be sent, as a thing to be waited for.

Here: the seam (``RequestBudget``), and the pacing of one process by itself. Not here: permits that
all processes share (leased_budget.py), sending and repeating requests (http.py), or the limits
themselves (marketdata/recovery/limits.py).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from aiolimiter import AsyncLimiter

from marketdata.recovery import errors
from marketdata.recovery.limits import SLACK_S


@dataclass(frozen=True, slots=True, kw_only=True)
class Permit:
    """The right to send one request now.

    Attributes:
        lease_id: The lease it is part of; None without leases.
        answer_within_s: A trial of an open breaker that has no answer by then has failed; None
            for every other request.
    """

    lease_id: int | None = None
    answer_within_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one attempt.

    Attributes:
        error: What the answer means if it is no good answer, or the transport's failure.
        status: None if no answer came.
        headers: Of the answer, by lower-case name.
    """

    error: errors.ProviderError | None
    status: int | None
    headers: Mapping[str, str]


class RequestBudget(Protocol):
    """Something that lets a request go when the provider's limit allows it."""

    async def acquire(self, weight: int = 1, *, operation: str = "request") -> Permit:
        """Wait until a request that the provider counts as ``weight`` may be sent.

        Raises:
            NotSentError: It may not be sent for a longer time; ``operation`` is named in it.
            StorageUnavailableError: Nobody could be asked for permission.
        """
        ...

    async def settle(self, permit: Permit, outcome: Outcome | None) -> None:
        """Learn what became of the attempt; None if it was given up before it was known."""
        ...


class PacedBudget:
    """Lets requests go one by one at even distances, never in bursts, without a database.

    It knows of no other process: for use by hand. See marketdata.recovery.limits.RequestLimits
    for why distances are even and a little wider than the limit.

    A request of weight n waits for n permits and goes with the last one, so that only a
    window which opens with such a request can hold up to n - 1 more than the limit.

    Use one instance per event loop: the limiter inside belongs to the loop that first waits.

    Args:
        requests: Requests that any window may hold, both its edges included.
        window_s: Length of the provider's window in seconds.
    """

    def __init__(self, *, requests: float, window_s: float = 60.0) -> None:
        self.interval_s = (window_s + SLACK_S) / requests
        self._limiter = AsyncLimiter(1, self.interval_s)

    async def acquire(self, weight: int = 1, *, operation: str = "request") -> Permit:
        """Wait for ``weight`` permits (see the class)."""
        del operation
        for _ in range(weight):
            await self._limiter.acquire()
        return Permit()

    async def settle(self, permit: Permit, outcome: Outcome | None) -> None:
        """Do nothing: nobody else is to know."""
