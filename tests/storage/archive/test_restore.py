"""Restored rows equal the dropped ones, whatever was loaded meanwhile."""

from datetime import date, datetime, timedelta
from typing import Any

import psycopg
import pytest

from marketdata.archiving import ARCHIVED
from marketdata.coverage import CoverageState
from marketdata.recovery import errors
from resources.storage.aggregates import SourceTable
from resources.storage.archive.retain.outcomes import RetentionStatus
from tests.storage.archive.moves import (
    DROPPABLE,
    FEBRUARY,
    JANUARY,
    Crash,
    CrashingTimescale,
    Moves,
    Rows,
    days_in,
    load,
    minutes,
    moments,
    refresh,
    table_rows,
    tombstones,
)
from tests.storage.batches import FETCHED_AT

pytestmark = pytest.mark.usefixtures("quick_locks")

MINUTES, DAYS = ARCHIVED["minute_bars"], ARCHIVED["daily_bars"]
COMPLETE = (CoverageState.COMPLETE, date(2023, 12, 1), date(2024, 3, 1))
DAY = JANUARY.date()


def label_of(dataset: str) -> str:
    """Return the period that holds JANUARY."""
    return "2024" if dataset == "daily_bars" else "2024-01"


@pytest.mark.parametrize("dataset", DROPPABLE)
def test_a_dropped_period_comes_back_row_by_row(
    moves: Moves, subjects: dict[str, list[int]], dataset: str
) -> None:
    """With provider, ingest and the moment from which it is known."""
    archived, rows = ARCHIVED[dataset], moments(dataset, subjects[dataset], JANUARY, 9)
    load(moves.timescale, dataset, rows, states=[COMPLETE])
    before = table_rows(moves.timescale, archived.table)
    complete = days_in(moves.timescale, dataset, "complete")
    moves.prove(dataset, label_of(dataset))
    assert moves.retention.drop(archived, label_of(dataset), by="test").status == "dropped"
    assert table_rows(moves.timescale, archived.table) == set()

    [restored] = moves.restore.into_hot(archived, DAY, DAY, by="test")

    assert (restored.rows, restored.inserted, restored.was_dropped) == (len(rows), len(rows), True)
    assert table_rows(moves.timescale, archived.table) == before
    assert days_in(moves.timescale, dataset, "complete") == complete
    assert days_in(moves.timescale, dataset, "archived") == set()
    assert [live for *_, live in tombstones(moves.timescale)] == [False]
    [again] = moves.restore.into_hot(archived, DAY, DAY, by="test")
    assert (again.inserted, again.was_dropped) == (0, False)
    assert table_rows(moves.timescale, archived.table) == before


@pytest.mark.parametrize("dataset", DROPPABLE)
def test_rows_come_back_into_a_schema_of_their_own(
    moves: Moves, subjects: dict[str, list[int]], dataset: str
) -> None:
    """All periods of the days, and the table itself is not touched."""
    archived = ARCHIVED[dataset]
    for start in (JANUARY, FEBRUARY):
        load(moves.timescale, dataset, moments(dataset, subjects[dataset], start, 3))
    labels = [label_of(dataset)] + ([] if dataset == "daily_bars" else ["2024-02"])
    for label in labels:
        moves.prove(dataset, label)
    before = table_rows(moves.timescale, archived.table)
    moves.retention.drop(archived, labels[0], by="test")
    hot = table_rows(moves.timescale, archived.table)

    restored = moves.restore.into_schema(
        archived, DAY, FEBRUARY.date(), schema="Looked at", by="a test"
    )

    assert [part.label for part in restored] == labels
    assert sum(part.inserted for part in restored) == len(before)
    assert table_rows(moves.timescale, f'"Looked at".{archived.table}') == before
    assert table_rows(moves.timescale, archived.table) == hot
    assert [live for *_, live in tombstones(moves.timescale)] == [True]
    with pytest.raises(errors.ConfigurationError, match="is there already"):
        moves.restore.into_schema(archived, DAY, DAY, schema="Looked at", by="a test")


