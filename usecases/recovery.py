"""After a restore: whether database, bucket and the archive's catalogue agree.

Here: what is looked at, each finding with its cure, and the end of permits that outlived their
processes. Not here: Dagster's runs (pipelines/recovery.py), restoring (restoring.py), or reading
the archive back byte by byte (`wrdata archive verify`).

A restore puts the database back to a moment; the bucket stays as it is. So the catalogue may be
behind the bucket's Iceberg tables, and a bucket that was lost may lack what the database names.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from machine.person import user_at_host
from marketdata.archiving import ARCHIVED
from marketdata.recovery import errors
from resources import opening
from resources.settings import Settings
from resources.storage import migrations
from resources.storage.archive.iceberg.catalogue import open_catalogue, require_same_bucket
from resources.storage.archive.maintain.rebuild import ArchiveRebuild
from resources.storage.audit import reinstatement
from resources.storage.ledger.lost_rows import BY_DAY, describe_loss
from resources.storage.object_store import ObjectStore
from resources.storage.recovery.leftovers import Leftovers


class Store(StrEnum):
    """What a finding is about."""

    DATABASE = "database"
    BUCKET = "bucket"
    CATALOGUE = "catalogue"
    DAGSTER = "dagster"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        about: What was compared, in a few words.
        agrees: Whether it is as it should be.
        detail: What was found, in a sentence.
        cure: What to do; empty where it agrees.
    """

    store: Store
    about: str
    agrees: bool
    detail: str
    cure: str = ""


def examine(settings: Settings) -> Iterator[Finding]:
    """Yield a finding for each comparison of database, bucket and catalogue; changes nothing.

    Without the bucket, only what does not need it is looked at.

    Raises:
        StorageError: The database cannot be reached, or refuses.
    """
    schema = _schema(settings)
    yield schema
    if not schema.agrees:
        return
    yield from _rows(settings)
    yield from _audit_log(settings)
    bucket = _bucket(settings)
    yield bucket
    if bucket.agrees:
        yield _answers(settings)
        yield from _catalogue(settings)


def expire_leases(settings: Settings, before: datetime) -> int:
    """End the request permits granted before a moment (aware); return how many.

    Raises:
        StorageError: The database cannot be reached.
    """
    with opening.stores(settings) as stores:
        return Leftovers(stores.timescale).expire_leases(before)


def _schema(settings: Settings) -> Finding:
    about = "schema and this version of the project"
    try:
        known = migrations.status(settings.database_url.get_secret_value())
    except errors.StorageConflictError as error:
        return Finding(
            store=Store.DATABASE, about=about, agrees=False, detail=str(error),
            cure="install the version of the project that ran at the restored moment",
        )  # fmt: skip
    waiting = [migration for migration in known if migration.waits and not migration.contracts]
    if waiting:
        return Finding(
            store=Store.DATABASE, about=about, agrees=False,
            detail=f"the restored database waits for {len(waiting)} migrations",
            cure="wrdata migrate",
        )  # fmt: skip
    return Finding(
        store=Store.DATABASE, about=about, agrees=True, detail=f"{len(known)} migrations applied"
    )


def _rows(settings: Settings) -> Iterator[Finding]:
    with opening.stores(settings) as stores:
        for dataset in BY_DAY:
            lost = stores.lost_rows.find(dataset)
            yield Finding(
                store=Store.DATABASE,
                about=f"rows of {dataset.name} and what was loaded",
                agrees=not lost,
                detail=describe_loss(dataset, lost) if lost else "no row is missing",
                cure="wrdata ledger verify, which has them loaded again" if lost else "",
            )


def _audit_log(settings: Settings) -> Iterator[Finding]:
    journal = opening.journal(settings)
    if journal is None:
        return
    about = "the audit log and its journal"
    try:
        lost = reinstatement.lost_rows(settings.database_url.get_secret_value(), journal)
    except errors.StorageError as error:
        yield Finding(
            store=Store.DATABASE, about=about, agrees=False, detail=str(error),
            cure="docs/runbooks/audit.md",
        )  # fmt: skip
        return
    yield Finding(
        store=Store.DATABASE,
        about=about,
        agrees=not lost,
        detail=f"the journal goes on for {len(lost)} rows" if lost else "they end alike",
        cure="wrdata audit reinstate, as the owner of the tables" if lost else "",
    )


def _bucket(settings: Settings) -> Finding:
    about = "the bucket"
    try:
        ObjectStore(opening.s3_settings(settings)).require_bucket()
    except errors.StorageError as error:
        return Finding(
            store=Store.BUCKET, about=about, agrees=False, detail=str(error),
            cure="docs/runbooks/restore.md, the bucket is lost",
        )  # fmt: skip
    return Finding(store=Store.BUCKET, about=about, agrees=True, detail="it answers")


def _answers(settings: Settings) -> Finding:
    about = "the raw answers of the latest loads"
    objects = ObjectStore(opening.s3_settings(settings))
    with opening.stores(settings) as stores:
        keys = Leftovers(stores.timescale).latest_answers()
    missing = [key for key in keys if not objects.exists(key)]
    if missing:
        return Finding(
            store=Store.BUCKET, about=about, agrees=False,
            detail=f"{len(missing)} of {len(keys)} are not in the bucket, such as {missing[0]}",
            cure=(
                "bring them back from the bucket's versions or copy; without one those answers "
                "cannot be replayed, their rows stay: wrdata recover --accept"
            ),
        )  # fmt: skip
    return Finding(
        store=Store.BUCKET, about=about, agrees=True, detail=f"all {len(keys)} are there"
    )


def _catalogue(settings: Settings) -> Iterator[Finding]:
    s3 = opening.s3_settings(settings)
    with opening.stores(settings) as stores:
        try:
            require_same_bucket(open_catalogue(stores.timescale.url, s3), s3.bucket)
        except errors.StorageConflictError as error:
            yield Finding(
                store=Store.CATALOGUE, about="catalogue and bucket", agrees=False,
                detail=str(error), cure="set WRDATA_ARCHIVE_BUCKET to the archive's bucket",
            )  # fmt: skip
            return
        rebuild = ArchiveRebuild(stores.timescale, ObjectStore(s3), by=user_at_host())
        for name in ARCHIVED:
            yield _catalogued(rebuild, name)


def _catalogued(rebuild: ArchiveRebuild, name: str) -> Finding:
    """Compare the catalogue's entry of a dataset with the newest metadata of the bucket."""
    about = f"archive.{name} in catalogue and bucket"
    try:
        found = rebuild.rebuild(ARCHIVED[name], dry_run=True)
    except (errors.ArchiveMismatchError, errors.StorageConflictError) as error:
        return Finding(
            store=Store.CATALOGUE, about=about, agrees=False, detail=str(error),
            cure=(
                "docs/runbooks/restore.md, the bucket is lost; then "
                f"wrdata archive verify --dataset {name}"
            ),
        )  # fmt: skip
    if found.registered:
        return Finding(
            store=Store.CATALOGUE, about=about, agrees=False,
            detail=f"the catalogue is behind {found.metadata_key}, which the bucket holds",
            cure=f"wrdata archive rebuild --dataset {name}",
        )  # fmt: skip
    there = found.metadata_key
    detail = f"{found.objects} objects, all there" if there else "not archived, in neither"
    return Finding(store=Store.CATALOGUE, about=about, agrees=True, detail=detail)
