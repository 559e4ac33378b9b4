"""wrdata archive expire, orphans, compact and rebuild: the archive's own upkeep.

Here: the commands. Not here: what they may remove or register (resources/storage/archive).
"""

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Annotated, Any

import typer

from marketdata.archiving import ARCHIVED, ArchivedDataset
from marketdata.calendars import utc_now
from marketdata.recovery import errors
from pipelines.cli import console, environment
from pipelines.cli.archive_options import Json, Names, nothing_archived
from resources import opening
from resources.settings import read_settings
from resources.storage.archive.maintain.compaction import CompactedPeriod
from resources.storage.archive.maintain.rebuild import RebuiltTable
from resources.storage.archive.maintain.upkeep import (
    ORPHANS_STAY_FOR,
    SNAPSHOTS_STAY_FOR,
    ArchiveUpkeep,
    ExpiredSnapshots,
    Orphans,
)

DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would happen, change nothing.")]


def expire(
    dataset: Names = None,
    days: Annotated[int, typer.Option(help="Snapshots younger than this stay.", min=0)] = (
        SNAPSHOTS_STAY_FOR.days
    ),
    *,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Forget old snapshots; the current one stays, and no file is deleted."""
    before = utc_now() - timedelta(days=days)
    with _upkeep(dataset) as (upkeep, chosen):
        rows = [_expired(upkeep.expire(one, before, dry_run=dry_run), json) for one in chosen]
    _show(rows, json, otherwise=nothing_archived(dataset))


def orphans(
    dataset: Names = None,
    hours: Annotated[
        int, typer.Option(help="Objects younger than this stay; 0 while nobody writes.", min=0)
    ] = int(ORPHANS_STAY_FOR / timedelta(hours=1)),
    *,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Remove objects that no snapshot names.

    Metadata ahead of the catalogue, by one commit, stays with all that it names: if it should
    count, wrdata archive rebuild.
    """
    before = utc_now() - timedelta(hours=hours)
    with _upkeep(dataset) as (upkeep, chosen):
        rows = [
            _orphaned(upkeep.remove_orphans(one, before, dry_run=dry_run), json) for one in chosen
        ]
    _show(rows, json, otherwise=nothing_archived(dataset))


def compact(dataset: Names = None, *, dry_run: DryRun = False, json: Json = False) -> None:
    """Rewrite files that are too many, or from before a column; their rows stay what they are."""
    with _upkeep(dataset) as (upkeep, chosen):
        rows = [_compacted(row) for one in chosen for row in upkeep.compact(one, dry_run=dry_run)]
    _show(rows, json, otherwise="no period has files that are too many or outdated")


def rebuild(
    dataset: Names = None,
    metadata: Annotated[
        str,
        typer.Option(
            help="Key of the metadata file, where several claim to be the newest, or none names "
            "all that the log proves."
        ),
    ] = "",
    *,
    dry_run: DryRun = False,
    json: Json = False,
) -> int:
    """Register tables again that the catalogue lost, from the bucket, and fill the log of proofs.

    A catalogue that went back in time is moved forward. Status 1 if one of them could not be
    registered.
    """
    chosen = [ARCHIVED[name] for name in dataset or ARCHIVED]
    if metadata and len(chosen) != 1:
        message = "--metadata is about one table: name it with --dataset"
        raise errors.ArgumentError(message)
    _enter()
    refused: list[str] = []
    rows: list[dict[str, Any]] = []
    with opening.archive_rebuild(read_settings()) as rebuilding:
        for one in chosen:
            try:
                rebuilt = rebuilding.rebuild(one, metadata_key=metadata, dry_run=dry_run)
                rows.append(_rebuilt(rebuilt, json))
            except (errors.ArchiveMismatchError, errors.StorageConflictError) as error:
                refused.append(str(error))
    found = [one for one in rows if json or one["metadata"]]
    _show(found, json, otherwise="" if refused else "the bucket holds no table of the archive")
    for reason in refused:
        console.fail(reason)
    return 1 if refused else 0


@contextmanager
def _upkeep(
    names: Sequence[str] | None,
) -> Generator[tuple[ArchiveUpkeep, list[ArchivedDataset]]]:
    """Open the upkeep; yield it with the datasets it is for: those named, or all that are there."""
    chosen = [ARCHIVED[name] for name in names or ()]
    _enter()
    with opening.archive_upkeep(read_settings()) as upkeep:
        known = upkeep.datasets()
        yield upkeep, chosen or known


def _enter() -> None:
    around = environment.surroundings(writes=False)
    environment.enter(around, start=True, report=console.say)
    environment.require_schema(around)


def _show(rows: Sequence[Mapping[str, Any]], json: bool, *, otherwise: str) -> None:
    """Print ``rows``; for a person the sentence ``otherwise`` where there are none."""
    if json:
        console.print_json(rows)
    elif rows:
        console.print_table("", rows)
    elif otherwise:
        console.say(otherwise)


def _expired(one: ExpiredSnapshots, json: bool) -> dict[str, Any]:
    return {
        "dataset": one.dataset,
        "snapshots_expired": [str(each) for each in one.snapshot_ids]
        if json
        else len(one.snapshot_ids),
        "snapshots_kept": one.kept,
        "proofs_moved": list(one.moved) if json else len(one.moved),
    }


def _orphaned(one: Orphans, json: bool) -> dict[str, Any]:
    return {
        "dataset": one.dataset,
        "objects": [each.key for each in one.objects] if json else len(one.objects),
        "bytes": one.bytes,
        "metadata_ahead": list(one.ahead) if json else len(one.ahead),
    }


def _compacted(one: CompactedPeriod) -> dict[str, Any]:
    return {
        "dataset": one.before.dataset,
        "period": one.before.period.label,
        "because": one.reason,
        "files_before": len(one.before.files),
        "bytes_before": one.before.bytes,
        "files_after": len(one.after.files) if one.after else None,
        "bytes_after": one.after.bytes if one.after else None,
    }


def _rebuilt(one: RebuiltTable, json: bool) -> dict[str, Any]:
    return {
        "dataset": one.dataset,
        "metadata": one.metadata_key,
        "registered": one.registered if json else "yes" if one.registered else "was there",
        "snapshots": one.snapshots,
        "objects": one.objects,
        "periods": list(one.periods) if json else len(one.periods),
    }
