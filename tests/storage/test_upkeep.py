"""The database's upkeep: sizes of growing stores, and deletions from our own tables."""

from datetime import UTC, datetime, timedelta

from resources.storage.object_store import ObjectStore
from resources.storage.raw_zone import RawZone
from resources.storage.timescale import Timescale
from resources.storage.upkeep import RAW_ZONE, DatabaseUpkeep


def test_all_that_grows_is_measured_and_says_what_bounds_it(
    timescale: Timescale, object_store: ObjectStore
) -> None:
    """Tables are measured at once; the raw zone has the size of its last listing."""
    RawZone(object_store).keep("fmp", "GET /x", b'{"a": 1}', "4" * 64, "application/json")
    upkeep = DatabaseUpkeep(timescale)
    before = {size.store: size for size in upkeep.sizes()}
    measured = upkeep.measure_raw_zone(object_store)
    after = {size.store: size for size in upkeep.sizes()}

    assert RAW_ZONE not in before
    assert measured.estimated_entries == after[RAW_ZONE].estimated_entries == 1
    assert after[RAW_ZONE].bytes == measured.bytes > 0
    assert after[RAW_ZONE].measured_at is not None
    assert set(before) > {"rows of datasets", "replaced versions", "ingest log", "dead letters"}
    assert all(size.bound and size.bytes > 0 for size in after.values())


def test_rows_are_estimates_and_none_where_the_planner_has_not_looked_yet(
    timescale: Timescale,
) -> None:
    """Otherwise 7,000 bars count as 0 entries until their table is analyzed."""
    letters = (
        "insert into circuit_breaker_transition "
        "(provider, changed_at, from_state, to_state, failures) "
        "select 'fmp', clock_timestamp(), 'closed', 'open', 5 from generate_series(1, 300)"
    )
    upkeep = DatabaseUpkeep(timescale)
    with timescale.connection() as connection:
        connection.execute(letters)
    before = {size.store: size.estimated_entries for size in upkeep.sizes()}
    with timescale.connection() as connection:
        connection.execute("analyze circuit_breaker_transition")
    after = {size.store: size.estimated_entries for size in upkeep.sizes()}

    assert before["request budgets"] is None
    assert after["request budgets"] == 300


def test_changes_of_breakers_and_hours_of_use_go_when_nothing_counts_them(
    timescale: Timescale,
) -> None:
    """Ninety days of the one, 400 of the other."""
    now = datetime(2026, 11, 29, 12, tzinfo=UTC)
    with timescale.connection() as connection:
        for days in (89, 91):
            connection.execute(
                "insert into circuit_breaker_transition "
                "(provider, changed_at, from_state, to_state, failures) "
                "values ('fmp', %s, 'closed', 'open', 5)",
                [now - timedelta(days=days)],
            )
        for days in (399, 401):
            connection.execute(
                "insert into request_usage values ('fmp:x', %s, 'backfill', 7, 7)",
                [now - timedelta(days=days)],
            )
    pruned = DatabaseUpkeep(timescale).prune(now, by="a test", also={})

    assert (pruned.breaker_transitions, pruned.usage_hours) == (1, 1)
