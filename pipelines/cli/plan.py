"""wrdata plan: what a load would take, without a run or a request.

Here: gathering the figures (budget, schedules, run slots), and printing the forecast, for
`wrdata plan` and `wrdata backfill --dry-run`. Not here: the arithmetic
(marketdata/forecast.py), or the options (load_options.py).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any

import dagster as dg
import typer

from assets.datasets import NOUNS
from marketdata import forecast, symbols
from marketdata.batches import DAILY_BARS_DATASET
from marketdata.calendars import NEW_YORK_ZONE, calendar, utc_now
from marketdata.coverage import SESSIONS_ASKED_AGAIN
from marketdata.datasets import DATASETS, Dataset, InstrumentKind
from marketdata.forecast import Forecast, Meeting, QuotaShare, QuotaUse, RunSlots, ScheduledLoad
from pipelines import schedules
from pipelines.cli import console, environment, load_options, runs
from pipelines.dagster_internals import schedule_execution_time_iterator
from resources import opening
from resources.opening import Stores
from resources.settings import SessionRoute, Settings, provider_of, read_settings, route_of
from usecases.instruments import UNIVERSE
from usecases.load_cost import LoadCost, cost_of, interval_s, limits_of
from usecases.load_plan import LoadPlan

IN_PROGRESS = [
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]
"""Runs that hold one of the queue's slots."""
_MEGABYTE = 1e6
MARKET_DAYS = 61
"""Requests for a whole market's calendar: one a day, a month back and a month ahead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecasted:
    """A plan with its forecast.

    Attributes:
        sent_last_minute: Requests that other loads sent on this key in the last minute: beside
            them this load takes longer.
    """

    plan: LoadPlan
    forecast: Forecast
    sent_last_minute: int


def plan(
    dataset: load_options.DatasetName,
    tickers: load_options.Symbols = "",
    file: load_options.File = None,
    every: load_options.Every = False,
    failed: load_options.Failed = False,
    start: load_options.Start = None,
    end: load_options.End = None,
    refetch: load_options.Refetch = False,
    provider: load_options.Provider = "",
    json: Annotated[bool, typer.Option("--json", help="Print JSON for a script.")] = False,
) -> None:
    """Show what a load of DATASET would take: requests, minutes, quota, rows, bytes, schedules.

    Takes the options of `wrdata backfill`; starts nothing and sends no request.
    """
    options = load_options.LoadOptions(
        dataset=dataset,
        symbols=tickers,
        file=file,
        every=every,
        failed=failed,
        start=start,
        end=end,
        refetch=refetch,
        provider=provider,
    )
    environment.enter(environment.surroundings(), start=False)
    settings = read_settings()
    with opening.stores(settings) as stores:
        planned = options.plan(stores, settings)
        cost = cost_of(stores, settings, planned)
        print_forecast(forecast_of(stores, settings, planned, cost), json=json)


def forecast_of(
    stores: Stores, settings: Settings, planned: LoadPlan, cost: LoadCost
) -> Forecasted:
    """Return the forecast of a plan that starts now."""
    names = {limits.budget for limits in cost.limits}
    budgets = [budget for budget in stores.leases.status() if budget.budget in names]
    quotas = [
        QuotaUse(quota=quota.quota, used=quota.used, resets_at=quota.resets_at)
        for limits in cost.limits
        for quota in stores.leases.quota_use(limits)
    ]
    now = utc_now()
    return Forecasted(
        plan=planned,
        forecast=forecast.forecast(
            cost.load,
            now=now,
            reserved_s=max((budget.reserved_s for budget in budgets), default=0.0),
            quotas=quotas,
            schedules=list(_scheduled(stores, settings, planned.load.provider, now)),
            slots=_run_slots(),
        ),
        sent_last_minute=max((budget.last_minute for budget in budgets), default=0),
    )


def _scheduled(
    stores: Stores, settings: Settings, provider: str, now: datetime
) -> Iterator[ScheduledLoad]:
    """Yield the next run of each schedule that asks ``provider``, with its most requests."""
    members = len(stores.instruments.members(UNIVERSE))
    if provider == provider_of(DAILY_BARS_DATASET):
        bulk = route_of(DAILY_BARS_DATASET) is SessionRoute.BULK
        daily, gaps = schedules.daily_bars_after_close, schedules.daily_bars_gaps_weekly
        by_session = schedules.daily_bars_again_by_session
        again = by_session if bulk else schedules.daily_bars_again_by_ticker
        yield ScheduledLoad(
            name=again.name,
            starts_at=next(at for at in _ticks(again, now) if calendar().is_session(at.date())),
            requests=SESSIONS_ASKED_AGAIN if bulk else members,
            interval_s=interval_s(limits_of(settings, provider, bulk=bulk)),
        )
        yield ScheduledLoad(
            name=daily.name,
            starts_at=next(at for at in _ticks(daily, now) if calendar().is_session(at.date())),
            requests=1 if bulk else members,
            interval_s=interval_s(limits_of(settings, provider, bulk=bulk)),
        )
        yield ScheduledLoad(
            name=gaps.name,
            starts_at=next(_ticks(gaps, now)),
            requests=members,
            interval_s=interval_s(limits_of(settings, provider)),
        )
    pace_s = interval_s(limits_of(settings, provider))
    for schedule, refresh in schedules.REFRESH_SCHEDULES.items():
        datasets = [DATASETS[name] for name in refresh.datasets if provider_of(name) == provider]
        if datasets:
            yield ScheduledLoad(
                name=schedule.name,
                starts_at=next(_ticks(schedule, now)),
                requests=sum(
                    most_requests(dataset, provider, members, refresh.config)
                    for dataset in datasets
                ),
                interval_s=pace_s,
            )


def most_requests(
    dataset: Dataset, provider: str, members: int, config: Mapping[str, object]
) -> int:
    """Return the most requests that a scheduled refresh takes."""
    if dataset.bulk_rows is not None and config.get("bulk_refresh"):
        return MARKET_DAYS
    offered = len(symbols.provider_symbols(dataset, provider))
    count = members if dataset.instrument_kind is InstrumentKind.EQUITY else offered
    return count * dataset.requests(provider, dataset.usual_days or 1)


def _ticks(schedule: dg.ScheduleDefinition, now: datetime) -> Iterator[datetime]:
    """Yield the times at which a schedule starts from ``now`` on, in its own zone."""
    return schedule_execution_time_iterator(
        now.timestamp(), schedule.cron_schedule, schedule.execution_timezone
    )


def _run_slots() -> RunSlots:
    with runs.open_instance() as instance:
        queue = instance.get_concurrency_config().run_queue_config
        allowed = queue.max_concurrent_runs if queue else -1
        return RunSlots(
            allowed=allowed if allowed >= 0 else None,
            taken=instance.get_runs_count(dg.RunsFilter(statuses=IN_PROGRESS)),
        )


def print_forecast(forecasted: Forecasted, *, json: bool) -> None:
    """Print a forecast, for a person or as JSON."""
    if json:
        console.print_json(_figures(forecasted))
        return
    if not forecasted.forecast.load.requests:
        console.say("nothing to load: all requested days are complete in the ledger")
        return
    console.print_pairs(_title(forecasted.plan), _page(forecasted))
    console.say(verdict(forecasted.forecast))


def _units(planned: LoadPlan) -> tuple[str, int]:
    if planned.sessions:
        return "trading_days", len(planned.sessions)
    return NOUNS[planned.load.dataset.instrument_kind], len(planned.requested)


def _title(planned: LoadPlan) -> str:
    unit, count = _units(planned)
    noun = unit.replace("_", " ")
    if count == 1:
        noun = {"indices": "index", "series": "series"}.get(noun, noun.removesuffix("s"))
    return f"{planned.load.dataset.name}: {count:,} {noun}"


def _page(planned: Forecasted) -> dict[str, console.Cell]:
    load_forecast, load = planned.forecast, planned.forecast.load
    page: dict[str, console.Cell] = {
        "requests": load.requests,
        f"minutes at {60 / load.interval_s:.1f} requests a minute": load_forecast.minutes,
        "ends at, New York time": _moment(load_forecast.ends_at),
    }
    if planned.sent_last_minute:
        page["requests of others in the last minute (it takes longer beside them)"] = (
            planned.sent_last_minute
        )
    for share in load_forecast.quotas:
        page[f"quota of the {share.quota.period.value} ({share.quota.limit:,})"] = (
            f"{share.share:.0%}, {share.left_before:,} left before and {share.left_after:,} after"
        )
    if not load_forecast.quotas:
        page["hourly, daily or monthly quota"] = "the key has none"
    if planned.plan.load.dataset.name != DAILY_BARS_DATASET:
        return page | {"rows, about": load.rows}
    return page | {
        "new rows, at most": load.rows,
        "database, MB (estimate from measured bytes a row)": load_forecast.database_bytes
        / _MEGABYTE,
        "raw zone, MB (estimate from simulated answers)": load_forecast.raw_bytes / _MEGABYTE,
    }


def verdict(load_forecast: Forecast) -> str:
    """Return one sentence on whether the load endangers a schedule."""
    if load_forecast.endangered:
        return f"ENDANGERED: {_danger(load_forecast, load_forecast.endangered[0])}"
    met = [meeting for meeting in load_forecast.meetings if meeting.during]
    if met:
        first = met[0]
        return (
            f"no schedule is endangered: {_name(first.schedule)} starts meanwhile and goes first, "
            f"which delays this load by {first.slowed_s / 60:.1f} minutes"
        )
    if not load_forecast.meetings:
        return "no schedule asks this provider"
    following = load_forecast.meetings[0].schedule
    return (
        f"no schedule is endangered: the next, {_name(following)}, starts after this load has ended"
    )


def _danger(load_forecast: Forecast, meeting: Meeting) -> str:
    if meeting.short_of is not None:
        share = next(
            quota_share
            for quota_share in load_forecast.quotas
            if quota_share.quota is meeting.short_of
        )
        return (
            f"{_name(meeting.schedule)} could lack requests: this load leaves "
            f"{max(share.left_after, 0):,} of {share.quota.limit:,} a {share.quota.period.value}; "
            f"load less, or after {_moment(share.resets_at)} New York time"
        )
    return (
        f"{_name(meeting.schedule)} would wait for a run slot, since this load and the runs in "
        f"progress take all of them until {_moment(load_forecast.ends_at)} New York time; load "
        "later, or less"
    )


def _name(schedule: ScheduledLoad) -> str:
    return f"{schedule.name} ({_moment(schedule.starts_at)}, {schedule.requests:,} requests)"


def _moment(at: datetime) -> str:
    return f"{at.astimezone(NEW_YORK_ZONE):%Y-%m-%d %H:%M}"


def _figures(planned: Forecasted) -> dict[str, Any]:
    load_forecast, load = planned.forecast, planned.forecast.load
    unit, count = _units(planned.plan)
    return {
        "dataset": planned.plan.load.dataset.name,
        "provider": planned.plan.load.provider,
        unit: count,
        "requests": load.requests,
        "minutes": load_forecast.minutes,
        "ends_at": load_forecast.ends_at.isoformat(),
        "requests_per_minute": 60 / load.interval_s,
        "requests_of_others_last_minute": planned.sent_last_minute,
        "quotas": [_quota(share) for share in load_forecast.quotas],
        "rows_at_most": load.rows,
        "database_bytes_estimate": load_forecast.database_bytes,
        "raw_bytes_estimate": load_forecast.raw_bytes,
        "schedules": [_meeting(meeting) for meeting in load_forecast.meetings],
        "endangered": bool(load_forecast.endangered),
        "verdict": verdict(load_forecast),
    }


def _quota(share: QuotaShare) -> dict[str, Any]:
    return {
        "period": share.quota.period.value,
        "zone": share.quota.zone,
        "limit": share.quota.limit,
        "resets_at": share.resets_at.isoformat(),
        "share": share.share,
        "left_before": share.left_before,
        "left_after": share.left_after,
        "scheduled": share.scheduled,
        "endangered": share.endangered,
    }


def _meeting(meeting: Meeting) -> dict[str, Any]:
    return {
        "schedule": meeting.schedule.name,
        "starts_at": meeting.schedule.starts_at.isoformat(),
        "requests": meeting.schedule.requests,
        "during": meeting.during,
        "slows_load_s": meeting.slowed_s,
        "short_of_quota": meeting.short_of.period.value if meeting.short_of else None,
        "without_run_slot": meeting.without_slot,
        "endangered": meeting.endangered,
    }
