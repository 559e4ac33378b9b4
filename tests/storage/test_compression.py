"""Compression of old chunks: what is compressed, and that loads change it as anything else."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import psycopg
import pyarrow as pa
import pytest

from marketdata.datasets import DATASETS
from marketdata.ports import Asked, Batch
from resources.storage import compression
from resources.storage.aggregates import SourceTable, engines
from resources.storage.aggregates.engines import EngineSetting
from resources.storage.batches import BatchStore
from resources.storage.instruments import InstrumentStore
from resources.storage.timescale import COMMUNITY, Timescale
from tests.storage.aggregate_contract import Market, each_minute, flat, utc

OLD = utc("2024-03-04 14:30")
HOUR = timedelta(hours=1)


@pytest.fixture
def market(timescale: Timescale, instrument_ids: list[int]) -> Market:
    """Three shares and a pair in a database that compresses what is old."""
    if timescale.server().edition != COMMUNITY:
        pytest.skip("the connected database is not of the Community edition")
    compression.keep_compressed(timescale)
    pairs = InstrumentStore(timescale).register("pair", {"BTC-USD": "Bitcoin"}, date(2020, 1, 1))
    engine = engines.opened(timescale, EngineSetting.AUTO)
    return Market(timescale, engine, instrument_ids, list(pairs.values()))


def run_policies(market: Market) -> None:
    """Run the server's policies."""
    jobs = market.execute(
        "select job_id from timescaledb_information.jobs where proc_name = 'policy_compression'"
    )
    with psycopg.connect(market.timescale.url, autocommit=True) as connection:
        for (job,) in jobs:
            connection.execute("call run_job(%s)", [job])


def compressed_chunks(market: Market, table: str) -> list[bool]:
    """Return for each chunk, oldest first, whether it is compressed."""
    rows = market.execute(
        "select is_compressed from timescaledb_information.chunks where hypertable_name = %s"
        " order by coalesce(range_start, '-infinity'), chunk_name",
        table,
    )
    return [row[0] for row in rows]


def test_every_table_of_rows_by_day_is_compressed() -> None:
    """In the order of its key, so that one instrument's days lie together."""
    by_day = {dataset.table: dataset for dataset in DATASETS.values() if dataset.by_day}

    assert {layout.table: layout.order for layout in compression.LAYOUTS} == {
        table: ", ".join(dataset.key) for table, dataset in by_day.items()
    }


def test_an_edition_without_compression_is_left_as_it_is(timescale: Timescale) -> None:
    """There old rows go to the archive."""
    if timescale.server().edition == COMMUNITY:
        pytest.skip("the connected database can compress")

    assert compression.keep_compressed(timescale) == []
    assert compression.compressed_tables(timescale) == []


def test_old_chunks_are_compressed_and_new_ones_are_not(market: Market) -> None:
    """Minutes of months ago take less room, those of this week stay as they are."""
    today = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    market.load_minutes(market.shares[0], flat(each_minute(OLD, OLD + 5 * HOUR), 5.0))
    market.load_minutes(market.shares[0], flat(each_minute(today - HOUR, today), 5.0))
    market.load_days(market.shares[0], {date(2012, 3, 1): 5.0, today.date(): 5.0})

    run_policies(market)

    assert compressed_chunks(market, "minute_bar") == [True, False]
    assert compressed_chunks(market, "daily_bar") == [True, False]
    saved = {table.table: table for table in compression.compressed_tables(market.timescale)}
    assert saved.keys() == {"minute_bar", "trade", "daily_bar"}
    assert 0 < saved["minute_bar"].bytes_after < saved["minute_bar"].bytes_before
    assert saved["trade"].bytes_before == 0


def test_asking_for_compression_again_changes_nothing(market: Market) -> None:
    """It was set up by the fixture."""
    assert compression.keep_compressed(market.timescale) == []


