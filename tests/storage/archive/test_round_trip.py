"""Rows of every dataset, from the database to Parquet and back, with extreme values."""

from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Context, Decimal
from typing import Any, cast

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import sql
from psycopg.types.json import Jsonb

from marketdata.archiving import ARCHIVED, ArchivedDataset, Period
from marketdata.bars import Adjustment
from resources.storage.archive import Archive, ArchiveStatus, VerifiedPeriod
from resources.storage.archive.write import files
from resources.storage.archive.write.rows import stream
from resources.storage.object_store import ObjectStore
from resources.storage.timescale import Timescale

TODAY = datetime.now(UTC).date()
EXACT = Context(prec=50)
MOST = 10**38 - 1
"""Units of 1e-18 that an amount can hold."""
LEAST = datetime(1900, 1, 1, tzinfo=UTC)
LATEST = datetime(2200, 1, 1, 12, 30, 59, 999_999, tzinfo=UTC)
TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
DOCUMENT = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=5,
)
BY_TYPE: Mapping[pa.DataType, st.SearchStrategy[Any]] = {
    pa.bool_(): st.booleans(),
    pa.int32(): st.integers(-(2**31), 2**31 - 1),
    pa.int64(): st.integers(-(2**63), 2**63 - 1),
    pa.float64(): st.floats(allow_nan=False),
    pa.string(): TEXT,
    pa.date32(): st.dates(),
    pa.timestamp("us", tz="UTC"): st.datetimes(
        LEAST.replace(tzinfo=None), LATEST.replace(tzinfo=None), timezones=st.just(UTC)
    ),
    pa.decimal128(38, 18): st.integers(-MOST, MOST).map(lambda n: Decimal(n).scaleb(-18, EXACT)),
}
EXTREMES: Mapping[pa.DataType, tuple[Any, Any, Any]] = {
    pa.bool_(): (True, False, None),
    pa.int32(): (-(2**31), 2**31 - 1, None),
    pa.int64(): (-(2**63), 2**63 - 1, None),
    pa.float64(): (-0.0, 1.7976931348623157e308, None),
    pa.string(): ("", "Ünïcödé \N{SNAKE} '\"\\", None),
    pa.date32(): (date.min, date.max, None),
    pa.timestamp("us", tz="UTC"): (
        LEAST,
        LATEST,
        None,
    ),
    pa.decimal128(38, 18): (
        Decimal(-MOST).scaleb(-18, EXACT),
        Decimal(1).scaleb(-18, EXACT),
        None,
    ),
}
"""The least, something at the other end, and nothing."""
Row = dict[str, Any]


def period(dataset: ArchivedDataset) -> Period:
    """Return the period of the rows of these tests."""
    return dataset.period_of(date(2024, 3, 15), TODAY)


def own_columns(dataset: ArchivedDataset) -> list[str]:
    """Return the archived columns that exist in the table."""
    label = {"ticker"} if dataset.labelled else set[str]()
    return [name for name in dataset.schema.names if name not in label]


def rows_of(dataset: ArchivedDataset) -> st.SearchStrategy[list[Row]]:
    """Return rows of a dataset in its period, with a number instead of an instrument."""
    by_name: dict[str, st.SearchStrategy[Any]] = {}
    for name in own_columns(dataset):
        field = dataset.schema.field(name)
        values = BY_TYPE[field.type]
        by_name[name] = st.none() | values if field.nullable else values
    march = {"min_value": date(2024, 3, 1), "max_value": date(2024, 3, 31)}
    by_name |= {
        "instrument_id": st.integers(0, 2),
        "provider": st.sampled_from(["binance", "coinbase"]),
    }
    if "answer" in by_name:
        by_name["answer"] = DOCUMENT.map(Jsonb)
    if "adjustment" in by_name:
        by_name["adjustment"] = st.sampled_from([adjustment.value for adjustment in Adjustment])
    if dataset.dated_by == "session_date":
        by_name["session_date"] = st.dates(**march)
    elif dataset.dated_by:
        by_name[dataset.dated_by] = st.datetimes(
            datetime.fromisoformat("2024-03-01"),
            datetime.fromisoformat("2024-03-31T23:59:59.999999"),
            timezones=st.just(UTC),
        )
    return st.lists(
        st.fixed_dictionaries(by_name),
        max_size=12,
        unique_by=lambda row: tuple(row[name] for name in dataset.order),
    )


