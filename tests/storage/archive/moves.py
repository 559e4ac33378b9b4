"""Rows of every droppable dataset, and looks at where they are."""

from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa

from marketdata.archiving import ARCHIVED, ArchivedDataset
from marketdata.coverage import CoverageMark, CoverageState
from marketdata.datasets import DATASETS
from marketdata.ports import Asked, Batch, LoadResult
from resources.storage.aggregates import Aggregates, SourceTable
from resources.storage.archive import Archive
from resources.storage.archive.restore.restore import Restore
from resources.storage.archive.retain.retention import Retention
from resources.storage.batches import BatchStore
from resources.storage.object_store import ObjectStore
from resources.storage.timescale import Connection, Timescale
from sandbox.local_world import LocalWorld
from tests.storage.batches import FETCHED_AT, batch

JANUARY = datetime(2024, 1, 2, 15, tzinfo=UTC)
FEBRUARY = datetime(2024, 2, 1, 15, tzinfo=UTC)
DROPPABLE = [name for name, dataset in ARCHIVED.items() if dataset.is_droppable]
AGES = dict.fromkeys(DROPPABLE, timedelta(days=30))

Rows = dict[tuple[int, datetime], float]
"""Prices by instrument and moment."""


def load(
    timescale: Timescale,
    dataset: str,
    rows: Rows,
    *,
    fetched_at: datetime = FETCHED_AT,
    states: Sequence[tuple[CoverageState, date, date]] = (),
) -> LoadResult:
    """Load one row for each price; mark a given state for all instruments.

    Of daily bars, only days with a bar are marked.
    """
    ids = sorted({instrument_id for instrument_id, _ in rows})
    days = sorted({moment.date() for _, moment in rows})
    marks = tuple(
        CoverageMark(
            instrument_id=instrument_id,
            state=state,
            spans=tuple((day, day + timedelta(days=1)) for day in days if start <= day < end)
            if dataset == "daily_bars"
            else ((start, end),),
        )
        for state, start, end in states
        for instrument_id in ids
    )
    if dataset == "daily_bars":
        bars = [
            (instrument_id, moment.date(), price) for (instrument_id, moment), price in rows.items()
        ]
        given = batch(bars, coverage=marks, fetched_at=fetched_at)
    else:
        given = _batch(dataset, rows, marks, fetched_at)
    return BatchStore(timescale).load(given)


def _batch(
    dataset: str, rows: Rows, marks: tuple[CoverageMark, ...], fetched_at: datetime
) -> Batch:
    archived = DATASETS[dataset]
    row = _trade if archived.table == "trade" else _minute
    ordered = [row(key[0], key[1], rows[key]) for key in sorted(rows)]
    return Batch(
        dataset=dataset,
        provider=next(iter(archived.sources)),
        adjustment=None,
        request="asked",
        content_sha256="0" * 64,
        fetched_at=fetched_at,
        run_id="run-1",
        raw_answers=(),
        asked=Asked(
            instrument_ids=(), start=date(2024, 1, 1), end=date(2024, 1, 1), whole_sessions=False
        ),
        rows=pa.Table.from_pylist(ordered, schema=archived.table_schema),
        letters=(),
        coverage=marks,
    )


def _minute(instrument_id: int, opened_at: datetime, price: float) -> dict[str, Any]:
    return {
        "instrument_id": instrument_id,
        "opened_at": opened_at,
        "open": price,
        "high": price + 1,
        "low": price - 1,
        "close": price,
        "volume": price * 10,
        "vwap": price + 0.25,
        # Some providers do not serve it.
        "trades": None if opened_at.minute % 3 == 0 else 7,
    }


def _trade(instrument_id: int, traded_at: datetime, price: float) -> dict[str, Any]:
    return {
        "instrument_id": instrument_id,
        "trade_id": int(traded_at.timestamp()),
        "traded_at": traded_at,
        "price": Decimal(str(price)),
        "size": Decimal("0.000000000000000001"),
        "taker_side": "buy",
    }


def table_rows(timescale: Timescale, table: str) -> set[tuple[Any, ...]]:
    """Return all rows of a table with all columns, including those of their origin."""
    with timescale.connection() as connection:
        query = f"select * from {table}"  # noqa: S608
        return set(connection.execute(query.encode()).fetchall())


