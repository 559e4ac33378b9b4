"""The archive's upkeep: small files joined, old snapshots forgotten, orphaned objects removed.

Here: the asset. Not here: how (resources/storage/archive), or when (pipelines/schedules.py).
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import dagster as dg

from assets.archive import closed_periods
from assets.datasets import OWNERS
from assets.failures import Metadata, as_dagster_failure, failure_table, sample
from marketdata.archiving import ArchivedDataset
from marketdata.calendars import utc_now
from marketdata.recovery import errors
from resources.storage.archive.maintain.upkeep import (
    ORPHANS_STAY_FOR,
    SNAPSHOTS_STAY_FOR,
    ArchiveUpkeep,
)
from resources.wiring import Archive


@dataclass(frozen=True, slots=True, kw_only=True)
class _Upkept:
    """What was done for one dataset.

    Attributes:
        metadata_ahead: Metadata files one commit ahead of the catalogue, which stay.
    """

    dataset: str
    periods_compacted: int
    snapshots_expired: int
    snapshots_kept: int
    objects_removed: int
    bytes_removed: int
    metadata_ahead: int


@dg.asset(
    key=["archive", "upkeep"],
    deps=[closed_periods],
    group_name="archive",
    owners=OWNERS,
    kinds={"iceberg", "s3"},
    metadata={"source": "every Iceberg table", "cadence": "weekly", "grain": "run"},
)
def archive_upkeep(
    context: dg.AssetExecutionContext, archive: Archive
) -> Iterator[dg.MaterializeResult[Any]]:
    """Rewrites outdated files, forgets snapshots older than 30 days, removes orphaned objects.

    Source: the Iceberg tables. Cadence: weekly. Grain: one run. Destination: the same tables and
    their bucket. A dataset that is damaged, or that a run is writing to, does not stop the others.
    """
    done: list[_Upkept] = []
    failed: dict[str, str] = {}
    by = f"run {context.run.run_id}"
    with as_dagster_failure(), archive.upkeep(by=by) as upkeep:
        for dataset in upkeep.datasets():
            try:
                done.append(_upkept(upkeep, dataset))
            except errors.StorageError as error:
                failed[dataset.name] = str(error)
    if failed:
        raise dg.Failure(
            description=f"{len(failed)} of {len(failed) + len(done)} datasets: {sample(failed)}",
            metadata={"failed": failure_table(failed), "done": _table(done)},
            allow_retries=False,
        )
    yield dg.MaterializeResult(metadata={**_totals(done), "datasets": _table(done)})


def _totals(done: list[_Upkept]) -> Metadata:
    return {
        "periods_compacted": sum(upkept.periods_compacted for upkept in done),
        "snapshots_expired": sum(upkept.snapshots_expired for upkept in done),
        "objects_removed": sum(upkept.objects_removed for upkept in done),
        "bytes_removed": sum(upkept.bytes_removed for upkept in done),
    }


def _upkept(upkeep: ArchiveUpkeep, dataset: ArchivedDataset) -> _Upkept:
    compacted = upkeep.compact(dataset)
    expired = upkeep.expire(dataset, utc_now() - SNAPSHOTS_STAY_FOR)
    orphans = upkeep.remove_orphans(dataset, utc_now() - ORPHANS_STAY_FOR)
    return _Upkept(
        dataset=dataset.name,
        periods_compacted=len(compacted),
        snapshots_expired=len(expired.snapshot_ids),
        snapshots_kept=expired.kept,
        objects_removed=len(orphans.objects),
        bytes_removed=orphans.bytes,
        metadata_ahead=len(orphans.ahead),
    )


def _table(done: list[_Upkept]) -> dg.TableMetadataValue:
    return dg.MetadataValue.table(
        records=[dg.TableRecord(asdict(upkept)) for upkept in done],
        schema=dg.TableSchema(
            columns=[
                dg.TableColumn("dataset", "string"),
                dg.TableColumn("periods_compacted", "int"),
                dg.TableColumn("snapshots_expired", "int"),
                dg.TableColumn("snapshots_kept", "int"),
                dg.TableColumn("objects_removed", "int"),
                dg.TableColumn("bytes_removed", "int"),
                dg.TableColumn("metadata_ahead", "int"),
            ]
        ),
    )
