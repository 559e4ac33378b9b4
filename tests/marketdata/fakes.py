"""The ports of the ingest steps, in memory."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime

import pyarrow as pa

from marketdata.bars import WIRE_BARS
from marketdata.batches import DAILY_BARS_DATASET
from marketdata.calendars import calendar
from marketdata.dataset_ingest import DatasetFeed
from marketdata.datasets import DATASETS
from marketdata.ingest import IngestContext
from marketdata.instruments import ListedInstrument
from marketdata.ports import Answer, Batch, IngestFailure, LoadResult
from marketdata.recovery import errors

NOW = datetime(2024, 6, 1, tzinfo=UTC)
_DAILY_BARS = DATASETS[DAILY_BARS_DATASET]
SCRIPTED_BARS = replace(_DAILY_BARS, sources={"scripted": _DAILY_BARS.sources["fmp"]})
"""Daily bars as the scripted provider serves them: adjusted for splits."""


def listed(ticker: str, instrument_id: int, symbol: str | None = None) -> ListedInstrument:
    """Return an instrument whose provider spells it ``symbol``."""
    return ListedInstrument(instrument_id=instrument_id, ticker=ticker, symbol=symbol or ticker)


def bars_of(symbol: str, *days: date, close: float | None = 10.0) -> pa.Table:
    """Return one bar a day; without ``close`` they break a rule."""
    rows = [
        {
            "symbol": symbol,
            "session_date": day,
            "open": 10.0,
            "high": 11.0,
            "low": 9.0,
            "close": close,
            "volume": 5.0,
        }
        for day in days
    ]
    return pa.Table.from_pylist(rows, schema=WIRE_BARS)


@dataclass
class MemoryStore:
    """Keeps the loaded batches; ``broken`` is raised at the next load."""

    batches: list[Batch] = field(default_factory=list)
    failures: list[IngestFailure] = field(default_factory=list)
    broken: Exception | None = None

    def load(self, batch: Batch) -> LoadResult:
        if self.broken is not None:
            raise self.broken
        self.batches.append(batch)
        return LoadResult(inserted=batch.rows.num_rows, unchanged=0, restated=0)

    def record_failures(self, failures: Sequence[IngestFailure]) -> None:
        self.failures.extend(failures)


@dataclass
class ScriptedProvider:
    """Answers by symbol, with ``market`` for a whole day; an exception is raised."""

    answers: Mapping[str, pa.Table | Exception] = field(default_factory=dict)
    market: pa.Table | Exception | None = None
    asked: list[str] = field(default_factory=list)
    name: str = "scripted"

    async def daily_history(self, symbol: str, start: date, end: date) -> Answer:
        self.asked.append(f"{symbol} {start} {end}")
        return self._answer(self.answers[symbol], f"history {symbol}")

    async def daily_market(self, session: date) -> Answer:
        self.asked.append(f"market {session}")
        assert self.market is not None
        return self._answer(self.market, f"market {session}")

    def _answer(self, bars: pa.Table | Exception, request: str) -> Answer:
        if isinstance(bars, Exception):
            raise bars
        return Answer(rows=bars, request=request, content_sha256="ab", fetched_at=NOW, requests=2)

    def refuses(self, kind: type[errors.ProviderError], said: str = "no") -> errors.ProviderError:
        """Return an error of this provider."""
        return kind(said, provider=self.name, operation="history X")


def feed_of(provider: ScriptedProvider) -> DatasetFeed:
    """Return daily bars as ``provider`` serves them."""
    return DatasetFeed(SCRIPTED_BARS, provider, calendar())


def context(store: MemoryStore, now: datetime = NOW) -> IngestContext:
    """Return the context that the steps share."""
    return IngestContext(store=store, calendar=calendar(), run_id="run-1", now=lambda: now)
