"""Instruments and the tickers they carry for a time.

Here: what an instrument, a constituent and a universe change are, and how a list of
constituents turns into changes. Not here: where they are stored, or which provider sent them.
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
    """Under which ticker a provider keeps what was before an instrument's rename."""

    OF_TODAY = "of today"
    """All of it moves to the new ticker."""
    OF_THE_DAY = "of the day"
    """Each day stays under the ticker of that day; another's days may stand under the new one."""


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
        ticker: The present one, or the last where another carries it now: it names the work.
        symbol: The provider's spelling of it: it names the instrument in an answer.
        carried: Where the provider keeps each day under the ticker of that day: all of them in
            order, without end where they have none. Empty where ``symbol`` is good for all days.
    """

    instrument_id: int
    ticker: str
    symbol: str
    carried: tuple[SymbolSpan, ...] = ()

    def symbols(self, start: date, end: date) -> tuple[SymbolSpan, ...]:
        """Return under which symbols days are to be asked for, both ends included.

        Days without a ticker are left out: nobody knows under which symbol they are kept.
        """
        known = self.carried or (SymbolSpan(symbol=self.symbol, start=start, end=end),)
        return tuple(
            replace(span, start=max(span.start, start), end=min(span.end, end))
            for span in known
            if span.start <= end and start <= span.end
        )

    def has_symbol_on(self, day: date) -> bool:
        """Tell whether the instrument can be asked for on one day."""
        return not self.carried or any(span.start <= day <= span.end for span in self.carried)

    def on(self, day: date) -> "ListedInstrument | None":
        """Return the instrument as it is to be asked for on one day, or None if it cannot be."""
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
    """The instrument of ``member`` trades under ``constituent``'s ticker from now on."""

    member: Member
    constituent: Constituent


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuerChange:
    """The security of ``member`` goes on under its ticker; ``constituent`` names the new issuer."""

    member: Member
    constituent: Constituent


@dataclass(frozen=True, slots=True, kw_only=True)
class UniverseChange:
    """What has to be done to turn the known members into the listed constituents.

    Attributes:
        kept: Under the same ticker, those of a changed issuer among them.
    """

    joined: tuple[Constituent, ...]
    left: tuple[Member, ...]
    renamed: tuple[Rename, ...]
    kept: tuple[Member, ...]
    issuer_changed: tuple[IssuerChange, ...] = ()


class EventKind(StrEnum):
    """What happened to an instrument's identity."""

    RENAMED = "renamed"
    """It trades under another ticker: from ``before`` to ``after``."""
    ISSUER_CHANGED = "issuer_changed"
    """Its ticker goes on with another CIK, as after a re-domicile: ``before`` to ``after``."""
    TICKER_REUSED = "ticker_reused"
    """Another company came with the ticker of one that had left: CIK ``before`` to ``after``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InstrumentEvent:
    """One event of an instrument, on the day on which the list of constituents told it."""

    instrument_id: int
    ticker: str
    kind: EventKind
    day: date
    before: str
    after: str

    def __str__(self) -> str:
        return f"{self.ticker} {self.kind.value}: {self.before} to {self.after} on {self.day}"


SMALLEST_SHARE = 0.8
"""A list of constituents shorter than this share of the known members is not believed."""


def refuse_implausible(known: Sequence[Member], listed: Sequence[Constituent]) -> None:
    """Refuse a list of constituents that lost a fifth of the members or names a ticker twice.

    Raises:
        RecordRejectedError: The list is not believed; the text says what to do.
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

    A ticker that vanished and one that appeared are taken for one renamed instrument only if
    both have the same CIK and no other vanished or new ticker has it: with share classes
    (GOOG and GOOGL) a guess would join two securities. A ticker that goes on from one list to
    the next with another CIK is the same security of another registrant (a re-domiciled
    company, a new holding), unless the former registrant's shares came under new tickers. Only
    a ticker that left and came back may be another company's: the store sees that.
    """
    members = {member.ticker: member for member in known}
    constituents = {constituent.ticker: constituent for constituent in listed}
    same = {
        ticker
        for ticker, member in members.items()
        if ticker in constituents and _same_company(member, constituents[ticker])
    }
    gone = [member for ticker, member in members.items() if ticker not in same]
    new = [one for ticker, one in constituents.items() if ticker not in same]
    renamed = _renames(gone, new)
    moved_from = {rename.member.instrument_id for rename in renamed}
    moved_to = {rename.constituent.ticker for rename in renamed}
    left = [member for member in gone if member.instrument_id not in moved_from]
    joined = [one for one in new if one.ticker not in moved_to]
    issuer_changed = _issuer_changes(left, joined)
    goes_on = {change.member.ticker for change in issuer_changed}
    return UniverseChange(
        joined=tuple(one for one in joined if one.ticker not in goes_on),
        left=tuple(member for member in left if member.ticker not in goes_on),
        renamed=renamed,
        kept=tuple(member for ticker, member in members.items() if ticker in same | goes_on),
        issuer_changed=issuer_changed,
    )


def _issuer_changes(
    left: Sequence[Member], joined: Sequence[Constituent]
) -> tuple[IssuerChange, ...]:
    came = {constituent.ticker: constituent for constituent in joined}
    return tuple(
        IssuerChange(member=member, constituent=came[member.ticker])
        for member in left
        if member.ticker in came and all(member.cik != constituent.cik for constituent in joined)
    )


def _same_company(member: Member, constituent: Constituent) -> bool:
    return member.cik is None or constituent.cik is None or member.cik == constituent.cik


def _renames(left: list[Member], joined: list[Constituent]) -> tuple[Rename, ...]:
    gone: dict[str, list[Member]] = {}
    new: dict[str, list[Constituent]] = {}
    for member in left:
        gone.setdefault(member.cik or "", []).append(member)
    for constituent in joined:
        new.setdefault(constituent.cik or "", []).append(constituent)
    return tuple(
        Rename(member=gone[cik][0], constituent=new[cik][0])
        for cik in sorted(gone.keys() & new.keys())
        if cik and len(gone[cik]) == 1 and len(new[cik]) == 1
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
