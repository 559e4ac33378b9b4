"""Which engine keeps the bars, and the change from one to the other on a living database."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from time import monotonic, sleep

import psycopg
import pytest

from marketdata.bars import Interval
from marketdata.recovery import errors
from resources.storage.aggregates import SourceTable, engines
from resources.storage.aggregates.continuous_engine import ContinuousAggregates
from resources.storage.aggregates.engines import Engine, EngineSetting
from resources.storage.aggregates.rollup_engine import RollUps
from resources.storage.instruments import InstrumentStore
from resources.storage.timescale import COMMUNITY, Timescale
from tests.storage.aggregate_contract import Market, each_minute, flat, minutes, utc

MAY, JUNE = date(2024, 5, 1), date(2024, 6, 1)


@pytest.fixture
def market(timescale: Timescale, instrument_ids: list[int]) -> Market:
    """Three shares and a pair, without a bar, kept by roll-ups."""
    pairs = InstrumentStore(timescale).register("pair", {"BTC-USD": "Bitcoin"}, date(2020, 1, 1))
    return Market(timescale, RollUps(timescale), instrument_ids, list(pairs.values()))


@pytest.fixture
def community(market: Market) -> Market:
    """The same market, where the server has both engines."""
    if market.timescale.server().edition != COMMUNITY:
        pytest.skip("the connected database is not of the Community edition")
    return market


@pytest.fixture
def native(community: Market) -> Market:
    """The same market, kept by continuous aggregates."""
    assert change(community, EngineSetting.CONTINUOUS_AGGREGATES) is Engine.CONTINUOUS_AGGREGATES
    return community


def change(market: Market, setting: EngineSetting) -> Engine:
    """Put an engine in force, and let the market be kept by it."""
    engine = engines.put_in_force(market.timescale, setting)
    market.aggregates = engines.opened(market.timescale, setting)
    assert engines.in_force(market.timescale) is engine
    return engine


def load_some(market: Market) -> None:
    """Load minutes and days of shares and a pair."""
    market.load_minutes(market.shares[0], minutes(utc("2024-05-31 12:00"), 600, 1))
    market.load_minutes(market.shares[1], minutes(utc("2024-06-03 12:00"), 600, 2))
    market.load_minutes(market.pairs[0], minutes(utc("2024-06-03 12:00"), 900, 3), "binance")
    days = [date(2023, 12, 20) + timedelta(days=offset) for offset in range(30)]
    market.load_days(market.shares[0], {day: 10.0 + day.day for day in days})


def all_bars(market: Market) -> dict[Interval, list[dict[str, object]]]:
    """Return what readers see of every interval."""
    return {interval: market.bars(interval) for interval in Interval}


def definitions(market: Market) -> list[tuple[object, ...]]:
    """Return all views of the database and what they are made of."""
    return market.execute(
        "select viewname, definition from pg_views where schemaname = 'public' order by 1"
    )


def test_auto_means_roll_ups_on_every_edition(market: Market) -> None:
    """Roll-ups are right on all of them; the other engine has to be asked for by name."""
    assert engines.in_force(market.timescale) is Engine.ROLLUPS
    assert engines.chosen(market.timescale, EngineSetting.AUTO) is Engine.ROLLUPS
    assert engines.chosen(market.timescale, EngineSetting.ROLLUPS) is Engine.ROLLUPS
    assert change(market, EngineSetting.AUTO) is Engine.ROLLUPS
    assert market.aggregates.engine == Engine.ROLLUPS


def test_auto_takes_a_database_of_continuous_aggregates_back_to_roll_ups(native: Market) -> None:
    """Until `wrdata migrate` does that, the engine in force is opened."""
    load_some(native)
    native.refresh()
    opened = engines.opened(native.timescale, EngineSetting.AUTO)
    assert isinstance(opened, ContinuousAggregates)

    assert change(native, EngineSetting.AUTO) is Engine.ROLLUPS

    native.require_equal()
    native.require_no_difference()


def test_an_engine_that_the_edition_does_not_have_is_refused_with_the_cure(
    timescale: Timescale,
) -> None:
    """There is no silent fallback to the other engine."""
    if timescale.server().edition == COMMUNITY:
        pytest.skip("the connected database has every engine")

    with pytest.raises(errors.ConfigurationError, match="set it to auto or rollups"):
        engines.put_in_force(timescale, EngineSetting.CONTINUOUS_AGGREGATES)

    assert engines.in_force(timescale) is Engine.ROLLUPS


def test_an_engine_that_is_not_in_force_is_not_opened(community: Market) -> None:
    """Its name is in the environment, but the database is unchanged."""
    timescale = community.timescale
    with pytest.raises(errors.ConfigurationError, match="wrdata migrate"):
        engines.opened(timescale, EngineSetting.CONTINUOUS_AGGREGATES)

    engines.put_in_force(timescale, EngineSetting.CONTINUOUS_AGGREGATES)

    with pytest.raises(errors.ConfigurationError, match="wrdata migrate"):
        engines.opened(timescale, EngineSetting.ROLLUPS)
    assert isinstance(engines.opened(timescale, EngineSetting.AUTO), ContinuousAggregates)


def test_readers_see_the_same_bars_through_both_changes(community: Market) -> None:
    """There and back, at once after each change and after the refresh that follows it."""
    load_some(community)
    community.refresh()
    views, bars = definitions(community), all_bars(community)

    change(community, EngineSetting.CONTINUOUS_AGGREGATES)
    assert all_bars(community) == bars
    community.refresh()
    community.require_equal()
    assert all_bars(community) == bars

    community.load_minutes(community.shares[0], flat([utc("2024-05-31 15:00")], 99.0))
    change(community, EngineSetting.ROLLUPS)
    assert [community.aggregates.waiting(source) for source in SourceTable] == [0, 0]
    assert definitions(community) == views
    community.require_equal()
    assert max(bar["high"] for bar in community.bars(Interval.HOUR)) == 99.0


def test_bars_that_the_server_has_lost_are_not_taken_over(native: Market) -> None:
    """Wrong bars are not carried over: the other engine equals the source."""
    load_some(native)
    native.refresh()
    for view, change_of in (("rollup_1q", "set close = 396.4"), ("shares_1h", "set high = 99")):
        [(kept,)] = native.execute(
            """select format('%%I.%%I', materialization_hypertable_schema,
                      materialization_hypertable_name)
               from timescaledb_information.continuous_aggregates where view_name = %s""",
            view,
        )
        native.execute(f"update {kept} {change_of}")
    assert native.aggregates.differences(Interval.QUARTER)

    change(native, EngineSetting.ROLLUPS)

    native.require_equal()
    native.require_no_difference()


def test_a_change_that_was_interrupted_is_completed_by_the_next_refresh(
    native: Market, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bars that were taken over are recomputed first."""
    load_some(native)
    native.refresh()

    def killed(_: object, __: EngineSetting) -> RollUps:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(engines, "opened", killed)
        with pytest.raises(KeyboardInterrupt):
            engines.put_in_force(native.timescale, EngineSetting.ROLLUPS)

    native.aggregates = engines.opened(native.timescale, EngineSetting.AUTO)
    assert all(native.aggregates.waiting(source) for source in SourceTable)
    native.execute("update rollup_1q set close = 396.4")
    native.refresh()
    native.require_equal()


