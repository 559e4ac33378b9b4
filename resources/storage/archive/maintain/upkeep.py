"""Removes what the archive no longer needs: old snapshots and orphaned objects.

Here: expiring snapshots, and removing orphaned objects. Not here: rewriting files that are still
needed (compaction.py), a lost catalogue (rebuild.py), or when this runs (assets/archive_upkeep.py).

Expiring changes only metadata (pyiceberg deletes no file): objects that only an expired snapshot
named become orphans. A snapshot's properties carry the proofs of the files it committed. When it
expires, the proofs of files that are still in use move to the properties of the table.
"""

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from pyiceberg.table import StaticTable, Table
from pyiceberg.table.update.snapshot import ExpireSnapshots

from marketdata.archiving import ARCHIVED, ArchivedDataset
from marketdata.audit import Action
from marketdata.recovery import errors
from resources.storage.archive.iceberg.catalogue import (
    CommitLostError,
    open_catalogue,
    require_same_bucket,
    translated,
)
from resources.storage.archive.iceberg.commit_lock import removing
from resources.storage.archive.iceberg.metadata_files import (
    ahead_of,
    require_current,
    require_not_behind,
)
from resources.storage.archive.iceberg.referenced_files import referenced_by
from resources.storage.archive.iceberg.table import ArchiveTable
from resources.storage.archive.maintain.compaction import CompactedPeriod, compact
from resources.storage.archive.prove.expired_proofs import as_table_property, expired_proofs_in
from resources.storage.archive.prove.proofs import ArchiveLog, CommittedProof
from resources.storage.audit import AuditLog, Deed
from resources.storage.object_store import ObjectStore, StoredObject
from resources.storage.timescale import Timescale

