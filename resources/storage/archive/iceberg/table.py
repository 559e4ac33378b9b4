"""The Apache Iceberg table of one archived dataset: its shape, its files, its commits.

Here: the table, which files hold which period, and one atomic commit. Not here: the catalogue
(catalogue.py), making and proving files (../write/files.py), or the log (../prove).
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import pyarrow as pa
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.io.pyarrow import parquet_files_to_data_files
from pyiceberg.manifest import DataFile
from pyiceberg.partitioning import UNPARTITIONED_PARTITION_SPEC, PartitionField, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.table import Table, Transaction
from pyiceberg.table.name_mapping import create_mapping_from_schema
from pyiceberg.table.sorting import SortField, SortOrder
from pyiceberg.transforms import IdentityTransform, MonthTransform, YearTransform
from pyiceberg.types import (
    BooleanType,
    DateType,
    DecimalType,
    DoubleType,
    IcebergType,
    IntegerType,
    LongType,
    NestedField,
    StringType,
    TimestamptzType,
)
from sqlalchemy import exc as sqlalchemy_errors

from marketdata.archiving import ArchivedDataset, Portion, is_within
from marketdata.recovery import errors
from marketdata.rows import AMOUNT, INSTANT
from resources.storage.archive.iceberg.catalogue import NAMESPACE, CommitLostError, translated
from resources.storage.archive.prove.expired_proofs import expired_proofs_in
from resources.storage.archive.prove.proofs import (
    CORRELATION_PROPERTY,
    CommittedProof,
    PeriodProof,
    proofs_in,
)
from resources.telemetry import context

_TYPES: Mapping[pa.DataType, IcebergType] = {
    pa.bool_(): BooleanType(),
    pa.int32(): IntegerType(),
    pa.int64(): LongType(),
    pa.float64(): DoubleType(),
    pa.string(): StringType(),
    pa.date32(): DateType(),
    AMOUNT: DecimalType(38, 18),
    INSTANT: TimestamptzType(),
}
_FIRST_PARTITION_FIELD = 1000
"""Set by Iceberg's specification."""


def folder_of(dataset: str) -> str:
    """Return the prefix of a dataset's keys, before the period's label and the file's name."""
    return f"iceberg/archive/{dataset}/data"


@dataclass(frozen=True, slots=True, kw_only=True)
class TableState:
    """The table at one snapshot; a commit built on it fails if another commit came in between.

    Attributes:
        table: None if nothing was ever archived.
        files: The data files of each archived period, by its label.
    """

    table: Table | None
    files: Mapping[str, Sequence[DataFile]]


