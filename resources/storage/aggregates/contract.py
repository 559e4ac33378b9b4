"""What every engine of aggregates promises: bars of longer intervals that equal their source.

Here: the contract as protocol and types. Not here: the engines
(rollup_engine.py, continuous_engine.py), which one is in use (engines.py), or the views that
readers see (migration 0015).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from typing import Protocol

from marketdata.bars import DAY_INTERVALS, MINUTE_INTERVALS, Interval


class SourceTable(StrEnum):
    """The tables that bars are aggregated from."""

    MINUTES = "minute_bar"
    DAYS = "daily_bar"

    @property
    def intervals(self) -> tuple[Interval, ...]:
        """The intervals made of it, finest first; each is made of one before it."""
        return MINUTE_INTERVALS if self is SourceTable.MINUTES else DAY_INTERVALS


@dataclass(frozen=True, slots=True, kw_only=True)
class RefreshResult:
    """What a refresh did; ``Aggregates.rows`` counts the kept bars.

    Attributes:
        buckets: Buckets that were recomputed, of all intervals.
        changed: Bars written or removed because they differed, by interval.
        instruments: Number of instruments refreshed.
        invalidations: Invalidations claimed and settled.
    """

    buckets: int
    changed: Mapping[Interval, int]
    instruments: int
    invalidations: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A bar that differs from its recomputation.

    Attributes:
        provider: Whose minutes it is made of; empty for bars made of daily bars.
        bucket_start: An aware moment for bars shorter than a day, otherwise a date.
        difference: What is wrong, as text.
    """

    interval: Interval
    instrument_id: int
    provider: str
    bucket_start: date | datetime
    difference: str


Progress = Callable[[int, int], None]
"""Called with how much is done, and the total."""


class Aggregates(Protocol):
    """Keeps the views bars_5m to bars_1y equal to their sources."""

    @property
    def engine(self) -> str:
        """``rollups`` or ``continuous_aggregates``."""
        ...

    def refresh(self, source: SourceTable, *, everything: bool = False) -> RefreshResult:
        """Update the aggregates of all rows that changed since the last refresh.

        A change is a load, a restatement or a deletion. An interrupted refresh leaves the rest of
        its work waiting. Refreshing again without a change of the source writes nothing. Days in
        the archive only (a live row of archive_tombstone) keep their aggregates, and their
        invalidations wait.

        Args:
            source: The source whose aggregates are refreshed.
            everything: Recompute all bars of every interval from the source: the cure for bars that
                ``differences`` finds wrong.

        Raises:
            StorageUnavailableError: The database cannot be reached now.
        """
        ...

    def differences(
        self,
        interval: Interval,
        *,
        limit: int = 100,
        sample: float | None = None,
        within: tuple[date, date] | None = None,
        progress: Progress | None = None,
    ) -> list[Difference]:
        """Compare the kept bars with a recomputation from the source.

        Buckets that wait for a refresh, or are in the archive only, are not compared.

        Args:
            interval: Which bars.
            limit: Most differences returned.
            sample: Compare this fraction of the instruments' months (or years) that have any
                bar, chosen at random; None compares everything.
            within: Compare only buckets of the months (or years) that hold these days, from the
                first to before the second.
            progress: Called after each statement with how many of the instruments' months (or
                years) are compared, and how many there are to compare.
        """
        ...

    def rows(self, interval: Interval) -> int:
        """Return how many bars are kept, of all instruments."""
        ...

    def waiting(self, source: SourceTable) -> int:
        """Return how many invalidations of a source wait."""
        ...

    def waiting_since(self, source: SourceTable) -> datetime | None:
        """Return since when (UTC) work for a refresh has waited; None if there is none."""
        ...
