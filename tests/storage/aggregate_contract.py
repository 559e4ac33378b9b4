"""The contract of every engine of aggregates: a market to load and change, and comparisons.

Here: loading through the real loader, and aggregates beside a recomputation in Arrow
(marketdata/bar_aggregation.py). Not here: the facts themselves (test_aggregate_contract.py).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from marketdata.bar_aggregation import aggregate_days, aggregate_minutes
from marketdata.bars import (
    DAILY_BARS,
    DAY_INTERVALS,
    Adjustment,
    Interval,
    aggregated_bars,
)
from marketdata.calendars import SessionCalendar, calendar
from marketdata.datasets import DATASETS
from marketdata.ports import Asked, Batch
from resources.storage.aggregates import Aggregates, SourceTable
from resources.storage.batches import BatchStore
from resources.storage.timescale import Timescale
from tests.storage.batches import FETCHED_AT, batch

Minutes = dict[datetime, dict[str, Any]]
"""Prices, volume, vwap and trades by the minute."""

DATASET_OF = {"equity": "minute_bars", "pair": "crypto_bars"}
MINUTE = timedelta(minutes=1)
_SOURCE_MINUTES = """
    select bar.instrument_id, bar.provider, bar.opened_at, bar.open, bar.high, bar.low, bar.close,
           bar.volume, bar.vwap, bar.trades
    from minute_bar as bar inner join instrument using (instrument_id)
    where instrument.kind = %s
"""
_SOURCE_DAYS = """
    select instrument_id, session_date, open, high, low, close, volume, adjustment::text
    from daily_bar
"""


_MINUTES = pa.schema(
    [
        ("instrument_id", pa.int64()),
        ("provider", pa.string()),
        *list(DATASETS["minute_bars"].table_schema)[1:],
    ]
)
_DAYS = pa.schema([*DAILY_BARS, ("adjustment", pa.string())])


def minutes(start: datetime, count: int, seed: int = 1, *, gaps: float = 0.1) -> Minutes:
    """Return bars of about ``count`` minutes in a row, with gaps and odd digits."""
    chance = np.random.default_rng(seed)
    price = 50 * np.exp(np.cumsum(chance.normal(0, 1e-3, count)))
    rows: Minutes = {}
    for place in np.flatnonzero(chance.random(count) >= gaps):
        close = float(price[place])
        rows[start + MINUTE * int(place)] = {
            "open": close * 0.999,
            "high": close * 1.01,
            "low": close * 0.98,
            "close": close,
            "volume": float(chance.lognormal(5, 2)),
            "vwap": close * 1.0003,
            "trades": int(chance.integers(1, 500)),
        }
    return rows


def flat(moments: Iterable[datetime], close: float, **values: Any) -> Minutes:
    """Return flat bars: open, high, low, close and vwap are one price."""
    bar = dict.fromkeys(("open", "high", "low", "close", "vwap"), close)
    return {at: {**bar, "volume": 10.0, "trades": 2, **values} for at in moments}


def each_minute(start: datetime, end: datetime) -> list[datetime]:
    """Return the minutes from ``start`` to before ``end``."""
    return [start + MINUTE * number for number in range((end - start) // MINUTE)]


def utc(text: str) -> datetime:
    """Return a moment of UTC, written ``2024-07-03 13:30``."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@dataclass