def test_documents_and_amounts_come_back_as_they_were(
    moves: Moves, subjects: dict[str, list[int]]
) -> None:
    """Datasets archived as a whole are restored into a schema only."""
    with moves.timescale.connection() as connection:
        connection.execute(
            """insert into income_statement (
                 instrument_id, period_type, fiscal_date, fiscal_period, fiscal_year,
                 reported_currency, answer, revenue, provider, ingest_id, known_from
               ) values (%s, 'annual', '2023-12-31', 'FY', 2023, 'USD', %s, 123.4500, 'fmp', 1,
                 now())
            """,
            (subjects["income_statements"][0], '{"b": [1.50, null, "ä"], "a": {}}'),
        )
    archived = moves.prove("income_statements", "all")

    [restored] = moves.restore.into_schema(archived, DAY, DAY, schema="scratch", by="a test")

    assert restored.inserted == 1
    with moves.timescale.connection() as connection:
        same = connection.execute(
            """select back.* is not distinct from own.*
               from scratch.income_statement as back cross join income_statement as own"""
        ).fetchall()
    assert same == [(True,)]
    with pytest.raises(errors.ConfigurationError, match="never leave the database"):
        moves.restore.into_hot(archived, DAY, DAY, by="test")


def test_days_that_are_not_archived_are_reported(moves: Moves) -> None:
    """The message names what is archived."""
    with pytest.raises(errors.ConfigurationError, match="is archived; nothing of it"):
        moves.restore.into_hot(MINUTES, DAY, DAY, by="test")


def test_files_that_were_changed_restore_nothing(
    moves: Moves, subjects: dict[str, list[int]]
) -> None:
    """The tombstone stays, so the next attempt finds everything unchanged."""
    load(moves.timescale, "minute_bars", minutes(subjects["minute_bars"], JANUARY, 3))
    moves.prove("minute_bars", "2024-01")
    moves.retention.drop(MINUTES, "2024-01", by="test")
    [key] = moves.archive.proofs(MINUTES)["2024-01"].proof.object_keys
    content = moves.store.get(key).content
    moves.store.put_bytes(key, content + b"x", content_type="x")

    with pytest.raises(errors.ArchiveMismatchError, match="not the file that was proven"):
        moves.restore.into_hot(MINUTES, DAY, DAY, by="test")

    assert table_rows(moves.timescale, "minute_bar") == set()
    assert [live for *_, live in tombstones(moves.timescale)] == [True]
    moves.store.put_bytes(key, content, content_type="x")
    assert moves.restore.into_hot(MINUTES, DAY, DAY, by="test")[0].inserted == 9


def test_a_crash_while_restoring_leaves_the_period_dropped(
    moves: Moves, subjects: dict[str, list[int]]
) -> None:
    """Before each statement in turn; the next attempt restores all of it."""
    load(moves.timescale, "minute_bars", minutes(subjects["minute_bars"], JANUARY, 3))
    rows = table_rows(moves.timescale, "minute_bar")
    moves.prove("minute_bars", "2024-01")
    moves.retention.drop(MINUTES, "2024-01", by="test")
    crashes = 0
    while True:
        with CrashingTimescale(moves.timescale.url, at=crashes) as crashing:
            theirs = Moves(timescale=crashing, store=moves.store, aggregates=moves.aggregates)
            try:
                theirs.restore.into_hot(MINUTES, DAY, DAY, by="test")
            except Crash:
                crashes += 1
                assert table_rows(moves.timescale, "minute_bar") == set()
                assert [live for *_, live in tombstones(moves.timescale)] == [True]
                continue
        break
    assert crashes > 10
    assert table_rows(moves.timescale, "minute_bar") == rows


def test_rows_that_are_lost_without_a_tombstone_come_back_too(
    moves: Moves, subjects: dict[str, list[int]]
) -> None:
    """What was restated since it was archived stays, with its one version."""
    ids = subjects["minute_bars"]
    load(moves.timescale, "minute_bars", minutes(ids, JANUARY, 4))
    moves.prove("minute_bars", "2024-01")
    later = FETCHED_AT + timedelta(days=1)
    load(moves.timescale, "minute_bars", minutes(ids[:1], JANUARY, 2, 50.0), fetched_at=later)
    rows, versions = (table_rows(moves.timescale, t) for t in ("minute_bar", "minute_bar_version"))
    with moves.timescale.connection() as connection:
        connection.execute("delete from minute_bar where instrument_id = %s", ids[1:2])

    [restored] = moves.restore.into_hot(MINUTES, DAY, DAY, by="test")

    assert (restored.inserted, restored.was_dropped) == (4, False)
    assert table_rows(moves.timescale, "minute_bar") == rows
    assert table_rows(moves.timescale, "minute_bar_version") == versions


