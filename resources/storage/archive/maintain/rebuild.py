"""Rebuilds the catalogue from the bucket when it has lost a table, or went back in time.

Here: the newest metadata of a table, whether all its files exist, its registration, and the log of
proofs. Not here: orphaned objects (upkeep.py), or rows (../restore).

The bucket has everything: each commit wrote a metadata file with its own number, and the table's
snapshots carry the proofs. Only the newest file has to be found. Two files have the same number if
two writers raced; the loser's commit does not count.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from pyiceberg.catalog.sql import IcebergTables
from pyiceberg.table import StaticTable, Table
from sqlalchemy import update

from marketdata.archiving import ArchivedDataset
from marketdata.audit import Action
from marketdata.recovery import errors
from resources.storage import sql
from resources.storage.archive.iceberg.catalogue import (
    CATALOG,
    NAMESPACE,
    open_catalogue,
    require_same_bucket,
    translated,
)
from resources.storage.archive.iceberg.metadata_files import (
    ahead_of,
    newest_metadata,
    number_of,
    require_not_behind,
)
from resources.storage.archive.iceberg.referenced_files import data_files, referenced_by
from resources.storage.archive.iceberg.table import ArchiveTable
from resources.storage.archive.prove.proofs import ArchiveLog
from resources.storage.archive.write.archive import Archive
from resources.storage.audit import AuditLog, Deed
from resources.storage.object_store import ObjectStore
from resources.storage.timescale import Timescale


@dataclass(frozen=True, slots=True, kw_only=True)
class RebuiltTable:
    """A table that is registered again, or would be.

    Attributes:
        metadata_key: Key of its newest metadata file; empty if there is none.
        registered: Whether the catalogue lacked the table or was behind. False if it already
            names this file.
        snapshots: Number of snapshots in the metadata.
        objects: Number of objects that these name; all exist.
        periods: Archived periods, by their proofs; empty in a dry run.
    """

    dataset: str
    metadata_key: str = ""
    registered: bool = False
    snapshots: int = 0
    objects: int = 0
    periods: tuple[str, ...] = ()


class ArchiveRebuild:
    """Registers tables from their metadata on the bucket, or moves the catalogue forward to it.

    Args:
        timescale: An open Timescale whose database is migrated.
        store: The bucket of the files.
        by: Who rebuilds, for the audit log.
    """

    def __init__(self, timescale: Timescale, store: ObjectStore, *, by: str) -> None:
        self._timescale = timescale
        self._by = by
        self._store = store
        self._bucket = store.settings.bucket
        self._catalogue = open_catalogue(timescale.url, store.settings)

    def rebuild(
        self, dataset: ArchivedDataset, *, metadata_key: str = "", dry_run: bool = False
    ) -> RebuiltTable:
        """Register ``archive.<dataset>`` from the newest metadata; fill the log of proofs.

        Args:
            dataset: The dataset of the table.
            metadata_key: A person's choice of the metadata file, if several claim to be the
                newest, or if the log proves files that the newest does not name.
            dry_run: Check everything, and change nothing.

        Raises:
            StorageConflictError: The catalogue names other metadata that is not older, several
                files claim to be the newest, or the bucket refuses.
            ArchiveMismatchError: An object that the metadata names is missing or has another
                size, a file has no proof, the log proves files that the metadata does not name,
                or the bucket holds later metadata than the chosen file.
            StorageUnavailableError: Catalogue or bucket cannot be reached.
        """
        self._store.require_bucket()
        require_same_bucket(self._catalogue, self._bucket)
        catalogued = ArchiveTable(self._catalogue, self._bucket, dataset).load()
        key = metadata_key or self._newest(dataset)
        if not key:
            return RebuiltTable(dataset=dataset.name)
        location = f"s3://{self._bucket}/{key}"
        lacked = catalogued is None or catalogued.metadata_location != location
        with translated(f"archive.{dataset.name}", self._bucket):
            table = StaticTable.from_metadata(location, self._catalogue.properties)
            if catalogued is not None and lacked:
                _require_behind(dataset, catalogued, table)
            self._require_last(dataset, table)
            objects = self._require_whole(dataset, table)
            if not metadata_key:
                self._require_logged(dataset, table)
        if lacked and not dry_run:
            self._register(dataset, catalogued, location)
            AuditLog(self._timescale).append(
                Deed(
                    action=Action.TABLE_REBUILT,
                    who=self._by,
                    subject=f"archive.{dataset.name}",
                    details={
                        "metadata": key,
                        "before": catalogued.metadata_location if catalogued else None,
                    },
                )
            )
        proofs = {} if dry_run else Archive(self._timescale, self._store).proofs(dataset)
        return RebuiltTable(
            dataset=dataset.name,
            metadata_key=key,
            registered=lacked,
            snapshots=len(table.metadata.snapshots),
            objects=objects,
            periods=tuple(proofs),
        )

    def _register(self, dataset: ArchivedDataset, catalogued: Table | None, location: str) -> None:
        """Register ``location`` in the catalogue, replacing the present entry."""
        name = f"{NAMESPACE}.{dataset.name}"
        with translated(name, self._bucket):
            if catalogued is None:
                self._catalogue.create_namespace_if_not_exists(NAMESPACE)
                self._catalogue.register_table(name, location)
                return
            moved = (
                update(IcebergTables)
                .where(
                    IcebergTables.catalog_name == CATALOG,
                    IcebergTables.table_namespace == NAMESPACE,
                    IcebergTables.table_name == dataset.name,
                    IcebergTables.metadata_location == catalogued.metadata_location,
                )
                .values(
                    metadata_location=location,
                    previous_metadata_location=catalogued.metadata_location,
                )
            )
            with self._catalogue.engine.begin() as connection:
                rows = connection.execute(moved).rowcount
        if not rows:
            message = f"another writer committed to {name} at this moment: rebuild again"
            raise errors.StorageUnavailableError(message)

    def _newest(self, dataset: ArchivedDataset) -> str:
        """Return the key of the newest metadata file; empty if there is none."""
        _, newest = newest_metadata(self._store, dataset.name)
        if len(newest) > 1:
            newest = self._committed(dataset, newest)
        return newest[0] if newest else ""

    def _committed(self, dataset: ArchivedDataset, claimants: Sequence[str]) -> list[str]:
        """Return the one of ``claimants`` whose current snapshot is in the log of proofs."""
        with self._timescale.connection() as connection:
            rows = connection.execute(
                sql.query("archive_upkeep", "logged_snapshots"), {"dataset": dataset.name}
            ).fetchall()
        logged = {row[0] for row in rows}
        committed = [
            key
            for key in claimants
            if json.loads(self._store.get(key).content).get("current-snapshot-id") in logged
        ]
        if len(committed) != 1:
            message = (
                f"{len(claimants)} metadata files of archive.{dataset.name} claim to be the newest "
                f"and archive_log does not tell: {', '.join(claimants)}; choose one of them with "
                "--metadata"
            )
            raise errors.StorageConflictError(message)
        return committed

    def _require_last(self, dataset: ArchivedDataset, table: Table) -> None:
        """Refuse metadata if the bucket holds later commits of the same table."""
        listed = self._store.list(f"iceberg/archive/{dataset.name}/metadata/")
        ahead = ahead_of(table, self._store, (stored.key for stored in listed))
        require_not_behind(table, dataset.name, ahead)

    def _require_logged(self, dataset: ArchivedDataset, table: Table) -> None:
        """Refuse metadata that lacks files of the log: newer metadata is gone."""
        named = set(data_files(table))
        for label, logged in ArchiveLog(self._timescale).valid(dataset.name).items():
            for key in logged.proof.object_keys:
                if f"s3://{self._bucket}/{key}" not in named:
                    message = (
                        f"archive_log proves {key} of {label}, which {table.metadata_location} "
                        "does not name: newer metadata seems to be gone from the bucket. Restore "
                        "it from a backup or an older version of the object; or, to take this "
                        "one all the same, name it with --metadata; nothing was registered"
                    )
                    raise errors.ArchiveMismatchError(message)

    def _require_whole(self, dataset: ArchivedDataset, table: Table) -> int:
        """Check that every object named by the metadata exists; return their number."""
        prefix = f"s3://{self._bucket}/"
        sizes = {
            prefix + stored.key: stored.bytes
            for stored in self._store.list(f"iceberg/archive/{dataset.name}/")
        }
        history = {entry.metadata_file for entry in table.metadata.metadata_log}
        # Older metadata files are only history: no snapshot needs them.
        needed = referenced_by(table) - history
        if missing := sorted(needed - set(sizes)):
            message = (
                f"{table.metadata_location} names {missing[0]}, which is not there (and "
                f"{len(missing) - 1} more): restore it from a backup or an older version of the "
                "object; nothing was registered"
            )
            raise errors.ArchiveMismatchError(message)
        for location, file in data_files(table).items():
            if sizes[location] != file.file_size_in_bytes:
                message = (
                    f"{location} has {sizes[location]} bytes and was archived with "
                    f"{file.file_size_in_bytes}: restore it from a backup; nothing was registered"
                )
                raise errors.ArchiveMismatchError(message)
        return len(needed)


def _require_behind(dataset: ArchivedDataset, catalogued: Table, newer: Table) -> None:
    """Refuse to replace the catalogue's entry, except by a later commit of the same table."""
    is_same = catalogued.metadata.table_uuid == newer.metadata.table_uuid
    if is_same and number_of(newer.metadata_location) > number_of(catalogued.metadata_location):
        return
    message = (
        f"the catalogue has archive.{dataset.name}, at {catalogued.metadata_location}, which is "
        f"not behind {newer.metadata_location}; to register that, delete the table's row from "
        "iceberg_catalog.iceberg_tables first"
    )
    raise errors.StorageConflictError(message)
