"""Macroeconomic observations with their vintages as Arrow tables, and the rules they must keep.

Here: schema, rules, and the list of series that are kept. Not here: wire formats
(resources/providers), or SQL.
"""

import csv
import functools
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from importlib import resources
from types import MappingProxyType
from typing import cast
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from marketdata import rows
from marketdata.rows import AMOUNT

WIRE_OBSERVATIONS = pa.schema(
    [
        pa.field("symbol", pa.string(), nullable=False),
        pa.field("observed_on", pa.date32(), nullable=False),
        pa.field("realtime_start", pa.date32(), nullable=False),
        pa.field("realtime_end", pa.date32(), nullable=False),
        pa.field("value", AMOUNT),
    ]
)
"""One row for each value that a period ever had. ``observed_on`` is the period's day as the
provider dates it; the value was the latest one from ``realtime_start`` to ``realtime_end``, both
included (9999-12-31: it still is). A null value is one that the provider reports as missing."""

KEY = ("observed_on", "realtime_start")

ST_LOUIS = ZoneInfo("America/Chicago")
"""FRED's time zone; a vintage is a day there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """One macroeconomic series, described in FRED's words.

    Attributes:
        series: FRED's id, such as ``GDPC1``, which is ours too.
        frequency: Such as ``Quarterly`` or ``Weekly, Ending Saturday``.
        release: Name of the publication that it is part of.
        currency: For an exchange rate: the currency against the US dollar (ISO 4217).
    """

    series: str
    title: str
    frequency: str
    units: str
    release: str
    currency: str = ""

    @property
    def per_dollar(self) -> bool:
        """Whether an exchange rate is the price of one US dollar in its currency."""
        return self.units.endswith("One U.S. Dollar")


@functools.cache
def series() -> Mapping[str, Series]:
    """Return the series that are kept, by id (data/macro_series.csv)."""
    text = resources.files("marketdata").joinpath("data/macro_series.csv").read_text("utf-8")
    return MappingProxyType(
        {row["series"]: Series(**row) for row in csv.DictReader(text.splitlines())}
    )


def validate(wire_rows: pa.Table) -> rows.Validated:
    """Split observations (WIRE_OBSERVATIONS) into those to store and those to refuse.

    A value whose span overlaps the next value's is refused: both would be the latest on one day.
    A missing value (null) is a fact and is accepted.
    """
    return rows.validate(
        wire_rows,
        key=KEY,
        rules=[
            (
                "the span of the value ends before it begins",
                pc.less(wire_rows["realtime_end"], wire_rows["realtime_start"]),
            ),
            ("the span of the value reaches into the next value's", _overlaps_the_next(wire_rows)),
        ],
        day=lambda row: cast("date", row["observed_on"]),
    )


def _overlaps_the_next(wire_rows: pa.Table) -> pa.Array:
    """Return for each row whether a later value of its period begins before it ends.

    Rows with the same beginning are ignored here: repeats are judged by their key.
    """
    if not wire_rows.num_rows:
        return pa.array([], pa.bool_())
    symbols = _numbers(pc.dictionary_encode(wire_rows["symbol"]).combine_chunks().indices)
    observed = _numbers(wire_rows["observed_on"].cast(pa.int32()))
    starts = _numbers(wire_rows["realtime_start"].cast(pa.int32()))
    ends = _numbers(wire_rows["realtime_end"].cast(pa.int32()))
    spans, of_row = np.unique(
        np.stack([symbols, observed, starts], axis=1), axis=0, return_inverse=True
    )
    same_period = np.all(spans[:-1, :2] == spans[1:, :2], axis=1)
    next_start = np.full(len(spans), np.iinfo(np.int64).max)
    next_start[:-1][same_period] = spans[1:, 2][same_period]
    return pa.array(ends >= next_start[of_row.reshape(-1)])


def _numbers(column: pa.ChunkedArray | pa.Array) -> npt.NDArray[np.int64]:
    return np.asarray(column.to_numpy(zero_copy_only=False), np.int64)
