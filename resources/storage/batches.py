"""Stores batches of every dataset: rows, coverage, letters and log in one transaction.

Here: the transaction, and the record of requests that failed. Not here: how rows are compared
(versioned_table.py), reading the coverage ledger (ledger/), the rules of letters (letters/), or
the decision what a batch covers (marketdata/).
"""

import time
from collections.abc import Sequence
from datetime import UTC, datetime

import pyarrow.compute as pc

from marketdata.coverage import CoverageMark
from marketdata.ports import Batch, IngestFailure, LoadResult
from marketdata.recovery import errors
from marketdata.recovery.dead_letters import LETTER_RETRY, DeadLetter
from resources.storage import sql
from resources.storage.ledger import coverage
from resources.storage.ledger.loaded_days import count_loaded, is_counted
from resources.storage.letters import posting
from resources.storage.timescale import Connection, Timescale
from resources.storage.versioned_table import TABLES, MergeCounts
from resources.telemetry import context, logs, traces

_LOG = logs.logger("storage")


class BatchStore:
    """Fulfils marketdata.ports.BatchStore on hypertables.

    Args:
        timescale: An open Timescale whose database is migrated.
    """

    def __init__(self, timescale: Timescale) -> None:
        self._timescale = timescale

    def load(self, batch: Batch) -> LoadResult:
        """Store a batch with its coverage, dead letters and log row in one transaction.

        New rows are inserted and equal ones left alone. A row that differs is restated: its old
        values go to the table of versions before the new ones replace them. A row that differs but
        comes from an older answer than the stored one is left out; it counts as unchanged here, as
        stale in the log. Rows that a full snapshot lacks are withdrawn: only their version stays.
        Letters whose work the batch's request covers are resolved. Rows refused for one reason
        become one letter. Loading a batch again changes nothing.

        Raises:
            StorageConflictError: The batch is not what its dataset promises (schema, one row a
                key), names an unknown instrument, or breaks a constraint.
            StorageUnavailableError: The database cannot be reached now; nothing was stored.
        """
        with traces.span(
            "load", dataset=batch.dataset, provider=batch.provider, operation=batch.request
        ):
            return self._load(batch)

    def _load(self, batch: Batch) -> LoadResult:
        began = time.monotonic()
        table = TABLES[batch.dataset]
        table.check(batch.rows)
        ids = _instrument_ids(batch)
        with self._timescale.connection() as connection:
            lock_instruments(connection, ids)
            begun = connection.execute(sql.query("ingest_log", "begin_ingest")).fetchone()
            ingest_id, loaded_at = begun or (None, datetime.now(UTC))
            origin = {
                "ingest_id": ingest_id,
                "loaded_at": loaded_at,
                # With a fast clock, a worker's answer would be the latest for ever.
                "fetched_at": min(batch.fetched_at, loaded_at),
            }
            merged = MergeCounts()
            if batch.rows.num_rows:
                merged = table.load(connection, batch, origin)
            elif batch.full_snapshot:
                table.reject_empty_snapshot(connection, batch)
            if is_counted(batch.dataset):
                count_loaded(connection, batch, inserted=merged.inserted)
            contradicted = coverage.apply_marks(
                connection,
                batch.dataset,
                batch.provider,
                batch.coverage,
                asked_at=min(batch.fetched_at, loaded_at),
            )
            _update_letters(connection, batch)
            counts = {
                "inserted": merged.inserted,
                "restated": merged.restated,
                "stale": merged.stale,
                "unchanged": batch.rows.num_rows - merged.inserted - merged.restated - merged.stale,
                "withdrawn": merged.withdrawn,
                "rejected": sum(letter.rows for letter in batch.letters),
                "days_contradicted": contradicted,
            }
            connection.execute(
                sql.query("ingest_log", "log_load"),
                {
                    **origin,
                    **counts,
                    "dataset": batch.dataset,
                    "provider": batch.provider,
                    "adjustment": batch.adjustment,
                    "request": batch.request,
                    "content_sha256": batch.content_sha256,
                    "raw_answers": list(batch.raw_answers),
                    "notes": list(batch.notes),
                    "run_id": batch.run_id,
                    "correlation_id": context.correlation_id(),
                    "instrument_id": ids[0] if len(ids) == 1 else None,
                },
            )
        _LOG.info(
            "batch loaded",
            extra={
                "dataset": batch.dataset,
                "provider": batch.provider,
                "operation": batch.request,
                **counts,
                "ingest_id": ingest_id,
                "duration_s": round(time.monotonic() - began, 3),
            },
        )
        posting.log_posted(batch.letters)
        return LoadResult(
            inserted=merged.inserted,
            unchanged=counts["unchanged"] + merged.stale,
            restated=merged.restated,
        )

    def record_failures(self, failures: Sequence[IngestFailure]) -> None:
        """Post failed work as dead letters, log it, and mark its days, in one transaction.

        Requests that were never sent are not logged.

        Raises:
            StorageConflictError: A failure names an unknown instrument.
            StorageUnavailableError: The database cannot be reached now; nothing was recorded.
        """
        if failures:
            with self._timescale.connection() as connection:
                record_failures(connection, failures)
            posting.log_posted([failure.letter for failure in failures])


