"""Jobs: which assets run together.

Here: named selections, for schedules, the command line and the UI. Not here: when they run
(schedules.py), or what an asset does (assets/).
"""

import dagster as dg

from assets.archive import daily_bars_archive
from assets.bars import bars_1mo, bars_1w
from assets.prices import daily_bars, daily_prices, price_backfill
from assets.universe import universe
from marketdata.recovery.limits import Lane
from resources.wiring import LANE_TAG

DERIVED = dg.AssetSelection.assets(daily_bars, bars_1w, bars_1mo)
"""What is brought up to date after every load, in the same run."""

AS_BACKFILL = {LANE_TAG: Lane.BACKFILL.value}
"""Backfills leave the request budget, and one of the places for runs, to schedules."""

universe_job = dg.define_asset_job(
    "universe", dg.AssetSelection.assets(universe), description="Constituents and tickers."
)

daily_prices_job = dg.define_asset_job(
    "daily_prices",
    dg.AssetSelection.assets(daily_prices) | DERIVED,
    description="One session for the whole universe, then weekly and monthly bars.",
)

price_backfill_job = dg.define_asset_job(
    "price_backfill",
    dg.AssetSelection.assets(price_backfill) | DERIVED,
    tags=AS_BACKFILL,
    description="Histories of any list of tickers, then weekly and monthly bars.",
)

archive_job = dg.define_asset_job(
    "archive",
    dg.AssetSelection.assets(daily_bars_archive),
    description="Closed months to Parquet on S3, read back and committed to Iceberg.",
)
