"""How long requests took and waited: counts that processes add up until a store takes them over.

Here: the buckets, the sums, and gathering them within one process. Not here: adding them up over
all processes (resources/storage/request_leases.py), or showing them (monitoring/).
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

BUCKETS_S = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Upper bounds of the buckets in seconds, included; what is longer counts in one more."""


class Timed(StrEnum):
    """What a time was spent on: an attempt at a request, or waiting for its permit."""

    REQUEST = "request"
    PERMIT_WAIT = "permit_wait"


OK = "ok"
ERROR = "error"


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class TimingKey:
    """What is added up together.

    Attributes:
        outcome: ``ok`` or ``error`` of a request; empty for a wait.
        error_class: Name of the error's class; empty without an error.
    """

    timed: Timed
    provider: str
    outcome: str = ""
    error_class: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestTiming:
    """Times of one kind, added up.

    Attributes:
        count: Number of times.
        seconds: Their sum.
        buckets: Number of times in each of ``BUCKETS_S`` and above the last: a time is in one.
    """

    key: TimingKey
    count: int
    seconds: float
    buckets: tuple[int, ...]


@dataclass(slots=True)
class _Sum:
    count: int = 0
    seconds: float = 0.0
    buckets: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS_S) + 1))


class RequestTimings:
    """Gathers times of requests to one provider; use it from one thread.

    Args:
        provider: Its short name.
    """

    def __init__(self, provider: str) -> None:
        self._provider = provider
        self._sums: dict[TimingKey, _Sum] = {}

    def add_request(self, seconds: float, error: Exception | None) -> None:
        """Add an attempt: how long it took, and its error if it had one."""
        key = TimingKey(
            timed=Timed.REQUEST,
            provider=self._provider,
            outcome=OK if error is None else ERROR,
            error_class="" if error is None else type(error).__name__,
        )
        self._add(key, seconds)

    def add_permit_wait(self, seconds: float) -> None:
        """Add the time that a request waited for its permit."""
        self._add(TimingKey(timed=Timed.PERMIT_WAIT, provider=self._provider), seconds)

    def take(self) -> tuple[RequestTiming, ...]:
        """Return what has been gathered, and begin anew."""
        taken = tuple(
            RequestTiming(
                key=key, count=total.count, seconds=total.seconds, buckets=tuple(total.buckets)
            )
            for key, total in sorted(self._sums.items())
        )
        self._sums = {}
        return taken

    def put_back(self, timings: Sequence[RequestTiming]) -> None:
        """Add what was taken and could not be stored."""
        for timing in timings:
            total = self._sums.setdefault(timing.key, _Sum())
            total.count += timing.count
            total.seconds += timing.seconds
            total.buckets = [
                more + before for more, before in zip(timing.buckets, total.buckets, strict=True)
            ]

    def _add(self, key: TimingKey, seconds: float) -> None:
        total = self._sums.setdefault(key, _Sum())
        total.count += 1
        total.seconds += seconds
        total.buckets[bisect_left(BUCKETS_S, seconds)] += 1
