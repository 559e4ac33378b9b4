"""Loaded rows that are gone are missed, whatever removed them, and asked for again."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from marketdata.archiving import ARCHIVED
from marketdata.coverage import CoverageState, holes
from marketdata.datasets import DATASETS
from resources.storage.archive import ArchiveStatus
from resources.storage.archive.retain.outcomes import Missing, RetentionStatus
from resources.storage.ledger.coverage import CoverageLedger
from resources.storage.ledger.lost_rows import LostRows, describe_loss
from tests.storage.archive.moves import (
    DROPPABLE,
    JANUARY,
    Moves,
    Rows,
    days_in,
    load,
    minutes,
    refresh,
    table_rows,
)
from tests.storage.batches import FETCHED_AT

LATER = FETCHED_AT + timedelta(days=1)
SECOND = JANUARY.replace(day=16)
"""In another chunk of minutes and trades than JANUARY."""
PERIODS = {name: "2024" if name == "daily_bars" else "2024-01" for name in DROPPABLE}


def one_day(dataset: str, ids: list[int], day: datetime, rows: int = 8) -> Rows:
    """Return a day's rows: one bar, or some minutes or trades."""
    return minutes(ids, day, 1 if dataset == "daily_bars" else rows)


def load_days(
    moves: Moves, dataset: str, ids: list[int], *days: datetime, fetched_at: datetime = FETCHED_AT
) -> None:
    """Load days as the provider sends them, complete."""
    for day in days:
        state = (CoverageState.COMPLETE, day.date(), day.date() + timedelta(days=1))
        rows = one_day(dataset, ids, day)
        load(moves.timescale, dataset, rows, states=[state], fetched_at=fetched_at)


def lose(moves: Moves, dataset: str, day: datetime, *, by: str = "delete") -> None:
    """Remove a day's rows without the loader: a chunk by hand, or by a statement."""
    archived = ARCHIVED[dataset]
    with moves.timescale.connection() as connection:
        if by == "chunk":
            connection.execute(
                "select drop_chunks(%s, older_than => %s::timestamptz, newer_than => %s)",
                (archived.table, day + timedelta(days=7), day - timedelta(days=7)),
            )
        else:
            gone = f"delete from {archived.table} where {archived.dated_by}::date = %s"  # noqa: S608
            connection.execute(gone.encode(), (day.date(),))


def letters(moves: Moves, dataset: str) -> list[tuple[Any, ...]]:
    """Return class, instrument and state of a dataset's letters."""
    with moves.timescale.connection() as connection:
        return connection.execute(
            """select error_class, instrument_id, state::text, message from dead_letter
               where dataset = %s order by instrument_id""",
            (dataset,),
        ).fetchall()


@pytest.mark.parametrize("dataset", DROPPABLE)
def test_what_is_gone_before_the_first_proof_is_a_hole_again(
    moves: Moves, subjects: dict[str, list[int]], dataset: str
) -> None:
    """The remaining rows are not proven; a load fills the hole, then it is archived."""
    ids, archived = subjects[dataset], ARCHIVED[dataset]
    load_days(moves, dataset, ids, JANUARY, SECOND)
    refresh(moves.aggregates)
    lose(moves, dataset, SECOND, by="delete" if dataset == "daily_bars" else "chunk")
    period = archived.named(PERIODS[dataset], datetime.now(UTC).date())

    (refused,) = moves.archive.archive(archived, [period])

    rows = 1 if dataset == "daily_bars" else 8
    assert refused.status is ArchiveStatus.REFUSED
    assert f"lacks {rows * len(ids)} of {rows * len(ids)} rows of {dataset}" in refused.reason
    days = "" if dataset == "daily_bars" else " --from 2024-01-16 --to 2024-01-16"
    assert f"wrdata backfill {dataset} --all{days} (" in refused.reason
    assert moves.archive.proofs(archived) == {}
    lost = {(instrument_id, SECOND.date()) for instrument_id in ids}
    assert days_in(moves.timescale, dataset, "complete") == {
        (instrument_id, JANUARY.date()) for instrument_id in ids
    }
    assert days_in(moves.timescale, dataset, "failed") == lost
    provider = "fmp" if dataset == "daily_bars" else next(iter(DATASETS[dataset].sources))
    ledger = CoverageLedger(moves.timescale).ledger(dataset, provider, ids)
    expected = [JANUARY.date(), SECOND.date()]
    assert all(
        holes(expected, ledger[instrument_id], today=date(2026, 1, 1)) == [SECOND.date()]
        for instrument_id in ids
    )
    told_of = [
        (
            "RowsLostError",
            instrument_id,
            "open",
            f"{rows} of {rows} rows that were loaded of 2024-01-16",
        )
        for instrument_id in ids
    ]
    assert [(*row[:3], row[3][: len(told_of[0][3])]) for row in letters(moves, dataset)] == told_of

    load_days(moves, dataset, ids, SECOND, fetched_at=LATER)
    assert days_in(moves.timescale, dataset, "failed") == set()
    assert moves.archive.archive(archived, [period])[0].status is ArchiveStatus.COMMITTED


