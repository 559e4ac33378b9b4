"""The table of daily bars as it stands after every load.

Here: the asset that measures the table and carries its checks. Not here: the loads (datasets.py),
or what is derived from the bars (bars.py, adjusted.py, archive.py).
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
from assets.failures import told_to_dagster
from marketdata.batches import DAILY_BARS_DATASET
from marketdata.coverage import percent_held
from marketdata.datasets import DATASETS
from resources.opening import Stores
from resources.settings import provider_of
from resources.wiring import Database
from usecases.dataset_coverage import expected_days
from usecases.instruments import UNIVERSE

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

    Source: what the loads of daily bars have stored. Cadence: after each of them. Destination:
    none; this asset measures rows, restatements and coverage.
    """
    with told_to_dagster(), database.open() as stores:
        figures = table_figures(stores)
        return dg.MaterializeResult(metadata={"dagster/row_count": figures["rows"], **figures})


def table_figures(stores: Stores) -> dict[str, int | float | str]:
    """Return the figures of the whole table, and what the ledger knows of who serves it."""
    totals = stores.quality.totals()
    sessions = expected_days(_DAILY_BARS, {})
    provider = provider_of(DAILY_BARS_DATASET)
    members = [member.instrument_id for member in stores.instruments.members(UNIVERSE)]
    summary = stores.coverage.summary(DAILY_BARS_DATASET, provider, members, sessions)
    holes = stores.coverage.holes(DAILY_BARS_DATASET, provider, members, sessions)
    return {
        "universe_members": len(members),
        "rows": totals.rows,
        "instruments": totals.instruments,
        "restated_versions": totals.versions,
        "first_session": str(totals.first_session or ""),
        "last_session": str(totals.last_session or ""),
        "coverage_percent": percent_held(summary.sessions, unknown=summary.unknown),
        **{f"sessions_{state.value}": count for state, count in summary.sessions.items()},
        "sessions_missing": holes.count,
        "sessions_never_asked_for": summary.unknown,
    }