def days_in(timescale: Timescale, dataset: str, state: str) -> set[tuple[int, date]]:
    """Return instrument and day for all days of a dataset in a state."""
    with timescale.connection() as connection:
        rows = connection.execute(
            """select instrument_id, lower(piece), upper(piece)
               from coverage cross join unnest(sessions) as piece
               where dataset = %s and state = %s::coverage_state""",
            (dataset, state),
        ).fetchall()
    return {
        (instrument_id, start + timedelta(days=offset))
        for instrument_id, start, end in rows
        for offset in range((end - start).days)
    }


def tombstones(timescale: Timescale) -> list[tuple[str, date, date, bool]]:
    """Return dataset, first day, end, and whether it is live, of all tombstones."""
    with timescale.connection() as connection:
        return connection.execute(
            """select dataset, lower(span), upper(span), restored_at is null
               from archive_tombstone order by tombstone_id"""
        ).fetchall()


@dataclass
class Moves:
    """Everything that moves rows of one database and bucket."""

    timescale: Timescale
    store: ObjectStore
    aggregates: Aggregates
    archive: Archive = field(init=False)
    restore: Restore = field(init=False)
    retention: Retention = field(init=False)

    def __post_init__(self) -> None:
        """Open archive, restore and retention."""
        self.archive = Archive(self.timescale, self.store)
        self.restore = Restore(self.timescale, self.store, self.archive)
        self.retention = self.with_ages(AGES)

    def with_ages(self, ages: dict[str, timedelta]) -> Retention:
        """Return a retention of other ages."""
        return Retention(self.timescale, self.store, self.archive, self.aggregates, ages)

    def prove(self, dataset: str, label: str) -> ArchivedDataset:
        """Archive a period and refresh the aggregates, so that nothing is missing."""
        archived = ARCHIVED[dataset]
        refresh(self.aggregates)
        self.archive.archive(archived, [archived.named(label, datetime.now(UTC).date())])
        return archived


def refresh(aggregates: Aggregates) -> None:
    """Bring all aggregates up to date."""
    for source in SourceTable:
        aggregates.refresh(source)


def lose_behind_the_server(world: LocalWorld, store: ObjectStore, key: str) -> None:
    """Delete an object's file under the local S3 server, which still lists it."""
    assert list(store.list(key)), "the server remembers only objects that it has listed"
    (world.root / "object_store" / "buckets" / store.settings.bucket / key).unlink()
    assert list(store.list(key))


class Crash(BaseException):
    """The process died."""


class CrashingTimescale(Timescale):
    """A database whose client dies before sending one of its statements."""

    def __init__(self, url: str, *, at: int) -> None:
        super().__init__(url)
        self.left = at

    @contextmanager
    def connection(self) -> Generator[Any]:
        """Lend a connection that counts."""
        with super().connection() as connection:
            yield _Counted(connection, self)


class _Counted:
    def __init__(self, connection: Connection, of: CrashingTimescale) -> None:
        self._connection = connection
        self._of = of

    def execute(self, *arguments: Any, **options: Any) -> Any:
        self._of.left -= 1
        if self._of.left < 0:
            raise Crash
        return self._connection.execute(*arguments, **options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)


def minutes(ids: Iterable[int], start: datetime, count: int, price: float = 100.0) -> Rows:
    """Return ``count`` minutes of each instrument."""
    return _rows(ids, start, count, price, timedelta(minutes=1))


def moments(dataset: str, ids: Iterable[int], start: datetime, count: int) -> Rows:
    """Return ``count`` rows of each instrument: days of daily bars, otherwise minutes."""
    apart = timedelta(days=1) if dataset == "daily_bars" else timedelta(minutes=1)
    return _rows(ids, start, count, 100.0, apart)


def _rows(ids: Iterable[int], start: datetime, count: int, price: float, apart: timedelta) -> Rows:
    return {
        (instrument_id, start + offset * apart): price + instrument_id + offset / 4
        for instrument_id in ids
        for offset in range(count)
    }
