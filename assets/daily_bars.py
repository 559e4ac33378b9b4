"""The table of daily bars as it stands after every load.

Here: the asset that measures the table; the table's checks are on it. Not here: the loads
(datasets.py), or what is derived from the bars (bars.py, adjusted.py, archive.py).
"""

from typing import Any

import dagster as dg

from assets.datasets import (
    AFTER_LOADS,
    BY_SESSION,
    OWNERS,
    REFRESHES,
    by_symbol_key,
    dataset_metadata,
)
from assets.failures import as_dagster_failure
from marketdata.batches import DAILY_BARS_DATASET
from marketdata.datasets import DATASETS
from resources.wiring import Database
from usecases.dataset_coverage import daily_bar_figures

_DAILY_BARS = DATASETS[DAILY_BARS_DATASET]


@dg.asset(
    key=["curated", _DAILY_BARS.domain.value, "daily_bars_table"],
    deps=[
        BY_SESSION[DAILY_BARS_DATASET],
        by_symbol_key(_DAILY_BARS),
        REFRESHES[DAILY_BARS_DATASET],
    ],
    group_name=_DAILY_BARS.domain.value,
    owners=OWNERS,
    kinds={"timescaledb"},
    automation_condition=AFTER_LOADS,
    metadata=dataset_metadata(_DAILY_BARS, cadence="after each load"),
)
def daily_bars_table(database: Database) -> dg.MaterializeResult[Any]:
    """The hypertable `daily_bar` as it stands after every load, with its checks.

    Source: the rows that loads of daily bars have stored. Cadence: after each load. Destination:
    none; this asset measures rows, restatements and coverage.
    """
    with as_dagster_failure(), database.open() as stores:
        figures = daily_bar_figures(stores)
        return dg.MaterializeResult(metadata={"dagster/row_count": figures["rows"], **figures})
