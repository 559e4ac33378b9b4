"""Datasets of the catalogue in their tables: one merge for all of them, on a real database."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from marketdata.coverage import CoverageMark, CoverageState
from marketdata.datasets import DATASETS, Dataset
from marketdata.ports import Asked, Batch
from marketdata.recovery import errors
from resources.storage.batches import BatchStore
from resources.storage.datasets import DatasetReader
from resources.storage.instruments import InstrumentStore
from resources.storage.ledger.coverage import CoverageLedger
from resources.storage.timescale import Timescale

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
OPENED = datetime(2026, 3, 2, 14, 30, tzinfo=UTC)
BARS, TRADES, DIVIDENDS, MACRO = (
    DATASETS[name] for name in ("minute_bars", "crypto_trades", "dividends", "macro_observations")
)


def _batch(dataset: Dataset, rows: list[dict[str, Any]], **changes: Any) -> Batch:
    named = [{name: row.get(name) for name in dataset.table_schema.names} for row in rows]
    provider = next(iter(dataset.sources))
    batch = Batch(
        dataset=dataset.name,
        provider=provider,
        adjustment=None,
        request="asked",
        content_sha256="ab",
        fetched_at=NOON,
        run_id="run",
        raw_answers=(),
        asked=Asked(
            instrument_ids=tuple({row["instrument_id"] for row in rows}),
            start=date(2026, 1, 1),
            end=date(2026, 12, 31),
            whole_sessions=False,
        ),
        rows=pa.Table.from_pylist(named, schema=dataset.table_schema),
        letters=(),
        coverage=(),
    )
    return replace(batch, **changes)


def _minute(instrument_id: int, minute: int = 0, close: float = 10.0) -> dict[str, Any]:
    return {
        "instrument_id": instrument_id,
        "opened_at": OPENED + timedelta(minutes=minute),
        "open": 10.0,
        "high": max(close, 11.0),
        "low": 9.0,
        "close": close,
        "volume": 5.0,
    }


@pytest.fixture
def ids(timescale: Timescale) -> dict[str, int]:
    """Two pairs."""
    return InstrumentStore(timescale).register("pair", {"A-USD": "a", "B-USD": "b"}, NOON.date())


def test_new_equal_and_restated_rows_are_told_apart(
    timescale: Timescale, ids: dict[str, int]
) -> None:
    """Replaced values are kept with the time until which they were known."""
    store, pair = BatchStore(timescale), ids["A-USD"]
    first = store.load(_batch(BARS, [_minute(pair, 0), _minute(pair, 1)]))
    again = store.load(_batch(BARS, [_minute(pair, 0), _minute(pair, 1)]))
    mixed = store.load(
        _batch(
            BARS,
            [_minute(pair, 0), _minute(pair, 1, close=10.5), _minute(pair, 2)],
            fetched_at=NOON + timedelta(minutes=1),
        )
    )

    counts = [(load.inserted, load.unchanged, load.restated) for load in (first, again, mixed)]
    assert counts == [(2, 0, 0), (0, 2, 0), (1, 1, 1)]
    with timescale.connection() as connection:
        kept = connection.execute(
            "select close, known_to > known_from, replaced_by_ingest_id > ingest_id"
            " from minute_bar_version"
        ).fetchall()
    assert kept == [(10.0, True, True)]


def test_an_older_answer_restates_nothing(timescale: Timescale, ids: dict[str, int]) -> None:
    """Two workers may load the same in the wrong order."""
    store, pair = BatchStore(timescale), ids["A-USD"]
    store.load(_batch(BARS, [_minute(pair)]))
    older = store.load(
        _batch(BARS, [_minute(pair, close=10.9)], fetched_at=NOON - timedelta(hours=1))
    )

    assert (older.restated, older.unchanged) == (0, 1)
    with timescale.connection() as connection:
        assert connection.execute("select close from minute_bar").fetchall() == [(10.0,)]


def test_minutes_of_two_providers_stand_side_by_side(
    timescale: Timescale, ids: dict[str, int]
) -> None:
    """All exchanges together and IEX alone are two facts."""
    store, pair = BatchStore(timescale), ids["A-USD"]
    store.load(_batch(BARS, [_minute(pair)]))
    other = store.load(_batch(BARS, [_minute(pair, close=10.2)], provider="tiingo"))

    assert (other.inserted, other.restated) == (1, 0)


def _dividend(
    instrument_id: int, day: int, *, ordinal: int = 1, amount: str = "0.25"
) -> dict[str, Any]:
    return {
        "instrument_id": instrument_id,
        "ex_date": date(2026, 2, day),
        "kind": "regular",
        "ordinal": ordinal,
        "amount": Decimal(amount),
    }


def test_two_dividends_of_one_kind_and_day_are_two_rows(
    timescale: Timescale, ids: dict[str, int]
) -> None:
    """The second one is withdrawn by itself, and corrected by itself."""
    store, pair = BatchStore(timescale), ids["A-USD"]
    asked = Asked(
        instrument_ids=(pair,), start=date(2016, 1, 4), end=date(2026, 3, 2), whole_sessions=False
    )
    answers = [
        [_dividend(pair, 9, amount="0.5"), _dividend(pair, 9, ordinal=2, amount="0.83")],
        [_dividend(pair, 9, amount="0.5"), _dividend(pair, 9, ordinal=2, amount="0.84")],
        [_dividend(pair, 9, amount="0.5")],
    ]
    for number, rows in enumerate(answers):
        fetched_at = NOON + timedelta(days=number)
        store.load(_batch(DIVIDENDS, rows, asked=asked, full_snapshot=True, fetched_at=fetched_at))
    with timescale.connection() as connection:
        current = connection.execute("select ordinal, amount from dividend").fetchall()
        before = connection.execute(
            "select ordinal, amount from dividend_version order by known_from"
        ).fetchall()
    assert current == [(1, Decimal("0.5"))]
    assert before == [(2, Decimal("0.83")), (2, Decimal("0.84"))]


def test_what_a_whole_answer_lacks_is_withdrawn_and_kept_as_a_version(
    timescale: Timescale, ids: dict[str, int]
) -> None:
    """A dividend that moved by a day must not adjust prices twice."""
    store, pair, other = BatchStore(timescale), ids["A-USD"], ids["B-USD"]
    asked = Asked(
        instrument_ids=(pair,), start=date(2016, 1, 4), end=date(2026, 3, 2), whole_sessions=False
    )
    store.load(_batch(DIVIDENDS, [_dividend(pair, 9), _dividend(pair, 12)]))
    store.load(_batch(DIVIDENDS, [_dividend(other, 12)]))
    later = NOON + timedelta(days=1)
    moved = [_dividend(pair, 9), _dividend(pair, 13)]
    store.load(_batch(DIVIDENDS, moved, asked=asked, full_snapshot=True, fetched_at=later))

    with timescale.connection() as connection:
        current = connection.execute(
            "select instrument_id, ex_date from dividend order by 1, 2"
        ).fetchall()
        gone = connection.execute("select ex_date, known_to is not null from dividend_version")
        withdrawn = connection.execute("select sum(rows_withdrawn) from ingest_log").fetchone()
        assert gone.fetchall() == [(date(2026, 2, 12), True)]
    assert current == [
        (pair, date(2026, 2, 9)), (pair, date(2026, 2, 13)), (other, date(2026, 2, 12)),
    ]  # fmt: skip
    assert withdrawn == (1,)


def test_an_answer_that_lacks_most_of_what_is_stored_changes_nothing(
    timescale: Timescale, ids: dict[str, int]
) -> None:
    """A provider corrects a row or two; one that lost most of them is broken."""
    store, pair = BatchStore(timescale), ids["A-USD"]
    store.load(_batch(DIVIDENDS, [_dividend(pair, day) for day in range(1, 9)]))
    asked = Asked(
        instrument_ids=(pair,), start=date(2016, 1, 4), end=date(2026, 3, 2), whole_sessions=False
    )
    short = _batch(
        DIVIDENDS, [_dividend(pair, 1), _dividend(pair, 2)], asked=asked, full_snapshot=True
    )
    with pytest.raises(errors.StorageConflictError, match="lacks 6 that are stored"):
        store.load(short)
    with timescale.connection() as connection:
        assert connection.execute("select count(*) from dividend").fetchone() == (8,)


def test_an_empty_answer_where_something_is_stored_is_refused(
    timescale: Timescale, ids: dict[str, int]
) -> None:
    """A broken provider's empty list withdraws nothing."""
    store, pair = BatchStore(timescale), ids["A-USD"]
    asked = Asked(
        instrument_ids=(pair,), start=date(2016, 1, 4), end=date(2026, 3, 2), whole_sessions=False
    )
    nothing = _batch(DIVIDENDS, [], asked=asked, full_snapshot=True)
    assert store.load(nothing).rows == 0
    store.load(_batch(DIVIDENDS, [_dividend(pair, 9)]))
    with pytest.raises(errors.StorageConflictError, match="empty where 1 rows"):
        store.load(nothing)


