"""Opens stores and archive from settings, without Dagster.

Here: which settings make which object, for the pipelines' runs and the command line alike. Not
here: reading the environment (settings.py), providers (clients.py), or Dagster's
resources (wiring.py).
"""

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from marketdata.recovery import errors
from resources.backups.pgbackrest import PgBackRest
from resources.settings import Settings, StoreSettings
from resources.storage import compression, migrations
from resources.storage.adjusted_bars import AdjustedBars
from resources.storage.aggregates import Aggregates, engines
from resources.storage.aggregates.engines import Engine, EngineSetting
from resources.storage.archive import Archive
from resources.storage.archive.maintain.rebuild import ArchiveRebuild
from resources.storage.archive.maintain.upkeep import ArchiveUpkeep
from resources.storage.archive.restore.restore import Restore
from resources.storage.archive.retain.retention import Retention
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
from resources.storage.timescale import Timescale


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


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedDatabase:
    """Changes made to a database, and its engine of aggregates.

    Attributes:
        migrations: Names of the applied migrations.
        engine: The engine in force now.
        compressed: Tables that are compressed from now on.
    """

    migrations: Sequence[str]
    engine: Engine
    compressed: Sequence[str]


def prepare_database(settings: Settings) -> PreparedDatabase:
    """Bring a database up to this version: its schema, the engine of aggregates, compression.

    Raises:
        ConfigurationError: The server does not have the engine that the settings name.
        StorageError: The database cannot be reached, refuses, or is ahead of this code.
    """
    url = settings.database_url.get_secret_value()
    applied = migrations.migrate(url)
    with Timescale(url, pool_size=2) as timescale:
        return PreparedDatabase(
            migrations=applied,
            engine=engines.put_in_force(timescale, EngineSetting(settings.aggregates)),
            compressed=compression.keep_compressed(timescale),
        )


@contextmanager
def stores(settings: Settings) -> Generator[Stores]:
    """Open the database.

    Raises:
        StorageUnavailableError: It cannot be reached.
        ConfigurationError: The engine of aggregates in force is not the one in the settings.
    """
    url = settings.database_url.get_secret_value()
    with (
        Timescale(url, pool_size=settings.database_pool_size) as timescale,
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
def archive_upkeep(settings: Settings) -> Generator[ArchiveUpkeep]:
    """Open the archive's upkeep, which removes what is no longer needed.

    Raises:
        StorageError: Database or bucket cannot be reached or refuses.
    """
    with stores(settings) as opened:
        yield ArchiveUpkeep(opened.timescale, ObjectStore(s3_settings(settings)))


@contextmanager
def archive_rebuild(settings: Settings) -> Generator[ArchiveRebuild]:
    """Open the rebuild of a lost catalogue from the bucket.

    Raises:
        StorageError: Database or bucket cannot be reached or refuses.
    """
    with stores(settings) as opened:
        yield ArchiveRebuild(opened.timescale, ObjectStore(s3_settings(settings)))


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
