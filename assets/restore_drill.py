"""The restore drill: a backup is restored on trial, and the times it takes are published.

Here: the asset. Not here: the drill (usecases/restore_drill.py), or when it runs
(pipelines/schedules.py).
"""

from pathlib import Path
from typing import Any

import dagster as dg
from pydantic import Field

from assets.datasets import OWNERS
from assets.failures import Metadata, as_dagster_failure
from resources.settings import read_settings
from usecases.restore_drill import DrillReport, drill


class DrillConfig(dg.Config):
    """Where a drill works."""

    folder: str = Field(
        default="",
        description="Existing folder with room for the whole database, which any user may pass; "
        "empty is the system's folder for temporary files.",
    )


@dg.asset(
    key=["operations", "restore_drill"],
    group_name="operations",
    owners=OWNERS,
    kinds={"postgres"},
    metadata={"source": "the newest backup", "cadence": "weekly", "grain": "run"},
)
def restore_drill(
    context: dg.AssetExecutionContext, config: DrillConfig
) -> dg.MaterializeResult[Any]:
    """Restores the newest backup to a moment, and compares it with production as of that moment.

    Source: the repository of backups (WRDATA_BACKUP_CONFIG) and production. Cadence: weekly. Grain:
    one run. Destination: a scratch server, removed afterwards; figures in restore_drill. Fails if a
    table differs.
    """
    folder = Path(config.folder) if config.folder else None
    with as_dagster_failure():
        done = drill(read_settings(), context.log.info, folder=folder)
    if done.differences:
        raise dg.Failure(
            description=f"the copy differs from production in {len(done.differences)} tables: "
            + "; ".join(done.differences),
            metadata=_metadata(done),
            allow_retries=False,
        )
    return dg.MaterializeResult(metadata=_metadata(done))


def _metadata(done: DrillReport) -> Metadata:
    figures = done.figures
    return {
        "backup": figures.backup_label or "",
        "databases": ", ".join(done.databases),
        "rto_s": round(figures.rto_s or 0.0, 1),
        "rpo_s": round(figures.rpo_s or 0.0, 1),
        "tables_compared": figures.tables_compared or 0,
        "rows_compared": figures.rows_compared or 0,
        "rows_completed": figures.rows_completed or 0,
        "audit_rows_lost": figures.audit_rows_lost or 0,
        **{f"{part}_s": round(seconds, 1) for part, seconds in done.seconds.items()},
    }