def test_another_providers_equal_row_is_restated_under_its_name(
    timescale: Timescale, ids: dict[str, int]
) -> None:
    """The provider is part of the row."""
    store, pair = BatchStore(timescale), ids["A-USD"]
    store.load(_batch(DIVIDENDS, [_dividend(pair, 9)]))
    again = store.load(_batch(DIVIDENDS, [_dividend(pair, 9)], provider="polygon"))

    assert (again.inserted, again.restated) == (0, 1)
    with timescale.connection() as connection:
        rows = connection.execute(
            "select provider from dividend union all select provider from dividend_version"
        ).fetchall()
    assert sorted(rows) == [("fmp",), ("polygon",)]


def test_amounts_are_exact_and_missing_is_not_zero(
    timescale: Timescale, ids: dict[str, int]
) -> None:
    """Decimals come back as they were sent, null as null."""
    series = InstrumentStore(timescale).register("series", {"GDP": "gdp"}, NOON.date())["GDP"]
    rows = [
        {
            "instrument_id": series,
            "observed_on": date(2026, 1, day),
            "realtime_start": date(2026, 2, 1),
            "realtime_end": date(9999, 12, 31),
            "value": value,
        }
        for day, value in ((1, Decimal("0.1")), (2, None), (3, Decimal(0)))
    ]
    BatchStore(timescale).load(_batch(MACRO, rows))

    read = DatasetReader(timescale).read(MACRO, ["GDP"], "fred")
    assert read["value"].to_pylist() == [Decimal("0.1"), None, Decimal(0)]
    assert read["symbol"].to_pylist() == ["GDP"] * 3
    with timescale.connection() as connection:
        texts = connection.execute(
            "select value::text from macro_observation order by observed_on"
        ).fetchall()
    assert texts == [("0.1",), (None,), ("0",)]
    assert ids  # pairs and series have ids of their own


