"""Results of archiving a period, and of verifying it.

Here: the results and their text. Not here: how they come about (archive.py).
"""

from dataclasses import dataclass
from enum import StrEnum

from marketdata.archiving import Period
from resources.storage.archive.prove.proofs import LoggedPeriod

DATABASE, PROOF = "database", "proof"
"""What an archived period is compared with."""


class ArchiveStatus(StrEnum):
    """What archiving did to a period."""

    COMMITTED = "committed"
    UNCHANGED = "unchanged"
    REPAIRED = "repaired"
    REPLACED = "replaced"
    EMPTY = "empty"
    FROZEN = "frozen"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchivedPeriod:
    """A period after archiving.

    Attributes:
        dataset: Name of the dataset.
        status: REPAIRED if the bucket had lost files, which are there again without a commit.
        reason: Why the period is frozen (its rows were dropped from the database) or refused (the
            database lacks a row that was loaded or is archived, or holds one that no load wrote; a
            file read back differs; or a file of dropped rows is lost), with the cure. The present
            archive of the period stays.
        logged: Its present archive; None if there is none.
    """

    dataset: str
    period: Period
    status: ArchiveStatus
    reason: str = ""
    logged: LoggedPeriod | None = None

    @property
    def rows(self) -> int:
        """Return how many rows are archived."""
        return self.logged.proof.rows if self.logged else 0

    @property
    def bytes(self) -> int:
        """Return the size of the files."""
        return self.logged.proof.bytes if self.logged else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedPeriod:
    """An archived period, compared with its rows in the database, or with its proof.

    Attributes:
        dataset: Name of the dataset.
        against: DATABASE, or PROOF where the rows were dropped from the database.
        expected_rows: Number of rows there.
        differing: Columns with different content; all of them if the number of rows differs.
        reason: Why the files could not be read, or which archived row the database lacks or holds
            altered, with the cure.
        waiting: Changes that the next run will archive, if there is no other difference: rows that
            came, or were restated or withdrawn, since the period was archived.
    """

    dataset: str
    period: Period
    against: str
    archive_rows: int = 0
    expected_rows: int = 0
    differing: tuple[str, ...] = ()
    reason: str = ""
    waiting: str = ""

    @property
    def equal(self) -> bool:
        """Return whether both hold the same rows."""
        return not self.differing and not self.reason

    @property
    def is_wrong(self) -> bool:
        """Return whether a person has to act; changes that are not archived yet are not wrong."""
        return not self.equal and not self.waiting

    @property
    def description(self) -> str:
        """Return the verdict as text, with the cure."""
        name = f"{self.dataset} {self.period.label}"
        if self.reason:
            return f"{name}: {self.reason}"
        if not self.differing:
            return f"{name}: equal to its {self.against}"
        if self.waiting:
            return f"{name}: {self.waiting} since it was archived: the next archive run takes them"
        return (
            f"{name}: {self.archive_rows} rows archived, {self.expected_rows} in its "
            f"{self.against}, different in {', '.join(self.differing)}; cure: restore its files "
            "from a backup"
        )
