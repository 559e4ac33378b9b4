"""Decimals and documents in the form of PostgreSQL's binary COPY.

Here: the two kinds of values that the encoder (pgpq) would send in another form than tables have.
Not here: the stream itself (copying.py).

Arrow's decimals all have the scale of their type. Their trailing zeros mean nothing, and tables
hold numbers without them, like ``trim_scale``.
"""

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

DOCUMENT = "answer"
"""The column that keeps a provider's row as it came: text in Arrow, jsonb in a table."""

_JSONB_VERSION = "\x01"
_BASE = 10_000
"""PostgreSQL stores a number in digits of this base."""
_DIGITS = 10
"""Digits (base 10,000) of a decimal of 38 places, with its point between two of them."""
_LIMBS = 5
"""Limbs of 32 bits: a decimal of 128 bits, times up to a thousand."""
_NEGATIVE = 0x4000


def in_wire_form(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Return rows whose decimals and documents are in the wire form of a table's column."""
    arrays = [_wire(field, batch.column(field.name)) for field in batch.schema]
    return pa.record_batch(arrays, schema=wire_schema(batch.schema))


def wire_schema(schema: pa.Schema) -> pa.Schema:
    """Return the schema of ``in_wire_form``."""
    return pa.schema(
        [
            field.with_type(pa.binary()) if pa.types.is_decimal(field.type) else field
            for field in schema
        ]
    )


def _wire(field: pa.Field, values: pa.Array) -> pa.Array:
    if pa.types.is_decimal(field.type):
        return numerics(values)
    if field.name == DOCUMENT:
        return pc.binary_join_element_wise(_JSONB_VERSION, values, "")
    return values


def numerics(decimals: pa.Array) -> pa.Array:
    """Return decimals of 128 bits as the bytes that a ``numeric`` column receives.

    The bytes are: number of digits, place of the first one, sign, scale, then the digits.
    """
    digits, is_negative = _digits(decimals)
    is_digit = digits != 0
    first = np.argmax(is_digit, axis=1)
    last = _DIGITS - 1 - np.argmax(is_digit[:, ::-1], axis=1)
    is_zero = ~is_digit.any(axis=1)
    count = np.where(is_zero, 0, last - first + 1)
    before_point = _DIGITS - _places(decimals.type) // 4

    words = np.zeros((len(decimals), 4 + _DIGITS), ">i2")
    words[:, 0] = count
    words[:, 1] = np.where(is_zero, 0, before_point - 1 - first)
    words[:, 2] = np.where(is_negative, _NEGATIVE, 0)
    words[:, 3] = np.where(is_zero, 0, _scale(digits, last, before_point))
    places = np.arange(_DIGITS)
    aligned = np.minimum(first[:, None] + places, _DIGITS - 1)
    words[:, 4:] = np.take_along_axis(digits, aligned, axis=1)
    is_sent = np.ones(words.shape, np.bool_)
    is_sent[:, 4:] = places < count[:, None]

    ends = np.concatenate([[0], np.cumsum(8 + 2 * count)]).astype(np.int32)
    buffers = [None, pa.py_buffer(ends), pa.py_buffer(words[is_sent].tobytes())]
    numbers = pa.Array.from_buffers(pa.binary(), len(decimals), buffers)
    return numbers if not decimals.null_count else pc.if_else(decimals.is_valid(), numbers, None)


def _places(kind: pa.Decimal128Type) -> int:
    """Return the decimal places, rounded up to whole digits of base 10,000."""
    return -(-kind.scale // 4) * 4


def _digits(decimals: pa.Array) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Return the digits of base 10,000, most significant first, and which decimals are negative."""
    buffer = decimals.buffers()[1]
    size = len(decimals) * 4
    halves = np.frombuffer(buffer, "<u4", size, decimals.offset * 16).reshape(-1, 4)
    is_negative = (halves[:, 3] >> 31) == 1
    if decimals.null_count:  # The bytes of a null may be anything.
        halves = np.where(decimals.is_valid().to_numpy(zero_copy_only=False)[:, None], halves, 0)
    limbs = np.zeros((len(decimals), _LIMBS), np.uint64)
    limbs[:, :4] = np.where(is_negative[:, None], ~halves, halves)
    limbs[:, 0] += is_negative
    limbs *= np.uint64(10 ** (_places(decimals.type) - decimals.type.scale))
    for limb in range(_LIMBS - 1):
        limbs[:, limb + 1] += limbs[:, limb] >> np.uint64(32)
        limbs[:, limb] &= np.uint64(0xFFFFFFFF)
    digits = np.zeros((len(decimals), _DIGITS), np.int64)
    for place in range(_DIGITS - 1, -1, -1):
        rest = np.zeros(len(decimals), np.uint64)
        for limb in range(_LIMBS - 1, -1, -1):
            value = (rest << np.uint64(32)) | limbs[:, limb]
            limbs[:, limb], rest = value // np.uint64(_BASE), value % np.uint64(_BASE)
        digits[:, place] = rest
    return digits, is_negative


def _scale(
    digits: npt.NDArray[np.int64], last: npt.NDArray[np.intp], before_point: int
) -> npt.NDArray[np.int64]:
    """Return the scale without trailing zeros, from the last digit that is not zero."""
    final = np.take_along_axis(digits, last[:, None], axis=1)[:, 0]
    zeros = sum((final % power == 0).astype(np.int64) for power in (10, 100, 1000))
    return np.maximum(4 * (last - before_point + 1) - zeros, 0)