def test_settling_again_changes_nothing(native: Market) -> None:
    """What has been refreshed stays so."""
    load_some(native)
    native.refresh()

    assert change(native, EngineSetting.CONTINUOUS_AGGREGATES) is Engine.CONTINUOUS_AGGREGATES

    assert [native.aggregates.waiting(source) for source in SourceTable] == [0, 0]


def test_who_still_holds_the_other_engine_settles_nothing(community: Market) -> None:
    """A worker from before the change ends with an error; waiting changes stay."""
    old = RollUps(community.timescale)
    change(community, EngineSetting.CONTINUOUS_AGGREGATES)
    load_some(community)
    waiting = [community.aggregates.waiting(source) for source in SourceTable]

    for source in SourceTable:
        with pytest.raises(errors.StorageConflictError, match="keep the bars of this database"):
            old.refresh(source)

    assert [community.aggregates.waiting(source) for source in SourceTable] == waiting
    community.refresh()
    community.require_equal()

    older = community.aggregates
    change(community, EngineSetting.ROLLUPS)
    community.load_minutes(community.shares[0], flat([utc("2024-05-31 15:00")], 99.0))
    with pytest.raises(errors.StorageConflictError):
        older.refresh(SourceTable.MINUTES)
    assert community.aggregates.waiting(SourceTable.MINUTES) > 0