LATE: dict[str, list[tuple[Rows, timedelta]]] = {
    "another value": [({(1, JANUARY): 77.0}, timedelta(days=1))],
    "the same value": [({(1, JANUARY): 101.0}, timedelta(days=1))],
    "an older answer": [({(1, JANUARY): 77.0}, timedelta(days=-1))],
    "a new row": [({(1, JANUARY + timedelta(days=9)): 77.0}, timedelta(days=1))],
    "another value, then another": [
        ({(1, JANUARY): 77.0}, timedelta(days=1)),
        ({(1, JANUARY): 88.0}, timedelta(days=2)),
    ],
    "another value, then the same": [
        ({(1, JANUARY): 77.0}, timedelta(days=1)),
        ({(1, JANUARY): 101.0}, timedelta(days=2)),
    ],
}


@pytest.mark.parametrize("dataset", ["daily_bars", "minute_bars"])
@pytest.mark.parametrize("case", list(LATE))
def test_late_rows_end_as_if_nothing_had_ever_been_dropped(
    moves: Moves, subjects: dict[str, list[int]], dataset: str, case: str
) -> None:
    """A run restores, archives anew and drops again: row, versions and aggregates are right."""
    archived, rows = ARCHIVED[dataset], moments(dataset, subjects[dataset], JANUARY, 3)
    load(moves.timescale, dataset, rows, states=[COMPLETE])
    moves.prove(dataset, label_of(dataset))
    moves.retention.drop(archived, label_of(dataset), by="test")
    for late, after in LATE[case]:
        load(moves.timescale, dataset, late, fetched_at=FETCHED_AT + after, states=[COMPLETE])
    refresh(moves.aggregates)
    [planned] = moves.retention.plan([dataset])
    assert (planned.status, planned.late) == (RetentionStatus.DUE, True)

    [outcome] = moves.retention.run([dataset], by="test")

    assert (outcome.status, outcome.late) == (RetentionStatus.DROPPED, True)
    assert table_rows(moves.timescale, archived.table) == set()
    assert [live for *_, live in tombstones(moves.timescale)] == [False, True]
    assert moves.retention.run([dataset], by="test") == []
    latest = dict(rows)
    for late, after in LATE[case]:
        latest |= late if after > timedelta() else {}
    moves.restore.into_hot(archived, DAY, DAY, by="test")
    assert prices(moves, archived.table) == {
        (key[0], key[1].date() if dataset == "daily_bars" else key[1]): price
        for key, price in latest.items()
    }
    require_one_history(moves, archived.table)
    refresh(moves.aggregates)
    assert no_differences(moves)
    [(count, first)] = origins(moves, archived.table)
    untouched = case in {"the same value", "an older answer"}
    assert (count, first) == ((0, True) if untouched else (len(LATE[case]), False)) or (
        case == "a new row"
    )


def prices(moves: Moves, table: str) -> dict[tuple[int, Any], float]:
    """Return the closes of a table by instrument and moment."""
    dated = "session_date" if table == "daily_bar" else "opened_at"
    with moves.timescale.connection() as connection:
        rows = connection.execute(
            f"select instrument_id, {dated}, close from {table}".encode()  # noqa: S608
        ).fetchall()
    return {(row, moment): close for row, moment, close in rows}


def origins(moves: Moves, table: str) -> list[tuple[int, bool]]:
    """Return how many versions there are, and whether the first load wrote all rows."""
    with moves.timescale.connection() as connection:
        return connection.execute(
            f"""select (select count(*) from {table}_version), bool_and(ingest_id = 1)
                from {table}""".encode()  # noqa: S608
        ).fetchall()


