"""What a load would take: requests at the pace of the key, and rows.

Here: the figures of a plan. Not here: the forecast made of them (marketdata/forecast.py), or
printing it (pipelines/cli/plan.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from marketdata.calendars import calendar
from marketdata.forecast import Load, count_days
from marketdata.recovery.limits import RequestLimits
from resources import clients
from resources.opening import Stores
from resources.settings import SessionRoute, Settings, route_of
from usecases.load_plan import LoadPlan, sessions_by_member


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadCost:
    """The size of a plan's load, and the limits that it is charged to."""

    load: Load
    limits: tuple[RequestLimits, ...]


def interval_s(limits: Sequence[RequestLimits]) -> float:
    """Return the seconds between two requests that are charged to all of ``limits``."""
    return max(limit.interval_s for limit in limits)


def limits_of(
    settings: Settings, provider: str, *, bulk: bool = False
) -> tuple[RequestLimits, ...]:
    """Return the limits that a request is charged to.

    Raises:
        ConfigurationError: The provider's key is not set.
    """
    return clients.lines(settings, provider)[-1 if bulk else 0].limits


def cost_of(stores: Stores, settings: Settings, plan: LoadPlan) -> LoadCost:
    """Return what a plan takes.

    Raises:
        ConfigurationError: The provider's key is not set.
    """
    dataset, provider = plan.load.dataset, plan.load.provider
    if plan.sessions:
        return _cost_of_sessions(stores, settings, plan)
    ids = [request.instrument.instrument_id for request in plan.requests]
    ledger = stores.coverage.ledger(dataset.name, provider, ids)
    days, requests, rows, new_rows = dataset.day_calendar(calendar()), 0, 0, 0
    for request in plan.requests:
        if not dataset.by_day:
            requests += sum(dataset.requests(provider, 1) for _ in request.symbols)
            rows, new_rows = rows + dataset.rows, new_rows + dataset.rows
            continue
        coverage = ledger.get(request.instrument.instrument_id, {})
        for span in request.symbols:
            requested = days.between(span.start, span.end)
            requests += dataset.requests(provider, len(requested))
            with_rows, missing = count_days(requested, coverage)
            rows, new_rows = rows + with_rows * dataset.rows, new_rows + missing * dataset.rows
    limits = limits_of(settings, provider)
    return LoadCost(
        load=Load(requests=requests, interval_s=interval_s(limits), bars=rows, rows=new_rows),
        limits=limits,
    )


def _cost_of_sessions(stores: Stores, settings: Settings, plan: LoadPlan) -> LoadCost:
    dataset, provider = plan.load.dataset, plan.load.provider
    bulk = route_of(dataset.name) is SessionRoute.BULK
    limits = limits_of(settings, provider, bulk=bulk)
    by_member = sessions_by_member(stores, dataset, provider, plan.sessions)
    ledger = stores.coverage.ledger(dataset.name, provider, list(by_member))
    counted = [count_days(days, ledger[member]) for member, days in by_member.items()]
    return LoadCost(
        load=Load(
            requests=len(plan.sessions) if bulk else sum(map(len, by_member.values())),
            interval_s=interval_s(limits),
            bars=dataset.rows * sum(with_rows for with_rows, _ in counted),
            rows=dataset.rows * sum(missing for _, missing in counted),
            market_days=len(plan.sessions) if bulk else 0,
        ),
        limits=limits,
    )
