"""Protocols of what the ingest steps need from outside.

Here: the protocols of providers and stores, and the values that pass between them. Not here: any
implementation (resources/), who asks which question (questions.py), or the steps themselves
(ingest.py).
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Protocol, TypeVar, runtime_checkable

import pyarrow as pa
import pyarrow.compute as pc

from marketdata.bars import Adjustment
from marketdata.coverage import CoverageMark, CoverageState
from marketdata.instruments import Constituent, ListedInstrument, SymbolSpan
from marketdata.recovery import errors
from marketdata.recovery.dead_letters import DeadLetter
from marketdata.rows import RejectedRow
from marketdata.statements import StatementKind


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A provider's answer with its provenance.

    Attributes:
        rows: Rows in the dataset's wire schema (such as WIRE_BARS): under the provider's own
            symbols, as they came, in any order.
        request: The request in plain form, without key, host or order of parameters.
        content_sha256: Hex digest of the raw answer's bytes.
        fetched_at: Aware UTC time; the whole answer is at least as new.
        requests: HTTP requests that this answer took, repeats included.
        raw_answers: Raw pointers, one for each page in the order in which they came; empty where
            none is kept.
        left_out: Rows that are not among ``rows``, since they could not be read or placed.
        notes: Facts about the answer for a person, without a need to act: what the venue itself
            lacks, which source replaced another, what is new on the wire.
        untold: Requested days that the answer says nothing about: neither that there are rows nor
            that there are none.
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
        part: Name of the request where an instrument has several at once.
        from_inception: ``start`` is the beginning of the history kept here.
        has_data: Some row of the instrument is kept already. If none is, an empty answer for the
            whole history means that the provider does not know the symbol.
    """

    instrument: ListedInstrument
    start: date
    end: date
    from_inception: bool = False
    has_data: bool = True
    part: str = ""

    @property
    def subject(self) -> str:
        """Name of the work in a dead letter."""
        return f"{self.instrument.ticker} {self.part}".rstrip()

    @property
    def symbols(self) -> tuple[SymbolSpan, ...]:
        """The symbols to ask for, with their days: a rename between them makes two."""
        return self.instrument.symbols(self.start, self.end)

    @property
    def carried(self) -> tuple[SymbolSpan, ...]:
        """The same if the provider keeps days under their past symbols; otherwise empty."""
        return self.symbols if self.instrument.carried else ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Days:
    """From one day to another, both included."""

    start: date
    end: date


class Provider(Protocol):
    """A provider's client; the protocols below define what it serves."""

    @property
    def name(self) -> str: ...


_Protocol = TypeVar("_Protocol")


def serving(provider: Provider, protocol: type[_Protocol]) -> _Protocol:
    """Return a provider's client as one that serves ``protocol``.

    Raises:
        ConfigurationError: It lacks a method of the protocol.
    """
    if not isinstance(provider, protocol):
        message = (
            f"{provider.name} does not serve what {protocol.__name__} has: choose another provider "
            "(WRDATA_<DATASET>_PROVIDER)"
        )
        raise errors.ConfigurationError(message)
    return provider


@runtime_checkable
class DailyBarProvider(Provider, Protocol):
    """Serves daily bars (WIRE_BARS) of exactly one symbol over a span of days."""

    async def daily_history(self, symbol: str, start: date, end: date) -> Answer: ...


@runtime_checkable
class DailyMarketProvider(Provider, Protocol):
    """Serves every symbol's daily bar of exactly one session, in one request."""

    async def daily_market(self, session: date) -> Answer: ...


@runtime_checkable
class MinuteBarProvider(Provider, Protocol):
    """Serves one symbol's minute bars (WIRE_MINUTE_BARS) of whole days.

    Days are those of the exchange for shares (New York) and of UTC for crypto pairs. A minute
    that is not over yet is never in an answer.
    """

    async def minute_bars(self, symbol: str, start: date, end: date) -> Answer: ...


@runtime_checkable
class TradeProvider(Provider, Protocol):
    """Serves one pair's trades (WIRE_TRADES) of UTC days; of an unfinished day those so far."""

    async def trades(self, symbol: str, start: date, end: date) -> Answer: ...


@runtime_checkable
class StatementProvider(Provider, Protocol):
    """Serves all annual and quarterly statements of one kind of one company."""

    async def statements(self, kind: StatementKind, symbol: str) -> Answer: ...


