"""A period's rows in the database, as retention drops and restore returns them.

Here: their SQL parameters, the locks of a move, and their removal. Not here: what has to be proven
before a drop (../retain), or how rows are restored (restore.py).
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

import psycopg
import pyarrow as pa
from psycopg import sql as composed
from psycopg.types.range import DateRange, TimestamptzRange

from marketdata.archiving import ArchivedDataset, Period
from marketdata.recovery import errors
from resources.storage import sql
from resources.storage.aggregates import SourceTable
from resources.storage.arrow_cursor import LOCK_NOT_AVAILABLE
from resources.storage.timescale import Connection

LOCK_TIMEOUT_S = 10
"""How long a move waits for readers and writers; all others wait behind it."""


_GAVE_WAY = {LOCK_NOT_AVAILABLE, psycopg.errors.DeadlockDetected.sqlstate}


class MoveUnderWayError(errors.StorageUnavailableError):
    """Another move, or a run that writes to the archive, is under way; nothing was moved."""


@dataclass(frozen=True, slots=True)
class HotRows:
    """The rows of one period of a dataset, in its table.

    Attributes:
        dataset: A dataset that is archived by period.
        period: The UTC days.
    """

    dataset: ArchivedDataset
    period: Period

    def query(self, name: str, **more: composed.Composable) -> composed.Composed:
        """Return a query of retention.sql about the dataset's table."""
        return composed.SQL(sql.query("retention", name)).format(
            table=composed.Identifier(self.dataset.table),
            dated_by=composed.Identifier(self.dataset.dated_by),
            invalidations=composed.Identifier(f"{self.dataset.table}_invalidation"),
            **more,
        )

    @property
    def days(self) -> DateRange:
        """Return the period as a range of dates."""
        return DateRange(self.period.start, self.period.end)

    @property
    def parameters(self) -> dict[str, object]:
        """Return the SQL parameters that select these rows in their table."""
        return {
            "table": self.dataset.table,
            "dataset": self.dataset.name,
            "kind": self.dataset.kind.value,
            "period": self.period.label,
            "days": self.days,
            "span": self.span,
            "start": self.moment(self.period.start),
            "end": self.moment(self.period.end),
        }

    @property
    def is_by_date(self) -> bool:
        """Whether rows are dated by days; otherwise by moments."""
        return pa.types.is_date(self.dataset.schema.field(self.dataset.dated_by).type)

    @property
    def span(self) -> DateRange | TimestamptzRange:
        """Return the period in the type of the column that dates the rows."""
        if self.is_by_date:
            return self.days
        return TimestamptzRange(_instant(self.period.start), _instant(self.period.end))

    @property
    def buckets(self) -> DateRange | TimestamptzRange:
        """Return the span of the aggregates made of these rows.

        A month of minutes consists of whole buckets. A year of days does not: its first and last
        weeks include days of the neighbouring years.
        """
        return self._weeks if self.is_by_date else self.span

    def moment(self, day: date) -> date | datetime:
        """Return the start of a day, in the type of the column that dates the rows."""
        return day if self.is_by_date else _instant(day)

    def bound(self, chunk_bound: datetime) -> date | datetime:
        """Return a chunk's bound in the type of the column that dates the rows."""
        return chunk_bound.date() if self.is_by_date else chunk_bound

    @property
    def _weeks(self) -> DateRange:
        """Return the days of all weeks with a day of the period."""
        last = self.period.end - timedelta(days=1)
        return DateRange(
            self.period.start - timedelta(days=self.period.start.weekday()),
            last + timedelta(days=7 - last.weekday()),
        )


def _instant(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


def source_of(dataset: ArchivedDataset) -> SourceTable | None:
    """Return the source of the dataset's aggregates; None for trades, which have none."""
    return SourceTable(dataset.table) if dataset.table in set(SourceTable) else None


def take_turn(connection: Connection, dataset: str) -> None:
    """Make this transaction the only one that moves rows, and block commits to the archive.

    Raises:
        MoveUnderWayError: Another move, or a run that writes to the archive, is under way.
    """
    turn = connection.execute(sql.query("retention", "take_turn")).fetchone()
    if turn is None or not turn[0]:
        message = "another retention or restore is at work; nothing was moved: try again later"
        raise MoveUnderWayError(message)
    still = connection.execute(
        sql.query("archive_upkeep", "try_to_remove"), {"dataset": dataset}
    ).fetchone()
    if still is None or not still[0]:
        message = f"a run is writing to archive.{dataset}; nothing was moved: try again later"
        raise MoveUnderWayError(message)


def lock_writers_out(connection: Connection, rows: HotRows) -> None:
    """Block writers of the table until the transaction ends; readers go on.

    Claims of invalidations are blocked too: a refresh would not see yet that the rows are dropped,
    and would remove their bars.

    Raises:
        psycopg.errors.LockNotAvailable: A writer held its lock for longer than LOCK_TIMEOUT_S.
    """
    milliseconds = {"milliseconds": f"{LOCK_TIMEOUT_S * 1000:.0f}"}
    connection.execute(sql.query("retention", "set_lock_timeout"), milliseconds)
    connection.execute(rows.query("lock_writers_out"))
    if source_of(rows.dataset) is not None:
        connection.execute(rows.query("lock_refreshes_out"))


def remove(connection: Connection, rows: HotRows) -> int:
    """Drop chunks with no other rows and delete the rest; writers must be locked out.

    Invalidations from these deletions are removed: the aggregates stay as they are.

    Returns:
        Number of dropped chunks.

    Raises:
        StorageConflictError: Rows of the period are left.
    """
    dropped: list[composed.Identifier] = []
    chunks = connection.execute(rows.query("chunks"), rows.parameters).fetchall()
    for schema, name, range_start, range_end in chunks:
        bounds = {
            "range_start": rows.bound(range_start),
            "range_end": rows.bound(range_end),
            **rows.parameters,
        }
        chunk = composed.Identifier(schema, name)
        check = connection.execute(rows.query("chunk_holds_others", chunk=chunk), bounds)
        remaining = check.fetchone()
        if remaining and remaining[0]:
            connection.execute(rows.query("delete_rows"), bounds)
        else:
            dropped.append(chunk)
    if source_of(rows.dataset) is not None:
        connection.execute(rows.query("forget_own_invalidations"))
    # Last, since readers are blocked from here on.
    if dropped:
        connection.execute(rows.query("lock_readers_out"))
    for chunk in dropped:
        connection.execute(rows.query("lock_chunk", chunk=chunk))
        connection.execute(sql.query("retention", "drop_chunk"), {"chunk": chunk.as_string()})
    if are_held(connection, rows):
        message = f"rows of {rows.dataset.name} {rows.period.label} are left; nothing was dropped"
        raise errors.StorageConflictError(message)
    return len(dropped)


def are_held(connection: Connection, rows: HotRows) -> bool:
    """Return whether the table holds any of the rows."""
    row = connection.execute(rows.query("has_rows"), rows.parameters).fetchone()
    return bool(row and row[0])


def waiting_for_refresh(
    connection: Connection, rows: HotRows, span: DateRange | TimestamptzRange
) -> int:
    """Count the waiting invalidations within a span."""
    if source_of(rows.dataset) is None:
        return 0
    parameters = {**rows.parameters, "span": span}
    row = connection.execute(rows.query("waiting_invalidations"), parameters).fetchone()
    return row[0] if row else 0


def gave_way(error: errors.StorageUnavailableError) -> bool:
    """Return whether a move ended because another process held its locks."""
    return (
        isinstance(error, MoveUnderWayError)
        or getattr(error.__cause__, "sqlstate", "") in _GAVE_WAY
    )
