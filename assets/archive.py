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
from usecases.archiving import ArchiveBatch, archive_closed_periods
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
            batch = ArchiveBatch(dataset=dataset, outcomes=opened.archive(dataset, periods))
        done = {label: _metadata(outcome) for label, outcome in batch.done.items()}
        if partitions:
            yield from partition_results(context, done, batch.refused)
            return
        _raise_if_any_refused(batch.refused, len(periods))
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
        for batch in archive_closed_periods(opened, config.datasets, *days):
            yield from _reported(batch)
            name = batch.dataset.name
            refused |= {f"{name} {label}": reason for label, reason in batch.refused.items()}
            refused |= {name: batch.error} if batch.error else {}
            done += batch.done.values()
    _raise_if_any_refused(refused, len(refused) + len(done))
    yield dg.MaterializeResult(metadata=_totals(done))


def _reported(batch: ArchiveBatch) -> Iterator[dg.AssetMaterialization]:
    for label, outcome in batch.done.items():
        yield dg.AssetMaterialization(
            archive_key(batch.dataset),
            partition=label if PORTIONS[batch.dataset.portion] else None,
            metadata=_metadata(outcome),
        )


def _raise_if_any_refused(refused: Mapping[str, str], of: int) -> None:
    if refused:
        raise dg.Failure(
            description=f"{len(refused)} of {of} periods were not archived: {sample(refused)}",
            metadata={"failed": failure_table(refused)},
            allow_retries=False,
        )


def _totals(done: Sequence[ArchivedPeriod]) -> Metadata:
    counts = Counter(outcome.status for outcome in done)
    return {
        **{status.value: counts[status] for status in ArchiveStatus},
        "rows": sum(outcome.rows for outcome in done),
    }


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
