"""Rewrites periods that have too many or outdated files; the rows stay the same.

Here: which periods that concerns, and their replacement, compared with the present proof. Not here:
files that no snapshot needs any more (upkeep.py), or rows from the database (../write).

A period is written at once and replaced as a whole, so it has several files only if it is large.
Rewritten are: files from before the dataset got a column, which readers without Iceberg would have
to handle; files without page checksums, which readers have to fetch whole; and several files where
one would do, since the limits of a file were raised. Periods in the archive only are included.
"""

from dataclasses import dataclass

from marketdata.archiving import ArchivedDataset
from marketdata.content_hash import ContentHash
from marketdata.recovery import errors
from resources.storage.archive.iceberg.catalogue import CommitLostError
from resources.storage.archive.iceberg.commit_lock import committing
from resources.storage.archive.prove.proofs import ArchiveLog, CommittedProof, PeriodProof
from resources.storage.archive.write import files
from resources.storage.archive.write.archive import Archive
from resources.storage.object_store import ObjectStore
from resources.storage.timescale import Timescale
from resources.telemetry import context

SMALL_BYTES = 32 << 20
"""Several files with a smaller total size than this are merged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CompactedPeriod:
    """A period that was rewritten, or would be.

    Attributes:
        reason: Why its files are rewritten.
        before: Its proof before.
        after: Its new proof; None if it was not rewritten.
    """

    reason: str
    before: PeriodProof
    after: PeriodProof | None = None


def compact(
    timescale: Timescale, store: ObjectStore, dataset: ArchivedDataset, *, dry_run: bool = False
) -> list[CompactedPeriod]:
    """Rewrite the dataset's periods that need it, in one commit.

    Args:
        timescale: An open Timescale whose database is migrated.
        store: The bucket of the files.
        dataset: Whose periods.
        dry_run: Return them without a change.

    Raises:
        ArchiveMismatchError: A file differs from its proof, or the new files hold other rows;
            nothing was committed.
        StorageConflictError: The bucket refuses, or is not the one that the catalogue names.
        StorageUnavailableError: Catalogue or bucket cannot be reached, or another writer
            committed meanwhile.
    """
    archive = Archive(timescale, store)
    table = archive.table(dataset)
    with committing(timescale.url, dataset.name):
        state = table.state()
        due = [
            CompactedPeriod(reason=reason, before=logged.proof)
            for logged in archive.proofs(dataset).values()
            if (reason := _reason(dataset, logged.proof))
        ]
        if dry_run or not due:
            return due
        after = [_rewrite(store, dataset, period.before) for period in due]
        try:
            snapshot_id = table.commit(state, after)
        except CommitLostError as error:
            message = f"another writer committed to {table.name} meanwhile: compact again"
            raise errors.StorageUnavailableError(message) from error
        ArchiveLog(timescale).record(
            [
                CommittedProof(
                    proof=proof, snapshot_id=snapshot_id, correlation_id=context.correlation_id()
                )
                for proof in after
            ]
        )
    return [
        CompactedPeriod(reason=period.reason, before=period.before, after=proof)
        for period, proof in zip(due, after, strict=True)
    ]


def _reason(dataset: ArchivedDataset, proof: PeriodProof) -> str:
    """Return why a period should be rewritten; empty if it should not."""
    missing = [name for name in dataset.schema.names if name not in proof.column_sha256]
    if missing:
        return f"written before there was {', '.join(missing)}"
    if not all(file.is_checked_in_parts for file in proof.files):
        return "written without checksums of its pages"
    if len(proof.files) > 1 and proof.bytes < SMALL_BYTES:
        return f"{len(proof.files)} files that are small together"
    return ""


def _rewrite(store: ObjectStore, dataset: ArchivedDataset, proof: PeriodProof) -> PeriodProof:
    """Rewrite a period's archived rows; prove that the new files hold the same rows."""
    rows = files.read_back(store, dataset, proof)
    after = files.prove(store, dataset, proof.period, rows)
    expected = ContentHash(rows=proof.rows, columns=proof.columns_of(dataset.schema))
    if after.content_digest != expected.digest:
        message = (
            f"{dataset.name} {proof.period.label} read back is not what was proven: "
            "it was left as it is; wrdata archive verify says more"
        )
        raise errors.ArchiveMismatchError(message)
    return after
