"""Fixtures of the storage tests: a migrated database, a universe in it, a bucket's client."""

from collections.abc import Iterator
from datetime import date

import pytest

from marketdata.instruments import Constituent, UniverseChange
from resources.storage import migrations
from resources.storage.instruments import InstrumentStore
from resources.storage.object_store import ObjectStore, S3Settings
from resources.storage.timescale import Timescale
from sandbox.local_world import LocalWorld
from sandbox.scratch_databases import scratch_database
from tests.fixtures.world import BucketSettings

UNIVERSE = "sp500"
JOINED_ON = date(2020, 1, 2)


@pytest.fixture(scope="session")
def migrated_template(world: LocalWorld) -> Iterator[str]:
    """A migrated database that the others are copied from: migrating each would take longer."""
    with scratch_database(world, "template", to_copy=True) as url:
        migrations.migrate(url)
        yield url


@pytest.fixture
def migrated_url(world: LocalWorld, migrated_template: str) -> Iterator[str]:
    """A fresh migrated database; it is dropped afterwards."""
    with scratch_database(world, "test", copy_of=migrated_template) as url:
        yield url


@pytest.fixture
def timescale(migrated_url: str) -> Iterator[Timescale]:
    """An open pool on a migrated database."""
    with Timescale(migrated_url) as opened:
        yield opened


@pytest.fixture
def instrument_ids(timescale: Timescale) -> list[int]:
    """Three members of the universe, AAA, BBB and CCC."""
    store = InstrumentStore(timescale)
    joined = tuple(
        Constituent(ticker=ticker, name=f"{ticker} Inc.", cik=f"000000000{number}", sector=None)
        for number, ticker in enumerate(["AAA", "BBB", "CCC"], start=1)
    )
    change = UniverseChange(joined=joined, left=(), renamed=(), kept=())
    store.apply(change, JOINED_ON, UNIVERSE)
    return [member.instrument_id for member in store.members(UNIVERSE)]


@pytest.fixture
def object_store(bucket: BucketSettings) -> ObjectStore:
    """A client of a fresh bucket."""
    return ObjectStore(
        S3Settings(
            endpoint=bucket.endpoint,
            bucket=bucket.bucket,
            region=bucket.region,
            access_key=bucket.access_key,
            secret_key=bucket.secret_key,
        )
    )
