"""Instruments and the tickers they carry for a time.

Here: what an instrument, a constituent and a universe change are, and how a list of
constituents turns into changes. Not here: where they are stored, or which provider sent them.
"""

import csv
import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedInstrument:
    """An instrument under the ticker it carries now, and a provider's spelling of it."""

    instrument_id: int
    ticker: str
    symbol: str


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
class UniverseChange:
    """What has to be done to turn the known members into the listed constituents."""

    joined: tuple[Constituent, ...]
    left: tuple[Member, ...]
    renamed: tuple[Rename, ...]
    kept: tuple[Member, ...]


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
    (GOOG and GOOGL) a guess would join two securities. A ticker whose CIK changed is another
    company under a reused ticker: the old member left, a new one joined.
    """
    members = {member.ticker: member for member in known}
    constituents = {constituent.ticker: constituent for constituent in listed}
    kept = [
        member
        for ticker, member in members.items()
        if ticker in constituents and _same_company(member, constituents[ticker])
    ]
    kept_tickers = {member.ticker for member in kept}
    left = [member for ticker, member in members.items() if ticker not in kept_tickers]
    joined = [one for ticker, one in constituents.items() if ticker not in kept_tickers]
    renamed = _renames(left, joined)
    moved_from = {rename.member.instrument_id for rename in renamed}
    moved_to = {rename.constituent.ticker for rename in renamed}
    return UniverseChange(
        joined=tuple(one for one in joined if one.ticker not in moved_to),
        left=tuple(member for member in left if member.instrument_id not in moved_from),
        renamed=renamed,
        kept=tuple(kept),
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
