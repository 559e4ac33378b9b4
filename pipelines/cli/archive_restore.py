"""wrdata archive drop, wrdata archive restore: drop rows from the database, and restore them.

Here: the commands. Not here: what is proven before rows leave, or how they come back
(resources/storage/archive).
"""

import re
from typing import Annotated, Any

import typer

from machine.person import user_at_host
from marketdata.archiving import ARCHIVED
from marketdata.recovery import errors
from marketdata.retention import parse_ages
from pipelines.cli import console, environment, runs
from pipelines.cli.archive_options import End, Json, Name, Names, Start
from resources import opening
from resources.settings import layers, read_settings
from resources.storage.aggregates import SourceTable
from resources.storage.archive.restore.restore import RestoredPeriod

SCHEMA = re.compile(r"(?!pg_)[a-z_][a-z0-9_]{0,62}")
"""Names that mean the same with and without quotes; PostgreSQL keeps pg_ for itself."""


def _plain_name(name: str) -> str:
    if name and not SCHEMA.fullmatch(name):
        message = (
            f"{name!r} is no plain name of a schema: it begins with a lower-case letter or _, not "
            "with pg_; at most 62 lower-case letters, digits or _ follow"
        )
        raise typer.BadParameter(message)
    return name


def drop(
    dataset: Names = None,
    *,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be dropped, and what is missing.")
    ] = False,
    json: Json = False,
) -> int:
    """Drop periods older than WRDATA_RETENTION, where the archive is proven to hold them.

    Status 1 if a period has to stay.
    """
    # Read before the surroundings are entered: without an age there is nothing to start for.
    try:
        ages = parse_ages(layers.variables().get("WRDATA_RETENTION", ""))
    except ValueError as error:
        message = f"WRDATA_RETENTION: {error}"
        raise errors.ConfigurationError(message) from None
    if not ages:
        message = (
            "no dataset has an age, so all rows stay; to drop older rows set "
            "WRDATA_RETENTION, for example to minute_bars=400d"
        )
        raise errors.ConfigurationError(message)
    surroundings = environment.surroundings(writes=False)
    environment.enter(surroundings, start=True, report=console.say)
    environment.require_schema(surroundings)
    op_config = {"datasets": dataset or [], "dry_run": dry_run}
    report = runs.run_job("retention", config={"archive__retention": {"config": op_config}})
    outcome = report.last("retention")
    if not outcome:
        raise errors.StorageError("; ".join(report.failures))
    rows = list(outcome["periods"])
    if json:
        console.print_json(rows)
    elif rows:
        console.print_table("", [{**row, "late": "yes" if row["late"] else ""} for row in rows])
        if dry_run:
            console.say(
                "a run first refreshes the aggregates and archives, then drops the periods that "
                "are due"
            )
    else:
        console.say("nothing is due")
    return 1 if outcome["refused"] else 0


def restore(
    dataset: Name,
    start: Start,
    end: End,
    into: Annotated[
        str,
        typer.Option(
            help="Schema for new tables; without it, rows go back into their own tables.",
            callback=_plain_name,
        ),
    ] = "",
    *,
    json: Json = False,
) -> None:
    """Restore the archived periods that hold days from --start to --end to the database."""
    if start > end:
        message = f"the days are reversed: {start} is after {end}"
        raise errors.ArgumentError(message)
    entry = ARCHIVED[dataset]
    surroundings = environment.surroundings(writes=False)
    environment.enter(surroundings, start=True, report=console.say)
    environment.require_schema(surroundings)
    settings = read_settings()
    with opening.restore(settings) as restoring:
        by = user_at_host()
        if into:
            restored = restoring.into_schema(entry, start, end, schema=into, by=by)
        else:
            restored = restoring.into_hot(entry, start, end, by=by)
    if not into:
        with opening.stores(settings) as stores:
            for source in SourceTable:
                stores.aggregates.refresh(source)
    rows = [_row(period, into or "public", entry.table) for period in restored]
    if json:
        console.print_json(rows)
        return
    console.print_table("", rows)
    if not into and dataset in settings.retention:
        console.say(
            f"WRDATA_RETENTION says {settings.retention[dataset].days} days for {dataset}: the "
            "next run drops these periods again, unless you set more"
        )


def _row(period: RestoredPeriod, schema: str, table: str) -> dict[str, Any]:
    return {
        "dataset": period.dataset,
        "period": period.label,
        "table": f"{schema}.{table}",
        "rows_archived": period.rows,
        "rows_inserted": period.inserted,
    }
