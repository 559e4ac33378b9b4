"""One read over hot and cold: real rows, real files, and the border between them."""

import sys
import threading
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any, NamedTuple

import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from marketdata.archiving import ARCHIVED
from marketdata.bars import Interval
from marketdata.datasets import InstrumentKind
from marketdata.instruments import Constituent, Rename, UniverseChange
from marketdata.recovery import errors
from resources.reading import cold
from resources.reading.snapshot import snapshot
from resources.settings import StoreSettings
from resources.storage.aggregates.rollup_engine import RollUps
from resources.storage.archive.maintain.compaction import compact
from resources.storage.archive.prove.proofs import FileProof
from resources.storage.archive.write import files
from resources.storage.instruments import InstrumentStore
from resources.storage.object_store import ObjectStore
from resources.storage.timescale import Timescale
from sandbox.local_world import LocalWorld
from tests.fixtures.world import BucketSettings
from tests.storage.archive.moves import (
    JANUARY,
    Moves,
    Rows,
    load,
    lose_behind_the_server,
    minutes,
    refresh,
    table_rows,
)
from tests.storage.batches import FETCHED_AT
from tests.storage.conftest import UNIVERSE
from wrdata import read_bars

# These rows have no ledger; warnings about that are tested in test_missing_bars.py.
pytestmark = pytest.mark.filterwarnings("ignore::wrdata.MissingBarsWarning")

OPEN = datetime(2024, 1, 2, 14, 30, tzinfo=UTC)
"""When New York opens on the first session of 2024."""
DAYS = [datetime(2024, 1, day, tzinfo=UTC) for day in (2, 3, 4, 5, 8)]
Key = tuple[int, datetime]
PARQUET_WRITER = pq.ParquetWriter
PERIODS = {"daily_bars": "2024", "minute_bars": "2024-01", "crypto_bars": "2024-01"}


class Held(NamedTuple):
    """A price and its answer; the greatest one is the latest."""

    answered: int
    price: float


@pytest.fixture
def where(migrated_url: str, bucket: BucketSettings) -> StoreSettings:
    """Where this test's data are."""
    return StoreSettings(
        database_url=SecretStr(migrated_url),
        s3_endpoint=bucket.endpoint,
        archive_bucket=bucket.bucket,
        s3_region=bucket.region,
        s3_access_key=SecretStr(bucket.access_key),
        s3_secret_key=SecretStr(bucket.secret_key),
    )


@pytest.fixture
def moves(timescale: Timescale, object_store: ObjectStore) -> Moves:
    """What archives, drops and restores here."""
    return Moves(timescale=timescale, store=object_store, aggregates=RollUps(timescale))


@pytest.fixture
def pairs(timescale: Timescale) -> list[int]:
    """Two pairs, A-USD and B-USD."""
    names = {"A-USD": "a", "B-USD": "b"}
    return list(InstrumentStore(timescale).register("pair", names, date(2023, 1, 1)).values())


def drop(moves: Moves, dataset: str) -> None:
    """Archive the period of these tests' rows and drop it from the database."""
    archived = moves.prove(dataset, PERIODS[dataset])
    outcome = moves.retention.drop(archived, PERIODS[dataset], by="test")
    assert outcome.status == "dropped", outcome


def begin_anew(moves: Moves) -> None:
    """Delete bars and archive, so that examples of a property are independent."""
    for entry in list(moves.store.list("iceberg/")):
        moves.store.delete(entry.key)
    with moves.timescale.connection() as connection:
        connection.execute("truncate archive_tombstone, archive_log")
        connection.execute("delete from iceberg_catalog.iceberg_tables")
        connection.execute("delete from daily_bar")
        connection.execute("delete from daily_bar_version")


def daily(ids: Sequence[int], prices: Sequence[float]) -> Rows:
    """Return a bar of each instrument for each price, on the first sessions of 2024."""
    return {
        (share, day): price + share
        for share in ids
        for day, price in zip(DAYS, prices, strict=False)
    }


def some_rows(dataset: str, ids: Sequence[int]) -> Rows:
    """Return two bars of each instrument."""
    if dataset == "daily_bars":
        return daily(ids, [10, 11])
    return minutes(ids, OPEN, 2)


def hold_factors(timescale: Timescale, instrument_id: int) -> None:
    """Keep factors of a split two for one on 4 January and a dividend on the 8th."""
    with timescale.connection() as connection:
        connection.execute(
            """insert into price_factor values (
                %s, '{0001-01-01,2024-01-04,2024-01-08}', '{0.5,1,1}', '{0.99,0.99,1}',
                '2024-01-08', now())""",
            [instrument_id],
        )


def told_by(timescale: Timescale, view: str, instrument_id: int, **chosen: str) -> list[Any]:
    """Return an instrument's prices, volume and start from a view."""
    start = "session_date" if view == "adjusted_daily_bars" else "bucket_start"
    conditions = "".join(f" and {name} = '{value}'" for name, value in chosen.items())
    query = f"select {start}, open, high, low, close, volume from {view}"  # noqa: S608
    query += f" where instrument_id = %s{conditions} order by 1"
    with timescale.connection() as connection:
        return connection.execute(query, [instrument_id]).fetchall()  # pyright: ignore[reportArgumentType]


