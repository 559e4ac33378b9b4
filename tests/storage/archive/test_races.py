"""Moves of rows that meet each other, or other writers and readers."""

import threading
import time
from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

import psycopg
import pytest

from marketdata.archiving import ARCHIVED
from marketdata.recovery import errors
from resources.storage.aggregates import SourceTable
from resources.storage.archive.maintain.rebuild import ArchiveRebuild
from resources.storage.archive.restore.hot_rows import HotRows
from resources.storage.archive.restore.restore import Restore
from resources.storage.archive.retain import retention as retention_module
from resources.storage.archive.retain.outcomes import Missing, RetentionStatus
from resources.storage.instruments import InstrumentStore
from resources.storage.timescale import Timescale
from sandbox.local_world import LocalWorld
from sandbox.scratch_databases import scratch_database
from tests.storage.archive.moves import JANUARY, Moves, load, minutes, table_rows, tombstones
from tests.storage.batches import FETCHED_AT

pytestmark = pytest.mark.usefixtures("quick_locks")

MINUTES = ARCHIVED["minute_bars"]
DAY = JANUARY.date()
LATER = FETCHED_AT + timedelta(days=1)


@pytest.fixture
def proven(moves: Moves, subjects: dict[str, list[int]]) -> Moves:
    """A January of minutes that is ready to be dropped."""
    load(moves.timescale, "minute_bars", minutes(subjects["minute_bars"], JANUARY, 40))
    moves.prove("minute_bars", "2024-01")
    return moves


@pytest.fixture
def dropped(proven: Moves) -> Moves:
    """The same, dropped."""
    assert proven.retention.drop(MINUTES, "2024-01", by="test").status == "dropped"
    return proven


def closes(moves: Moves, instrument_id: int) -> list[float]:
    """Return the closes of an instrument's first minute, versions first."""
    query = """
        select close from {} where instrument_id = %s and opened_at = %s order by known_from
    """
    with moves.timescale.connection() as connection:
        return [
            row[0]
            for table in ("minute_bar_version", "minute_bar")
            for row in connection.execute(
                query.format(table).encode(), (instrument_id, JANUARY)
            ).fetchall()
        ]


