"""The Parquet archive of daily bars, one closed month a partition.

Here: the asset. Not here: how a month is written, read back and committed
(resources/storage/archive.py).
"""

from collections.abc import Iterator
from datetime import date
from typing import Any

import dagster as dg

from assets.failures import Metadata, partition_results, told_to_dagster
from assets.partitions import MONTHS
from assets.prices import OWNERS, daily_bars
from assets.schemas import column_schema
from marketdata.bars import ARCHIVED_BARS
from resources.storage.archive import ArchivedMonth, ArchiveStatus
from resources.wiring import Archive


@dg.asset(
    key=["archive", "equities", "daily_bars"],
    deps=[daily_bars],
    partitions_def=MONTHS,
    backfill_policy=dg.BackfillPolicy.single_run(),
    output_required=False,
    group_name="archive",
    owners=OWNERS,
    kinds={"parquet", "iceberg", "s3"},
    metadata={
        "source": "daily_bars",
        "cadence": "monthly",
        "grain": "month",
        "dagster/column_schema": column_schema(ARCHIVED_BARS),
    },
)
def daily_bars_archive(
    context: dg.AssetExecutionContext, archive: Archive
) -> Iterator[dg.AssetMaterialization | dg.MaterializeResult[Any]]:
    """Closed months of daily bars as Parquet in an Apache Iceberg table on S3 or Spaces.

    Source: hypertable `daily_bar`. Cadence: monthly, over all closed months: one that did not
    change uploads nothing, one that was restated is replaced. Destination: Iceberg table
    `archive.daily_bars`; each file is read back from the bucket and compared before its commit.
    """
    months = [date.fromisoformat(key) for key in context.partition_keys]
    with told_to_dagster(), archive.open() as opened:
        archived = opened.archive_months(months)
    refused = {
        one.month.isoformat(): one.reason for one in archived if one.status is ArchiveStatus.REFUSED
    }
    done = {one.month.isoformat(): _metadata(one) for one in archived}
    yield from partition_results(
        context, {key: one for key, one in done.items() if key not in refused}, refused
    )


def _metadata(month: ArchivedMonth) -> Metadata:
    return {
        "status": month.status.value,
        "dagster/partition_row_count": month.rows,
        "bytes": month.bytes,
        "object_key": month.object_key or "none: the month is empty",
        "snapshot_id": str(month.snapshot_id),
        "content_digest": month.content_digest,
    }
