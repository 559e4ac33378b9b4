"""The contract of aggregates, on each engine that the connected database offers."""

from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from marketdata.bars import DAY_INTERVALS, MINUTE_INTERVALS, Adjustment, Interval
from marketdata.calendars import NEW_YORK, SessionCalendar, SessionOverride, calendar
from marketdata.recovery import errors
from resources.storage.adjusted_bars import AdjustedBars
from resources.storage.aggregates import Aggregates, SourceTable
from resources.storage.aggregates.continuous_engine import ContinuousAggregates
from resources.storage.aggregates.engines import Engine, EngineSetting, put_in_force
from resources.storage.aggregates.rollup_engine import RollUps
from resources.storage.instruments import InstrumentStore
from resources.storage.timescale import Timescale
from tests.storage.aggregate_contract import Market, each_minute, flat, minutes, utc

Make = Callable[..., Aggregates]
ENGINES: dict[Engine, Make] = {
    Engine.ROLLUPS: RollUps,
    Engine.CONTINUOUS_AGGREGATES: ContinuousAggregates,
}
HALF_DAY = date(2024, 7, 3)
"""The session before Independence Day ends at 13:00 in New York, which is 17:00 UTC."""


@pytest.fixture(params=list(Engine))
def engine(timescale: Timescale, request: pytest.FixtureRequest) -> Make:
    """Each engine that this database's edition has."""
    try:
        put_in_force(timescale, EngineSetting(request.param))
    except errors.ConfigurationError as error:
        pytest.skip(str(error))
    return ENGINES[request.param]


@pytest.fixture
def market(timescale: Timescale, instrument_ids: list[int], engine: Make) -> Market:
    """Three shares and two pairs, without a bar."""
    pairs = InstrumentStore(timescale).register(
        "pair", {"BTC-USD": "Bitcoin", "ETH-USD": "Ether"}, date(2020, 1, 1)
    )
    return Market(timescale, engine(timescale), instrument_ids, list(pairs.values()))


def test_every_interval_equals_a_recomputation_to_the_last_bit(market: Market) -> None:
    """Half day, both changes of the clocks, gaps, two providers, pairs, a turn of the year."""
    first, second, third = market.shares
    for number, day in enumerate(["2024-03-08", "2024-03-11", "2024-07-03", "2024-11-01"]):
        # From 4:00 to 20:00 in New York, which may be the next day of UTC.
        market.load_minutes(first, minutes(utc(f"{day} 08:00"), 1020, number))
    market.load_minutes(first, minutes(utc("2024-07-03 13:30"), 300, 7), "tiingo")
    market.load_minutes(second, minutes(utc("2024-11-29 09:00"), 960, 8, gaps=0.9))
    market.load_minutes(market.pairs[0], minutes(utc("2023-12-31 20:00"), 2000, 9), "binance")
    market.load_minutes(market.pairs[0], minutes(utc("2024-01-01 00:00"), 300, 10), "coinbase")
    sessions = calendar().sessions(date(2022, 12, 1), date(2024, 2, 20))
    market.load_days(first, {day: 10 + 0.1 * place for place, day in enumerate(sessions)})
    market.load_days(third, dict.fromkeys(sessions[::3], 7.7), Adjustment.SPLITS)

    market.refresh()

    market.require_equal()
    market.require_no_difference()
    assert len(market.bars(Interval.DAY, first)) == 5
    assert len(market.bars(Interval.YEAR, first)) == 3


def test_an_hour_that_holds_both_phases_is_two_bars(market: Market) -> None:
    """From 9:00 to 9:30 in New York is before the session, from 9:30 to 10:00 within."""
    share = market.shares[0]
    market.load_minutes(
        share, flat(each_minute(utc("2024-06-03 13:00"), utc("2024-06-03 14:00")), 5)
    )

    market.refresh()

    hour = [(bar["bucket_start"], bar["phase"], bar["source_bars"])
            for bar in market.bars(Interval.HOUR)]  # fmt: skip
    assert hour == [
        (utc("2024-06-03 13:00"), "extended", 30),
        (utc("2024-06-03 13:00"), "regular", 30),
    ]
    assert {bar["bucket_start"].minute for bar in market.bars(Interval.QUARTER_HOUR)
            if bar["phase"] == "regular"} == {30, 45}  # fmt: skip