def test_a_refresh_that_is_interrupted_is_repeated(native: Market) -> None:
    """Here the server gives up after the bars are materialized and before that is noted."""
    load_some(native)
    native.execute(
        "create function give_up() returns trigger language plpgsql as"
        " $$ begin raise exception 'given up'; end $$"
    )
    for table in ("minute_bar_invalidation", "daily_bar_invalidation"):
        native.execute(
            f"create trigger give_up before delete on {table} execute function give_up()"
        )
    waiting = [native.aggregates.waiting(source) for source in SourceTable]

    for source in SourceTable:
        with pytest.raises(errors.StorageConflictError, match="given up"):
            native.aggregates.refresh(source)

    assert [native.aggregates.waiting(source) for source in SourceTable] == waiting
    native.execute("drop function give_up() cascade")
    native.refresh()
    native.require_equal()
    assert [native.aggregates.waiting(source) for source in SourceTable] == [0, 0]


def test_the_newest_bars_are_seen_before_any_refresh(native: Market) -> None:
    """Bars after the last refreshed one are computed from the minutes."""
    load_some(native)
    native.refresh()

    native.load_minutes(
        native.shares[2], flat(each_minute(utc("2024-06-04 14:00"), utc("2024-06-04 15:00")), 7.0)
    )

    assert native.bars(Interval.HOUR, native.shares[2]) == [
        {
            "instrument_id": native.shares[2], "provider": "polygon",
            "bucket_start": utc("2024-06-04 14:00"), "phase": "regular",
            "open": 7.0, "high": 7.0, "low": 7.0, "close": 7.0, "volume": 600.0, "vwap": 7.0,
            "trades": 120, "source_bars": 60,
        }
    ]  # fmt: skip


def test_the_server_keeps_the_last_days_up_to_date_on_its_own(native: Market) -> None:
    """Its policies, run by hand here: a restated minute of yesterday reaches every level."""
    yesterday = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    minute = yesterday - timedelta(hours=8)
    pair = native.pairs[0]
    native.load_minutes(pair, flat([minute, yesterday - timedelta(hours=2)], 5.0), "binance")
    native.refresh()
    native.load_minutes(pair, flat([minute], 6.0), "binance")
    assert {bar["high"] for bar in native.bars(Interval.HOUR)} == {5.0}

    jobs = native.execute(
        "select job_id from timescaledb_information.jobs"
        " where proc_name = 'policy_refresh_continuous_aggregate' order by job_id"
    )
    with native.timescale.connection() as connection:
        connection.commit()
        connection.autocommit = True
        for (job,) in jobs:
            connection.execute("call run_job(%s)", [job])
        connection.autocommit = False

    assert len(jobs) == 8
    for interval in (Interval.FIVE_MINUTES, Interval.QUARTER_HOUR, Interval.HOUR, Interval.DAY):
        assert max(bar["high"] for bar in native.bars(interval)) == 6.0


def test_an_engine_is_changed_beside_loads_and_refreshes(native: Market) -> None:
    """The change waits for a load that has read and will write; neither is a deadlock's victim."""
    load_some(native)
    native.refresh()
    waits = "select count(*) > 0 from pg_locks where mode = 'AccessExclusiveLock' and not granted"

    with (
        ThreadPoolExecutor(1) as pool,
        psycopg.connect(native.timescale.url) as loader,
        psycopg.connect(native.timescale.url, autocommit=True) as watcher,
    ):
        loader.execute("select from minute_bar limit 1")
        changed = pool.submit(change, native, EngineSetting.ROLLUPS)
        until = monotonic() + 60
        while watcher.execute(waits).fetchone() != (True,) and monotonic() < until:
            sleep(0.05)
        loader.execute("update minute_bar set volume = volume + 1")
        loader.commit()
        assert changed.result(60) is Engine.ROLLUPS

    native.refresh()
    native.require_equal()


