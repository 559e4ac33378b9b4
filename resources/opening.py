"""Opens stores and archive from settings, without Dagster.

Here: which settings make which object, for the pipelines' runs and the command line alike. Not
here: reading the environment (settings/), providers (clients.py), or Dagster's
resources (wiring.py).
"""

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta

from marketdata.recovery import errors
from resources.backups.pgbackrest import PgBackRest
from resources.settings import Settings, StoreSettings
from resources.storage import compression, migrations, roles
from resources.storage.adjusted_bars import AdjustedBars
from resources.storage.aggregates import Aggregates, engines
from resources.storage.aggregates.engines import Engine, EngineSetting
from resources.storage.archive import Archive
from resources.storage.archive.maintain.rebuild import ArchiveRebuild
from resources.storage.archive.maintain.upkeep import ArchiveUpkeep
from resources.storage.archive.restore.restore import Restore
from resources.storage.archive.retain.retention import Retention
from resources.storage.audit import AuditLog
from resources.storage.audit.anchors import Anchors
from resources.storage.audit.journal import BucketJournal
from resources.storage.audit.locked_bucket import Lock, LockedBucket
from resources.storage.batches import BatchStore
from resources.storage.datasets import DatasetReader
from resources.storage.instruments import InstrumentStore
from resources.storage.ledger.coverage import CoverageLedger
from resources.storage.ledger.ingest_log import IngestLog
from resources.storage.ledger.lost_rows import LostRows
from resources.storage.letters import DeadLetters
from resources.storage.object_store import ObjectStore, S3Settings
from resources.storage.quality import QualityQueries
from resources.storage.raw_zone import RawZone
from resources.storage.request_leases import RequestLeases
from resources.storage.roles import PrivilegeChange
from resources.storage.timescale import Timescale

LOCKED_READ_TIMEOUT_S, LOCKED_ATTEMPTS = 10, 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Stores:
    """All stores of one database, on one pool."""

    timescale: Timescale
    instruments: InstrumentStore
    batches: BatchStore
    datasets: DatasetReader
    adjusted_bars: AdjustedBars
    coverage: CoverageLedger
    aggregates: Aggregates
    quality: QualityQueries
    ingest_log: IngestLog
    dead_letters: DeadLetters
    leases: RequestLeases
    lost_rows: LostRows
    audit: AuditLog


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedDatabase:
    """Changes made to a database, and its engine of aggregates.

    Attributes:
        migrations: Names of the applied migrations.
        waiting: Names of those that wait for the release before to be gone.
        newer: Names of those that a newer version has applied.
        engine: The engine in force now.
        compressed: Tables that are compressed from now on.
        privileges: What the database's roles got and lost; empty if there are no roles.
    """

    migrations: Sequence[str]
    waiting: Sequence[str]
    newer: Sequence[str]
    engine: Engine
    compressed: Sequence[str]
    privileges: Sequence[PrivilegeChange]


def prepare_database(settings: Settings, *, contract: bool) -> PreparedDatabase:
    """Bring a database up to this version: schema, engine of aggregates, compression, privileges.

    A database that a newer version has expanded keeps the privileges which that version gave.

    Args:
        settings: Name the database.
        contract: Take away too what the release before uses.

    Raises:
        ConfigurationError: The server does not have the engine that the settings name.
        StorageError: The database cannot be reached, refuses, or a newer version contracted it.
    """
    url = settings.database_url.get_secret_value()
    applied = migrations.migrate(url, contract=contract, journal=journal(settings))
    left = migrations.status(url)
    with database(settings, pool_size=2) as timescale:
        engine = engines.put_in_force(timescale, EngineSetting(settings.aggregates))
        compressed = compression.keep_compressed(timescale)
    newer = [migration.name for migration in left if migration.newer]
    return PreparedDatabase(
        migrations=applied,
        waiting=[migration.name for migration in left if migration.waits],
        newer=newer,
        engine=engine,
        compressed=compressed,
        # Last, so that they count for all that was made. They know the tables of this version.
        privileges=[] if newer else roles.put_in_force(url),
    )


def database(settings: Settings, *, pool_size: int) -> Timescale:
    """Return the database, not open yet; what is added to its audit log is journaled.

    Args:
        settings: Name the database, and the bucket of the journal.
        pool_size: Connections at most.
    """
    url = settings.database_url.get_secret_value()
    return Timescale(url, pool_size=pool_size, journal=journal(settings))


