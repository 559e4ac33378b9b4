"""Nothing leaves the database that is not proven to be in the archive."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from datetime import date, datetime, timedelta
from typing import Any

import psycopg
import pytest

from marketdata import coverage
from marketdata.archiving import ARCHIVED
from marketdata.coverage import CoverageState
from marketdata.recovery import errors
from marketdata.retention import parse_ages
from resources.storage.archive import ArchiveStatus
from resources.storage.archive.iceberg.commit_lock import committing
from resources.storage.archive.restore.hot_rows import HotRows, take_turn
from resources.storage.archive.retain import retention as retention_module
from resources.storage.archive.retain.outcomes import Missing, RetentionStatus
from tests.storage.archive.moves import (
    DROPPABLE,
    FEBRUARY,
    JANUARY,
    Crash,
    CrashingTimescale,
    Moves,
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
COMPLETE = (CoverageState.COMPLETE, date(2024, 1, 1), date(2024, 3, 1))
LATER = FETCHED_AT + timedelta(days=1)
VIEWS = {
    "minute_bar": ("bars_5m", "bars_15m", "bars_1h", "bars_1d"),
    "daily_bar": ("bars_1w", "bars_1mo", "bars_1q", "bars_1y"),
    "trade": (),
}


@pytest.fixture
def january(moves: Moves, subjects: dict[str, list[int]]) -> Moves:
    """Minutes of shares in January, with every proof."""
    ids = subjects["minute_bars"]
    load(moves.timescale, "minute_bars", minutes(ids, JANUARY, 40), states=[COMPLETE])
    moves.prove("minute_bars", "2024-01")
    return moves


def refused(moves: Moves, label: str = "2024-01") -> dict[Missing, str]:
    """Try to drop; check that nothing happened, and return what is missing."""
    before = table_rows(moves.timescale, "minute_bar")
    invalidations = table_rows(moves.timescale, "minute_bar_invalidation")
    outcome = moves.retention.drop(MINUTES, label, by="test")
    assert outcome.status is RetentionStatus.REFUSED
    assert table_rows(moves.timescale, "minute_bar") == before
    assert table_rows(moves.timescale, "minute_bar_invalidation") == invalidations
    assert tombstones(moves.timescale) == []
    assert days_in(moves.timescale, "minute_bars", "archived") == set()
    return {refusal.missing: refusal.reason for refusal in outcome.refusals}


@pytest.mark.parametrize("dataset", DROPPABLE)
def test_a_proven_period_leaves_and_nothing_else(
    moves: Moves, subjects: dict[str, list[int]], dataset: str
) -> None:
    """Neighbours in time and in the same table stay, and so do aggregates of the rows."""
    covered = ARCHIVED[dataset]
    neighbours = [other for other in DROPPABLE if ARCHIVED[other].table == covered.table]
    for name in neighbours:
        for start in (JANUARY, FEBRUARY, datetime(2025, 2, 3, 15, tzinfo=JANUARY.tzinfo)):
            rows = moments(name, subjects[name], start, 7)
            load(moves.timescale, name, rows, states=[COMPLETE])
    label = "2024" if dataset == "daily_bars" else "2024-01"
    moves.prove(dataset, label)
    going = moments(dataset, subjects[dataset], JANUARY, 7)
    if dataset == "daily_bars":
        going |= moments(dataset, subjects[dataset], FEBRUARY, 7)
    keys = {(key[0], key[1].date() if dataset == "daily_bars" else key[1]) for key in going}
    before = table_rows(moves.timescale, covered.table)
    bars = {view: table_rows(moves.timescale, view) for view in VIEWS[covered.table]}

    outcome = moves.retention.drop(covered, label, by="test")

    assert (outcome.status, outcome.rows) == (RetentionStatus.DROPPED, len(keys))
    left = table_rows(moves.timescale, covered.table)
    moment = 1 if dataset == "daily_bars" else 2
    assert left == {row for row in before if (row[0], row[moment]) not in keys}
    assert {view: table_rows(moves.timescale, view) for view in VIEWS[covered.table]} == bars
    if VIEWS[covered.table]:
        assert table_rows(moves.timescale, f"{covered.table}_invalidation") == set()
    refresh(moves.aggregates)
    assert {view: table_rows(moves.timescale, view) for view in VIEWS[covered.table]} == bars
    [(name, start, end, live)] = tombstones(moves.timescale)
    assert (name, live) == (dataset, True)
    archived = {day for _, day in days_in(moves.timescale, dataset, "archived")}
    claimed = {date(2024, 1, 1) + timedelta(days=offset) for offset in range(60)}
    if dataset == "daily_bars":
        claimed = {moment.date() for _, moment in going}
    assert archived == {day for day in claimed if start <= day < end}
    assert not {day for _, day in days_in(moves.timescale, dataset, "complete")} & archived
    assert moves.archive.verify(covered, [label])[0].equal


def test_a_chunk_that_holds_nothing_else_is_dropped_whole(
    moves: Moves, subjects: dict[str, list[int]]
) -> None:
    """The others lose rows only; chunks do not end with the month."""
    ids = subjects["minute_bars"]
    for day in (1, 8, 15, 29):
        load(moves.timescale, "minute_bars", minutes(ids, FEBRUARY.replace(day=day), 5))
    # Pairs stand in the second of these chunks, and the last one reaches into March.
    pairs = minutes(subjects["crypto_bars"], FEBRUARY.replace(day=9), 2)
    load(moves.timescale, "crypto_bars", pairs)
    load(moves.timescale, "minute_bars", minutes(ids, FEBRUARY.replace(month=3), 2))
    moves.prove("minute_bars", "2024-02")
    assert len(chunks(moves)) == 4

    outcome = moves.retention.drop(MINUTES, "2024-02", by="test")

    assert (outcome.status, outcome.rows, outcome.chunks) == (RetentionStatus.DROPPED, 60, 2)
    assert len(chunks(moves)) == 2
    assert len(table_rows(moves.timescale, "minute_bar")) == 2 * 2 + 2 * 3


def chunks(moves: Moves) -> set[tuple[Any, ...]]:
    """Return the names of the chunks of minute bars."""
    with moves.timescale.connection() as connection:
        return set(connection.execute("select show_chunks('minute_bar')").fetchall())


def test_without_a_proof_nothing_is_dropped(moves: Moves, subjects: dict[str, list[int]]) -> None:
    """A period that was never archived stays."""
    load(moves.timescale, "minute_bars", minutes(subjects["minute_bars"], JANUARY, 3))
    refresh(moves.aggregates)

    assert "is not archived" in refused(moves)[Missing.PROOF]


def test_a_row_that_changed_after_it_was_archived_stays(january: Moves) -> None:
    """Even if the aggregates already follow it."""
    rows = minutes([1], JANUARY, 1, price=50.0)
    load(january.timescale, "minute_bars", rows, fetched_at=LATER)
    refresh(january.aggregates)

    assert "are not the 120 that were archived" in refused(january)[Missing.EQUAL_ROWS]


def test_a_missing_object_keeps_the_rows(january: Moves) -> None:
    """The proof alone is not enough."""
    [key] = january.archive.proofs(MINUTES)["2024-01"].proof.object_keys
    january.store.delete(key)

    assert key in refused(january)[Missing.FILES]


def test_an_object_that_was_changed_keeps_the_rows(january: Moves) -> None:
    """Other bytes under the same name."""
    [key] = january.archive.proofs(MINUTES)["2024-01"].proof.object_keys
    content = january.store.get(key).content
    january.store.put_bytes(key, content[:-9] + b"x" + content[-8:], content_type="x")

    assert "is not the file that was proven" in refused(january)[Missing.FILES]


def test_what_waits_for_a_refresh_keeps_the_rows(january: Moves) -> None:
    """Aggregates are never computed again after the drop."""
    load(january.timescale, "minute_bars", minutes([1], JANUARY, 1, price=50.0), fetched_at=LATER)
    january.archive.archive(MINUTES, [MINUTES.named("2024-01", date(2026, 1, 1))])

    assert "wait for the refresh" in refused(january)[Missing.REFRESH]


def test_a_wrong_aggregate_keeps_the_rows(january: Moves) -> None:
    """It could never be filled."""
    with january.timescale.connection() as connection:
        connection.execute("update rollup_1h set close = close + 1 where instrument_id = 1")

    assert "bars_1h of instrument 1" in refused(january)[Missing.AGGREGATES]


def test_provisional_days_keep_the_rows(january: Moves) -> None:
    """Their values may still change."""
    provisional = (CoverageState.PROVISIONAL, date(2024, 1, 31), date(2024, 2, 1))
    with january.timescale.connection() as connection:
        connection.execute("update coverage set sessions = sessions - '{[2024-01-31,2024-02-01)}'")
    load(january.timescale, "minute_bars", minutes([1], JANUARY, 1), states=[provisional])

    assert "provisional" in refused(january)[Missing.FINAL_DAYS]


def test_a_period_that_is_not_wholly_older_than_its_age_stays(
    january: Moves, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The age counts from its last day."""
    monkeypatch.setattr(retention_module, "_today", lambda: date(2024, 3, 1))
    assert "wholly older than 30 days" in refused(january)[Missing.AGE]
    without = january.with_ages({}).drop(MINUTES, "2024-01", by="test")
    assert without.refusals[0].missing is Missing.AGE

    monkeypatch.setattr(retention_module, "_today", lambda: date(2024, 3, 2))
    assert january.retention.drop(MINUTES, "2024-01", by="test").status == "dropped"


