"""The Parquet archive: one asset for each dataset, and one for a run over any of them.

Here: the assets. Not here: how a period is written, read back and committed
(resources/storage/archive), or what a period is (marketdata/archiving.py).
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import dagster as dg
from pydantic import Field

from assets.daily_bars import daily_bars_table
from assets.datasets import OWNERS, by_symbol_key
from assets.failures import Metadata, as_dagster_failure, failure_table, partition_results, sample
from assets.partitions import PORTIONS
from assets.schemas import column_schema
from marketdata.archiving import ARCHIVED, WHOLE, ArchivedDataset, Portion
from marketdata.calendars import HISTORY_START, utc_now
from marketdata.datasets import DATASETS
from resources.storage.archive import ArchivedPeriod, ArchiveStatus
from resources.wiring import Archive
from usecases.archiving import ArchiveOutcome, archive_closed_periods
from usecases.requested_days import requested_days

GRAINS = {Portion.MONTH: "month", Portion.YEAR: "year", Portion.WHOLE: "all of it"}
ARCHIVED_ARE = {
    Portion.MONTH: "Closed months of",
    Portion.YEAR: "Years, each with its closed months, of",
    Portion.WHOLE: "All rows of",
}
"""Beginning of each description: the part of a dataset that is archived."""


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
            periods = (
                [dataset.named(key, today) for key in context.partition_keys]
                if partitions
                else dataset.closed_periods(HISTORY_START, today)
            )
            outcome = ArchiveOutcome(dataset=dataset, periods=opened.archive(dataset, periods))
        done = {label: _metadata(period) for label, period in outcome.done.items()}
        if partitions:
            yield from partition_results(context, done, outcome.refused)
            return
        _raise_if_any_refused(outcome.refused, len(periods))
        yield dg.MaterializeResult(metadata=done[WHOLE])

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
        days = requested_days(config.start, config.end)
        for outcome in archive_closed_periods(opened, config.datasets, *days):
            yield from _reported(outcome)
            refused |= outcome.refused
            done += outcome.done.values()
    _raise_if_any_refused(refused, len(refused) + len(done))
    yield dg.MaterializeResult(metadata=_totals(done))


def _reported(outcome: ArchiveOutcome) -> Iterator[dg.AssetMaterialization]:
    for label, period in outcome.done.items():
        yield dg.AssetMaterialization(
            archive_key(outcome.dataset),
            partition=label if PORTIONS[outcome.dataset.portion] else None,
            metadata=_metadata(period),
        )


def _raise_if_any_refused(refused: Mapping[str, str], of: int) -> None:
    if refused:
        raise dg.Failure(
            description=f"{len(refused)} of {of} periods were not archived: {sample(refused)}",
            metadata={"failed": failure_table(refused)},
            allow_retries=False,
        )


def _totals(done: Sequence[ArchivedPeriod]) -> Metadata:
    counts = Counter(period.status for period in done)
    return {
        **{status.value: counts[status] for status in ArchiveStatus},
        "rows": sum(period.rows for period in done),
    }


def _metadata(period: ArchivedPeriod) -> Metadata:
    whole = period.period.label == WHOLE
    return {
        "status": period.status.value,
        "rows": period.rows,
        "dagster/row_count" if whole else "dagster/partition_row_count": period.rows,
        "bytes": period.bytes,
        "files": dg.MetadataValue.json(
            list(period.logged.proof.object_keys) if period.logged else []
        ),
        "snapshot_id": str(period.logged.snapshot_id)
        if period.logged
        else "none: there are no rows",
        "content_digest": period.logged.proof.content_digest if period.logged else "",
        **({"reason": period.reason} if period.reason else {}),
    }
