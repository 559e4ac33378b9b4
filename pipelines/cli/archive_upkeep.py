"""wrdata archive expire, orphans, compact and rebuild: upkeep of the archive.

Here: the commands. Not here: what they may remove or register (resources/storage/archive).
"""

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Annotated, Any

import typer

from machine.person import user_at_host
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

DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would happen, change nothing.")]


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
        rows = [_expired(upkeep.expire(entry, before, dry_run=dry_run), json) for entry in chosen]
    _show(rows, json, otherwise=nothing_archived(dataset))


def orphans(
    dataset: Names = None,
    hours: Annotated[
        int, typer.Option(help="Objects younger than this stay; 0 only if no run writes.", min=0)
    ] = int(ORPHANS_STAY_FOR / timedelta(hours=1)),
    *,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Remove objects that no snapshot names.

    Metadata that is one commit ahead of the catalogue stays, with all that it names. To make it
    current: wrdata archive rebuild.
    """
    before = utc_now() - timedelta(hours=hours)
    with _upkeep(dataset) as (upkeep, chosen):
        rows = [
            _orphaned(upkeep.remove_orphans(entry, before, dry_run=dry_run), json)
            for entry in chosen
        ]
    _show(rows, json, otherwise=nothing_archived(dataset))


def compact(dataset: Names = None, *, dry_run: DryRun = False, json: Json = False) -> None:
    """Rewrite periods of too many files, or files that lack a column; rows stay the same."""
    with _upkeep(dataset) as (upkeep, chosen):
        rows = [
            _compacted(row) for entry in chosen for row in upkeep.compact(entry, dry_run=dry_run)
        ]
    _show(rows, json, otherwise="no period has too many files, or outdated ones")


def rebuild(
    dataset: Names = None,
    metadata: Annotated[
        str,
        typer.Option(
            help="Key of the metadata file to take, where several could be the newest, or none "
            "names all that the log proves."
        ),
    ] = "",
    *,
    dry_run: DryRun = False,
    json: Json = False,
) -> int:
    """Register tables that the catalogue lost, from the bucket, and fill the log of proofs.

    An outdated catalogue is moved forward. Status 1 if a table could not be registered.
    """
    chosen = [ARCHIVED[name] for name in dataset or ARCHIVED]
    if metadata and len(chosen) != 1:
        message = "--metadata is about one table: name it with --dataset"
        raise errors.ArgumentError(message)
    _enter()
    refused: list[str] = []
    rows: list[dict[str, Any]] = []
    with opening.archive_rebuild(read_settings(), by=user_at_host()) as rebuilding:
        for entry in chosen:
            try:
                rebuilt = rebuilding.rebuild(entry, metadata_key=metadata, dry_run=dry_run)
                rows.append(_rebuilt(rebuilt, json))
            except (errors.ArchiveMismatchError, errors.StorageConflictError) as error:
                refused.append(str(error))
    shown = [row for row in rows if json or row["metadata"]]
    _show(shown, json, otherwise="" if refused else "the bucket holds no table of the archive")
    for reason in refused:
        console.fail(reason)
    return 1 if refused else 0


@contextmanager
def _upkeep(
    names: Sequence[str] | None,
) -> Generator[tuple[ArchiveUpkeep, list[ArchivedDataset]]]:
    """Open the upkeep; yield it with the named datasets, or with all archived ones."""
    chosen = [ARCHIVED[name] for name in names or ()]
    _enter()
    with opening.archive_upkeep(read_settings(), by=user_at_host()) as upkeep:
        existing = upkeep.datasets()
        yield upkeep, chosen or existing


def _enter() -> None:
    surroundings = environment.surroundings(writes=False)
    environment.enter(surroundings, start=True, report=console.say)
    environment.require_schema(surroundings)


def _show(rows: Sequence[Mapping[str, Any]], json: bool, *, otherwise: str) -> None:
    """Print ``rows``; where there are none and no ``json`` is asked for, print ``otherwise``."""
    if json:
        console.print_json(rows)
    elif rows:
        console.print_table("", rows)
    elif otherwise:
        console.say(otherwise)


def _expired(expired: ExpiredSnapshots, json: bool) -> dict[str, Any]:
    return {
        "dataset": expired.dataset,
        "snapshots_expired": [str(snapshot_id) for snapshot_id in expired.snapshot_ids]
        if json
        else len(expired.snapshot_ids),
        "snapshots_kept": expired.kept,
        "proofs_moved": list(expired.moved) if json else len(expired.moved),
    }


def _orphaned(removed: Orphans, json: bool) -> dict[str, Any]:
    return {
        "dataset": removed.dataset,
        "objects": [orphan.key for orphan in removed.objects] if json else len(removed.objects),
        "bytes": removed.bytes,
        "metadata_ahead": list(removed.ahead) if json else len(removed.ahead),
    }


def _compacted(period: CompactedPeriod) -> dict[str, Any]:
    return {
        "dataset": period.before.dataset,
        "period": period.before.period.label,
        "because": period.reason,
        "files_before": len(period.before.files),
        "bytes_before": period.before.bytes,
        "files_after": len(period.after.files) if period.after else None,
        "bytes_after": period.after.bytes if period.after else None,
    }


def _rebuilt(table: RebuiltTable, json: bool) -> dict[str, Any]:
    return {
        "dataset": table.dataset,
        "metadata": table.metadata_key,
        "registered": table.registered if json else "yes" if table.registered else "was there",
        "snapshots": table.snapshots,
        "objects": table.objects,
        "periods": list(table.periods) if json else len(table.periods),
    }