SNAPSHOTS_STAY_FOR = timedelta(days=30)
KEYS_AUDITED = 100
"""Most keys of removed objects that the audit log names."""
ORPHANS_STAY_FOR = timedelta(hours=24)
"""A younger object may belong to a writer that has not committed yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpiredSnapshots:
    """Snapshots of one dataset that are expired, or would be.

    Attributes:
        kept: Number of remaining snapshots.
        moved: Labels of the periods whose proofs move to the properties of the table.
    """

    dataset: str
    snapshot_ids: tuple[int, ...]
    kept: int
    moved: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Orphans:
    """Objects of one dataset that are removed, or would be.

    Attributes:
        ahead: Keys of metadata one commit ahead of the catalogue. Either their writer died before
            it updated the catalogue, or the catalogue went back by one commit. This cannot be
            decided, so they stay with all objects that they name.
    """

    dataset: str
    objects: tuple[StoredObject, ...]
    ahead: tuple[str, ...] = ()

    @property
    def bytes(self) -> int:
        """Return their total size."""
        return sum(stored.bytes for stored in self.objects)


class ArchiveUpkeep:
    """Removes what the archive no longer needs, one dataset at a time.

    Args:
        timescale: An open Timescale whose database is migrated.
        store: The bucket of the files.
        by: Who does it, for the audit log. What is done here is no transaction of the database,
            so it is recorded right after.
    """

    def __init__(self, timescale: Timescale, store: ObjectStore, *, by: str) -> None:
        self._timescale = timescale
        self._by = by
        self._audit_log = AuditLog(timescale)
        self._store = store
        self._bucket = store.settings.bucket
        self._catalogue = open_catalogue(timescale.url, store.settings)
        self._log = ArchiveLog(timescale)

    def datasets(self) -> list[ArchivedDataset]:
        """Return the datasets in the catalogue.

        Raises:
            StorageConflictError: The catalogue names another bucket, or one of the two refuses.
            StorageUnavailableError: Catalogue or bucket cannot be reached.
        """
        self._store.require_bucket()
        require_same_bucket(self._catalogue, self._bucket)
        return [dataset for dataset in ARCHIVED.values() if self._table(dataset).load() is not None]

    def expire(
        self, dataset: ArchivedDataset, before: datetime, *, dry_run: bool = False
    ) -> ExpiredSnapshots:
        """Expire the snapshots that are older than ``before`` (aware), except the current one.

        Raises:
            StorageConflictError: The catalogue does not know the dataset.
            ArchiveMismatchError: The catalogue went back in time.
            StorageUnavailableError: Catalogue or bucket cannot be reached, or another writer
                committed at this moment.
        """
        archive_table = self._table(dataset)
        require_current(self._store, archive_table)
        state = archive_table.state()
        table = self._known(dataset, state.table)
        # The heads of branches and tags stay: the current snapshot is the head of "main".
        referenced = {reference.snapshot_id for reference in table.metadata.refs.values()}
        expired = [
            snapshot.snapshot_id
            for snapshot in table.metadata.snapshots
            if snapshot.timestamp_ms < before.timestamp() * 1000
            and snapshot.snapshot_id not in referenced
        ]
        kept = len(table.metadata.snapshots) - len(expired)
        live = {
            frozenset(archive_table.key_of(file) for file in files)
            for files in state.files.values()
        }
        moving = [
            committed
            for keys, committed in archive_table.carried_proofs(state).items()
            if keys in live and committed.snapshot_id in expired
        ]
        if expired and not dry_run:
            outdated = [
                name
                for name, committed in expired_proofs_in(table.properties).items()
                if frozenset(committed.proof.object_keys) not in live
            ]
            self._expire(table, expired, moving, outdated)
            self._audit(
                Action.SNAPSHOTS_EXPIRED,
                dataset,
                snapshot_ids=[str(snapshot_id) for snapshot_id in expired],
                before=before.isoformat(),
            )
        return ExpiredSnapshots(
            dataset=dataset.name,
            snapshot_ids=tuple(expired),
            kept=kept,
            moved=tuple(sorted(committed.proof.period.label for committed in moving)),
        )

    def remove_orphans(
        self, dataset: ArchivedDataset, before: datetime, *, dry_run: bool = False
    ) -> Orphans:
        """Remove the objects that no snapshot names and that are older than ``before`` (aware).

        Raises:
            StorageConflictError: The catalogue does not know the dataset.
            ArchiveMismatchError: Catalogue and bucket contradict each other, and nothing was
                removed: the catalogue went back in time, a proof names an orphan, or an orphan is
                the metadata of another table with rows.
            StorageUnavailableError: A run is writing to the dataset, or catalogue or bucket
                cannot be reached.
        """
        with removing(self._timescale.url, dataset.name):
            # Listed before the table is read, so that objects committed in between are not orphans.
            folder = f"iceberg/archive/{dataset.name}/"
            listed = list(self._store.list(folder))
            table = self._known(dataset, self._table(dataset).load())
            ahead = ahead_of(table, self._store, (stored.key for stored in listed))
            require_not_behind(table, dataset.name, ahead)
            prefix = f"s3://{self._bucket}/"
            with translated(f"archive.{dataset.name}", self._bucket):
                named = referenced_by(table)
                for key in ahead:
                    named |= referenced_by(
                        StaticTable.from_metadata(prefix + key, self._catalogue.properties)
                    )
            orphans = [
                stored
                for stored in listed
                if stored.modified_at < before and prefix + stored.key not in named
            ]
            self._require_consistent(dataset, table, orphans)
            if orphans and not dry_run:
                self._remove(dataset, orphans)
        return Orphans(dataset=dataset.name, objects=tuple(orphans), ahead=tuple(ahead))

    def compact(self, dataset: ArchivedDataset, *, dry_run: bool = False) -> list[CompactedPeriod]:
        """Rewrite periods with too many or outdated files (see compaction.py)."""
        require_current(self._store, self._table(dataset))
        compacted = compact(self._timescale, self._store, dataset, dry_run=dry_run)
        if compacted and not dry_run:
            labels = [period.before.period.label for period in compacted]
            self._audit(Action.PERIODS_COMPACTED, dataset, periods=labels)
        return compacted

    def _remove(self, dataset: ArchivedDataset, orphans: Sequence[StoredObject]) -> None:
        removed: list[StoredObject] = []
        try:
            for orphan in orphans:
                self._store.delete(orphan.key)
                removed.append(orphan)
        finally:
            # A bucket that fails half-way has lost the objects before that all the same.
            if removed:
                self._audit(
                    Action.ORPHANS_REMOVED,
                    dataset,
                    objects=len(removed),
                    bytes=sum(stored.bytes for stored in removed),
                    keys=[stored.key for stored in removed[:KEYS_AUDITED]],
                )

    def _audit(self, action: Action, dataset: ArchivedDataset, **details: object) -> None:
        self._audit_log.append(
            Deed(action=action, who=self._by, subject=f"archive.{dataset.name}", details=details)
        )

    def _expire(
        self,
        table: Table,
        expired: list[int],
        moving: Collection[CommittedProof],
        outdated: Sequence[str],
    ) -> None:
        """Remove snapshots from the metadata and keep their proofs, in one commit."""
        name = ".".join(table.name())
        try:
            with translated(name, self._bucket), table.transaction() as transaction:
                transaction.remove_properties(*outdated)
                transaction.set_properties(
                    dict(as_table_property(committed) for committed in moving)
                )
                ExpireSnapshots(transaction).by_ids(expired).commit()
        except CommitLostError as error:
            message = f"another writer committed to {name} at this moment: expire again"
            raise errors.StorageUnavailableError(message) from error

    def _require_consistent(
        self, dataset: ArchivedDataset, table: Table, orphans: Sequence[StoredObject]
    ) -> None:
        """Refuse to remove objects that the log or another table counts as archived."""
        cure = (
            "nothing was removed. If the catalogue was lost and begun anew: delete the row of "
            f"archive.{dataset.name} from iceberg_catalog.iceberg_tables, then wrdata archive "
            f"rebuild --dataset {dataset.name}"
        )
        proven = {
            key
            for logged in self._log.valid(dataset.name).values()
            for key in logged.proof.object_keys
        }
        for orphan in orphans:
            if orphan.key in proven:
                message = (
                    f"archive_log proves {orphan.key}, which the catalogue does not name; {cure}"
                )
                raise errors.ArchiveMismatchError(message)
            if orphan.key.endswith(".metadata.json"):
                metadata = json.loads(self._store.get(orphan.key).content)
                is_other = metadata["table-uuid"] != str(table.metadata.table_uuid)
                # If two first runs create the table at once, only one is registered; the other has
                # no rows.
                if is_other and metadata.get("snapshots"):
                    message = f"{orphan.key} is of another table than the catalogue names; {cure}"
                    raise errors.ArchiveMismatchError(message)

    def _known(self, dataset: ArchivedDataset, table: Table | None) -> Table:
        if table is None:
            message = (
                f"the catalogue does not know archive.{dataset.name}; if it is on the bucket: "
                f"wrdata archive rebuild --dataset {dataset.name}"
            )
            raise errors.StorageConflictError(message)
        return table

    def _table(self, dataset: ArchivedDataset) -> ArchiveTable:
        return ArchiveTable(self._catalogue, self._bucket, dataset)
