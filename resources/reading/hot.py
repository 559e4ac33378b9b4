"""Reads hot rows from the database, a million at a time.

Here: how rows leave the server, and over how many connections. Not here: which rows (snapshot.py),
or rows that are in the archive only (cold.py).

The server sends each column of an instrument as one array, whose bytes numpy takes as they are. A
message for each row would cost the client more time than the server needs to find the row. Texts,
and which values are null, hardly ever change within an instrument. Rows are grouped by them, so
that arrays hold only numbers and times.

Several connections read blocks of instruments in one exported snapshot, so that all rows are of
one moment.
"""

import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from psycopg import sql as composed
from psycopg.abc import Buffer
from psycopg.adapt import Loader
from psycopg.postgres import types
from psycopg.pq import Format

from marketdata.recovery import errors
from marketdata.rows import INSTANT
from resources.storage import sql
from resources.storage.timescale import Connection, connect

CONNECTIONS = min(4, os.cpu_count() or 1)
"""How many connections share a read of many instruments."""
FEW_INSTRUMENTS = 16
"""Most instruments read over one connection: opening others would take longer."""
BLOCKS_A_CONNECTION = 4
"""Instruments differ in length: with smaller blocks, all connections end at about one time."""

_HEADER_BYTES = 20
"""Before an array's elements: dimensions, a flag, type, length and lower bound."""
_WIRE = {
    types["int4"].array_oid: (">i4", 0, pa.int32()),
    types["int8"].array_oid: (">i8", 0, pa.int64()),
    types["float8"].array_oid: (">f8", 0, pa.float64()),
    # PostgreSQL counts days and microseconds from 2000-01-01, Arrow from 1970-01-01.
    types["date"].array_oid: (">i4", 10_957, pa.date32()),
    types["timestamptz"].array_oid: (">i8", 946_684_800_000_000, INSTANT),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class HotQuery:
    """What is read of each instrument.

    Attributes:
        rows: A query for the rows of ``wanted.instrument_id``.
        schema: Its columns, ``instrument_id`` first.
        dated_by: The column that sorts an instrument's rows.
        holds: Statements that lock the tables against drops while they are read.
    """

    rows: composed.Composable
    schema: pa.Schema
    dated_by: str
    holds: Sequence[composed.SQL]


class _Column(Loader):
    """Turns a binary array into an Arrow array."""

    format = Format.BINARY

    def load(self, data: Buffer) -> pa.Array:
        """Return the elements; none is null."""
        wire, epoch, arrow_type = _WIRE[self.oid]
        view = memoryview(data)
        if any(view[4:8]):
            message = "an array holds nulls where the table promises values"
            raise errors.StorageConflictError(message)
        count = int.from_bytes(view[12:16], "big")
        element = np.dtype([("length", ">i4"), ("value", wire)])
        values = np.frombuffer(view, element, count, _HEADER_BYTES)["value"]
        native = values.astype(values.dtype.newbyteorder("="))
        if epoch:
            native += epoch
        return pa.array(native).view(arrow_type)


def read_hot(
    connection: Connection, url: str, query: HotQuery, instrument_ids: Sequence[int]
) -> pa.Table:
    """Return the rows of some instruments, one instrument after the other.

    Rows of an instrument that share texts and nulls stand together, sorted by time.

    Args:
        connection: In a transaction of isolation level REPEATABLE READ; its moment counts.
        url: URL of its database, for more connections.
        query: What is read of each instrument.
        instrument_ids: Distinct; the rows come in this order.

    Raises:
        StorageUnavailableError: The database cannot be reached any more.
        StorageConflictError: It refuses the query.
    """
    blocks = deque(_blocks(instrument_ids))
    helpers = CONNECTIONS - 1 if len(blocks) > 1 else 0
    with ThreadPoolExecutor(max(helpers, 1), thread_name_prefix="hot-rows") as pool:
        moment = _export_snapshot(connection) if helpers else ""
        shares = [
            pool.submit(_read_in_parallel, url, moment, query, blocks) for _ in range(helpers)
        ]
        try:
            batches = list(_read_blocks(connection, query, blocks))
        finally:
            blocks.clear()
        for share in shares:
            batches += share.result()
    places = {instrument_id: place for place, instrument_id in enumerate(instrument_ids)}
    batches.sort(key=lambda batch: places[batch.column(0)[0].as_py()])
    return pa.Table.from_batches(batches, query.schema)


def _blocks(instrument_ids: Sequence[int]) -> Iterator[Sequence[int]]:
    size = max(FEW_INSTRUMENTS, -(-len(instrument_ids) // (CONNECTIONS * BLOCKS_A_CONNECTION)))
    for start in range(0, len(instrument_ids), size):
        yield instrument_ids[start : start + size]


def _export_snapshot(connection: Connection) -> str:
    row = connection.execute(sql.query("reader", "export_moment")).fetchone()
    return row[0] if row else ""


def _read_in_parallel(
    url: str, moment: str, query: HotQuery, blocks: deque[Sequence[int]]
) -> list[pa.RecordBatch]:
    """Read blocks over a connection of its own, until none is left.

    A drop that waits for the reader's first connection makes later locks wait behind it. So this
    connection takes its locks at once or leaves the blocks to the first. It also leaves them if the
    server has no free connection.
    """
    joined = False
    try:
        with connect(url) as connection, connection.transaction():
            connection.execute(sql.query("reader", "begin"))
            connection.execute(
                composed.SQL(sql.query("reader", "join_moment")).format(moment=moment)
            )
            for hold in query.holds:
                connection.execute(composed.SQL("{} nowait").format(hold))
            joined = True
            return list(_read_blocks(connection, query, blocks))
    except errors.StorageUnavailableError:
        if joined:
            raise
        return []


def _read_blocks(
    connection: Connection, query: HotQuery, blocks: deque[Sequence[int]]
) -> Iterator[pa.RecordBatch]:
    """Read blocks until none is left."""
    for oid in _WIRE:
        connection.adapters.register_loader(oid, _Column)
    while blocks:
        try:
            block = blocks.popleft()
        except IndexError:  # Another connection was faster.
            return
        with connection.cursor(binary=True) as cursor:
            for instrument_id, count, *values in cursor.stream(_array_query(query, block)):
                yield _batch(query, count, [instrument_id, *values])


def _array_query(query: HotQuery, block: Sequence[int]) -> composed.Composed:
    """Return the query that sends columns as arrays, grouped by texts and by which are null."""
    columns: list[composed.Composable] = []
    keys: list[composed.Composable] = [composed.SQL("wanted.instrument_id")]
    for field in list(query.schema)[1:]:
        name = composed.Identifier(field.name)
        if pa.types.is_string(field.type):
            columns.append(composed.SQL("bar.{}").format(name))
            keys.append(composed.SQL("bar.{}").format(name))
        elif field.nullable:
            columns.append(
                composed.SQL(
                    "array_agg(bar.{name}) filter (where bar.{name} is not null) as {name}"
                ).format(name=name)
            )
            keys.append(composed.SQL("bar.{} is null").format(name))
        else:
            columns.append(composed.SQL("array_agg(bar.{name}) as {name}").format(name=name))
    return composed.SQL(sql.query("reader", "in_arrays")).format(
        ids=composed.Literal(list(block)),
        rows=query.rows,
        columns=composed.SQL(", ").join(columns),
        keys=composed.SQL(", ").join(keys[1:] or keys),
    )


def _batch(query: HotQuery, count: int, values: Sequence[object]) -> pa.RecordBatch:
    """Return rows of an instrument that share texts and nulls, sorted by time."""
    arrays = [
        value.cast(field.type)
        if isinstance(value, pa.Array)
        else pa.repeat(pa.scalar(value, field.type), count)
        for field, value in zip(query.schema, values, strict=True)
    ]
    batch = pa.record_batch(arrays, schema=query.schema)
    times = batch.column(query.dated_by).view(_integers(query)).to_numpy()
    if (times[1:] <= times[:-1]).any():
        batch = batch.take(pa.array(np.argsort(times, kind="stable")))
    return batch


def _integers(query: HotQuery) -> pa.DataType:
    is_day = pa.types.is_date32(query.schema.field(query.dated_by).type)
    return pa.int32() if is_day else pa.int64()
