"""How many requests a provider may be sent, as a thing to be waited for.

Here: the seam (``RequestBudget``) and the pacing of one process. Not here: retries (http.py),
or who owns which share of a key's budget when several processes use it.
"""

from typing import Protocol

from aiolimiter import AsyncLimiter

SLACK_S = 0.6
"""By how much two requests may draw together on their way without breaking the limit."""


class RequestBudget(Protocol):
    """Something that lets a request go when the provider's limit allows it."""

    async def acquire(self, weight: int = 1) -> None:
        """Wait until a request that the provider counts as ``weight`` may be sent."""
        ...


class PacedBudget:
    """Lets requests go one by one at even distances, never in bursts.

    A bucket of 120 permits that refills within a minute lets 240 requests into one minute:
    120 at once and 120 while it refills. So there is one permit per ``window_s / requests``,
    and a little more, because a window counted with both its edges would else hold one request
    too many, and because the provider counts arrivals, which draw together by up to
    ``SLACK_S`` on their way. At 120 a minute the slack costs 1 % of the budget.

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

    async def acquire(self, weight: int = 1) -> None:
        """Wait for ``weight`` permits (see the class)."""
        for _ in range(weight):
            await self._limiter.acquire()


class JointBudget:
    """For requests that count against two limits, such as a bulk limit beside the key's.

    The rarer permit is waited for first, so that none of the other's lies idle meanwhile.
    """

    def __init__(self, rarer: RequestBudget, other: RequestBudget) -> None:
        self._rarer = rarer
        self._other = other

    async def acquire(self, weight: int = 1) -> None:
        """Wait for both budgets."""
        await self._rarer.acquire(weight)
        await self._other.acquire(weight)
