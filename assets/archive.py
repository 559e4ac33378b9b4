"""The Parquet archive: one asset for each dataset, and one for a run over any of them.

Here: the assets. Not here: how a period is written, read back and committed
(resources/storage/archive), or what a period is (marketdata/archiving.py).
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import date
from typing import Any

import dagster as dg
from pydantic import Field

from assets.daily_bars import daily_bars_table
from assets.datasets import OWNERS, by_symbol_key
from assets.failures import Metadata, as_dagster_failure, failure_table, partition_results, sample
from assets.partitions import PORTIONS
from assets.schemas import column_schema
from marketdata.archiving import (
    ARCHIVED,
    WHOLE,
    ArchivedDataset,
    Period,
    Portion,
    archived_dataset,
)
from marketdata.calendars import HISTORY_START, utc_now
from marketdata.datasets import DATASETS
from marketdata.recovery import errors
from resources.storage.archive import Archive as OpenedArchive
from resources.storage.archive import ArchivedPeriod, ArchiveStatus
from resources.wiring import Archive
from usecases.requested_days import requested_days

GRAINS = {Portion.MONTH: "month", Portion.YEAR: "year", Portion.WHOLE: "all of it"}
ARCHIVED_ARE = {
    Portion.MONTH: "Closed months of",
    Portion.YEAR: "Years, each with its closed months, of",
    Portion.WHOLE: "All rows of",
}
"""Beginning of each description: the part of a dataset that is archived."""


PERIODS_A_COMMIT = 24
"""Daily bars are one commit, and ten years of months a few."""


class ArchiveRunConfig(dg.Config):
    """The datasets and days of an archive run; the launchpad shows each field's description."""

    datasets: list[str] = Field(default=[], description="Names of datasets; empty means all.")
    start: str = Field(
        default="",
        description="First day (ISO date): periods that hold it or a later day; empty means from "
        "the beginning.",
    )
    end: str = Field(default="", description="Last day; empty means the last closed month.")


def archive_key(dataset: ArchivedDataset) -> dg.AssetKey:
    """Return the key of a dataset's archive."""
    return dg.AssetKey(["archive", dataset.domain.value, dataset.name])


def _archive(dataset: ArchivedDataset) -> dg.AssetsDefinition:
    partitions = PORTIONS[dataset.portion]

    @dg.asset(
        key=archive_key(dataset),
        deps=[by_symbol_key(DATASETS[dataset.name])],
        partitions_def=partitions,
        backfill_policy=dg.BackfillPolicy.single_run() if partitions else None,
        output_required=False,
        group_name="archive",
        owners=OWNERS,
        kinds={"parquet", "iceberg", "s3"},
        description=(
            f"{ARCHIVED_ARE[dataset.portion]} {dataset.name} as Parquet in an Apache Iceberg table "
            f"on S3 or Spaces. Source: table `{dataset.table}`. Cadence: monthly, over all of it: "
            "unchanged periods upload nothing, restated ones are replaced. Grain: "
            f"{', '.join(dataset.order)}; proven and replaced by {GRAINS[dataset.portion]}. "
            f"Destination: Iceberg table `archive.{dataset.name}`; each file is read back from "
            "the bucket and compared before its commit."
        ),
        metadata={
            "source": dataset.table,
            "cadence": "monthly",
            "grain": GRAINS[dataset.portion],
            "dagster/column_schema": column_schema(dataset.schema),
        },
    )
    def asset(
        context: dg.AssetExecutionContext, archive: Archive
    ) -> Iterator[dg.AssetMaterialization | dg.MaterializeResult[Any]]:
        today = utc_now().date()
        with as_dagster_failure(), archive.open() as opened:
            if not partitions:
                (outcome,) = opened.archive(dataset, dataset.closed_periods(HISTORY_START, today))
                _raise_if_any_refused(
                    {dataset.name: outcome.reason} if _is_refused(outcome) else {}, 1
                )
                yield dg.MaterializeResult(metadata=_metadata(outcome))
                return
            periods = [dataset.named(key, today) for key in context.partition_keys]
            outcomes = opened.archive(dataset, periods)
        yield from partition_results(
            context,
            {
                outcome.period.label: _metadata(outcome)
                for outcome in outcomes
                if not _is_refused(outcome)
            },
            {outcome.period.label: outcome.reason for outcome in outcomes if _is_refused(outcome)},
        )

    return asset


ARCHIVES = {name: _archive(dataset) for name, dataset in ARCHIVED.items()}
"""The archive of each dataset, by its name."""


