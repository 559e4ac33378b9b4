"""The databases' upkeep: Dagster's old events and runs pruned, and all that grows measured.

Here: the asset. Not here: what may be removed (resources/storage/upkeep.py, runs/), or when
(pipelines/schedules.py).
"""

from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any

import dagster as dg
from dagster_postgres import PostgresEventLogStorage
from pydantic import Field

from assets.datasets import OWNERS
from assets.failures import as_dagster_failure
from marketdata.calendars import utc_now
from resources.storage.runs.history import PrunedHistory, RunHistory
from resources.storage.upkeep import StoreSize
from resources.wiring import Database

HISTORY_STAYS_FOR = timedelta(days=90)
"""How long Dagster's events and runs are kept, like its ticks (dagster.yaml)."""


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
    now = utc_now()
    with as_dagster_failure(), database.upkeep() as (upkeep, objects):
        history = _prune_history(context.instance, now - timedelta(days=config.days), config)
        if not config.dry_run:
            rows = upkeep.prune(now)
            context.log.info("%s", rows)
            upkeep.measure_raw_zone(objects)
        return dg.MaterializeResult(
            metadata={
                "events_removed": history.events,
                "runs_removed": history.runs,
                "sizes": _table(upkeep.sizes()),
            }
        )


def _prune_history(
    instance: dg.DagsterInstance, before: datetime, config: UpkeepConfig
) -> PrunedHistory:
    """Prune Dagster's Postgres storage; leave another one, such as a test's, alone."""
    storage = instance.event_log_storage
    if not isinstance(storage, PostgresEventLogStorage):
        return PrunedHistory(events=0, check_executions=0, runs=0)
    history = RunHistory(storage.postgres_url)
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
