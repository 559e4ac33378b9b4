"""Jobs: which assets run together.

Here: named selections, for schedules, the command line and the UI. Not here: when they run
(schedules.py), or what an asset does (assets/).
"""

from collections.abc import Mapping

import dagster as dg
from dagster import define_asset_job  # pyright: ignore[reportUnknownVariableType] Dagster leaves a part of its type open

from assets.adjusted import price_factors
from assets.archive import ARCHIVES, closed_periods
from assets.archive_upkeep import archive_upkeep
from assets.bars import LOADS_MINUTES, bars_of_days, bars_of_minutes
from assets.checks import AGGREGATE_CHECKS, ARCHIVE_CHECKS, LOADED_CHECKS
from assets.daily_bars import daily_bars_table
from assets.database_upkeep import database_upkeep
from assets.datasets import BY_SESSION, REFRESHES, by_symbol_key
from assets.restore_drill import restore_drill
from assets.retention import retention
from assets.universe import universe
from marketdata.archiving import ARCHIVED, Portion
from marketdata.batches import DAILY_BARS_DATASET
from marketdata.datasets import DATASETS, Dataset, Domain
from marketdata.recovery.limits import Lane
from pipelines.dagster_internals import UnresolvedAssetJobDefinition
from resources.wiring import LANE_TAG

DERIVED = dg.AssetSelection.assets(daily_bars_table, bars_of_days, price_factors)
"""Assets refreshed after every load of daily bars, in the same run."""

# Without their checks, which recompute a sample of all bars: too much for every hour.
INTRADAY = dg.AssetSelection.assets(bars_of_minutes).without_checks()
"""Assets refreshed after every load of minute bars, in the same run."""

AS_BACKFILL = {LANE_TAG: Lane.BACKFILL.value}
"""Tags of backfills: schedules go first in the request budget, and keep one run slot."""

universe_job = define_asset_job(
    "universe", dg.AssetSelection.assets(universe), description="Constituents and tickers."
)

derived_job = define_asset_job(
    "derived",
    DERIVED | INTRADAY,
    description="Factors and aggregates, refreshed without a load.",
)

aggregate_verification_job = define_asset_job(
    "aggregate_verification",
    dg.AssetSelection.checks(*AGGREGATE_CHECKS, *LOADED_CHECKS),
    description="A random sample of aggregates compared with a recomputation, and their sources "
    "with what was loaded.",
)

archive_job = define_asset_job(
    "archive",
    dg.AssetSelection.assets(closed_periods),
    description="Closed periods to Parquet on S3, read back and committed to Iceberg.",
)

ARCHIVE_JOBS = {
    portion: define_asset_job(
        f"archive_by_{portion.value}",
        dg.AssetSelection.assets(
            *(ARCHIVES[name] for name, dataset in ARCHIVED.items() if dataset.portion is portion)
        ).without_checks(),
        tags=AS_BACKFILL,
        description="Closed periods by partition: what the UI's backfill dialog starts, again.",
    )
    for portion in (Portion.YEAR, Portion.MONTH)
}

archive_verification_job = define_asset_job(
    "archive_verification",
    dg.AssetSelection.checks(*ARCHIVE_CHECKS),
    description="Everything archived is read back and compared with the database or its proof.",
)

archive_upkeep_job = define_asset_job(
    "archive_upkeep",
    dg.AssetSelection.assets(archive_upkeep),
    description="Outdated files rewritten, old snapshots forgotten, orphaned objects removed.",
)

retention_job = define_asset_job(
    "retention",
    dg.AssetSelection.assets(retention),
    description="Rows older than WRDATA_RETENTION are dropped, if proven to be archived.",
)

database_upkeep_job = define_asset_job(
    "database_upkeep",
    dg.AssetSelection.assets(database_upkeep),
    description="Dagster's old events and runs removed, sizes of all that grows measured.",
)

restore_drill_job = define_asset_job(
    "restore_drill",
    dg.AssetSelection.assets(restore_drill),
    description="The newest backup restored on trial and compared with production.",
)


def _of_domain(domain: Domain) -> tuple[str, ...]:
    return tuple(name for name, dataset in DATASETS.items() if dataset.domain is domain)


