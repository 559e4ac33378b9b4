"""Macroeconomic observations in the database, as published by a moment."""

from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import psycopg
import pyarrow as pa
import pytest

from marketdata.datasets import DATASETS
from marketdata.ports import Asked, Batch
from resources.storage.batches import BatchStore
from resources.storage.datasets import DatasetReader
from resources.storage.instruments import InstrumentStore
from resources.storage.timescale import Timescale
from sandbox.simulators.worlds.macro.world import MacroWorld

INSERT = """
insert into macro_observation values (%s, %s, %s, %s, %s, 'fred', 1, now())
"""
MACRO = DATASETS["macro_observations"]
FOREVER = date(9999, 12, 31)
QUARTER = date(2026, 1, 1)
Row = tuple[int, date, date, date, str | None]


@pytest.fixture
def database(migrated_url: str) -> Iterator[psycopg.Connection]:
    """A connection to a migrated database."""
    with psycopg.connect(migrated_url, autocommit=True) as connection:
        yield connection


def _insert(database: psycopg.Connection, rows: Sequence[Row]) -> None:
    with database.cursor() as cursor:
        cursor.executemany(INSERT, rows)


def _as_of(database: psycopg.Connection, at: datetime) -> list[tuple[object, ...]]:
    asked = "select * from macro_as_of(%s) order by instrument_id, observed_on"
    return database.execute(asked, [at]).fetchall()


REVISED: Sequence[Row] = [
    (7, QUARTER, date(2026, 4, 30), date(2026, 5, 27), "23010.5"),
    (7, QUARTER, date(2026, 5, 28), FOREVER, "23002.1"),
    (7, date(2026, 4, 1), date(2026, 7, 30), FOREVER, None),
    (8, QUARTER, date(2026, 2, 6), FOREVER, "4.1"),
]


@pytest.mark.parametrize(
    ("at", "expected"),
    [
        (datetime(2026, 4, 29, 12, tzinfo=UTC), [(8, QUARTER, "4.1", date(2026, 2, 6))]),
        (datetime(2026, 5, 27, 12, tzinfo=UTC), [
            (7, QUARTER, "23010.5", date(2026, 4, 30)), (8, QUARTER, "4.1", date(2026, 2, 6))]),
        (datetime(2026, 5, 28, 12, tzinfo=UTC), [
            (7, QUARTER, "23002.1", date(2026, 5, 28)), (8, QUARTER, "4.1", date(2026, 2, 6))]),
        (datetime(2026, 8, 1, 12, tzinfo=UTC), [
            (7, QUARTER, "23002.1", date(2026, 5, 28)),
            (7, date(2026, 4, 1), None, date(2026, 7, 30)),
            (8, QUARTER, "4.1", date(2026, 2, 6))]),
        (datetime(2020, 1, 1, tzinfo=UTC), []),
    ],
)  # fmt: skip
def test_a_moment_sees_the_latest_vintage_by_then(
    database: psycopg.Connection, at: datetime, expected: list[tuple[int, date, str | None, date]]
) -> None:
    """A published gap is a null, an unpublished period has no row."""
    _insert(database, REVISED)
    assert _as_of(database, at) == [
        (instrument_id, day, None if value is None else Decimal(value), start)
        for instrument_id, day, value, start in expected
    ]


@pytest.mark.parametrize(
    ("at", "value"),
    [
        (datetime(2026, 5, 28, 4, 59, 59, tzinfo=UTC), "23010.5"),
        (datetime(2026, 5, 28, 5, tzinfo=UTC), "23002.1"),
    ],
)
def test_a_vintage_counts_from_midnight_in_st_louis(
    database: psycopg.Connection, at: datetime, value: str
) -> None:
    """Five hours behind UTC in summer, whatever zone the session is in."""
    _insert(database, REVISED[:2])
    for zone in ("UTC", "Asia/Tokyo", "America/Los_Angeles"):
        database.execute("select set_config('timezone', %s, false)", [zone])
        assert [row[2] for row in _as_of(database, at)] == [Decimal(value)]


def test_midnight_moves_with_winter(database: psycopg.Connection) -> None:
    """Six hours behind UTC then."""
    _insert(database, [(7, QUARTER, date(2026, 1, 15), FOREVER, "1")])
    midnight = datetime(2026, 1, 15, 6, tzinfo=UTC)
    assert _as_of(database, midnight - timedelta(microseconds=1)) == []
    assert len(_as_of(database, midnight)) == 1


def test_a_withdrawn_value_is_no_longer_seen(database: psycopg.Connection) -> None:
    """Its span ended and none followed."""
    _insert(database, REVISED[:1])
    assert len(_as_of(database, datetime(2026, 5, 27, 12, tzinfo=UTC))) == 1
    assert _as_of(database, datetime(2026, 5, 28, 12, tzinfo=UTC)) == []


