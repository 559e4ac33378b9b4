"""A period's rows in the database, as retention removes and restore returns them.

Here: their place in SQL, the turn and the locks of whoever moves them, and their removal. Not
here: what has to be proven before they go (../retain), or how they come back (restore.py).
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
from resources.storage.aggregates import Source
from resources.storage.arrow_cursor import LOCK_NOT_AVAILABLE
from resources.storage.timescale import Connection

LOCK_TIMEOUT_S = 10
"""So long a move waits for readers and writers; everybody else waits behind it."""


_GAVE_WAY = {LOCK_NOT_AVAILABLE, psycopg.errors.DeadlockDetected.sqlstate}


class MoveUnderWayError(errors.StorageUnavailableError):
    """Somebody else moves rows, or writes to the archive; nothing was moved."""


@dataclass(frozen=True, slots=True)
class HotRows:
    """The rows of one period of a dataset, in its table.

    Attributes:
        dataset: One that is archived by period.
        period: Its days, of UTC.
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
        """Return what tells these rows from the others of their table, and names them."""
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
        """Return the span of the aggregates that any of the rows is in.

        A month of minutes begins and ends no bucket halfway. A year of days does: its first and
        last weeks are made of days of its neighbours too.
        """
        return self._weeks if self.is_by_date else self.span

    def moment(self, day: date) -> date | datetime:
        """Return where a day begins, in the type of the column that dates the rows."""
        return day if self.is_by_date else _instant(day)

    def bound(self, of_chunk: datetime) -> date | datetime:
        """Return a chunk's bound in the type of the column that dates the rows."""
        return of_chunk.date() if self.is_by_date else of_chunk

    @property
    def _weeks(self) -> DateRange:
        """Return the days of all weeks that hold a day of the period."""
        last = self.period.end - timedelta(days=1)
        return DateRange(
            self.period.start - timedelta(days=self.period.start.weekday()),
            last + timedelta(days=7 - last.weekday()),
        )


def _instant(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


def source_of(dataset: ArchivedDataset) -> Source | None:
    """Return what the dataset's aggregates are made of; of trades none are made."""
    return Source(dataset.table) if dataset.table in set(Source) else None


def take_turn(connection: Connection, dataset: str) -> None:
    """Make this transaction the only one that moves rows, and keep the dataset's archive still.

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
    """Let nobody write to the table until the transaction ends; readers go on.

    Nor claim what waits for its aggregates: a refresh would not see yet that the rows are dropped,
    and take the bars for empty.

    Raises:
        psycopg.errors.LockNotAvailable: Somebody writes for longer than LOCK_TIMEOUT_S.
    """
    milliseconds = {"milliseconds": f"{LOCK_TIMEOUT_S * 1000:.0f}"}
    connection.execute(sql.query("retention", "set_lock_timeout"), milliseconds)
    connection.execute(rows.query("lock_writers_out"))
    if source_of(rows.dataset) is not None:
        connection.execute(rows.query("lock_refreshes_out"))


def remove(connection: Connection, rows: HotRows) -> int:
    """Drop the chunks that hold nothing else and delete the other rows, writers being locked out.

    What deletions note for the aggregates is forgotten: they stay as they are.

    Returns:
        How many chunks were dropped.

    Raises:
        StorageConflictError: Rows of the period are left.
    """
    going: list[tuple[composed.Identifier, dict[str, object]]] = []
    chunks = connection.execute(rows.query("chunks"), rows.parameters).fetchall()
    for schema, name, range_start, range_end in chunks:
        bounds = {
            "range_start": rows.bound(range_start),
            "range_end": rows.bound(range_end),
            **rows.parameters,
        }
        chunk = composed.Identifier(schema, name)
        others = connection.execute(rows.query("chunk_holds_others", chunk=chunk), bounds)
        remaining = others.fetchone()
        if remaining and remaining[0]:
            connection.execute(rows.query("delete_rows"), bounds)
        else:
            going.append((chunk, bounds))
    if source_of(rows.dataset) is not None:
        connection.execute(rows.query("forget_own_invalidations"))
    # Last, since readers wait from now on.
    if going:
        connection.execute(rows.query("lock_readers_out"))
    for chunk, bounds in going:
        connection.execute(rows.query("lock_chunk", chunk=chunk))
        connection.execute(sql.query("retention", "drop_chunk"), bounds)
    if are_held(connection, rows):
        message = f"rows of {rows.dataset.name} {rows.period.label} are left; nothing was dropped"
        raise errors.StorageConflictError(message)
    return len(going)


def are_held(connection: Connection, rows: HotRows) -> bool:
    """Tell whether the table holds any of the rows."""
    row = connection.execute(rows.query("has_rows"), rows.parameters).fetchone()
    return bool(row and row[0])


def waiting_for_refresh(
    connection: Connection, rows: HotRows, span: DateRange | TimestamptzRange
) -> int:
    """Count the changes within a span that the aggregates do not follow yet."""
    if source_of(rows.dataset) is None:
        return 0
    parameters = {**rows.parameters, "span": span}
    row = connection.execute(rows.query("waiting_invalidations"), parameters).fetchone()
    return row[0] if row else 0


def gave_way(error: errors.StorageUnavailableError) -> bool:
    """Tell whether a move ended because somebody else held what it needed."""
    return (
        isinstance(error, MoveUnderWayError)
        or getattr(error.__cause__, "sqlstate", "") in _GAVE_WAY
    )
