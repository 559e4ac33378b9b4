"""wrdata status: what is stored, how complete it is, what waits, and the state of the providers.

Here: the page and its JSON. Not here: the database's queries (resources/storage), or whether
services are reachable (diagnosis.py).
"""

import os
from collections.abc import Iterator
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Annotated, Any

import typer

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
from resources.storage.upkeep import DatabaseUpkeep
from usecases.dataset_coverage import daily_bar_figures, dataset_coverage

DAGSTER_DATABASE = "WRDATA_DAGSTER_DATABASE_URL"
FAILURES_OF = timedelta(days=7)
RESTATED_IN = timedelta(days=30)
GROWS = "what grows (entries: the planner's estimates, none where it has not looked yet)"
FAILURES_SHOWN = 10
"""Most failures shown of each dataset."""


def status(
    wide: Annotated[bool, typer.Option("--wide", help="Show every table there is.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON for a script.")] = False,
) -> None:
    """Show in ten lines what is stored, what waits, and the providers' state; --wide shows all."""
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
    """Return the figures of the database and the archive."""
    with opening.stores(settings) as stores, opening.archive(settings) as archive:
        return {
            "daily_bars": _daily_bars(stores),
            "datasets": [
                row for dataset in DATASETS.values() for row in _dataset(stores, settings, dataset)
            ],
            "aggregates": {
                f"bars_{interval}": stores.aggregates.rows(interval) for interval in Interval
            },
            "archive": _archive(archive),
            "runs": _runs(stores),
            "request_budgets": _budgets(stores),
            "circuit_breakers": _breakers(stores),
            "dead_letters": _letters(stores),
            "actions_that_wait": {
                "splits": len(stores.adjusted_bars.quarantined()),
                "dividends": sum(dividend.waits for dividend in stores.adjusted_bars.dividends()),
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
    """Yield a row for the provider that serves a dataset, and for others with stored rows."""
    serves = provider_of(dataset.name)
    for provider in dataset.sources:
        totals = stores.datasets.totals(dataset, provider)
        if provider != serves and not totals.rows:
            continue
        no_key = " (no key)" if missing_key(settings, provider) else ""
        coverage = dataset_coverage(stores, dataset, provider)
        yield {
            "dataset": dataset.name,
            "provider": f"{provider}{no_key}",
            "serves": "yes" if provider == serves else "",
            "subjects": totals.symbols,
            "rows": totals.rows,
            "replaced": totals.versions,
            "coverage_percent": coverage.percent,
            "holes": coverage.holes,
            "never_asked": coverage.never_asked,
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
    proofs = {name: archive.proofs(dataset) for name, dataset in ARCHIVED.items()}
    periods = [logged.proof for of_dataset in proofs.values() for logged in of_dataset.values()]
    return {
        "datasets": sum(bool(of_dataset) for of_dataset in proofs.values()),
        "periods": len(periods),
        "files": sum(len(proof.files) for proof in periods),
        "rows": sum(proof.rows for proof in periods),
        "bytes": sum(proof.bytes for proof in periods),
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
            "budget": budget.budget,
            "next_slot_in_s": round(budget.reserved_s, 1),
            "paused_until": _minute(budget.paused_until if budget.reserved_s else None),
            "last_60_s": budget.last_minute,
            "this_hour": budget.this_hour,
            "this_day": budget.this_day,
            "this_month": budget.this_month,
            **{f"{lane.value}_leases": budget.leases.get(lane, 0) for lane in Lane},
        }
        for budget in stores.leases.status()
    ]


def _breakers(stores: Stores) -> list[dict[str, Any]]:
    return [
        {
            "provider": breaker.provider,
            "state": breaker.state.value,
            "since": f"{breaker.changed_at:%Y-%m-%d %H:%M:%S}",
            "failures_in_a_row": breaker.failures,
            "next_trial_in_s": round(breaker.retry_after_s, 1),
            "last_error": breaker.last_error,
        }
        for breaker in stores.leases.breakers()
    ]


def _letters(stores: Stores) -> list[dict[str, Any]]:
    return [
        {"dataset": dataset, **{state.value: counts.get(state, 0) for state in LetterState}}
        for dataset, counts in stores.dead_letters.counts().items()
    ]


def _sizes(stores: Stores) -> list[dict[str, Any]]:
    """Return the sizes and bounds of what grows; Dagster's tables where they are configured."""
    url = os.environ.get(DAGSTER_DATABASE)
    of_dagster = RunHistory(url).sizes() if url else []
    return [
        {**asdict(size), "measured_at": _minute(size.measured_at)}
        for size in [*DatabaseUpkeep(stores.timescale).sizes(), *of_dagster]
    ]


def _restated(stores: Stores) -> list[dict[str, Any]]:
    """Return how many bars of each dataset were restated, one column for each age."""
    counts: dict[str, dict[str, int]] = {}
    for restatement in stores.ingest_log.restatements(utc_now() - RESTATED_IN):
        ages = dict.fromkeys((age_label(after) for after in RESTATED_AFTER), 0)
        counts.setdefault(restatement.dataset, ages)[restatement.age] = restatement.rows
    return [{"dataset": dataset, **ages} for dataset, ages in counts.items()]


def _failures(stores: Stores) -> list[dict[str, Any]]:
    """Return the newest failures of each dataset, so that one dataset hides no other."""
    since = utc_now() - FAILURES_OF
    failed = [
        (failure.failed_at, dataset, failure)
        for dataset in DATASETS
        for failure in stores.ingest_log.recent_failures(dataset, since, limit=FAILURES_SHOWN)
    ]
    return [
        {
            "failed_at": f"{at:%Y-%m-%d %H:%M}",
            "dataset": dataset,
            "provider": failure.provider,
            "reason": failure.message,
            "run": failure.run_id,
        }
        for at, dataset, failure in sorted(failed, key=lambda row: row[0], reverse=True)
    ]
