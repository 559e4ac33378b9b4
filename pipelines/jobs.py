"""Jobs: which assets run together.

Here: named selections, for schedules, the command line and the UI. Not here: when they run
(schedules.py), or what an asset does (assets/).
"""

from collections.abc import Mapping, Sequence

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import (
    UnresolvedAssetJobDefinition,
)

from assets.adjusted import price_factors
from assets.archive import daily_bars_archive
from assets.bars import bars_1mo, bars_1w
from assets.datasets import REFRESHES, by_subject_key
from assets.prices import daily_bars, daily_prices, price_backfill, price_history
from assets.universe import universe
from marketdata.datasets import DATASETS, Dataset, Domain
from marketdata.recovery.limits import Lane
from resources.wiring import LANE_TAG

DERIVED = dg.AssetSelection.assets(daily_bars, bars_1w, bars_1mo, price_factors)
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

price_history_job = dg.define_asset_job(
    "price_history",
    dg.AssetSelection.assets(price_history) | DERIVED,
    tags=AS_BACKFILL,
    description="Histories by ticker partition: what the UI's backfill dialog starts, again.",
)

derived_job = dg.define_asset_job(
    "derived", DERIVED, description="Table and roll-ups, brought up to date by themselves."
)

archive_job = dg.define_asset_job(
    "archive",
    dg.AssetSelection.assets(daily_bars_archive),
    description="Closed months to Parquet on S3, read back and committed to Iceberg.",
)


ACTIONS = ("splits", "dividends")
"""Datasets from which factors are derived, in the run that loads them."""


def _dataset_job(dataset: Dataset) -> UnresolvedAssetJobDefinition:
    derived = [price_factors] if dataset.name in ACTIONS else []
    return dg.define_asset_job(
        dataset.name,
        dg.AssetSelection.assets(REFRESHES[dataset.name], *derived),
        tags=AS_BACKFILL,
        description=f"{dataset.about} Any list of subjects.",
    )


def _domain_job(name: str, datasets: Sequence[str], about: str) -> UnresolvedAssetJobDefinition:
    chosen = [REFRESHES[one] for one in datasets]
    return dg.define_asset_job(name, dg.AssetSelection.assets(*chosen), description=about)


DATASET_JOBS = {name: _dataset_job(one) for name, one in DATASETS.items()}
"""One job a dataset, for the command line and for dead letters, by the dataset's name."""

BY_SUBJECT_JOBS = {
    name: dg.define_asset_job(
        f"{name}_by_subject",
        dg.AssetSelection.assets(by_subject_key(one)),
        tags=AS_BACKFILL,
        description=f"{one.about} By partition: what the UI's backfill dialog starts, again.",
    )
    for name, one in DATASETS.items()
}

fundamentals_job = _domain_job(
    "fundamentals",
    [one.name for one in DATASETS.values() if one.domain is Domain.FUNDAMENTALS],
    "Statements and ratios of every member, annual and quarterly.",
)
reference_job = _domain_job(
    "reference", ["companies", "index_changes"], "Companies, and who joined and left the index."
)
corporate_actions_job = dg.define_asset_job(
    "corporate_actions",
    dg.AssetSelection.assets(*(REFRESHES[name] for name in ACTIONS), price_factors),
    description="Splits and dividends of the whole market, then factors of those they concern.",
)

ALL = (
    universe_job,
    daily_prices_job,
    price_history_job,
    price_backfill_job,
    derived_job,
    archive_job,
    *DATASET_JOBS.values(),
    *BY_SUBJECT_JOBS.values(),
    fundamentals_job,
    reference_job,
    corporate_actions_job,
)
"""Every job; the work of a dead letter may be any of them."""

OF_LOADER: Mapping[dg.AssetKey, str] = {
    universe.key: universe_job.name,
    daily_prices.key: daily_prices_job.name,
    price_history.key: price_history_job.name,
    price_backfill.key: price_backfill_job.name,
    daily_bars_archive.key: archive_job.name,
    **{REFRESHES[name].key: name for name in DATASETS},
    **{by_subject_key(one): BY_SUBJECT_JOBS[name].name for name, one in DATASETS.items()},
}
"""The job that does again what an asset does, by the asset's key."""
