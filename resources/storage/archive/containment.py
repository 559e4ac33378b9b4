"""No archived row makes way for files that lack it: rows may be restated, but not removed.

Here: the comparison of the keys, beside the rows on their way into new files. Not here: when it
is asked for (archive.py), the files (files.py), or putting rows back (restore.py).
"""

from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from datetime import timedelta
from typing import Any

import pyarrow as pa

from marketdata.archiving import ArchivedDataset, Period, Portion
from marketdata.recovery import errors
from resources.storage.archive import files
from resources.storage.archive.proofs import PeriodProof
from resources.storage.object_store import ObjectStore


def containing(
    store: ObjectStore,
    dataset: ArchivedDataset,
    period: Period,
    replaced: Sequence[PeriodProof],
    batches: Iterable[pa.RecordBatch],
) -> Generator[pa.RecordBatch]:
    """Pass a period's rows on, as long as each archived row's key is among them.

    The archived rows are read back beside them; of each side one batch is in memory.

    Args:
        store: The bucket.
        dataset: What the rows are of.
        period: Which of its periods they are.
        replaced: The proofs of what makes way; none compares nothing.
        batches: Of ``dataset.schema``, in ``dataset.order``.

    Raises:
        ArchiveMismatchError: An archived key is not among the rows (before the batch that shows it
            is passed on), or an archived file is not what its proof says.
    """
    with closing(_keys(store, dataset, replaced)) as archived:
        waiting = next(archived, None)
        for batch in batches:
            if batch.num_rows and waiting is not None:
                waiting = _unmatched(dataset, period, batch, waiting, archived)
            yield batch
        if waiting is not None:
            raise _lost(dataset, period, waiting)


def _unmatched(
    dataset: ArchivedDataset,
    period: Period,
    batch: pa.RecordBatch,
    waiting: pa.Table,
    archived: Iterator[pa.Table],
) -> pa.Table | None:
    """Return the first archived keys that lie behind a batch; None if all are found.

    Args:
        dataset: What the rows are of.
        period: Which of its periods they are.
        batch: Rows; later ones have greater keys.
        waiting: Archived keys that no batch before has.
        archived: Those that follow.

    Raises:
        ArchiveMismatchError: An archived key lies before the batch's last one, and is not in it.
    """
    found = pa.Table.from_batches([batch.select(dataset.order)])
    last = _key(found, found.num_rows - 1)
    following: pa.Table | None = waiting
    while following is not None:
        left = following.join(found, dataset.order, join_type="left anti")
        if left.num_rows:
            left = _sorted(dataset, left)
            if _key(left, 0) <= last:
                raise _lost(dataset, period, left)
            return left
        following = next(archived, None)
    return None


def _keys(
    store: ObjectStore, dataset: ArchivedDataset, replaced: Sequence[PeriodProof]
) -> Generator[pa.Table]:
    """Yield the keys of the archived rows in their order, batch by batch."""
    batches = (
        pa.Table.from_batches([batch.select(dataset.order)])
        for proof in replaced
        for batch in files.read_back(store, dataset, proof)
        if batch.num_rows
    )
    if len(replaced) > 1 and (several := list(batches)):
        # Only a year of daily bars takes the place of several periods: its keys are few.
        yield _sorted(dataset, pa.concat_tables(several))
    else:
        yield from batches


def _sorted(dataset: ArchivedDataset, keys: pa.Table) -> pa.Table:
    return keys.sort_by([(name, "ascending") for name in dataset.order])


def _key(keys: pa.Table, place: int) -> tuple[Any, ...]:
    return tuple(column[place].as_py() for column in keys.columns)


def _lost(
    dataset: ArchivedDataset, period: Period, missing: pa.Table
) -> errors.ArchiveMismatchError:
    key = ", ".join(
        f"{name} {value}" for name, value in zip(dataset.order, _key(missing, 0), strict=True)
    )
    message = (
        f"the database lacks a row that is archived of {dataset.name} {period.label} ({key}): the "
        f"archive keeps its own; {cure(dataset, period)}"
    )
    return errors.ArchiveMismatchError(message)


def cure(dataset: ArchivedDataset, period: Period) -> str:
    """Return what brings archived rows back that the database lacks."""
    command = f"wrdata archive restore --dataset {dataset.name} --start"
    if dataset.portion is Portion.WHOLE:
        return f"{command} 2000-01-01 --end 2000-01-01 --into <schema> puts them beside the table"
    return f"{command} {period.start} --end {period.end - timedelta(days=1)} brings them back"