def test_policies_that_an_interrupted_change_removed_are_put_back(native: Market) -> None:
    """The next `wrdata migrate` finds the engine in force that is set, and completes it."""
    count = "select count(*) from timescaledb_information.jobs where starts_with(proc_name, %s)"
    assert native.execute(count, "policy_refresh") == [(8,)]
    native.execute("select remove_continuous_aggregate_policy('continuous.shares_5m')")

    change(native, EngineSetting.CONTINUOUS_AGGREGATES)

    assert native.execute(count, "policy_refresh") == [(8,)]


def test_days_that_the_server_refreshes_on_its_own_cannot_be_dropped(native: Market) -> None:
    """Its policy knows nothing of tombstones and would erase their bars."""
    today = datetime.now(UTC).date()
    for dataset in ("minute_bars", "crypto_bars"):
        with pytest.raises(Exception, match="still refreshed by the server"):
            bury(native, dataset, today - timedelta(days=30), today - timedelta(days=1))

    bury(native, "minute_bars", today - timedelta(days=60), today - timedelta(days=30))


def test_a_database_with_dropped_days_stays_with_its_roll_ups(community: Market) -> None:
    """The other engine could not compute their bars."""
    load_some(community)
    community.refresh()
    before = all_bars(community)
    bury(community, "minute_bars", MAY, JUNE)

    with pytest.raises(errors.StorageConflictError, match="restore them first"):
        engines.put_in_force(community.timescale, EngineSetting.CONTINUOUS_AGGREGATES)
    assert change(community, EngineSetting.AUTO) is Engine.ROLLUPS

    assert all_bars(community) == before


def test_bars_of_dropped_days_are_handed_over_to_the_roll_ups(native: Market) -> None:
    """They could not be recomputed."""
    load_some(native)
    native.refresh()
    native.delete("minute_bar", native.shares[0], "opened_at < '2024-06-01 00:00+00'")
    native.execute("delete from minute_bar_invalidation")
    bury(native, "minute_bars", MAY, JUNE)
    before = all_bars(native)

    change(native, EngineSetting.ROLLUPS)
    native.refresh()

    assert all_bars(native) == before
    assert native.bars(Interval.DAY, native.shares[0])


def test_refreshes_beside_loads_end_equal_to_the_source(native: Market) -> None:
    """Loaders and refreshers in parallel neither deadlock nor leave an older sum behind."""
    start = utc("2024-06-03 14:00")

    def load(number: int) -> None:
        share = native.shares[number % 3]
        native.load_minutes(share, flat(each_minute(start, start + timedelta(hours=1)), 5 + number))
        native.load_days(share, {date(2024, 6, 3): 5.0 + number})

    with ThreadPoolExecutor(4) as pool:
        work = [pool.submit(load, number) for number in range(9)]
        work += [pool.submit(native.refresh) for _ in range(4)]
        for future in work:
            future.result()
    native.refresh()

    native.require_equal()


def bury(market: Market, dataset: str, first: date, before: date) -> None:
    """Write the rows that retention writes after a drop."""
    market.execute(
        """
        with proof as (
            insert into archive_log (dataset, period, span, rows, bytes, files, bounds,
                content_digest, column_sha256, schema_fingerprint, snapshot_id, code_version)
            values (%(d)s, 'x', daterange(%(f)s, %(b)s), 1, 1, '[]', '{}', '', '{}', '', 1, '')
            returning archive_id
        )
        insert into archive_tombstone (dataset, span, archive_id, rows, dropped_by)
        select %(d)s, daterange(%(f)s, %(b)s), archive_id, 1, 'test' from proof
        """,
        {"d": dataset, "f": first, "b": before},
    )
