"""What the ingest steps need of the outside world, as protocols.

Here: the shapes that providers and stores fulfil, and the values that pass between them. Not
here: any implementation (resources/), or the steps themselves (ingest.py).
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Protocol, runtime_checkable

import pyarrow as pa
import pyarrow.compute as pc

from marketdata.bars import Adjustment
from marketdata.coverage import CoverageMark, CoverageState
from marketdata.instruments import ListedInstrument, SymbolSpan
from marketdata.recovery.dead_letters import DeadLetter
from marketdata.rows import RejectedRow
from marketdata.statements import StatementKind


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a provider says, with its origin.

    Attributes:
        rows: In the dataset's quoted schema (WIRE_BARS and its like): under the provider's own
            symbols, as they came, in any order.
        request: What was asked, without key, host or order of parameters to puzzle over.
        content_sha256: Hex digest of the raw answer's bytes.
        fetched_at: Aware UTC time: all of the answer is at least as new.
        requests: HTTP requests that this answer took, repeats included.
        raw_answers: Where the raw answers are kept, one pointer for each page in the order in
            which they came; empty where none is kept.
        left_out: Rows that are not among ``rows``, since they could not be read or placed.
        notes: Facts about the answer that a person may want to know and that nobody has to act
            on: what the venue itself lacks, which source was used instead of which, what is new
            on the wire.
        untold: Days that were asked for and that the answer says nothing about: neither that
            there are rows nor that there are none.
    """

    rows: pa.Table
    request: str
    content_sha256: str
    fetched_at: datetime
    requests: int
    raw_answers: tuple[str, ...] = ()
    left_out: tuple[RejectedRow, ...] = ()
    notes: tuple[str, ...] = ()
    untold: frozenset[date] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchRequest:
    """Ask for one instrument's days from ``start`` to ``end``, both included.

    Attributes:
        part: Which of an instrument's requests it is, where it has several at once.
        from_inception: ``start`` is the beginning of the history kept here.
        has_data: Some bar of the instrument is kept already. If none is, an empty answer from
            the listing on means that the provider does not know the symbol.
    """

    instrument: ListedInstrument
    start: date
    end: date
    from_inception: bool = False
    has_data: bool = True
    part: str = ""

    @property
    def subject(self) -> str:
        """Name the work in a dead letter."""
        return f"{self.instrument.ticker} {self.part}".rstrip()

    @property
    def symbols(self) -> tuple[SymbolSpan, ...]:
        """Under which symbols the days are asked for: a rename between them makes two."""
        return self.instrument.symbols(self.start, self.end)

    @property
    def carried(self) -> tuple[SymbolSpan, ...]:
        """The same where the days stand under the symbols of then; otherwise none."""
        return self.symbols if self.instrument.carried else ()


class Provider(Protocol):
    """A provider's client; what it serves is said by the protocols below."""

    @property
    def name(self) -> str: ...


@runtime_checkable
class DailyBarProvider(Provider, Protocol):
    """Serves one symbol's daily bars (WIRE_BARS) over a span of days, and no other symbol's."""

    async def daily_history(self, symbol: str, start: date, end: date) -> Answer: ...


@runtime_checkable
class DailyMarketProvider(Provider, Protocol):
    """Serves every symbol's daily bar of one session, and of no other, in one request."""

    async def daily_market(self, session: date) -> Answer: ...


@runtime_checkable
class MinuteBarProvider(Provider, Protocol):
    """Serves one symbol's minute bars (WIRE_MINUTE_BARS) of whole days, and nothing else.

    Days are those of the exchange for shares (New York) and of UTC for crypto pairs. A minute
    that is not over yet is never in an answer.
    """

    async def minute_bars(self, symbol: str, start: date, end: date) -> Answer: ...


@runtime_checkable
class TradeProvider(Provider, Protocol):
    """Serves one pair's trades (WIRE_TRADES) of whole UTC days, as far as they are over."""

    async def trades(self, symbol: str, start: date, end: date) -> Answer: ...


@runtime_checkable
class StatementProvider(Provider, Protocol):
    """Serves all annual and quarterly statements of one kind of one company."""

    async def statements(self, kind: StatementKind, symbol: str) -> Answer: ...


@runtime_checkable
class ActionProvider(Provider, Protocol):
    """Serves corporate actions (WIRE_SPLITS, WIRE_DIVIDENDS).

    All of one symbol, or the whole market's with an ex-date from ``start`` to ``end``, both
    included.
    """

    async def splits(self, symbol: str) -> Answer: ...
    async def dividends(self, symbol: str) -> Answer: ...
    async def splits_between(self, start: date, end: date) -> Answer: ...
    async def dividends_between(self, start: date, end: date) -> Answer: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """Which symbols' data have changed since a moment, with the origin of that knowledge.

    Attributes:
        symbols: Of all that the provider has, in its spelling.
    """

    symbols: frozenset[str]
    request: str
    content_sha256: str
    fetched_at: datetime
    requests: int
    raw_answers: tuple[str, ...] = ()