def test_a_half_day_ends_where_the_exchange_closes(market: Market) -> None:
    """What trades after 13:00 on such a day is no part of its daily bar."""
    share = market.shares[0]
    market.load_minutes(share, flat([utc("2024-07-03 13:29")], 1.0))
    market.load_minutes(share, flat([utc("2024-07-03 13:30")], 2.0))
    market.load_minutes(share, flat([utc("2024-07-03 16:59")], 3.0))
    market.load_minutes(share, flat([utc("2024-07-03 17:00")], 4.0))

    market.refresh()

    [day] = market.bars(Interval.DAY)
    assert (day["bucket_start"], day["open"], day["close"]) == (HALF_DAY, 2.0, 3.0)
    assert (day["high"], day["low"], day["volume"], day["source_bars"]) == (3.0, 2.0, 20.0, 2)
    assert [bar["phase"] for bar in market.bars(Interval.FIVE_MINUTES)] == [
        "extended", "regular", "regular", "extended",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("day", "opens", "closes"),
    [
        (date(2024, 3, 8), "14:30", "21:00"),
        (date(2024, 3, 11), "13:30", "20:00"),
        (date(2024, 11, 1), "13:30", "20:00"),
        (date(2024, 11, 4), "14:30", "21:00"),
    ],
)
def test_sessions_follow_the_clocks_of_new_york(
    market: Market, day: date, opens: str, closes: str
) -> None:
    """A session has 390 minutes on both sides of a change, an hour apart in UTC."""
    first, last = utc(f"{day} {opens}"), utc(f"{day} {closes}")
    around = each_minute(first - timedelta(hours=2), last + timedelta(hours=2))
    market.load_minutes(market.shares[0], flat(around, 3.0))

    market.refresh()

    [bar] = market.bars(Interval.DAY)
    assert (bar["bucket_start"], bar["source_bars"]) == (day, 390)
    regular = [bar["bucket_start"] for bar in market.bars(Interval.FIVE_MINUTES)
               if bar["phase"] == "regular"]  # fmt: skip
    assert (regular[0], regular[-1]) == (first, last - timedelta(minutes=5))


def test_a_day_of_a_pair_is_one_of_utc_and_all_of_it_regular(market: Market) -> None:
    """Midnight in New York divides nothing."""
    pair = market.pairs[0]
    market.load_minutes(
        pair, flat(each_minute(utc("2024-06-03 22:00"), utc("2024-06-04 03:00")), 60.0), "binance"
    )

    market.refresh()

    days = [(bar["bucket_start"], bar["source_bars"]) for bar in market.bars(Interval.DAY)]
    assert days == [(date(2024, 6, 3), 120), (date(2024, 6, 4), 180)]
    assert {bar["phase"] for bar in market.bars(Interval.HOUR)} == {"regular"}


def test_weeks_months_quarters_and_years_are_named_by_their_first_day(market: Market) -> None:
    """The week of the turn of the year is one week, of two months, quarters and years."""
    days = [date(2024, 12, 30), date(2024, 12, 31), date(2025, 1, 2), date(2025, 1, 3)]
    market.load_days(market.shares[0], {day: 10.0 + place for place, day in enumerate(days)})

    market.refresh()

    def starts(interval: Interval) -> list[tuple[date, float, float, int]]:
        return [
            (bar["bucket_start"], bar["open"], bar["close"], bar["source_bars"])
            for bar in market.bars(interval)
        ]

    assert starts(Interval.WEEK) == [(date(2024, 12, 30), 9.0, 13.0, 4)]
    for interval, before in (
        (Interval.MONTH, date(2024, 12, 1)),
        (Interval.QUARTER, date(2024, 10, 1)),
        (Interval.YEAR, date(2024, 1, 1)),
    ):
        assert starts(interval) == [(before, 9.0, 11.0, 2), (date(2025, 1, 1), 11.0, 13.0, 2)]


