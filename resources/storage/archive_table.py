"""The Apache Iceberg table of archived daily bars: its shape, its files, its commits.

Here: catalogue and table, which file holds which month, one atomic commit, reading rows back.
Not here: making and proving files (archive_files.py), or the log (archive_proofs.py).

The catalogue lives in the schema ``iceberg_catalog`` of the database that is already there; the
files live below ``s3://<bucket>/iceberg``. Any Iceberg reader can use both.
"""

import functools
import os
import re
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import date
from urllib.parse import quote

import pyarrow as pa
from pyiceberg import exceptions as iceberg_errors
from pyiceberg.catalog.sql import IcebergTables, SqlCatalog
from pyiceberg.io.pyarrow import parquet_files_to_data_files
from pyiceberg.manifest import DataFile
from pyiceberg.partitioning import PartitionField, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.table import Table
from pyiceberg.table.name_mapping import create_mapping_from_schema
from pyiceberg.table.sorting import SortField, SortOrder
from pyiceberg.transforms import IdentityTransform, YearTransform
from pyiceberg.types import (
    DateType,
    DoubleType,
    IcebergType,
    LongType,
    NestedField,
    StringType,
    TimestamptzType,
)
from sqlalchemy import NullPool, create_engine, select
from sqlalchemy import exc as sqlalchemy_errors

from marketdata.bars import ARCHIVED_BARS
from marketdata.recovery import errors
from resources.storage.archive_proofs import LoggedMonth, MonthProof, proofs_in
from resources.storage.object_store import S3Settings

CATALOG = "wrdata"
NAMESPACE = "archive"
TABLE = f"{NAMESPACE}.daily_bars"
FILES = "iceberg/archive/daily_bars/data"
"""Prefix of the files' keys; the month and the content follow."""

_TYPES: Mapping[pa.DataType, IcebergType] = {
    pa.int64(): LongType(),
    pa.float64(): DoubleType(),
    pa.string(): StringType(),
    pa.date32(): DateType(),
    pa.timestamp("us", tz="UTC"): TimestamptzType(),
}


# Codes that pyarrow's S3 client has a name for are in its spelling, others in the server's.
_REFUSED_KEYS = re.compile(
    r"(?i)ACCESS_?DENIED|SIGNATURE_?DOES_?NOT_?MATCH|INVALID_?ACCESS_?KEY_?ID|HTTP status 403"
)


