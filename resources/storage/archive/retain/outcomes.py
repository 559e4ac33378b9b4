"""What retention did to a period, or would do, and why a period is kept.

Here: the outcomes and their text. Not here: how they come about (retention.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from resources.storage.archive.restore.hot_rows import HotRows


class RetentionStatus(StrEnum):
    """Outcome of a run, or of a dry run."""

    DROPPED = "dropped"
    DUE = "due"
    """A dry run found no obstacle."""
    REFUSED = "refused"


class Missing(StrEnum):
    """What a period lacks to be dropped."""

    AGE = "age"
    PROOF = "proof"
    FILES = "files"
    FINAL_DAYS = "final days"
    REFRESH = "refresh"
    AGGREGATES = "aggregates"
    LOADED_ROWS = "loaded rows"
    """All loaded rows are held."""
    EQUAL_ROWS = "equal rows"
    ARCHIVED_ROWS = "archived rows"
    """Each is held as archived, or restated: none is missing or altered."""
    TURN = "turn"


MENDED_BY_RUN = frozenset({Missing.PROOF, Missing.EQUAL_ROWS, Missing.REFRESH})
"""Obstacles that a run removes itself: it refreshes aggregates and archives first."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """One obstacle, with the reason and the cure."""

    missing: Missing
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RetainedPeriod:
    """A period that is due, after a run or a dry run.

    Attributes:
        label: Name of the period.
        rows: Rows dropped, or that would be; 0 if a run refused the period.
        late: Whether rows had come for its days after the drop: a run restores it, archives it
            anew and drops it again.
        chunks: Number of chunks dropped whole.
        refusals: The obstacles; in a dry run including those that a run would remove first.
    """

    dataset: str
    label: str
    status: RetentionStatus
    rows: int = 0
    late: bool = False
    chunks: int = 0
    refusals: tuple[Refusal, ...] = ()

    @property
    def description(self) -> str:
        """Return the obstacles in one line."""
        return "; ".join(refusal.reason for refusal in self.refusals)


def kept_back(rows: HotRows, *refusals: Refusal) -> RetainedPeriod:
    """Return the result for a period that stays."""
    return result_of(rows, RetentionStatus.REFUSED, refusals=refusals)


def result_of(
    hot_rows: HotRows,
    status: RetentionStatus,
    *,
    rows: int = 0,
    late: bool = False,
    chunks: int = 0,
    refusals: Sequence[Refusal] = (),
) -> RetainedPeriod:
    """Return the result for a period's rows."""
    return RetainedPeriod(
        dataset=hot_rows.dataset.name,
        label=hot_rows.period.label,
        status=status,
        rows=rows,
        late=late,
        chunks=chunks,
        refusals=tuple(refusals),
    )
