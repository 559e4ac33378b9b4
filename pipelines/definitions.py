"""The code location: everything that Dagster loads.

Here: assembly and nothing else. Loading opens no connection and needs no configuration.
"""

import dagster as dg

from assets import (
    adjusted,
    archive,
    archive_upkeep,
    bars,
    checks,
    daily_bars,
    database_upkeep,
    datasets,
    restore_drill,
    retention,
    universe,
)
from pipelines import jobs, schedules, sensors, workers
from resources.wiring import Archive, Database, Providers

definitions = dg.Definitions(
    assets=[
        *dg.load_assets_from_modules(  # pyright: ignore[reportUnknownMemberType] Dagster's type
            [
                universe,
                daily_bars,
                bars,
                archive,
                archive_upkeep,
                retention,
                adjusted,
                database_upkeep,
                restore_drill,
            ]
        ),
        *archive.ARCHIVES.values(),
        *datasets.BY_SYMBOL.values(),
        *datasets.BY_SESSION.values(),
        *datasets.REFRESHES.values(),
    ],
    asset_checks=dg.load_asset_checks_from_modules([checks, adjusted]),
    jobs=list(jobs.ALL),
    schedules=list(schedules.ALL),
    sensors=list(sensors.ALL),
    resources={"database": Database(), "archive": Archive(), "providers": Providers()},
    # A run is one process: the fan-out is asyncio inside the asset, not processes per step.
    executor=workers.in_process_with_heartbeat,
)
