"""The code location: everything that Dagster loads.

Here: assembly and nothing else. Loading opens no connection and needs no configuration.
"""

import dagster as dg

from assets import archive, bars, checks, prices, universe
from pipelines import jobs, run_failures, schedules, sensors
from resources.wiring import Archive, Database, Fmp

definitions = dg.Definitions(
    assets=dg.load_assets_from_modules([universe, prices, bars, archive]),
    asset_checks=dg.load_asset_checks_from_modules([checks]),
    jobs=[
        jobs.universe_job,
        jobs.daily_prices_job,
        jobs.price_backfill_job,
        jobs.archive_job,
        run_failures.price_history_job,
        run_failures.derived_job,
    ],
    schedules=[
        schedules.daily_prices_after_close,
        schedules.universe_weekly,
        schedules.price_gaps_weekly,
        schedules.archive_monthly,
    ],
    sensors=[sensors.derived_after_loads, sensors.dead_letter_retries, sensors.lost_runs],
    resources={"database": Database(), "archive": Archive(), "fmp": Fmp()},
    # A run is one process: the fan-out is asyncio inside the asset, not processes per step.
    executor=dg.in_process_executor,
)
