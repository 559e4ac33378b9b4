"""wrdata status: what is stored, how complete it is, what waits, and how the providers are.

Here: the page and its JSON. Not here: the questions to the database (resources/storage), or
whether services are reachable (diagnosis.py).
"""

import os
from collections.abc import Iterator
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Annotated, Any

import typer

from assets.database_upkeep import HISTORY_STAYS_FOR
from marketdata.archiving import ARCHIVED
from marketdata.bars import Interval
from marketdata.batches import DAILY_BARS_DATASET
from marketdata.calendars import utc_now
from marketdata.coverage import RESTATED_AFTER, age_label
from marketdata.datasets import DATASETS, Dataset
from marketdata.recovery.dead_letters import UNSETTLED, LetterState
from marketdata.recovery.limits import Lane
from pipelines import workers
from pipelines.cli import console, environment
from pipelines.cli.status_summary import summary
from resources import opening
from resources.clients import missing_key
from resources.opening import Stores
from resources.settings import Settings, provider_of, read_settings
from resources.storage.archive import Archive
from resources.storage.runs.history import RunHistory
from resources.storage.runs.workers import RunWorkers
from resources.storage.upkeep import DatabaseUpkeep, StoreSize
from usecases.dataset_coverage import daily_bar_figures, dataset_coverage

DAGSTER_DATABASE = "WRDATA_DAGSTER_DATABASE_URL"
FAILURES_OF = timedelta(days=7)
RESTATED_IN = timedelta(days=30)
GROWS = "what grows (entries: the planner's estimates, none where it has not looked yet)"
FAILURES_SHOWN = 10
"""So many of each dataset."""


def status(
    wide: Annotated[bool, typer.Option("--wide", help="Show every table there is.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON for a script.")] = False,
) -> None:
    """Show in ten lines what is stored, what waits and how the providers are; --wide shows all."""
    environment.enter(environment.surroundings(writes=False), start=False)
    stored = report(read_settings())
    if json:
        console.print_json(stored)
    elif wide:
        print_report(stored)
    else:
        for name, line in summary(stored).items():
            console.out.print(f"{name:15} {line}", markup=False)


def report(settings: Settings) -> dict[str, Any]:
    """Ask the database and the archive what is there."""
    with opening.stores(settings) as stores, opening.archive(settings) as archive:
        return {
            "daily_bars": _daily_bars(stores),
            "datasets": [
                row for one in DATASETS.values() for row in _dataset(stores, settings, one)
            ],
            "aggregates": {f"bars_{one}": stores.aggregates.rows(one) for one in Interval},
            "archive": _archive(archive),
            "runs": _runs(stores),
            "request_budgets": _budgets(stores),
            "circuit_breakers": _breakers(stores),
            "dead_letters": _letters(stores),
            "actions_that_wait": {
                "splits": len(stores.adjusted_bars.quarantined()),
                "dividends": sum(one.waits for one in stores.adjusted_bars.dividends()),
            },
            "restated": _restated(stores),
            "failures": _failures(stores),
            "sizes": _sizes(stores),
        }


def print_report(stored: dict[str, Any]) -> None:
    """Print ``stored`` for a person."""
    console.print_pairs("daily_bars", stored["daily_bars"])
    console.print_table("datasets", stored["datasets"], by=("dataset", "provider"))
    console.print_pairs("aggregates, rows", stored["aggregates"])
    console.print_pairs("archive", stored["archive"])
    console.print_table("runs at work", stored["runs"])
    console.print_table("request budgets", stored["request_budgets"])
    console.print_table("circuit breakers", stored["circuit_breakers"])
    console.print_table("dead letters (wrdata dlq list)", stored["dead_letters"])
    waiting = stored["actions_that_wait"]
    if any(waiting.values()):
        console.print_pairs("adjust nothing (wrdata splits list, wrdata dividends list)", waiting)
    console.print_table(
        f"bars restated in the last {RESTATED_IN.days} days, by their age", stored["restated"]
    )
    console.print_table("latest failed requests of the last 7 days", stored["failures"])
    console.print_table(GROWS, stored["sizes"])


def _daily_bars(stores: Stores) -> dict[str, Any]:
    provider = provider_of(DAILY_BARS_DATASET)
    latest = stores.ingest_log.latest_load(DAILY_BARS_DATASET, provider)
    return {**daily_bar_figures(stores), "latest_load_at": str(latest or "")}


def _dataset(stores: Stores, settings: Settings, dataset: Dataset) -> Iterator[dict[str, Any]]:
    """Yield a row for the provider that serves a dataset, and for others that it has rows of."""
    serves = provider_of(dataset.name)
    for provider in dataset.sources:
        totals = stores.datasets.totals(dataset, provider)
        if provider != serves and not totals.rows:
            continue
        no_key = " (no key)" if missing_key(settings, provider) else ""
        known = dataset_coverage(stores, dataset, provider)
        yield {
            "dataset": dataset.name,
            "provider": f"{provider}{no_key}",
            "serves": "yes" if provider == serves else "",
            "subjects": totals.symbols,
            "rows": totals.rows,
            "replaced": totals.versions,
            "coverage_percent": known.percent,
            "holes": known.holes,
            "never_asked": known.never_asked,
            "latest_change": f"{totals.latest_at:%Y-%m-%d %H:%M}" if totals.latest_at else "",
            "latest_load": _minute(stores.ingest_log.latest_load(dataset.name, provider)),
            "letters": _waiting(stores, dataset, provider),
        }