def test_a_load_changes_compressed_minutes_as_any_others(market: Market) -> None:
    """Equal, restated and new minutes are distinguished, versions kept, aggregates refreshed."""
    share = market.shares[0]
    hour = each_minute(OLD, OLD + HOUR)
    market.load_minutes(share, flat(hour, 5.0))
    run_policies(market)
    market.refresh()
    assert compressed_chunks(market, "minute_bar") == [True]

    market.load_minutes(share, flat(hour, 5.0))
    assert market.aggregates.waiting(SourceTable.MINUTES) == 0

    market.load_minutes(share, flat(hour[:7], 6.0) | flat([OLD + HOUR], 7.0) | flat(hour[7:], 5.0))
    log = market.execute("select rows_inserted, rows_restated from ingest_log order by ingest_id")
    versions = market.execute("select count(*), min(close), max(close) from minute_bar_version")
    market.refresh()

    assert log == [(60, 0), (0, 0), (1, 7)]
    assert versions == [(7, 5.0, 5.0)]
    market.require_equal()


def test_minutes_deleted_from_compressed_chunks_are_noted(market: Market) -> None:
    """Whole buckets of each series, whether a few rows go or all rows of a share."""
    first, second, _ = market.shares
    for instrument_id in (first, second):
        market.load_minutes(instrument_id, flat(each_minute(OLD, OLD + HOUR), 5.0))
    market.load_days(first, {date(2012, 3, 1): 5.0, date(2012, 3, 2): 5.0})
    run_policies(market)
    market.refresh()

    market.delete("minute_bar", first, "opened_at < %s", OLD + timedelta(minutes=12))
    noted = market.execute(
        """select instrument_id, lower(joined), upper(joined)
           from (
               select instrument_id, unnest(range_agg(span)) as joined
               from minute_bar_invalidation group by instrument_id
           ) as each order by 1"""
    )
    market.delete("minute_bar", second, "true")
    market.delete("daily_bar", first, "session_date = '2012-03-01'")
    days = market.execute(
        "select instrument_id, lower(span), upper(span) from daily_bar_invalidation"
    )
    market.refresh()

    assert noted == [(first, OLD, OLD + timedelta(minutes=15))]
    assert days == [(first, date(2012, 3, 1), date(2012, 3, 2))]
    market.require_equal()
    assert market.execute("select count(*) from minute_bar") == [(48,)]


def test_more_rows_are_restated_at_once_than_the_server_would_decompress_by_default(
    market: Market,
) -> None:
    """A history that is fetched again may be longer than TimescaleDB's limit of 100,000 rows."""
    market.execute(
        """insert into minute_bar
           select %s, 'polygon', moment, 5, 5, 5, 5, 1, 5, 1, 1, now()
           from generate_series(%s::timestamptz, %s::timestamptz, interval '1 minute') as moment""",
        market.shares[0],
        OLD,
        OLD + timedelta(minutes=110_000),
    )
    run_policies(market)
    assert all(compressed_chunks(market, "minute_bar"))

    with market.timescale.connection() as connection:
        changed = connection.execute("update minute_bar set trades = 2").rowcount

    assert changed == 110_001


def test_compressed_trades_keep_every_digit(market: Market) -> None:
    """Amounts are exact, and an equal answer leaves them compressed."""
    rows = [
        {
            "instrument_id": market.pairs[0],
            "traded_at": OLD + timedelta(milliseconds=number),
            "trade_id": number,
            "price": Decimal("43215.123456789012345678"),
            "size": Decimal(number + 1) / 8,
            "taker_side": "buy",
        }
        for number in range(50)
    ]
    trades = DATASETS["crypto_trades"]

    def load(minute: int) -> None:
        BatchStore(market.timescale).load(
            Batch(
                dataset=trades.name,
                provider="binance",
                adjustment=None,
                request="trades",
                content_sha256="0" * 64,
                fetched_at=datetime(2024, 6, 3, 21, minute, tzinfo=UTC),
                run_id="compression",
                raw_answers=(),
                asked=Asked(
                    instrument_ids=(market.pairs[0],),
                    start=OLD.date(),
                    end=OLD.date(),
                    whole_sessions=False,
                ),
                rows=pa.Table.from_pylist(rows, schema=trades.table_schema),
                letters=(),
                coverage=(),
            )
        )

    load(1)
    before = market.execute("select * from trade order by trade_id")
    run_policies(market)
    load(2)

    assert compressed_chunks(market, "trade") == [True]
    assert market.execute("select * from trade order by trade_id") == before
    assert before[0][4] == Decimal("43215.123456789012345678")
