"""What retention did to a period, or would do, and what keeps a period where it is.

Here: the outcomes, with what is said of them. Not here: how they come about (retention.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from resources.storage.archive.restore.hot_rows import HotRows


class RetentionStatus(StrEnum):
    """What became of a period, or would."""

    DROPPED = "dropped"
    DUE = "due"
    """A dry run found nothing in the way."""
    REFUSED = "refused"


class Missing(StrEnum):
    """What a period lacks, so that its rows stay."""

    AGE = "age"
    PROOF = "proof"
    FILES = "files"
    FINAL_DAYS = "final days"
    REFRESH = "refresh"
    AGGREGATES = "aggregates"
    LOADED_ROWS = "loaded rows"
    """All that were loaded are there."""
    EQUAL_ROWS = "equal rows"
    ARCHIVED_ROWS = "archived rows"
    """As they were archived, or restated: none is lacking, none was altered."""
    TURN = "turn"


MENDED_BY_RUN = frozenset({Missing.PROOF, Missing.EQUAL_ROWS, Missing.REFRESH})
"""What a run mends before it drops: it refreshes aggregates and archives first."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """One thing that is missing, in words, with the cure."""

    missing: Missing
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RetainedPeriod:
    """A period that is due, after a run or a dry run.

    Attributes:
        label: Name of the period.
        rows: Rows dropped, or that would be; 0 of a period that a run refused.
        late: Whether rows had come for its days after they were dropped: a run restores it,
            archives it anew and drops it again.
        chunks: Chunks dropped whole.
        refusals: What is missing; in a dry run also what a run would mend first.
    """

    dataset: str
    label: str
    status: RetentionStatus
    rows: int = 0
    late: bool = False
    chunks: int = 0
    refusals: tuple[Refusal, ...] = ()

    @property
    def told(self) -> str:
        """Return what is missing, in one line."""
        return "; ".join(refusal.reason for refusal in self.refusals)


def kept_back(rows: HotRows, *refusals: Refusal) -> RetainedPeriod:
    """Return that a period stays."""
    return result_of(rows, RetentionStatus.REFUSED, refusals=refusals)


def result_of(
    of: HotRows,
    status: RetentionStatus,
    *,
    rows: int = 0,
    late: bool = False,
    chunks: int = 0,
    refusals: Sequence[Refusal] = (),
) -> RetainedPeriod:
    """Return what became of the rows of a period."""
    return RetainedPeriod(
        dataset=of.dataset.name,
        label=of.period.label,
        status=status,
        rows=rows,
        late=late,
        chunks=chunks,
        refusals=tuple(refusals),
    )