def test_what_a_minute_does_not_tell_no_bar_of_it_tells(market: Market) -> None:
    """A missing vwap counts where shares were traded at it; missing trades always count."""
    share = market.shares[0]
    start = utc("2024-06-03 14:00")
    at = each_minute(start, start + timedelta(minutes=15))
    market.load_minutes(share, flat(at[:5], 10.0, volume=30.0) | flat(at[4:5], 20.0, volume=10.0))
    market.load_minutes(share, flat(at[5:10], 10.0) | flat(at[5:6], 10.0, vwap=None, volume=0.0))
    market.load_minutes(
        share, flat(at[10:15], 10.0) | flat(at[10:11], 10.0, vwap=None, trades=None)
    )

    market.refresh()

    figures = [(bar["vwap"], bar["trades"]) for bar in market.bars(Interval.FIVE_MINUTES)]
    assert figures == [((4 * 300.0 + 200.0) / 130.0, 10), (10.0, 10), (None, None)]
    [quarter] = market.bars(Interval.QUARTER_HOUR)
    assert (quarter["vwap"], quarter["trades"], quarter["volume"]) == (None, None, 220.0)
    market.require_equal()


def test_a_bar_without_volume_has_no_vwap(market: Market) -> None:
    """Zero divided by zero is unknown, and adds nothing to the hour."""
    share, start = market.shares[0], utc("2024-06-03 14:00")
    market.load_minutes(share, flat([start], 10.0, volume=0.0))
    market.load_minutes(share, flat([start + timedelta(minutes=5)], 12.0, volume=5.0))

    market.refresh()

    assert [bar["vwap"] for bar in market.bars(Interval.FIVE_MINUTES)] == [None, 12.0]
    assert [bar["vwap"] for bar in market.bars(Interval.HOUR)] == [12.0]


def test_refreshing_twice_changes_nothing(market: Market) -> None:
    """Nothing is reported as changed, and no bar changes."""
    market.load_minutes(market.shares[0], minutes(utc("2024-06-03 13:00"), 200))
    market.load_days(market.shares[0], {date(2024, 6, 3): 10.0})
    market.refresh()
    before = [market.bars(interval) for interval in Interval]

    again = [market.aggregates.refresh(source) for source in SourceTable]

    figures = [(done.invalidations, done.buckets, sum(done.changed.values())) for done in again]
    assert figures == [
        (0, 0, 0), (0, 0, 0),
    ]  # fmt: skip
    assert [market.bars(interval) for interval in Interval] == before
    assert [market.aggregates.waiting(source) for source in SourceTable] == [0, 0]


def test_late_restated_and_deleted_bars_reach_every_level(market: Market) -> None:
    """After each kind of change and a refresh, aggregates equal the source."""
    first, second, _ = market.shares
    start = utc("2024-06-03 13:00")
    bars = minutes(start, 400)
    days = dict.fromkeys(calendar().sessions(date(2024, 5, 1), date(2024, 6, 28)), 10.0)
    for instrument_id in (first, second):
        market.load_minutes(instrument_id, bars)
        market.load_days(instrument_id, days)
    market.refresh()

    late = flat([start - timedelta(minutes=3)], 40.0)
    highest = flat([start + timedelta(minutes=100)], 99.0)
    market.load_minutes(first, late | highest)
    market.load_days(first, {date(2024, 6, 5): 11.0, date(2024, 4, 30): 9.0})
    market.refresh()
    market.require_equal()
    assert max(bar["high"] for bar in market.bars(Interval.DAY, first)) == 99.0

    market.delete("minute_bar", first, "opened_at >= %s", start + timedelta(minutes=60))
    market.delete("daily_bar", first, "session_date between %s and %s",
                  date(2024, 6, 1), date(2024, 6, 30))  # fmt: skip
    market.refresh()
    market.require_equal()
    months = [bar["bucket_start"] for bar in market.bars(Interval.MONTH, first)]
    assert months == [date(2024, 4, 1), date(2024, 5, 1)]

    market.delete("minute_bar", first, "true")
    market.delete("daily_bar", first, "true")
    market.refresh()
    market.require_equal()
    assert all(market.bars(interval, first) == [] for interval in Interval)
    assert all(market.bars(interval, second) for interval in Interval)