@runtime_checkable
class ActionProvider(Provider, Protocol):
    """Serves corporate actions (WIRE_SPLITS, WIRE_DIVIDENDS).

    Either all of one symbol, or the whole market's with an ex-date from ``start`` to ``end``, both
    included.
    """

    async def splits(self, symbol: str) -> Answer: ...
    async def dividends(self, symbol: str) -> Answer: ...
    async def splits_between(self, start: date, end: date) -> Answer: ...
    async def dividends_between(self, start: date, end: date) -> Answer: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """The symbols whose data have changed since a moment, with the answer's provenance.

    Attributes:
        symbols: The changed symbols of all that the provider has, in its spelling.
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

    Serves every value that was current on some day from ``start`` to ``end``, both included, and
    those replaced on ``start`` itself; realtime_start is always a real vintage's day.
    """

    async def observations(self, series: str, start: date, end: date) -> Answer: ...


@runtime_checkable
class ChangesProvider(Provider, Protocol):
    """Serves the symbols whose data have changed since a moment (aware)."""

    async def changed_since(self, since: datetime) -> Changes: ...


@runtime_checkable
class ReferenceProvider(Provider, Protocol):
    """Serves one company (WIRE_COMPANIES, one row)."""

    async def company(self, symbol: str) -> Answer: ...


@runtime_checkable
class IndexProvider(Provider, Protocol):
    """Serves the companies that joined and left an index, with dates (WIRE_INDEX_CHANGES)."""

    async def index_changes(self, index: str) -> Answer: ...


@runtime_checkable
class ConstituentProvider(Provider, Protocol):
    """Serves the present members of the S&P 500, tickers in our spelling."""

    async def sp500_constituents(self) -> list[Constituent]: ...


@runtime_checkable
class AsTradedProvider(Provider, Protocol):
    """Serves one symbol's daily bars (WIRE_BARS) as they were paid, adjusted for nothing."""

    async def as_traded(self, symbol: str, start: date, end: date) -> Answer: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What an answer was asked for: sessions from ``start`` to ``end`` of some instruments.

    The answer resolves dead letters that wait for no more than this.

    Attributes:
        whole_sessions: The answer is of the whole market: it also resolves letters about whole
            sessions.
        carried: The past symbols that the days were asked for under; empty if under the present
            symbol.
    """

    instrument_ids: tuple[int, ...]
    start: date
    end: date
    whole_sessions: bool
    carried: tuple[SymbolSpan, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What one transaction stores: rows, their provenance, and what they cover.

    Attributes:
        adjustment: For daily bars: what their prices are adjusted for.
        rows: Rows in the dataset's table schema (such as DAILY_BARS), sorted by key.
        letters: One dead letter for all rows of an instrument refused for one reason.
        notes: See Answer.
        full_snapshot: The answer holds all rows of its instruments.
        joins_history: For daily bars: they join stored ones, and must be in the same shares.
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
    letters: tuple[DeadLetter, ...]
    coverage: tuple[CoverageMark, ...]
    full_snapshot: bool = False
    notes: tuple[str, ...] = ()
    joins_history: bool = False

    def without(self, instrument_ids: Collection[int]) -> "Batch":
        """Return the batch without some of its instruments, as if they were not asked for."""
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
            letters=tuple(
                letter for letter in self.letters if letter.instrument_id not in instrument_ids
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
        days_by_state: Number of requested days, by state.
    """

    batch: Batch
    rejected: tuple[RejectedRow, ...]
    days_by_state: Mapping[CoverageState, int]


class Feed(Protocol):
    """One dataset from one provider: how a request becomes a batch."""

    @property
    def dataset(self) -> str: ...
    @property
    def provider(self) -> str: ...
    async def fetch(self, request: FetchRequest) -> Answer: ...
    def prepare(self, request: FetchRequest, answer: Answer, run_id: str) -> Prepared: ...
    def failed(self, request: FetchRequest, now: datetime) -> tuple[CoverageMark, ...]:
        """Return the coverage marks of a failed request."""
        ...

    def whole(self, request: FetchRequest, now: datetime) -> FetchRequest | None:
        """Return the request for the whole history that ``request`` is a part of.

        None if it is whole already, or if no request is possible.
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
        """Rows that the batch held."""
        return self.inserted + self.unchanged + self.restated

    @classmethod
    def total(cls, results: Iterable["LoadResult"]) -> "LoadResult":
        """Add up the results of several batches."""
        loads = list(results)
        return cls(
            inserted=sum(load.inserted for load in loads),
            unchanged=sum(load.unchanged for load in loads),
            restated=sum(load.restated for load in loads),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestFailure:
    """Failed work: its dead letter, and the coverage that it leaves unknown.

    A deferred letter is one whose request was never sent.
    """

    letter: DeadLetter
    coverage: tuple[CoverageMark, ...] = ()


class BatchStore(Protocol):
    """Stores batches with coverage, log and dead letters, each call in one transaction."""

    def load(self, batch: Batch) -> LoadResult: ...
    def record_failures(self, failures: Sequence[IngestFailure]) -> None: ...
