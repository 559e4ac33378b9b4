"""Instruments, their dated tickers and the universes they belong to, in the database.

Here: applying a universe change, and looking instruments up by ticker as of a day. Not here:
how a change is found (marketdata/instruments.py), or which provider lists the members.
"""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

from marketdata.instruments import (
    Constituent,
    ListedInstrument,
    Member,
    UniverseChange,
    provider_spellings,
)
from resources.storage import sql
from resources.storage.timescale import Connection, Timescale


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
        """Return every ticker that any share carries or carried, in order."""
        with self._timescale.connection() as connection:
            rows = connection.execute(sql.query("instruments", "tickers")).fetchall()
        return [row[0] for row in rows]

    def resolve(
        self, provider: str, tickers: Sequence[str], on: date
    ) -> tuple[list[ListedInstrument], list[str]]:
        """Look up who carries ``tickers`` on a day, in the order given.

        Returns:
            The instruments with ``provider``'s spelling, and the tickers nobody carries then.
        """
        with self._timescale.connection() as connection:
            rows = connection.execute(
                sql.query("instruments", "carriers"),
                {"kind": "equity", "tickers": list(tickers), "on": on},
            ).fetchall()
        carriers = dict[str, int](rows)
        spellings = provider_spellings(provider)
        found = [
            ListedInstrument(
                instrument_id=carriers[ticker],
                ticker=ticker,
                symbol=spellings.get(ticker, ticker),
            )
            for ticker in dict.fromkeys(tickers)
            if ticker in carriers
        ]
        return found, [ticker for ticker in dict.fromkeys(tickers) if ticker not in carriers]

    def listed(
        self, provider: str, instrument_ids: Sequence[int], on: date
    ) -> list[ListedInstrument]:
        """Return those of the instruments that carry a ticker on a day, as a provider spells it."""
        with self._timescale.connection() as connection:
            rows = connection.execute(
                sql.query("instruments", "tickers_of"),
                {"instrument_ids": list(instrument_ids), "on": on},
            ).fetchall()
        spellings = provider_spellings(provider)
        return [
            ListedInstrument(
                instrument_id=instrument_id, ticker=ticker, symbol=spellings.get(ticker, ticker)
            )
            for instrument_id, ticker in rows
        ]

    def register(self, kind: str, names: Mapping[str, str], on: date) -> dict[str, int]:
        """Make instruments that are known by one name for ever, such as pairs and series.

        Args:
            kind: Such as ``pair``; names are unique within it.
            names: What each is, in words, by its name; those there are already stay as they are.
            on: The day of the look-up.

        Returns:
            The instruments' ids by name.
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
        """Return the ids of the instruments of a kind that carry ``tickers`` on a day."""
        with self._timescale.connection() as connection:
            rows = connection.execute(
                sql.query("instruments", "carriers"),
                {"kind": kind, "tickers": list(tickers), "on": on},
            ).fetchall()
        return dict[str, int](rows)

    def apply(self, change: UniverseChange, on: date, universe: str) -> None:
        """Make a change true from ``on``, in one transaction; applying it again does nothing.

        Who left keeps instrument and ticker: only the membership ends. Who joined is the
        instrument that carried the ticker last, if its CIK allows (a returning constituent), or
        a new one; a ticker that another company still carries is closed first.

        Raises:
            StorageConflictError: The change contradicts what is stored.
            StorageUnavailableError: The database cannot be reached now; nothing was changed.
        """
        with self._timescale.connection() as connection:
            connection.execute(sql.query("instruments", "lock_universe"))
            for member in change.left:
                _run(
                    connection,
                    "close_membership",
                    universe=universe,
                    instrument_id=member.instrument_id,
                    on=on,
                )
            for rename in change.renamed:
                _carry(connection, rename.member.instrument_id, rename.constituent, on)
            for constituent in change.joined:
                instrument_id = _instrument_of(connection, constituent)
                _carry(connection, instrument_id, constituent, on)
                _run(
                    connection,
                    "open_membership",
                    universe=universe,
                    instrument_id=instrument_id,
                    on=on,
                )


def _instrument_of(connection: Connection, constituent: Constituent) -> int:
    """Return the instrument that carried the ticker last, if it is the same company; or a new one.

    A CIK that either side lacks does not contradict, as in marketdata.instruments.
    """
    last = _run(connection, "last_carrier", ticker=constituent.ticker)
    if last is not None:
        instrument_id, cik, _ = last
        if cik is None or constituent.cik is None or cik == constituent.cik:
            return instrument_id
    created = _run(
        connection,
        "create_instrument",
        name=constituent.name,
        cik=constituent.cik,
        sector=constituent.sector,
    )
    return created[0] if created else 0


def _carry(connection: Connection, instrument_id: int, constituent: Constituent, on: date) -> None:
    """Let an instrument carry the constituent's ticker from ``on``, if it does not already."""
    _run(
        connection,
        "describe_instrument",
        instrument_id=instrument_id,
        name=constituent.name,
        cik=constituent.cik,
        sector=constituent.sector,
    )
    last = _run(connection, "last_carrier", ticker=constituent.ticker)
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
