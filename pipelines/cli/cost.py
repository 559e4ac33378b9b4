"""wrdata cost: what a month costs on a platform, from measured bytes and dated prices.

Here: the options, the runs that the schedules start in a month, and printing. Not here: the
arithmetic, the prices and the measured figures (usecases/costs/). It asks nobody: no network, no
database, no configuration.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any

import dagster as dg
import typer

from marketdata.batches import DAILY_BARS_DATASET
from marketdata.calendars import calendar, utc_now
from marketdata.datasets import DATASETS, InstrumentKind
from marketdata.symbols import provider_symbols
from pipelines import schedules
from pipelines.cli import console
from pipelines.cli.plan import most_requests
from pipelines.dagster_internals import schedule_execution_time_iterator
from usecases import costs
from usecases.costs import Estimate, Line, Platform, RunLoad, ScheduledRuns, Wish

MOST_TICKERS, MOST_YEARS = 100_000, 50
DAYS_COUNTED = 364
"""Whole weeks, so that each weekday counts equally."""
BY_SESSION = (schedules.daily_bars_after_close, schedules.daily_bars_again_by_ticker)
"""Schedules of daily bars that skip what is no session; without FMP's largest plan."""
LEFT_OUT = (schedules.daily_bars_again_by_session, schedules.retention_weekly)
"""Schedules that skip every tick unless a setting asks for them."""
_GB = Decimal(10**9)


def cost(
    platform: Annotated[Platform | None, typer.Option(help="Where it runs.")] = None,
    tickers: Annotated[int, typer.Option(min=1, max=MOST_TICKERS, help="Number of shares.")] = 500,
    minute_bars: Annotated[bool, typer.Option(help="Load their minutes, too.")] = True,
    years: Annotated[
        int, typer.Option(min=1, max=MOST_YEARS, help="Years of history that are stored.")
    ] = 5,
    json: Annotated[bool, typer.Option("--json", help="Print JSON for a script.")] = False,
) -> None:
    """Show what a month costs on a platform, item by item, with the age of each price.

    Servers, disks, buckets and networks, before tax. Providers' plans, replicas, watching and
    people are not in it. Nothing is asked of anybody: prices are a dated table.
    """
    if platform is None:
        message = f"say where it runs with --platform: {', '.join(Platform)}"
        raise typer.BadParameter(message)
    wish = Wish(tickers=tickers, minute_bars=minute_bars, years=years)
    now = utc_now()
    runs = scheduled_runs(tickers, now)
    reckoned = costs.estimate(platform, wish, runs, today=now.date())
    if json:
        console.print_json(_figures(reckoned))
        return
    _print(reckoned)


def scheduled_runs(tickers: int, until: datetime) -> list[ScheduledRuns]:
    """Return the runs that all schedules start in a month, by their ticks of a year.

    Args:
        tickers: Number of members of the universe.
        until: End of that year (aware).
    """
    return [*_of_daily_bars(tickers, until), *_of_refreshes(tickers, until), *_of_upkeep(until)]


def _of_daily_bars(tickers: int, until: datetime) -> Iterator[ScheduledRuns]:
    load = RunLoad(dataset=DAILY_BARS_DATASET, requests=tickers, symbols=tickers)
    for schedule in (*BY_SESSION, schedules.daily_bars_gaps_weekly):
        yield ScheduledRuns(
            schedule=schedule.name,
            a_month=_ticks_a_month(schedule, until, sessions_only=schedule in BY_SESSION),
            loads=(load,),
        )


def _of_refreshes(tickers: int, until: datetime) -> Iterator[ScheduledRuns]:
    for schedule, refresh in schedules.REFRESH_SCHEDULES.items():
        yield ScheduledRuns(
            schedule=schedule.name,
            a_month=_ticks_a_month(schedule, until),
            loads=tuple(
                RunLoad(
                    dataset=name,
                    requests=most_requests(
                        DATASETS[name], costs.provider_of(name), tickers, refresh.config
                    ),
                    symbols=_symbols(name, tickers),
                )
                for name in refresh.datasets
            ),
        )


def _of_upkeep(until: datetime) -> Iterator[ScheduledRuns]:
    """Yield the runs that load nothing, and the universe's, which asks once."""
    loading = (*BY_SESSION, schedules.daily_bars_gaps_weekly, *schedules.REFRESH_SCHEDULES)
    for schedule in schedules.ALL:
        if schedule not in (*loading, *LEFT_OUT):
            yield ScheduledRuns(schedule=schedule.name, a_month=_ticks_a_month(schedule, until))


def _symbols(name: str, tickers: int) -> int:
    dataset = DATASETS[name]
    if dataset.instrument_kind is InstrumentKind.EQUITY:
        return tickers
    return len(provider_symbols(dataset, costs.provider_of(name)))


def _ticks_a_month(
    schedule: dg.ScheduleDefinition, until: datetime, *, sessions_only: bool = False
) -> Decimal:
    """Count the ticks of the year before ``until``, and return a twelfth of them."""
    count, start = 0, until - timedelta(days=DAYS_COUNTED)
    for tick in schedule_execution_time_iterator(
        start.timestamp(), schedule.cron_schedule, schedule.execution_timezone
    ):
        if tick >= until:
            break
        count += not sessions_only or calendar().is_session(tick.date())
    return count * Decimal(365) / DAYS_COUNTED / 12


