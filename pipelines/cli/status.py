"""wrdata status: what is stored, how complete it is, and what failed of late.

Here: the page and its JSON. Not here: the questions to the database (resources/storage), or
whether services are reachable (diagnosis.py).
"""

from datetime import timedelta
from typing import Annotated, Any

import typer

from assets.price_reports import table_figures
from marketdata.bars import Interval
from marketdata.batches import DAILY_BARS_DATASET
from marketdata.calendars import utc_now
from pipelines.cli import console, environment
from resources import opening
from resources.opening import Stores
from resources.settings import Settings, read_settings
from resources.storage.archive import BarArchive

FAILURES_OF = timedelta(days=7)


def status(
    json: Annotated[bool, typer.Option("--json", help="Print JSON for a script.")] = False,
) -> None:
    """Show what is stored, how complete it is, and which requests failed in the last 7 days."""
    environment.enter(environment.surroundings(), start=False)
    stored = report(read_settings())
    if json:
        console.print_json(stored)
    else:
        print_report(stored)


def report(settings: Settings) -> dict[str, Any]:
    """Ask the database and the archive what is there."""
    with opening.stores(settings) as stores, opening.archive(settings) as archive:
        return {
            "daily_bars": _daily_bars(stores),
            "rollups": {f"bars_{one}": stores.rollups.rows(one) for one in Interval},
            "archive": _archive(archive),
            "failures": _failures(stores),
        }


def print_report(stored: dict[str, Any]) -> None:
    """Print ``stored`` for a person."""
    console.print_pairs("daily_bars", stored["daily_bars"])
    console.print_pairs("roll-ups, rows", stored["rollups"])
    console.print_pairs("archive", stored["archive"])
    console.print_table("failed requests of the last 7 days", stored["failures"])


def _daily_bars(stores: Stores) -> dict[str, Any]:
    latest = stores.ingest_log.latest_load(DAILY_BARS_DATASET)
    return {**table_figures(stores), "latest_load_at": str(latest or "")}


def _archive(archive: BarArchive) -> dict[str, Any]:
    months = archive.months()
    return {
        "months": len(months),
        "first": f"{min(months):%Y-%m}" if months else "",
        "last": f"{max(months):%Y-%m}" if months else "",
        "rows": sum(one.proof.rows for one in months.values()),
        "bytes": sum(one.proof.bytes for one in months.values()),
    }


def _failures(stores: Stores) -> list[dict[str, Any]]:
    failed = stores.ingest_log.recent_failures(DAILY_BARS_DATASET, utc_now() - FAILURES_OF)
    return [
        {"failed_at": f"{one.failed_at:%Y-%m-%d %H:%M}", "reason": one.message, "run": one.run_id}
        for one in failed
    ]
