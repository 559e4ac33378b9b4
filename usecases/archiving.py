"""Archiving: which closed periods a request asks for, committed a few at a time.

Here: what the assets and the command line share, without Dagster. Not here: how a period is
written, read back and committed (resources/storage/archive), or reports (assets/archive.py).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from marketdata.archiving import (
    ARCHIVED,
    ArchivedDataset,
    Period,
    Portion,
    archived_dataset,
)
from marketdata.calendars import HISTORY_START, utc_now
from marketdata.recovery import errors
from resources.storage.archive import Archive, ArchivedPeriod, ArchiveStatus

PERIODS_A_COMMIT = 24
"""Daily bars are one commit, and ten years of months a few."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveBatch:
    """Periods of a dataset that were archived together, or why none of them was.

    Attributes:
        dataset: Their dataset.
        outcomes: What became of each period.
        error: Why the dataset's archive could not be used; empty if it could.
    """

    dataset: ArchivedDataset
    outcomes: Sequence[ArchivedPeriod]
    error: str = ""

    @property
    def done(self) -> Mapping[str, ArchivedPeriod]:
        """The outcomes of the periods that were not refused, by label."""
        return {
            outcome.period.label: outcome
            for outcome in self.outcomes
            if outcome.status is not ArchiveStatus.REFUSED
        }

    @property
    def refused(self) -> Mapping[str, str]:
        """Why each of the others was not archived, by label."""
        return {
            outcome.period.label: outcome.reason
            for outcome in self.outcomes
            if outcome.status is ArchiveStatus.REFUSED
        }


def archive_closed_periods(
    archive: Archive, datasets: Sequence[str], first: date | None, last: date | None
) -> Iterator[ArchiveBatch]:
    """Archive the closed periods of some datasets; yield each batch when it is committed.

    A dataset whose archive is damaged, or whose commit is refused, does not stop the others.

    Args:
        archive: The archive, opened.
        datasets: Their names; empty means all.
        first: Periods that hold this day or a later one; None means from the first row on.
        last: The last day; None means that of the last closed month.

    Raises:
        ArgumentError: A name is no archived dataset's.
        StorageUnavailableError: Database or bucket cannot be reached; earlier batches stand.
    """
    for name in datasets or ARCHIVED:
        dataset = archived_dataset(name)
        try:
            for periods in _batches(periods_with_rows(archive, dataset, first, last)):
                yield ArchiveBatch(dataset=dataset, outcomes=archive.archive(dataset, periods))
        except (errors.ArchiveMismatchError, errors.StorageConflictError) as error:
            yield ArchiveBatch(dataset=dataset, outcomes=(), error=str(error))


def requested_periods(
    dataset: ArchivedDataset, first: date | None, last: date | None
) -> list[Period]:
    """Return the closed periods of a dataset that lie between two days.

    Empty if no closed month lies between them, whatever the dataset's portion.
    """
    start, end = first or HISTORY_START, last or date.max
    today = utc_now().date()
    if start > end or start >= today.replace(day=1):
        return []
    return [period for period in dataset.closed_periods(start, today) if period.start <= end]


def periods_with_rows(
    archive: Archive, dataset: ArchivedDataset, first: date | None, last: date | None
) -> list[Period]:
    """Return the requested periods; without a first day, those from the first row on.

    Empty months before the first row are not reported.
    """
    periods = requested_periods(dataset, first, last)
    if first or dataset.portion is Portion.WHOLE:
        return periods
    oldest = archive.first_day(dataset)
    return [period for period in periods if oldest and period.end > oldest]


def _batches(periods: Sequence[Period]) -> Iterator[Sequence[Period]]:
    """Cut periods into batches, each a commit: a crash costs at most one."""
    for start in range(0, len(periods), PERIODS_A_COMMIT):
        yield periods[start : start + PERIODS_A_COMMIT]