ACTIONS = _of_domain(Domain.CORPORATE_ACTIONS)
"""Datasets from which factors are derived, in the run that loads them."""


def _with_derived(dataset: Dataset, selection: dg.AssetSelection) -> dg.AssetSelection:
    """Add the assets derived from a dataset's rows."""
    if dataset.name == DAILY_BARS_DATASET:
        return selection | DERIVED
    if dataset.name in LOADS_MINUTES:
        return selection | INTRADAY
    return (
        selection | dg.AssetSelection.assets(price_factors)
        if dataset.name in ACTIONS
        else selection
    )


def _dataset_job(dataset: Dataset) -> UnresolvedAssetJobDefinition:
    return define_asset_job(
        dataset.name,
        _with_derived(dataset, dg.AssetSelection.assets(REFRESHES[dataset.name])),
        tags=AS_BACKFILL,
        description=f"{dataset.about} Any list of symbols.",
    )


def _domain_job(
    domain: Domain, about: str, *derived: dg.AssetsDefinition
) -> UnresolvedAssetJobDefinition:
    """Return the job that loads a domain's datasets, and refreshes what is derived from them."""
    chosen = [*(REFRESHES[name] for name in _of_domain(domain)), *derived]
    return define_asset_job(domain.value, dg.AssetSelection.assets(*chosen), description=about)


DATASET_JOBS = {name: _dataset_job(dataset) for name, dataset in DATASETS.items()}
"""One job for each dataset, for the command line and dead letters, by the dataset's name."""

BY_SYMBOL_JOBS = {
    name: define_asset_job(
        f"{name}_by_symbol",
        _with_derived(dataset, dg.AssetSelection.assets(by_symbol_key(dataset))),
        tags=AS_BACKFILL,
        description=f"{dataset.about} By partition: what the UI's backfill dialog starts, again.",
    )
    for name, dataset in DATASETS.items()
}

BY_SESSION_JOBS = {
    name: define_asset_job(
        f"{name}_by_session",
        _with_derived(DATASETS[name], dg.AssetSelection.assets(asset)),
        description=f"{DATASETS[name].about} Whole sessions of the universe.",
    )
    for name, asset in BY_SESSION.items()
}
"""One job for each dataset that serves whole sessions, by the dataset's name."""

fundamentals_job = _domain_job(
    Domain.FUNDAMENTALS, "Statements and ratios of every member, annual and quarterly."
)
reference_job = _domain_job(Domain.REFERENCE, "Companies, and who joined and left the index.")
corporate_actions_job = _domain_job(
    Domain.CORPORATE_ACTIONS,
    "Splits and dividends of the whole market, then factors of their instruments.",
    price_factors,
)

ALL = (
    universe_job,
    derived_job,
    aggregate_verification_job,
    archive_job,
    *ARCHIVE_JOBS.values(),
    archive_verification_job,
    archive_upkeep_job,
    retention_job,
    database_upkeep_job,
    restore_drill_job,
    *DATASET_JOBS.values(),
    *BY_SYMBOL_JOBS.values(),
    *BY_SESSION_JOBS.values(),
    fundamentals_job,
    reference_job,
    corporate_actions_job,
)
"""Every job; the work of a dead letter may be any of them."""

OF_LOADER: Mapping[dg.AssetKey, str] = {
    universe.key: universe_job.name,
    closed_periods.key: archive_job.name,
    archive_upkeep.key: archive_upkeep_job.name,
    retention.key: retention_job.name,
    database_upkeep.key: database_upkeep_job.name,
    restore_drill.key: restore_drill_job.name,
    **{
        ARCHIVES[name].key: (ARCHIVE_JOBS.get(dataset.portion) or archive_job).name
        for name, dataset in ARCHIVED.items()
    },
    **{REFRESHES[name].key: name for name in DATASETS},
    **{by_symbol_key(dataset): BY_SYMBOL_JOBS[name].name for name, dataset in DATASETS.items()},
    **{BY_SESSION[name].key: job.name for name, job in BY_SESSION_JOBS.items()},
}
"""The job that repeats an asset's work, by the asset's key."""
