"""The databases' upkeep: Dagster's old events and runs pruned, and all that grows measured.

Here: the asset. Not here: what may be removed (resources/storage/upkeep.py, runs/), or when
(pipelines/schedules.py).
"""

from dataclasses import asdict
from datetime import timedelta
from typing import Any

import dagster as dg
from dagster_postgres import PostgresEventLogStorage
from pydantic import Field

from assets.datasets import OWNERS
from assets.failures import as_dagster_failure
from marketdata.calendars import utc_now
from resources.storage.runs.history import HISTORY_STAYS_FOR, PrunedHistory, RunHistory
from resources.storage.upkeep import StoreSize
from resources.wiring import Database


class UpkeepConfig(dg.Config):
    """What a run of the upkeep removes."""

    days: int = Field(
        default=HISTORY_STAYS_FOR.days,
        ge=1,
        description="Dagster's events and runs younger than this stay.",
    )
    dry_run: bool = Field(default=False, description="Show what would be removed, and keep it.")


@dg.asset(
    key=["operations", "database_upkeep"],
    group_name="operations",
    owners=OWNERS,
    kinds={"postgres"},
    metadata={"source": "Dagster's storage and ours", "cadence": "weekly", "grain": "run"},
)
def database_upkeep(
    context: dg.AssetExecutionContext, config: UpkeepConfig, database: Database
) -> dg.MaterializeResult[Any]:
    """Removes Dagster's events, runs and captured logs older than 90 days; measures what grows.

    Source: Dagster's storage, our tables and the raw zone. Cadence: weekly. Destination: the same.
    Events that show materialized partitions, or a check's last result, stay at any age.
    """
    history = _history(context.instance)
    with as_dagster_failure(), database.upkeep() as (upkeep, objects):
        pruned = _pruned(context.instance, history, config)
        if not config.dry_run:
            removed = {"dagster_events": pruned.events, "dagster_runs": pruned.runs}
            rows = upkeep.prune(utc_now(), by=f"run {context.run.run_id}", also=removed)
            context.log.info("%s", rows)
            upkeep.measure_raw_zone(objects)
        return dg.MaterializeResult(
            metadata={
                "events_removed": pruned.events,
                "runs_removed": pruned.runs,
                "sizes": _table([*upkeep.sizes(), *(history.sizes() if history else ())]),
            }
        )


def _history(instance: dg.DagsterInstance) -> RunHistory | None:
    """Return Dagster's history in Postgres; None for another storage, such as a test's."""
    storage = instance.event_log_storage
    return (
        RunHistory(storage.postgres_url) if isinstance(storage, PostgresEventLogStorage) else None
    )


def _pruned(
    instance: dg.DagsterInstance, history: RunHistory | None, config: UpkeepConfig
) -> PrunedHistory:
    """Prune the history, and remove the captured logs of its ended runs."""
    if history is None:
        return PrunedHistory(events=0, check_executions=0, runs=0)
    before = utc_now() - timedelta(days=config.days)
    ended = history.ended_before(before)
    pruned = history.prune(before, dry_run=config.dry_run)
    if not config.dry_run:
        for run_id in ended:
            instance.compute_log_manager.delete_logs(prefix=[run_id])
    return pruned


def _table(sizes: list[StoreSize]) -> dg.TableMetadataValue:
    return dg.MetadataValue.table(
        records=[
            dg.TableRecord({**asdict(size), "measured_at": str(size.measured_at or "")})
            for size in sizes
        ],
        schema=dg.TableSchema(
            columns=[
                dg.TableColumn("store", "string"),
                dg.TableColumn("estimated_entries", "int"),
                dg.TableColumn("bytes", "int"),
                dg.TableColumn("bound", "string"),
                dg.TableColumn("measured_at", "string"),
            ]
        ),
    )
