"""Coinbase's request limit of an address: a token bucket.

Here: counting. Not here: what a refused request is answered (wire.py).
"""

from dataclasses import dataclass
from datetime import datetime


@dataclass(slots=True, kw_only=True)
class TokenBucket:
    """Holds up to ``burst`` requests, and ``per_second`` more with each second.

    Refused requests take nothing; whether they do at Coinbase is unverified.
    """

    per_second: float
    burst: int
    _tokens: float = 0.0
    _since: datetime | None = None

    def admits(self, at: datetime) -> bool:
        """Take one request out of the bucket; return whether there was one."""
        if self._since is None:
            self._tokens = self.burst
        else:
            gained = (at - self._since).total_seconds() * self.per_second
            self._tokens = min(self._tokens + gained, self.burst)
        self._since = at
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True