def require_one_history(moves: Moves, table: str) -> None:
    """Fail unless each version of a key ends where the next one, or the row, begins."""
    dated = "session_date" if table == "daily_bar" else "provider, opened_at"
    with moves.timescale.connection() as connection:
        torn = connection.execute(
            f"""select * from (
                  select *, lead(known_from) over (
                    partition by instrument_id, {dated} order by known_from) as next
                  from (
                    select instrument_id, {dated}, known_from, known_to from {table}_version
                    union all
                    select instrument_id, {dated}, known_from, null from {table}
                  ) as every
                ) as followed
                where known_to is distinct from next""".encode()  # noqa: S608
        ).fetchall()
    assert torn == []


def no_differences(moves: Moves) -> bool:
    """Return whether all aggregates equal a recomputation."""
    return not [
        difference
        for source in SourceTable
        for interval in source.intervals
        for difference in moves.aggregates.differences(interval)
    ]


def test_a_week_over_new_year_is_right_after_the_old_year_was_dropped(
    moves: Moves, subjects: dict[str, list[int]]
) -> None:
    """2 January 2025 belongs to the week of 30 December 2024, whose days are gone."""
    share = subjects["daily_bars"][0]
    turn = datetime(2024, 12, 30, 15, tzinfo=JANUARY.tzinfo)
    load(moves.timescale, "daily_bars", moments("daily_bars", [share], turn, 5))
    moves.prove("daily_bars", "2024")
    assert moves.retention.drop(DAYS, "2024", by="test").status == "dropped"
    second = {(share, turn + timedelta(days=3)): 500.0}
    load(moves.timescale, "daily_bars", second, fetched_at=FETCHED_AT + timedelta(days=1))
    refresh(moves.aggregates)

    moves.with_ages({"daily_bars": timedelta(days=400)}).run(by="test")

    with moves.timescale.connection() as connection:
        week = connection.execute(
            "select bucket_start, high, source_bars from bars_1w order by bucket_start"
        ).fetchall()
    assert week[0] == (date(2024, 12, 30), 501.0, 5)


def test_a_year_that_was_restored_draws_in_the_next_one_over_new_year(
    moves: Moves, subjects: dict[str, list[int]]
) -> None:
    """The week between them is made of both: one run settles it."""
    share = subjects["daily_bars"][0]
    turn = datetime(2024, 12, 30, 15, tzinfo=JANUARY.tzinfo)
    load(moves.timescale, "daily_bars", moments("daily_bars", [share], turn, 5))
    moves.retention.run(["daily_bars"], by="test")
    moves.restore.into_hot(DAYS, turn.date(), turn.date(), by="test")
    last = {(share, turn): 500.0}
    load(moves.timescale, "daily_bars", last, fetched_at=FETCHED_AT + timedelta(days=1))

    run = moves.retention.run(["daily_bars"], by="test")

    assert [(year.label, year.status, year.late) for year in run] == [
        ("2024", RetentionStatus.DROPPED, False),
        ("2025", RetentionStatus.DROPPED, True),
    ]
    with moves.timescale.connection() as connection:
        week = connection.execute("select bucket_start, high, source_bars from bars_1w").fetchall()
    assert week == [(date(2024, 12, 30), 501.0, 5)]


def test_a_restore_gives_way_to_a_writer(moves: Moves, subjects: dict[str, list[int]]) -> None:
    """It locks the table while it puts rows in place."""
    load(moves.timescale, "minute_bars", minutes(subjects["minute_bars"], JANUARY, 3))
    moves.prove("minute_bars", "2024-01")
    moves.retention.drop(MINUTES, "2024-01", by="test")
    load(moves.timescale, "minute_bars", minutes(subjects["minute_bars"], FEBRUARY, 1))
    with psycopg.connect(moves.timescale.url) as other:
        other.execute("update minute_bar set trades = 8")
        with pytest.raises(errors.StorageUnavailableError, match="lock timeout"):
            moves.restore.into_hot(MINUTES, DAY, DAY, by="test")
        other.rollback()

    assert moves.restore.into_hot(MINUTES, DAY, DAY, by="test")[0].inserted == 9
