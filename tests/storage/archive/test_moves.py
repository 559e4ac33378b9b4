"""Loading, restating, archiving, dropping and restoring in any order lose nothing.

A second database gets the same loads and never drops anything. What it holds, the other one must
hold too: hot, or in the archive.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from psycopg.rows import dict_row

from marketdata.archiving import ARCHIVED, ArchivedDataset, Period
from marketdata.bars import Interval
from resources.storage.aggregates import SourceTable
from resources.storage.archive import ArchiveStatus
from resources.storage.archive.retain.outcomes import RetentionStatus
from resources.storage.archive.write import files
from tests.storage.archive.moves import JANUARY, Moves, load, refresh, table_rows, tombstones
from tests.storage.batches import FETCHED_AT

MONTHS = [JANUARY, JANUARY.replace(month=2, day=1), JANUARY.replace(month=12, day=30)]
"""Two that share no chunk boundary, and the end of a year, within a week."""


class Does(StrEnum):
    """What a step does beside loading."""

    LOAD = "load"
    REFRESH = "refresh"
    ARCHIVE = "archive"
    DROP = "drop"
    RUN = "run"
    RESTORE = "restore"
    DELETE = "delete"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step; prices by place of instrument, month and moment where it loads."""

    does: Does
    prices: dict[tuple[int, int, int], float]
    month: int
    is_older: bool


STEPS = st.lists(
    st.builds(
        Step,
        does=st.sampled_from([Does.LOAD, Does.LOAD, *Does]),
        prices=st.dictionaries(
            st.tuples(st.integers(0, 1), st.integers(0, len(MONTHS) - 1), st.integers(0, 3)),
            # Prices differ between steps; equal prices have their own test.
            st.sampled_from([10.25, 20.5, 1234.0625]),
            min_size=1,
            max_size=6,
        ),
        month=st.integers(0, len(MONTHS) - 1),
        is_older=st.booleans(),
    ),
    min_size=3,
    max_size=8,
)
TABLES = (
    "daily_bar",
    "daily_bar_version",
    "minute_bar",
    "minute_bar_version",
    "daily_bar_invalidation",
    "minute_bar_invalidation",
    *(f"rollup_{interval}" for interval in Interval),
    "archive_tombstone",
    "coverage",
    "loaded_day",
    "iceberg_catalog.iceberg_tables",
)