@runtime_checkable
class MacroProvider(Provider, Protocol):
    """Serves one series' observations (WIRE_OBSERVATIONS) with their vintages.

    Every value that was current on some day from ``start`` to ``end``, both included, and those
    replaced on ``start`` itself; realtime_start is always a real vintage's day.
    """

    async def observations(self, series: str, start: date, end: date) -> Answer: ...


@runtime_checkable
class ChangesProvider(Provider, Protocol):
    """Serves which symbols' data have changed since a moment (aware)."""

    async def changed_since(self, since: datetime) -> Changes: ...


@runtime_checkable
class ReferenceProvider(Provider, Protocol):
    """Serves what is known of one company (WIRE_COMPANIES, one row)."""

    async def company(self, symbol: str) -> Answer: ...


@runtime_checkable
class IndexProvider(Provider, Protocol):
    """Serves who joined and left an index, and when (WIRE_INDEX_CHANGES)."""

    async def index_changes(self, index: str) -> Answer: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What an answer was asked for: sessions from ``start`` to ``end`` of some instruments.

    Dead letters that wait for no more than this are resolved by the answer.

    Attributes:
        whole_sessions: The answer is of the whole market, so that it also resolves letters
            about these sessions as such.
        carried: Where an instrument's days were asked for under the symbols of then: these.
    """

    instrument_ids: tuple[int, ...]
    start: date
    end: date
    whole_sessions: bool
    carried: tuple[SymbolSpan, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What one transaction stores: rows, their origin, and what they cover.

    Attributes:
        adjustment: Of daily bars: what their prices are adjusted for.
        rows: In the schema of the dataset's table (DAILY_BARS and its like), sorted by key.
        rejected: A dead letter for all rows of an instrument that were refused for one reason.
        notes: See Answer.
        full_snapshot: The answer holds all there is of its instruments.
        joins_history: Of daily bars: they stand beside stored ones, and have to be in the same
            shares.
    """

    dataset: str
    provider: str
    adjustment: Adjustment | None
    request: str
    content_sha256: str
    fetched_at: datetime
    run_id: str
    raw_answers: tuple[str, ...]
    asked: Asked
    rows: pa.Table
    rejected: tuple[DeadLetter, ...]
    coverage: tuple[CoverageMark, ...]
    full_snapshot: bool = False
    notes: tuple[str, ...] = ()
    joins_history: bool = False

    def without(self, instrument_ids: Collection[int]) -> "Batch":
        """Return the batch as if nobody had asked for some of its instruments."""
        ids = pa.array(sorted(instrument_ids), pa.int64())
        is_kept = pc.invert(pc.is_in(self.rows["instrument_id"], value_set=ids))
        remaining = [
            instrument_id
            for instrument_id in self.asked.instrument_ids
            if instrument_id not in instrument_ids
        ]
        return replace(
            self,
            rows=self.rows.filter(is_kept),
            asked=replace(self.asked, instrument_ids=tuple(remaining)),
            rejected=tuple(
                letter for letter in self.rejected if letter.instrument_id not in instrument_ids
            ),
            coverage=tuple(
                mark for mark in self.coverage if mark.instrument_id not in instrument_ids
            ),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """An answer that is ready to be stored.

    Attributes:
        rejected: Rows that were refused.
        days: Days that were asked for, by what the answer says of them.
    """

    batch: Batch
    rejected: tuple[RejectedRow, ...]
    days: Mapping[CoverageState, int]


class Feed(Protocol):
    """One dataset from one provider: how a request becomes a batch."""

    @property
    def dataset(self) -> str: ...
    @property
    def provider(self) -> str: ...
    async def fetch(self, request: FetchRequest) -> Answer: ...
    def prepare(self, request: FetchRequest, answer: Answer, run_id: str) -> Prepared: ...
    def failed(self, request: FetchRequest, now: datetime) -> tuple[CoverageMark, ...]:
        """Return what the ledger is told when a request comes to nothing."""
        ...

    def whole(self, request: FetchRequest, now: datetime) -> FetchRequest | None:
        """Return the request for all of the history that ``request`` is a part of.

        None where it is whole already, or nobody can be asked.
        """
        ...


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
        loads = list(results)
        return cls(
            inserted=sum(load.inserted for load in loads),
            unchanged=sum(load.unchanged for load in loads),
            restated=sum(load.restated for load in loads),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestFailure:
    """Work that came to nothing: the dead letter that it waits in, and what it leaves unknown.

    A deferred letter is one whose request was never sent.
    """

    letter: DeadLetter
    coverage: tuple[CoverageMark, ...] = ()


class BatchStore(Protocol):
    """Keeps batches with coverage, log and dead letters, each call in one transaction."""

    def load(self, batch: Batch) -> LoadResult: ...
    def record_failures(self, failures: Sequence[IngestFailure]) -> None: ...
