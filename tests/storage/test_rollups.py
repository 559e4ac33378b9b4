"""Roll-ups on a real TimescaleDB: invalidations, and the writes of a refresh.

What every engine has to fulfil is in test_aggregate_contract.py.
"""

from concurrent.futures import ThreadPoolExecutor
from datetime import date, time, timedelta

import psycopg
import pytest

from marketdata.bars import DAY_INTERVALS, MINUTE_INTERVALS, Interval
from marketdata.calendars import SessionCalendar, SessionOverride, calendar
from marketdata.recovery import errors
from resources.storage.aggregates import SourceTable, invalidations, rollup_engine
from resources.storage.aggregates.rollup_engine import RollUps
from resources.storage.aggregates.sessions import keep_sessions
from resources.storage.timescale import Timescale
from tests.storage.aggregate_contract import Market, each_minute, flat, minutes, utc

MONDAY = date(2024, 4, 29)
"""Two sessions of its week are in April, three in May."""
OPEN = utc("2024-06-03 13:30")
# Refreshes in a transaction of the test's, which stays open meanwhile.
_refresh_minutes = rollup_engine._refresh_minutes  # pyright: ignore[reportPrivateUsage]


@pytest.fixture
def market(timescale: Timescale, instrument_ids: list[int]) -> Market:
    """Three shares, without a bar, kept by roll-ups."""
    return Market(timescale, RollUps(timescale), instrument_ids, [])


def _spans(market: Market, table: str) -> list[tuple[object, ...]]:
    return market.execute(
        f"""select instrument_id, lower(span), upper(span) from {table}
            order by instrument_id, span"""  # noqa: S608
    )


def test_touched_minutes_are_noted_as_whole_buckets_within_a_month(market: Market) -> None:
    """Two minutes of one bucket are one span, and the turn of a month divides."""
    first, second, _ = market.shares
    late = utc("2024-05-31 23:55")
    market.load_minutes(first, flat(each_minute(late, late + timedelta(minutes=12)), 5.0))
    market.load_minutes(
        second, flat([OPEN + timedelta(minutes=2), OPEN + timedelta(minutes=4)], 5.0)
    )

    assert _spans(market, "minute_bar_invalidation") == [
        (first, late, utc("2024-06-01 00:00")),
        (first, utc("2024-06-01 00:00"), utc("2024-06-01 00:10")),
        (second, OPEN, OPEN + timedelta(minutes=5)),
    ]


def test_touched_days_are_one_span_a_year_and_far_ones_apart(market: Market) -> None:
    """A weekend does not divide; days between distant spans are not touched."""
    share = market.shares[0]
    near = [date(2024, 12, 20), date(2024, 12, 23), date(2024, 12, 31), date(2025, 1, 2)]
    market.load_days(share, {date(2024, 3, 1): 10.0} | dict.fromkeys(near, 10.0))

    assert _spans(market, "daily_bar_invalidation") == [
        (share, date(2024, 3, 1), date(2024, 3, 2)),
        (share, date(2024, 12, 20), date(2024, 12, 24)),
        (share, date(2024, 12, 31), date(2025, 1, 1)),
        (share, date(2025, 1, 2), date(2025, 1, 3)),
    ]


def test_equal_bars_touch_nothing(market: Market) -> None:
    """Loading equal rows again leaves nothing to refresh."""

    def load() -> list[int]:
        market.load_minutes(market.shares[0], flat([OPEN], 5.0))
        market.load_days(market.shares[0], {MONDAY: 10.0})
        return [market.aggregates.refresh(source).invalidations for source in SourceTable]

    assert load() == [1, 1]
    assert load() == [0, 0]


def test_bars_that_are_copied_in_by_hand_are_noted_too(market: Market, migrated_url: str) -> None:
    """Any write is noted: triggers do not depend on the loader."""
    with psycopg.connect(migrated_url) as connection:
        with connection.cursor().copy("copy minute_bar from stdin") as copy:
            copy.write_row((1, "polygon", OPEN, 1, 1, 1, 1, 5, None, None, 1, OPEN))
        connection.execute("update minute_bar set volume = 6")

    assert set(_spans(market, "minute_bar_invalidation")) == {
        (1, OPEN, OPEN + timedelta(minutes=5))
    }


