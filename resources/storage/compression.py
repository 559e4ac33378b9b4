"""Compression of old chunks, where the edition of TimescaleDB has it (the columnstore).

Here: which tables are compressed, from which age on, and what that saves. Not here: when it runs
(the server's own policy), or other editions: there old rows leave for the archive's Parquet files
(archive/retain/).

A load may restate compressed rows: TimescaleDB decompresses the batches concerned, and its policy
compresses them again.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import LiteralString

from psycopg import sql as composed

from resources.storage import sql
from resources.storage.timescale import COMMUNITY, Connection, Timescale


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """How a table is compressed: the rows of a segment lie together, in this order.

    Attributes:
        hot_days: Chunks that end within this number of days stay uncompressed.
    """

    table: str
    segments: str
    order: str
    hot_days: int


# Providers are asked again for the last 35 days (decision 0034): these are written often.
# 2.7 M daily bars take 66 MB compressed, 276 MB otherwise. One instrument is read as fast as before
# (25 against 33 ms), but one session of the whole market takes 160 ms instead of 1. So the days
# read by session stay uncompressed.
LAYOUTS = (
    Layout(table="minute_bar", segments="instrument_id, provider", order="opened_at", hot_days=35),
    Layout(
        table="trade",
        segments="instrument_id, provider",
        order="traded_at, trade_id",
        hot_days=35,
    ),
    Layout(table="daily_bar", segments="instrument_id", order="session_date", hot_days=730),
)
"""Every table of rows by day; a test holds the list against the catalogue."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CompressedTable:
    """Sizes of a table's compressed chunks, before and after."""

    table: str
    bytes_before: int
    bytes_after: int


def is_offered(timescale: Timescale) -> bool:
    """Return whether the server's edition can compress."""
    return timescale.server().edition == COMMUNITY


def keep_compressed(timescale: Timescale) -> Sequence[str]:
    """Set up the compression of old chunks; return the tables that did not have it.

    Does nothing if the edition cannot compress. Nothing is compressed at once: the server's
    policies do it on their own schedule.
    """
    if not is_offered(timescale):
        return []
    with timescale.connection() as connection:
        compressed = {
            name for (name,) in connection.execute(_query("compressed_tables")).fetchall()
        }
        missing = [layout for layout in LAYOUTS if layout.table not in compressed]
        if missing:
            connection.execute(sql.engine("compression"))
        for layout in missing:
            _run(
                connection,
                "compress",
                table=composed.Identifier(layout.table),
                segments=composed.Literal(layout.segments),
                order=composed.Literal(layout.order),
            )
            _run(
                connection,
                "compress_what_is_old",
                compressed=composed.Literal(layout.table),
                hot_days=composed.Literal(layout.hot_days),
            )
    return [layout.table for layout in missing]


def compressed_tables(timescale: Timescale) -> list[CompressedTable]:
    """Return the savings of each compressed table; empty if there is none."""
    if not is_offered(timescale):
        return []
    with timescale.connection() as connection:
        rows = connection.execute(_query("compressed_sizes")).fetchall()
    return [
        CompressedTable(table=table, bytes_before=before, bytes_after=after)
        for table, before, after in rows
    ]


def _run(connection: Connection, name: str, **parts: composed.Composable) -> None:
    connection.execute(composed.SQL(_query(name)).format(**parts))


def _query(name: str) -> LiteralString:
    return sql.query("compression", name)