def figures(bars: pa.Table) -> list[Any]:
    """Return the same of what was read."""
    names = ["bucket_start", "open", "high", "low", "close", "volume"]
    return [tuple(row[name] for name in names) for row in bars.to_pylist()]


def test_bars_come_by_ticker_and_time(
    timescale: Timescale, where: StoreSettings, instrument_ids: list[int]
) -> None:
    """Whatever the order in which they were stored or asked for."""
    load(timescale, "daily_bars", daily(instrument_ids[::-1], [10, 11, 12]))

    bars = read_bars(["ccc", "AAA"], "2024-01-02", "2024-01-03", settings=where)

    assert bars.select(["ticker", "bucket_start", "close", "provider"]).to_pylist() == [
        {"ticker": name, "bucket_start": date(2024, 1, day), "close": close, "provider": "fmp"}
        for name, share in (("AAA", instrument_ids[0]), ("CCC", instrument_ids[2]))
        for day, close in ((2, 10.0 + share), (3, 11.0 + share))
    ]
    assert bars["vwap"].null_count == bars["source_bars"].null_count == 4


def test_a_day_of_minutes_is_new_yorks_for_shares_and_utcs_for_pairs(
    timescale: Timescale, where: StoreSettings, instrument_ids: list[int], pairs: list[int]
) -> None:
    """00:30 of UTC belongs to the evening before in New York."""
    half_past = [datetime(2024, 1, day, 0, 30, tzinfo=UTC) for day in (2, 3, 4)]
    load(timescale, "minute_bars", {(instrument_ids[0], at): 10.0 for at in half_past})
    load(timescale, "crypto_bars", {(pairs[0], at): 20.0 for at in half_past})

    bars = read_bars(["A-USD", "AAA"], "2024-01-02", "2024-01-02", "1m", settings=where)
    moments = read_bars(
        "AAA", half_past[0], half_past[1].isoformat(), interval="1m", settings=where
    )

    assert [(row["ticker"], row["bucket_start"]) for row in bars.to_pylist()] == [
        ("A-USD", half_past[0]),
        ("AAA", half_past[1]),
    ]
    assert moments["bucket_start"].to_pylist() == [half_past[0]]


@pytest.mark.parametrize(
    ("dataset", "interval"), [("daily_bars", "1d"), ("minute_bars", "1m"), ("crypto_bars", "1m")]
)
def test_dropping_rows_changes_no_answer(
    moves: Moves,
    where: StoreSettings,
    instrument_ids: list[int],
    pairs: list[int],
    dataset: str,
    interval: str,
) -> None:
    """Nor does restoring them: the caller need not know the border."""
    ids = pairs if ARCHIVED[dataset].kind is InstrumentKind.PAIR else instrument_ids
    names = ["A-USD", "B-USD"] if ids is pairs else ["AAA", "BBB", "CCC"]
    load(moves.timescale, dataset, minutes(ids, JANUARY, 1 if interval == "1d" else 90))
    before = read_bars(names, "2023-12-01", "2024-12-31", interval, settings=where)

    drop(moves, dataset)
    cold_bars = read_bars(names, "2023-12-01", "2024-12-31", interval, settings=where)
    left = table_rows(moves.timescale, ARCHIVED[dataset].table)
    moves.restore.into_hot(ARCHIVED[dataset], JANUARY.date(), JANUARY.date(), by="test")

    assert not left
    assert before.num_rows == len(ids) * (1 if interval == "1d" else 90)
    assert cold_bars.equals(before)
    assert read_bars(names, "2023-12-01", "2024-12-31", interval, settings=where).equals(before)


def test_a_read_over_the_border_takes_each_side_from_where_it_lies(
    moves: Moves, where: StoreSettings, instrument_ids: list[int]
) -> None:
    """The last minutes of January are in the archive, the first of February in the database."""
    midnight = datetime(2024, 2, 1, tzinfo=UTC)
    rows = minutes(instrument_ids, midnight - timedelta(minutes=5), 10)
    load(moves.timescale, "minute_bars", rows)
    drop(moves, "minute_bars")

    bars = read_bars(
        ["AAA", "CCC"],
        midnight - timedelta(minutes=2),
        midnight + timedelta(minutes=2),
        "1m",
        settings=where,
    )

    expected = [
        (share, midnight + timedelta(minutes=offset))
        for share in (instrument_ids[0], instrument_ids[2])
        for offset in (-2, -1, 0, 1)
    ]
    assert bars["close"].to_pylist() == [rows[key] for key in expected]
    assert bars["bucket_start"].to_pylist() == [at for _, at in expected]