class ArchiveTable:
    """The Iceberg table ``archive.<dataset>``; its first commit creates it.

    Args:
        catalogue: The archive's catalogue.
        bucket: The bucket of the files.
        dataset: The archived dataset.
    """

    def __init__(self, catalogue: SqlCatalog, bucket: str, dataset: ArchivedDataset) -> None:
        self._catalogue = catalogue
        self._bucket = bucket
        self.dataset = dataset
        self.name = f"{NAMESPACE}.{dataset.name}"

    def load(self) -> Table | None:
        """Return the present table for use with pyiceberg; None if there is none.

        Raises:
            StorageUnavailableError: Catalogue or bucket cannot be reached.
            StorageConflictError: The bucket refuses the keys.
        """
        with translated(self.name, self._bucket):
            if not self._catalogue.table_exists(self.name):
                return None
            return self._catalogue.load_table(self.name)

    def state(self) -> TableState:
        """Read the present state of the table.

        Raises:
            StorageUnavailableError: Catalogue or bucket cannot be reached.
            StorageConflictError: The bucket refuses the keys.
            ArchiveMismatchError: The table holds a file that this project did not write.
        """
        table = self.load()
        files: dict[str, list[DataFile]] = {}
        with translated(self.name, self._bucket):
            snapshot = table.current_snapshot() if table else None
            if table and snapshot:
                for manifest in snapshot.manifests(table.io):
                    for entry in manifest.fetch_manifest_entry(table.io, discard_deleted=True):
                        label = self._label(entry.data_file)
                        files.setdefault(label, []).append(entry.data_file)
        return TableState(table=table, files=files)

    def key_of(self, file: DataFile) -> str:
        """Return a data file's key within the bucket."""
        return file.file_path.removeprefix(f"s3://{self._bucket}/")

    def commit(self, state: TableState, proofs: Sequence[PeriodProof]) -> int:
        """Replace all files of the same days by proven files, in one commit.

        Columns that the table lacks are added by the same commit; no file is rewritten for them.

        Returns:
            The id of the snapshot, whose properties carry the proofs, and the correlation id of
            the work at hand.

        Raises:
            CommitLostError: The table is no longer in ``state``.
        """
        labels = [proof.period.label for proof in proofs]
        replaced = [
            file
            for label, files in state.files.items()
            if any(is_within(label, new) or is_within(new, label) for new in labels)
            for file in files
        ]
        paths = (f"s3://{self._bucket}/{key}" for proof in proofs for key in proof.object_keys)
        carried = dict(proof.as_property() for proof in proofs)
        if followed_by := context.correlation_id():
            carried[CORRELATION_PROPERTY] = followed_by
        with translated(self.name, self._bucket):
            table = state.table or self._created()
            with table.transaction() as transaction:
                self._add_columns(transaction)
                added = parquet_files_to_data_files(table.io, transaction.table_metadata, paths)
                update = transaction.update_snapshot(carried)
                with update.overwrite() if replaced else update.fast_append() as snapshot:
                    for file in replaced:
                        snapshot.delete_data_file(file)
                    for file in added:
                        snapshot.append_data_file(file)
            committed = table.current_snapshot()
        return committed.snapshot_id if committed else 0

    def carried_proofs(self, state: TableState) -> dict[frozenset[str], CommittedProof]:
        """Return the proofs that the table carries, by the keys of their files.

        Snapshots carry their own proofs; the table's properties carry those of expired ones.
        """
        expired = expired_proofs_in(state.table.properties).values() if state.table else ()
        carried = {frozenset(committed.proof.object_keys): committed for committed in expired}
        for snapshot in state.table.snapshots() if state.table else []:
            summary = snapshot.summary.additional_properties if snapshot.summary else {}
            for proof in proofs_in(summary):
                carried[frozenset(proof.object_keys)] = CommittedProof(
                    proof=proof,
                    snapshot_id=snapshot.snapshot_id,
                    correlation_id=summary.get(CORRELATION_PROPERTY),
                )
        return carried

    def _created(self) -> Table:
        # Another program created the namespace at the same time.
        with suppress(sqlalchemy_errors.IntegrityError):
            self._catalogue.create_namespace_if_not_exists(NAMESPACE)
        schema = _schema(self.dataset)
        table = self._catalogue.create_table_if_not_exists(
            self.name,
            schema=schema,
            partition_spec=_partitions(self.dataset, schema),
            sort_order=SortOrder(
                *(
                    SortField(
                        source_id=schema.find_field(name).field_id, transform=IdentityTransform()
                    )
                    for name in self.dataset.order
                )
            ),
            properties={
                "schema.name-mapping.default": create_mapping_from_schema(schema).model_dump_json(),
                "write.parquet.compression-codec": "zstd",
            },
        )
        if table.current_snapshot():
            message = f"another writer made {self.name} at the same time"
            raise CommitLostError(message)
        return table

    def _add_columns(self, transaction: Transaction) -> None:
        present = {field.name for field in transaction.table_metadata.schema().fields}
        missing = [field for field in self.dataset.schema if field.name not in present]
        if missing:
            with transaction.update_schema() as update:
                for field in missing:
                    # Older files lack it, so it can never be required.
                    update.add_column(field.name, _TYPES[field.type], required=False)

    def _label(self, file: DataFile) -> str:
        key = self.key_of(file)
        folder, _, name = key.removeprefix(f"{folder_of(self.dataset.name)}/").rpartition("/")
        if not key.startswith(folder_of(self.dataset.name)) or not folder or "/" in folder:
            message = (
                f"{self.name} holds {key}, which is not named {folder_of(self.dataset.name)}/"
                f"<period>/{name}: another program wrote it; remove it from the table before "
                "archiving again"
            )
            raise errors.ArchiveMismatchError(message)
        return folder


def _schema(dataset: ArchivedDataset) -> Schema:
    return Schema(
        *(
            NestedField(number, field.name, _TYPES[field.type], required=not field.nullable)
            for number, field in enumerate(dataset.schema, start=1)
        )
    )


def _partitions(dataset: ArchivedDataset, schema: Schema) -> PartitionSpec:
    if dataset.portion is Portion.WHOLE:
        return UNPARTITIONED_PARTITION_SPEC
    by_year = dataset.portion is Portion.YEAR
    field = PartitionField(
        schema.find_field(dataset.dated_by).field_id,
        _FIRST_PARTITION_FIELD,
        YearTransform() if by_year else MonthTransform(),
        f"{dataset.dated_by}_{dataset.portion.value}",
    )
    return PartitionSpec(field)
