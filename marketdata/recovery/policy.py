"""How often, how long and after what pause a failed piece of work is tried again.

Here: every number that governs retries, decided in one place and passed in as a value. Not
here: the errors themselves (errors.py), nor code that sleeps.
"""

from dataclasses import dataclass

from marketdata.recovery import errors


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestRetry:
    """Bounds for the repetition of one HTTP request; all durations in seconds."""

    attempts: int = 5
    total_s: float = 60.0
    first_wait_s: float = 0.5
    longest_wait_s: float = 20.0
    jitter_s: float = 1.0

    def back_off(self, error: Exception) -> bool | float:
        """Decide what follows ``error``: False to give up, True for the usual pause, or seconds.

        A provider's own Retry-After is honoured up to ``longest_wait_s``: a longer one would
        outlive the run's patience, and the partition's own retry takes over.
        """
        if isinstance(error, errors.RateLimitedError) and error.retry_after_s is not None:
            return min(max(error.retry_after_s, 0.0), self.longest_wait_s)
        return isinstance(error, errors.TransientProviderError)


REQUEST_RETRY = RequestRetry()
