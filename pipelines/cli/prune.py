"""wrdata prune: remove old events and runs, as the weekly upkeep does, and show what grows.

Here: the command. Not here: what is removed and what stays (resources/storage/upkeep.py and
resources/storage/runs/history.py), archived rows (`wrdata archive drop`), or the archive's objects.
"""

from typing import Annotated

import typer

from assets.database_upkeep import database_upkeep
from pipelines.cli import console, environment, loads, runs
from pipelines.cli.status import GROWS
from resources.storage.runs.history import HISTORY_STAYS_FOR


def prune(
    days: Annotated[
        int, typer.Option(help="Dagster's events and runs younger than this stay.", min=1)
    ] = HISTORY_STAYS_FOR.days,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be removed, and keep it.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON for a script.")] = False,
) -> int:
    """Remove Dagster's old events and runs; show the size and bound of everything that grows."""
    environment.enter(environment.surroundings(writes=False), start=False)
    config = {"days": days, "dry_run": dry_run}
    report = runs.run_job(
        "database_upkeep", config={database_upkeep.node_def.name: {"config": config}}
    )
    done, failed = dict(report.last("database_upkeep")), loads.failures(report)
    sizes = done.pop("sizes", [])
    if json:
        console.print_json({**done, "dry_run": dry_run, "sizes": sizes, "failures": failed})
    elif not failed:
        would = "would be removed" if dry_run else "removed"
        console.say(
            f"Dagster: {done['events_removed']:,} events and {done['runs_removed']:,} runs {would}"
        )
        console.print_table(GROWS, sizes)
    for reason in failed.values():
        console.fail(reason)
    return 1 if failed else 0