def extremes(dataset: ArchivedDataset) -> list[Row]:
    """Return three rows of a dataset, one per instrument, with the bounds of every type."""
    rows: list[Row] = [{"instrument_id": number} for number in range(3)]
    for number, row in enumerate(rows):
        for name in own_columns(dataset)[1:]:
            field = dataset.schema.field(name)
            value = EXTREMES[field.type][number]
            row[name] = EXTREMES[field.type][0] if value is None and not field.nullable else value
        if dataset.dated_by:
            moment = datetime(2024, 3, 1 + 10 * number, tzinfo=UTC)
            by_date = pa.types.is_date(dataset.schema.field(dataset.dated_by).type)
            row[dataset.dated_by] = moment.date() if by_date else moment
        if "adjustment" in row:
            row["adjustment"] = "splits"
        if "answer" in row:
            row["answer"] = Jsonb({"ä": [1, None, "\N{SNAKE}"]})
    return rows


@pytest.fixture
def subjects(timescale: Timescale) -> dict[str, list[int]]:
    """Three instruments of each kind, one with a ticker; the tables have no constraints."""
    ids: dict[str, list[int]] = {}
    with timescale.connection() as connection:
        for kind in ("equity", "pair", "series", "index"):
            for number in range(3):
                row = connection.execute(
                    "insert into instrument (name, kind) values ('x', %s) returning instrument_id",
                    [kind],
                ).fetchone()
                assert row
                ids.setdefault(kind, []).append(row[0])
                if number:
                    continue
                connection.execute(
                    "insert into instrument_ticker (instrument_id, ticker, valid, kind)"
                    " values (%s, 'ONE', '(,)', %s)",
                    [row[0], kind],
                )
        for dataset in ARCHIVED.values():
            table = dataset.table
            for name in (field.name for field in dataset.schema if field.nullable):
                if name in own_columns(dataset):
                    connection.execute(
                        sql.SQL("alter table {} alter {} drop not null").format(
                            sql.Identifier(table), sql.Identifier(name)
                        )
                    )
            names = connection.execute(
                "select conname from pg_constraint where conrelid = %s::regclass and contype = 'c'",
                [table],
            ).fetchall()
            for (name,) in names:
                connection.execute(
                    sql.SQL("alter table {} drop constraint {}").format(
                        sql.Identifier(table), sql.Identifier(name)
                    )
                )
    return ids


def store_rows(
    timescale: Timescale, dataset: ArchivedDataset, ids: list[int], rows: list[Row]
) -> list[tuple[Any, ...]]:
    """Put rows into the empty table; return its rows, in the archive's order."""
    names = own_columns(dataset)
    columns = sql.SQL(", ").join(sql.Identifier(name) for name in names)
    shown = sql.SQL(", ").join(
        sql.SQL("{}::text" if name in {"answer", "adjustment"} else "{}").format(
            sql.Identifier(name)
        )
        for name in names
    )
    table = sql.Identifier(dataset.table)
    with timescale.connection() as connection:
        connection.execute(sql.SQL("truncate {}").format(table))
        for row in rows:
            values = [ids[row[name]] if name == "instrument_id" else row[name] for name in names]
            connection.execute(
                sql.SQL("insert into {} ({}) values ({})").format(
                    table, columns, sql.SQL(", ").join(sql.Placeholder() for _ in names)
                ),
                values,
            )
        stored = connection.execute(sql.SQL("select {} from {}").format(shown, table)).fetchall()
    places = [names.index(name) for name in dataset.order]

    def key(row: tuple[Any, ...]) -> list[Any]:
        values = [row[place] for place in places]
        return [value.encode() if isinstance(value, str) else value for value in values]

    return sorted(stored, key=key)


