"""Budgets and retry bounds for tests that are about something else."""

from marketdata.recovery import errors
from marketdata.recovery.policy import RequestRetry
from resources.providers.budget import Outcome, Permit

AT_ONCE = RequestRetry(attempts=3, first_wait_s=0.0, longest_wait_s=0.0, jitter_s=0.0)
"""Repeats without pauses."""


class CountedBudget:
    """Grants every permit at once and counts it."""

    def __init__(self) -> None:
        self.taken = 0
        self.outcomes: list[Outcome | None] = []
        self.attempts: list[tuple[float, errors.ProviderError | None]] = []

    async def acquire(self, weight: int = 1, *, operation: str = "request") -> Permit:
        del operation
        self.taken += weight
        return Permit()

    async def settle(self, permit: Permit, outcome: Outcome | None) -> None:
        del permit
        self.outcomes.append(outcome)

    def add_request(self, seconds: float, error: errors.ProviderError | None) -> None:
        self.attempts.append((seconds, error))