def test_a_restore_does_not_bring_back_what_was_replaced_while_it_waited(
    dropped: Moves, subjects: dict[str, list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A late row that a retention has joined meanwhile is in the newer file only."""
    share = subjects["minute_bars"][0]
    load(dropped.timescale, "minute_bars", {(share, JANUARY): 555.0}, fetched_at=LATER)
    # It waits between its choice of files and this; nothing public lies there.
    whole = Restore._into_hot  # pyright: ignore[reportPrivateUsage]

    def into_hot(self: Restore, *arguments: Any) -> Any:
        monkeypatch.setattr(Restore, "_into_hot", whole)
        [outcome] = dropped.retention.run(["minute_bars"], by="test")
        assert outcome.late
        return whole(self, *arguments)

    monkeypatch.setattr(Restore, "_into_hot", into_hot)

    with pytest.raises(errors.StorageUnavailableError, match="archived anew meanwhile"):
        dropped.restore.into_hot(MINUTES, DAY, DAY, by="test")

    assert closes(dropped, share) == [101.0]  # The version; the row lies in the archive.
    dropped.restore.into_hot(MINUTES, DAY, DAY, by="test")
    assert closes(dropped, share) == [101.0, 555.0]


def test_a_refresh_that_began_before_the_drop_does_not_empty_the_aggregates(
    proven: Moves, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A calendar that changes while rows are compared: its invalidation waits for the tombstone."""
    bars = table_rows(proven.timescale, "bars_5m")
    whole, others = retention_module.remove, list[threading.Thread]()

    def calendar_changes() -> None:
        with proven.timescale.connection() as connection:
            connection.execute(
                """insert into minute_bar_invalidation (instrument_id, provider, span)
                   select distinct instrument_id, provider,
                          tstzrange('2024-01-02 14:30Z', '2024-01-02 21:00Z') from bars_5m"""
            )
        proven.aggregates.refresh(SourceTable.MINUTES)

    def remove(connection: Any, rows: HotRows) -> int:
        others.append(in_thread(calendar_changes))
        time.sleep(1.0)
        return whole(connection, rows)

    monkeypatch.setattr(retention_module, "remove", remove)

    assert proven.retention.drop(MINUTES, "2024-01", by="test").status == "dropped"
    others[0].join(30)
    assert bars
    assert table_rows(proven.timescale, "bars_5m") == bars


def test_a_drop_behind_somebody_who_changes_the_table_gives_way(
    proven: Moves, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its rows are read on a second connection, whose wait the server cannot detect."""
    whole = retention_module.lock_writers_out
    with psycopg.connect(proven.timescale.url) as other:

        def lock_writers_out(connection: Any, rows: HotRows) -> None:
            whole(connection, rows)
            in_thread(lambda: other.execute("alter table minute_bar add column more integer"))
            time.sleep(0.5)

        monkeypatch.setattr(retention_module, "lock_writers_out", lock_writers_out)
        outcome = proven.retention.drop(MINUTES, "2024-01", by="test")

    assert [refusal.missing for refusal in outcome.refusals] == [Missing.TURN]
    assert tombstones(proven.timescale) == []


def test_a_late_period_that_cannot_be_restored_holds_up_no_other(
    dropped: Moves, subjects: dict[str, list[int]]
) -> None:
    """The plan says so too."""
    late = {(subjects["minute_bars"][0], JANUARY): 555.0}
    load(dropped.timescale, "minute_bars", late, fetched_at=LATER)
    load(dropped.timescale, "crypto_bars", minutes(subjects["crypto_bars"], JANUARY, 3))
    [key] = dropped.archive.proofs(MINUTES)["2024-01"].proof.object_keys
    dropped.store.delete(key)

    planned = {period.dataset: period for period in dropped.retention.plan()}
    done = {period.dataset: period for period in dropped.retention.run(by="test")}

    assert planned["minute_bars"].status is RetentionStatus.REFUSED
    assert [refusal.missing for refusal in done["minute_bars"].refusals] == [Missing.FILES]
    assert done["minute_bars"].late
    assert done["crypto_bars"].status is RetentionStatus.DROPPED


def test_a_late_period_waits_for_a_writer_without_ending_the_run(
    dropped: Moves, subjects: dict[str, list[int]]
) -> None:
    """It is refused this time, and settled by the next run."""
    late = {(subjects["minute_bars"][0], JANUARY): 555.0}
    load(dropped.timescale, "minute_bars", late, fetched_at=LATER)
    with psycopg.connect(dropped.timescale.url) as other:
        other.execute("lock table minute_bar in row exclusive mode")
        [outcome] = dropped.retention.run(["minute_bars"], by="test")
        assert [refusal.missing for refusal in outcome.refusals] == [Missing.TURN]

    [outcome] = dropped.retention.run(["minute_bars"], by="test")
    assert (outcome.status, outcome.late) == (RetentionStatus.DROPPED, True)


def test_a_dry_run_does_not_promise_what_the_archive_will_refuse(
    proven: Moves,
) -> None:
    """Rows that are gone from the database are not replaced by fewer."""
    with proven.timescale.connection() as connection:
        connection.execute("delete from minute_bar where opened_at = %s", (JANUARY,))

    [planned] = proven.retention.plan(["minute_bars"])
    [done] = proven.retention.run(["minute_bars"], by="test")

    assert planned.status is RetentionStatus.REFUSED
    assert done.status is RetentionStatus.REFUSED


def test_an_archive_of_other_instruments_is_not_restored(
    dropped: Moves, world: LocalWorld, migrated_template: str
) -> None:
    """The archive names instruments by id, which differ in another database."""
    with (
        scratch_database(world, "test", copy_of=migrated_template) as url,
        Timescale(url) as elsewhere,
    ):
        pairs = {f"{name}-USD": name for name in ("XXX", "YYY", "ZZZ")}
        InstrumentStore(elsewhere).register("pair", pairs, date(2023, 1, 1))
        other = Moves(elsewhere, dropped.store, dropped.aggregates)
        ArchiveRebuild(elsewhere, dropped.store, by="a test").rebuild(MINUTES)

        with pytest.raises(errors.ArchiveMismatchError, match="another one in this database"):
            other.restore.into_hot(MINUTES, DAY, DAY, by="test")
        assert table_rows(elsewhere, "minute_bar") == set()


def in_thread(does: Callable[[], object]) -> threading.Thread:
    """Start a call that may have to wait."""
    started = threading.Thread(target=does, daemon=True)
    started.start()
    return started
