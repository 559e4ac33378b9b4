"""Budgets and retry bounds for tests that are about something else."""

from marketdata.recovery.policy import RequestRetry

AT_ONCE = RequestRetry(attempts=3, first_wait_s=0.0, longest_wait_s=0.0, jitter_s=0.0)
"""Repeats without pauses."""


class CountedBudget:
    """Lets everything go at once and counts it."""

    def __init__(self) -> None:
        self.taken = 0

    async def acquire(self, weight: int = 1) -> None:
        self.taken += weight
