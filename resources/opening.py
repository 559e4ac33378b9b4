"""From settings to opened objects: stores, archive and clients, without Dagster.

Here: which settings make which object, once for the pipelines' runs and the command line. Not
here: reading the environment (settings.py), or Dagster's view of it (wiring.py).
"""

from collections.abc import AsyncGenerator, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass

from marketdata.recovery.leases import Holder
from marketdata.recovery.limits import Lane, RequestLimits, fmp_bulk_limits, fmp_limits
from resources.providers.budget import LeasedBudget
from resources.providers.fmp import FmpClient
from resources.settings import Settings
from resources.storage.archive import BarArchive
from resources.storage.coverage import CoverageLedger
from resources.storage.daily_bars import DailyBarStore
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
    daily_bars: DailyBarStore
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
            daily_bars=DailyBarStore(timescale),
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


@asynccontextmanager
async def fmp(
    settings: Settings, stores: Stores, *, lane: Lane, run_id: str
) -> AsyncGenerator[FmpClient]:
    """Open the FMP client on the key's shared budget; call it in the loop that uses it.

    Args:
        settings: The key and its limits.
        stores: Holds the budget's leases.
        lane: Who goes first when several runs want to ask.
        run_id: Shown beside the leases.
    """
    key = settings.fmp_api_key.get_secret_value()
    of_key = (fmp_limits(key, settings.fmp_requests_per_minute),)
    of_bulk = of_key
    if settings.fmp_bulk_interval_s:
        of_bulk = (*of_key, fmp_bulk_limits(key, settings.fmp_bulk_interval_s))

    def budget(limits: Sequence[RequestLimits]) -> LeasedBudget:
        return LeasedBudget(
            leases=stores.leases,
            limits=limits,
            provider=FmpClient.name,
            lane=lane,
            holder=Holder.this_process(run_id),
        )

    async with (
        budget(of_key) as single,
        budget(of_bulk) as bulk,
        FmpClient(
            api_key=key,
            base_url=settings.fmp_base_url,
            budget=single,
            bulk_budget=bulk,
            keep=raw_zone(settings),
        ) as client,
    ):
        yield client
