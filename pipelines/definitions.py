"""The code location: everything that Dagster loads.

Here: assembly and nothing else. Loading opens no connection and needs no configuration; only where
the profile takes no unknown variables does a misspelt one refuse it, so that every process of
Dagster says so when it starts.
"""

import gc

import dagster as dg

from assets import (
    adjusted,
    archive,
    archive_upkeep,
    audit,
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
from resources.settings import refuse_unknown_variables
from resources.wiring import Archive, Database, Providers

refuse_unknown_variables()

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
                audit,
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

# All that is imported now stays: neither a collection nor the end of the process looks at it.
gc.freeze()
