"""The coverage ledger in the database: which sessions of which instrument are in which state.

Here: writing marks (inside a loader's transaction), and reading the ledger. Not here: what the
states mean and how an answer becomes states (marketdata/coverage.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime

from marketdata.coverage import (
    ABSENCE_STANDS_FOR,
    PLAN_STEP,
    CoverageMark,
    CoverageState,
    Span,
)
from resources.storage import sql
from resources.storage.timescale import Connection, Timescale


@dataclass(frozen=True, slots=True, kw_only=True)
class CoverageSummary:
    """Sessions of some instruments, counted by state.

    Attributes:
        unknown: Sessions in no state.
    """

    sessions: dict[CoverageState, int]
    unknown: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MissingSession:
    """A session of an instrument that is not accounted for."""

    instrument_id: int
    ticker: str
    session_date: date


@dataclass(frozen=True, slots=True, kw_only=True)
class Holes:
    """Sessions that are not accounted for, counted, and the newest of them."""

    count: int
    sample: tuple[MissingSession, ...]


def apply_marks(
    connection: Connection,
    dataset: str,
    provider: str,
    marks: Sequence[CoverageMark],
    *,
    asked_at: datetime,
) -> int:
    """Write marks inside the caller's transaction, which holds the instruments' locks.

    A mark takes its days from the instrument's other states, with these exceptions:

    - a failure only adds days that are in no state;
    - an absence (provider-empty, not-listed) never replaces a bar that is held or archived: a
      provider that suddenly has nothing has not deleted the past;
    - a quarantined bar never replaces one either: the held bar was good;
    - a provisional bar never replaces a complete or archived one: its answer is older and came
      late.

    An answer with days before the oldest held bar, which earlier answers lacked, means that the key
    now shows more of the past: other absences of this provider are asked for again.

    Args:
        connection: In the caller's transaction.
        dataset: Whose ledger.
        provider: The provider asked.
        marks: What to write.
        asked_at: When the answer came (aware); an absence expires some time after it.

    Returns:
        Number of days that the marks call empty although a bar is held.
    """
    spans = [(mark, span) for mark in marks for span in mark.spans]
    if not spans:
        return 0
    row = connection.execute(
        sql.query("coverage", "apply_marks"),
        {
            "dataset": dataset,
            "provider": provider,
            "instrument_ids": [mark.instrument_id for mark, _ in spans],
            "states": [mark.state.value for mark, _ in spans],
            "starts_on": [start for _, (start, _) in spans],
            "ends_before": [end for _, (_, end) in spans],
            "asked_at": asked_at,
        },
    ).fetchone()
    contradicted, revealed = row or (0, 0)
    if revealed > PLAN_STEP.days:
        grown = {"provider": provider, "since": asked_at}
        connection.execute(sql.query("coverage", "plan_has_grown"), grown)
    return contradicted


class CoverageLedger:
    """Reads the ledger.

    Args:
        timescale: An open Timescale whose database is migrated.
    """

    def __init__(self, timescale: Timescale) -> None:
        self._timescale = timescale

    def ledger(
        self, dataset: str, provider: str, instrument_ids: Sequence[int]
    ) -> dict[int, dict[CoverageState, list[Span]]]:
        """Return the spans of each instrument by state; an unknown instrument has none.

        A day that an answer lacked is not_listed if it is before a known day of listing that no
        earlier bar contradicts. Otherwise it is provider_empty for a while, then unknown again.
        """
        with self._timescale.connection() as connection:
            rows = connection.execute(
                sql.query("coverage", "ledger"),
                {
                    "dataset": dataset,
                    "provider": provider,
                    "instrument_ids": list(instrument_ids),
                    "stands_for": ABSENCE_STANDS_FOR,
                },
            ).fetchall()
        ledger: dict[int, dict[CoverageState, list[Span]]] = {
            instrument_id: {} for instrument_id in instrument_ids
        }
        for instrument_id, state, starts_on, ends_before in rows:
            spans = ledger[instrument_id].setdefault(CoverageState(state), [])
            spans.append((starts_on, ends_before))
        return ledger

    def note_key_plan(self, provider: str, key_plan: str) -> None:
        """Note the plan of the key in use: a digest of it and its limits.

        A key of another plan may show other days.
        """
        with self._timescale.connection() as connection:
            connection.execute(
                sql.query("coverage", "note_key_plan"), {"provider": provider, "plan": key_plan}
            )

    def summary(
        self, dataset: str, provider: str, instrument_ids: Sequence[int], sessions: Sequence[date]
    ) -> CoverageSummary:
        """Count ``sessions`` of some instruments by state."""
        with self._timescale.connection() as connection:
            rows = connection.execute(
                sql.query("coverage", "count_sessions"),
                {
                    "dataset": dataset,
                    "provider": provider,
                    "instrument_ids": list(instrument_ids),
                    "sessions": sorted(sessions),
                },
            ).fetchall()
        counts = dict[str | None, int](rows)
        return CoverageSummary(
            unknown=counts.pop(None, 0),
            sessions={CoverageState(state): count for state, count in counts.items() if state},
        )

    def holes(
        self,
        dataset: str,
        provider: str,
        instrument_ids: Sequence[int],
        sessions: Sequence[date],
        *,
        limit: int = 20,
    ) -> Holes:
        """Find sessions of some instruments in no state, or only failed or quarantined.

        Sessions before an instrument's first requested one are no holes.
        """
        with self._timescale.connection() as connection:
            rows = connection.execute(
                sql.query("coverage", "holes"),
                {
                    "dataset": dataset,
                    "provider": provider,
                    "instrument_ids": list(instrument_ids),
                    "sessions": list(sessions),
                    "limit": limit,
                },
            ).fetchall()
        return Holes(
            count=rows[0][3] if rows else 0,
            sample=tuple(
                MissingSession(ticker=ticker, instrument_id=instrument_id, session_date=day)
                for ticker, instrument_id, day, _ in rows
            ),
        )
