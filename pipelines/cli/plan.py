"""wrdata plan: what a load would take, before anything runs; no run, no request.

Here: gathering the figures (budget, schedules, run slots), and the words of the forecast, for
`wrdata plan` and `wrdata backfill --dry-run`. Not here: the arithmetic
(marketdata/forecast.py), or what a wish asks for (wishes.py).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any

import dagster as dg
import typer

from assets.datasets import NOUNS
from assets.universe import UNIVERSE
from marketdata import forecast, subjects
from marketdata.batches import DAILY_BARS_DATASET
from marketdata.calendars import NEW_YORK_ZONE, calendar, utc_now
from marketdata.coverage import SESSIONS_ASKED_AGAIN
from marketdata.datasets import DATASETS, Dataset, Subjects
from marketdata.forecast import Forecast, Meeting, QuotaShare, QuotaUse, RunSlots, ScheduledLoad
from pipelines import schedules
from pipelines.cli import console, environment, runs, wishes
from pipelines.cli.wishes import DayWish, SubjectWish, Wish
from pipelines.dagster_internals import schedule_execution_time_iterator
from resources import clients, opening
from resources.opening import Stores
from resources.settings import DailyBarsRoute, Settings, provider_of, read_settings

IN_PROGRESS = [
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]
"""Runs that hold one of the queue's slots."""
_MEGABYTE = 1e6
MARKET_DAYS = 61
"""A calendar of the whole market is read a day at a time, a month back and a month ahead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A wish with what it would take.

    Attributes:
        sent_last_minute: Requests that others sent on this key: a load beside them takes longer.
    """

    wish: Wish
    forecast: Forecast
    sent_last_minute: int


