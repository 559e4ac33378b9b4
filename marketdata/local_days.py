"""The local day of each instant of an Arrow column.

Here: all conversion of columns between time zones. Not here: single times (datetime.astimezone).

Arrow's own functions (local_timestamp, floor_temporal, a cast to a day or to text) read the
system's zoneinfo and fail where there is none, for UTC too. Python may use another database, from
PyPI, and the two may differ: so all zones here are Python's.
"""

from datetime import datetime
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa

_QUARTER_HOUR_S = 15 * 60
"""All zones differ from UTC by whole quarters of an hour, so each day begins with a quarter."""


def local_days(instants: pa.ChunkedArray, zone: ZoneInfo) -> pa.ChunkedArray:
    """Return the day (date32) in ``zone`` of each instant.

    Only the distinct quarters of an hour are converted: thousands instead of millions.

    Args:
        instants: UTC timestamps since 1970, of any unit, without nulls. Days stay as they are.
        zone: Zone of the days.
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
