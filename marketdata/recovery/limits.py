"""Request limits of providers as data, and the one pace that keeps all of them.

Here: paces, quotas, the names of budgets, and the limits that the providers published in
November 2026. Not here: granting permits (resources/storage/request_leases.py), or waiting for
them (resources/providers/leased_budget.py).
"""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

SLACK_S = 0.6
"""How much closer two requests may get on their way to a provider that counts minutes."""
SHORT_SLACK_S = 0.2
"""The same where the provider counts seconds: the usual slack would cost half of the budget."""
_DIGEST_LETTERS = 8


class Lane(StrEnum):
    """Order among processes that want to send: scheduled runs go before backfills."""

    SCHEDULED = "scheduled"
    BACKFILL = "backfill"


class QuotaPeriod(StrEnum):
    """A calendar period that a quota counts; the values are those of Postgres' date_trunc."""

    HOUR = "hour"
    DAY = "day"
    MONTH = "month"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """At most ``limit`` of weight in any ``window_s`` seconds, both edges included.

    Attributes:
        slack_s: A request arrives less than this after its permitted time.
    """

    limit: int
    window_s: float
    slack_s: float = SLACK_S


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """At most ``limit`` of weight in a calendar period of ``zone`` (an IANA name).

    A quota is counted, not paced: it may be spent early, and then nothing is sent until the
    period ends.
    """

    limit: int
    period: QuotaPeriod
    zone: str = "UTC"


@dataclass(frozen=True, slots=True, kw_only=True)
class UsedWeight:
    """A header with the weight used so far in the provider's own time window.

    Attributes:
        header: In lower case.
        window_s: Length of that window, which begins at a multiple of itself.
    """

    header: str
    window_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestLimits:
    """All limits of one budget.

    Requests are spaced evenly: after one of weight w, nothing is sent for ``w * interval_s``. So
    all paces come down to one interval, the largest (window + slack) / (limit - heaviest + 1).

    Proof: let requests of weights w1 … wk arrive within one closed window, in the order of
    their slots. Each arrives less than ``slack`` after its slot, so the first slot lies less
    than window + slack before the last. Between these two lie (w1 + … + w(k-1)) intervals, so
    w1 + … + w(k-1) < (window + slack) / interval <= limit - heaviest + 1. Weights are whole,
    hence that sum is at most limit - heaviest, and with wk <= heaviest the window holds at most
    ``limit``.

    Attributes:
        budget: Name under which all processes share it; see ``budget_name``.
        heaviest: The largest weight that one request may have.
        used_weight: Header with what the provider has counted, if there is one.

    Raises:
        ValueError: A limit is smaller than the heaviest request, or there is no pace.
    """

    budget: str
    paces: tuple[Pace, ...]
    quotas: tuple[Quota, ...] = ()
    heaviest: int = 1
    used_weight: UsedWeight | None = None

    def __post_init__(self) -> None:
        if not self.paces or min(pace.limit for pace in self.paces) < self.heaviest:
            message = f"{self.budget}: every pace must allow the heaviest request ({self.heaviest})"
            raise ValueError(message)

    @property
    def interval_s(self) -> float:
        """Seconds that follow each unit of weight before the next request (see the class)."""
        return max(
            (pace.window_s + pace.slack_s) / (pace.limit - self.heaviest + 1) for pace in self.paces
        )

    @property
    def slack_s(self) -> float:
        """How late a request may arrive after its slot, by the strictest pace."""
        return min(pace.slack_s for pace in self.paces)

    def of_key(self, key: str) -> "RequestLimits":
        """Return the same limits as one key's own budget; limits by address need no key."""
        return replace(self, budget=budget_name(self.budget, key))


def budget_name(provider: str, key: str) -> str:
    """Name the budget of a key: the provider and a short digest, never the key itself."""
    return f"{provider} {hashlib.sha256(key.encode()).hexdigest()[:_DIGEST_LETTERS]}"