class Market:
    """A database with shares and pairs, changed through the loader, aggregated by an engine."""

    timescale: Timescale
    aggregates: Aggregates
    shares: Sequence[int]
    pairs: Sequence[int]
    sessions: SessionCalendar = field(default_factory=calendar)
    loads: int = 0

    def load_minutes(self, instrument_id: int, bars: Minutes, provider: str = "polygon") -> None:
        """Load minutes as an answer of a provider, newer than all before it."""
        kind = "equity" if instrument_id in self.shares else "pair"
        dataset = DATASETS[DATASET_OF[kind]]
        rows = [
            {"instrument_id": instrument_id, "opened_at": at, **bar}
            for at, bar in sorted(bars.items())
        ]
        table = pa.Table.from_pylist(rows, schema=dataset.table_schema)
        self._load(dataset.name, provider, None, table)

    def load_days(
        self,
        instrument_id: int,
        closes: dict[date, float],
        adjustment: Adjustment = Adjustment.AS_TRADED,
    ) -> None:
        """Load daily bars: open = close - 1, low = close - 2, high = close + 1."""
        rows = batch((instrument_id, day, close) for day, close in closes.items()).rows
        self._load("daily_bars", "fmp", adjustment, rows)

    def delete(self, table: str, instrument_id: int, where: str, *values: object) -> None:
        """Delete source bars by hand."""
        self.execute(
            f"delete from {table} where instrument_id = %s and {where}",  # noqa: S608
            instrument_id,
            *values,
        )

    def execute(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """Run a statement, commit, and return its rows."""
        with self.timescale.connection() as connection:
            named = values[0] if values and isinstance(values[0], dict) else values
            cursor = connection.execute(cast("Any", query), cast("Any", named))
            return cursor.fetchall() if cursor.description else []

    def refresh(self, *, everything: bool = False) -> None:
        """Bring all aggregates up to date."""
        for source in SourceTable:
            self.aggregates.refresh(source, everything=everything)

    def bars(self, interval: Interval, instrument_id: int | None = None) -> list[dict[str, Any]]:
        """Return the rows of an interval's view, sorted like a recomputation."""
        schema = aggregated_bars(interval)
        rows = self.execute(f"select {', '.join(schema.names)} from bars_{interval}")  # noqa: S608
        listed = [dict(zip(schema.names, row, strict=True)) for row in rows]
        own = (bar for bar in listed if instrument_id in (None, bar["instrument_id"]))
        return sorted(own, key=_place)

    def recomputed(self, interval: Interval) -> list[dict[str, Any]]:
        """Compute the bars of an interval from all source bars, without the database."""
        if interval in DAY_INTERVALS:
            days = self._source(_SOURCE_DAYS, _DAYS)
            return aggregate_days(days, interval).to_pylist()
        rolled: list[dict[str, Any]] = []
        for kind, sessions in (("equity", self.sessions), ("pair", None)):
            bars = self._source(_SOURCE_MINUTES, _MINUTES, kind)
            rolled += aggregate_minutes(bars, interval, sessions).to_pylist()
        return sorted(rolled, key=_place)

    def require_equal(self) -> None:
        """Require that every aggregate equals its recomputation, to the last bit."""
        for interval in Interval:
            assert self.bars(interval) == self.recomputed(interval), interval

    def require_no_difference(self) -> None:
        """Require that the engine itself finds every aggregate equal, and counts them right."""
        for interval in Interval:
            assert self.aggregates.differences(interval) == []
            assert self.aggregates.rows(interval) == len(self.bars(interval))

    def _load(
        self, dataset: str, provider: str, adjustment: Adjustment | None, rows: pa.Table
    ) -> None:
        self.loads += 1
        BatchStore(self.timescale).load(
            Batch(
                dataset=dataset,
                provider=provider,
                adjustment=adjustment,
                request="contract",
                content_sha256="0" * 64,
                fetched_at=FETCHED_AT + timedelta(minutes=self.loads),
                run_id="contract",
                raw_answers=(),
                asked=Asked(
                    instrument_ids=tuple(pc.unique(rows["instrument_id"]).to_pylist()),
                    start=date(2024, 1, 1),
                    end=date(2024, 1, 1),
                    whole_sessions=False,
                ),
                rows=rows,
                letters=(),
                coverage=(),
            )
        )

    def _source(self, query: str, schema: pa.Schema, *values: object) -> pa.Table:
        rows = self.execute(query, *values)
        columns = zip(*rows, strict=True) if rows else [()] * len(schema)
        return pa.table(
            [pa.array(values, field.type) for values, field in zip(columns, schema, strict=True)],
            schema=schema,
        )


def _place(bar: dict[str, Any]) -> list[Any]:
    keys = ("instrument_id", "provider", "bucket_start", "phase")
    return [bar[name] for name in keys if name in bar]