def test_a_year_that_is_not_over_stays(
    moves: Moves, subjects: dict[str, list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its archive still gains months."""
    monkeypatch.setattr(retention_module, "_today", lambda: date(2024, 11, 30))
    load(moves.timescale, "daily_bars", minutes(subjects["daily_bars"], JANUARY, 1))
    refresh(moves.aggregates)
    moves.archive.archive(DAYS, [DAYS.period_of(date(2024, 1, 1), date(2024, 11, 30))])

    outcome = moves.retention.drop(DAYS, "2024", by="test")

    assert outcome.refusals[0].missing is Missing.AGE
    assert moves.retention.plan(["daily_bars"]) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("splits=10d", "always stay"),
        ("daily_bars=4000d", "adjusted prices"),
        ("nothing=10d", "always stay"),
        ("minute_bars=0d", "no age"),
        ("minute_bars=10", "no age"),
        ("minute_bars", "no age"),
        ("minute_bars=1d minute_bars=2d", "two ages"),
    ],
)
def test_an_age_that_makes_no_sense_is_refused(text: str, message: str) -> None:
    """Datasets that are archived whole are never dropped."""
    with pytest.raises(ValueError, match=message):
        parse_ages(text)


def test_ages_are_read_by_dataset() -> None:
    """Without a setting nothing is ever dropped."""
    assert parse_ages("") == {}
    assert parse_ages("minute_bars=400d  crypto_trades=90d") == {
        "minute_bars": timedelta(days=400),
        "crypto_trades": timedelta(days=90),
    }


@contextmanager
def between_proof_and_lock(
    monkeypatch: pytest.MonkeyPatch, happens: Callable[[], object]
) -> Generator[None]:
    """Run a function after the files were read back, before the table is locked."""

    def turn(connection: Any, dataset: str) -> None:
        happens()
        take_turn(connection, dataset)

    with monkeypatch.context() as patched:
        patched.setattr(retention_module, "take_turn", turn)
        yield


def test_a_load_between_proof_and_lock_is_noticed(
    january: Moves, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows are compared again once the table is locked."""

    def happens() -> None:
        new = minutes([2], JANUARY + timedelta(days=3), 1)
        load(january.timescale, "minute_bars", new)
        refresh(january.aggregates)

    with between_proof_and_lock(monkeypatch, happens):
        outcome = january.retention.drop(MINUTES, "2024-01", by="test")

    assert [refusal.missing for refusal in outcome.refusals] == [Missing.EQUAL_ROWS]
    assert len(table_rows(january.timescale, "minute_bar")) == 121


def test_an_archive_run_between_proof_and_lock_is_noticed(
    january: Moves, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tombstone names the proof that was read back, or there is none."""

    def happens() -> None:
        load(january.timescale, "minute_bars", minutes([1], JANUARY, 1, 50.0), fetched_at=LATER)
        january.prove("minute_bars", "2024-01")

    with between_proof_and_lock(monkeypatch, happens):
        outcome = january.retention.drop(MINUTES, "2024-01", by="test")

    assert [refusal.missing for refusal in outcome.refusals] == [Missing.PROOF]
    assert january.retention.drop(MINUTES, "2024-01", by="test").status == "dropped"


def test_the_table_is_closed_to_writers_while_rows_are_compared(
    january: Moves, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also to writers that would create a chunk; readers continue."""
    whole, counts = retention_module.remove, list[str]()

    def remove(connection: Any, rows: HotRows) -> int:
        with psycopg.connect(january.timescale.url) as other:
            other.execute("set lock_timeout = '200ms'")
            counts.append(str(other.execute("select count(*) from minute_bar").fetchone()))
            with pytest.raises(psycopg.errors.LockNotAvailable):
                other.execute(
                    """insert into minute_bar values
                       (1, 'x', '2024-01-20 15:00Z', 1, 1, 1, 1, 1, null, null, 1, now())"""
                )
        return whole(connection, rows)

    monkeypatch.setattr(retention_module, "remove", remove)

    assert january.retention.drop(MINUTES, "2024-01", by="test").status == "dropped"
    assert counts == ["(120,)"]


@pytest.mark.parametrize(
    "statement",
    [
        "select count(*) from minute_bar",
        "update minute_bar set trades = 8 where instrument_id = 1",
    ],
)
def test_whoever_reads_or_writes_for_long_is_not_disturbed(january: Moves, statement: str) -> None:
    """The drop gives way, changes nothing, and works later."""
    with psycopg.connect(january.timescale.url) as other:
        other.execute(statement.encode())
        message = refused_while_busy(january)
        other.rollback()

    assert "busy, and nothing was moved" in message
    assert january.retention.drop(MINUTES, "2024-01", by="test").status == "dropped"


def refused_while_busy(moves: Moves) -> str:
    """Try to drop while another transaction is open; return why not."""
    outcome = moves.retention.drop(MINUTES, "2024-01", by="test")
    assert [refusal.missing for refusal in outcome.refusals] == [Missing.TURN]
    assert tombstones(moves.timescale) == []
    return outcome.refusals[0].reason


def test_two_retentions_do_not_meet(january: Moves) -> None:
    """The second one gives way; so does a restore."""
    with january.timescale.connection() as connection:
        take_turn(connection, "minute_bars")
        message = refused_while_busy(january)
        with pytest.raises(errors.StorageUnavailableError, match="another retention or restore"):
            january.restore.into_hot(MINUTES, JANUARY.date(), JANUARY.date(), by="test")

    assert "another retention or restore is at work" in message


def test_a_drop_waits_for_a_run_that_writes_to_the_archive(january: Moves) -> None:
    """Rows that the run has read must not be gone when it commits."""
    with committing(january.timescale.url, "minute_bars"):
        assert "a run is writing to archive.minute_bars" in refused_while_busy(january)


def test_a_crash_anywhere_loses_nothing_and_the_next_run_ends_it(january: Moves) -> None:
    """Before each statement in turn, until none is left."""
    rows = table_rows(january.timescale, "minute_bar")
    complete = days_in(january.timescale, "minute_bars", "complete")
    bars = {view: table_rows(january.timescale, view) for view in VIEWS["minute_bar"]}
    crashes = 0
    while True:
        with CrashingTimescale(january.timescale.url, at=crashes) as crashing:
            theirs = Moves(timescale=crashing, store=january.store, aggregates=january.aggregates)
            try:
                outcome = theirs.retention.drop(MINUTES, "2024-01", by="test")
            except Crash:
                crashes += 1
                assert table_rows(january.timescale, "minute_bar") == rows
                assert tombstones(january.timescale) == []
                assert days_in(january.timescale, "minute_bars", "complete") == complete
                assert table_rows(january.timescale, "minute_bar_invalidation") == set()
                continue
        break
    assert crashes > 12
    assert outcome.status is RetentionStatus.DROPPED
    assert table_rows(january.timescale, "minute_bar") == set()
    assert {view: table_rows(january.timescale, view) for view in VIEWS["minute_bar"]} == bars


def test_a_server_that_ends_the_session_before_the_commit_has_dropped_nothing(
    january: Moves, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The chunks come back with the rest of the transaction."""
    whole = retention_module.remove

    def remove(connection: Any, rows: HotRows) -> int:
        whole(connection, rows)
        with psycopg.connect(january.timescale.url, autocommit=True) as other:
            other.execute("select pg_terminate_backend(%s)", (connection.info.backend_pid,))
        return 1

    monkeypatch.setattr(retention_module, "remove", remove)
    with pytest.raises(errors.StorageUnavailableError):
        january.retention.drop(MINUTES, "2024-01", by="test")

    assert len(table_rows(january.timescale, "minute_bar")) == 120
    assert tombstones(january.timescale) == []


def test_a_dry_run_tells_what_a_run_would_do_and_changes_nothing(
    moves: Moves, subjects: dict[str, list[int]]
) -> None:
    """Gaps that the run itself would fill are reported and do not block."""
    ids = subjects["minute_bars"]
    load(moves.timescale, "minute_bars", minutes(ids, JANUARY, 3))
    load(moves.timescale, "minute_bars", minutes(ids, FEBRUARY, 3))
    moves.prove("minute_bars", "2024-01")
    load(moves.timescale, "minute_bars", minutes(ids, FEBRUARY, 1, 50.0), fetched_at=LATER)
    before = table_rows(moves.timescale, "minute_bar")

    planned = moves.retention.plan(["minute_bars"])

    assert [(period.label, period.status) for period in planned] == [
        ("2024-01", RetentionStatus.DUE),
        ("2024-02", RetentionStatus.DUE),
    ]
    assert planned[0].refusals == ()
    assert {refusal.missing for refusal in planned[1].refusals} == {Missing.PROOF, Missing.REFRESH}
    assert table_rows(moves.timescale, "minute_bar") == before
    assert tombstones(moves.timescale) == []
    run = moves.retention.run(["minute_bars"], by="test")
    assert [(period.label, period.status) for period in run] == [
        ("2024-01", RetentionStatus.DROPPED),
        ("2024-02", RetentionStatus.DROPPED),
    ]
    assert moves.retention.plan() == []


def test_a_run_that_cannot_archive_one_period_drops_the_others(
    january: Moves, subjects: dict[str, list[int]]
) -> None:
    """Each refusal has its reason."""
    load(january.timescale, "minute_bars", minutes(subjects["minute_bars"], FEBRUARY, 3))
    with january.timescale.connection() as connection:
        connection.execute("delete from minute_bar where opened_at < '2024-02-01' and close > 105")

    planned = january.retention.plan(["minute_bars"])
    run = january.retention.run(["minute_bars"], by="test")

    assert planned[0].status is RetentionStatus.REFUSED
    assert [period.status for period in run] == [RetentionStatus.REFUSED, RetentionStatus.DROPPED]
    assert "the archive keeps its own" in run[0].refusals[0].reason


def test_a_row_that_no_load_restated_is_refused_by_drop_run_and_restore_alike(
    january: Moves,
) -> None:
    """The archived row is the only copy of what was loaded."""
    with january.timescale.connection() as connection:
        connection.execute(
            "update minute_bar set close = close + 0.5 where instrument_id = 2 and opened_at = %s",
            (JANUARY,),
        )
    refresh(january.aggregates)
    before = table_rows(january.timescale, "minute_bar")
    proofs = january.archive.proofs(MINUTES)

    (planned,) = january.retention.plan(["minute_bars"])
    dropped = refused(january)[Missing.ARCHIVED_ROWS]
    (run,) = january.retention.run(["minute_bars"], by="test")
    with pytest.raises(errors.ArchiveMismatchError) as restoring:
        january.restore.into_hot(MINUTES, date(2024, 1, 2), date(2024, 1, 2), by="test")

    assert planned.status is RetentionStatus.REFUSED
    assert run.status is RetentionStatus.REFUSED
    for sentence in (planned.description, dropped, run.description, str(restoring.value)):
        assert (
            "minute_bars 2024-01 was altered in the database (instrument_id 2, provider" in sentence
        )
        assert "--into <schema> puts them beside the table" in sentence
    assert table_rows(january.timescale, "minute_bar") == before
    assert january.archive.proofs(MINUTES) == proofs
    assert tombstones(january.timescale) == []


def test_a_dropped_period_is_frozen_in_the_archive(january: Moves) -> None:
    """The rows that would be archived are not there."""
    january.retention.drop(MINUTES, "2024-01", by="test")

    [again] = january.archive.archive(MINUTES, [MINUTES.named("2024-01", date(2026, 1, 1))])

    assert again.status is ArchiveStatus.FROZEN
    assert january.retention.run(["minute_bars"], by="test") == []


def test_nobody_asks_for_dropped_days_again(january: Moves) -> None:
    """The planner treats archived days as settled."""
    january.retention.drop(MINUTES, "2024-01", by="test")
    archived = days_in(january.timescale, "minute_bars", "archived")
    days = sorted({day for _, day in archived})

    spans = {CoverageState.ARCHIVED: [(days[0], days[-1] + timedelta(days=1))]}
    assert coverage.holes(days, spans, today=date(2026, 1, 1)) == []
    assert len(days) == 31


def test_only_datasets_with_an_age_are_chosen(moves: Moves) -> None:
    """A typo must not look like success."""
    with pytest.raises(errors.ConfigurationError, match="no age is set"):
        moves.with_ages({}).run(["minute_bars"], by="test")


def test_an_archive_begins_with_what_was_dropped(
    moves: Moves, subjects: dict[str, list[int]]
) -> None:
    """A run over everything lists these periods too, as frozen."""
    assert moves.archive.first_day(MINUTES) is None
    load(moves.timescale, "minute_bars", minutes(subjects["minute_bars"], JANUARY, 5))
    load(moves.timescale, "minute_bars", minutes(subjects["minute_bars"], FEBRUARY, 5))
    assert moves.archive.first_day(MINUTES) == JANUARY.date()
    moves.prove("minute_bars", "2024-01")
    assert moves.retention.drop(MINUTES, "2024-01", by="test").status == "dropped"

    assert moves.archive.first_day(MINUTES) == date(2024, 1, 1)