@pytest.mark.parametrize(
    "last", [date(2024, 4, 15), date(2024, 10, 1), date(2024, 10, 16), date(2025, 1, 2)]
)
def test_a_history_that_is_restated_whole_reaches_every_bucket_whatever_day_it_ends_on(
    market: Market, last: date
) -> None:
    """TimescaleDB 2.25.1 to 2.29.2 loses a bucket that begins with the last invalidated day.

    The last month of 15 April begins with a quarter, that of 16 October too, and its last quarter.
    """
    share = market.shares[0]
    days = [*calendar().sessions(date(2022, 1, 3), last), last]
    market.load_days(share, dict.fromkeys(days, 396.4))
    market.refresh()

    market.load_days(share, dict.fromkeys(days, 198.2))
    market.refresh()

    market.require_equal()
    for interval in DAY_INTERVALS:
        assert {bar["close"] for bar in market.bars(interval)} == {198.2}, interval
        assert sum(bar["source_bars"] for bar in market.bars(interval)) == len(set(days))


def test_computing_everything_again_mends_what_no_refresh_would_look_at(
    market: Market, engine: Make
) -> None:
    """Bars that changed, are missing, or have no source left: as after a fault of the server."""
    first, second = market.shares[:2]
    for instrument_id in (first, second):
        market.load_minutes(
            instrument_id, flat([utc("2024-06-03 14:00"), utc("2024-05-31 14:00")], 5.0)
        )
        market.load_days(instrument_id, {date(2024, 6, 3): 5.0, date(2023, 6, 1): 5.0})
    market.refresh()
    _damage(market, engine, first)
    _lose_the_source(market, second)
    market.refresh()
    assert all(market.aggregates.differences(interval) for interval in Interval)

    market.refresh(everything=True)

    market.require_equal()
    market.require_no_difference()
    assert all(market.bars(interval, first) and not market.bars(interval, second)
               for interval in Interval)  # fmt: skip


def _damage(market: Market, engine: Make, instrument_id: int) -> None:
    """Change and remove stored aggregates by hand."""
    for interval in Interval:
        if engine is RollUps:
            kept = f"rollup_{interval}"
        else:
            family = f"shares_{interval}" if interval in MINUTE_INTERVALS else f"rollup_{interval}"
            [(kept,)] = market.execute(
                """select format('%%I.%%I', materialization_hypertable_schema,
                          materialization_hypertable_name)
                   from timescaledb_information.continuous_aggregates where view_name = %s""",
                family,
            )
        newest = f"(select max(bucket_start) from {kept})"  # noqa: S608
        where = f"instrument_id = {instrument_id} and bucket_start"
        market.execute(f"update {kept} set high = 99 where {where} = {newest}")  # noqa: S608
        market.execute(f"delete from {kept} where {where} < {newest}")  # noqa: S608


def _lose_the_source(market: Market, instrument_id: int) -> None:
    """Remove source bars without triggers."""
    for table in ("minute_bar", "daily_bar"):
        market.delete(table, instrument_id, "true")
        market.execute(f"delete from {table}_invalidation")  # noqa: S608