@pytest.mark.parametrize("dataset", ["daily_bars", "minute_bars"])
@pytest.mark.parametrize("answer", ["newer", "older"])
def test_a_late_row_stands_in_the_place_of_the_archived_one(
    dataset: str, answer: str, moves: Moves, where: StoreSettings, instrument_ids: list[int]
) -> None:
    """Until retention merges them, if its answer is newer; new rows are read too."""
    share = instrument_ids[0]
    times = DAYS[:4] if dataset == "daily_bars" else [OPEN + timedelta(minutes=n) for n in range(4)]
    load(moves.timescale, dataset, {(share, at): 10.0 + n for n, at in enumerate(times[:3])})
    drop(moves, dataset)
    late = {(share, times[1]): 50.0, (share, times[3]): 60.0}
    after = timedelta(days=1 if answer == "newer" else -1)
    load(moves.timescale, dataset, late, fetched_at=FETCHED_AT + after)

    interval = "1d" if dataset == "daily_bars" else "1m"
    for as_of in (None, datetime.now(UTC)):
        bars = read_bars("AAA", "2024-01-01", "2024-01-31", interval, as_of=as_of, settings=where)
        assert bars["close"].to_pylist() == [10.0, 50.0 if answer == "newer" else 11.0, 12.0, 60.0]


@settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    loads=st.lists(
        st.dictionaries(st.integers(0, 3), st.integers(5, 9), min_size=1), min_size=2, max_size=5
    ),
    answered=st.permutations(range(5)),
    dropped_after=st.integers(0, 5),
)
def test_what_was_known_once_stays_readable(
    moves: Moves,
    where: StoreSettings,
    instrument_ids: list[int],
    loads: list[dict[int, int]],
    answered: list[int],
    dropped_after: int,
) -> None:
    """After loads of answers in any order, and a drop between any two: hot, cold, and versions."""
    cold, hot = dict[Key, Held](), dict[Key, Held]()
    states: list[tuple[datetime, Mapping[Key, float]]] = []
    ids = instrument_ids[:2]
    begin_anew(moves)
    for number, prices in enumerate(loads):
        rows = {
            (share, DAYS[day]): float(price + share)
            for day, price in prices.items()
            for share in ids
        }
        at = answered[number]
        load(moves.timescale, "daily_bars", rows, fetched_at=FETCHED_AT + timedelta(hours=at))
        for key, price in rows.items():
            stored = hot.get(key)
            if stored is None or (stored.price != price and stored.answered < at):
                hot[key] = Held(at, price)
        believed = {
            key: max(cold.get(key, row), hot.get(key, row)) for key, row in (cold | hot).items()
        }
        states.append((datetime.now(UTC), {key: row.price for key, row in believed.items()}))
        if number == dropped_after:
            drop(moves, "daily_bars")
            cold, hot = hot, {}

    for moment, state in states:
        bars = read_bars(["AAA", "BBB"], "2024-01-01", "2024-01-31", as_of=moment, settings=where)
        weeks = read_bars("AAA", "2024-01-01", "2024-01-31", "1w", as_of=moment, settings=where)
        expected = [price for _, price in sorted(state.items())]
        assert bars["close"].to_pylist() == expected
        assert sum(weeks["source_bars"].to_pylist()) == len(state) / 2
    _, latest = states[-1]
    assert read_bars(["AAA", "BBB"], "2024-01-01", "2024-01-31", settings=where)[
        "close"
    ].to_pylist() == [price for _, price in sorted(latest.items())]


@pytest.mark.parametrize("adjustment", ["splits", "splits_and_dividends"])
def test_adjusted_bars_are_those_of_the_views_to_the_last_bit(
    moves: Moves, where: StoreSettings, instrument_ids: list[int], adjustment: str
) -> None:
    """Also when the days are in the archive only, where the views are empty."""
    share = instrument_ids[0]
    hold_factors(moves.timescale, share)
    load(moves.timescale, "daily_bars", daily([share], [10.1, 10.2, 5.3, 5.4, 5.5]))
    minutes_held = {
        (share, at + timedelta(hours=15, minutes=offset)): 10 + offset / 7
        for at in DAYS
        for offset in range(12)
    }
    load(moves.timescale, "minute_bars", minutes_held)
    refresh(moves.aggregates)

    def read(interval: str) -> list[Any]:
        bars = read_bars(
            "AAA", "2024-01-01", "2024-12-31", interval, adjusted=adjustment, settings=where
        )
        assert set(bars["adjustment"].to_pylist()) == {adjustment}
        return figures(bars)

    expected = {
        "1d": told_by(moves.timescale, "adjusted_daily_bars", share, adjustment=adjustment),
        **{
            interval: told_by(
                moves.timescale, f"adjusted_bars_{interval}", share, adjustment=adjustment
            )
            for interval in ("5m", "15m", "1h", "1w", "1mo", "1q", "1y")
        },
    }
    assert {interval: len(rows) for interval, rows in expected.items()} == {
        "1d": 5, "5m": 15, "15m": 5, "1h": 5, "1w": 2, "1mo": 1, "1q": 1, "1y": 1,
    }  # fmt: skip
    assert {interval: read(interval) for interval in expected} == expected
    minute_bars = read("1m")
    drop(moves, "daily_bars")
    drop(moves, "minute_bars")
    assert {interval: read(interval) for interval in expected} == expected
    assert read("1m") == minute_bars


def test_bars_that_came_adjusted_are_in_the_shares_of_the_day_on_which_they_came(
    timescale: Timescale, where: StoreSettings, instrument_ids: list[int]
) -> None:
    """A later split must be divided out of them; an earlier one already was."""
    share = instrument_ids[0]
    load(timescale, "daily_bars", daily([share], [10, 10]))  # They come today, after the split.
    hold_factors(timescale, share)

    bars = read_bars("AAA", "2024-01-01", "2024-01-31", adjusted="splits", settings=where)

    assert figures(bars) == told_by(timescale, "adjusted_daily_bars", share, adjustment="splits")
    assert bars["close"].to_pylist() == [10.0 + share] * 2


