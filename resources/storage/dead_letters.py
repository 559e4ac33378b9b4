"""Dead letters in the database: posting and settling, claims, and what there is.

Here: letters inside a loader's transaction (post, settle), and the questions and steps of the
sensor and of people. Not here: what a letter is (marketdata/recovery/dead_letters.py), the legal
transitions (the migration: the database refuses all others), or runs (pipelines/retries.py).
"""

from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any
from uuid import UUID

from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from marketdata.ports import Asked
from marketdata.recovery.dead_letters import DeadLetter, LetterRetry, LetterState, Work
from resources.storage import sql
from resources.storage.timescale import Connection, Timescale

ONE_DAY = timedelta(days=1)
CLOCKS_DIFFER = timedelta(minutes=5)
"""By how much the clocks of two workers may differ without an answer passing for an old one."""
EXPORT_ROWS = 1_000
"""Letters fetched at a time while exporting."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredLetter:
    """A letter as it stands; all times aware UTC.

    Attributes:
        span: First and last day that were asked for, of all occurrences together.
        reason: Why the letter is in its state.
        deferred: The request was never sent the last time.
        attempts: Tries by the dead-letter path, the one under way among them.
        occurrences: How often the work came to nothing, by any path.
        next_attempt_at: Set while the letter is open.
        claim: Set while it is retrying, as ``claimed_by``, ``claimed_at``, ``claim_expires_at``.
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Transition:
    """One step of a letter: from which state (None: created) to which, when, by whom and why."""

    from_state: LetterState | None
    to_state: LetterState
    at: datetime
    by: str
    reason: str
    attempts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LetterFilter:
    """Which letters are meant; None or empty leaves a property out."""

    states: tuple[LetterState, ...] = ()
    dataset: str | None = None
    error_class: str | None = None
    ticker: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """Letters that one run works on.

    Attributes:
        expired: Nobody has extended the claim in time.
    """

    claim: UUID
    claimed_by: str
    claimed_at: datetime
    expired: bool
    letters: int


def post(
    connection: Connection, letters: Sequence[DeadLetter], retry: LetterRetry, by: str
) -> None:
    """Post letters inside the caller's transaction, in one statement.

    Work that has an unsettled letter is counted on it. A letter that was being retried is open
    again, or parked when its attempts are used up or the error is permanent; a deferral gives the
    attempt back. A parked letter stays parked.

    Args:
        connection: In a transaction.
        letters: Any number; several about the same work count as so many occurrences.
        retry: When work is tried again.
        by: Who says so, such as ``run <id>``; kept with every transition.
    """
    if not letters:
        return
    latest: dict[str, DeadLetter] = {}
    occurrences: dict[str, int] = {}
    for letter in letters:
        latest[letter.fingerprint] = letter
        occurrences[letter.fingerprint] = occurrences.get(letter.fingerprint, 0) + 1
    rows = [
        _posted(letter, fingerprint, occurrences[fingerprint])
        for fingerprint, letter in latest.items()
    ]
    _act_as(connection, by)
    connection.execute(
        sql.query("dead_letters", "post"), {"letters": Jsonb(rows), **_parameters(retry)}
    )


def settle(
    connection: Connection,
    dataset: str,
    provider: str,
    asked: Asked,
    *,
    answered_at: datetime | None = None,
    raw_answers: Sequence[str] = (),
    still_wrong: Sequence[DeadLetter] = (),
    by: str,
    reason: str,
) -> int:
    """Resolve letters that waited for no more than ``asked``, inside the caller's transaction.

    An answer that is older than a letter does not resolve it, unless the letter is about this
    very answer.

    Args:
        connection: In a transaction.
        dataset: Whose letters.
        provider: Who answered: a letter is about what one provider has.
        asked: What has now been answered.
        answered_at: When the answer came (aware); None means now.
        raw_answers: Where it is kept.
        still_wrong: What the answer itself leaves behind, such as rows it has wrong again.
        by: Who says so, such as ``run <id>``.
        reason: What resolved them.

    Returns:
        How many were resolved.
    """
    _act_as(connection, by)
    return connection.execute(
        sql.query("dead_letters", "settle"),
        {
            "dataset": dataset,
            "provider": provider,
            "instrument_ids": list(asked.instrument_ids),
            "start": asked.start,
            "end": asked.end,
            "whole_sessions": asked.whole_sessions,
            "not_later_than": answered_at + CLOCKS_DIFFER if answered_at else None,
            "raw_answers": list(raw_answers),
            "except": [letter.fingerprint for letter in still_wrong],
            "reason": reason,
        },
    ).rowcount


