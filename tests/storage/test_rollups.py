"""Roll-ups on a real TimescaleDB."""

from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta

import psycopg
import pytest

from marketdata.bars import Interval
from resources.storage.batches import BatchStore
from resources.storage.rollups import RollupStore
from resources.storage.timescale import Timescale
from tests.storage.batches import batch

MONDAY = date(2024, 4, 29)
WEEK = [MONDAY + timedelta(days=offset) for offset in range(5)]
"""Two sessions in April, three in May, one ISO week."""


def rollup(url: str, view: str) -> list[tuple[object, ...]]:
    """Return the rows of a view."""
    with psycopg.connect(url) as connection:
        return connection.execute(
            psycopg.sql.SQL(
                """select bucket_start, open, high, low, close, volume, sessions
                   from {} order by instrument_id, bucket_start"""
            ).format(psycopg.sql.Identifier(view))
        ).fetchall()


def test_weeks_and_months_are_made_of_their_sessions(
    timescale: Timescale, instrument_ids: list[int], migrated_url: str
) -> None:
    """Open of the first session, close of the last, highest, lowest, sum of volumes."""
    closes = [10.0, 30.0, 20.0, 15.0, 25.0]
    BatchStore(timescale).load(
        batch([(instrument_ids[0], day, close) for day, close in zip(WEEK, closes, strict=True)])
    )
    store = RollupStore(timescale)
    week, month = store.refresh(Interval.WEEK), store.refresh(Interval.MONTH)

    assert (week.rows, week.buckets, week.instruments) == (1, 1, 1)
    assert (month.rows, month.buckets) == (2, 2)
    assert rollup(migrated_url, "bars_1w") == [(MONDAY, 9.0, 31.0, 8.0, 25.0, 100_000.0, 5)]
    assert rollup(migrated_url, "bars_1mo") == [
        (date(2024, 4, 1), 9.0, 31.0, 8.0, 30.0, 40_000.0, 2),
        (date(2024, 5, 1), 19.0, 26.0, 13.0, 25.0, 60_000.0, 3),
    ]


@pytest.mark.parametrize("interval", list(Interval))
def test_refreshing_twice_changes_nothing(
    timescale: Timescale, instrument_ids: list[int], interval: Interval
) -> None:
    """Without a load in between there is nothing to claim."""
    BatchStore(timescale).load(batch([(instrument_ids[0], MONDAY, 10.0)]))
    store = RollupStore(timescale)
    store.refresh(interval)

    again = store.refresh(interval)

    assert (again.invalidations, again.buckets, again.changed, again.rows) == (0, 0, 0, 1)


def test_only_touched_buckets_are_recomputed(
    timescale: Timescale, instrument_ids: list[int]
) -> None:
    """A revision of one bar of one instrument costs one bucket, whatever lies around it."""
    one, two, _ = instrument_ids
    days = [MONDAY + timedelta(weeks=week) for week in range(20)]
    bars, store = BatchStore(timescale), RollupStore(timescale)
    bars.load(batch([(each, day, 10.0) for each in (one, two) for day in days]))
    assert store.refresh(Interval.WEEK).buckets == 40

    bars.load(batch([(one, day, 10.0 + (day == days[7])) for day in days]))

    result = store.refresh(Interval.WEEK)
    assert (result.buckets, result.changed, result.instruments) == (1, 1, 1)
    assert store.recomputed_difference(Interval.WEEK) == []


def test_far_apart_sessions_do_not_invalidate_what_lies_between(
    timescale: Timescale, instrument_ids: list[int]
) -> None:
    """A batch of 2006 and 2024 touches two months, not eighteen years."""
    one = instrument_ids[0]
    bars, store = BatchStore(timescale), RollupStore(timescale)
    days = [date(year, 3, 1) for year in range(2006, 2025)]
    bars.load(batch([(one, day, 10.0) for day in days]))
    store.refresh(Interval.MONTH)

    bars.load(batch([(one, days[0], 11.0), (one, days[-1], 11.0)]))

    assert store.refresh(Interval.MONTH).buckets == 2


def test_a_bucket_without_bars_disappears(
    timescale: Timescale, instrument_ids: list[int], migrated_url: str
) -> None:
    """Bars that an administrator removed take their bucket with them, once it is invalidated."""
    one = instrument_ids[0]
    BatchStore(timescale).load(batch([(one, MONDAY, 10.0)]))
    store = RollupStore(timescale)
    store.refresh(Interval.WEEK)
    with psycopg.connect(migrated_url) as connection:
        connection.execute("delete from daily_bar")
    difference = store.recomputed_difference(Interval.WEEK)
    with psycopg.connect(migrated_url) as connection:
        connection.execute(
            """insert into rollup_invalidation (interval, instrument_id, span)
               values ('1w', %s, daterange(%s, %s))""",
            (one, MONDAY, MONDAY + timedelta(days=7)),
        )

    result = store.refresh(Interval.WEEK)

    assert [one.difference for one in difference] == ["no bar belongs to this bucket"]
    assert (result.changed, result.rows) == (1, 0)


def test_a_wrong_roll_up_is_found_and_a_waiting_one_is_not_judged(
    timescale: Timescale, instrument_ids: list[int], migrated_url: str
) -> None:
    """The check tells what is wrong from what has not been refreshed yet."""
    one, two, _ = instrument_ids
    bars, store = BatchStore(timescale), RollupStore(timescale)
    bars.load(batch([(one, MONDAY, 10.0)]))
    store.refresh(Interval.WEEK)
    bars.load(batch([(two, MONDAY, 10.0)]))
    with psycopg.connect(migrated_url) as connection:
        connection.execute("update bar_rollup set high = 99 where interval = '1w'")

    found = store.recomputed_difference(Interval.WEEK)

    assert [(each.instrument_id, each.difference) for each in found] == [(one, "the values differ")]
    assert store.waiting() == {Interval.WEEK: 1, Interval.MONTH: 2}


def test_refreshes_beside_loads_end_equal_to_the_bars(
    timescale: Timescale, instrument_ids: list[int]
) -> None:
    """Loaders and refreshers in parallel neither deadlock nor leave an older sum behind."""
    bars, store = BatchStore(timescale), RollupStore(timescale)

    def load(number: int) -> None:
        bars.load(batch([(each, day, 10.0 + number) for each in instrument_ids for day in WEEK]))

    with ThreadPoolExecutor(6) as pool:
        work = [pool.submit(load, number) for number in range(10)]
        work += [pool.submit(store.refresh, Interval.MONTH) for _ in range(10)]
        for one in work:
            one.result()
    store.refresh(Interval.MONTH)

    assert store.waiting().get(Interval.MONTH, 0) == 0
    assert store.recomputed_difference(Interval.MONTH) == []