@pytest.mark.parametrize("dataset", [name for name in DROPPABLE if name != "daily_bars"])
def test_one_row_of_a_day_is_missed(
    moves: Moves, subjects: dict[str, list[int]], dataset: str
) -> None:
    """Also where the day's other rows stand, and other days and instruments are whole."""
    ids, archived = subjects[dataset], ARCHIVED[dataset]
    load_days(moves, dataset, ids, JANUARY, SECOND)
    with moves.timescale.connection() as connection:
        gone = f"delete from {archived.table} where instrument_id = %s and {archived.dated_by} = %s"  # noqa: S608
        connection.execute(gone.encode(), (ids[1], JANUARY))

    lost = LostRows(moves.timescale).find(archived)

    assert [(loss.instrument_id, loss.day, loss.loaded, loss.held) for loss in lost] == [
        (ids[1], JANUARY.date(), 8, 7)
    ]
    assert f"1 of 8 rows of {dataset}" in describe_loss(archived, lost)


def test_rows_that_were_loaded_again_are_not_missed(
    moves: Moves, subjects: dict[str, list[int]]
) -> None:
    """Whether the loss was noticed or not; and a day that grows is counted as it grows."""
    ids, archived = subjects["minute_bars"], ARCHIVED["minute_bars"]
    load_days(moves, "minute_bars", ids, JANUARY)
    lose(moves, "minute_bars", JANUARY)
    load_days(moves, "minute_bars", ids, JANUARY, fetched_at=LATER)
    assert LostRows(moves.timescale).find(archived) == []

    load(moves.timescale, "minute_bars", one_day("minute_bars", ids, JANUARY, 12))
    assert LostRows(moves.timescale).find(archived) == []
    with moves.timescale.connection() as connection:
        counts = connection.execute("select instrument_id, day, rows from loaded_day").fetchall()
    assert sorted(counts) == [(instrument_id, JANUARY.date(), 12) for instrument_id in ids]


def test_what_the_archive_has_is_brought_back_from_there(
    moves: Moves, subjects: dict[str, list[int]]
) -> None:
    """No provider is asked for it, so the ledger stays as it is."""
    ids = subjects["minute_bars"]
    load_days(moves, "minute_bars", ids, JANUARY, SECOND)
    archived = moves.prove("minute_bars", "2024-01")
    before = table_rows(moves.timescale, "minute_bar")
    lose(moves, "minute_bars", SECOND)

    (refused,) = moves.archive.archive(archived, [archived.named("2024-01", date(2026, 1, 1))])

    assert "wrdata archive restore --dataset minute_bars --start 2024-01-01" in refused.reason
    assert letters(moves, "minute_bars") == []
    moves.restore.into_hot(archived, SECOND.date(), SECOND.date(), by="test")
    assert table_rows(moves.timescale, "minute_bar") == before
    assert LostRows(moves.timescale).find(archived) == []


def test_a_proof_of_what_was_left_drops_nothing(
    moves: Moves, subjects: dict[str, list[int]]
) -> None:
    """A proof from before rows were counted: the ledger keeps the day, and the rows stay."""
    ids = subjects["minute_bars"]
    load_days(moves, "minute_bars", ids, JANUARY, SECOND)
    lose(moves, "minute_bars", SECOND)
    with moves.timescale.connection() as connection:
        counts = connection.execute(
            "delete from loaded_day where day = %s returning *", (SECOND.date(),)
        ).fetchall()
    archived = moves.prove("minute_bars", "2024-01")
    with moves.timescale.connection() as connection, connection.cursor() as cursor:
        cursor.executemany("insert into loaded_day values (%s, %s, %s, %s, %s)", counts)

    (planned,) = moves.retention.plan(["minute_bars"])
    dropped = moves.retention.drop(archived, "2024-01", by="test")
    (run,) = moves.retention.run(["minute_bars"], by="test")

    assert planned.status is RetentionStatus.REFUSED
    assert [refusal.missing for refusal in dropped.refusals] == [Missing.LOADED_ROWS]
    assert run.status is RetentionStatus.REFUSED
    assert "24 of 24 rows of minute_bars that were loaded" in run.description
    assert days_in(moves.timescale, "minute_bars", "failed") == {
        (instrument_id, SECOND.date()) for instrument_id in ids
    }
    assert days_in(moves.timescale, "minute_bars", "archived") == set()


def test_days_that_are_in_the_archive_only_are_not_missed(
    moves: Moves, subjects: dict[str, list[int]]
) -> None:
    """Nor a New York evening whose hours after midnight UTC belong to the next month."""
    ids, archived = subjects["minute_bars"], ARCHIVED["minute_bars"]
    evening = datetime(2024, 1, 31, 23, 58, tzinfo=UTC)
    load(moves.timescale, "minute_bars", minutes(ids, evening, 6))
    moves.prove("minute_bars", "2024-02")
    moves.prove("minute_bars", "2024-01")
    assert moves.retention.drop(archived, "2024-01", by="test").status is RetentionStatus.DROPPED
    february = archived.named("2024-02", date(2026, 1, 1))

    assert LostRows(moves.timescale).find(archived) == []
    assert moves.archive.archive(archived, [february])[0].status is ArchiveStatus.UNCHANGED
    moves.restore.into_hot(archived, date(2024, 1, 31), date(2024, 1, 31), by="test")
    with moves.timescale.connection() as connection:
        counts = connection.execute("select day, rows from loaded_day").fetchall()
    assert counts == [(date(2024, 1, 31), 6)] * len(ids)
