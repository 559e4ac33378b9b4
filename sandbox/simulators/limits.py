"""How many requests a key may make: a sliding window, and a pause between bulk requests.

Here: counting. Not here: what a refused request is answered (fmp/wire.py).
"""

from collections import deque
from dataclasses import dataclass, field
from datetime import datetime, timedelta


@dataclass(slots=True, kw_only=True)
class SlidingWindow:
    """At most ``limit`` admitted requests of one key in any span of ``window``.

    Refused requests do not count; whether they do at FMP is unverified.
    """

    limit: int
    window: timedelta = timedelta(seconds=60)
    _admitted: dict[str, deque[datetime]] = field(default_factory=dict[str, deque[datetime]])

    def admits(self, key: str, at: datetime) -> bool:
        """Count the request if it is within the limit; say whether it was."""
        admitted = self._admitted.setdefault(key, deque())
        while admitted and admitted[0] <= at - self.window:
            admitted.popleft()
        if len(admitted) >= self.limit:
            return False
        admitted.append(at)
        return True
