"""Fixtures of the storage tests: an open database, a universe in it, a bucket's client."""

from collections.abc import Iterator
from datetime import date

import pytest

from marketdata.instruments import Constituent, UniverseChange
from resources.storage.instruments import InstrumentStore
from resources.storage.object_store import ObjectStore, S3Settings
from resources.storage.timescale import Timescale
from tests.fixtures.world import BucketSettings

UNIVERSE = "sp500"
JOINED_ON = date(2020, 1, 2)


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
