"""Instruments and the tickers they carry for a time.

Here: instruments, constituents and universe changes, and how a list of constituents turns into
changes. Not here: where they are stored, or which provider sent them.
"""

import csv
import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from enum import StrEnum
from importlib import resources

from marketdata.recovery import errors


@dataclass(frozen=True, slots=True, kw_only=True)
class Constituent:
    """One member of an index as a provider lists it, with our ticker spelling.

    Attributes:
        cik: SEC registrant number, ten digits; several share classes may share it.
    """

    ticker: str
    name: str
    cik: str | None
    sector: str | None


class PastSymbols(StrEnum):
    """The ticker under which a provider keeps the days before an instrument's rename."""

    OF_TODAY = "of today"
    """All days move to the new ticker."""
    OF_THE_DAY = "of the day"
    """Each day stays under its ticker of that day; the new one may hold another's earlier days."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SymbolSpan:
    """Days, first and last included, that a provider keeps under one symbol."""

    symbol: str
    start: date
    end: date


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedInstrument:
    """An instrument under the ticker it carries now, and a provider's spelling of it.

    Attributes:
        ticker: The present ticker, or the last one if another instrument carries it now; it names
            the work.
        symbol: The provider's spelling of it, which names the instrument in an answer.
        carried: If the provider keeps each day under the ticker of that day: all its symbols in
            order, the present one without an end. Empty if ``symbol`` is good for all days.
    """

    instrument_id: int
    ticker: str
    symbol: str
    carried: tuple[SymbolSpan, ...] = ()

    def symbols(self, start: date, end: date) -> tuple[SymbolSpan, ...]:
        """Return the symbols to ask for, with their days from ``start`` to ``end``, both included.

        Days without a ticker are left out: their symbol is unknown.
        """
        spans = self.carried or (SymbolSpan(symbol=self.symbol, start=start, end=end),)
        return tuple(
            replace(span, start=max(span.start, start), end=min(span.end, end))
            for span in spans
            if span.start <= end and start <= span.end
        )

    def has_symbol_on(self, day: date) -> bool:
        """Return whether the instrument has a symbol to ask for on one day."""
        return not self.carried or any(span.start <= day <= span.end for span in self.carried)

    def on(self, day: date) -> "ListedInstrument | None":
        """Return the instrument under its symbol of one day, or None if it has none."""
        spans = self.symbols(day, day)
        return replace(self, symbol=spans[0].symbol, carried=()) if spans else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A present member of the universe as the database knows it."""

    instrument_id: int
    ticker: str
    cik: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rename:
    """The instrument of ``member`` now trades under ``constituent``'s ticker."""

    member: Member
    constituent: Constituent


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuerChange:
    """The security of ``member`` keeps its ticker; ``constituent`` names the new issuer."""

    member: Member
    constituent: Constituent


@dataclass(frozen=True, slots=True, kw_only=True)
class UniverseChange:
    """The changes from the known members to the listed constituents.

    Attributes:
        kept: Members that keep their ticker, those of a changed issuer included.
    """

    joined: tuple[Constituent, ...]
    left: tuple[Member, ...]
    renamed: tuple[Rename, ...]
    kept: tuple[Member, ...]
    issuer_changed: tuple[IssuerChange, ...] = ()