def test_a_share_and_a_series_may_have_one_name(timescale: Timescale) -> None:
    """Names are unique within their kind, and registering again changes nothing."""
    store = InstrumentStore(timescale)
    series = store.register("series", {"GDP": "gdp"}, NOON.date())
    pair = store.register("pair", {"GDP": "a pair"}, NOON.date())

    assert series["GDP"] != pair["GDP"]
    assert store.register("series", {"GDP": "again"}, NOON.date()) == series
    assert store.resolve("fmp", ["GDP"], NOON.date()) == ([], ["GDP"])
    assert store.tickers() == []


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (lambda share: pa.table({"instrument_id": [share]}), "has the columns"),
        (
            lambda share: pa.Table.from_pylist(
                [_minute(share), _minute(share)], schema=BARS.table_schema
            ),
            "repeats a key",
        ),
    ],
)
def test_a_batch_that_is_not_what_the_dataset_promises_is_refused(
    timescale: Timescale, ids: dict[str, int], rows: Any, said: str
) -> None:
    """Before anything is written."""
    batch = replace(_batch(BARS, [_minute(ids["A-USD"])]), rows=rows(ids["A-USD"]))
    with pytest.raises(errors.StorageConflictError, match=said):
        BatchStore(timescale).load(batch)


def test_coverage_is_kept_under_the_providers_own_name(
    timescale: Timescale, ids: dict[str, int]
) -> None:
    """Coverage of one provider says nothing about another."""
    pair = ids["A-USD"]
    mark = CoverageMark(
        instrument_id=pair,
        state=CoverageState.COMPLETE,
        spans=((date(2026, 3, 2), date(2026, 3, 3)),),
    )
    BatchStore(timescale).load(_batch(BARS, [_minute(pair)], coverage=(mark,)))

    ledger = CoverageLedger(timescale)
    assert ledger.ledger("minute_bars", "polygon", [pair])[pair]
    assert not ledger.ledger("minute_bars", "tiingo", [pair])[pair]


@settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    loads=st.lists(
        st.dictionaries(st.integers(0, 5), st.sampled_from([9.5, 10.0, 10.5]), min_size=1),
        min_size=1,
        max_size=6,
    )
)
def test_the_table_holds_the_latest_values_and_the_versions_all_others(
    timescale: Timescale, loads: list[dict[int, float]]
) -> None:
    """In any order of loads: current rows are the newest, nothing is lost."""
    store = BatchStore(timescale)
    name = f"P{datetime.now(UTC).timestamp()}"
    pair = InstrumentStore(timescale).register("pair", {name: name}, NOON.date())[name]
    current: dict[int, float] = {}
    replaced = 0
    for number, minutes in enumerate(loads):
        rows = [_minute(pair, minute, close) for minute, close in sorted(minutes.items())]
        result = store.load(_batch(BARS, rows, fetched_at=NOON + timedelta(minutes=number)))
        new = len(minutes.keys() - current.keys())
        changed = sum(current.get(minute, close) != close for minute, close in minutes.items())
        assert (result.inserted, result.restated) == (new, changed)
        replaced += changed
        current |= minutes
    with timescale.connection() as connection:
        rows = connection.execute(
            "select close from minute_bar where instrument_id = %s order by opened_at", [pair]
        ).fetchall()
        versions = connection.execute(
            "select count(*) from minute_bar_version where instrument_id = %s", [pair]
        ).fetchone()
    assert [row[0] for row in rows] == [current[minute] for minute in sorted(current)]
    assert versions == (replaced,)
