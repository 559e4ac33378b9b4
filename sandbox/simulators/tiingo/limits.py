"""Tiingo's limits of a key: requests per hour and day, different symbols per month.

Here: counting in calendar periods of New York. Not here: what a refused request is answered
(wire.py).
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from marketdata.calendars import NEW_YORK_ZONE


class Plan(StrEnum):
    """The plan of a key."""

    FREE = "free"
    POWER = "power"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanLimits:
    """Limits of a plan; ``symbols_per_month`` is None where none is published."""

    per_hour: int
    per_day: int
    symbols_per_month: int | None = None


PLAN_LIMITS = {
    Plan.FREE: PlanLimits(per_hour=50, per_day=1_000, symbols_per_month=500),
    Plan.POWER: PlanLimits(per_hour=5_000, per_day=50_000),
}


@dataclass(slots=True)
class Usage:
    """Usage by key; refused requests count nothing (at Tiingo that is unverified)."""

    _requests: dict[tuple[str, str], int] = field(default_factory=dict[tuple[str, str], int])
    _symbols: dict[tuple[str, str], set[str]] = field(
        default_factory=dict[tuple[str, str], set[str]]
    )

    def overrun(self, key: str, limits: PlanLimits, at: datetime) -> str | None:
        """Count a request, or return which allocation it would run over."""
        there = at.astimezone(NEW_YORK_ZONE)
        # The offset distinguishes the two equal hours in autumn.
        hour, day = (key, f"{there:%Y-%m-%dT%H%z}"), (key, f"{there:%Y-%m-%d}")
        if self._requests.get(hour, 0) >= limits.per_hour:
            return "hourly"
        if self._requests.get(day, 0) >= limits.per_day:
            return "daily"
        for period in (hour, day):
            self._requests[period] = self._requests.get(period, 0) + 1
        return None

    def admits(self, key: str, limits: PlanLimits, symbols: Iterable[str], at: datetime) -> bool:
        """Count ``symbols`` if the month has room for the new ones; return whether it had."""
        month = (key, f"{at.astimezone(NEW_YORK_ZONE):%Y-%m}")
        seen = self._symbols.setdefault(month, set())
        wanted = seen.union(symbols)
        if limits.symbols_per_month is not None and len(wanted) > max(
            limits.symbols_per_month, len(seen)
        ):
            return False
        self._symbols[month] = wanted
        return True