def fmp_limits(key: str, requests_per_minute: float) -> RequestLimits:
    """Return the limits of an FMP key for the rate that its plan allows.

    Args:
        key: Only its digest is kept.
        requests_per_minute: More than 0; below 1 means one request in several minutes.
    """
    return replace(PUBLISHED["fmp"], paces=(_a_minute(requests_per_minute),)).of_key(key)


def _a_minute(requests_per_minute: float) -> Pace:
    if requests_per_minute < 1:
        return Pace(limit=1, window_s=60.0 / requests_per_minute)
    return Pace(limit=math.floor(requests_per_minute), window_s=60.0)


def polygon_limits(key: str, requests_per_minute: float) -> RequestLimits:
    """Return the limits of a Polygon key for the rate that its plan allows.

    A paid key has no hard limit by the minute; Polygon asks to stay under 100 a second.
    """
    return replace(PUBLISHED["polygon"], paces=(_a_minute(requests_per_minute),)).of_key(key)


def tiingo_limits(key: str, an_hour: int, a_day: int) -> RequestLimits:
    """Return the limits of a Tiingo key for the quotas that its plan allows."""
    published = PUBLISHED["tiingo"]
    hour, day = published.quotas
    quotas = (replace(hour, limit=an_hour), replace(day, limit=a_day))
    return replace(published, quotas=quotas).of_key(key)


def fmp_bulk_limits(key: str, interval_s: float) -> RequestLimits:
    """Return the further limits of an FMP key's bulk requests: one in any ``interval_s``."""
    pace = Pace(limit=1, window_s=interval_s)
    return replace(PUBLISHED["fmp bulk"], paces=(pace,)).of_key(key)


def _published(*budgets: RequestLimits) -> Mapping[str, RequestLimits]:
    return {limits.budget: limits for limits in budgets}


def _per_second(limit: int) -> Pace:
    return Pace(limit=limit, window_s=1.0, slack_s=SHORT_SLACK_S)


def _per_minute(limit: int) -> Pace:
    return Pace(limit=limit, window_s=60.0)


_NEW_YORK = "America/New_York"

PUBLISHED = _published(
    # This project's key; plans sell 300, 750 and 3,000 a minute.
    RequestLimits(budget="fmp", paces=(_per_minute(120),)),
    RequestLimits(budget="fmp bulk", paces=(Pace(limit=1, window_s=30.0),)),
    # The free plan; when its day begins is unverified.
    RequestLimits(
        budget="fmp free",
        paces=(_per_minute(120),),
        quotas=(Quota(limit=250, period=QuotaPeriod.DAY, zone=_NEW_YORK),),
    ),
    # Free plan; paid ones are asked to stay under 100 a second.
    RequestLimits(budget="polygon", paces=(_per_minute(5),)),
    # Free plan: no limit by the second or minute, so the pace is a courtesy. The month's limit
    # counts symbols, not requests: Tiingo reports when it is reached.
    RequestLimits(
        budget="tiingo",
        paces=(_per_second(10),),
        quotas=(
            Quota(limit=50, period=QuotaPeriod.HOUR, zone=_NEW_YORK),
            Quota(limit=1_000, period=QuotaPeriod.DAY, zone=_NEW_YORK),
        ),
    ),
    # By address, in weights; exchangeInfo weighs 20, historicalTrades 25.
    RequestLimits(
        budget="binance",
        paces=(_per_minute(6_000), Pace(limit=61_000, window_s=300.0)),
        heaviest=25,
        used_weight=UsedWeight(header="x-mbx-used-weight-1m", window_s=60.0),
    ),
    # Files have no published limit: the pace is a courtesy.
    RequestLimits(budget="binance files", paces=(_per_second(10),)),
    # 120 a minute, and the provider's own advice of 2 a second.
    RequestLimits(budget="fred", paces=(_per_second(2), _per_minute(120))),
    # Public, by address.
    RequestLimits(budget="coinbase", paces=(_per_second(10),)),
)
"""Published limits by budget name; ``of_key`` makes them a key's own."""
