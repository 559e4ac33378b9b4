"""Letters inside a loader's transaction: posted for failed work, resolved by answers.

Here: the two steps, and the author recorded with them. Not here: the steps of the sensor and of
people (store.py), or which transitions are legal (the migration: the database refuses all others).
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

from psycopg.types.json import Jsonb

from marketdata.ports import Asked
from marketdata.recovery.dead_letters import DeadLetter, LetterRetry
from resources.storage import sql
from resources.storage.timescale import Connection
from resources.telemetry import context, logs

_LOG = logs.logger("storage")
CLOCKS_DIFFER = timedelta(minutes=5)
"""How much the clocks of two workers may differ before a fresh answer counts as old."""


def post(
    connection: Connection, letters: Sequence[DeadLetter], retry: LetterRetry, by: str
) -> None:
    """Post letters inside the caller's transaction, in one statement.

    If the work already has an unsettled letter, its occurrences are counted there. A letter that
    was being retried is open again, or parked if its attempts are used up or the error is
    permanent; a deferral gives the attempt back. A parked letter stays parked. A new letter has the
    correlation id of the work at hand, and keeps it.

    Args:
        connection: In a transaction.
        letters: Any number; several about the same work count as several occurrences.
        retry: When work is tried again.
        by: The author, such as ``run <id>``; kept with every transition.
    """
    if not letters:
        return
    latest: dict[str, DeadLetter] = {}
    occurrences: dict[str, int] = {}
    for letter in letters:
        latest[letter.fingerprint] = letter
        occurrences[letter.fingerprint] = occurrences.get(letter.fingerprint, 0) + 1
    rows = [
        _as_row(letter, fingerprint, occurrences[fingerprint])
        for fingerprint, letter in latest.items()
    ]
    act_as(connection, by)
    connection.execute(
        sql.query("dead_letters", "post"), {"letters": Jsonb(rows), **retry_parameters(retry)}
    )


def log_posted(letters: Sequence[DeadLetter]) -> None:
    """Log letters whose transaction was committed: one line each, but one for all put off."""
    deferred = [letter for letter in letters if letter.deferred]
    for letter in letters:
        if not letter.deferred:
            _LOG.info("letter posted", extra=_fields(letter))
    if deferred:
        _LOG.info("letters posted", extra={**_fields(deferred[0]), "letters": len(deferred)})


def _fields(letter: DeadLetter) -> dict[str, object]:
    return {
        "dataset": letter.dataset,
        "provider": letter.provider,
        "operation": letter.request,
        "work": letter.work.value,
        "subject": letter.subject,
        "error_class": letter.error_class,
        "error": letter.message,
        "parked": letter.parked,
        "deferred": letter.deferred,
    }


def resolve(
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
    """Resolve letters whose work ``asked`` covers, inside the caller's transaction.

    An answer older than a letter does not resolve it, unless the letter is about that answer.

    Args:
        connection: In a transaction.
        dataset: Whose letters.
        provider: Who answered; a letter is about one provider's data.
        asked: What was asked and has been answered.
        answered_at: When the answer came (aware); None means now.
        raw_answers: Pointers to the kept answers.
        still_wrong: Letters that the answer itself causes, such as rows refused again.
        by: The author, such as ``run <id>``.
        reason: What resolved them.

    Returns:
        Number of resolved letters.
    """
    act_as(connection, by)
    return connection.execute(
        sql.query("dead_letters", "resolve_answered"),
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


def act_as(connection: Connection, by: str) -> None:
    """Set the author of this transaction's letter changes; kept with every transition."""
    connection.execute(sql.query("dead_letters", "act_as"), {"by": by})


def retry_parameters(retry: LetterRetry) -> dict[str, object]:
    """Return the retry rules as query parameters."""
    return {
        "attempts": retry.attempts,
        "waits_s": list(retry.longest_waits_s()),
        "jitter": retry.jitter,
    }


def _as_row(letter: DeadLetter, fingerprint: str, occurrences: int) -> dict[str, object]:
    delay = letter.not_before - letter.seen_at if letter.not_before is not None else None
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
        "correlation_id": context.correlation_id(),
        "raw_answers": list(letter.raw_answers),
        "details": dict(letter.details),
        "deferred": letter.deferred,
        "parked": letter.parked,
        "occurrences": occurrences,
        "seen_at": letter.seen_at.isoformat(),
        "not_before_s": delay.total_seconds() if delay is not None else None,
    }