class CommitLostError(Exception):
    """Another writer committed first: nothing was changed, and the table must be read again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TableState:
    """The table at one snapshot; a commit built on it fails if another came between.

    Attributes:
        files: The data file of each archived month.
    """

    table: Table
    files: Mapping[date, DataFile]


def object_key(month: date, content_digest: str) -> str:
    """Return where a month with this content lives; other content lives elsewhere."""
    return f"{FILES}/{month:%Y-%m}/{content_digest}.parquet"


class ArchiveTable:
    """Opens the table on first use and creates it if need be.

    Args:
        database_url: ``postgresql://`` URL of the database that holds the catalogue.
        s3: Bucket of the files.
    """

    def __init__(self, database_url: str, s3: S3Settings) -> None:
        self._database_url = database_url
        self._s3 = s3

    @functools.cached_property
    def _catalog(self) -> SqlCatalog:
        s3 = self._s3
        url = _catalog_url(self._database_url)
        properties = {
            "uri": url,
            "init_catalog_tables": "false",  # The migrations made them.
            "warehouse": f"s3://{s3.bucket}/iceberg",
            "s3.region": s3.region,
            "s3.access-key-id": s3.access_key,
            "s3.secret-access-key": s3.secret_key,
        }
        if not s3.is_aws:
            # pyarrow's S3 client has no argument for this and reads the environment when it is
            # made: with checksums "when_supported" it streams uploads that other servers refuse.
            os.environ.setdefault("AWS_REQUEST_CHECKSUM_CALCULATION", "when_required")
            os.environ.setdefault("AWS_RESPONSE_CHECKSUM_VALIDATION", "when_required")
            properties |= {"s3.endpoint": s3.endpoint, "s3.force-virtual-addressing": "false"}
        catalog = SqlCatalog(CATALOG, **properties)
        # Without a pool: a commit's few statements are worth no connection that stays open, and
        # nobody has to close this object.
        catalog.engine = create_engine(url, poolclass=NullPool)
        return catalog

    def require_same_bucket(self) -> None:
        """Make sure that the catalogue, if it knows the table, names the configured bucket.

        Raises:
            StorageConflictError: It names another one, where all files and metadata are.
            StorageUnavailableError: The catalogue cannot be reached.
        """
        row = select(IcebergTables.metadata_location).where(
            IcebergTables.catalog_name == CATALOG,
            IcebergTables.table_namespace == NAMESPACE,
            IcebergTables.table_name == TABLE.removeprefix(f"{NAMESPACE}."),
        )
        with self._translated(), self._catalog.engine.connect() as connection:
            location = connection.execute(row).scalar() or ""
        named = location.removeprefix("s3://").partition("/")[0]
        if named and named != self._s3.bucket:
            message = (
                f"the archive's catalogue names s3://{named}, WRDATA_ARCHIVE_BUCKET is "
                f"{self._s3.bucket}: set it back (a copy of the files does not serve: Iceberg "
                f"names each with its bucket), or begin a new archive without what s3://{named} "
                f"holds: delete the row of {TABLE} from iceberg_catalog.iceberg_tables"
            )
            raise errors.StorageConflictError(message)

    def state(self) -> TableState:
        """Read the table as it is now.

        Raises:
            StorageUnavailableError: Catalogue or bucket cannot be reached.
            StorageConflictError: The bucket refuses the keys.
            ArchiveMismatchError: The table holds a file that this project did not write.
        """
        with self._translated():
            table = self._open()
            snapshot = table.current_snapshot()
            manifests = snapshot.manifests(table.io) if snapshot else []
            entries = [
                entry
                for manifest in manifests
                for entry in manifest.fetch_manifest_entry(table.io, discard_deleted=True)
            ]
        return TableState(
            table=table, files={self._month(entry.data_file): entry.data_file for entry in entries}
        )

    def key_of(self, file: DataFile) -> str:
        """Return a data file's key within the bucket."""
        return file.file_path.removeprefix(f"s3://{self._s3.bucket}/")

    def commit(self, state: TableState, proofs: Sequence[MonthProof]) -> int:
        """Put the proven files in their months' places, in one commit; return the snapshot's id.

        Raises:
            CommitLostError: The table is no longer in ``state``.
        """
        paths = {one.month: f"s3://{self._s3.bucket}/{one.object_key}" for one in proofs}
        replaced = [state.files[month] for month in paths if month in state.files]
        carried = dict(one.as_property() for one in proofs)
        with self._translated(), state.table.transaction() as transaction:
            if replaced:
                added = parquet_files_to_data_files(
                    state.table.io, transaction.table_metadata, iter(paths.values())
                )
                with transaction.update_snapshot(carried).overwrite() as snapshot:
                    for file in replaced:
                        snapshot.delete_data_file(file)
                    for file in added:
                        snapshot.append_data_file(file)
            else:
                transaction.add_files(
                    list(paths.values()), snapshot_properties=carried, check_duplicate_files=False
                )
        committed = state.table.current_snapshot()
        return committed.snapshot_id if committed else 0

    def rows(self, first: date, end: date) -> pa.Table:
        """Read the archived rows of sessions from ``first`` to before ``end``, in order."""
        with self._translated():
            scan = self._open().scan(
                row_filter=f"session_date >= '{first}' and session_date < '{end}'"
            )
            found = scan.to_arrow()
        return (
            found.select(ARCHIVED_BARS.names)
            .cast(ARCHIVED_BARS)
            .sort_by([("instrument_id", "ascending"), ("session_date", "ascending")])
        )

    def carried_proofs(self, state: TableState) -> dict[str, LoggedMonth]:
        """Return the proofs that the table's snapshots carry, by object key."""
        found: dict[str, LoggedMonth] = {}
        for snapshot in state.table.snapshots():
            summary = snapshot.summary.additional_properties if snapshot.summary else {}
            for proof in proofs_in(summary):
                found[proof.object_key] = LoggedMonth(proof=proof, snapshot_id=snapshot.snapshot_id)
        return found

    def _open(self) -> Table:
        if not self._catalog.table_exists(TABLE):
            # Two programs that open the archive for the first time at once: the other was faster.
            with suppress(sqlalchemy_errors.IntegrityError):
                self._catalog.create_namespace_if_not_exists(NAMESPACE)
            self._catalog.create_table_if_not_exists(
                TABLE,
                schema=_SCHEMA,
                # Ten thousand rows a month: a file a month, folded into years for the planner.
                partition_spec=PartitionSpec(
                    PartitionField(3, 1000, YearTransform(), "session_year")
                ),
                sort_order=SortOrder(
                    SortField(source_id=1, transform=IdentityTransform()),
                    SortField(source_id=3, transform=IdentityTransform()),
                ),
                properties={
                    "schema.name-mapping.default": create_mapping_from_schema(
                        _SCHEMA
                    ).model_dump_json(),
                    "write.parquet.compression-codec": "zstd",
                },
            )
        return self._catalog.load_table(TABLE)

    def _month(self, file: DataFile) -> date:
        key = self.key_of(file)
        try:
            return date.fromisoformat(f"{key.split('/')[-2]}-01")
        except (IndexError, ValueError) as error:
            message = (
                f"{TABLE} holds {key}, which is not named <year>-<month>/<digest>.parquet: another "
                "program wrote it; remove it from the table before archiving again"
            )
            raise errors.ArchiveMismatchError(message) from error

    @contextmanager
    def _translated(self) -> Generator[None]:
        """Turn errors of pyiceberg, SQLAlchemy and pyarrow's S3 client into ours."""
        where = f"{TABLE} in bucket {self._s3.bucket}"
        try:
            yield
        except iceberg_errors.CommitFailedException as error:
            raise CommitLostError(str(error)) from error
        except sqlalchemy_errors.OperationalError as error:
            message = f"the catalogue of {where} cannot be reached; is the database up?"
            raise errors.StorageUnavailableError(message) from error
        except sqlalchemy_errors.SQLAlchemyError as error:
            message = f"the catalogue of {where} refuses ({type(error).__name__}); migrate first"
            raise errors.StorageConflictError(message) from error
        except FileNotFoundError as error:
            message = f"{where} lacks a file that it refers to: {error}; restore it from a backup"
            raise errors.ArchiveMismatchError(message) from error
        except OSError as error:
            if isinstance(error, PermissionError) or _REFUSED_KEYS.search(str(error)):
                message = (
                    f"{where}: the server refuses the credentials; check AWS_ACCESS_KEY_ID, "
                    "AWS_SECRET_ACCESS_KEY, the region and the bucket's policy"
                )
                raise errors.StorageConflictError(message) from error
            message = f"{where} cannot be read or written: {error}; is the endpoint up?"
            raise errors.StorageUnavailableError(message) from error
        except (iceberg_errors.ValidationError, ValueError) as error:
            message = f"{where} refuses: {error}"
            raise errors.StorageConflictError(message) from error


def _catalog_url(url: str) -> str:
    """Return the URL for SQLAlchemy: psycopg 3, and the catalogue's own schema."""
    place, _, query = url.partition("?")
    options = f"options={quote('-csearch_path=iceberg_catalog')}"
    rest = place.removeprefix("postgresql://").removeprefix("postgres://")
    return f"postgresql+psycopg://{rest}?{f'{query}&' if query else ''}{options}"


_SCHEMA = Schema(
    *(
        NestedField(number, field.name, _TYPES[field.type], required=not field.nullable)
        for number, field in enumerate(ARCHIVED_BARS, start=1)
    )
)
