"""From settings to opened objects: stores, archive and clients, without Dagster.

Here: which settings make which object, once for the pipelines' runs and the command line. Not
here: reading the environment (settings.py), or Dagster's view of it (wiring.py).
"""

from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass

from resources.providers.budget import PacedBudget
from resources.providers.fmp import FmpClient
from resources.settings import Settings
from resources.storage.archive import BarArchive
from resources.storage.coverage import CoverageLedger
from resources.storage.daily_bars import DailyBarStore
from resources.storage.ingest_log import IngestLog
from resources.storage.instruments import InstrumentStore
from resources.storage.object_store import ObjectStore, S3Settings
from resources.storage.quality import QualityQueries
from resources.storage.rollups import RollupStore
from resources.storage.timescale import Timescale


@dataclass(frozen=True, slots=True, kw_only=True)
class Stores:
    """Everything that is kept in one database, on one pool."""

    timescale: Timescale
    instruments: InstrumentStore
    daily_bars: DailyBarStore
    coverage: CoverageLedger
    rollups: RollupStore
    quality: QualityQueries
    ingest_log: IngestLog


@contextmanager
def stores(settings: Settings) -> Generator[Stores]:
    """Open the database.

    Raises:
        StorageUnavailableError: It cannot be reached.
    """
    url = settings.database_url.get_secret_value()
    with Timescale(url, pool_size=settings.database_pool_size) as timescale:
        yield Stores(
            timescale=timescale,
            instruments=InstrumentStore(timescale),
            daily_bars=DailyBarStore(timescale),
            coverage=CoverageLedger(timescale),
            rollups=RollupStore(timescale),
            quality=QualityQueries(timescale),
            ingest_log=IngestLog(timescale),
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


@asynccontextmanager
async def fmp(settings: Settings) -> AsyncGenerator[FmpClient]:
    """Open the FMP client, paced to the key's limits; call it in the loop that uses it."""
    async with FmpClient(
        api_key=settings.fmp_api_key.get_secret_value(),
        base_url=settings.fmp_base_url,
        budget=PacedBudget(requests=settings.fmp_requests_per_minute),
        bulk_budget=PacedBudget(requests=1, window_s=settings.fmp_bulk_interval_s),
    ) as client:
        yield client
