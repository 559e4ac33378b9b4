"""What every engine of aggregates promises: bars of coarser intervals that equal their source.

Here: the contract in words and types. Not here: the engines
(rollup_engine.py, continuous_engine.py), which one is in use (engines.py), or the views that
readers see (migration 0015).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from typing import Protocol

from marketdata.bars import DAY_INTERVALS, MINUTE_INTERVALS, Interval


class Source(StrEnum):
    """The tables that bars are aggregated from."""

    MINUTES = "minute_bar"
    DAYS = "daily_bar"

    @property
    def intervals(self) -> tuple[Interval, ...]:
        """What is made of it, finest first: each is made of one before it."""
        return MINUTE_INTERVALS if self is Source.MINUTES else DAY_INTERVALS


@dataclass(frozen=True, slots=True, kw_only=True)
class RefreshResult:
    """What a refresh did; how much is kept now is told by ``Aggregates.rows``.

    Attributes:
        buckets: Buckets that were recomputed, of all intervals.
        changed: Bars written or removed since they differed, by interval.
        instruments: Instruments concerned.
        invalidations: Invalidations claimed and settled.
    """

    buckets: int
    changed: Mapping[Interval, int]
    instruments: int
    invalidations: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A bar that is not what its source says.

    Attributes:
        provider: Whose minutes it is made of; empty for bars made of daily bars.
        bucket_start: An aware moment for bars shorter than a day, otherwise a date.
        difference: What is wrong, in words.
    """

    interval: Interval
    instrument_id: int
    provider: str
    bucket_start: date | datetime
    difference: str


Progress = Callable[[int, int], None]
"""Is told how much is done, and of how much."""


class Aggregates(Protocol):
    """Keeps the views bars_5m to bars_1y equal to their sources."""

    @property
    def engine(self) -> str:
        """``rollups`` or ``continuous_aggregates``."""
        ...

    def refresh(self, source: Source, *, everything: bool = False) -> RefreshResult:
        """Bring up to date what loads, restatements and deletions have touched since the last time.

        A refresh that is interrupted leaves what it has not done waiting. Refreshing again
        without a change of the source writes nothing. What lies in the archive only (a live row
        of archive_tombstone) keeps its aggregates and its invalidations wait.

        Args:
            source: Whose bars.
            everything: Compute all bars again, at every level, and believe nothing that is kept:
                the cure for bars that ``differences`` finds wrong.

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
        """Compare what is kept with a recomputation from the source.

        Buckets that wait for a refresh, or lie in the archive only, are not judged.

        Args:
            interval: Which bars.
            limit: No more differences than this are returned.
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

    def waiting(self, source: Source) -> int:
        """Return how many invalidations of a source wait."""
        ...

    def waiting_since(self, source: Source) -> datetime | None:
        """Return since when (UTC) something waits that a refresh would do; None if nothing does."""
        ...