class EventKind(StrEnum):
    """Kinds of change to an instrument's identity."""

    RENAMED = "renamed"
    """It trades under another ticker: from ``before`` to ``after``."""
    ISSUER_CHANGED = "issuer_changed"
    """Its ticker stays and its CIK changes, as after a re-domicile: ``before`` to ``after``."""
    TICKER_REUSED = "ticker_reused"
    """Another company took the ticker of one that had left: CIK ``before`` to ``after``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InstrumentEvent:
    """One event of an instrument, on the day on which the list of constituents showed it."""

    instrument_id: int
    ticker: str
    kind: EventKind
    day: date
    before: str
    after: str

    def __str__(self) -> str:
        return f"{self.ticker} {self.kind.value}: {self.before} to {self.after} on {self.day}"


SMALLEST_SHARE = 0.8
"""A list of constituents shorter than this share of the known members is refused."""


def refuse_implausible(known: Sequence[Member], listed: Sequence[Constituent]) -> None:
    """Refuse a list that is more than a fifth shorter than the members, or names a ticker twice.

    Raises:
        RecordRejectedError: The list is refused; the text says what to do.
    """
    tickers = {constituent.ticker for constituent in listed}
    if len(tickers) < len(listed):
        raise errors.RecordRejectedError("the list of constituents names a ticker twice")
    if len(listed) < SMALLEST_SHARE * len(known) or not listed:
        raise errors.RecordRejectedError(
            f"the list has {len(listed)} constituents where {len(known)} are known: an index does "
            "not shrink so fast, so nothing was changed; look at the provider's answer"
        )


def universe_change(known: Iterable[Member], listed: Iterable[Constituent]) -> UniverseChange:
    """Compare the known members with the listed constituents.

    A vanished and a new ticker are one renamed instrument only if both have the same CIK and no
    other vanished or new ticker has it: with share classes (GOOG and GOOGL) a guess would join
    two securities. A ticker on both lists whose CIK changed is the same security of another
    registrant (a re-domiciled company, a new holding), unless a new ticker has the former CIK.
    Only a ticker that left and came back may be another company's: the store sees that.
    """
    members = {member.ticker: member for member in known}
    constituents = {constituent.ticker: constituent for constituent in listed}
    same = {
        ticker
        for ticker, member in members.items()
        if ticker in constituents and _same_company(member, constituents[ticker])
    }
    unmatched = [member for ticker, member in members.items() if ticker not in same]
    new = [constituent for ticker, constituent in constituents.items() if ticker not in same]
    renamed = _renames(unmatched, new)
    moved_from = {rename.member.instrument_id for rename in renamed}
    moved_to = {rename.constituent.ticker for rename in renamed}
    left = [member for member in unmatched if member.instrument_id not in moved_from]
    joined = [constituent for constituent in new if constituent.ticker not in moved_to]
    issuer_changed = _issuer_changes(left, joined)
    goes_on = {change.member.ticker for change in issuer_changed}
    return UniverseChange(
        joined=tuple(constituent for constituent in joined if constituent.ticker not in goes_on),
        left=tuple(member for member in left if member.ticker not in goes_on),
        renamed=renamed,
        kept=tuple(member for ticker, member in members.items() if ticker in same | goes_on),
        issuer_changed=issuer_changed,
    )


def _issuer_changes(
    left: Sequence[Member], joined: Sequence[Constituent]
) -> tuple[IssuerChange, ...]:
    by_ticker = {constituent.ticker: constituent for constituent in joined}
    return tuple(
        IssuerChange(member=member, constituent=by_ticker[member.ticker])
        for member in left
        if member.ticker in by_ticker
        and all(member.cik != constituent.cik for constituent in joined)
    )


def _same_company(member: Member, constituent: Constituent) -> bool:
    return member.cik is None or constituent.cik is None or member.cik == constituent.cik


def _renames(left: list[Member], joined: list[Constituent]) -> tuple[Rename, ...]:
    left_by_cik: dict[str, list[Member]] = {}
    joined_by_cik: dict[str, list[Constituent]] = {}
    for member in left:
        left_by_cik.setdefault(member.cik or "", []).append(member)
    for constituent in joined:
        joined_by_cik.setdefault(constituent.cik or "", []).append(constituent)
    return tuple(
        Rename(member=left_by_cik[cik][0], constituent=joined_by_cik[cik][0])
        for cik in sorted(left_by_cik.keys() & joined_by_cik.keys())
        if cik and len(left_by_cik[cik]) == 1 and len(joined_by_cik[cik]) == 1
    )


@functools.cache
def provider_spellings(provider: str) -> Mapping[str, str]:
    """Return ``provider``'s spelling by our ticker, for the tickers where the two differ.

    Spellings are data (data/provider_symbols.csv): no code turns a dot into a hyphen.
    """
    text = resources.files("marketdata").joinpath("data/provider_symbols.csv").read_text("utf-8")
    return {
        row["ticker"]: row["symbol"]
        for row in csv.DictReader(text.splitlines())
        if row["provider"] == provider
    }


@functools.cache
def our_tickers(provider: str) -> Mapping[str, str]:
    """Return our ticker by ``provider``'s spelling, for the symbols where the two differ."""
    return {symbol: ticker for ticker, symbol in provider_spellings(provider).items()}
