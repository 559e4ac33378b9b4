"""Request budgets in Postgres: leases of dispatch times, and the circuit breaker beside them.

Here: the calls of marketdata.recovery.leases.Leases, each one statement in one round trip, and the
queries of the status page and the planner. Not here: which requests are granted (migration 0012's
``take_request_lease`` decides), or waiting (resources/providers/leased_budget.py).
"""

import contextlib
import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import Any, Self

import psycopg
from psycopg import conninfo

from marketdata.recovery import errors
from marketdata.recovery.leases import (
    BreakerState,
    CircuitBreaker,
    Lease,
    LeaseRequest,
    Refusal,
    RefusalReason,
    breaker_reason,
)
from marketdata.recovery.limits import Lane, Pace, Quota, RequestLimits
from marketdata.recovery.policy import BreakerPolicy
from marketdata.recovery.request_timings import RequestTiming
from resources.storage import sql
from resources.storage.timescale import Connection, Timescale, connect, translated

ANSWER_WITHIN_S = 5
"""A lease takes milliseconds: a server that is silent for longer counts as unreachable."""
_LONGEST_ERROR = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetStatus:
    """One budget as the status page shows it.

    Attributes:
        next_at: The first moment that is not reserved yet (aware UTC).
        reserved_s: Seconds until then, 0 if the budget is idle.
        interval_s: Seconds that follow each unit of weight.
        paused_until: End of the latest pause that the provider asked for.
        last_minute: Permits with slots in the last 60 s.
        this_hour: Requests since the hour began (UTC); likewise this_day and this_month.
        leases: Live leases by lane.
    """

    budget: str
    next_at: datetime
    reserved_s: float
    interval_s: float
    paused_until: datetime | None
    last_minute: int
    this_hour: int
    this_day: int
    this_month: int
    leases: Mapping[Lane, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class QuotaUse:
    """How much of a quota is used; ``resets_at`` is aware UTC."""

    budget: str
    quota: Quota
    used: int
    resets_at: datetime


class RequestLeases:
    """Grants and records leases; fulfils marketdata.recovery.leases.Leases.

    Leases use a connection of their own, opened by the first call and kept: the pool's check
    and its transaction would cost three more round trips. Close it with ``close`` or ``with``.
    Methods may be called from any thread.

    Args:
        timescale: An open Timescale whose database is migrated.
    """

    def __init__(self, timescale: Timescale) -> None:
        self._timescale = timescale
        self._lock = threading.Lock()
        self._opened = contextlib.ExitStack()
        self._connection: Connection | None = None

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the connection."""
        self.close()

    def close(self) -> None:
        """Close the connection; a further call would open it again."""
        with self._lock:
            self._disconnect()

    def take(self, request: LeaseRequest) -> Lease | Refusal:
        """Grant as many permits as fit below the horizon, in order, or say why none was granted.

        Raises:
            StorageUnavailableError: The server cannot be reached; nothing may be sent.
            StorageConflictError: The server refuses, for instance without migrations.
        """
        row = self._row(
            "take",
            {
                "provider": request.provider,
                "budgets": [limits.budget for limits in request.charges],
                "waited_pause_s": request.waited_pause_s,
                "charges": json.dumps([_charge(limits) for limits in request.charges]),
                "weights": list(request.weights),
                "lane": request.lane.value,
                "horizon_s": request.horizon_s,
                "tolerance_s": request.tolerance_s,
                "trial_expires_s": request.breaker.trial_expires_s,
                "host": request.holder.host,
                "pid": request.holder.pid,
                "run_id": request.holder.run_id,
                "timings": _timings(request.timings),
            },
        )
        lease_id, slots_s, decided_after_s, trial, failures, refusal, retry_after_s, detail, _ = row
        if refusal is None:
            return Lease(
                lease_id=lease_id,
                slots_s=tuple(slots_s),
                decided_after_s=decided_after_s,
                trial=trial,
                failures=failures,
            )
        reason = RefusalReason(refusal)
        if reason is RefusalReason.CIRCUIT_OPEN:
            detail = breaker_reason(request.provider, failures, detail or "", retry_after_s)
        return Refusal(reason=reason, retry_after_s=retry_after_s, detail=detail or "")

    def give_back(self, lease_id: int, unused: Sequence[int]) -> None:
        """Return unused permits, by their place in the lease (from 0).

        If no later slot is reserved, unused slots at the end of the lease are free again. Usage is
        lowered in any case, and a trial goes to the next request.
        """
        places = [place + 1 for place in unused]
        self._row("give_back", {"lease_id": lease_id, "unused": places})

    def pause(self, budgets: Sequence[str], seconds: float, reason: str) -> None:
        """Allow no reservation in these budgets before ``seconds`` have passed."""
        self._execute(
            "pause",
            {"budgets": list(budgets), "seconds": seconds, "reason": reason[:_LONGEST_ERROR]},
        )

    def observe_used(self, limits: RequestLimits, used: float) -> None:
        """Take over the provider's own count of its present window."""
        if limits.used_weight is not None:
            self._execute(
                "observe_used",
                {
                    "budget": limits.budget,
                    "used": used,
                    "window_s": limits.used_weight.window_s,
                    "interval_s": limits.interval_s,
                },
            )

    def report_failure(
        self, provider: str, lease_id: int, error: Exception, breaker: BreakerPolicy
    ) -> CircuitBreaker:
        """Count a failed attempt; return the breaker's new state."""
        row = self._row(
            "report_failure",
            {
                "provider": provider,
                "lease_id": lease_id,
                "error_class": type(error).__name__,
                "error": str(error)[:_LONGEST_ERROR],
                "failures": breaker.failures,
                "open_s": breaker.open_s,
            },
        )
        return _breaker(row)

    def report_success(self, provider: str, lease_id: int) -> None:
        """Reset the count of failures; a trial's success closes the breaker."""
        self._execute("report_success", {"provider": provider, "lease_id": lease_id})

    def add_timings(
        self, charges: Sequence[RequestLimits], timings: Sequence[RequestTiming]
    ) -> None:
        """Add up times of requests that no further lease will carry.

        Args:
            charges: The limits that they were held to.
            timings: The times, of one provider.
        """
        if timings:
            self._execute(
                "add_timings",
                {
                    "provider": timings[0].key.provider,
                    "charges": json.dumps([_charge(limits) for limits in charges]),
                    "timings": _timings(timings),
                },
            )

    def status(self) -> list[BudgetStatus]:
        """Return every budget that was ever used, by name."""
        with self._timescale.connection() as connection:
            rows = connection.execute(sql.query("request_leases", "budgets")).fetchall()
        return [
            BudgetStatus(
                budget=budget,
                next_at=next_at,
                reserved_s=float(reserved_s),
                interval_s=interval_s,
                paused_until=paused_until,
                last_minute=int(last_minute),
                this_hour=int(this_hour),
                this_day=int(this_day),
                this_month=int(this_month),
                leases={Lane.SCHEDULED: scheduled, Lane.BACKFILL: backfill},
            )
            for (
                budget, next_at, interval_s, paused_until, reserved_s, last_minute,
                this_hour, this_day, this_month, scheduled, backfill,
            ) in rows
        ]  # fmt: skip

    def breakers(self) -> list[CircuitBreaker]:
        """Return the breaker of every provider that ever failed, by name."""
        with self._timescale.connection() as connection:
            rows = connection.execute(sql.query("request_leases", "breakers")).fetchall()
        return [_breaker(row) for row in rows]

    def quota_use(self, limits: RequestLimits) -> list[QuotaUse]:
        """Return how much of each of the budget's quotas is used, in their order."""
        with self._timescale.connection() as connection:
            rows = [
                (
                    quota,
                    connection.execute(
                        sql.query("request_leases", "quota_use"),
                        {
                            "budget": limits.budget,
                            "period": quota.period.value,
                            "zone": quota.zone,
                        },
                    ).fetchone(),
                )
                for quota in limits.quotas
            ]
        return [
            QuotaUse(budget=limits.budget, quota=quota, used=int(row[0]), resets_at=row[1])
            for quota, row in rows
            if row is not None
        ]

    def _row(self, name: str, parameters: Mapping[str, object]) -> tuple[Any, ...]:
        row = self._execute(name, parameters).fetchone()
        if row is None:
            message = f"{self._timescale!r} did not answer request_leases.{name}"
            raise errors.StorageConflictError(message)
        return row

    def _execute(
        self, name: str, parameters: Mapping[str, object]
    ) -> psycopg.Cursor[tuple[Any, ...]]:
        with self._lock, translated(self._timescale.url):
            try:
                connection = self._connection or self._connect()
                return connection.execute(sql.query("request_leases", name), parameters)
            except psycopg.Error:
                self._disconnect()
                raise

    def _connect(self) -> Connection:
        # A network that drops all packets must not delay a shutdown.
        url = conninfo.make_conninfo(self._timescale.url, tcp_user_timeout=ANSWER_WITHIN_S * 1000)
        self._connection = self._opened.enter_context(connect(url))
        self._connection.execute(
            "select set_config('statement_timeout', %(milliseconds)s, false)",
            {"milliseconds": str(ANSWER_WITHIN_S * 1000)},
        )
        return self._connection

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        self._opened.close()


def _charge(limits: RequestLimits) -> dict[str, object]:
    return {
        "budget": limits.budget,
        "interval_s": limits.interval_s,
        "quotas": [
            {"limit": quota.limit, "period": quota.period.value, "zone": quota.zone}
            for quota in limits.quotas
        ],
        "bounds": _bounds(limits),
    }


def _bounds(limits: RequestLimits) -> list[dict[str, object]]:
    """Return what a budget is held to, for the exporter: its paces and quotas."""
    paces: list[dict[str, object]] = [
        {"period": _period(pace), "weight": pace.limit, "window_s": pace.window_s}
        for pace in limits.paces
    ]
    return paces + [
        {"period": quota.period.value, "weight": quota.limit, "zone": quota.zone}
        for quota in limits.quotas
    ]


def _period(pace: Pace) -> str:
    """Name the time in which a pace counts."""
    return {1.0: "second", 60.0: "minute"}.get(pace.window_s, f"{pace.window_s:g}s")


def _timings(timings: Sequence[RequestTiming]) -> str:
    return json.dumps(
        [
            {
                "timed": timing.key.timed.value,
                "provider": timing.key.provider,
                "outcome": timing.key.outcome,
                "error_class": timing.key.error_class,
                "requests": timing.count,
                "seconds": timing.seconds,
                "buckets": timing.buckets,
            }
            for timing in timings
        ]
    )


def _breaker(row: tuple[Any, ...]) -> CircuitBreaker:
    provider, state, failures, retry_after_s, changed_at, error_class, error = row
    return CircuitBreaker(
        provider=provider,
        state=BreakerState(state),
        failures=failures,
        retry_after_s=float(retry_after_s),
        changed_at=changed_at,
        last_error=f"{error_class}: {error}" if error_class else "",
    )