def test_a_revised_minute_costs_one_bar_of_each_interval(market: Market) -> None:
    """Whatever lies around it, of other instruments too."""
    first, second, _ = market.shares
    bars = flat(each_minute(OPEN, OPEN + timedelta(minutes=390)), 5.0)
    for instrument_id in (first, second):
        market.load_minutes(instrument_id, bars)
    market.refresh()

    market.load_minutes(first, flat([OPEN + timedelta(minutes=200)], 6.0))
    refreshed = market.aggregates.refresh(SourceTable.MINUTES)

    assert (refreshed.buckets, refreshed.instruments) == (4, 1)
    assert refreshed.changed == dict.fromkeys(MINUTE_INTERVALS, 1)
    market.require_equal()


def test_a_revised_day_costs_one_bar_of_each_interval(market: Market) -> None:
    """Of twenty weeks of two shares, one week, month, quarter and year."""
    first, second, _ = market.shares
    days = [MONDAY + timedelta(weeks=week) for week in range(20)]
    for instrument_id in (first, second):
        market.load_days(instrument_id, dict.fromkeys(days, 10.0))
    market.refresh()

    market.load_days(first, {days[7]: 11.0})
    refreshed = market.aggregates.refresh(SourceTable.DAYS)

    assert (refreshed.buckets, refreshed.instruments) == (4, 1)
    assert refreshed.changed == dict.fromkeys(DAY_INTERVALS, 1)


def test_bars_that_come_out_equal_are_not_written(market: Market) -> None:
    """A needless recomputation leaves every row unchanged, down to its transaction."""
    share = market.shares[0]
    market.load_minutes(share, minutes(OPEN, 300))
    market.load_days(share, {MONDAY: 10.0})
    market.refresh()

    def written() -> list[list[tuple[object, ...]]]:
        return [
            market.execute(f"select xmin::text, ctid::text from rollup_{interval} order by 1, 2")  # noqa: S608
            for interval in Interval
        ]

    before = written()
    market.execute(
        """insert into minute_bar_invalidation (instrument_id, provider, span)
           values (%s, 'polygon', tstzrange(%s, %s))""",
        share, OPEN, OPEN + timedelta(hours=5),
    )  # fmt: skip
    market.execute(
        """insert into daily_bar_invalidation (instrument_id, span)
           values (%s, daterange(%s, %s))""",
        share, MONDAY, MONDAY + timedelta(days=1),
    )  # fmt: skip
    refreshed = [market.aggregates.refresh(source) for source in SourceTable]

    assert all(result.buckets > 0 for result in refreshed)
    assert [sum(result.changed.values()) for result in refreshed] == [0, 0]
    assert written() == before


def test_a_refresh_that_fails_leaves_all_of_it_to_the_next_one(market: Market) -> None:
    """Claims, and the levels that were written before the one that failed, are undone."""
    market.load_minutes(market.shares[0], minutes(OPEN, 300))
    market.execute("alter table rollup_1d add constraint broken check (close < 0)")

    with pytest.raises(errors.StorageConflictError, match="broken"):
        market.aggregates.refresh(SourceTable.MINUTES)

    assert market.aggregates.waiting(SourceTable.MINUTES) == 1
    assert market.bars(Interval.FIVE_MINUTES) == []
    market.execute("alter table rollup_1d drop constraint broken")
    market.refresh()
    market.require_equal()


