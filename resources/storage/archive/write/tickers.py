"""The ticker beside each archived row: the one that its instrument had on its day.

Here: a look-up over batches of rows. Not here: reading the rows (rows.py), or how tickers change
(resources/storage/instruments.py).

A join in SQL would make the database sort all rows once more.
"""

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from adbc_driver_postgresql import dbapi

from marketdata.archiving import ArchivedDataset
from resources.storage import sql

_DAYS_A_SIDE = 1 << 31
"""More days than between 1970 and any date that Postgres knows."""
_MICROSECONDS_A_DAY = 86_400_000_000


class Tickers:
    """All tickers of the database.

    Args:
        cursor: Reads the tickers.
        dataset: Its rows get the ticker of their UTC day, or the latest one if it is archived
            whole.
    """

    def __init__(self, cursor: dbapi.Cursor, dataset: ArchivedDataset) -> None:
        self._dated_by = dataset.dated_by
        cursor.execute(sql.query("archive", "tickers"))
        spans = cursor.fetch_arrow_table().combine_chunks()
        self._names = spans["ticker"].combine_chunks()
        self._instruments = spans["instrument_id"].to_numpy()
        self._ends = spans["ends_before"].to_numpy()
        self._starts = _places(self._instruments, spans["starts_on"].to_numpy())

    def of(self, batch: pa.RecordBatch) -> pa.Array:
        """Return the ticker of each row of a batch from the database; null if there is none."""
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
        """Return the day of each row as days since 1970; the last possible day without a date."""
        if not self._dated_by:
            return np.full(batch.num_rows, _DAYS_A_SIDE - 1, np.int64)
        column = batch.column(self._dated_by)
        if pa.types.is_date(column.type):
            return column.view(pa.int32()).to_numpy().astype(np.int64)
        return column.view(pa.int64()).to_numpy() // _MICROSECONDS_A_DAY


def _places(
    instruments: npt.NDArray[np.int64], days: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """Return one number for each instrument and day, ordered by both."""
    return instruments * (2 * _DAYS_A_SIDE) + days