@pytest.mark.parametrize("interval", ["5m", "15m", "1h", "1w", "1mo", "1q", "1y"])
def test_aggregates_as_of_now_are_the_aggregates(
    moves: Moves, where: StoreSettings, instrument_ids: list[int], interval: str
) -> None:
    """Aggregates computed while reading equal those that the database keeps."""
    load(moves.timescale, "daily_bars", daily(instrument_ids, [10.1, 11.2, 12.3, 13.4, 14.5]))
    load(moves.timescale, "minute_bars", minutes(instrument_ids, OPEN - timedelta(hours=1), 200))
    refresh(moves.aggregates)

    kept = read_bars(["BBB", "AAA"], "2024-01-01", "2024-12-31", interval, settings=where)
    drop(moves, "daily_bars" if interval in {"1w", "1mo", "1q", "1y"} else "minute_bars")
    rolled = read_bars(
        ["BBB", "AAA"],
        "2024-01-01",
        "2024-12-31",
        interval,
        as_of=datetime.now(UTC),
        settings=where,
    )

    assert kept.num_rows >= 2
    assert rolled.equals(kept)
    if interval == "1h":
        hour = (OPEN - timedelta(minutes=30), "AAA")
        phases = [
            row["phase"] for row in kept.to_pylist() if (row["bucket_start"], row["ticker"]) == hour
        ]
        assert phases == ["extended", "regular"]


def test_an_interval_of_pairs_counts_days_of_utc(
    moves: Moves, where: StoreSettings, pairs: list[int]
) -> None:
    """A day of a pair is made of minutes, kept or as of a moment."""
    late_evening = datetime(2024, 1, 2, 23, 58, tzinfo=UTC)
    load(moves.timescale, "crypto_bars", minutes([pairs[0]], late_evening, 4))
    refresh(moves.aggregates)

    kept = read_bars("A-USD", "2024-01-02", "2024-01-03", settings=where)
    rolled = read_bars("A-USD", "2024-01-02", "2024-01-03", as_of=datetime.now(UTC), settings=where)

    assert kept["bucket_start"].to_pylist() == [date(2024, 1, 2), date(2024, 1, 3)]
    assert kept["source_bars"].to_pylist() == [2, 2]
    assert rolled.equals(kept)


@pytest.mark.parametrize("dataset", ["daily_bars", "minute_bars"])
def test_rows_that_are_being_read_are_not_dropped_under_the_reader(
    dataset: str, moves: Moves, where: StoreSettings, instrument_ids: list[int]
) -> None:
    """A drop that comes between the first question of a read and its rows has to wait."""
    load(moves.timescale, dataset, some_rows(dataset, instrument_ids))
    refresh(moves.aggregates)
    archived, label = moves.prove(dataset, PERIODS[dataset]), PERIODS[dataset]
    day, minute = dataset == "daily_bars", dataset == "minute_bars"
    url = where.database_url.get_secret_value()
    schema = ARCHIVED[dataset].schema
    schema = schema.remove(schema.get_field_index("ticker"))
    with snapshot(url, days=day, minutes=minute) as at:
        assert at.dropped(dataset, date(2024, 1, 1), date(2024, 12, 31)) == []
        dropping = threading.Thread(target=lambda: moves.retention.drop(archived, label, by="test"))
        dropping.start()
        dropping.join(1.0)
        waited = dropping.is_alive()
        if day:
            bounds = (date(2024, 1, 1), date(2025, 1, 1))
            rows = at.days(instrument_ids, bounds, None, schema)
        else:
            bounds = (OPEN, OPEN + timedelta(days=9))
            rows = at.minutes(instrument_ids, bounds, "polygon", None, schema)
    dropping.join(30)

    assert waited
    assert rows.num_rows == 6
    assert not table_rows(moves.timescale, ARCHIVED[dataset].table)


def test_a_read_locks_the_table_and_not_its_chunks(
    moves: Moves, where: StoreSettings, instrument_ids: list[int]
) -> None:
    """Minutes of ten years stand in more chunks than a server has room for locks."""
    load(moves.timescale, "minute_bars", some_rows("minute_bars", instrument_ids))
    with (
        snapshot(where.database_url.get_secret_value(), days=False, minutes=True) as at,
        moves.timescale.connection() as connection,
    ):
        at.resolve_tickers(["AAA"], date(2024, 1, 2))
        locked = connection.execute(
            """select relation::regclass::text from pg_locks
               join pg_class on pg_class.oid = relation
               where relation::regclass::text ~ 'minute_bar|_hyper_' and relkind = 'r'"""
        ).fetchall()
    assert locked == [("minute_bar",)]


