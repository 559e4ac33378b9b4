"""The Iceberg catalogue of the archive, and the one place where its errors become ours.

Here: opening it, and which bucket it names. Not here: its tables (table.py).

The catalogue is in the schema ``iceberg_catalog`` of the project's database, the files below
``s3://<bucket>/iceberg``. Any Iceberg reader can use both.
"""

import os
import re
from collections.abc import Generator
from contextlib import contextmanager

from pyiceberg import exceptions as iceberg_errors
from pyiceberg.catalog.sql import IcebergTables, SqlCatalog
from sqlalchemy import NullPool, create_engine, select
from sqlalchemy import exc as sqlalchemy_errors

from marketdata.recovery import errors
from resources.database_url import for_sqlalchemy
from resources.storage.object_store import REFUSED_KEYS, S3Settings

CATALOG = "wrdata"
NAMESPACE = "archive"
SCHEMA = "iceberg_catalog"
"""Schema of the catalogue's tables in the database."""


class CommitLostError(Exception):
    """Another writer committed first; nothing was changed. Read the table again."""


def open_catalogue(database_url: str, s3: S3Settings) -> SqlCatalog:
    """Return the catalogue; nothing is connected before its first use.

    Args:
        database_url: ``postgresql://`` URL of the database that holds it.
        s3: Bucket of the files.
    """
    url = for_sqlalchemy(database_url)
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
        # created: with checksums "when_supported", other servers refuse its uploads.
        os.environ.setdefault("AWS_REQUEST_CHECKSUM_CALCULATION", "when_required")
        os.environ.setdefault("AWS_RESPONSE_CHECKSUM_VALIDATION", "when_required")
        properties |= {"s3.endpoint": s3.endpoint, "s3.force-virtual-addressing": "false"}
    catalogue = SqlCatalog(CATALOG, **properties)
    # Without a pool: a commit needs only a few statements, and this object need not be closed.
    # Each statement names the schema: PgBouncer refuses or loses a connection's options.
    catalogue.engine = create_engine(
        url,
        poolclass=NullPool,
        execution_options={"schema_translate_map": {None: SCHEMA}},
    )
    return catalogue


def require_same_bucket(catalogue: SqlCatalog, bucket: str) -> None:
    """Make sure that all tables of the catalogue are in ``bucket``.

    Raises:
        StorageConflictError: One is in another bucket, with all its files and metadata.
        StorageUnavailableError: The catalogue cannot be reached.
    """
    tables = select(IcebergTables.table_name, IcebergTables.metadata_location).where(
        IcebergTables.catalog_name == CATALOG, IcebergTables.table_namespace == NAMESPACE
    )
    with translated("the archive", bucket), catalogue.engine.connect() as connection:
        rows = connection.execute(tables).all()
    for table, location in rows:
        table_bucket = (location or "").removeprefix("s3://").partition("/")[0]
        if table_bucket != bucket:
            message = (
                f"the archive's catalogue names s3://{table_bucket}, WRDATA_ARCHIVE_BUCKET is "
                f"{bucket}: set it back (a copy of the files does not help: Iceberg "
                "names each with its bucket), or begin a new archive without what "
                f"s3://{table_bucket} holds: delete the row of {NAMESPACE}.{table} from "
                "iceberg_catalog.iceberg_tables"
            )
            raise errors.StorageConflictError(message)


@contextmanager
def translated(table: str, bucket: str) -> Generator[None]:
    """Turn errors of pyiceberg, SQLAlchemy and pyarrow's S3 client into ours.

    Args:
        table: The table or archive, for the message.
        bucket: The bucket of its files.

    Raises:
        CommitLostError: Another writer committed first.
        StorageUnavailableError: Catalogue or bucket cannot be reached.
        StorageConflictError: One of them refuses.
        ArchiveMismatchError: The bucket lacks a file that the table refers to.
    """
    where = f"{table} in bucket {bucket}"
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
        if cure := _cure_of_refusal(error):
            message = f"{where}: the server refuses the credentials; {cure}"
            raise errors.StorageConflictError(message) from error
        message = f"{where} cannot be read or written: {error}; is the endpoint up?"
        raise errors.StorageUnavailableError(message) from error
    except (iceberg_errors.ValidationError, ValueError) as error:
        message = f"{where} refuses: {error}"
        raise errors.StorageConflictError(message) from error


def _cure_of_refusal(error: OSError) -> str:
    """Return the cure if the server refuses our signature, or nothing.

    Codes that pyarrow's S3 client knows are in its spelling, others in the server's.
    """
    answer = re.sub("[_ ]", "", str(error)).lower()
    for code, cure in REFUSED_KEYS.items():
        if (f"httpstatus{code}" if code.isdigit() else code.lower()) in answer:
            return cure
    return REFUSED_KEYS["AccessDenied"] if isinstance(error, PermissionError) else ""
