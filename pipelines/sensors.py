"""Sensors: runs that an event starts, not the clock.

Here: which assets follow what was loaded. Not here: the conditions themselves, which stand on
the assets, or schedules (schedules.py).
https://docs.dagster.io/guides/automate/sensors
"""

import dagster as dg

derived_after_loads = dg.AutomationConditionSensorDefinition(
    "derived_after_loads",
    target=dg.AssetSelection.groups("equity_prices", "equity_bars"),
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Table and roll-ups, after a backfill that they were not part of.",
)
