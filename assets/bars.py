"""Weekly and monthly bars, rolled up from daily bars.

Here: one asset for each interval. Not here: how a roll-up is refreshed (resources/storage), or
the daily bars (prices.py).
"""

import time
from typing import Any

import dagster as dg

from assets.failures import told_to_dagster
from assets.prices import AFTER_LOADS, daily_bars
from assets.schemas import column_schema
from marketdata.bars import ROLLED_UP_BARS, Interval
from resources.wiring import Database

GROUP = "equity_bars"


def _bars_asset(interval: Interval, description: str) -> dg.AssetsDefinition:
    @dg.asset(
        key=["published", "equities", f"bars_{interval}"],
        deps=[daily_bars],
        group_name=GROUP,
        owners=["team:market-data"],
        kinds={"timescaledb"},
        automation_condition=AFTER_LOADS,
        description=description,
        metadata={
            "grain": "instrument and bucket",
            "cadence": "after each load",
            "dagster/table_name": f"public.bars_{interval}",
            "dagster/column_schema": column_schema(ROLLED_UP_BARS),
        },
    )
    def bars(database: Database) -> dg.MaterializeResult[Any]:
        began = time.monotonic()
        with told_to_dagster(), database.open() as stores:
            refreshed = stores.rollups.refresh(interval)
        return dg.MaterializeResult(
            metadata={
                "dagster/row_count": refreshed.rows,
                "buckets_refreshed": refreshed.buckets,
                "instruments_refreshed": refreshed.instruments,
                "seconds": round(time.monotonic() - began, 3),
            }
        )

    return bars


bars_1w = _bars_asset(
    Interval.WEEK,
    "Weekly bars by ISO week, named by its Monday. Source: daily_bars; only the weeks that a "
    "load touched are computed again. Destination: view `bars_1w`.",
)
bars_1mo = _bars_asset(
    Interval.MONTH,
    "Monthly bars, named by the month's first day. Source: daily_bars; only the months that a "
    "load touched are computed again. Destination: view `bars_1mo`.",
)
