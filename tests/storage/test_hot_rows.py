"""Hot rows of many instruments: over several connections, and still of one moment."""

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import psycopg
import pyarrow as pa
import pytest

from marketdata.archiving import ARCHIVED
from marketdata.bars import Adjustment
from marketdata.datasets import DATASETS
from resources.reading import hot
from resources.reading.snapshot import Snapshot, snapshot
from resources.storage.batches import BatchStore
from resources.storage.instruments import InstrumentStore
from resources.storage.timescale import Timescale
from tests.storage.batches import batch

MONDAY = date(2024, 6, 3)
DAYS = [MONDAY + timedelta(days=offset) for offset in range(5)]
BOUNDS = (MONDAY, MONDAY + timedelta(days=30))


def without(dataset: str, *names: str) -> pa.Schema:
    """Return a dataset's hot rows as read."""
    fields = [field for field in ARCHIVED[dataset].schema if field.name not in ("ticker", *names)]
    return pa.schema(fields)


@pytest.fixture
def many(timescale: Timescale) -> list[int]:
    """Twenty instruments of five days each."""
    names = {f"P{number:02}-USD": f"p{number}" for number in range(20)}
    ids = sorted(InstrumentStore(timescale).register("pair", names, MONDAY).values())
    BatchStore(timescale).load(batch([(pair, day, 10.0 + pair) for pair in ids for day in DAYS]))
    return ids


@pytest.fixture(autouse=True)
def several_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let four connections share a read of few instruments, whatever this machine has."""
    monkeypatch.setattr(hot, "CONNECTIONS", 4)
    monkeypatch.setattr(hot, "FEW_INSTRUMENTS", 2)


def closes(moment: Snapshot, ids: list[int]) -> list[tuple[int, date, float]]:
    """Return the rows of some instruments as of the moment, in the order read."""
    rows = moment.days(ids, BOUNDS, None, without("daily_bars", "ingest_id", "known_from"))
    columns = (rows[name].to_pylist() for name in ("instrument_id", "session_date", "close"))
    return list(zip(*columns, strict=True))


@pytest.fixture
def moment(migrated_url: str, many: list[int]) -> Iterator[Snapshot]:
    """A read whose moment has begun, with its first look at the rows."""
    with snapshot(migrated_url, days=True, minutes=True) as at:
        assert len(closes(at, many[:1])) == len(DAYS)
        yield at


def test_all_connections_read_as_of_one_moment(
    moment: Snapshot, many: list[int], timescale: Timescale
) -> None:
    """Changes after the read began are in no connection's rows."""
    expected = [(share, day, 10.0 + share) for share in many for day in DAYS]
    later = [*DAYS, DAYS[-1] + timedelta(days=3)]
    BatchStore(timescale).load(batch([(share, day, 99.0) for share in many for day in later]))
    with timescale.connection() as connection:
        connection.execute("delete from daily_bar where session_date = %s", [MONDAY])

    assert closes(moment, many) == expected
    assert closes(moment, many[::-1]) == sorted(expected, key=lambda row: (-row[0], row[1]))


def test_several_connections_read(
    moment: Snapshot, many: list[int], migrated_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of them joins; the first one alone would be too few."""
    joined: list[str] = []
    connect = hot.connect

    def noting(url: str) -> object:
        joined.append(url)
        return connect(url)

    monkeypatch.setattr(hot, "connect", noting)
    closes(moment, many)
    closes(moment, many[:2])
    assert joined == [migrated_url] * 3


def test_a_drop_that_waits_for_the_reader_stops_no_read(
    moment: Snapshot, many: list[int], migrated_url: str
) -> None:
    """A connection that would wait behind it leaves the rows to the first one."""

    def lock() -> None:
        with psycopg.connect(migrated_url) as connection:
            connection.execute("lock table daily_bar in access exclusive mode")

    dropping = threading.Thread(target=lock)
    dropping.start()
    waiting = "select count(*) from pg_locks where mode = 'AccessExclusiveLock' and not granted"
    with psycopg.connect(migrated_url, autocommit=True) as watching:
        until = time.monotonic() + 30
        while watching.execute(waiting).fetchone() != (1,):
            assert time.monotonic() < until
            time.sleep(0.01)
        read = closes(moment, many)
        assert watching.execute(waiting).fetchone() == (1,)
    assert len(read) == len(many) * len(DAYS)


def test_a_server_without_a_connection_to_spare_is_read_over_one(
    moment: Snapshot, many: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes longer, and is no error."""
    nowhere = "postgresql://nobody:x@127.0.0.1:9/nothing"
    connect = hot.connect
    monkeypatch.setattr(hot, "connect", lambda _: connect(nowhere))
    assert len(closes(moment, many)) == len(many) * len(DAYS)


def test_rows_that_differ_in_texts_and_gaps_all_come(
    timescale: Timescale, many: list[int], migrated_url: str
) -> None:
    """Of providers and adjustments that alternate from day to day, and of minutes without vwap."""
    first, second = many[:2]
    store = BatchStore(timescale)
    store.load(
        batch(
            [(first, day, 5.0) for day in DAYS[::2]],
            adjustment=Adjustment.AS_TRADED,
            provider="polygon",
        )
    )
    opened = [datetime(2024, 6, 3, 15, minute, tzinfo=UTC) for minute in range(6)]
    schema = DATASETS["minute_bars"].table_schema
    minutes = [
        {
            "instrument_id": instrument_id,
            "opened_at": moment,
            **dict.fromkeys(("open", "high", "low", "close"), float(10 + place)),
            "volume": 1.0,
            "vwap": float(place) if place % 2 else None,
            "trades": place if place % 3 else None,
        }
        for instrument_id in (first, second)
        for place, moment in enumerate(opened)
    ]
    store.load(
        replace(
            batch([]),
            dataset="minute_bars",
            adjustment=None,
            rows=pa.Table.from_pylist(minutes, schema),
        )
    )

    with snapshot(migrated_url, days=True, minutes=True) as at:
        days = at.days([first], BOUNDS, None, without("daily_bars", "ingest_id", "known_from"))
        bounds = (opened[0], opened[-1] + timedelta(minutes=1))
        wanted = without("minute_bars", "ingest_id", "known_from")
        read = at.minutes([first, second], bounds, "fmp", None, wanted)

    by_day = sorted(zip(*(days[name].to_pylist() for name in days.column_names[1:]), strict=True))
    assert [(row[0], row[-1], row[-2], row[4]) for row in by_day] == [
        (day, "polygon", "as_traded", 5.0)
        if place % 2 == 0
        else (day, "fmp", "splits", 10.0 + first)
        for place, day in enumerate(DAYS)
    ]
    names = ["instrument_id", "opened_at", "close", "vwap", "trades"]
    expected = [tuple(row[name] for name in names) for row in minutes]
    columns = (read[name].to_pylist() for name in names)
    assert sorted(zip(*columns, strict=True), key=lambda row: row[:2]) == expected
