"""The two write paths of a load: entirely new rows are copied, all others are merged."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, LiteralString

import psycopg
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import sql as composed

from marketdata.bars import Adjustment
from marketdata.coverage import CoverageMark, CoverageState
from marketdata.datasets import DATASETS
from marketdata.ports import Batch, LoadResult
from resources.storage.batches import BatchStore
from resources.storage.timescale import Timescale
from resources.storage.versioned_table import TABLES, VersionedTable
from tests.storage.batches import FETCHED_AT, NOTHING_ASKED, batch

MONDAY = date(2024, 6, 3)
WRITE_PATHS = ("copied", "merged")

Rows = dict[tuple[int, int], float]
"""Closes by place of instrument and day."""

LOADS = st.lists(
    st.tuples(
        st.sampled_from(["daily_bars", "minute_bars", "crypto_trades"]),
        st.dictionaries(
            st.tuples(st.integers(0, 2), st.integers(0, 9)),
            st.sampled_from([10.0, 10.25, 1234.0625]),
            min_size=1,
            max_size=8,
        ),
        st.sampled_from(["polygon", "fmp"]),
        st.integers(-1, 1),
    ),
    min_size=1,
    max_size=5,
)


def load_of(dataset: str, rows: Rows, ids: list[int], provider: str, at: datetime) -> Batch:
    """Return a batch of a dataset with a row for each instrument and day."""
    days = {
        (ids[place], MONDAY + timedelta(days=day)): value for (place, day), value in rows.items()
    }
    mark = CoverageMark(
        instrument_id=ids[0],
        state=CoverageState.COMPLETE,
        spans=((MONDAY, MONDAY + timedelta(days=len(rows))),),
    )
    given = batch(
        [(instrument_id, day, close) for (instrument_id, day), close in days.items()],
        coverage=[mark],
        provider=provider,
        fetched_at=at,
    )
    if dataset == "daily_bars":
        return given
    moments = [
        {
            "instrument_id": instrument_id,
            "opened_at": datetime(day.year, day.month, day.day, 15, tzinfo=UTC),
            "open": value,
            "high": value,
            "low": value,
            "close": value,
            "volume": 1.0,
            "traded_at": datetime(day.year, day.month, day.day, 15, tzinfo=UTC),
            "trade_id": 1,
            "price": Decimal(value),
            "size": Decimal("0.5"),
            "taker_side": "buy",
        }
        for (instrument_id, day), value in sorted(days.items())
    ]
    schema = DATASETS[dataset].table_schema
    named = [{name: row.get(name) for name in schema.names} for row in moments]
    return replace(
        given, dataset=dataset, adjustment=None, rows=pa.Table.from_pylist(named, schema)
    )


STORED: dict[LiteralString, LiteralString] = {
    "daily_bar": "*",
    "daily_bar_version": "*",
    "minute_bar": "*",
    "minute_bar_version": "*",
    # As text: 1.50 is not the same row as 1.5.
    "trade": "trade.*, price::text, size::text",
    "trade_version": "trade_version.*, price::text, size::text",
    "daily_bar_invalidation": "instrument_id, span",
    "minute_bar_invalidation": "instrument_id, provider, span",
    "loaded_day": "*",
    "coverage": "*",
    "ingest_log": "*",
}
_TIMES = {"known_from", "known_to", "finished_at", "updated_at", "noted_at"}


def stored(connection: psycopg.Connection) -> dict[str, list[dict[str, Any]]]:
    """Return all that loads store, except times."""
    by_table: dict[str, list[dict[str, Any]]] = {}
    for table, columns in STORED.items():
        query = composed.SQL("select {} from {}").format(
            composed.SQL(columns), composed.Identifier(table)
        )
        cursor = connection.execute(query)
        names = [column.name for column in cursor.description or []]
        rows = [dict(zip(names, row, strict=True)) for row in cursor]
        kept = [{name: row[name] for name in names if name not in _TIMES} for row in rows]
        by_table[table] = sorted(kept, key=str)
    return by_table


def empty(connection: psycopg.Connection) -> None:
    """Forget every load."""
    tables = composed.SQL(", ").join(map(composed.Identifier, STORED))
    connection.execute(composed.SQL("truncate {} restart identity").format(tables))


@pytest.fixture
def connection(migrated_url: str) -> Iterator[psycopg.Connection]:
    """A connection beside the pool."""
    with psycopg.connect(migrated_url, autocommit=True) as opened:
        yield opened


@pytest.fixture
def write_paths(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Which write path each load took, noted as it takes it."""
    taken: list[str] = []

    def noting(write_path: str, method: Callable[..., Any]) -> Callable[..., Any]:
        def note(*given: Any) -> Any:
            taken.append(write_path)
            return method(*given)

        return note

    for write_path, method in zip(WRITE_PATHS, ("insert", "merge"), strict=True):
        noted = noting(write_path, getattr(VersionedTable, method))
        monkeypatch.setattr(VersionedTable, method, noted)
    return taken