def test_a_large_backfill_is_refreshed_in_slices_and_each_one_stays(
    market: Market, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No transaction recomputes more than its share; finished slices stay."""
    share = market.shares[0]
    for day in range(3, 8):
        market.load_minutes(share, flat([utc(f"2024-06-0{day} 14:00")], float(day)))
        market.load_days(share, {date(2019 + day, 6, 3): float(day)})
    monkeypatch.setattr(invalidations, "MOST_TIME", timedelta(minutes=10))
    monkeypatch.setitem(invalidations.MOST_CLAIMS, SourceTable.DAYS, 2)
    market.execute(
        "alter table rollup_1d add constraint broken check (bucket_start < '2024-06-07')"
    )

    with pytest.raises(errors.StorageConflictError, match="broken"):
        market.aggregates.refresh(SourceTable.MINUTES)

    assert market.aggregates.waiting(SourceTable.MINUTES) == 1
    assert len(market.bars(Interval.DAY)) == 4
    market.execute("alter table rollup_1d drop constraint broken")
    assert market.aggregates.refresh(SourceTable.MINUTES).invalidations == 1
    assert market.aggregates.refresh(SourceTable.DAYS).invalidations == 5
    market.require_equal()


def test_wrong_missing_and_stray_bars_are_found_and_waiting_ones_not_judged(
    market: Market,
) -> None:
    """The comparison separates wrong bars from those not refreshed yet."""
    first, second, third = market.shares
    for instrument_id in (first, second):
        market.load_minutes(instrument_id, flat([OPEN], 5.0))
        market.load_days(instrument_id, {MONDAY: 10.0})
    market.refresh()
    market.load_minutes(third, flat([OPEN], 5.0))
    market.load_days(third, {MONDAY: 10.0})

    for interval in Interval:
        wrong = f"update rollup_{interval} set high = 99 where instrument_id = %s"  # noqa: S608
        market.execute(wrong, first)
        market.execute(f"delete from rollup_{interval} where instrument_id = %s", second)  # noqa: S608
        differences = market.aggregates.differences(interval)
        assert [
            (difference.instrument_id, difference.difference) for difference in differences
        ] == [
            (first, "the values differ"),
            (second, "this bar is missing"),
        ]
        assert len(market.aggregates.differences(interval, limit=1)) == 1
    market.execute("delete from minute_bar where instrument_id = %s", first)
    market.execute("delete from minute_bar_invalidation where instrument_id = %s", first)
    strays = market.aggregates.differences(Interval.DAY)
    assert next(difference.difference for difference in strays) == "nothing belongs to this bar"


def test_only_months_and_years_that_have_bars_are_compared(
    market: Market, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise a year of a few shares' minutes would mean months of all shares, mostly empty."""
    first, second, _ = market.shares
    market.load_minutes(first, flat([OPEN, OPEN + timedelta(days=90)], 5.0))
    market.load_minutes(second, flat([OPEN + timedelta(days=90)], 5.0))
    market.load_days(first, {date(2020, 6, 1): 5.0, date(2024, 6, 3): 5.0})
    market.load_days(second, {date(2022, 6, 1): 5.0})
    market.refresh()
    monkeypatch.setattr(rollup_engine, "COMPARED_SPANS", dict.fromkeys(SourceTable, 2))

    for interval in Interval:
        progress: list[tuple[int, int]] = []
        market.aggregates.differences(
            interval, progress=lambda *counts, to=progress: to.append(counts)
        )
        assert progress == [(2, 3), (3, 3)], interval


def test_what_only_the_source_or_only_the_roll_up_has_is_compared(market: Market) -> None:
    """No trigger notes rows that `truncate` removed, in either table."""
    first, second, _ = market.shares
    market.load_minutes(first, flat([OPEN], 5.0))
    market.load_days(first, {MONDAY: 10.0})
    market.load_days(second, {MONDAY.replace(year=2013): 10.0})
    market.refresh()

    def differences_of(interval: Interval) -> set[tuple[int, str]]:
        differences = market.aggregates.differences(interval)
        return {(difference.instrument_id, difference.difference) for difference in differences}

    for interval in Interval:
        before = market.execute(f"select * from rollup_{interval}")  # noqa: S608
        market.execute(f"create table kept_{interval} as table rollup_{interval}")
        market.execute(f"truncate rollup_{interval}")
        assert (
            len(before) == len(differences_of(interval)) == (2 if interval in DAY_INTERVALS else 1)
        )
        assert {text for _, text in differences_of(interval)} == {"this bar is missing"}
        market.execute(f"insert into rollup_{interval} table kept_{interval}")
        assert not differences_of(interval)
    market.execute("truncate minute_bar")
    market.execute("truncate daily_bar")
    for interval in Interval:
        shares = (first, second) if interval in DAY_INTERVALS else (first,)
        assert differences_of(interval) == {
            (instrument_id, "nothing belongs to this bar") for instrument_id in shares
        }


def test_a_comparison_can_be_of_some_days_or_of_a_sample(market: Market) -> None:
    """Days outside are not compared; half of two months is one of them."""
    share = market.shares[0]
    market.load_minutes(share, flat([OPEN, OPEN + timedelta(days=30)], 5.0))
    market.load_days(share, {date(2023, 6, 1): 5.0, date(2024, 6, 3): 5.0})
    market.refresh()
    for interval in (Interval.HOUR, Interval.WEEK):
        market.execute(f"update rollup_{interval} set high = 99")  # noqa: S608

    def differences_of(interval: Interval, first: date, before: date) -> int:
        return len(market.aggregates.differences(interval, within=(first, before)))

    assert differences_of(Interval.HOUR, date(2024, 6, 1), date(2024, 7, 1)) == 1
    assert differences_of(Interval.HOUR, date(2024, 8, 1), date(2024, 9, 1)) == 0
    assert differences_of(Interval.WEEK, date(2024, 1, 1), date(2025, 1, 1)) == 1
    assert differences_of(Interval.WEEK, date(2022, 1, 1), date(2025, 1, 1)) == 2
    sizes = {len(market.aggregates.differences(Interval.HOUR, sample=0.01)) for _ in range(3)}
    assert sizes <= {0, 1}
    assert len(market.aggregates.differences(Interval.HOUR, sample=1.0)) == 2


def test_refreshes_beside_loads_end_equal_to_the_bars(market: Market) -> None:
    """Loaders and refreshers in parallel neither deadlock nor leave an older sum behind."""

    def load(number: int) -> None:
        for instrument_id in market.shares:
            at = each_minute(OPEN, OPEN + timedelta(minutes=30))
            market.load_minutes(instrument_id, flat(at, 5.0 + number))
            market.load_days(instrument_id, {MONDAY: 10.0 + number})

    with ThreadPoolExecutor(6) as pool:
        work = [pool.submit(load, number) for number in range(8)]
        work += [pool.submit(RollUps(market.timescale).refresh, source)
                 for source in SourceTable for _ in range(6)]  # fmt: skip
        for future in work:
            future.result()
    market.refresh()

    assert [market.aggregates.waiting(source) for source in SourceTable] == [0, 0]
    market.require_equal()


def test_a_bar_that_no_trigger_saw_is_mended_by_computing_all_anew(market: Market) -> None:
    """A refresh of invalidated spans does not read it."""
    market.load_minutes(market.shares[0], flat(each_minute(OPEN, OPEN + timedelta(hours=1)), 10.0))
    market.refresh()
    market.execute("update rollup_1h set volume = 0")
    market.refresh()
    assert market.aggregates.differences(Interval.HOUR)

    market.refresh(everything=True)

    market.require_equal()


def test_a_session_that_changes_beside_a_refresh_waits_for_what_that_one_makes(
    market: Market,
) -> None:
    """Uncommitted bars are invisible to others: they could not be invalidated."""
    keep_sessions(market.timescale, calendar())
    day = OPEN.date()
    market.load_minutes(market.shares[0], flat(each_minute(OPEN, OPEN + timedelta(hours=6)), 10.0))
    early = SessionOverride(
        exchange="XNYS", session_date=day, status="early_close", close_local=time(13)
    )
    changed = SessionCalendar("XNYS", [early])
    with ThreadPoolExecutor(1) as pool:
        with market.timescale.connection() as connection:
            up_to = invalidations.last(connection, SourceTable.MINUTES)
            _refresh_minutes(connection, up_to)
            keeping = pool.submit(keep_sessions, market.timescale, changed)
            with pytest.raises(TimeoutError):
                keeping.result(timeout=1.0)
        assert keeping.result(timeout=30.0) == 1

    engine = RollUps(market.timescale, lambda: changed)
    assert engine.refresh(SourceTable.MINUTES).invalidations > 0
    assert all(not engine.differences(interval) for interval in MINUTE_INTERVALS)


def test_the_planner_knows_the_size_of_a_calendar_that_has_just_come(timescale: Timescale) -> None:
    """Otherwise it compares each new bar with each session, until an autovacuum."""
    with timescale.connection() as connection:
        connection.execute("delete from trading_session")
    changed = keep_sessions(timescale, calendar())

    with timescale.connection() as connection:
        row = connection.execute(
            "select reltuples from pg_class where relname = 'trading_session'"
        ).fetchone()
    assert changed > 5000
    assert row == (changed,)


def test_a_refresh_waits_for_another_one_of_the_same_share(market: Market) -> None:
    """Otherwise its hour would lack the minutes that the other one has not committed."""
    at, later = OPEN + timedelta(minutes=30), OPEN + timedelta(minutes=50)
    market.load_minutes(market.shares[0], flat([OPEN + timedelta(hours=4)], 10.0))
    market.refresh()
    market.load_minutes(market.shares[0], flat([at], 10.0))
    with ThreadPoolExecutor(1) as pool:
        with market.timescale.connection() as connection:
            up_to = invalidations.last(connection, SourceTable.MINUTES)
            _refresh_minutes(connection, up_to)
            market.load_minutes(market.shares[0], flat([later], 11.0))
            second = pool.submit(market.aggregates.refresh, SourceTable.MINUTES)
            with pytest.raises(TimeoutError):
                second.result(timeout=1.0)
        second.result(timeout=30.0)

    market.require_equal()
