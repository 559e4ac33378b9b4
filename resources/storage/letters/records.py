"""Letters, their steps and claims, as the database has them.

Here: the records read back, and the filter. Not here: a letter before it is posted
(marketdata/recovery/dead_letters.py), or any query (store.py).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any
from uuid import UUID

from marketdata.recovery.dead_letters import LetterState, Work

ONE_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredLetter:
    """A letter in its present state; all times aware UTC.

    Attributes:
        span: First and last requested day, of all occurrences together.
        reason: Why the letter is in its state.
        deferred: The request was never sent the last time.
        attempts: Retries by the dead-letter path, including the one under way.
        occurrences: How often the work failed, by any path.
        next_attempt_at: Set while the letter is open.
        claim: Set while it is retrying, as ``claimed_by``, ``claimed_at``, ``claim_expires_at``.
        correlation_id: Of the work that failed first; None if that had none.
    """

    letter_id: int
    fingerprint: str
    dataset: str
    provider: str | None
    work: Work
    subject: str
    instrument_id: int | None
    span: tuple[date, date] | None
    state: LetterState
    reason: str
    error_class: str
    message: str
    request: str
    run_id: str
    raw_answers: tuple[str, ...]
    details: Mapping[str, Any]
    deferred: bool
    attempts: int
    occurrences: int
    first_seen_at: datetime
    last_seen_at: datetime
    next_attempt_at: datetime | None
    claim: UUID | None
    claimed_by: str | None
    claimed_at: datetime | None
    claim_expires_at: datetime | None
    correlation_id: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Transition:
    """One transition of a letter; ``from_state`` is None when it was created."""

    from_state: LetterState | None
    to_state: LetterState
    at: datetime
    by: str
    reason: str
    attempts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ParkedLetter:
    """A letter that waits for a person, and the step by which it came to that (aware UTC)."""

    transition_id: int
    at: datetime
    dataset: str
    subject: str
    error_class: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LetterFilter:
    """Selects letters; None or empty matches everything."""

    states: tuple[LetterState, ...] = ()
    dataset: str | None = None
    error_class: str | None = None
    ticker: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """Letters that one run works on.

    Attributes:
        expired: The claim was not extended in time.
    """

    claim: UUID
    claimed_by: str
    claimed_at: datetime
    expired: bool
    letters: int


def stored_letter(row: Mapping[str, Any]) -> StoredLetter:
    """Return a letter from a row of its table, by column name."""
    sessions = row["sessions"]
    return StoredLetter(
        letter_id=row["letter_id"],
        fingerprint=row["fingerprint"],
        dataset=row["dataset"],
        provider=row["provider"],
        work=Work(row["work"]),
        subject=row["subject"],
        instrument_id=row["instrument_id"],
        span=(sessions.lower, sessions.upper - ONE_DAY) if sessions is not None else None,
        state=LetterState(row["state"]),
        reason=row["reason"],
        error_class=row["error_class"],
        message=row["message"],
        request=row["request"],
        run_id=row["run_id"],
        raw_answers=tuple(row["raw_answers"]),
        details=row["details"],
        deferred=row["deferred"],
        attempts=row["attempts"],
        occurrences=row["occurrences"],
        first_seen_at=row["first_seen_at"],
        last_seen_at=row["last_seen_at"],
        next_attempt_at=row["next_attempt_at"],
        claim=row["claim"],
        claimed_by=row["claimed_by"],
        claimed_at=row["claimed_at"],
        claim_expires_at=row["claim_expires_at"],
        correlation_id=row["correlation_id"],
    )
