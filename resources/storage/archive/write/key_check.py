"""Checks that no archived row is replaced by files that lack it or hold it altered.

Here: the comparison of rows for new files with the archived rows. Not here: when it runs
(archive.py), the files (files.py), or restoring rows (../restore).

Rows may be restated, but not removed, unless the provider withdraws them. A restatement writes
another ``ingest_id`` and keeps the earlier version. A row that differs but has kept its
``ingest_id`` was altered other than by a load, and no version of it is kept.
"""

from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from datetime import timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from marketdata.archiving import ArchivedDataset, Period, Portion
from marketdata.recovery import errors
from resources.storage.archive.prove.proofs import PeriodProof
from resources.storage.archive.write import files
from resources.storage.object_store import ObjectStore

_AT, _ARCHIVED_AT = "place", "place in the archive"


class KeyCheck:
    """Compares a period's rows with its archived rows.

    Args:
        store: The bucket.
        dataset: The dataset of the rows.
        period: The period of the rows.
        replaced: The proofs of the files to be replaced; without any, nothing is compared.

    Attributes:
        added: Rows so far that are not archived.
        restated: Rows so far that a later answer has restated.
        withdrawn: Archived rows so far that the provider has withdrawn since.
    """

    def __init__(
        self,
        store: ObjectStore,
        dataset: ArchivedDataset,
        period: Period,
        replaced: Sequence[PeriodProof],
    ) -> None:
        self._store = store
        self._dataset = dataset
        self._period = period
        self._replaced = replaced
        # The ticker is the archive's own label; a column added later is null in older files.
        self._values = [
            name
            for name in dataset.schema.names
            if name not in (*dataset.order, "ingest_id", "known_from")
            and not (dataset.labelled and name == "ticker")
            and all(name in proof.column_sha256 for proof in replaced)
        ]
        self.added = self.restated = self.withdrawn = 0

    def passing(self, batches: Iterable[pa.RecordBatch]) -> Generator[pa.RecordBatch]:
        """Yield the rows, checking that each archived row is among them, equal or restated.

        The archived rows are read back in parallel; one batch of each side is in memory.

        Args:
            batches: Rows of ``dataset.schema``, in ``dataset.order``.

        Raises:
            ArchiveMismatchError: An archived key is not among the rows, or its row was altered
                (before the batch that shows it is passed on), or an archived file differs
                from its proof.
        """
        with closing(self._archived_rows()) as archived:
            waiting = next(archived, None)
            for batch in batches:
                if batch.num_rows:
                    waiting = self._check_batch(batch, waiting, archived)
                yield batch
            while waiting is not None:
                self._require_withdrawn(waiting)
                waiting = next(archived, None)

    def _check_batch(
        self, batch: pa.RecordBatch, waiting: pa.Table | None, archived: Iterator[pa.Table]
    ) -> pa.Table | None:
        """Return the first archived rows after a batch; None if there are none.

        Args:
            batch: Rows; later batches have greater keys.
            waiting: Archived rows that no earlier batch has.
            archived: The archived rows after those.

        Raises:
            ArchiveMismatchError: An archived row before the end of the batch is not in it, or was
                altered.
        """
        rows = pa.Table.from_batches([batch])
        last = self._key(rows, rows.num_rows - 1)
        self.added += rows.num_rows
        following = waiting
        while following is not None:
            missing = self._match(following, rows)
            if missing.num_rows:
                missing_before = sum(
                    self._key(missing, place) <= last for place in range(missing.num_rows)
                )
                self._require_withdrawn(missing.slice(0, missing_before))
                if missing_before < missing.num_rows:
                    return missing.slice(missing_before)
            following = next(archived, None)
        return None

    def _match(self, archived: pa.Table, rows: pa.Table) -> pa.Table:
        """Count restated rows; return the archived rows whose keys are not held."""
        order = list(self._dataset.order)
        pairs = _with_places(archived.select(order), _ARCHIVED_AT).join(
            _with_places(rows.select(order), _AT), order, join_type="inner"
        )
        there, here = pairs[_ARCHIVED_AT].to_numpy(), pairs[_AT].to_numpy()
        self.added -= len(here)
        before, now = archived.take(there), rows.take(here)
        is_same_answer = np.equal(before["ingest_id"].to_numpy(), now["ingest_id"].to_numpy())
        # After a restore, known_from may be later, since another row was held in between.
        altered = {"known_from": _instants(before) > _instants(now)} | {
            name: _differ(before[name], now[name]) for name in self._values
        }
        is_altered = is_same_answer & np.logical_or.reduce(list(altered.values()))
        if is_altered.any():
            first = int(np.flatnonzero(is_altered)[np.argmin(here[is_altered])])
            columns = [name for name, differs in altered.items() if differs[first]]
            raise self._altered(before, first, columns)
        self.restated += int((~is_same_answer).sum())
        left = np.setdiff1d(np.arange(archived.num_rows), there)
        return archived.take(left)

    def _require_withdrawn(self, missing: pa.Table) -> None:
        """Count missing rows as withdrawn, if the dataset's rows can be."""
        if not missing.num_rows:
            return
        if not self._dataset.withdraws:
            raise self._missing_row(missing)
        self.withdrawn += missing.num_rows

    def _archived_rows(self) -> Generator[pa.Table]:
        """Yield the archived rows in the order of their keys, batch by batch."""
        names = [*self._dataset.order, *self._values, "ingest_id", "known_from"]
        batches = (
            pa.Table.from_batches([batch.select(names)])
            for proof in self._replaced
            for batch in files.read_back(self._store, self._dataset, proof)
            if batch.num_rows
        )
        if len(self._replaced) > 1 and (several := list(batches)):
            # Only a year of daily bars replaces several periods: its rows are few.
            order = [(name, "ascending") for name in self._dataset.order]
            yield pa.concat_tables(several).sort_by(order)
        else:
            yield from batches

    def _key(self, rows: pa.Table, place: int) -> tuple[Any, ...]:
        return tuple(rows[name][place].as_py() for name in self._dataset.order)

    def _key_text(self, rows: pa.Table, place: int) -> str:
        key = zip(self._dataset.order, self._key(rows, place), strict=True)
        return ", ".join(f"{name} {value}" for name, value in key)

    def _missing_row(self, missing: pa.Table) -> errors.ArchiveMismatchError:
        return errors.ArchiveMismatchError(
            f"the database lacks a row that is archived of {self._dataset.name} "
            f"{self._period.label} ({self._key_text(missing, 0)}): the archive keeps its own; "
            f"{cure(self._dataset, self._period)}"
        )

    def _altered(
        self, rows: pa.Table, place: int, columns: Sequence[str]
    ) -> errors.ArchiveMismatchError:
        ingest_id = rows["ingest_id"][place].as_py()
        return altered(
            self._dataset,
            self._period,
            f"{self._key_text(rows, place)}; ingest_id {ingest_id}; {', '.join(columns)}",
        )


