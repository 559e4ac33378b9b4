"""Stores daily bars: new, equal and restated rows told apart, all in one transaction.

Here: the loader, and the record of requests that failed. Not here: reading the coverage ledger
(coverage.py), roll-ups (rollups.py), the letters' own rules (dead_letters.py), or the decision
what a batch covers (marketdata/ingest.py).
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.compute as pc
from pgpq import ArrowToPostgresBinaryEncoder

from marketdata.bars import DAILY_BARS
from marketdata.ports import Batch, IngestFailure, LoadResult
from marketdata.recovery import errors
from marketdata.recovery.dead_letters import LETTER_RETRY, DeadLetter
from resources.storage import coverage, dead_letters, sql
from resources.storage.timescale import Connection, Timescale

COPY_ROWS = 65_536
"""Rows encoded at a time: about 5 MB of binary COPY."""


class DailyBarStore:
    """Fulfils marketdata.ports.BarStore on a hypertable.

    Args:
        timescale: An open Timescale whose database is migrated.
    """

    def __init__(self, timescale: Timescale) -> None:
        self._timescale = timescale

    def load(self, batch: Batch) -> LoadResult:
        """Store a batch with its coverage, dead letters and log row in one transaction.

        New rows are inserted and equal ones left alone. A row that differs is restated: its old
        values go to daily_bar_version before the new ones take their place. A row that differs
        but comes from an older answer than the stored one is left out and counted as unchanged
        here, as stale in the log. Letters that waited for no more than the batch was asked for
        are resolved; each bar that was refused is a letter. Loading a batch again changes nothing.

        Raises:
            StorageConflictError: The batch is not what DAILY_BARS promises (schema, order, one
                row a key), names an unknown instrument, or breaks a constraint.
            StorageUnavailableError: The database cannot be reached now; nothing was stored.
        """
        _check_shape(batch.bars)
        ids = _instrument_ids(batch)
        with self._timescale.connection() as connection:
            if batch.bars.num_rows:
                _stage(connection, batch.bars)
            _lock(connection, ids)
            begun = connection.execute(sql.query("ingest_log", "begin_ingest")).fetchone()
            ingest_id, loaded_at = begun or (None, datetime.now(UTC))
            origin = {
                "ingest_id": ingest_id,
                "loaded_at": loaded_at,
                "provider": batch.provider,
                "adjustment": batch.adjustment,
                # A worker's clock that runs ahead would make its answer the latest for ever.
                "fetched_at": min(batch.fetched_at, loaded_at),
            }
            inserted, restated, stale = _merge(connection, batch.bars, origin)
            contradicted = coverage.apply_marks(connection, batch.dataset, batch.coverage)
            _deliver(connection, batch)
            counts = {
                "inserted": inserted,
                "restated": restated,
                "stale": stale,
                "unchanged": batch.bars.num_rows - inserted - restated - stale,
                "rejected": len(batch.rejected),
                "days_contradicted": contradicted,
            }
            connection.execute(
                sql.query("ingest_log", "log_load"),
                {
                    **origin,
                    **counts,
                    "dataset": batch.dataset,
                    "request": batch.request,
                    "content_sha256": batch.content_sha256,
                    "raw_answers": list(batch.raw_answers),
                    "run_id": batch.run_id,
                    "instrument_id": ids[0] if len(ids) == 1 else None,
                },
            )
        return LoadResult(
            inserted=inserted, unchanged=counts["unchanged"] + stale, restated=restated
        )

    def record_failures(self, failures: Sequence[IngestFailure]) -> None:
        """Leave work that came to nothing in dead letters, log it, and mark what it leaves unknown.

        All in one transaction. Requests that were never sent are not logged.

        Raises:
            StorageConflictError: A failure names an unknown instrument.
            StorageUnavailableError: The database cannot be reached now; nothing was recorded.
        """
        if not failures:
            return
        marks = {failure.letter.dataset: [] for failure in failures}
        for failure in failures:
            marks[failure.letter.dataset].extend(failure.coverage)
        letters = [failure.letter for failure in failures]
        ids = {mark.instrument_id for group in marks.values() for mark in group}
        named = {one.instrument_id for one in letters if one.instrument_id is not None}
        with self._timescale.connection() as connection:
            _lock(connection, sorted(ids | named))
            for letter in letters:
                if not letter.deferred:
                    _log_failure(connection, letter)
            for dataset, group in marks.items():
                coverage.apply_marks(connection, dataset, group)
            dead_letters.post(connection, letters, LETTER_RETRY, f"run {letters[0].run_id}")


def _deliver(connection: Connection, batch: Batch) -> None:
    """Resolve the letters that the batch answers, and leave its refused bars in new ones."""
    by = f"run {batch.run_id}"
    dead_letters.settle(
        connection,
        batch.dataset,
        batch.asked,
        answered_at=batch.fetched_at,
        raw_answers=batch.raw_answers,
        still_wrong=batch.rejected,
        by=by,
        reason=f"answered by {batch.request}",
    )
    dead_letters.post(connection, batch.rejected, LETTER_RETRY, by)


def _log_failure(connection: Connection, letter: DeadLetter) -> None:
    connection.execute(
        sql.query("ingest_log", "log_failure"),
        {
            "dataset": letter.dataset,
            "provider": letter.provider,
            "request": letter.request,
            "raw_answers": list(letter.raw_answers),
            "run_id": letter.run_id,
            "instrument_id": letter.instrument_id,
            "failed_at": letter.seen_at,
            "error_class": letter.error_class,
            "message": letter.message,
        },
    )


def _check_shape(bars: pa.Table) -> None:
    """Refuse a table whose columns or order are not those of DAILY_BARS."""
    if not bars.schema.equals(DAILY_BARS):
        message = f"a batch has the columns of DAILY_BARS, not {bars.schema.names}: select and cast"
        raise errors.StorageConflictError(message)
    ids, days = bars["instrument_id"].combine_chunks(), bars["session_date"].combine_chunks()
    same = pc.equal(ids[1:], ids[:-1])
    rising = pc.or_(pc.greater(ids[1:], ids[:-1]), pc.and_(same, pc.greater(days[1:], days[:-1])))
    if not pc.all(rising, min_count=0).as_py():
        at = pc.index(rising, False).as_py() + 1
        message = (
            f"row {at} of the batch (instrument {ids[at]}, session {days[at]}) repeats a key or is "
            "out of order: sort by instrument and session, one row a key"
        )
        raise errors.StorageConflictError(message)


def _instrument_ids(batch: Batch) -> list[int]:
    """Return the instruments that the bars or the coverage of a batch concern, sorted."""
    in_bars: list[int] = pc.unique(batch.bars["instrument_id"]).to_pylist()
    return sorted({*in_bars, *(mark.instrument_id for mark in batch.coverage)})


def _stage(connection: Connection, bars: pa.Table) -> None:
    """Send the bars into a temporary table; before any lock, since it takes the longest."""
    connection.execute(sql.query("daily_bars", "create_staged_bars"))
    encoder = ArrowToPostgresBinaryEncoder(bars.schema)
    with connection.cursor().copy(sql.query("daily_bars", "copy_staged_bars")) as copy:
        copy.write(encoder.write_header())
        for batch in bars.to_batches(max_chunksize=COPY_ROWS):
            copy.write(encoder.write_batch(batch))
        copy.write(encoder.finish())
    connection.execute(sql.query("daily_bars", "analyze_staged_bars"))


def _lock(connection: Connection, instrument_ids: Sequence[int]) -> None:
    ids = {"instrument_ids": list(instrument_ids)}
    unknown = connection.execute(sql.query("daily_bars", "unknown_instruments"), ids).fetchall()
    if unknown:
        listed = ", ".join(str(row[0]) for row in unknown[:5])
        message = (
            f"{len(unknown)} instruments of the batch are not in the database ({listed}): "
            "load the universe first"
        )
        raise errors.StorageConflictError(message)
    connection.execute(sql.query("ingest_log", "lock_instruments"), ids)


def _merge(
    connection: Connection, bars: pa.Table, origin: Mapping[str, object]
) -> tuple[int, int, int]:
    """Merge the staged rows and return how many were inserted, restated and stale."""
    if not bars.num_rows:
        return 0, 0, 0
    days, ids = pc.min_max(bars["session_date"]), bars["instrument_id"]
    bounds = {
        "first": days["min"].as_py(),
        "last": days["max"].as_py(),
        "first_id": ids[0].as_py(),
        "last_id": ids[-1].as_py(),
    }
    row = connection.execute(
        sql.query("daily_bars", "merge_staged_bars"), {**origin, **bounds}
    ).fetchone()
    return row or (0, 0, 0)