def _waiting(stores: Stores, dataset: Dataset, provider: str) -> int:
    counts = stores.dead_letters.counts(dataset.name, provider).get(dataset.name, {})
    return sum(counts.get(state, 0) for state in UNSETTLED)


def _minute(at: datetime | None) -> str:
    return f"{at:%Y-%m-%d %H:%M}" if at else ""


def _archive(archive: Archive) -> dict[str, Any]:
    proofs = {name: archive.proofs(one) for name, one in ARCHIVED.items()}
    periods = [logged.proof for of_dataset in proofs.values() for logged in of_dataset.values()]
    return {
        "datasets": sum(bool(of_dataset) for of_dataset in proofs.values()),
        "periods": len(periods),
        "files": sum(len(one.files) for one in periods),
        "rows": sum(one.rows for one in periods),
        "bytes": sum(one.bytes for one in periods),
    }


def _runs(stores: Stores) -> list[dict[str, Any]]:
    return [
        {
            "run": worker.run_id,
            "job": worker.job,
            "worker": f"process {worker.process.pid} on {worker.place.partition(' ')[0]}",
            "since": _minute(worker.started_at),
            "state": "its worker is gone" if workers.is_gone(worker) else "works",
        }
        for worker in RunWorkers(stores.timescale).all()
        if not worker.has_left
    ]


def _budgets(stores: Stores) -> list[dict[str, Any]]:
    return [
        {
            "budget": one.budget,
            "next_slot_in_s": round(one.reserved_s, 1),
            "paused_until": _minute(one.paused_until if one.reserved_s else None),
            "last_60_s": one.last_minute,
            "this_hour": one.this_hour,
            "this_day": one.this_day,
            "this_month": one.this_month,
            **{f"{lane.value}_leases": one.leases.get(lane, 0) for lane in Lane},
        }
        for one in stores.leases.status()
    ]


def _breakers(stores: Stores) -> list[dict[str, Any]]:
    return [
        {
            "provider": one.provider,
            "state": one.state.value,
            "since": f"{one.changed_at:%Y-%m-%d %H:%M:%S}",
            "failures_in_a_row": one.failures,
            "next_trial_in_s": round(one.retry_after_s, 1),
            "last_error": one.last_error,
        }
        for one in stores.leases.breakers()
    ]


def _letters(stores: Stores) -> list[dict[str, Any]]:
    return [
        {"dataset": dataset, **{state.value: counts.get(state, 0) for state in LetterState}}
        for dataset, counts in stores.dead_letters.counts().items()
    ]


def _sizes(stores: Stores) -> list[dict[str, Any]]:
    """Return what grows, with its bound; Dagster's tables where they are known."""
    history = RunHistory(os.environ[DAGSTER_DATABASE]) if DAGSTER_DATABASE in os.environ else None
    of_dagster = [
        StoreSize(
            store=f"Dagster's {table}",
            estimated_entries=rows,
            bytes=size,
            bound=f"{HISTORY_STAYS_FOR.days} days: wrdata prune",
        )
        for table, (rows, size) in (history.sizes() if history else {}).items()
    ]
    return [
        {**asdict(size), "measured_at": _minute(size.measured_at)}
        for size in [*DatabaseUpkeep(stores.timescale).sizes(), *of_dagster]
    ]


def _restated(stores: Stores) -> list[dict[str, Any]]:
    """Return how many bars of each dataset were restated, one column an age of theirs."""
    counts: dict[str, dict[str, int]] = {}
    for one in stores.ingest_log.restatements(utc_now() - RESTATED_IN):
        ages = dict.fromkeys((age_label(after) for after in RESTATED_AFTER), 0)
        counts.setdefault(one.dataset, ages)[one.age] = one.rows
    return [{"dataset": dataset, **ages} for dataset, ages in counts.items()]


def _failures(stores: Stores) -> list[dict[str, Any]]:
    """Return the newest failures of each dataset: one that fails often hides no other."""
    since = utc_now() - FAILURES_OF
    failed = [
        (one.failed_at, dataset, one)
        for dataset in DATASETS
        for one in stores.ingest_log.recent_failures(dataset, since, limit=FAILURES_SHOWN)
    ]
    return [
        {
            "failed_at": f"{at:%Y-%m-%d %H:%M}",
            "dataset": dataset,
            "provider": one.provider,
            "reason": one.message,
            "run": one.run_id,
        }
        for at, dataset, one in sorted(failed, key=lambda found: found[0], reverse=True)
    ]