def as_rows(dataset: ArchivedDataset, batches: list[pa.RecordBatch]) -> list[tuple[Any, ...]]:
    """Return the table's own columns of archived rows."""
    table = pa.Table.from_batches(batches, schema=dataset.schema).select(own_columns(dataset))
    return [tuple(row.values()) for row in table.to_pylist()]


@pytest.mark.parametrize("dataset", ARCHIVED.values(), ids=lambda dataset: dataset.name)
def test_rows_come_back_from_parquet_as_they_stand_in_the_database(
    dataset: ArchivedDataset,
    timescale: Timescale,
    object_store: ObjectStore,
    subjects: dict[str, list[int]],
) -> None:
    """Nulls, texts of any script, amounts of 38 digits, documents, in the order of bytes."""

    @settings(
        max_examples=8,
        deadline=None,
        suppress_health_check=cast("list[HealthCheck]", list(HealthCheck)),
        database=None,
    )
    @given(rows_of(dataset))
    def check(rows: list[Row]) -> None:
        stored = store_rows(timescale, dataset, subjects[dataset.kind.value], rows)
        with stream(timescale, dataset, period(dataset)) as batches:
            proof = files.prove(object_store, dataset, period(dataset), batches)
        assert proof.rows == len(rows)
        assert as_rows(dataset, list(files.read_back(object_store, dataset, proof))) == stored

    check()


@pytest.mark.parametrize("dataset", ARCHIVED.values(), ids=lambda dataset: dataset.name)
def test_every_dataset_is_archived_read_by_iceberg_and_verified(
    dataset: ArchivedDataset,
    timescale: Timescale,
    object_store: ObjectStore,
    subjects: dict[str, list[int]],
) -> None:
    """Through the table and its commit; a ticker is added where there is one."""
    rows = extremes(dataset)
    stored = store_rows(timescale, dataset, subjects[dataset.kind.value], rows)
    archive = Archive(timescale, object_store)

    (result,) = archive.archive(dataset, [period(dataset)])

    assert (result.status, result.rows) == (ArchiveStatus.COMMITTED, len(rows))
    assert all(verdict.equal for verdict in archive.verify(dataset, [result.period.label]))
    (again,) = archive.archive(dataset, [period(dataset)])
    assert again.status is ArchiveStatus.UNCHANGED
    table = archive.table(dataset).load()
    assert table
    scanned = table.scan().to_arrow().cast(dataset.schema)
    assert as_rows(dataset, scanned.to_batches()) == stored
    if dataset.labelled:
        assert scanned["ticker"].to_pylist() == ["ONE", None, None]


@pytest.mark.parametrize("dataset", ARCHIVED.values(), ids=lambda dataset: dataset.name)
def test_a_row_that_is_gone_is_wrong_unless_providers_withdraw_such_rows(
    dataset: ArchivedDataset,
    timescale: Timescale,
    object_store: ObjectStore,
    subjects: dict[str, list[int]],
) -> None:
    """Withdrawn rows wait for the next run; if all rows are gone, they were not withdrawn."""
    store_rows(timescale, dataset, subjects[dataset.kind.value], extremes(dataset))
    archive = Archive(timescale, object_store)
    archive.archive(dataset, [period(dataset)])
    table = sql.Identifier(dataset.table)
    one_of = "delete from {0} where instrument_id = (select min(instrument_id) from {0})"
    verdicts: list[VerifiedPeriod] = []
    for statement in (one_of, "delete from {0}"):
        with timescale.connection() as connection:
            connection.execute(sql.SQL(statement).format(table))
        verdicts += archive.verify(dataset, [period(dataset).label])

    some_gone, all_gone = verdicts
    assert some_gone.is_wrong is not dataset.withdraws
    assert ("rows withdrawn" in some_gone.waiting) is dataset.withdraws
    assert all_gone.is_wrong