def _print(reckoned: Estimate) -> None:
    wish, work = reckoned.work.wish, reckoned.work
    minutes = "with" if wish.minute_bars else "without"
    title = (
        f"A month on {reckoned.platform}: {wish.tickers:,} tickers {minutes} minute bars, "
        f"{wish.years} years stored"
    )
    console.print_table(title, [_row(line, reckoned) for line in reckoned.lines], by=("item",))
    for sentence in _sums(reckoned):
        console.out.print(sentence, markup=False)
    console.print_pairs("What it is reckoned from", _quantities(reckoned))
    console.out.print(
        f"Longest run: {work.slowest}, {work.slowest_minutes:,.0f} minutes at the published limit "
        "of the smallest plan (marketdata/recovery/limits.py).",
        markup=False,
    )
    provider, busy = work.busiest
    console.out.print(f"Busiest key: {provider}, {busy:.0%} of the month.", markup=False)
    if busy > 1:
        console.warn(
            f"{provider}'s published smallest plan is too slow for {wish.tickers:,} tickers: a "
            "larger plan is needed, and the minutes of runs above will be fewer"
        )
    console.out.print("What common tables have wrong:", markup=False)
    for correction in costs.corrections(reckoned.platform):
        console.out.print(
            f"- {correction.wrong}: {correction.right} ({correction.source})", markup=False
        )


def _row(line: Line, reckoned: Estimate) -> dict[str, console.Cell]:
    return {
        "item": line.need.item,
        "quantity": f"{line.need.quantity:,.2f}",
        "unit": line.price.unit,
        "price": f"{line.price.price} {line.price.currency}",
        "month": f"{line.cost:,} {line.price.currency}",
        "USD": f"{line.dollars:,}",
        "age,_days": line.price.age_days(reckoned.today),
        "assumed": "assumed" if line.price.assumed else "",
        "what_for": line.need.why,
        "source": line.price.source,
    }


def _sums(reckoned: Estimate) -> Iterator[str]:
    by_currency = " and ".join(
        f"{amount:,} {currency}" for currency, amount in reckoned.by_currency.items()
    )
    rate = costs.dollars_per_euro()
    exchanged = f", at {rate.price} USD for a euro of {rate.as_of}: {rate.source}"
    if set(reckoned.by_currency) == {"USD"}:
        exchanged = ""
    yield f"Total: {reckoned.dollars:,} USD a month ({by_currency}{exchanged})"
    yield f"Of which {reckoned.assumed_dollars:,} USD are of prices that no page confirms."


def _quantities(reckoned: Estimate) -> dict[str, console.Cell]:
    work = reckoned.work
    compresses = costs.compresses(reckoned.platform)
    edition = "Community" if compresses else "Apache"
    rows = {part.dataset: part.rows for part in work.stored}
    sizes = {
        f"database, GB ({edition} edition)": work.database_bytes(compresses=compresses),
        "the same without compression, GB": work.database_bytes(compresses=False),
        "archive in Parquet, GB": work.parquet_bytes,
        "raw zone, GB": work.raw_bytes,
        "WAL a month, GB": work.wal_bytes_a_month,
    }
    if costs.backs_up(reckoned.platform):
        kept = work.backup_bytes(compresses=compresses)
        sizes["backups that are kept, with their WAL, GB"] = kept
    return {
        "rows, millions": float(sum(rows.values()) / 10**6),
        "of these minute bars, millions": float(rows.get("minute_bars", Decimal()) / 10**6),
        **{name: float(size / _GB) for name, size in sizes.items()},
        "requests a month, at most": int(work.requests),
        "runs a month": int(work.runs),
        "minutes of runs a month": int(work.run_minutes),
    }


def _figures(reckoned: Estimate) -> dict[str, Any]:
    rate, work = costs.dollars_per_euro(), reckoned.work
    return {
        "platform": reckoned.platform.value,
        "tickers": work.wish.tickers,
        "minute_bars": work.wish.minute_bars,
        "years": work.wish.years,
        "total_usd": str(reckoned.dollars),
        "total_by_currency": {name: str(sum_) for name, sum_ in reckoned.by_currency.items()},
        "assumed_usd": str(reckoned.assumed_dollars),
        "usd_per_eur": str(rate.price),
        "usd_per_eur_as_of": rate.as_of.isoformat(),
        "items": [
            {
                "platform": line.need.platform,
                "item": line.need.item,
                "what_for": line.need.why,
                "quantity": str(round(line.need.quantity, 4)),
                "unit": line.price.unit,
                "unit_price": str(line.price.price),
                "currency": line.price.currency,
                "cost": str(line.cost),
                "cost_usd": str(line.dollars),
                "source": line.price.source,
                "as_of": line.price.as_of.isoformat(),
                "age_days": line.price.age_days(reckoned.today),
                "assumed": line.price.assumed,
            }
            for line in reckoned.lines
        ],
        "quantities": _quantities(reckoned),
        "slowest_schedule": work.slowest,
        "slowest_minutes": float(work.slowest_minutes),
        "busy_keys": {name: round(float(share), 4) for name, share in work.busy.items()},
        "corrections": [
            {"wrong": correction.wrong, "right": correction.right, "source": correction.source}
            for correction in costs.corrections(reckoned.platform)
        ],
    }
