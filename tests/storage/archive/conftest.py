"""Fixtures of the archive's tests: what moves rows, and instruments to move rows of."""

from collections.abc import Iterator
from datetime import date

import pytest

from marketdata.archiving import ARCHIVED
from marketdata.datasets import InstrumentKind
from resources.storage.aggregates.rollup_engine import RollUps
from resources.storage.archive.restore import hot_rows
from resources.storage.instruments import InstrumentStore
from resources.storage.object_store import ObjectStore
from resources.storage.timescale import Timescale
from sandbox.local_world import LocalWorld
from sandbox.scratch_databases import scratch_database
from tests.storage.archive.moves import Moves


@pytest.fixture
def moves(timescale: Timescale, object_store: ObjectStore) -> Moves:
    """Archive, restore and retention in a fresh database and bucket."""
    return Moves(timescale=timescale, store=object_store, aggregates=RollUps(timescale))


@pytest.fixture
def subjects(timescale: Timescale, instrument_ids: list[int]) -> dict[str, list[int]]:
    """Instruments by dataset: shares, or two pairs."""
    pairs = InstrumentStore(timescale).register(
        "pair", {"A-USD": "a", "B-USD": "b"}, date(2023, 1, 1)
    )
    return {
        name: instrument_ids if dataset.kind is InstrumentKind.EQUITY else list(pairs.values())
        for name, dataset in ARCHIVED.items()
    }


@pytest.fixture
def never_drops(
    world: LocalWorld, migrated_template: str, moves: Moves, subjects: dict[str, list[int]]
) -> Iterator[Moves]:
    """A second database with the same instruments, for what nobody drops."""
    assert subjects
    with (
        scratch_database(world, "test", copy_of=migrated_template) as url,
        Timescale(url) as timescale,
    ):
        with moves.timescale.connection() as own, timescale.connection() as other:
            for row in own.execute("select instrument_id, name, kind from instrument"):
                other.execute(
                    """insert into instrument (instrument_id, name, kind)
                       overriding system value values (%s, %s, %s)""",
                    row,
                )
        yield Moves(timescale=timescale, store=moves.store, aggregates=RollUps(timescale))


@pytest.fixture
def quick_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Moves give way after a moment, where they would wait ten seconds."""
    monkeypatch.setattr(hot_rows, "LOCK_TIMEOUT_S", 0.3)