class DeadLetters:
    """The letters of one database.

    Args:
        timescale: An open Timescale whose database is migrated.
    """

    def __init__(self, timescale: Timescale) -> None:
        self._timescale = timescale

    def post(self, letters: Sequence[DeadLetter], retry: LetterRetry, by: str) -> None:
        """Post letters in a transaction of their own (see the function of this name)."""
        with self._timescale.connection() as connection:
            post(connection, letters, retry, by)

    def claim_due(self, *, limit: int, batch: int, by: str, hold_s: float) -> list[StoredLetter]:
        """Take up to ``limit`` open letters that are due, so that nobody else takes them.

        Letters of instruments share a claim, up to ``batch`` of one dataset and provider; every
        other letter has a claim of its own. Bad rows are never taken. One statement: what
        another claimer holds at the moment is passed over.

        Args:
            limit: Letters at most.
            batch: Letters of instruments per claim.
            by: Who takes them.
            hold_s: Seconds after which the claim has expired, unless it is extended.
        """
        return self._claim("claim_due", by, limit=limit, batch=batch, hold_s=hold_s)

    def claim(
        self, letter_ids: Sequence[int], *, batch: int, by: str, hold_s: float
    ) -> list[StoredLetter]:
        """Take those of the letters that are open or parked, due or not, for a person.

        What is not among the returned is settled or claimed by another. Bad rows count as letters
        of their instrument.
        """
        return self._claim(
            "claim",
            by,
            letter_ids=list(letter_ids),
            batch=batch,
            hold_s=hold_s,
            reason=f"retried by {by}",
        )

    def claims(self) -> list[Claim]:
        """Return the claims there are, the oldest first."""
        with self._timescale.connection() as connection:
            rows = connection.execute(sql.query("dead_letters", "claims")).fetchall()
        return [
            Claim(claim=claim, claimed_by=by, claimed_at=at, expired=expired, letters=letters)
            for claim, by, at, expired, letters in rows
        ]

    def extend(self, claims: Sequence[UUID], *, hold_s: float) -> None:
        """Hold claims for ``hold_s`` seconds from now on, if they are not held for longer."""
        with self._timescale.connection() as connection:
            connection.execute(
                sql.query("dead_letters", "extend"), {"claims": list(claims), "hold_s": hold_s}
            )

    def resolve(self, claim: UUID, *, works: Sequence[Work], by: str, reason: str) -> int:
        """Resolve what a claim still holds of these kinds of work; return how many letters."""
        return self._end(
            "resolve_claim", by, claim=claim, works=[one.value for one in works], reason=reason
        )

    def fail(self, claim: UUID, *, retry: LetterRetry, by: str, reason: str) -> int:
        """Count the claim's attempt as failed: what it still holds is open again, or parked.

        Parked is what has no attempt left, and what a person had taken from those parked.
        """
        return self._end("fail_claim", by, claim=claim, reason=reason, **_parameters(retry))

    def give_back(self, claim: UUID, *, by: str, reason: str) -> int:
        """End a claim of which no run came: its letters are what they were, attempts included."""
        return self._end("give_back_claim", by, claim=claim, reason=reason)

    def discard(self, letter_ids: Sequence[int], *, by: str, reason: str) -> list[int]:
        """Give up the work of letters that are open or parked; return which were."""
        with self._acting(by) as connection:
            rows = connection.execute(
                sql.query("dead_letters", "discard"),
                {"letter_ids": list(letter_ids), "reason": reason},
            ).fetchall()
        return sorted(row[0] for row in rows)

    def end_obsolete(self, reasons: Mapping[int, str], *, by: str) -> None:
        """End letters whose work no longer exists, each with its reason; settled ones stay."""
        with self._acting(by) as connection:
            for letter_id, reason in sorted(reasons.items()):
                connection.execute(
                    sql.query("dead_letters", "end_obsolete"),
                    {"letter_id": letter_id, "reason": reason},
                )

    def by_id(self, letter_ids: Sequence[int]) -> list[StoredLetter]:
        """Return those of the letters that exist."""
        return self._letters("by_id", letter_ids=list(letter_ids))

    def find(self, wanted: LetterFilter, *, limit: int | None = None) -> list[StoredLetter]:
        """Return the letters that ``wanted`` describes, the latest seen first."""
        return self._letters("find", **_filters(wanted), limit=limit)

    def export(self, wanted: LetterFilter) -> Iterator[StoredLetter]:
        """Yield what ``find`` would return, without holding all of it in memory."""
        with (
            self._timescale.connection() as connection,
            connection.cursor("export_letters", row_factory=dict_row) as cursor,
        ):
            cursor.itersize = EXPORT_ROWS
            cursor.execute(sql.query("dead_letters", "find"), {**_filters(wanted), "limit": None})
            for row in cursor:
                yield _stored(row)

    def transitions(self, letter_id: int) -> list[Transition]:
        """Return every step of a letter, in order."""
        with (
            self._timescale.connection() as connection,
            connection.cursor(row_factory=dict_row) as cursor,
        ):
            rows = cursor.execute(
                sql.query("dead_letters", "transitions"), {"letter_id": letter_id}
            ).fetchall()
        return [
            Transition(
                from_state=LetterState(row["from_state"]) if row["from_state"] else None,
                to_state=LetterState(row["to_state"]),
                at=row["at"],
                by=row["by"],
                reason=row["reason"],
                attempts=row["attempts"],
            )
            for row in rows
        ]

    def counts(
        self, dataset: str | None = None, provider: str | None = None
    ) -> dict[str, dict[LetterState, int]]:
        """Count letters by dataset and state, all or of one dataset or provider.

        What does not occur is left out.
        """
        with self._timescale.connection() as connection:
            rows = connection.execute(
                sql.query("dead_letters", "counts"), {"dataset": dataset, "provider": provider}
            ).fetchall()
        counts: dict[str, dict[LetterState, int]] = {}
        for name, state, letters in rows:
            counts.setdefault(name, {})[LetterState(state)] = letters
        return counts

    def spans(self, letter_ids: Sequence[int]) -> dict[int, tuple[date, date]]:
        """Return first and last day that unsettled letters wait for, by instrument id.

        Letters that were settled in the meantime, or that are of no instrument, are left out.
        """
        with self._timescale.connection() as connection:
            rows = connection.execute(
                sql.query("dead_letters", "spans"), {"letter_ids": list(letter_ids)}
            ).fetchall()
        return {instrument_id: (start, end) for instrument_id, start, end in rows}

    @contextmanager
    def _acting(self, by: str) -> Generator[Connection]:
        with self._timescale.connection() as connection:
            _act_as(connection, by)
            yield connection

    def _claim(self, query: str, by: str, **parameters: object) -> list[StoredLetter]:
        with (
            self._acting(by) as connection,
            connection.cursor(row_factory=dict_row) as cursor,
        ):
            rows = cursor.execute(
                sql.query("dead_letters", query), {**parameters, "by": by}
            ).fetchall()
        return sorted((_stored(row) for row in rows), key=lambda letter: letter.letter_id)

    def _end(self, query: str, by: str, **parameters: object) -> int:
        with self._acting(by) as connection:
            return connection.execute(sql.query("dead_letters", query), parameters).rowcount

    def _letters(self, query: str, **parameters: object) -> list[StoredLetter]:
        with (
            self._timescale.connection() as connection,
            connection.cursor(row_factory=dict_row) as cursor,
        ):
            rows = cursor.execute(sql.query("dead_letters", query), parameters).fetchall()
        return [_stored(row) for row in rows]


