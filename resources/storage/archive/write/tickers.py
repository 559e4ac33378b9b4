"""The ticker beside each archived row: who carried which one on which day.

Here: a look-up over batches of rows. Not here: reading the rows (rows.py), or how tickers change
(resources/storage/instruments.py).

Joined in SQL, the tickers make the database sort all rows once more.
"""

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from adbc_driver_postgresql import dbapi

from marketdata.archiving import ArchivedDataset
from resources.storage import sql

_DAYS_A_SIDE = 1 << 31
"""More than there are between 1970 and any date that Postgres knows."""
_MICROSECONDS_A_DAY = 86_400_000_000


class Tickers:
    """All tickers of the database.

    Args:
        cursor: Reads them.
        dataset: Whose rows are labelled: with the ticker of the row's day (of UTC), or the latest
            one where all is one portion.
    """

    def __init__(self, cursor: dbapi.Cursor, dataset: ArchivedDataset) -> None:
        self._dated_by = dataset.dated_by
        cursor.execute(sql.query("archive", "tickers"))
        carriers = cursor.fetch_arrow_table().combine_chunks()
        self._names = carriers["ticker"].combine_chunks()
        self._instruments = carriers["instrument_id"].to_numpy()
        self._ends = carriers["ends_before"].to_numpy()
        self._starts = _places(self._instruments, carriers["starts_on"].to_numpy())

    def of(self, batch: pa.RecordBatch) -> pa.Array:
        """Return the ticker of each row of a batch as it came from the database; null if none."""
        if not len(self._instruments):
            return pa.nulls(batch.num_rows, pa.string())
        instruments = batch.column("instrument_id").to_numpy()
        days = self._days(batch)
        nearest = np.searchsorted(self._starts, _places(instruments, days), side="right") - 1
        carried = (nearest >= 0) & (self._instruments[nearest] == instruments)
        if self._dated_by:
            carried &= days < self._ends[nearest]
        return self._names.take(pa.array(nearest, mask=~carried))

    def _days(self, batch: pa.RecordBatch) -> npt.NDArray[np.int64]:
        """Return the day of each row as days since 1970; the last one of all without a date."""
        if not self._dated_by:
            return np.full(batch.num_rows, _DAYS_A_SIDE - 1)
        column = batch.column(self._dated_by)
        if pa.types.is_date(column.type):
            return column.view(pa.int32()).to_numpy().astype(np.int64)
        return column.view(pa.int64()).to_numpy() // _MICROSECONDS_A_DAY


def _places(
    instruments: npt.NDArray[np.int64], days: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """Return one number for each instrument and day, ordered by both."""
    return instruments * (2 * _DAYS_A_SIDE) + days