def plan(
    dataset: wishes.DatasetName,
    tickers: wishes.Tickers = "",
    file: wishes.File = None,
    every: wishes.Every = False,
    failed: wishes.Failed = False,
    start: wishes.Start = None,
    end: wishes.End = None,
    refetch: wishes.Refetch = False,
    provider: wishes.Provider = "",
    json: Annotated[bool, typer.Option("--json", help="Print JSON for a script.")] = False,
) -> None:
    """Say what a load of DATASET would take: requests, minutes, quota, rows, bytes, schedules.

    Takes the words of `wrdata backfill`, starts nothing and asks nobody.
    """
    words = wishes.Words(
        dataset=dataset,
        tickers=tickers,
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
        tell(made(stores, settings, words.wish(stores, settings)), json=json)


def made(stores: Stores, settings: Settings, wish: Wish) -> Plan:
    """Work out what ``wish`` takes if it starts now."""
    names = {limits.budget for limits in wish.charges}
    budgets = [one for one in stores.leases.status() if one.budget in names]
    quotas = [
        QuotaUse(quota=one.quota, used=one.used, resets_at=one.resets_at)
        for limits in wish.charges
        for one in stores.leases.quota_use(limits)
    ]
    now = utc_now()
    return Plan(
        wish=wish,
        forecast=forecast.forecast(
            wish.load,
            now=now,
            reserved_s=max((one.reserved_s for one in budgets), default=0.0),
            quotas=quotas,
            schedules=list(_scheduled(stores, settings, wish.provider, now)),
            slots=_run_slots(),
        ),
        sent_last_minute=max((one.last_minute for one in budgets), default=0),
    )


def _scheduled(
    stores: Stores, settings: Settings, provider: str, now: datetime
) -> Iterator[ScheduledLoad]:
    """Give the next run of each schedule that asks ``provider``, with the most it may ask for."""
    members = len(stores.instruments.members(UNIVERSE))
    if provider == provider_of(DAILY_BARS_DATASET):
        bulk = settings.daily_bars_route is DailyBarsRoute.BULK
        daily, gaps = schedules.daily_prices_after_close, schedules.price_gaps_weekly
        by_day, by_ticker = schedules.recent_sessions_by_day, schedules.recent_sessions_by_ticker
        again = by_day if bulk else by_ticker
        yield ScheduledLoad(
            name=again.name,
            starts_at=next(at for at in _ticks(again, now) if calendar().is_session(at.date())),
            requests=SESSIONS_ASKED_AGAIN if bulk else members,
            interval_s=wishes.interval_s(wishes.charges(settings, bulk=bulk)),
        )
        yield ScheduledLoad(
            name=daily.name,
            starts_at=next(at for at in _ticks(daily, now) if calendar().is_session(at.date())),
            requests=1 if bulk else members,
            interval_s=wishes.interval_s(wishes.charges(settings, bulk=bulk)),
        )
        yield ScheduledLoad(
            name=gaps.name,
            starts_at=next(_ticks(gaps, now)),
            requests=members,
            interval_s=wishes.interval_s(wishes.charges(settings, bulk=False)),
        )
    interval_s = wishes.interval_s(clients.lines(settings, provider)[0].limits)
    for schedule, refresh in schedules.REFRESHES.items():
        datasets = [DATASETS[name] for name in refresh.datasets if provider_of(name) == provider]
        if datasets:
            yield ScheduledLoad(
                name=schedule.name,
                starts_at=next(_ticks(schedule, now)),
                requests=sum(
                    _most_requests(one, provider, members, refresh.wish) for one in datasets
                ),
                interval_s=interval_s,
            )


def _most_requests(
    dataset: Dataset, provider: str, members: int, wish: Mapping[str, object]
) -> int:
    """Return how many requests a scheduled refresh takes at most."""
    if dataset.market is not None and wish.get("at_once"):
        return MARKET_DAYS
    offered = len(subjects.offered(dataset, provider))
    count = members if dataset.subjects is Subjects.TICKERS else offered
    return count * dataset.requests(provider, dataset.usual_days)


def _ticks(schedule: dg.ScheduleDefinition, now: datetime) -> Iterator[datetime]:
    """Give the times at which a schedule starts from ``now`` on, in its own zone."""
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


def tell(planned: Plan, *, json: bool) -> None:
    """Print a plan, for a person or for a script."""
    if json:
        console.print_json(_figures(planned))
        return
    if not planned.forecast.load.requests:
        console.say("nothing to load: all that was asked for is complete in the ledger")
        return
    console.print_pairs(_title(planned.wish), _page(planned))
    console.say(verdict(planned.forecast))


def _units(wish: Wish) -> tuple[str, int]:
    if isinstance(wish, DayWish):
        return "trading_days", len(wish.sessions)
    if isinstance(wish, SubjectWish):
        return NOUNS[wish.dataset.subjects], len(wish.subjects)
    return "tickers", len(wish.tickers)


def _title(wish: Wish) -> str:
    unit, count = _units(wish)
    words = unit.replace("_", " ")
    if count == 1:
        words = {"indices": "index", "series": "series"}.get(words, words.removesuffix("s"))
    return f"{_dataset(wish)}: {count:,} {words}"


def _dataset(wish: Wish) -> str:
    return wish.dataset.name if isinstance(wish, SubjectWish) else DAILY_BARS_DATASET


def _page(planned: Plan) -> dict[str, console.Cell]:
    made, load = planned.forecast, planned.forecast.load
    page: dict[str, console.Cell] = {
        "requests": load.requests,
        f"minutes at {60 / load.interval_s:.1f} requests a minute": made.minutes,
        "ends at, New York time": _moment(made.ends_at),
    }
    if planned.sent_last_minute:
        page["requests of others in the last minute (it takes longer beside them)"] = (
            planned.sent_last_minute
        )
    for one in made.quotas:
        page[f"quota of the {one.quota.period.value} ({one.quota.limit:,})"] = (
            f"{one.share:.0%}, {one.left_before:,} left before and {one.left_after:,} after"
        )
    if not made.quotas:
        page["hourly, daily or monthly quota"] = "the key has none"
    if isinstance(planned.wish, SubjectWish):
        return page | {"rows, about": load.rows}
    return page | {
        "new rows, at most": load.rows,
        "database, MB (estimate from measured bytes a row)": made.database_bytes / _MEGABYTE,
        "raw zone, MB (estimate from simulated answers)": made.raw_bytes / _MEGABYTE,
    }


def verdict(made: Forecast) -> str:
    """Say in one sentence whether a schedule would be endangered."""
    if made.endangered:
        return f"ENDANGERED: {_danger(made, made.endangered[0])}"
    met = [one for one in made.meetings if one.during]
    if met:
        first = met[0]
        return (
            f"no schedule is endangered: {_name(first.schedule)} starts meanwhile and goes first, "
            f"which puts this load back by {first.slowed_s / 60:.1f} minutes"
        )
    if not made.meetings:
        return "no schedule asks this provider"
    return (
        f"no schedule is endangered: the next, {_name(made.meetings[0].schedule)}, starts after "
        "this load has ended"
    )


def _danger(made: Forecast, meeting: Meeting) -> str:
    if meeting.short_of is not None:
        share = next(one for one in made.quotas if one.quota is meeting.short_of)
        return (
            f"{_name(meeting.schedule)} could lack requests: this load leaves "
            f"{max(share.left_after, 0):,} of {share.quota.limit:,} a {share.quota.period.value}; "
            f"load less, or after {_moment(share.resets_at)} New York time"
        )
    return (
        f"{_name(meeting.schedule)} would wait for a run slot, since this load and the runs under "
        f"way take all of them until {_moment(made.ends_at)} New York time; load later, or less"
    )


def _name(schedule: ScheduledLoad) -> str:
    return f"{schedule.name} ({_moment(schedule.starts_at)}, {schedule.requests:,} requests)"


def _moment(at: datetime) -> str:
    return f"{at.astimezone(NEW_YORK_ZONE):%Y-%m-%d %H:%M}"


def _figures(planned: Plan) -> dict[str, Any]:
    made, load = planned.forecast, planned.forecast.load
    unit, count = _units(planned.wish)
    return {
        "dataset": _dataset(planned.wish),
        "provider": planned.wish.provider,
        unit: count,
        "requests": load.requests,
        "minutes": made.minutes,
        "ends_at": made.ends_at.isoformat(),
        "requests_per_minute": 60 / load.interval_s,
        "requests_of_others_last_minute": planned.sent_last_minute,
        "quotas": [_quota(one) for one in made.quotas],
        "rows_at_most": load.rows,
        "database_bytes_estimate": made.database_bytes,
        "raw_bytes_estimate": made.raw_bytes,
        "schedules": [_meeting(one) for one in made.meetings],
        "endangered": bool(made.endangered),
        "verdict": verdict(made),
    }


def _quota(one: QuotaShare) -> dict[str, Any]:
    return {
        "period": one.quota.period.value,
        "zone": one.quota.zone,
        "limit": one.quota.limit,
        "resets_at": one.resets_at.isoformat(),
        "share": one.share,
        "left_before": one.left_before,
        "left_after": one.left_after,
        "scheduled": one.scheduled,
        "endangered": one.endangered,
    }


def _meeting(one: Meeting) -> dict[str, Any]:
    return {
        "schedule": one.schedule.name,
        "starts_at": one.schedule.starts_at.isoformat(),
        "requests": one.schedule.requests,
        "during": one.during,
        "slows_load_s": one.slowed_s,
        "short_of_quota": one.short_of.period.value if one.short_of else None,
        "without_run_slot": one.without_slot,
        "endangered": one.endangered,
    }
