"""Bars times their factors, as Arrow tables: the same as the adjusted views in SQL.

Here: the factor of each bar, and the multiplication, equal to the views to the last bit. Not here:
how factors are made (price_factors.py), or the views (resources/storage/sql).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from marketdata.bars import PRICES, Adjustment
from marketdata.calendars import NEW_YORK_ZONE
from marketdata.local_days import local_days

_Floats = npt.NDArray[np.float64]
_Days = npt.NDArray[np.int32]
"""Days since 1970, as Arrow's date32 counts them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FactorSteps:
    """One instrument's factors, as the table price_factor holds them.

    Attributes:
        first_days: First day of each step, oldest first; the first step begins before all bars.
        split_factors: For each step: turns an as-traded price into one in the latest shares.
        dividend_factors: For each step: takes later dividends out of a price.
    """

    first_days: _Days
    split_factors: _Floats
    dividend_factors: _Floats


def shares_days(
    days: pa.ChunkedArray, adjustment: pa.ChunkedArray, known_from: pa.ChunkedArray
) -> pa.ChunkedArray:
    """Return the day whose shares each daily bar's prices are for (bar_shares_of in SQL).

    Prices that the provider adjusted for splits are in the shares of the day on which they came.
    """
    later = pc.max_element_wise(days, local_days(known_from, NEW_YORK_ZONE))
    return pc.if_else(pc.equal(adjustment, Adjustment.AS_TRADED.value), days, later)


def adjusted(
    bars: pa.Table,
    factors: Mapping[int, FactorSteps],
    adjustment: Adjustment,
    *,
    days: pa.ChunkedArray,
    shares: pa.ChunkedArray,
) -> pa.Table:
    """Return ``bars`` with prices and volume adjusted, and their column ``adjustment`` set.

    Args:
        bars: Grouped by ``instrument_id``; with prices, ``volume``, ``adjustment`` and perhaps
            ``vwap``.
        factors: By instrument, for every one in ``bars``.
        adjustment: SPLITS or SPLITS_AND_DIVIDENDS.
        days: The session of each bar (date32), which decides the dividends.
        shares: The day whose shares its prices are for (date32), which decides the splits.

    Raises:
        KeyError: An instrument has no factors.
    """
    split = _factors(
        bars,
        shares,
        {instrument_id: (s.first_days, s.split_factors) for instrument_id, s in factors.items()},
    )
    price = split
    if adjustment is Adjustment.SPLITS_AND_DIVIDENDS:
        steps = {
            instrument_id: (s.first_days, s.dividend_factors)
            for instrument_id, s in factors.items()
        }
        price = split * _factors(bars, days, steps)
    for name in (*PRICES, "vwap"):
        if name in bars.column_names:
            bars = _replaced(bars, name, pc.multiply(bars[name], pa.array(price)))
    bars = _replaced(bars, "volume", pc.divide(bars["volume"], pa.array(split)))
    return _replaced(bars, "adjustment", pa.repeat(adjustment.value, bars.num_rows))


def _factors(
    bars: pa.Table, days: pa.ChunkedArray, steps: Mapping[int, tuple[_Days, _Floats]]
) -> _Floats:
    """Return the factor of each bar: that of the last step that begins on or before its day."""
    bar_factors = np.ones(bars.num_rows)
    counted = days.cast(pa.int32()).to_numpy()
    for instrument_id, rows in runs(bars["instrument_id"].to_numpy()):
        first_days, factors = steps[instrument_id]
        bar_factors[rows] = factors[np.searchsorted(first_days, counted[rows], side="right") - 1]
    return bar_factors


def runs(instrument_ids: npt.NDArray[np.int64]) -> Iterator[tuple[int, slice]]:
    """Yield each instrument with the slice of its rows, which are grouped by instrument."""
    bounds = [0, *(np.flatnonzero(np.diff(instrument_ids)) + 1).tolist(), len(instrument_ids)]
    for start, end in pairwise(bounds):
        if start < end:
            yield int(instrument_ids[start]), slice(start, end)


def _replaced(bars: pa.Table, name: str, values: Any) -> pa.Table:
    place = bars.schema.get_field_index(name)
    return bars.set_column(place, bars.schema.field(name), values)