def cure(dataset: ArchivedDataset, period: Period) -> str:
    """Return the command that restores archived rows that the database lacks."""
    if dataset.portion is Portion.WHOLE:
        return _restore_beside(dataset, period)
    command = f"wrdata archive restore --dataset {dataset.name} --start"
    return f"{command} {period.start} --end {period.end - timedelta(days=1)} brings them back"


def altered(dataset: ArchivedDataset, period: Period, row: str) -> errors.ArchiveMismatchError:
    """Return the error of a row that differs from the archived one of the same answer."""
    return errors.ArchiveMismatchError(
        f"a row of {dataset.name} {period.label} was altered in the database ({row}): it differs "
        "from the archived one although no load restated it, and no version of it is kept; the "
        f"archive keeps its own. {_restore_beside(dataset, period)}: set the altered rows right by "
        "those"
    )


def _restore_beside(dataset: ArchivedDataset, period: Period) -> str:
    """Return the command that restores the archived rows beside the table."""
    command = f"wrdata archive restore --dataset {dataset.name} --start"
    into = "--into <schema> puts them beside the table"
    if dataset.portion is Portion.WHOLE:
        return f"{command} 2000-01-01 --end 2000-01-01 {into}"
    return f"{command} {period.start} --end {period.end - timedelta(days=1)} {into}"


def _with_places(keys: pa.Table, name: str) -> pa.Table:
    """Return keys with their row numbers."""
    return keys.append_column(name, pa.array(np.arange(keys.num_rows)))


def _instants(rows: pa.Table) -> npt.NDArray[np.int64]:
    return rows["known_from"].cast(pa.int64()).to_numpy()


def _differ(left: pa.ChunkedArray, right: pa.ChunkedArray) -> npt.NDArray[np.bool_]:
    """Mark where two columns differ: nulls are equal, and floats are compared bit by bit."""
    if pa.types.is_floating(left.type):
        left, right = (column.combine_chunks().view(pa.int64()) for column in (left, right))
    equal = pc.fill_null(pc.equal(left, right), False)
    are_null = pc.and_(pc.is_null(left), pc.is_null(right))
    return pc.invert(pc.or_(equal, are_null)).to_numpy(zero_copy_only=False)