@pytest.mark.parametrize("dataset", ["daily_bars", "minute_bars"])
@settings(
    max_examples=5,
    deadline=None,
    # Eight steps can be read as they are; to shorten them takes minutes.
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(steps=STEPS)
def test_a_database_that_drops_holds_what_one_that_never_does_holds(
    moves: Moves,
    never_drops: Moves,
    subjects: dict[str, list[int]],
    dataset: str,
    steps: list[Step],
) -> None:
    """Latest values, all versions ever, and aggregates that equal a recomputation."""
    archived, ids = ARCHIVED[dataset], subjects[dataset]
    for world in (moves, never_drops):
        forget(world)
    for number, step in enumerate(steps):
        take(moves, never_drops, archived, ids, step, number)
        assert set(everything(moves, archived)) == set(everything(never_drops, archived))

    outcomes = moves.retention.run(by="test")

    assert {outcome.status for outcome in outcomes} <= {RetentionStatus.DROPPED}
    assert everything(moves, archived) == everything(never_drops, archived)
    for logged in moves.archive.proofs(archived).values():
        day = logged.proof.period.start
        moves.restore.into_hot(archived, day, day, by="test")
    for world in (moves, never_drops):
        refresh(world.aggregates)
    for source in SourceTable:
        for interval in source.intervals:
            assert moves.aggregates.differences(interval) == []
            view = f"bars_{interval}"
            assert table_rows(moves.timescale, view) == table_rows(never_drops.timescale, view)
    assert versions(moves, archived) >= versions(never_drops, archived)


def take(
    moves: Moves,
    never_drops: Moves,
    dataset: ArchivedDataset,
    ids: Sequence[int],
    step: Step,
    number: int,
) -> None:
    """Run a step; loads go to both databases."""
    if step.does is not Does.LOAD:
        move(moves, dataset, step)
        return
    apart = timedelta(days=1) if dataset.name == "daily_bars" else timedelta(minutes=1)
    prices = {
        (ids[who], MONTHS[month] + place * apart): price + number
        for (who, month, place), price in step.prices.items()
    }
    asked = FETCHED_AT + timedelta(days=number - (100 if step.is_older else 0))
    for world in (moves, never_drops):
        load(world.timescale, dataset.name, prices, fetched_at=asked)


def move(moves: Moves, dataset: ArchivedDataset, step: Step) -> None:
    """Archive, drop, restore or refresh; a drop may refuse, but must lose nothing."""
    day = MONTHS[step.month].date()
    period = dataset.period_of(day, date.max)
    match step.does:
        case Does.ARCHIVE:
            moves.archive.archive(dataset, [period])
        case Does.DROP:
            moves.retention.drop(dataset, period.label, by="test")
        case Does.RUN:
            moves.retention.run([dataset.name], by="test")
        case Does.DELETE:
            lose_a_row(moves, dataset, period)
        case Does.RESTORE if period.label in moves.archive.proofs(dataset):
            moves.restore.into_hot(dataset, day, day, by="test")
        case _:
            refresh(moves.aggregates)


def lose_a_row(moves: Moves, dataset: ArchivedDataset, period: Period) -> None:
    """Delete an archived row from the database: nothing follows it, until it is restored."""
    [archived] = moves.archive.archive(dataset, [period])
    if archived.status not in {
        ArchiveStatus.COMMITTED,
        ArchiveStatus.REPLACED,
        ArchiveStatus.UNCHANGED,
    }:
        return
    query = f"""
        delete from {dataset.table} where ({", ".join(dataset.order)}) in (
            select {", ".join(dataset.order)} from {dataset.table}
            where {dataset.dated_by} >= %s and {dataset.dated_by} < %s
            order by {", ".join(dataset.order)} limit 1
        )
    """  # noqa: S608
    with moves.timescale.connection() as connection:
        gone = connection.execute(query.encode(), (period.start, period.end)).rowcount
    assert gone == 1

    [refused] = moves.archive.archive(dataset, [period])
    assert refused.status is ArchiveStatus.REFUSED
    dropped = moves.retention.drop(dataset, period.label, by="test")
    assert dropped.status is RetentionStatus.REFUSED
    moves.restore.into_hot(dataset, period.start, period.start, by="test")


def everything(world: Moves, dataset: ArchivedDataset) -> dict[tuple[Any, ...], tuple[Any, ...]]:
    """Return close and volume by key: archived rows, overridden by hot ones."""
    names = [*dataset.order, "close", "volume"]
    rows: dict[tuple[Any, ...], tuple[Any, ...]] = {}
    for name, start, end, live in tombstones(world.timescale):
        if name != dataset.name or not live:
            continue
        proofs = world.archive.proofs(dataset).values()
        [proof] = [logged.proof for logged in proofs if logged.proof.period.start == start]
        assert proof.period.end == end
        for batch in files.read_back(world.store, dataset, proof):
            rows |= _by_key(batch.select(names).to_pylist(), dataset)
    with world.timescale.connection() as connection:
        hot = f"select {', '.join(names)} from {dataset.table}"  # noqa: S608
        cursor = connection.cursor(row_factory=dict_row)
        rows |= _by_key(cursor.execute(hot.encode()).fetchall(), dataset)
    return rows


def _by_key(
    rows: Sequence[Mapping[str, Any]], dataset: ArchivedDataset
) -> dict[tuple[Any, ...], tuple[Any, ...]]:
    return {
        tuple(row[name] for name in dataset.order): (row["close"], row["volume"]) for row in rows
    }


def versions(world: Moves, dataset: ArchivedDataset) -> set[tuple[Any, ...]]:
    """Return key and values of all replaced rows."""
    names = ", ".join([*dataset.order, "close", "volume"])
    return table_rows(world.timescale, f"(select {names} from {dataset.table}_version)")  # noqa: S608


def forget(world: Moves) -> None:
    """Empty the database and the bucket between examples."""
    with world.timescale.connection() as connection:
        connection.execute(f"truncate {', '.join(TABLES)}".encode())
        connection.execute("delete from archive_log")
    for stored in list(world.store.list()):
        world.store.delete(stored.key)
