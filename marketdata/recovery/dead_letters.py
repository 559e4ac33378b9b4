"""Dead letters: failed work, kept until it is done or a person gives it up.

Here: the contents of a letter, its states, its fingerprint, and when it is tried again. Not here:
the table and the transitions it allows (resources/storage), or the runs that do the work again
(pipelines/retries.py).

    open ──▶ retrying ──▶ resolved        a machine tries what is due, at most 8 times
      ▲         │ │
      └─────────┘ └──▶ parked             waits for a person: permanent error, bad row, 8 tries
    open, parked ──▶ discarded            a person gives the work up, with a reason
    all of these ──▶ obsolete             the work no longer exists, such as a closed session's
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from typing import Any

from marketdata.instruments import SymbolSpan


def asked_details(
    symbol: str | None, start: date, end: date, carried: Sequence[SymbolSpan] = ()
) -> dict[str, Any]:
    """Return what a request asked for, as a letter stores it, so that its answer can be replayed.

    Args:
        symbol: The provider's spelling; None for the whole market.
        start: First day.
        end: Last day.
        carried: Past symbols with their days, if days were asked for under them.
    """
    asked = {"symbol": symbol, "start": start.isoformat(), "end": end.isoformat()}
    if not carried:
        return asked
    spans = [[span.symbol, span.start.isoformat(), span.end.isoformat()] for span in carried]
    return {**asked, "carried": spans}


def carried_then(asked: Mapping[str, Any]) -> tuple[SymbolSpan, ...]:
    """Return the past symbols of a request, if ``asked_details`` stored any."""
    return tuple(
        SymbolSpan(symbol=symbol, start=date.fromisoformat(start), end=date.fromisoformat(end))
        for symbol, start, end in asked.get("carried", ())
    )


class LetterState(StrEnum):
    """States of a letter."""

    OPEN = "open"
    """Waits for its next attempt by a machine."""
    RETRYING = "retrying"
    """Claimed: a run does the work now, or will start soon."""
    RESOLVED = "resolved"
    """The work has been done. Final."""
    PARKED = "parked"
    """Waits for a person."""
    DISCARDED = "discarded"
    """A person gave up the work. Final."""
    OBSOLETE = "obsolete"
    """The work no longer exists; the reason says why. Final."""


UNSETTLED = (LetterState.OPEN, LetterState.RETRYING, LetterState.PARKED)
"""States with work left to do; a fingerprint has at most one such letter."""


class Work(StrEnum):
    """Kinds of work to do again."""

    INSTRUMENT = "instrument"
    """The history of one instrument."""
    SESSION = "session"
    """One trading day of the whole market."""
    RECORD = "record"
    """Rows of one answer, refused for one reason: never tried again by a machine."""
    RUN = "run"
    """A run that died."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """Failed work to be posted.

    Attributes:
        dataset: The dataset, such as ``daily_bars``.
        provider: The provider; None for a run, which may have asked several.
        work: Kind of work to do again.
        subject: What the work is of: ticker, ISO date, ``TICKER DATE``, or a job and its work.
        instrument_id: The instrument, if the work is of one.
        error_class: Name of the exception's class.
        message: What happened, without secrets.
        request: The request to the provider; the job's name for a run.
        run_id: The run in which it happened.
        raw_answers: Keys of the answers in the raw zone.
        details: What a retry needs, as JSON: ``start`` and ``end`` of the missing days (ISO
            dates), what was ``asked`` for, the number of refused ``rows`` and the first of them as
            they came, or a run's configuration.
        seen_at: When it happened (aware UTC).
        parked: Needs a person at once: the error is permanent, or the row was refused.
        not_before: No attempt before this moment (aware UTC; by the clock of ``seen_at``).
        deferred: The request was never sent, so no attempt is used up.
    """

    dataset: str
    provider: str | None
    work: Work
    subject: str
    instrument_id: int | None
    error_class: str
    message: str
    request: str
    run_id: str
    raw_answers: tuple[str, ...]
    details: Mapping[str, Any]
    seen_at: datetime
    parked: bool
    not_before: datetime | None = None
    deferred: bool = False

    @property
    def rows(self) -> int:
        """Number of refused rows that a letter about rows stands for."""
        return int(self.details.get("rows", 1))

    @property
    def fingerprint(self) -> str:
        """Return 64 hex digits that name the work, whatever its error.

        They hold the instrument's id, not its ticker: a rename makes no second letter.
        """
        subject = self.subject
        if self.instrument_id is not None:
            subject = f"#{self.instrument_id} {subject.partition(' ')[2]}"
        named = json.dumps([self.dataset, self.provider, self.work.value, subject])
        return hashlib.sha256(named.encode()).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class LetterRetry:
    """When the work of a letter is tried again; all durations in seconds.

    Attributes:
        attempts: Attempts by a machine before the letter is parked.
        first_wait_s: Longest pause before the first attempt; each further one doubles it.
        longest_wait_s: Upper bound of every pause.
        jitter: Random share of the pause, so that letters of one outage do not all return at once.
    """

    attempts: int = 8
    first_wait_s: float = 60.0
    longest_wait_s: float = 3600.0
    jitter: float = 0.5

    def longest_waits_s(self) -> tuple[float, ...]:
        """Return the longest pause after 0, 1, … attempts, one for each attempt."""
        return tuple(
            min(self.first_wait_s * 2**tried, self.longest_wait_s) for tried in range(self.attempts)
        )

    def wait_s(self, tried: int, chance: float) -> float:
        """Return the pause before the next attempt.

        Args:
            tried: Attempts made so far; beyond the last one the pause stays the same.
            chance: Uniform random number from 0 to 1.
        """
        waits = self.longest_waits_s()
        return waits[min(tried, len(waits) - 1)] * (1 - self.jitter * chance)


LETTER_RETRY = LetterRetry()
