"""Leases: values that pass between a process that sends requests and the store that grants them.

Here: the request for a lease, the lease, the refusal, the breaker's state, and the protocol of a
store of leases. Not here: the store (resources/storage/request_leases.py), or the waiting
(resources/providers/leased_budget.py).
"""

import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol, Self

from marketdata.recovery.limits import Lane, RequestLimits
from marketdata.recovery.policy import WAITED_PAUSE_S, BreakerPolicy
from marketdata.recovery.request_timings import RequestTiming


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """Holder of a lease, for people to read: a process, and the run it works for if any."""

    host: str
    pid: int
    run_id: str | None = None

    @classmethod
    def this_process(cls, run_id: str | None = None) -> Self:
        """Return this process as a holder."""
        return cls(host=socket.gethostname(), pid=os.getpid(), run_id=run_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseRequest:
    """A request for permits, one for each weight, charged to all of ``charges`` together.

    Attributes:
        weights: In the order in which the permits will be used; each at least 1.
        horizon_s: A permit further ahead than this is not granted.
        tolerance_s: How long after its slot a permit may still be used.
        waited_pause_s: A pause of the provider that lasts longer is a refusal, not a wait.
        timings: Times of earlier requests, to be added up in the same transaction, whatever the
            answer is.
    """

    provider: str
    charges: tuple[RequestLimits, ...]
    weights: tuple[int, ...]
    lane: Lane
    holder: Holder
    horizon_s: float
    tolerance_s: float
    breaker: BreakerPolicy
    waited_pause_s: float = WAITED_PAUSE_S
    timings: tuple[RequestTiming, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """Permits for the first of the requested weights.

    Attributes:
        slots_s: When each permit may be used, in seconds from the decision, so that no clock has
            to agree with the database's.
        decided_after_s: Seconds from the statement's arrival at the database to the decision
            (waiting for locks): only the rest of the round trip is uncertain.
        trial: The permit is the trial that decides whether an open breaker closes.
        failures: Failures in a row that the breaker has counted; if 0, a success need not be
            reported.
    """

    lease_id: int
    slots_s: tuple[float, ...]
    decided_after_s: float
    trial: bool
    failures: int


class RefusalReason(StrEnum):
    """Why a lease grants nothing."""

    LATER = "later"
    CIRCUIT_OPEN = "circuit_open"
    PAUSED = "paused"
    QUOTA_SPENT = "quota_spent"


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """No permit now; ask again in ``retry_after_s``. ``detail`` may be shown to users."""

    reason: RefusalReason
    retry_after_s: float
    detail: str


class BreakerState(StrEnum):
    """CLOSED lets requests go, OPEN rejects all, HALF_OPEN waits for one trial's outcome."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@dataclass(frozen=True, slots=True, kw_only=True)
class CircuitBreaker:
    """One provider's breaker.

    Attributes:
        failures: In a row, over all processes.
        retry_after_s: Seconds until the next trial; 0 while closed.
        changed_at: When the state last changed (aware UTC).
        last_error: The latest failure's class and text; empty if none was recorded.
    """

    provider: str
    state: BreakerState
    failures: int
    retry_after_s: float
    changed_at: datetime
    last_error: str

    @property
    def reason(self) -> str:
        """Why nothing is sent while the breaker is not closed."""
        return breaker_reason(self.provider, self.failures, self.last_error, self.retry_after_s)


def breaker_reason(provider: str, failures: int, last_error: str, retry_after_s: float) -> str:
    """Return why nothing is sent, for ``CircuitOpenError``."""
    last = f" (last: {last_error})" if last_error else ""
    return (
        f"{provider}'s circuit breaker is open after {failures} failures in a row{last}; "
        f"next trial in {retry_after_s:.0f} s"
    )


class Leases(Protocol):
    """A store of leases that all processes share; its methods block and may be called in threads.

    Every method raises StorageUnavailableError while the store cannot be reached and
    StorageConflictError when it refuses.
    """

    def take(self, request: LeaseRequest) -> Lease | Refusal:
        """Grant as many permits as fit below the horizon, or return why there is none."""
        ...

    def give_back(self, lease_id: int, unused: Sequence[int]) -> None:
        """Return unused permits, by their index in the lease (from 0)."""
        ...

    def pause(self, budgets: Sequence[str], seconds: float, reason: str) -> None:
        """Block reservations in these budgets until ``seconds`` have passed.

        ``reason`` is what the provider said; it may be shown to users.
        """
        ...

    def observe_used(self, limits: RequestLimits, used: float) -> None:
        """Record what the provider has counted in its present window (``limits.used_weight``)."""
        ...

    def report_failure(
        self, provider: str, lease_id: int, error: Exception, breaker: BreakerPolicy
    ) -> CircuitBreaker:
        """Count a failed attempt; return the breaker's new state."""
        ...

    def report_success(self, provider: str, lease_id: int) -> None:
        """Reset the count of failures; a trial's success closes the breaker."""
        ...

    def add_timings(
        self, charges: Sequence[RequestLimits], timings: Sequence[RequestTiming]
    ) -> None:
        """Add up times of requests that no further lease will carry."""
        ...