@dg.asset(
    key=["archive", "closed_periods"],
    deps=[daily_bars_table],
    group_name="archive",
    owners=OWNERS,
    kinds={"parquet", "iceberg", "s3"},
    metadata={"source": "every dataset", "cadence": "monthly", "grain": "run"},
)
def closed_periods(
    config: ArchiveRunConfig, archive: Archive
) -> Iterator[dg.AssetMaterialization | dg.MaterializeResult[Any]]:
    """One run over closed periods of any datasets; each is reported on its own archive.

    Source: every dataset's table. Cadence: monthly, over all closed periods. Grain: one run.
    Destination: the Iceberg tables. A dataset whose archive is damaged, or whose commit is refused,
    does not stop the others.
    """
    refused: dict[str, str] = {}
    done: list[ArchivedPeriod] = []
    with as_dagster_failure(), archive.open() as opened:
        for name in config.datasets or ARCHIVED:
            dataset = archived_dataset(name)
            try:
                for bundle in _bundles(periods_with_rows(opened, dataset, config)):
                    outcomes = opened.archive(dataset, bundle)
                    refused |= {
                        f"{name} {outcome.period.label}": outcome.reason
                        for outcome in outcomes
                        if _is_refused(outcome)
                    }
                    done += [outcome for outcome in outcomes if not _is_refused(outcome)]
                    yield from _reported(dataset, outcomes)
            except (errors.ArchiveMismatchError, errors.StorageConflictError) as error:
                refused[name] = str(error)
    _raise_if_any_refused(refused, len(refused) + len(done))
    counts = Counter(outcome.status.value for outcome in done)
    yield dg.MaterializeResult(
        metadata={
            **{status.value: counts[status.value] for status in ArchiveStatus},
            "rows": sum(outcome.rows for outcome in done),
        }
    )


def requested_periods(dataset: ArchivedDataset, config: ArchiveRunConfig) -> list[Period]:
    """Return the closed periods of a dataset that a run asks for.

    Empty if no closed month lies between its days, whatever the dataset's portion.

    Raises:
        ConfigurationError: The run's days cannot be read, or are reversed.
    """
    first, last = requested_days(config.start, config.end)
    start, end = first or HISTORY_START, last or date.max
    today = utc_now().date()
    if start > end or start >= today.replace(day=1):
        return []
    return [period for period in dataset.closed_periods(start, today) if period.start <= end]


def periods_with_rows(
    opened: OpenedArchive, dataset: ArchivedDataset, config: ArchiveRunConfig
) -> list[Period]:
    """Return the requested periods; without a first day, those from the first row on.

    Empty months before the first row are not reported.
    """
    if config.start or dataset.portion is Portion.WHOLE:
        return requested_periods(dataset, config)
    first = opened.first_day(dataset)
    return [period for period in requested_periods(dataset, config) if first and period.end > first]


def _bundles(periods: Sequence[Period]) -> Iterator[Sequence[Period]]:
    """Cut periods into commits: a crash costs at most one commit."""
    for start in range(0, len(periods), PERIODS_A_COMMIT):
        yield periods[start : start + PERIODS_A_COMMIT]


def _reported(
    dataset: ArchivedDataset, outcomes: Sequence[ArchivedPeriod]
) -> Iterator[dg.AssetMaterialization]:
    for outcome in outcomes:
        if not _is_refused(outcome):
            yield dg.AssetMaterialization(
                archive_key(dataset),
                partition=outcome.period.label if PORTIONS[dataset.portion] else None,
                metadata=_metadata(outcome),
            )


def _raise_if_any_refused(refused: dict[str, str], of: int) -> None:
    if refused:
        raise dg.Failure(
            description=f"{len(refused)} of {of} periods were not archived: {sample(refused)}",
            metadata={"failed": failure_table(refused)},
            allow_retries=False,
        )


def _is_refused(outcome: ArchivedPeriod) -> bool:
    return outcome.status is ArchiveStatus.REFUSED


def _metadata(outcome: ArchivedPeriod) -> Metadata:
    whole = outcome.period.label == WHOLE
    return {
        "status": outcome.status.value,
        "rows": outcome.rows,
        "dagster/row_count" if whole else "dagster/partition_row_count": outcome.rows,
        "bytes": outcome.bytes,
        "files": dg.MetadataValue.json(
            list(outcome.logged.proof.object_keys) if outcome.logged else []
        ),
        "snapshot_id": str(outcome.logged.snapshot_id)
        if outcome.logged
        else "none: there are no rows",
        "content_digest": outcome.logged.proof.content_digest if outcome.logged else "",
        **({"reason": outcome.reason} if outcome.reason else {}),
    }
