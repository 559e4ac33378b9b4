"""A fingerprint of rows that ignores how they are chunked, and depends on all else."""

import hashlib
from datetime import UTC, date, datetime
from decimal import Context, Decimal

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketdata.content_hash import ContentHash, content_hash, hash_of_nulls
from marketdata.rows import AMOUNT

SCHEMA = pa.schema(
    [
        ("id", pa.int64()),
        ("small", pa.int32()),
        ("price", pa.float64()),
        ("day", pa.date32()),
        ("at", pa.timestamp("us", tz="UTC")),
        ("text", pa.string()),
        ("long", pa.large_string()),
        ("flag", pa.bool_()),
        ("amount", AMOUNT),
    ]
)
_EXACT = Context(prec=50)
_TIMES = st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
_AMOUNTS = st.integers(-(10**38) + 1, 10**38 - 1).map(
    lambda units: Decimal(units).scaleb(-18, _EXACT)
)
_ROW = st.tuples(
    st.none() | st.integers(-(2**63), 2**63 - 1),
    st.none() | st.integers(-(2**31), 2**31 - 1),
    st.none() | st.floats(),
    st.none() | st.dates(),
    st.none() | _TIMES,
    st.none() | st.text(),
    st.none() | st.text(),
    st.none() | st.booleans(),
    st.none() | _AMOUNTS,
)
_ROWS = st.lists(_ROW, max_size=20)


def _table(rows: list[tuple[object, ...]]) -> pa.Table:
    columns = [[row[at] for row in rows] for at in range(len(SCHEMA))]
    return pa.table(columns, schema=SCHEMA)


def _hash(table: pa.Table, chunk: int | None = None) -> ContentHash:
    return content_hash(table.schema, table.to_batches(max_chunksize=chunk))


@given(_ROWS, st.integers(1, 7), st.data())
def test_the_cut_into_batches_does_not_show(
    rows: list[tuple[object, ...]], chunk: int, data: st.DataObject
) -> None:
    """Nor do slices, which share their memory with other rows."""
    table = _table(rows)
    start = data.draw(st.integers(0, len(rows)))
    pieces = pa.concat_tables([table.slice(0, start), table.slice(start)])
    assert _hash(table) == _hash(table, chunk) == _hash(pieces)
    assert _hash(table.slice(start)) == _hash(_table(rows[start:]))


@given(st.lists(_ROW, min_size=1, max_size=10), st.data())
def test_any_change_of_a_value_shows_in_its_column_alone(
    rows: list[tuple[object, ...]], data: st.DataObject
) -> None:
    """Null is no zero and no empty text; the digest over all columns changes too."""
    column = data.draw(st.integers(0, len(SCHEMA) - 1))
    row = data.draw(st.integers(0, len(rows) - 1))
    other = list(rows[row])
    other[column] = data.draw(_ROW)[column]
    before = _hash(_table(rows))
    after = _hash(_table([*rows[:row], tuple(other), *rows[row + 1 :]]))
    # repr tells NaN and the two zeros apart as their bits do; all NaN drawn here are one.
    changed = repr(other[column]).lstrip("-") != repr(rows[row][column]).lstrip("-")
    if changed:
        assert before.digest != after.digest
        assert {name for name in SCHEMA.names if before.columns[name] != after.columns[name]} == {
            SCHEMA.names[column]
        }


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (["ab", "c"], ["a", "bc"]),
        ([None], [""]),
        ([], [None]),
        (["a", "b"], ["b", "a"]),
        (["a"], ["a", "a"]),
    ],
)
def test_texts_do_not_run_into_each_other(left: list[str | None], right: list[str | None]) -> None:
    """Order, limits, nulls and counts show."""
    hashes = [_hash(pa.table({"t": pa.array(texts, pa.string())})) for texts in (left, right)]
    assert hashes[0].columns != hashes[1].columns
    assert hashes[0].digest != hashes[1].digest


def test_zero_and_null_are_told_apart() -> None:
    """In columns of fixed width as well."""
    zero, null = (_hash(pa.table({"x": pa.array([x], pa.float64())})) for x in (0.0, None))
    assert zero.digest != null.digest


def test_the_layout_is_the_one_that_older_proofs_were_made_with() -> None:
    """Digests are kept in the archive for years: the bytes they are made of are fixed."""
    table = pa.table(
        {
            "n": pa.array([1, None], pa.int64()),
            "d": pa.array([date(1970, 1, 3), None], pa.date32()),
            "s": pa.array(["é", None], pa.string()),
            "a": pa.array([Decimal("-0.000000000000000003"), None], AMOUNT),
            "b": pa.array([True, None]),
        }
    )
    second_row = (1).to_bytes(8, "little")
    values_lengths_nulls = {
        "n": ((1).to_bytes(8, "little") + bytes(8), b"", second_row),
        "d": ((2).to_bytes(4, "little") + bytes(4), b"", second_row),
        "s": ("é".encode(), (2).to_bytes(4, "little") + bytes(4), second_row),
        "a": ((-3).to_bytes(16, "little", signed=True) + bytes(16), b"", second_row),
        "b": (b"\1\0", b"", second_row),
    }
    expected = {
        name: b"".join(hashlib.sha256(row).digest() for row in laid_out)
        for name, laid_out in values_lengths_nulls.items()
    }
    hashed = _hash(table)
    assert hashed.columns == {
        name: hashlib.sha256(digests).hexdigest() for name, digests in expected.items()
    }
    text = "\n".join(f"{name}={hashed.columns[name]}" for name in sorted(expected))
    assert hashed.digest == hashlib.sha256(f"2\n{text}".encode()).hexdigest()


def test_no_rows_have_a_fingerprint_too() -> None:
    """An empty month can be compared like any other."""
    assert _hash(SCHEMA.empty_table()) == content_hash(SCHEMA, [])


def test_a_type_without_canonical_bytes_is_refused() -> None:
    """No proof is better than a doubtful one."""
    with pytest.raises(TypeError, match="list"):
        _hash(pa.table({"x": [[1]]}))


@given(st.integers(0, 20))
def test_a_column_that_came_later_is_known_without_reading_it(rows: int) -> None:
    """Its digest is that of as many nulls, whatever its type."""
    table = _table([(None,) * len(SCHEMA)] * rows)
    assert _hash(table).columns == {field.name: hash_of_nulls(field.type, rows) for field in SCHEMA}