@settings(
    max_examples=30,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(loads=LOADS)
def test_both_write_paths_leave_the_same_database(
    timescale: Timescale,
    instrument_ids: list[int],
    connection: psycopg.Connection,
    write_paths: list[str],
    loads: list[tuple[str, Rows, str, int]],
) -> None:
    """Rows, versions, invalidations, counts, coverage and log, to the last digit."""
    store = BatchStore(timescale)
    batches = [
        load_of(dataset, rows, instrument_ids, provider, FETCHED_AT + timedelta(hours=hour))
        for dataset, rows, provider, hour in loads
    ]
    empty(connection)
    write_paths.clear()
    results = [store.load(given) for given in batches]
    assert write_paths[0] == "copied"
    by_both_paths = stored(connection)

    empty(connection)
    write_paths.clear()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(VersionedTable, "is_new", lambda *_: False)
        merged = [store.load(given) for given in batches]

    assert set(write_paths) == {"merged"}
    assert results == merged
    assert by_both_paths == stored(connection)


def test_a_history_is_copied_where_nothing_is_stored_of_it(
    timescale: Timescale, instrument_ids: list[int], write_paths: list[str]
) -> None:
    """Other instruments and other days are no reason to compare; a bar of the span is."""
    first, second, _ = instrument_ids
    store = BatchStore(timescale)
    days = [MONDAY + timedelta(days=offset) for offset in range(5)]
    store.load(batch([(first, day, 10.0) for day in days]))
    store.load(batch([(second, day, 10.0) for day in days]))
    store.load(batch([(first, day + timedelta(days=7), 10.0) for day in days]))
    store.load(batch([(second, day + timedelta(days=4), 10.0) for day in days]))

    assert write_paths == ["copied", "copied", "copied", "merged"]


def test_bars_that_join_a_history_are_compared_with_it(
    timescale: Timescale, instrument_ids: list[int], write_paths: list[str]
) -> None:
    """They may be in other shares than their neighbours, outside their span."""
    store = BatchStore(timescale)
    first = batch([(instrument_ids[0], MONDAY, 10.0)])
    second = batch([(instrument_ids[0], MONDAY + timedelta(days=1), 10.0)])
    store.load(replace(first, joins_history=True))
    store.load(replace(second, joins_history=True))

    assert write_paths == ["copied", "merged"]


def test_bars_as_traded_join_a_history_without_being_compared(
    timescale: Timescale, instrument_ids: list[int], write_paths: list[str]
) -> None:
    """They are in the shares of their own day."""
    store = BatchStore(timescale)
    for day in (MONDAY, MONDAY + timedelta(days=1)):
        given = batch([(instrument_ids[0], day, 10.0)], adjustment=Adjustment.AS_TRADED)
        store.load(replace(given, joins_history=True))

    assert write_paths == ["copied", "copied"]


def test_an_answer_that_holds_all_withdraws_what_another_share_has_lost(
    timescale: Timescale, instrument_ids: list[int], write_paths: list[str]
) -> None:
    """New rows of one share do not protect stored rows of the other."""
    first, second, _ = instrument_ids
    store = BatchStore(timescale)

    def dividends(*instruments: int) -> Batch:
        schema = DATASETS["dividends"].table_schema
        row = {
            "ex_date": MONDAY,
            "kind": "regular",
            "amount": Decimal("0.24"),
            "currency": "USD",
            "ordinal": 1,
        }
        rows = [
            {**dict.fromkeys(schema.names), **row, "instrument_id": instrument}
            for instrument in instruments
        ]
        asked = replace(NOTHING_ASKED, instrument_ids=(first, second))
        return replace(
            batch([], asked=asked),
            dataset="dividends",
            adjustment=None,
            rows=pa.Table.from_pylist(rows, schema),
            full_snapshot=True,
        )

    store.load(dividends(first))
    store.load(dividends(second))

    assert write_paths == ["copied", "merged"]
    with timescale.connection() as connection:
        remaining = connection.execute("select instrument_id from dividend").fetchall()
        gone = connection.execute("select instrument_id from dividend_version").fetchall()
    assert (remaining, gone) == ([(second,)], [(first,)])


def _wait_for(reason: str, is_so: Callable[[], bool]) -> None:
    until = time.monotonic() + 30
    while not is_so():
        assert time.monotonic() < until, reason
        time.sleep(0.01)


@pytest.mark.parametrize("dataset", ["daily_bars", "minute_bars"])
def test_two_first_loads_at_once_end_as_one_after_the_other(
    timescale: Timescale,
    instrument_ids: list[int],
    connection: psycopg.Connection,
    write_paths: list[str],
    dataset: str,
) -> None:
    """One copies, and the others find its rows.

    The lock of their instruments is held until all wait for it, each on a connection of its own, so
    that all of them began at an empty table.
    """
    store = BatchStore(timescale)
    values = [10.0, 10.25, 1234.0625, 99.5]
    batches = [
        load_of(
            dataset,
            {(0, day): value for day in range(5)} | {(1, 5): 7.0},
            instrument_ids,
            "polygon",
            FETCHED_AT,
        )
        for value in values
    ]
    waiting = (
        "select count(*) from pg_locks where locktype = 'advisory' and not granted"
        " and database = (select oid from pg_database where datname = current_database())"
    )
    with ThreadPoolExecutor(len(values)) as pool:
        with connection.transaction():
            connection.execute(
                "select pg_advisory_xact_lock(hashtext('wrdata.instruments'), id %% 256)"
                " from unnest(%s::int[]) as id",
                [instrument_ids],
            )
            loads = [pool.submit(store.load, given) for given in batches]
            _wait_for(
                "not all loads wait for the lock",
                lambda: connection.execute(waiting).fetchone() == (len(values),),
            )
            assert write_paths == []
        results = [load.result() for load in loads]

    total = LoadResult.total(results)
    assert sorted(write_paths) == ["copied", "merged", "merged", "merged"]
    assert (total.inserted, total.restated, total.unchanged) == (6, 15, 3)
    table = TABLES[dataset]
    query = composed.SQL(
        """select array_agg(close order by known_from), array_agg(known_from order by known_from),
               array_agg(known_to order by known_from)
           from (
               select instrument_id, {dated_by}, close, known_from, null as known_to from {table}
               union all
               select instrument_id, {dated_by}, close, known_from, known_to from {versions}
           ) as every
           where instrument_id = %s group by {dated_by}"""
    ).format(
        dated_by=composed.Identifier(table.key[0]),
        table=composed.Identifier(table.table),
        versions=composed.Identifier(f"{table.table}_version"),
    )
    histories = connection.execute(query, [instrument_ids[0]]).fetchall()
    assert len(histories) == 5
    for closes, since, until in histories:
        assert sorted(closes) == sorted(values)
        assert until == [*since[1:], None]
