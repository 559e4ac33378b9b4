"""Queries about the stored bars, for asset checks.

Here: counts and samples of bars that should not exist, and totals. Not here: the
verdict of a check (assets/checks.py), or what is missing (ledger/coverage.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from resources.storage import sql
from resources.storage.timescale import Timescale


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspect:
    """One bar that should not be as it is; ``ticker`` is as of the session, if known."""

    ticker: str | None
    instrument_id: int
    session_date: date
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspects:
    """Suspects of one kind: their number, and the newest of them."""

    count: int
    sample: tuple[Suspect, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class BarTotals:
    """How much is stored; the sessions are None while nothing is.

    Attributes:
        versions: Replaced values, kept in daily_bar_version.
    """

    rows: int
    instruments: int
    first_session: date | None
    last_session: date | None
    versions: int


class QualityQueries:
    """Runs the queries.

    Args:
        timescale: An open Timescale whose database is migrated.
    """

    def __init__(self, timescale: Timescale) -> None:
        self._timescale = timescale

    def ohlc_violations(self, *, limit: int = 20) -> Suspects:
        """Find bars whose prices contradict each other."""
        return self._suspects("ohlc_violations", {"limit": limit})

    def duplicates(self, *, limit: int = 20) -> Suspects:
        """Find tickers with two bars for one session: two instruments under one ticker."""
        return self._suspects("duplicates", {"limit": limit})

    def strangers(self, sessions: Sequence[date], *, limit: int = 20) -> Suspects:
        """Find bars between the first and last of ``sessions`` on days that are no session."""
        if not sessions:
            return Suspects(count=0, sample=())
        return self._suspects(
            "strangers",
            {
                "sessions": list(sessions),
                "first": min(sessions),
                "last": max(sessions),
                "limit": limit,
            },
        )

    def totals(self) -> BarTotals:
        """Count rows, instruments and replaced versions."""
        with self._timescale.connection() as connection:
            row = connection.execute(sql.query("quality", "totals")).fetchone()
        rows, instruments, first, last, versions = row or (0, 0, None, None, 0)
        return BarTotals(
            rows=rows,
            instruments=instruments,
            first_session=first,
            last_session=last,
            versions=versions,
        )

    def _suspects(self, kind: str, parameters: dict[str, object]) -> Suspects:
        with self._timescale.connection() as connection:
            counted = connection.execute(
                sql.query("quality", f"count_{kind}"), parameters
            ).fetchone()
            count = counted[0] if counted else 0
            rows = (
                connection.execute(sql.query("quality", f"sample_{kind}"), parameters).fetchall()
                if count
                else []
            )
        sample = tuple(
            Suspect(ticker=ticker, instrument_id=instrument_id, session_date=day, detail=detail)
            for ticker, instrument_id, day, detail in rows
        )
        return Suspects(count=count, sample=sample)