def test_of_values_that_overlap_the_newest_counts(database: psycopg.Connection) -> None:
    """Validation refuses them; should they get here, no period has two values."""
    rows = [(7, QUARTER, date(2026, 4, 30), FOREVER, "1"), REVISED[1]]
    _insert(database, rows)
    seen = _as_of(database, datetime(2026, 6, 1, tzinfo=UTC))
    assert [row[2] for row in seen] == [Decimal("23002.1")]


def test_a_condition_on_a_series_reaches_the_index(database: psycopg.Connection) -> None:
    """The function is inlined: other series cost nothing."""
    rows = [
        (instrument_id, QUARTER + timedelta(days=day), date(2026, 4, 30), FOREVER, "1")
        for instrument_id in range(20)
        for day in range(200)
    ]
    _insert(database, rows)
    database.execute("analyze macro_observation")
    plan = database.execute(
        "explain select * from macro_as_of('2026-06-01Z') where instrument_id = 7"
    ).fetchall()
    text = "\n".join(str(line[0]) for line in plan)
    assert "macro_observation_pkey" in text
    assert "instrument_id = 7" in text


@pytest.mark.parametrize(
    ("row", "constraint"),
    [
        ((7, QUARTER, date(2026, 5, 28), date(2026, 5, 27), "1"), "macro_observation_lasted"),
        ((7, QUARTER, date(2026, 5, 28), FOREVER, "nan"), "macro_observation_is_a_number"),
        ((7, QUARTER, date(2026, 5, 28), FOREVER, "infinity"), "macro_observation_is_a_number"),
    ],
)
def test_what_no_observation_can_be_is_refused(
    database: psycopg.Connection, row: Row, constraint: str
) -> None:
    """The last line of defence."""
    with pytest.raises(psycopg.errors.CheckViolation, match=constraint):
        _insert(database, [row])


def test_a_revision_closes_the_old_value_and_keeps_its_row_as_it_was(
    timescale: Timescale, tmp_path: Path
) -> None:
    """Loaded as every dataset is: new vintages inserted, closed ones restated, nothing lost."""
    now = datetime(2026, 8, 5, 17, tzinfo=UTC)
    later = now + timedelta(minutes=5)
    world = MacroWorld(tmp_path)
    ids = InstrumentStore(timescale).register("series", {"GDP": "gdp"}, now.date())
    first = BatchStore(timescale).load(_batch(world.truth(["GDP"], now), ids["GDP"], now))
    world.publish_revision("GDP", later)
    truth = world.truth(["GDP"], later)
    second = BatchStore(timescale).load(_batch(truth, ids["GDP"], later))
    again = BatchStore(timescale).load(_batch(truth, ids["GDP"], later))

    assert (first.inserted, first.restated) == (truth.num_rows - 2, 0)
    assert (second.inserted, second.restated) == (2, 2)
    assert (again.inserted, again.restated) == (0, 0)
    read = DatasetReader(timescale).read(MACRO, ["GDP"], "fred")
    assert read.to_pylist() == truth.to_pylist()
    with timescale.connection() as connection:
        kept = connection.execute(
            "select observed_on, realtime_end from macro_observation_version order by observed_on"
        ).fetchall()
    assert kept == [(date(2026, 1, 1), FOREVER), (date(2026, 4, 1), FOREVER)]


def _batch(wire_rows: pa.Table, instrument_id: int, fetched_at: datetime) -> Batch:
    ids = pa.array([instrument_id] * wire_rows.num_rows, pa.int64())
    rows = wire_rows.drop_columns("symbol").add_column(0, MACRO.table_schema.field(0), ids)
    return Batch(
        dataset=MACRO.name,
        provider="fred",
        adjustment=None,
        request="asked",
        content_sha256="ab",
        fetched_at=fetched_at,
        run_id="run",
        raw_answers=(),
        asked=Asked(
            instrument_ids=(instrument_id,), start=QUARTER, end=QUARTER, whole_sessions=False
        ),
        rows=rows.cast(MACRO.table_schema),
        letters=(),
        coverage=(),
    )


def test_the_worlds_vintages_are_seen_as_they_were(
    database: psycopg.Connection, tmp_path: Path
) -> None:
    """For each quarter's first day of ten years, equal to the truth of that day."""
    now = datetime(2026, 8, 5, 17, tzinfo=UTC)
    world = MacroWorld(tmp_path)
    truth = world.truth(["GDP"], now).to_pylist()
    _insert(
        database,
        [
            (7, row["observed_on"], row["realtime_start"], row["realtime_end"], row["value"])
            for row in truth
        ],
    )
    for year in range(2016, 2026):
        at = datetime(year, 4, 1, 18, tzinfo=UTC)
        then = [
            row for row in world.truth(["GDP"], at).to_pylist() if row["realtime_end"] == FOREVER
        ]
        assert [row[1:] for row in _as_of(database, at)] == [
            (row["observed_on"], row["value"], row["realtime_start"]) for row in then
        ]
