"""Instruments, their dated tickers and the universes they belong to, in the database.

Here: applying a universe change, and looking instruments up by ticker as of a day. Not here:
how a change is detected (marketdata/instruments.py), or which provider lists the members.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Any

from marketdata.instruments import (
    Constituent,
    EventKind,
    InstrumentEvent,
    IssuerChange,
    ListedInstrument,
    Member,
    PastSymbols,
    Rename,
    SymbolSpan,
    UniverseChange,
    provider_spellings,
)
from resources.storage import sql
from resources.storage.timescale import Connection, Timescale

ONE_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Membership:
    """Days on which an instrument belonged to a universe.

    Attributes:
        ended_on: The first day on which it did not; None for a present member.
    """

    instrument_id: int
    start: date
    ended_on: date | None

    def counts_on(self, day: date) -> bool:
        """Return whether ``day`` is loaded for the instrument.

        Loaded are a present member's whole history, and a former member's days as a member.
        """
        return self.ended_on is None or self.start <= day < self.ended_on


class InstrumentStore:
    """Reads and changes instruments.

    Args:
        timescale: An open Timescale whose database is migrated.
    """

    def __init__(self, timescale: Timescale) -> None:
        self._timescale = timescale

    def members(self, universe: str) -> list[Member]:
        """Return the present members under their present tickers, by ticker."""
        with self._timescale.connection() as connection:
            rows = connection.execute(
                sql.query("instruments", "members"), {"universe": universe}
            ).fetchall()
        return [
            Member(instrument_id=instrument_id, ticker=ticker, cik=cik)
            for instrument_id, ticker, cik in rows
        ]

    def tickers(self) -> list[str]:
        """Return every present or former ticker of any share, sorted."""
        with self._timescale.connection() as connection:
            rows = connection.execute(sql.query("instruments", "tickers")).fetchall()
        return [row[0] for row in rows]

    def memberships(self, universe: str) -> list[Membership]:
        """Return all memberships, present and former."""
        with self._timescale.connection() as connection:
            rows = connection.execute(
                sql.query("instruments", "memberships"), {"universe": universe}
            ).fetchall()
        return [
            Membership(instrument_id=instrument_id, start=start, ended_on=ended_on)
            for instrument_id, start, ended_on in rows
        ]

    def resolve(
        self,
        provider: str,
        tickers: Sequence[str],
        on: date,
        past: PastSymbols = PastSymbols.OF_TODAY,
    ) -> tuple[list[ListedInstrument], list[str]]:
        """Resolve ``tickers`` on a day to instruments, in the order given.

        Args:
            provider: Whose spelling the symbols get.
            tickers: In our spelling.
            on: The day: today if a provider is to be asked, whatever days are requested.
            past: Under which symbol the provider keeps the past.

        Returns:
            The instruments, and the tickers that no instrument has on that day.
        """
        with self._timescale.connection() as connection:
            ids_by_ticker = _ids_by_ticker(connection, "equity", tickers, on)
            listed = _listed_instruments(
                connection, provider, list(ids_by_ticker.values()), on, past
            )
        by_ticker = {constituent.ticker: constituent for constituent in listed}
        distinct = list(dict.fromkeys(tickers))
        return (
            [by_ticker[ticker] for ticker in distinct if ticker in by_ticker],
            [ticker for ticker in distinct if ticker not in by_ticker],
        )

    def listed(
        self,
        provider: str,
        instrument_ids: Sequence[int],
        on: date,
        past: PastSymbols = PastSymbols.OF_TODAY,
    ) -> list[ListedInstrument]:
        """Return those of the instruments that can be requested, sorted by ticker.

        An instrument whose ticker now belongs to another has no symbol of today. It can be
        requested only from providers that keep the past under the symbols of the day.
        """
        with self._timescale.connection() as connection:
            return _listed_instruments(connection, provider, instrument_ids, on, past)

    def renamed_to(self, tickers: Sequence[str]) -> dict[str, str]:
        """Return the present ticker by former one, for ``tickers`` that no instrument has now."""
        with self._timescale.connection() as connection:
            rows = connection.execute(
                sql.query("instruments", "renamed_to"), {"tickers": list(tickers)}
            ).fetchall()
        return dict[str, str](rows)

    def register(self, kind: str, names: Mapping[str, str], on: date) -> dict[str, int]:
        """Create instruments whose symbol never changes, such as pairs and series.

        Args:
            kind: Such as ``pair``; symbols are unique within it.
            names: Descriptions by symbol; existing instruments stay as they are.
            on: The day of the look-up.

        Returns:
            The instruments' ids by symbol.
        """
        tickers = list(names)
        with self._timescale.connection() as connection:
            connection.execute(sql.query("instruments", "lock_universe"))
            connection.execute(
                sql.query("instruments", "register"),
                {"kind": kind, "tickers": tickers, "names": list(names.values())},
            )
        return self.ids(kind, tickers, on)

    def ids(self, kind: str, tickers: Sequence[str], on: date) -> dict[str, int]:
        """Return the ids of the instruments of a kind that have ``tickers`` on a day."""
        with self._timescale.connection() as connection:
            return _ids_by_ticker(connection, kind, tickers, on)

    def apply(self, change: UniverseChange, on: date, universe: str) -> list[InstrumentEvent]:
        """Apply a change from ``on``, in one transaction; applying it again does nothing.

        A member that left keeps its instrument and ticker: only the membership ends. A joining
        member is the instrument that last had the ticker, if its CIK allows (a returning
        constituent), or a new one. A ticker that another company still has is closed first. A
        member whose issuer changed keeps its instrument, ticker and membership: only its name, CIK
        and sector are those of the new issuer.

        Returns:
            Changes of identity, which are kept in the table ``instrument_event``.

        Raises:
            StorageConflictError: The change contradicts what is stored.
            StorageUnavailableError: The database cannot be reached now; nothing was changed.
        """
        with self._timescale.connection() as connection:
            connection.execute(sql.query("instruments", "lock_universe"))
            events = [
                *_rename_events(change.renamed, on),
                *_issuer_events(change.issuer_changed, on),
            ]
            for member in change.left:
                _run(
                    connection,
                    "close_membership",
                    universe=universe,
                    instrument_id=member.instrument_id,
                    on=on,
                )
            for rename in change.renamed:
                _assign_ticker(connection, rename.member.instrument_id, rename.constituent, on)
            for issuer in change.issuer_changed:
                _describe(connection, issuer.member.instrument_id, issuer.constituent)
            for constituent in change.joined:
                instrument_id, reused = _instrument_of(connection, constituent, on)
                events += reused
                _assign_ticker(connection, instrument_id, constituent, on)
                _run(
                    connection,
                    "open_membership",
                    universe=universe,
                    instrument_id=instrument_id,
                    on=on,
                )
            for event in events:
                _run(
                    connection,
                    "note_event",
                    instrument_id=event.instrument_id,
                    ticker=event.ticker,
                    kind=event.kind.value,
                    day=event.day,
                    before=event.before,
                    after=event.after,
                )
        return events

    def events(self) -> list[InstrumentEvent]:
        """Return all changes of identity, the latest first."""
        with self._timescale.connection() as connection:
            rows = connection.execute(sql.query("instruments", "events")).fetchall()
        return [
            InstrumentEvent(
                instrument_id=instrument_id,
                ticker=ticker,
                kind=EventKind(kind),
                day=day,
                before=before,
                after=after,
            )
            for instrument_id, ticker, kind, day, before, after in rows
        ]


def _ids_by_ticker(
    connection: Connection, kind: str, tickers: Sequence[str], on: date
) -> dict[str, int]:
    rows = connection.execute(
        sql.query("instruments", "ids_by_ticker"),
        {"kind": kind, "tickers": list(tickers), "on": on},
    ).fetchall()
    return dict[str, int](rows)


def _listed_instruments(
    connection: Connection,
    provider: str,
    instrument_ids: Sequence[int],
    on: date,
    past: PastSymbols,
) -> list[ListedInstrument]:
    """Return the instruments under their ticker on a day, with former tickers."""
    rows = connection.execute(
        sql.query("instruments", "tickers_of"), {"instrument_ids": list(instrument_ids)}
    ).fetchall()
    carried: dict[int, list[SymbolSpan]] = {}
    for instrument_id, ticker, begins_on, ends_before in rows:
        span = SymbolSpan(
            symbol=ticker,
            start=begins_on or date.min,
            end=ends_before - ONE_DAY if ends_before else date.max,
        )
        carried.setdefault(instrument_id, []).append(span)
    spellings = provider_spellings(provider)
    listed: list[ListedInstrument] = []
    for instrument_id, spans in carried.items():
        of_the_day = past is PastSymbols.OF_THE_DAY
        present = [span for span in spans if span.start <= on <= span.end]
        for last in present or spans[-1:] * of_the_day:
            always = len(spans) == 1 and (last.start, last.end) == (date.min, date.max)
            spelt = [
                replace(span, symbol=spellings.get(span.symbol, span.symbol)) for span in spans
            ]
            listed.append(
                ListedInstrument(
                    instrument_id=instrument_id,
                    ticker=last.symbol,
                    symbol=spellings.get(last.symbol, last.symbol),
                    carried=tuple(spelt) if of_the_day and not always else (),
                )
            )
    return sorted(listed, key=lambda instrument: instrument.ticker)


def _rename_events(renamed: Sequence[Rename], on: date) -> list[InstrumentEvent]:
    return [
        InstrumentEvent(
            instrument_id=rename.member.instrument_id,
            ticker=rename.constituent.ticker,
            kind=EventKind.RENAMED,
            day=on,
            before=rename.member.ticker,
            after=rename.constituent.ticker,
        )
        for rename in renamed
    ]


def _issuer_events(changed: Sequence[IssuerChange], on: date) -> list[InstrumentEvent]:
    return [
        InstrumentEvent(
            instrument_id=issuer.member.instrument_id,
            ticker=issuer.member.ticker,
            kind=EventKind.ISSUER_CHANGED,
            day=on,
            before=issuer.member.cik or "",
            after=issuer.constituent.cik or "",
        )
        for issuer in changed
    ]


def _instrument_of(
    connection: Connection, constituent: Constituent, on: date
) -> tuple[int, list[InstrumentEvent]]:
    """Return the instrument that last had the ticker, if it is the same company; or a new one.

    A missing CIK on either side contradicts nothing, as in marketdata.instruments. A different CIK
    means another company: the ticker was off the list in between.
    """
    last = _run(connection, "last_holder", ticker=constituent.ticker)
    if last is not None:
        instrument_id, cik, is_open = last
        # A renamed instrument has another ticker: a newcomer with the old one is another company.
        if is_open and (cik is None or constituent.cik is None or cik == constituent.cik):
            return instrument_id, []
    created = _run(
        connection,
        "create_instrument",
        name=constituent.name,
        cik=constituent.cik,
        sector=constituent.sector,
    )
    instrument_id = created[0] if created else 0
    if last is None:
        return instrument_id, []
    reused = InstrumentEvent(
        instrument_id=instrument_id,
        ticker=constituent.ticker,
        kind=EventKind.TICKER_REUSED,
        day=on,
        before=last[1] or "",
        after=constituent.cik or "",
    )
    return instrument_id, [reused]


def _describe(connection: Connection, instrument_id: int, constituent: Constituent) -> None:
    _run(
        connection,
        "describe_instrument",
        instrument_id=instrument_id,
        name=constituent.name,
        cik=constituent.cik,
        sector=constituent.sector,
    )


def _assign_ticker(
    connection: Connection, instrument_id: int, constituent: Constituent, on: date
) -> None:
    """Give an instrument the constituent's ticker from ``on``, if it does not have it yet."""
    _describe(connection, instrument_id, constituent)
    last = _run(connection, "last_holder", ticker=constituent.ticker)
    if last is not None and last[2]:
        if last[0] == instrument_id:
            return
        _run(connection, "close_ticker", instrument_id=last[0], on=on)
    _run(connection, "close_ticker", instrument_id=instrument_id, on=on)
    _run(connection, "open_ticker", instrument_id=instrument_id, ticker=constituent.ticker, on=on)


def _run(connection: Connection, query: str, /, **parameters: object) -> tuple[Any, ...] | None:
    """Run one block of instruments.sql and return its first row, if it has any."""
    cursor = connection.execute(sql.query("instruments", query), parameters)
    return cursor.fetchone() if cursor.description else None