def record_failures(connection: Connection, failures: Sequence[IngestFailure]) -> None:
    """Record failures inside the caller's transaction (see the method of this name)."""
    if not failures:
        return
    marks: dict[tuple[str, str], list[CoverageMark]] = {}
    for failure in failures:
        # A letter about a run names no provider and marks nothing.
        if failure.letter.provider is not None:
            ledger = (failure.letter.dataset, failure.letter.provider)
            marks.setdefault(ledger, []).extend(failure.coverage)
    letters = [failure.letter for failure in failures]
    ids = {mark.instrument_id for group in marks.values() for mark in group}
    letter_ids = {letter.instrument_id for letter in letters if letter.instrument_id is not None}
    lock_instruments(connection, sorted(ids | letter_ids))
    # The log's totals are locked in its rows' order: one order for all keeps loaders from
    # deadlocking.
    for letter in sorted(letters, key=lambda letter: (letter.dataset, letter.provider or "")):
        if not letter.deferred:
            _log_failure(connection, letter)
    for (dataset, provider), group in marks.items():
        coverage.apply_marks(connection, dataset, provider, group, asked_at=letters[0].seen_at)
    posting.post(connection, letters, LETTER_RETRY, f"run {letters[0].run_id}")


def _update_letters(connection: Connection, batch: Batch) -> None:
    """Resolve the letters that the batch answers, and post its refused rows as new ones."""
    by = f"run {batch.run_id}"
    posting.resolve(
        connection,
        batch.dataset,
        batch.provider,
        batch.asked,
        answered_at=batch.fetched_at,
        raw_answers=batch.raw_answers,
        still_wrong=batch.letters,
        by=by,
        reason=f"answered by {batch.request}",
    )
    posting.post(connection, batch.letters, LETTER_RETRY, by)


def _log_failure(connection: Connection, letter: DeadLetter) -> None:
    connection.execute(
        sql.query("ingest_log", "log_failure"),
        {
            "dataset": letter.dataset,
            "provider": letter.provider,
            "request": letter.request,
            "raw_answers": list(letter.raw_answers),
            "run_id": letter.run_id,
            "correlation_id": context.correlation_id(),
            "instrument_id": letter.instrument_id,
            "failed_at": letter.seen_at,
            "error_class": letter.error_class,
            "message": letter.message,
        },
    )


def _instrument_ids(batch: Batch) -> list[int]:
    """Return the instruments that the bars or the coverage of a batch concern, sorted."""
    in_bars: list[int] = pc.unique(batch.rows["instrument_id"]).to_pylist()
    return sorted({*in_bars, *(mark.instrument_id for mark in batch.coverage)})


def lock_instruments(connection: Connection, instrument_ids: Sequence[int]) -> None:
    """Keep other transactions from changing these instruments until this one ends.

    Raises:
        StorageConflictError: One of them is not in the database.
    """
    ids = {"instrument_ids": list(instrument_ids)}
    unknown = connection.execute(sql.query("datasets", "unknown_instruments"), ids).fetchall()
    if unknown:
        listed = ", ".join(str(row[0]) for row in unknown[:5])
        message = (
            f"{len(unknown)} instruments of the batch are not in the database ({listed}): "
            "load the universe first"
        )
        raise errors.StorageConflictError(message)
    connection.execute(sql.query("ingest_log", "lock_instruments"), ids)