def test_computing_everything_again_leaves_what_lies_in_the_archive_only(market: Market) -> None:
    """It cannot be computed, and nothing waits for it afterwards."""
    share = market.shares[0]
    market.load_minutes(share, minutes(utc("2024-05-31 13:00"), 300))
    market.load_minutes(share, minutes(utc("2024-06-03 13:00"), 300, 2))
    market.refresh()
    before = {interval: market.bars(interval) for interval in MINUTE_INTERVALS}
    market.delete("minute_bar", share, "opened_at < '2024-06-01 00:00+00'")
    market.execute("delete from minute_bar_invalidation")
    _tombstone(market, "minute_bars", date(2024, 5, 1), date(2024, 6, 1))

    market.refresh(everything=True)

    assert {interval: market.bars(interval) for interval in MINUTE_INTERVALS} == before
    assert market.aggregates.waiting(SourceTable.MINUTES) == 0


def test_a_session_that_is_shortened_takes_its_minutes_out_of_the_day(
    market: Market, engine: Make
) -> None:
    """An override of the calendar reaches the bars of that day, though no minute has changed."""
    share, day = market.shares[0], date(2024, 6, 3)
    around = each_minute(utc("2024-06-03 13:00"), utc("2024-06-03 21:00"))
    market.load_minutes(share, flat(around, 3.0))
    market.load_minutes(market.pairs[0], flat(around, 3.0), "binance")
    market.refresh()
    shortened = SessionOverride(
        exchange=NEW_YORK, session_date=day, status="early_close", close_local=time(13)
    )
    market.sessions = SessionCalendar(NEW_YORK, [shortened])
    market.aggregates = engine(market.timescale, lambda: market.sessions)

    market.refresh()

    market.require_equal()
    assert [bar["source_bars"] for bar in market.bars(Interval.DAY, share)] == [210]
    assert [bar["source_bars"] for bar in market.bars(Interval.DAY, market.pairs[0])] == [480]


def test_bars_of_days_that_differ_in_adjustment_say_none(market: Market) -> None:
    """A month that was loaded from two providers has no adjustment, its year neither."""
    share = market.shares[0]
    market.load_days(share, {date(2024, 5, 30): 10.0, date(2024, 5, 31): 10.0})
    market.load_days(share, {date(2024, 6, 3): 10.0}, Adjustment.SPLITS)
    market.load_days(share, {date(2024, 5, 31): 10.0}, Adjustment.SPLITS)

    market.refresh()

    assert [bar["adjustment"] for bar in market.bars(Interval.MONTH)] == [None, "splits"]
    assert [bar["adjustment"] for bar in market.bars(Interval.YEAR)] == [None]


def test_a_week_with_a_split_is_right_where_it_is_made_of_adjusted_days(market: Market) -> None:
    """A split of 2 for 1 on Wednesday halves what was before it, not the whole week."""
    share = market.shares[0]
    week = [date(2024, 6, 3) + timedelta(days=offset) for offset in range(5)]
    market.load_days(share, dict(zip(week, [100.0, 102.0, 51.0, 52.0, 53.0], strict=True)))
    market.load_minutes(share, flat([utc("2024-06-04 14:00")], 102.0))
    market.load_minutes(share, flat([utc("2024-06-05 14:00")], 51.0))
    market.execute(
        """insert into split (instrument_id, ex_date, new_shares, old_shares, provider, ingest_id,
           known_from) values (%s, '2024-06-05', 2, 1, 'fmp', 1, now())""",
        share,
    )
    AdjustedBars(market.timescale).derive(share)

    market.refresh()

    def shown(view: str, columns: str) -> list[tuple[object, ...]]:
        query = f"select {columns} from {view} where instrument_id = %s"  # noqa: S608
        order = " and adjustment = 'splits' order by bucket_start" if "adjusted" in view else ""
        return market.execute(query + order, share)

    assert shown("bars_1w", "open, high, low, close, volume") == [
        (99.0, 103.0, 49.0, 53.0, 358_000.0)
    ]
    assert shown("adjusted_bars_1w", "open, high, low, close, volume, source_bars") == [
        (49.5, 54.0, 49.0, 53.0, 560_000.0, 5)
    ]
    for interval in (Interval.MONTH, Interval.QUARTER, Interval.YEAR):
        assert shown(f"adjusted_bars_{interval}", "open, close, source_bars") == [(49.5, 53.0, 5)]
    for interval in (Interval.FIVE_MINUTES, Interval.QUARTER_HOUR, Interval.HOUR, Interval.DAY):
        assert shown(f"adjusted_bars_{interval}", "close, volume, vwap, trades") == [
            (51.0, 20.0, 51.0, 2), (51.0, 10.0, 51.0, 2),
        ]  # fmt: skip


