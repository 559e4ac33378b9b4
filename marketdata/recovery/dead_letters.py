"""Dead letters: work that came to nothing, kept until it is done or a person gives it up.

Here: what a letter says, its states, its fingerprint, and when it is tried again. Not here: the
table and the transitions it allows (resources/storage), or the runs that do the work again
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
    """Return what a request was for, as a letter keeps it, so that its answer can be read again.

    Args:
        symbol: The provider's spelling; None for the whole market.
        start: First day.
        end: Last day.
        carried: Where days were asked for under the symbols of then: these, with their days.
    """
    asked = {"symbol": symbol, "start": start.isoformat(), "end": end.isoformat()}
    if not carried:
        return asked
    spans = [[span.symbol, span.start.isoformat(), span.end.isoformat()] for span in carried]
    return {**asked, "carried": spans}


def carried_then(asked: Mapping[str, Any]) -> tuple[SymbolSpan, ...]:
    """Return under which symbols was asked for, where ``asked_details`` has kept several."""
    return tuple(
        SymbolSpan(symbol=symbol, start=date.fromisoformat(start), end=date.fromisoformat(end))
        for symbol, start, end in asked.get("carried", ())
    )


class LetterState(StrEnum):
    """Where a letter stands."""

    OPEN = "open"
    """Waits for its next attempt, which a machine makes."""
    RETRYING = "retrying"
    """Claimed: a run does the work now, or is about to."""
    RESOLVED = "resolved"
    """The work has been done. Final."""
    PARKED = "parked"
    """Waits for a person."""
    DISCARDED = "discarded"
    """A person gave the work up. Final."""
    OBSOLETE = "obsolete"
    """The work no longer exists: whoever was to do it says why. Final."""


UNSETTLED = (LetterState.OPEN, LetterState.RETRYING, LetterState.PARKED)
"""The states in which work is left to do; a fingerprint has one such letter at most."""


class Work(StrEnum):
    """What is to be done again."""

    INSTRUMENT = "instrument"
    """The history of one instrument."""
    SESSION = "session"
    """One trading day of the whole market."""
    RECORD = "record"
    """Rows of one answer that are bad for one reason: never tried again by a machine."""
    RUN = "run"
    """A run that died."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """Work that came to nothing, to be posted.

    Attributes:
        dataset: Whose work it is, such as ``daily_bars``.
        provider: Who was asked; None for a run, which may have asked several.
        work: What is to be done again.
        subject: Of what: ticker, ISO date, ``TICKER DATE``, or job and what it was to do.
        instrument_id: The instrument, where the work is of one.
        error_class: Name of the exception's class.
        message: What happened, without secrets.
        request: What was asked of the provider; the job's name for a run.
        run_id: The run in which it happened.
        raw_answers: Keys of the answers in the raw zone.
        details: What the repetition needs, as JSON takes it: ``start`` and ``end`` of what is
            missing (ISO dates), what was ``asked`` for, how many bad ``rows`` there are and the
            first of them as they came, or a run's configuration.
        seen_at: When it happened (aware UTC).
        parked: Needs a person at once: the error is permanent, or the row is bad.
        not_before: No attempt before this moment (aware UTC; by the clock of ``seen_at``).
        deferred: The request was never sent, so that no attempt is used up.
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
        """Bad rows that a letter about rows stands for."""
        return int(self.details.get("rows", 1))

    @property
    def fingerprint(self) -> str:
        """Name the work, in 64 hex digits, whatever kept it from being done.

        The instrument's id stands in the place of its ticker: a rename makes no second letter.
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
        attempts: Tries of a machine before the letter is parked.
        first_wait_s: Longest pause before the first try; each further one doubles it.
        longest_wait_s: No pause is longer.
        jitter: Share of the pause that is left to chance, so that letters of one outage do not
            come back in one moment.
    """

    attempts: int = 8
    first_wait_s: float = 60.0
    longest_wait_s: float = 3600.0
    jitter: float = 0.5

    def longest_waits_s(self) -> tuple[float, ...]:
        """Return the longest pause after 0, 1, … tries, one for each try there is."""
        return tuple(
            min(self.first_wait_s * 2**tried, self.longest_wait_s) for tried in range(self.attempts)
        )

    def wait_s(self, tried: int, chance: float) -> float:
        """Return the pause before the next try.

        Args:
            tried: Tries made so far; what lies beyond the last one waits as long as it does.
            chance: Drawn evenly from 0 to 1.
        """
        waits = self.longest_waits_s()
        return waits[min(tried, len(waits) - 1)] * (1 - self.jitter * chance)


LETTER_RETRY = LetterRetry()
