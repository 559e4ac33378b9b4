"""From settings to opened stores and archive, without Dagster.

Here: which settings make which object, once for the pipelines' runs and the command line. Not
here: reading the environment (settings.py), providers (clients.py), or Dagster's view of all
this (wiring.py).
"""

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass

from resources.settings import Settings
from resources.storage.adjusted_bars import AdjustedBars
from resources.storage.archive import BarArchive
from resources.storage.batches import BatchStore
from resources.storage.coverage import CoverageLedger
from resources.storage.datasets import DatasetReader
from resources.storage.dead_letters import DeadLetters
from resources.storage.ingest_log import IngestLog
from resources.storage.instruments import InstrumentStore
from resources.storage.object_store import ObjectStore, S3Settings
from resources.storage.quality import QualityQueries
from resources.storage.raw_zone import RawZone
from resources.storage.request_leases import RequestLeases
from resources.storage.rollups import RollupStore
from resources.storage.timescale import Timescale


@dataclass(frozen=True, slots=True, kw_only=True)
class Stores:
    """Everything that is kept in one database, on one pool."""

    timescale: Timescale
    instruments: InstrumentStore
    batches: BatchStore
    datasets: DatasetReader
    adjusted_bars: AdjustedBars
    coverage: CoverageLedger
    rollups: RollupStore
    quality: QualityQueries
    ingest_log: IngestLog
    dead_letters: DeadLetters
    leases: RequestLeases


@contextmanager
def stores(settings: Settings) -> Generator[Stores]:
    """Open the database.

    Raises:
        StorageUnavailableError: It cannot be reached.
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
            rollups=RollupStore(timescale),
            quality=QualityQueries(timescale),
            ingest_log=IngestLog(timescale),
            dead_letters=DeadLetters(timescale),
            leases=leases,
        )


def s3_settings(settings: Settings) -> S3Settings:
    """Return what the object store's client needs."""
    return S3Settings(
        endpoint=settings.s3_endpoint,
        bucket=settings.archive_bucket,
        region=settings.s3_region,
        access_key=settings.s3_access_key.get_secret_value(),
        secret_key=settings.s3_secret_key.get_secret_value(),
    )


@contextmanager
def archive(settings: Settings) -> Generator[BarArchive]:
    """Open the archive: the database for its catalogue and proofs, the bucket for its files.

    Raises:
        StorageError: One of the two cannot be reached or refuses.
    """
    with stores(settings) as opened:
        yield BarArchive(opened.timescale, ObjectStore(s3_settings(settings)))


def raw_zone(settings: Settings) -> RawZone:
    """Return where raw answers are kept: beside the archive, in the same bucket."""
    return RawZone(ObjectStore(s3_settings(settings)))
