"""How often, how long and after what pause failed work is tried again.

Here: every number that governs retries, passed in as a value. Not here: the errors themselves
(errors.py), or code that sleeps.
"""

from dataclasses import dataclass

from marketdata.recovery import errors

WAITED_PAUSE_S = 120.0
"""Longest pause of a provider that requests wait for; for a longer one work is deferred."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestRetry:
    """Bounds for the repetition of one HTTP request; all durations in seconds.

    ``total_s`` bounds attempts and pauses together. Waiting for the request budget does not
    count. If no connection is made, the address may be wrong: after ``connect_attempts`` the
    request fails, so that a person need not wait; letters outlast a provider's restart.
    """

    attempts: int = 5
    connect_attempts: int = 3
    total_s: float = 60.0
    first_wait_s: float = 0.5
    longest_wait_s: float = 20.0
    jitter_s: float = 1.0
    waited_pause_s: float = WAITED_PAUSE_S

    def back_off(self, error: Exception) -> bool | float:
        """Return what follows ``error``: False to give up, True for the usual pause, or seconds.

        A provider's Retry-After is honoured: up to ``longest_wait_s`` here, the rest by the
        budget, which holds all processes. One that is shorter than our first pause (0, or a past
        time) is ignored: the usual pauses grow. One beyond ``waited_pause_s`` ends the retries,
        and so does a request that was held back on purpose: the work is deferred to a later run.
        """
        if isinstance(error, errors.NotSentError):
            return False
        if not isinstance(error, errors.TransientProviderError):
            return False
        named_s = error.retry_after_s
        if named_s is None or named_s <= self.first_wait_s:
            return True
        return min(named_s, self.longest_wait_s) if named_s <= self.waited_pause_s else False


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerPolicy:
    """When a provider is left alone, and how it is tried again; all durations in seconds.

    Attributes:
        failures: Failures in a row, counted over all processes, that open the breaker.
        open_s: How long the breaker rejects all requests before one trial.
        trial_answer_s: A trial without an answer by then has failed.
        trial_expires_s: After this another process gets the trial: its holder is dead, since a
            living one reports after ``trial_answer_s``.
    """

    failures: int = 5
    open_s: float = 30.0
    trial_answer_s: float = 30.0
    trial_expires_s: float = 45.0

    def counts(self, error: Exception | None) -> bool:
        """Return whether an answer counts as a failure of the provider, not of one request."""
        return isinstance(error, errors.ProviderUnavailableError)


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetPolicy:
    """How requests queue for a budget that processes share; all durations in seconds.

    Attributes:
        horizon_s: How far ahead a backfill may reserve. A new scheduled run waits at most this long
            behind backfills.
        scheduled_ahead_s: How much further a scheduled run may reserve, so that backfills find the
            horizon taken while it has work.
        pause_s: How long all processes hold after a 429 without a pause, or with 0.
        waited_pause_s: Longest pause that requests wait for: with a longer one they fail at once
            with ProviderPausedError, and their work is deferred until the pause ends.
        longest_pause_s: Upper bound of any pause that a provider names. Binance bans an address
            for up to 3 days, and longer if requests go on.
        storage_first_wait_s: First pause while the database cannot be reached; it doubles.
        storage_longest_wait_s: The longest of these pauses.
        storage_total_s: After this, waiting requests fail with StorageUnavailableError.
    """

    horizon_s: float = 1.5
    scheduled_ahead_s: float = 5.0
    pause_s: float = 2.0
    waited_pause_s: float = WAITED_PAUSE_S
    longest_pause_s: float = 3 * 86_400.0
    storage_first_wait_s: float = 0.25
    storage_longest_wait_s: float = 5.0
    storage_total_s: float = 60.0

    def hold_s(self, error: Exception | None) -> float:
        """Return how long all processes hold after an answer; 0 for no pause."""
        if not isinstance(error, errors.RateLimitedError | errors.ProviderUnavailableError):
            return 0.0
        named_s = error.retry_after_s or 0.0
        if named_s <= 0:
            return self.pause_s if isinstance(error, errors.RateLimitedError) else 0.0
        return min(named_s, self.longest_pause_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageRetry:
    """How long a load waits for a database that restarts; all durations in seconds.

    A load may be repeated even if its first try was committed and only the answer was lost.
    """

    total_s: float = 45.0
    first_wait_s: float = 0.5
    longest_wait_s: float = 5.0
    jitter_s: float = 0.5


REQUEST_RETRY = RequestRetry()
STORAGE_RETRY = StorageRetry()
BREAKER = BreakerPolicy()
BUDGET = BudgetPolicy()