@contextmanager
def stores(settings: Settings) -> Generator[Stores]:
    """Open the database.

    Raises:
        StorageUnavailableError: It cannot be reached.
        ConfigurationError: The engine of aggregates in force is not the one in the settings.
    """
    with (
        database(settings, pool_size=settings.database_pool_size) as timescale,
        RequestLeases(timescale) as leases,
    ):
        yield Stores(
            timescale=timescale,
            instruments=InstrumentStore(timescale),
            batches=BatchStore(timescale),
            datasets=DatasetReader(timescale),
            adjusted_bars=AdjustedBars(timescale),
            coverage=CoverageLedger(timescale),
            aggregates=engines.opened(timescale, EngineSetting(settings.aggregates)),
            quality=QualityQueries(timescale),
            ingest_log=IngestLog(timescale),
            dead_letters=DeadLetters(timescale),
            leases=leases,
            lost_rows=LostRows(timescale),
            audit=AuditLog(timescale),
        )


def s3_settings(settings: StoreSettings) -> S3Settings:
    """Return the settings of the object store's client."""
    return S3Settings(
        endpoint=settings.s3_endpoint,
        bucket=settings.archive_bucket,
        region=settings.s3_region,
        access_key=settings.s3_access_key.get_secret_value(),
        secret_key=settings.s3_secret_key.get_secret_value(),
    )


@contextmanager
def archive(settings: Settings) -> Generator[Archive]:
    """Open the archive: the database for its catalogue and proofs, the bucket for its files.

    Raises:
        StorageError: One of the two cannot be reached or refuses.
    """
    with stores(settings) as opened:
        yield Archive(opened.timescale, ObjectStore(s3_settings(settings)))


@contextmanager
def archive_upkeep(settings: Settings, *, by: str) -> Generator[ArchiveUpkeep]:
    """Open the archive's upkeep, which removes what is no longer needed.

    Args:
        settings: Of the database and the bucket.
        by: Who does it, for the audit log.

    Raises:
        StorageError: Database or bucket cannot be reached or refuses.
    """
    with stores(settings) as opened:
        yield ArchiveUpkeep(opened.timescale, ObjectStore(s3_settings(settings)), by=by)


@contextmanager
def archive_rebuild(settings: Settings, *, by: str) -> Generator[ArchiveRebuild]:
    """Open the rebuild of a lost catalogue from the bucket.

    Args:
        settings: Of the database and the bucket.
        by: Who does it, for the audit log.

    Raises:
        StorageError: Database or bucket cannot be reached or refuses.
    """
    with stores(settings) as opened:
        yield ArchiveRebuild(opened.timescale, ObjectStore(s3_settings(settings)), by=by)


@contextmanager
def restore(settings: Settings) -> Generator[Restore]:
    """Open the restore from the archive into the database.

    Raises:
        StorageError: One of the two cannot be reached or refuses.
    """
    with stores(settings) as opened:
        store = ObjectStore(s3_settings(settings))
        yield Restore(opened.timescale, store, Archive(opened.timescale, store))


@contextmanager
def retention(settings: Settings) -> Generator[Retention]:
    """Open the retention, which drops rows older than the settings' ages.

    Raises:
        StorageError: Database or bucket cannot be reached or refuses.
    """
    with stores(settings) as opened:
        store = ObjectStore(s3_settings(settings))
        yield Retention(
            opened.timescale,
            store,
            Archive(opened.timescale, store),
            opened.aggregates,
            settings.retention,
        )


def raw_zone(settings: Settings) -> RawZone:
    """Return the raw zone, in the archive's bucket."""
    return RawZone(ObjectStore(s3_settings(settings)))


def anchors(settings: Settings, timescale: Timescale) -> Anchors | None:
    """Return the audit log's anchors; None if no bucket is configured for them.

    Args:
        settings: Name the bucket and its locks.
        timescale: The log's database, open.
    """
    bucket = _locked_bucket(settings)
    return Anchors(timescale, bucket) if bucket else None


def journal(settings: Settings) -> BucketJournal | None:
    """Return the audit log's journal; None if no bucket is configured for it.

    Args:
        settings: Name the bucket and its locks.
    """
    bucket = _locked_bucket(settings)
    return BucketJournal(bucket) if bucket else None


def _locked_bucket(settings: Settings) -> LockedBucket | None:
    if not settings.audit_bucket:
        return None
    bucket = replace(
        s3_settings(settings),
        bucket=settings.audit_bucket,
        variable="WRDATA_AUDIT_BUCKET",
        # Every writer of the log waits while a row is put.
        read_timeout_s=LOCKED_READ_TIMEOUT_S,
        attempts=LOCKED_ATTEMPTS,
    )
    lock = Lock(mode=settings.audit_lock_mode, stays=timedelta(days=settings.audit_lock_days))
    return LockedBucket(bucket, lock)


def pgbackrest(settings: Settings) -> PgBackRest:
    """Return pgBackRest with the settings' configuration.

    Raises:
        ConfigurationError: Backups are not configured, or their configuration is not usable.
    """
    if settings.backup_config is None:
        message = (
            "WRDATA_BACKUP_CONFIG is not set: backups need the folder of pgBackRest's "
            "configuration, such as /etc/pgbackrest (docs/how-to/back_up.md)"
        )
        raise errors.ConfigurationError(message)
    return PgBackRest(settings.backup_config)