@pytest.mark.parametrize("dataset", ["daily_bars", "minute_bars"])
def test_rows_that_move_while_others_read_are_always_all_there(
    dataset: str, moves: Moves, where: StoreSettings, instrument_ids: list[int]
) -> None:
    """Readers in a loop, while a period is dropped and restored again and again."""
    load(moves.timescale, dataset, some_rows(dataset, instrument_ids))
    refresh(moves.aggregates)
    interval = "1d" if dataset == "daily_bars" else "1m"

    def read() -> pa.Table:
        tickers = ["AAA", "BBB", "CCC"]
        return read_bars(tickers, "2024-01-01", "2024-01-31", interval, settings=where)

    def read_on() -> None:
        while not done.is_set():
            answers.append(read())

    expected = read()
    answers: list[pa.Table] = []
    done = threading.Event()
    readers = [threading.Thread(target=read_on) for _ in range(2)]
    for reader in readers:
        reader.start()
    archived, label = moves.prove(dataset, PERIODS[dataset]), PERIODS[dataset]
    moved = 0
    for _ in range(5):
        moved += moves.retention.drop(archived, label, by="test").status == "dropped"
        moves.restore.into_hot(archived, date(2024, 1, 1), date(2024, 1, 31), by="test")
        refresh(moves.aggregates)
    done.set()
    for reader in readers:
        reader.join()

    assert moved >= 2
    assert len(answers) > 10
    assert expected.num_rows == 6
    assert all(answer.equals(expected) for answer in answers)


def test_only_row_groups_that_may_hold_the_instrument_are_fetched(tmp_path: Any) -> None:
    """The statistics of a file sorted by instrument show which parts to read."""
    path = tmp_path / "sorted.parquet"
    ids = [number for number in range(1, 9) for _ in range(10)]
    rows = pa.table({"instrument_id": pa.array(ids, pa.int64()), "provider": ["p"] * len(ids)})
    pq.write_table(rows, path, row_group_size=10)
    row_filter = cold.RowFilter(
        instrument_ids=[3, 4], bounds=(date(2024, 1, 1), date(2024, 2, 1)), provider="p"
    )

    fragment = next(ds.dataset(path).get_fragments())
    # Reading tells rows, not which parts of a file were read.
    condition = cold._by_instrument(row_filter)  # pyright: ignore[reportPrivateUsage]

    assert len(fragment.split_by_row_group(condition)) == 2


def test_the_bucket_is_needed_for_cold_rows_only(
    moves: Moves, where: StoreSettings, instrument_ids: list[int]
) -> None:
    """Reads of hot rows work while the archive is unavailable."""
    away = where.model_copy(update={"s3_endpoint": "http://127.0.0.1:9"})
    load(moves.timescale, "daily_bars", daily(instrument_ids, [10]))
    assert read_bars("AAA", "2024-01-01", "2024-01-31", settings=away).num_rows == 1
    drop(moves, "daily_bars")

    assert read_bars("AAA", "2023-01-01", "2023-12-31", settings=away).num_rows == 0
    with pytest.raises(errors.StorageUnavailableError, match="archive of daily_bars"):
        read_bars("AAA", "2024-01-01", "2024-01-31", settings=away)


def test_a_file_that_is_gone_or_damaged_is_no_gap_in_the_answer(
    moves: Moves, where: StoreSettings, instrument_ids: list[int]
) -> None:
    """It is an error that says what to do."""
    load(moves.timescale, "daily_bars", daily(instrument_ids, [10]))
    drop(moves, "daily_bars")
    key = next(iter(moves.store.list("iceberg/archive/daily_bars/data/"))).key
    size = next(iter(moves.store.list(key))).bytes
    moves.store.put_bytes(key, b"x" * size, content_type="application/octet-stream")
    with pytest.raises(errors.ArchiveMismatchError, match="wrdata archive verify"):
        read_bars("AAA", "2024-01-01", "2024-01-31", settings=where)
    moves.store.delete(key)
    with pytest.raises(errors.ArchiveMismatchError, match=r"the bucket lacks .*parquet"):
        read_bars("AAA", "2024-01-01", "2024-01-31", settings=where)
    elsewhere = where.model_copy(update={"archive_bucket": "nosuch"})
    with pytest.raises(errors.StorageConflictError, match="nosuch"):
        read_bars("AAA", "2024-01-01", "2024-01-31", settings=elsewhere)


@pytest.mark.parametrize("place", ["a page", "the footer"])
def test_one_flipped_byte_of_an_archived_file_is_an_error_and_never_a_price(
    moves: Moves, where: StoreSettings, instrument_ids: list[int], place: str
) -> None:
    """Same size, no gap, no wrong value: the file, its dataset, its period and the cure."""
    load(moves.timescale, "minute_bars", minutes(instrument_ids, OPEN, 300))
    drop(moves, "minute_bars")
    key = next(iter(moves.store.list("iceberg/archive/minute_bars/data/"))).key
    content = bytearray(moves.store.get(key).content)
    closes = pq.read_metadata(pa.BufferReader(bytes(content))).row_group(0).column(6)
    assert closes.path_in_schema == "close"
    at = closes.data_page_offset + closes.total_compressed_size // 2
    content[at if place == "a page" else -20] ^= 1
    moves.store.put_bytes(key, bytes(content), content_type="application/octet-stream")

    with pytest.raises(errors.ArchiveMismatchError) as caught:
        read_bars(["AAA", "BBB"], OPEN, "2024-01-31", "1m", settings=where)

    assert "minute_bars 2024-01 cannot be read" in str(caught.value)
    assert f"{key} is not the file that was proven" in str(caught.value)
    assert "restore the object from a backup" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_byte_of_an_archived_file_can_change_without_being_noticed(
    moves: Moves, where: StoreSettings, instrument_ids: list[int]
) -> None:
    """Or the read does not need it: each read fails or is right."""
    load(moves.timescale, "minute_bars", minutes(instrument_ids[:1], OPEN, 4))
    before = read_bars("AAA", OPEN, "2024-01-31", "1m", settings=where)
    drop(moves, "minute_bars")
    key = next(iter(moves.store.list("iceberg/archive/minute_bars/data/"))).key
    content = moves.store.get(key).content
    noticed = 0

    for at in range(4, len(content), 37):
        damaged = bytearray(content)
        damaged[at] ^= 0x80
        moves.store.put_bytes(key, bytes(damaged), content_type="application/octet-stream")
        try:
            assert read_bars("AAA", OPEN, "2024-01-31", "1m", settings=where).equals(before)
        except errors.ArchiveMismatchError:
            noticed += 1

    assert noticed > len(content) // 37 // 2


