"""What the ingest steps need of the outside world, as protocols.

Here: the shapes that providers and stores fulfil, and the values that pass between them. Not
here: any implementation (resources/), or the steps themselves (ingest.py).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Protocol

import pyarrow as pa

from marketdata.bars import Adjustment
from marketdata.coverage import CoverageMark
from marketdata.recovery.dead_letters import DeadLetter


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """Quoted bars (QUOTED_BARS) with their origin.

    Attributes:
        request: What was asked, without key, host or order of parameters to puzzle over.
        content_sha256: Hex digest of the raw answer's bytes.
        fetched_at: Aware UTC time at which the answer was complete.
        requests: HTTP requests that this answer took, repeats included.
        raw_answers: Where the raw answers are kept, one pointer for each page in the order in
            which they came; empty where none is kept.
        left_out: Rows about one instrument that cannot be placed, such as those without a
            readable date, as text.
    """

    bars: pa.Table
    request: str
    content_sha256: str
    fetched_at: datetime
    requests: int
    raw_answers: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()


class HistoryProvider(Protocol):
    """Serves one instrument's daily bars over a span of days, and no other symbol's."""

    @property
    def name(self) -> str: ...
    @property
    def history_adjustment(self) -> Adjustment: ...
    async def daily_history(self, symbol: str, start: date, end: date) -> Answer: ...


class MarketDayProvider(Protocol):
    """Serves every instrument's daily bar of one session, and of no other, in one request."""

    @property
    def name(self) -> str: ...
    @property
    def market_day_adjustment(self) -> Adjustment: ...
    async def daily_market(self, session: date) -> Answer: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What an answer was asked for: sessions from ``start`` to ``end`` of some instruments.

    Dead letters that wait for no more than this are resolved by the answer.

    Attributes:
        whole_sessions: The answer is of the whole market, so that it also resolves letters
            about these sessions as such.
    """

    instrument_ids: tuple[int, ...]
    start: date
    end: date
    whole_sessions: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What one transaction stores: bars (DAILY_BARS), their origin, and what they cover.

    Attributes:
        rejected: A dead letter for each bar that was refused.
    """

    dataset: str
    provider: str
    adjustment: Adjustment
    request: str
    content_sha256: str
    fetched_at: datetime
    run_id: str
    raw_answers: tuple[str, ...]
    asked: Asked
    bars: pa.Table
    rejected: tuple[DeadLetter, ...]
    coverage: tuple[CoverageMark, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadResult:
    """What a batch did to the table."""

    inserted: int
    unchanged: int
    restated: int

    @property
    def rows(self) -> int:
        """Bars that the batch held."""
        return self.inserted + self.unchanged + self.restated

    @classmethod
    def total(cls, results: Iterable["LoadResult"]) -> "LoadResult":
        """Add up what several batches did."""
        every = list(results)
        return cls(
            inserted=sum(one.inserted for one in every),
            unchanged=sum(one.unchanged for one in every),
            restated=sum(one.restated for one in every),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestFailure:
    """Work that came to nothing: the dead letter that it waits in, and what it leaves unknown.

    A deferred letter is one whose request was never sent.
    """

    letter: DeadLetter
    coverage: tuple[CoverageMark, ...] = ()


class BarStore(Protocol):
    """Keeps daily bars with coverage, log and dead letters, each call in one transaction."""

    def load(self, batch: Batch) -> LoadResult: ...
    def record_failures(self, failures: Sequence[IngestFailure]) -> None: ...