def _act_as(connection: Connection, by: str) -> None:
    connection.execute(sql.query("dead_letters", "act_as"), {"by": by})


def _parameters(retry: LetterRetry) -> dict[str, object]:
    return {
        "attempts": retry.attempts,
        "waits_s": list(retry.longest_waits_s()),
        "jitter": retry.jitter,
    }


def _posted(letter: DeadLetter, fingerprint: str, occurrences: int) -> dict[str, object]:
    later = letter.not_before - letter.seen_at if letter.not_before is not None else None
    return {
        "fingerprint": fingerprint,
        "dataset": letter.dataset,
        "provider": letter.provider,
        "work": letter.work.value,
        "subject": letter.subject,
        "instrument_id": letter.instrument_id,
        "error_class": letter.error_class,
        "message": letter.message,
        "request": letter.request,
        "run_id": letter.run_id,
        "raw_answers": list(letter.raw_answers),
        "details": dict(letter.details),
        "deferred": letter.deferred,
        "parked": letter.parked,
        "occurrences": occurrences,
        "seen_at": letter.seen_at.isoformat(),
        "not_before_s": later.total_seconds() if later is not None else None,
    }


def _filters(wanted: LetterFilter) -> dict[str, object]:
    return {
        "states": [state.value for state in wanted.states] or None,
        "dataset": wanted.dataset,
        "error_class": wanted.error_class,
        "ticker": wanted.ticker,
    }


def _stored(row: Mapping[str, Any]) -> StoredLetter:
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
    )