def _tombstone(market: Market, dataset: str, first: date, before: date) -> None:
    market.execute(
        """
        with proof as (
            insert into archive_log (dataset, period, span, rows, bytes, files, bounds,
                content_digest, column_sha256, schema_fingerprint, snapshot_id, code_version)
            values (%(d)s, 'x', daterange(%(f)s, %(b)s), 1, 1, '[]', '{}', '', '{}', '', 1, '')
            returning archive_id
        )
        insert into archive_tombstone (dataset, span, archive_id, rows, dropped_by)
        select %(d)s, daterange(%(f)s, %(b)s), archive_id, 1, 'contract' from proof
        """,
        {"d": dataset, "f": first, "b": before},
    )


def _restore(market: Market) -> None:
    market.execute("update archive_tombstone set restored_at = now(), restored_by = 'contract'")


def test_aggregates_of_dropped_minutes_stay_and_late_ones_wait(market: Market) -> None:
    """Bars in the archive only are not recomputed until they are restored."""
    share = market.shares[0]
    may, june = minutes(utc("2024-05-31 13:00"), 300), minutes(utc("2024-06-03 13:00"), 300, 2)
    market.load_minutes(share, may | june)
    market.refresh()
    before = {interval: market.bars(interval) for interval in Interval}
    market.delete("minute_bar", share, "opened_at < '2024-06-01 00:00+00'")
    market.execute("delete from minute_bar_invalidation")
    _tombstone(market, "minute_bars", date(2024, 5, 1), date(2024, 6, 1))

    market.load_minutes(share, flat([utc("2024-05-31 14:00")], 99.0))
    market.load_minutes(share, june)
    market.refresh()

    assert {interval: market.bars(interval) for interval in Interval} == before
    assert market.aggregates.waiting(SourceTable.MINUTES) == 1
    assert market.aggregates.differences(Interval.HOUR) == []

    market.load_minutes(share, may | flat([utc("2024-05-31 14:00")], 99.0))
    _restore(market)
    market.refresh()
    market.require_equal()
    market.require_no_difference()
    assert market.aggregates.waiting(SourceTable.MINUTES) == 0
    assert max(bar["high"] for bar in market.bars(Interval.DAY)) == 99.0


def test_what_waits_for_a_refresh_is_told_with_its_time_and_frozen_days_are_not(
    market: Market,
) -> None:
    """A refresh could not change them."""
    began, share = datetime.now(UTC), market.shares[0]
    assert [market.aggregates.waiting_since(source) for source in SourceTable] == [None, None]

    market.load_minutes(share, flat([utc("2024-05-31 14:00")], 10.0))
    market.load_days(share, {date(2024, 5, 31): 10.0})
    waiting = [market.aggregates.waiting_since(source) for source in SourceTable]
    assert all(moment is not None and moment >= began for moment in waiting)

    _tombstone(market, "minute_bars", date(2024, 5, 1), date(2024, 6, 1))
    _tombstone(market, "daily_bars", date(2024, 1, 1), date(2025, 1, 1))
    assert [market.aggregates.waiting_since(source) for source in SourceTable] == [None, None]


