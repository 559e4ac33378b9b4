"""The dead letters of a database: claims, transitions and queries.

Here: the queries and steps of the sensor and of people. Not here: what a letter is
(marketdata/recovery/dead_letters.py), letters in a loader's transaction (posting.py), or runs
(pipelines/retries.py).
"""

from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date, datetime
from uuid import UUID

from psycopg.rows import class_row, dict_row

from marketdata.audit import Action
from marketdata.recovery.dead_letters import DeadLetter, LetterRetry, LetterState, Work
from resources.storage import sql
from resources.storage.audit import record
from resources.storage.letters import posting
from resources.storage.letters.posting import act_as, retry_parameters
from resources.storage.letters.records import (
    Claim,
    LetterFilter,
    ParkedLetter,
    StoredLetter,
    Transition,
    stored_letter,
)
from resources.storage.timescale import Connection, Timescale

EXPORT_ROWS = 1_000
"""Letters fetched at a time while exporting."""


class DeadLetters:
    """The letters of one database.

    Args:
        timescale: An open Timescale whose database is migrated.
    """

    def __init__(self, timescale: Timescale) -> None:
        self._timescale = timescale

    def post(self, letters: Sequence[DeadLetter], retry: LetterRetry, by: str) -> None:
        """Post letters in a transaction of their own (see ``posting.post``)."""
        with self._timescale.connection() as connection:
            posting.post(connection, letters, retry, by)
        posting.log_posted(letters)

    def claim_due(self, *, limit: int, batch: int, by: str, hold_s: float) -> list[StoredLetter]:
        """Claim up to ``limit`` open letters that are due, so that no other process takes them.

        Letters of instruments share a claim, up to ``batch`` of one dataset and provider; every
        other letter has a claim of its own. Letters of refused rows are never taken. One statement:
        letters that another claimer has locked are skipped.

        Args:
            limit: Most letters claimed.
            batch: Most letters of instruments per claim.
            by: The claimer.
            hold_s: Seconds after which the claim has expired, unless it is extended.
        """
        with self._acting(by) as connection:
            return _claimed(connection, "claim_due", by, limit=limit, batch=batch, hold_s=hold_s)

    def claim(
        self, letter_ids: Sequence[int], *, batch: int, by: str, hold_s: float
    ) -> list[StoredLetter]:
        """Claim those of the letters that are open or parked, due or not, for a person.

        Letters that are not returned are settled or claimed by another. Letters of refused rows
        count as letters of their instrument.
        """
        with self._acting(by) as connection:
            claimed = _claimed(
                connection,
                "claim",
                by,
                letter_ids=list(letter_ids),
                batch=batch,
                hold_s=hold_s,
                reason=f"retried by {by}",
            )
            self._audit(
                connection, Action.LETTERS_RETRIED, by, [letter.letter_id for letter in claimed]
            )
        return claimed

    def claims(self) -> list[Claim]:
        """Return all claims, the oldest first."""
        with self._timescale.connection() as connection:
            rows = connection.execute(sql.query("dead_letters", "claims")).fetchall()
        return [
            Claim(claim=claim, claimed_by=by, claimed_at=at, expired=expired, letters=letters)
            for claim, by, at, expired, letters in rows
        ]

    def extend(self, claims: Sequence[UUID], *, hold_s: float) -> None:
        """Extend claims to ``hold_s`` seconds from now, unless they last longer already."""
        with self._timescale.connection() as connection:
            connection.execute(
                sql.query("dead_letters", "extend"), {"claims": list(claims), "hold_s": hold_s}
            )

    def resolve(self, claim: UUID, *, works: Sequence[Work], by: str, reason: str) -> int:
        """Resolve the letters of a claim with these kinds of work; return their number."""
        return self._end(
            "resolve_claim", by, claim=claim, works=[work.value for work in works], reason=reason
        )

    def fail(self, claim: UUID, *, retry: LetterRetry, by: str, reason: str) -> int:
        """Count the claim's attempt as failed: its remaining letters are open again, or parked.

        A letter is parked if it has no attempt left, or if a person had claimed it while parked.
        """
        return self._end("fail_claim", by, claim=claim, reason=reason, **retry_parameters(retry))

    def give_back(self, claim: UUID, *, by: str, reason: str) -> int:
        """End a claim without a run: its letters are as before, attempts included."""
        return self._end("give_back_claim", by, claim=claim, reason=reason)

    def discard(self, letter_ids: Sequence[int], *, by: str, reason: str) -> list[int]:
        """Discard letters that are open or parked; return the ids of the discarded."""
        with self._acting(by) as connection:
            rows = connection.execute(
                sql.query("dead_letters", "discard"),
                {"letter_ids": list(letter_ids), "reason": reason},
            ).fetchall()
            discarded = sorted(row[0] for row in rows)
            self._audit(connection, Action.LETTERS_DISCARDED, by, discarded, reason=reason)
        return discarded

    def end_obsolete(self, reasons: Mapping[int, str], *, by: str) -> None:
        """Mark letters obsolete, each with its reason; settled ones stay."""
        with self._acting(by) as connection:
            for letter_id, reason in sorted(reasons.items()):
                connection.execute(
                    sql.query("dead_letters", "end_obsolete"),
                    {"letter_id": letter_id, "reason": reason},
                )

    def by_id(self, letter_ids: Sequence[int]) -> list[StoredLetter]:
        """Return those of the letters that exist."""
        return self._letters("by_id", letter_ids=list(letter_ids))

    def find(self, chosen: LetterFilter, *, limit: int | None = None) -> list[StoredLetter]:
        """Return the letters that match ``chosen``, the latest seen first."""
        return self._letters("find", **_filters(chosen), limit=limit)

    def export(self, chosen: LetterFilter) -> Iterator[StoredLetter]:
        """Yield the letters that ``find`` would return, without holding all in memory."""
        with (
            self._timescale.connection() as connection,
            connection.cursor("export_letters", row_factory=dict_row) as cursor,
        ):
            cursor.itersize = EXPORT_ROWS
            cursor.execute(sql.query("dead_letters", "find"), {**_filters(chosen), "limit": None})
            for row in cursor:
                yield stored_letter(row)

    def transitions(self, letter_id: int) -> list[Transition]:
        """Return every transition of a letter, in order."""
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

    def parked_since(self, since: datetime) -> list[ParkedLetter]:
        """Return the letters that are parked and came to that after ``since`` (aware)."""
        with (
            self._timescale.connection() as connection,
            connection.cursor(row_factory=class_row(ParkedLetter)) as cursor,
        ):
            return cursor.execute(
                sql.query("dead_letters", "parked_since"), {"since": since}
            ).fetchall()

    def counts(
        self, dataset: str | None = None, provider: str | None = None
    ) -> dict[str, dict[LetterState, int]]:
        """Count letters by dataset and state, all or of one dataset or provider.

        States without letters are left out.
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
        """Return first and last day of unsettled letters, by instrument id.

        Letters settled in the meantime, or without an instrument, are left out.
        """
        with self._timescale.connection() as connection:
            rows = connection.execute(
                sql.query("dead_letters", "spans"), {"letter_ids": list(letter_ids)}
            ).fetchall()
        return {instrument_id: (start, end) for instrument_id, start, end in rows}

    def _audit(
        self,
        connection: Connection,
        action: Action,
        by: str,
        letter_ids: Sequence[int],
        **details: object,
    ) -> None:
        """Record what a person did about letters, in the same transaction; nothing about none."""
        if letter_ids:
            count = len(letter_ids)
            record(
                connection,
                action,
                who=by,
                subject=f"dead letter {letter_ids[0]}" if count == 1 else f"{count} dead letters",
                details={"letter_ids": list(letter_ids), **details},
                journal=self._timescale.journal,
            )

    @contextmanager
    def _acting(self, by: str) -> Generator[Connection]:
        with self._timescale.connection() as connection:
            act_as(connection, by)
            yield connection

    def _end(self, query: str, by: str, **parameters: object) -> int:
        with self._acting(by) as connection:
            return connection.execute(sql.query("dead_letters", query), parameters).rowcount

    def _letters(self, query: str, **parameters: object) -> list[StoredLetter]:
        with (
            self._timescale.connection() as connection,
            connection.cursor(row_factory=dict_row) as cursor,
        ):
            rows = cursor.execute(sql.query("dead_letters", query), parameters).fetchall()
        return [stored_letter(row) for row in rows]


def _claimed(
    connection: Connection, query: str, by: str, **parameters: object
) -> list[StoredLetter]:
    with connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(sql.query("dead_letters", query), {**parameters, "by": by}).fetchall()
    return sorted((stored_letter(row) for row in rows), key=lambda letter: letter.letter_id)


def _filters(chosen: LetterFilter) -> dict[str, object]:
    return {
        "states": [state.value for state in chosen.states] or None,
        "dataset": chosen.dataset,
        "error_class": chosen.error_class,
        "ticker": chosen.ticker,
    }
