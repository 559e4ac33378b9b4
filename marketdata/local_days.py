"""The day of each instant of an Arrow column, on the clocks of some place.

Here: the one place where columns meet time zones. Not here: single moments (datetime.astimezone).

Arrow's own functions (local_timestamp, floor_temporal, a cast to a day or to text) read the
system's zoneinfo and fail where there is none, for UTC too. Python has another database beside it,
from PyPI, and two of them may differ: so all zones here are Python's.
"""

from datetime import datetime
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa

_QUARTER_HOUR_S = 15 * 60
"""Clocks everywhere differ from UTC by quarters of an hour, so a day begins with one of them."""


def local_days(instants: pa.ChunkedArray, zone: ZoneInfo) -> pa.ChunkedArray:
    """Return the day (date32) in ``zone`` of each instant.

    Only the quarters of an hour that occur are converted: thousands instead of millions.

    Args:
        instants: Timestamps of UTC since 1970, of any unit; none is missing. Days stay as they are.
        zone: Where the day is asked for.
    """
    if pa.types.is_date(instants.type):
        return instants
    micros = instants.cast(pa.timestamp("us", tz="UTC")).cast(pa.int64()).to_numpy()
    quarters, places = np.unique(micros // (_QUARTER_HOUR_S * 1_000_000), return_inverse=True)
    days = [
        datetime.fromtimestamp(quarter * _QUARTER_HOUR_S, zone).date()
        for quarter in quarters.tolist()
    ]
    return pa.chunked_array([pa.array(days, pa.date32()).take(pa.array(places))])