def test_minutes_of_pairs_are_not_frozen_by_those_of_shares(market: Market) -> None:
    """Two datasets stand in one table, and only one of them was dropped."""
    each_kind = (market.shares[0], market.pairs[0])
    for instrument in each_kind:
        market.load_minutes(instrument, flat([utc("2024-06-03 14:00")], 10.0))
    market.refresh()
    _tombstone(market, "minute_bars", date(2024, 5, 1), date(2024, 6, 1))
    for instrument in each_kind:
        market.load_minutes(instrument, flat([utc("2024-05-31 14:00")], 99.0))

    market.refresh()

    late = [bar["instrument_id"] for bar in market.bars(Interval.DAY) if bar["high"] == 99.0]
    assert late == [market.pairs[0]]
    assert market.aggregates.waiting(SourceTable.MINUTES) == 1


def test_a_week_across_the_border_of_what_was_dropped_waits_for_its_other_days(
    market: Market,
) -> None:
    """Months and years beside it are brought up to date; the week would lose its first days."""
    share = market.shares[0]
    december, january = date(2024, 12, 31), date(2025, 1, 2)
    market.load_days(share, {december: 50.0, january: 20.0})
    market.refresh()
    [week] = market.bars(Interval.WEEK)
    market.delete("daily_bar", share, "session_date < '2025-01-01'")
    market.execute("delete from daily_bar_invalidation")
    _tombstone(market, "daily_bars", date(2024, 1, 1), date(2025, 1, 1))

    market.load_days(share, {january: 90.0})
    market.refresh()

    assert market.bars(Interval.WEEK) == [week]
    assert [bar["close"] for bar in market.bars(Interval.YEAR)] == [50.0, 90.0]
    assert market.aggregates.waiting(SourceTable.DAYS) == 1
    assert all(market.aggregates.differences(interval) == [] for interval in Interval)

    market.load_days(share, {december: 50.0})
    _restore(market)
    market.refresh()
    market.require_equal()
    assert [bar["close"] for bar in market.bars(Interval.WEEK)] == [90.0]


STEPS = st.lists(
    st.one_of(
        st.tuples(
            st.just("load"),
            st.integers(0, 4),
            st.lists(st.integers(0, 130), min_size=1, max_size=12, unique=True),
            st.sampled_from([1.1, 2.3, 4.7]),
        ),
        st.tuples(st.just("delete"), st.integers(0, 4), st.integers(0, 130), st.integers(1, 60)),
        st.tuples(st.just("refresh")),
    ),
    max_size=12,
)
"""Minutes are counted from 13:00 UTC, days from Christmas: around an open, and a turn of years."""
NOON_BEFORE_OPEN, CHRISTMAS = utc("2024-12-31 13:45"), date(2024, 12, 25)


@settings(
    max_examples=20,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(steps=STEPS)
def test_any_sequence_of_changes_and_refreshes_equals_a_recomputation(
    market: Market, steps: list[tuple[object, ...]]
) -> None:
    """Loads, restatements and deletions of minutes and days, refreshed now and then."""
    instruments = [*market.shares, *market.pairs]
    market.execute("delete from minute_bar")
    market.execute("delete from daily_bar")
    for step in steps:
        match step:
            case ("load", int(place), list(offsets), float(close)):
                instrument = instruments[place]
                at = [NOON_BEFORE_OPEN + timedelta(minutes=3 * offset) for offset in offsets]
                vwap = None if close > 4 else close
                market.load_minutes(instrument, flat(at, close, vwap=vwap, volume=close * 7))
                market.load_days(instrument, {CHRISTMAS + timedelta(days=offset): close + 2
                                        for offset in offsets})  # fmt: skip
            case ("delete", int(place), int(offset), int(length)):
                start = NOON_BEFORE_OPEN + timedelta(minutes=3 * offset)
                day = CHRISTMAS + timedelta(days=offset)
                market.delete("minute_bar", instruments[place], "opened_at between %s and %s",
                              start, start + timedelta(minutes=3 * length))  # fmt: skip
                market.delete("daily_bar", instruments[place], "session_date between %s and %s",
                              day, day + timedelta(days=length))  # fmt: skip
            case _:
                market.refresh()
    market.refresh()

    market.require_equal()
    assert [market.aggregates.waiting(source) for source in SourceTable] == [0, 0]
