"""A fingerprint of a table's content: equal for the same rows in the same order.

Here: one hash per column and one over all of them, computed batch by batch in bounded memory.
It does not depend on batches, compression or file format, so that rows in Postgres can be compared
with rows read back from Parquet. Not here: hashes of files.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc


@dataclass(frozen=True, slots=True, kw_only=True)
class ContentHash:
    """Fingerprint of ordered rows: hex SHA-256 per column, and one over all columns."""

    rows: int
    columns: Mapping[str, str]

    @property
    def digest(self) -> str:
        """Return one hex SHA-256 over the column names, their digests and the number of rows."""
        text = "\n".join(f"{name}={value}" for name, value in sorted(self.columns.items()))
        return hashlib.sha256(f"{self.rows}\n{text}".encode()).hexdigest()


class ContentHasher:
    """Hashes batches of one schema one by one; fixed-width and string columns only.

    Args:
        schema: Columns and types of every batch.
    """

    def __init__(self, schema: pa.Schema) -> None:
        self._columns = {name: _ColumnHasher() for name in schema.names}
        self._rows = 0

    def update(self, batch: pa.RecordBatch) -> None:
        """Hash the next rows.

        Raises:
            TypeError: A column's type has no canonical bytes here.
        """
        for name, hasher in self._columns.items():
            hasher.update(batch.column(name), self._rows)
        self._rows += batch.num_rows

    def result(self) -> ContentHash:
        """Return the fingerprint of all rows so far."""
        return ContentHash(
            rows=self._rows,
            columns={name: hasher.hexdigest() for name, hasher in self._columns.items()},
        )


def content_hash(schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> ContentHash:
    """Hash ``batches`` of ``schema``, holding one of them at a time.

    Raises:
        TypeError: A column's type has no canonical bytes here.
    """
    hasher = ContentHasher(schema)
    for batch in batches:
        hasher.update(batch)
    return hasher.result()


def hash_of_nulls(column: pa.DataType, rows: int) -> str:
    """Return the digest of a column of nulls, such as one that was added later."""
    schema = pa.schema([pa.field("nulls", column)])
    pieces = (
        pa.record_batch([pa.nulls(min(_PIECE, rows - start), column)], schema=schema)
        for start in range(0, rows, _PIECE)
    )
    return content_hash(schema, pieces).columns["nulls"]


class _ColumnHasher:
    """Hashes values, the lengths of texts, and the places of nulls, each separately.

    Arrow holds them separately: a row-by-row layout would need a copy, which takes longer than the
    hash.
    """

    def __init__(self) -> None:
        self._values, self._lengths, self._nulls = (hashlib.sha256() for _ in range(3))

    def update(self, column: pa.Array, first: int) -> None:
        """Hash rows; the first is row number ``first`` of the table."""
        if column.null_count:
            places = np.flatnonzero(column.is_null().to_numpy(zero_copy_only=False)) + first
            self._nulls.update(places.astype("<i8", copy=False).data)
        if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
            text, lengths = _texts(column)
            self._values.update(text.data)
            self._lengths.update(lengths.data)
        else:
            self._values.update(_fixed_width(column).data)

    def hexdigest(self) -> str:
        """Return the hex SHA-256 over the three."""
        parts = (self._values, self._lengths, self._nulls)
        return hashlib.sha256(b"".join(part.digest() for part in parts)).hexdigest()


def _fixed_width(column: pa.Array) -> npt.NDArray[np.uint8]:
    """Return the bytes of the values in order; a null is all zeros."""
    values = _decimals(column) if pa.types.is_decimal128(column.type) else _integers(column)
    if column.null_count:
        values = values.copy()
        values[column.is_null().to_numpy(zero_copy_only=False)] = np.zeros((), values.dtype)
    return values.view(np.uint8)


def _integers(column: pa.Array) -> npt.NDArray[Any]:
    """Return the values of a fixed-width column as integers; those of nulls are arbitrary."""
    storage = _STORAGE.get(column.type)
    if storage is None:
        message = f"no canonical bytes for a column of type {column.type}"
        raise TypeError(message)
    arrow_type, numpy_type = storage
    same = column.cast(arrow_type) if pa.types.is_boolean(column.type) else column.view(arrow_type)
    return pc.fill_null(same, 0).to_numpy().astype(numpy_type, copy=False)


def _decimals(column: pa.Array) -> npt.NDArray[Any]:
    """Return 16 bytes a row, the unscaled value in two's complement, lowest byte first."""
    _, values = column.buffers()
    all_rows = np.frombuffer(values, _DECIMAL, count=column.offset + len(column))
    return all_rows[column.offset :]


def _texts(column: pa.Array) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint32]]:
    """Return the UTF-8 of all texts, and the length of each in bytes; a null has length 0."""
    filled = pc.fill_null(column, "").cast(pa.large_string())
    _, offsets_buffer, text_buffer = filled.buffers()
    offsets = np.frombuffer(offsets_buffer, np.int64)[filled.offset :][: len(filled) + 1]
    text = np.frombuffer(text_buffer or b"", np.uint8)[offsets[0] : offsets[-1]]
    return text, np.diff(offsets).astype("<u4")


_STORAGE: Mapping[pa.DataType, tuple[pa.DataType, str]] = {
    pa.bool_(): (pa.uint8(), "u1"),
    pa.int32(): (pa.int32(), "<i4"),
    pa.int64(): (pa.int64(), "<i8"),
    pa.float64(): (pa.int64(), "<i8"),
    pa.date32(): (pa.int32(), "<i4"),
    pa.timestamp("us", tz="UTC"): (pa.int64(), "<i8"),
}
"""Integer types that represent a column type, in Arrow and in NumPy (always little-endian)."""

_DECIMAL = np.dtype([("low", "<u8"), ("high", "<u8")])
_PIECE = 1 << 20
"""Number of null rows that are hashed at a time."""
