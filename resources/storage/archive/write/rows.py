"""Streams a period of a dataset out of the database, in the archive's order and types.

Here: the read, batch by batch. Not here: the tickers beside the rows (tickers.py), files
(files.py), or the archive's own rows (../iceberg).
"""

from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime, time

import pyarrow as pa
from adbc_driver_postgresql import StatementOptions, dbapi
from psycopg import sql as composed

from marketdata.archiving import ARCHIVED, ArchivedDataset, Period, Portion
from marketdata.recovery import errors
from resources.storage import sql
from resources.storage.archive.write.tickers import Tickers
from resources.storage.arrow_cursor import arrow_cursor
from resources.storage.timescale import Timescale

BATCH_BYTES = 4 << 20
"""Approximate size of a batch in memory: as fast as ADBC's 16 MB, with a quarter of the memory."""


@contextmanager
def stream(
    timescale: Timescale, dataset: ArchivedDataset, period: Period, *, lock_timeout_s: float = 0.0
) -> Generator[Iterator[pa.RecordBatch]]:
    """Yield the period's rows as batches of ``dataset.schema``, in ``dataset.order``.

    All rows are of one moment, and one batch is in memory at a time. Texts are ordered by their
    bytes, whatever the database's collation. ``lock_timeout_s`` is for callers that hold locks on
    another connection (see arrow_cursor).

    Raises:
        StorageUnavailableError: The database cannot be reached, here or while reading, or a lock
            timed out.
        StorageConflictError: The database refuses, or holds values that the archive's types cannot.
    """
    with arrow_cursor(timescale, lock_timeout_s=lock_timeout_s) as cursor:
        tickers = Tickers(cursor, dataset) if dataset.labelled else None
        cursor.adbc_statement.set_options(
            **{StatementOptions.BATCH_SIZE_HINT_BYTES.value: str(BATCH_BYTES)}
        )
        # Values are part of the text: with parameters, ADBC would hold the whole result in memory.
        cursor.execute(_query(dataset, period, _own(cursor, dataset)).as_string(None))
        yield _batches(dataset, cursor.fetch_record_batch(), tickers)


def first_day(timescale: Timescale, dataset: ArchivedDataset) -> date | None:
    """Return the day (of UTC) of the oldest row in the dataset's table; None if it is empty.

    The row may be of another dataset. Not for a dataset that is archived whole.
    """
    query = composed.SQL(sql.query("archive", "first_moment")).format(
        table=composed.Identifier(dataset.table),
        dated_by=composed.Identifier(dataset.dated_by),
    )
    with timescale.connection() as connection:
        row = connection.execute(query).fetchone()
    first = row[0] if row else None
    return first.date() if isinstance(first, datetime) else first


def with_rows(
    timescale: Timescale, dataset: ArchivedDataset, periods: Sequence[Period]
) -> set[Period]:
    """Return those of ``periods`` in which the table holds any row, even of another dataset.

    Each costs an index look-up, where a read costs a connection.
    """
    if dataset.portion is Portion.WHOLE:
        return set(periods)
    query = composed.SQL(
        "select asked.place from unnest(%(starts)s, %(ends)s) with ordinality"
        " as asked (starts, ends, place)"
        " where exists (select from {table} as held"
        " where held.{column} >= asked.starts and held.{column} < asked.ends)"
    ).format(table=composed.Identifier(dataset.table), column=composed.Identifier(dataset.dated_by))
    bounds = {
        "starts": [_bound(dataset, period.start) for period in periods],
        "ends": [_bound(dataset, period.end) for period in periods],
    }
    with timescale.connection() as connection:
        rows = connection.execute(query, bounds).fetchall()
    return {periods[place - 1] for (place,) in rows}


def _batches(
    dataset: ArchivedDataset, reader: pa.RecordBatchReader, tickers: Tickers | None
) -> Iterator[pa.RecordBatch]:
    for batch in reader:
        try:
            columns = [
                tickers.of(batch)
                if tickers and field.name == "ticker"
                else batch.column(field.name).cast(field.type)
                for field in dataset.schema
            ]
        except (pa.ArrowException, ValueError) as error:
            message = f"{dataset.table} holds what the archive's types cannot: {error}"
            raise errors.StorageConflictError(message) from error
        yield pa.record_batch(columns, schema=dataset.schema)


def _own(cursor: dbapi.Cursor, dataset: ArchivedDataset) -> list[int] | None:
    """Return the dataset's instruments if its table also holds another dataset's rows."""
    if sum(archived.table == dataset.table for archived in ARCHIVED.values()) == 1:
        return None
    query = composed.SQL("select instrument_id from instrument where kind = {}")
    cursor.execute(query.format(composed.Literal(dataset.kind.value)).as_string(None))
    return cursor.fetch_arrow_table()["instrument_id"].to_pylist()


def _query(
    dataset: ArchivedDataset, period: Period, own: Sequence[int] | None
) -> composed.Composed:
    """Return the query in the order of the primary key: a join or collation would add a sort."""
    columns = composed.SQL(", ").join(
        _column(field)
        for field in dataset.schema
        if not (dataset.labelled and field.name == "ticker")
    )
    conditions = [composed.SQL("true").format()]
    if own is not None:
        conditions.append(composed.SQL("instrument_id = any({})").format(list(own)))
    if dataset.portion is not Portion.WHOLE:
        conditions.append(
            composed.SQL("{column} >= {start} and {column} < {end}").format(
                column=composed.Identifier(dataset.dated_by),
                start=_bound(dataset, period.start),
                end=_bound(dataset, period.end),
            )
        )
    return composed.SQL("select {} from {} where {} order by {}").format(
        columns,
        composed.Identifier(dataset.table),
        composed.SQL(" and ").join(conditions),
        composed.SQL(", ").join(_sorted_by(dataset, name) for name in dataset.order),
    )


def _column(field: pa.Field) -> composed.Composed:
    # Documents and enumerations are texts in the archive; ADBC returns decimals as texts.
    as_text = pa.types.is_string(field.type) or pa.types.is_decimal(field.type)
    name = composed.Identifier(field.name)
    return composed.SQL("{0}::text as {0}" if as_text else "{0}").format(name)


def _sorted_by(dataset: ArchivedDataset, name: str) -> composed.Composed:
    column = composed.Identifier(dataset.table, name)
    # Provider names are plain lower-case letters, which every collation sorts alike.
    by_bytes = pa.types.is_string(dataset.schema.field(name).type) and name != "provider"
    return composed.SQL('{} collate "C"' if by_bytes else "{}").format(column)


def _bound(dataset: ArchivedDataset, day: date) -> date | datetime:
    by_date = pa.types.is_date(dataset.schema.field(dataset.dated_by).type)
    return day if by_date else datetime.combine(day, time(), UTC)