def test_files_without_checksums_are_read_whole_until_they_are_rewritten(
    moves: Moves,
    where: StoreSettings,
    instrument_ids: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As they were written before: their SHA-256 is compared, and upkeep gives them checksums."""
    load(moves.timescale, "minute_bars", minutes(instrument_ids, OPEN, 60))
    before = read_bars("AAA", OPEN, "2024-01-31", "1m", settings=where)
    with monkeypatch.context() as patched:
        patched.setattr(pq, "ParquetWriter", without_checksums)
        patched.setattr(files, "FileProof", of_the_whole_file)
        drop(moves, "minute_bars")
    key = next(iter(moves.store.list("iceberg/archive/minute_bars/data/"))).key
    assert read_bars("AAA", OPEN, "2024-01-31", "1m", settings=where).equals(before)
    content = moves.store.get(key).content
    middle = len(content) // 3
    damaged = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
    moves.store.put_bytes(key, damaged, content_type="application/octet-stream")
    with pytest.raises(errors.ArchiveMismatchError, match=f"{key} is not the file"):
        read_bars("AAA", OPEN, "2024-01-31", "1m", settings=where)
    moves.store.put_bytes(key, content, content_type="application/octet-stream")

    (rewritten,) = compact(moves.timescale, moves.store, ARCHIVED["minute_bars"])

    assert rewritten.reason == "written without checksums of its pages"
    assert rewritten.after
    assert all(file.is_checked_in_parts for file in rewritten.after.files)
    assert read_bars("AAA", OPEN, "2024-01-31", "1m", settings=where).equals(before)


def without_checksums(*arguments: Any, **options: Any) -> pq.ParquetWriter:
    """Write as it was done before pages had checksums."""
    return PARQUET_WRITER(*arguments, **options | {"write_page_checksum": False})


def of_the_whole_file(**fields: Any) -> FileProof:
    """Prove as it was done before footers were."""
    return FileProof(**{n: field for n, field in fields.items() if not n.startswith("footer_")})


def test_an_object_that_went_behind_the_servers_cache_is_named(
    moves: Moves, where: StoreSettings, instrument_ids: list[int], world: LocalWorld
) -> None:
    """The server lists it, with its size, but fails to serve it: this is no busy server."""
    load(moves.timescale, "minute_bars", minutes(instrument_ids, OPEN, 60))
    drop(moves, "minute_bars")
    key = next(iter(moves.store.list("iceberg/archive/minute_bars/data/"))).key
    lose_behind_the_server(world, moves.store, key)

    with pytest.raises(errors.ArchiveMismatchError, match=f"lists {key} and does not hand it out"):
        read_bars("AAA", OPEN, "2024-01-31", "1m", settings=where)
    moves.store.put_bytes(key, b"found", content_type="x")


def test_a_name_means_who_carried_it_last(
    timescale: Timescale, where: StoreSettings, instrument_ids: list[int]
) -> None:
    """With the history under its former names; a name that went to another company has moved."""
    store = InstrumentStore(timescale)
    first = next(instrument for instrument in store.members(UNIVERSE) if instrument.ticker == "AAA")
    load(timescale, "daily_bars", daily(instrument_ids[:1], [10, 11]))
    renamed = Constituent(ticker="AAX", name="AAA Inc.", cik=first.cik, sector=None)
    store.apply(
        UniverseChange(
            joined=(), left=(), renamed=(Rename(member=first, constituent=renamed),), kept=()
        ),
        date(2024, 6, 3),
        UNIVERSE,
    )

    new = read_bars("AAX", "2024-01-01", "2024-12-31", settings=where)

    assert new.num_rows == 2
    assert read_bars("AAA", "2024-01-01", "2024-03-01", settings=where).num_rows == 2
    with pytest.raises(errors.ConfigurationError, match="AAA and AAX are one instrument"):
        read_bars(["AAX", "AAA"], "2024-01-01", "2024-12-31", settings=where)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"tickers": "AAB"},
            r"has the ticker AAB \(nearest: AAA.*run `wrdata universe` if",
        ),
        (
            {"tickers": [f"NO{number}" for number in range(32)]},
            "has the ticker NO0, NO1, NO10, NO11, NO12 and 27 more: correct it",
        ),
        ({"tickers": []}, "no ticker is given"),
        ({"interval": "2h"}, "'2h' is no interval of bars: take one of 1m, 5m"),
        ({"start": datetime(2024, 1, 2), "interval": "1m"}, "start .* has no time zone"),  # noqa: DTZ001
        ({"start": "yesterday"}, "start 'yesterday' is neither a day"),
        ({"start": "2024-02-01", "end": "2024-01-01"}, "the days are reversed: .*, exchange them"),
        ({"start": "2199-01-01"}, "is after today: give an earlier one"),
        ({"start": OPEN, "end": OPEN, "interval": "1m"}, "which is excluded: give a later end"),
        ({"start": 20240102}, "start 20240102 is neither a day nor a moment"),
        ({"start": OPEN}, "bars of 1d begin with days"),
        ({"adjusted": "dividends"}, "adjusted 'dividends' is not known: take splits or"),
        ({"as_of": "2024-01-01"}, "as_of 2024-01-01 is a day: give the moment"),
        ({"tickers": "A-USD", "interval": "1w"}, "A-USD is a pair, which has bars of 1m to 1d"),
        ({"tickers": "A-USD", "adjusted": "splits"}, "A-USD is a pair, whose prices nothing"),
        ({"provider": "binance"}, "binance does not serve daily_bars: fmp, polygon, tiingo do"),
        ({"provider": "fmp", "interval": "1w"}, "made of daily bars, whoever served them"),
        ({"tickers": " "}, "no ticker is given"),
        ({"tickers": None}, "no ticker is given"),
        ({"tickers": ["AAA", None]}, "None is no ticker"),
        ({"tickers": "A\0"}, "is no ticker"),
        ({"to": "excel"}, "to='excel' is not known"),
    ],
)
@pytest.mark.usefixtures("instrument_ids", "pairs")
def test_a_wish_that_cannot_be_served_is_refused_in_one_line(
    where: StoreSettings, arguments: dict[str, Any], message: str
) -> None:
    """The message says what can be."""
    wish: dict[str, Any] = {"tickers": "AAA", "start": "2024-01-01", **arguments}
    with pytest.raises(errors.ArgumentError, match=message) as refused:
        read_bars(**wish, settings=where)

    assert "\n" not in str(refused.value)


def test_minutes_are_told_as_they_were_known_to_the_microsecond(
    timescale: Timescale, where: StoreSettings, instrument_ids: list[int]
) -> None:
    """At the moment of a restatement the new values are known, and the old ones no more."""
    key, known = (instrument_ids[0], OPEN), list[datetime]()
    for number, price in enumerate((100.0, 200.0)):
        asked = FETCHED_AT + timedelta(days=number)
        load(timescale, "minute_bars", {key: price}, fetched_at=asked)
        with timescale.connection() as connection:
            row = connection.execute("select known_from from minute_bar").fetchone()
        known.append(row[0] if row else asked)

    def closes_then(moment: datetime) -> list[float]:
        bars = read_bars("AAA", OPEN.date(), OPEN.date(), "1m", as_of=moment, settings=where)
        return bars["close"].to_pylist()

    before = timedelta(microseconds=1)
    assert closes_then(known[0] - before) == []
    assert closes_then(known[0]) == closes_then(known[1] - before) == [100.0]
    assert closes_then(known[1]) == [200.0]


@pytest.mark.parametrize("interval", ["1m", "1h", "1d", "1w"])
def test_a_wish_to_the_end_of_time_is_served(
    timescale: Timescale, where: StoreSettings, instrument_ids: list[int], interval: str
) -> None:
    """Many users write it to mean no end."""
    load(timescale, "daily_bars", daily(instrument_ids[:1], [10]))

    bars = read_bars("AAA", "0001-01-01", "9999-12-31", interval, settings=where)

    assert bars.num_rows == (1 if interval == "1d" else 0)


def test_the_ends_of_time_may_be_told_in_any_zone(
    timescale: Timescale, where: StoreSettings, instrument_ids: list[int]
) -> None:
    """Although in UTC there is no such year."""
    load(timescale, "minute_bars", {(instrument_ids[0], OPEN): 10.0})
    first, last = "0001-01-01T00:00:00+05:00", "9999-12-31T23:59:59-05:00"

    assert read_bars("AAA", first, last, "1m", settings=where).num_rows == 1
    assert read_bars("AAA", interval="1m", as_of=last, settings=where).num_rows == 1
    assert read_bars("AAA", interval="1m", as_of=first, settings=where).num_rows == 0


def test_a_pair_is_read_from_the_venue_that_offers_it(
    timescale: Timescale, where: StoreSettings
) -> None:
    """Binance, which serves the dataset by default, has no BTC-USD, and Coinbase no BTC-USDT."""
    names = {"BTC-USD": "a", "BTC-USDT": "b"}
    ids = InstrumentStore(timescale).register("pair", names, date(2023, 1, 1))
    load(timescale, "crypto_bars", {(pair, OPEN): 20.0 for pair in ids.values()})
    with timescale.connection() as connection:
        connection.execute(
            "update minute_bar set provider = 'coinbase' where instrument_id = %s", [ids["BTC-USD"]]
        )

    bars = read_bars(list(names), "2024-01-01", interval="1m", settings=where)
    with pytest.raises(errors.ConfigurationError, match="binance does not offer BTC-USD"):
        read_bars("BTC-USD", "2024-01-01", interval="1m", provider="binance", settings=where)

    providers = [(row["ticker"], row["provider"]) for row in bars.to_pylist()]
    assert providers == [("BTC-USD", "coinbase"), ("BTC-USDT", "binance")]


def test_shares_without_factors_are_named(
    timescale: Timescale, where: StoreSettings, instrument_ids: list[int]
) -> None:
    """They are not left out silently, as in the views; one without bars needs none."""
    load(timescale, "daily_bars", daily(instrument_ids[:2], [10]))
    hold_factors(timescale, instrument_ids[0])
    with pytest.raises(errors.StorageConflictError, match="no factors have been derived for BBB"):
        read_bars(["AAA", "BBB", "CCC"], adjusted="splits", settings=where)

    assert read_bars(["AAA", "CCC"], adjusted="splits", settings=where).num_rows == 1


def test_bars_come_in_the_frame_that_is_asked_for(
    timescale: Timescale, where: StoreSettings, instrument_ids: list[int]
) -> None:
    """With days as pandas and Polars have them."""
    load(timescale, "daily_bars", daily(instrument_ids, [10]))

    frame = read_bars("AAA", "2024-01-01", "2024-01-31", to="pandas", settings=where)
    other = read_bars("AAA", "2024-01-01", "2024-01-31", to="polars", settings=where)

    assert frame.index.name == "bucket_start"
    assert isinstance(frame.index, pd.DatetimeIndex)
    assert frame.index.date.tolist() == [date(2024, 1, 2)]
    assert frame["close"].tolist() == [10.0 + instrument_ids[0]]
    assert other["bucket_start"].to_list() == [date(2024, 1, 2)]
    assert other["close"].to_list() == [10.0 + instrument_ids[0]]


def test_polars_is_missed_before_anything_is_read(
    where: StoreSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The project does not need it, so it may not be there."""
    monkeypatch.setitem(sys.modules, "polars", None)
    with pytest.raises(errors.ConfigurationError, match="Polars is not installed"):
        read_bars("AAA", to="polars", settings=where)


def test_nothing_found_is_an_empty_table_with_all_columns(
    where: StoreSettings, instrument_ids: list[int]
) -> None:
    """In every interval, adjusted and as of a moment too."""
    assert instrument_ids
    for interval in ["1m", *Interval]:
        plain = read_bars("AAA", "2024-01-01", "2024-01-31", interval, settings=where)
        then = read_bars(
            "AAA", "2024-01-01", "2024-01-31", interval, as_of=datetime.now(UTC), settings=where
        )
        adjusted = read_bars(
            "AAA", "2024-01-01", "2024-01-31", interval, adjusted="splits", settings=where
        )
        assert plain.num_rows == then.num_rows == adjusted.num_rows == 0
        assert plain.schema == then.schema == adjusted.schema


def test_no_ticker_has_to_be_known_to_say_that_the_database_is_away(where: StoreSettings) -> None:
    """One clear line."""
    away = where.model_copy(
        update={"database_url": SecretStr("postgresql://nobody:x@127.0.0.1:9/nothing")}
    )
    with pytest.raises(errors.StorageUnavailableError, match=r"127\.0\.0\.1:9/nothing"):
        read_bars("AAA", settings=away)


def test_a_database_that_is_none_of_ours_says_what_to_do(where: StoreSettings) -> None:
    """One that is not there, and one without tables."""
    server = where.database_url.get_secret_value().rpartition("/")[0]
    cures = {
        "nosuch": "create the database or correct its name",
        "postgres": "run `wrdata migrate`",
    }
    for name, cure in cures.items():
        other = where.model_copy(update={"database_url": SecretStr(f"{server}/{name}")})
        with pytest.raises(errors.StorageConflictError, match=cure) as refused:
            read_bars("AAA", settings=other)
        assert "\n" not in str(refused.value)


def test_reading_needs_the_addresses_of_the_data_and_no_providers_key(
    monkeypatch: pytest.MonkeyPatch,
    timescale: Timescale,
    where: StoreSettings,
    instrument_ids: list[int],
) -> None:
    """What is not set is named."""
    load(timescale, "daily_bars", daily(instrument_ids, [10]))
    monkeypatch.delenv("FMP_API_KEY", raising=False)
    monkeypatch.delenv("WRDATA_DATABASE_URL", raising=False)
    for name, value in {
        "WRDATA_S3_ENDPOINT": where.s3_endpoint,
        "WRDATA_ARCHIVE_BUCKET": where.archive_bucket,
        "AWS_ACCESS_KEY_ID": where.s3_access_key.get_secret_value(),
        "AWS_SECRET_ACCESS_KEY": where.s3_secret_key.get_secret_value(),
    }.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(errors.ConfigurationError, match="WRDATA_DATABASE_URL is not set"):
        read_bars("AAA")

    monkeypatch.setenv("WRDATA_DATABASE_URL", where.database_url.get_secret_value())

    assert read_bars("AAA").num_rows == 1
