"""Stores and providers as Dagster resources.

Here: resources whose methods open the domain's own objects; the only file of this room that
imports Dagster. Not here: settings (settings/), or anything that works without Dagster.

Nothing is opened, read or connected when definitions load: each method opens its object inside the
step that calls it, in that step's own event loop.
"""

from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager

import dagster as dg

from marketdata.recovery.limits import Lane
from resources import clients, opening
from resources.clients import Client
from resources.opening import Stores
from resources.settings import provider_of, read_settings
from resources.storage.archive import Archive as StoredArchive
from resources.storage.archive.maintain.upkeep import ArchiveUpkeep
from resources.storage.archive.retain.retention import Retention
from resources.storage.audit import AuditLog
from resources.storage.audit.anchors import Anchors
from resources.storage.object_store import ObjectStore
from resources.storage.upkeep import DatabaseUpkeep
from resources.telemetry import context

LANE_TAG = "wrdata/lane"
"""A run's tag for its lane in request budgets; without it, the lane is that of backfills."""


class Database(dg.ConfigurableResource[None]):
    """The TimescaleDB that holds the data (WRDATA_DATABASE_URL)."""

    @contextmanager
    def open(self) -> Generator[Stores]:
        with opening.stores(read_settings()) as stores:
            yield stores

    @contextmanager
    def upkeep(self) -> Generator[tuple[DatabaseUpkeep, ObjectStore]]:
        """Open the database's upkeep, and the bucket of the raw zone."""
        settings = read_settings()
        with opening.stores(settings) as stores:
            yield DatabaseUpkeep(stores.timescale), ObjectStore(opening.s3_settings(settings))

    @contextmanager
    def audit(self) -> Generator[tuple[AuditLog, Anchors | None]]:
        """Open the audit log, and its anchors if a bucket is configured for them."""
        settings = read_settings()
        with opening.stores(settings) as stores:
            yield stores.audit, opening.anchors(settings, stores.timescale)


class Archive(dg.ConfigurableResource[None]):
    """The Iceberg tables on S3 or Spaces (WRDATA_S3_ENDPOINT, WRDATA_ARCHIVE_BUCKET)."""

    @contextmanager
    def open(self) -> Generator[StoredArchive]:
        with opening.archive(read_settings()) as archive:
            yield archive

    @contextmanager
    def upkeep(self, *, by: str) -> Generator[ArchiveUpkeep]:
        """Open the archive's upkeep, which removes what is no longer needed."""
        with opening.archive_upkeep(read_settings(), by=by) as upkeep:
            yield upkeep

    @contextmanager
    def retention(self) -> Generator[Retention]:
        """Open the retention, which drops archived rows from the database (WRDATA_RETENTION)."""
        with opening.retention(read_settings()) as retention:
            yield retention


class Providers(dg.ConfigurableResource[None]):
    """Providers with their keys, each on its shared budget (see resources/clients.py)."""

    @asynccontextmanager
    async def client(
        self, stores: Stores, run: dg.DagsterRun, dataset: str, provider: str = ""
    ) -> AsyncGenerator[Client]:
        """Open the provider that serves ``dataset``; the run's lane tag sets its priority.

        What is logged until it is closed names both.

        Args:
            stores: Holds the budgets' leases.
            run: The requesting run.
            dataset: The requested dataset.
            provider: Used instead of the configured one.
        """
        lane = Lane(run.tags.get(LANE_TAG, Lane.BACKFILL))
        chosen = provider or provider_of(dataset)
        opened = clients.opened(
            read_settings(), stores, chosen, dataset, lane=lane, run_id=run.run_id
        )
        with context.bound(dataset=dataset, provider=chosen):
            async with opened as client:
                yield client
