"""The outside world as Dagster resources.

Here: resources whose methods open the domain's own objects; the only file of this room that
imports Dagster. Not here: settings (settings.py), or anything that works without Dagster.

Nothing is opened, read or connected when definitions load: each method opens what it returns
inside the step that asks, and in that step's own event loop.
"""

from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager

import dagster as dg

from marketdata.recovery.limits import Lane
from resources import opening
from resources.opening import Stores
from resources.providers.fmp import FmpClient
from resources.settings import DailyBarsRoute, read_settings
from resources.storage.archive import BarArchive

LANE_TAG = "wrdata/lane"
"""A run's tag that says in which lane it queues for request budgets; backfills without it."""


class Database(dg.ConfigurableResource[None]):
    """The TimescaleDB that holds the data (WRDATA_DATABASE_URL)."""

    @contextmanager
    def open(self) -> Generator[Stores]:
        with opening.stores(read_settings()) as stores:
            yield stores


class Archive(dg.ConfigurableResource[None]):
    """The Iceberg tables on S3 or Spaces (WRDATA_S3_ENDPOINT, WRDATA_ARCHIVE_BUCKET)."""

    @contextmanager
    def open(self) -> Generator[BarArchive]:
        with opening.archive(read_settings()) as archive:
            yield archive


class Fmp(dg.ConfigurableResource[None]):
    """Financial Modeling Prep (FMP_API_KEY, FMP_BASE_URL), on the key's shared budget."""

    @asynccontextmanager
    async def client(self, stores: Stores, run: dg.DagsterRun) -> AsyncGenerator[FmpClient]:
        """Open the client for a run; its tag ``wrdata/lane`` says who goes first."""
        lane = Lane(run.tags.get(LANE_TAG, Lane.BACKFILL))
        async with opening.fmp(read_settings(), stores, lane=lane, run_id=run.run_id) as client:
            yield client

    def daily_bars_route(self) -> DailyBarsRoute:
        """Return which way the daily schedule takes (WRDATA_DAILY_BARS_ROUTE)."""
        return read_settings().daily_bars_route
