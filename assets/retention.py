"""Rows that leave the database once the archive is proven to hold them.

Here: the asset and its check. Not here: the proofs (resources/storage/archive/retain), or
how long rows stay (WRDATA_RETENTION).
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any

import dagster as dg
from pydantic import Field

from assets.archive import closed_periods
from assets.datasets import OWNERS
from assets.failures import Metadata, as_dagster_failure, failure_table, sample
from marketdata.archiving import archived_dataset
from resources.storage.archive.retain.outcomes import RetainedPeriod, RetentionStatus
from resources.wiring import Archive

EVERYTHING_DUE_LEFT = "everything_due_left"
NO_AGES = "no dataset has an age in WRDATA_RETENTION, so nothing is ever due"


class RetentionRunConfig(dg.Config):
    """The datasets of a retention run; the launchpad shows each field's description."""

    datasets: list[str] = Field(
        default=[], description="Names of datasets; empty means all that have an age."
    )
    dry_run: bool = Field(
        default=False, description="Show what would be dropped, and change nothing."
    )


@dg.asset(
    key=["archive", "retention"],
    deps=[closed_periods],
    group_name="archive",
    owners=OWNERS,
    kinds={"timescaledb"},
    check_specs=[
        dg.AssetCheckSpec(
            EVERYTHING_DUE_LEFT,
            asset=["archive", "retention"],
            description=(
                "Every period older than WRDATA_RETENTION was dropped, or a dry run found that it "
                "can be. Warns with what is missing for each period that stays."
            ),
        )
    ],
    metadata={"source": "the archive's proofs", "cadence": "weekly", "grain": "run"},
)
def retention(
    context: dg.AssetExecutionContext, config: RetentionRunConfig, archive: Archive
) -> Iterator[dg.MaterializeResult[Any]]:
    """Drops closed periods older than WRDATA_RETENTION from the database.

    Source: the archive's proofs. Cadence: weekly. Grain: one run. Destination: table
    `archive_tombstone`. A period is dropped if its files, read back from the bucket, hold the rows
    of the locked table, and its aggregates equal a recomputation; otherwise it stays, and the
    check says what is missing.
    """
    with as_dagster_failure(), archive.retention() as opened:
        ages = opened.ages
        for name in config.datasets:
            archived_dataset(name)
        if config.dry_run:
            periods = opened.plan(config.datasets)
        else:
            periods = opened.run(config.datasets, by=f"run {context.run.run_id}")
    yield dg.MaterializeResult(
        metadata={
            **_totals(periods),
            "dry_run": config.dry_run,
            "ages": " ".join(f"{name}={age.days}d" for name, age in ages.items()) or NO_AGES,
            "periods": _table(periods),
        },
        check_results=[_verdict(periods, ages)],
    )


def _totals(periods: Sequence[RetainedPeriod]) -> Metadata:
    counts = Counter(period.status for period in periods)
    dropped = [period for period in periods if period.status is RetentionStatus.DROPPED]
    return {
        **{status.value: counts[status] for status in RetentionStatus},
        "rows_dropped": sum(period.rows for period in dropped),
        "chunks_dropped": sum(period.chunks for period in dropped),
    }


def _table(periods: Sequence[RetainedPeriod]) -> dg.TableMetadataValue:
    return dg.MetadataValue.table(
        records=[
            dg.TableRecord(
                {
                    "dataset": period.dataset,
                    "period": period.label,
                    "status": period.status.value,
                    "rows": period.rows,
                    "late": period.late,
                    "missing": period.description,
                }
            )
            for period in periods
        ],
        schema=dg.TableSchema(
            columns=[
                dg.TableColumn("dataset", "string"),
                dg.TableColumn("period", "string"),
                dg.TableColumn("status", "string"),
                dg.TableColumn("rows", "int"),
                dg.TableColumn("late", "bool"),
                dg.TableColumn("missing", "string"),
            ]
        ),
    )


def _verdict(
    periods: Sequence[RetainedPeriod], ages: Mapping[str, timedelta]
) -> dg.AssetCheckResult:
    refused = {
        f"{period.dataset} {period.label}": period.description
        for period in periods
        if period.status is RetentionStatus.REFUSED
    }
    return dg.AssetCheckResult(
        check_name=EVERYTHING_DUE_LEFT,
        passed=not refused,
        severity=dg.AssetCheckSeverity.WARN,
        description=(
            f"{len(refused)} of {len(periods)} periods stay: {sample(refused)}"
            if refused
            else "nothing that was due had to stay"
            if ages
            else NO_AGES
        ),
        metadata={"refused": failure_table(refused)},
    )
