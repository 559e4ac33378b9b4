"""The audit log of a database: adding rows, and reading them.

Here: a row in the transaction of its deed, rows of their own, fingerprints that are recorded when
they differ, and reading. Not here: what is audited and how a chain is verified
(marketdata/audit.py), how rows are chained (migration 0019), or anchors (anchors.py).
"""

import os
import socket
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from marketdata.audit import Action, AuditRow, Head, Journal, Verification
from marketdata.recovery import errors
from resources.storage import sql
from resources.storage.timescale import Connection, Timescale

ROWS_AT_A_TIME = 2_000
_FILE = "audit"


@dataclass(frozen=True, slots=True, kw_only=True)
class Deed:
    """What one row says.

    Attributes:
        who: A person as user@host, a run, a schedule or a sensor.
        subject: What it was done to.
        details: What else is worth knowing, as JSON takes it; never a secret.
        origin: From where; empty means this process.
    """

    action: Action
    who: str
    subject: str
    details: Mapping[str, Any]
    origin: str = ""


def record(
    connection: Connection,
    action: Action,
    *,
    who: str,
    subject: str,
    details: Mapping[str, Any] | None = None,
    journal: Journal | None,
) -> None:
    """Add a row in the caller's transaction, so that deed and row happen together or not at all.

    It has to be the last statement: every other writer of the log waits until the commit.

    Args:
        connection: Of the deed, in a transaction.
        action: What was done.
        who: Who did it.
        subject: What it was done to.
        details: What else is worth knowing.
        journal: Keeps the row before it commits; None if there is none.

    Raises:
        StorageError: The journal cannot be reached, or refuses: the deed is not done.
    """
    deed = Deed(action=action, who=who, subject=subject, details=details or {})
    _insert(connection, deed, journal)


def this_origin() -> str:
    """Return this process as a row names it."""
    return f"{socket.gethostname()} process {os.getpid()}"


def has_log(connection: Connection) -> bool:
    """Return whether the database has an audit log yet."""
    return connection.execute(sql.query(_FILE, "log_exists")).fetchone() == (True,)


class AuditLog:
    """The log of one database.

    Args:
        timescale: An open Timescale whose database is migrated.
    """

    def __init__(self, timescale: Timescale) -> None:
        self._timescale = timescale

    @property
    def journal(self) -> Journal | None:
        """Keeps each row before it commits; None if there is none."""
        return self._timescale.journal

    def append(self, deed: Deed) -> None:
        """Add a row in a transaction of its own, right after a deed that is none.

        Raises:
            StorageError: The database cannot be reached, or refuses.
        """
        with self._timescale.connection() as connection:
            _insert(connection, deed, self._timescale.journal)

    def append_once(self, deed: Deed) -> bool:
        """Add a row about a run or a backfill, unless it is there; return whether it was added.

        Raises:
            StorageError: The database cannot be reached, or refuses.
        """
        with self._timescale.connection() as connection:
            try:
                # A savepoint: the head goes back with the row.
                with connection.transaction():
                    _insert(connection, deed, self._timescale.journal)
            except psycopg.errors.UniqueViolation:
                return False
        return True

    def record_if_changed(
        self, action: Action, fingerprints: Mapping[str, str], *, host: str, who: str
    ) -> bool:
        """Record fingerprints that differ from the last recorded ones; return whether they do.

        A host is compared with its own last row. One without a row is compared with the last row
        of any: new machines with the known configuration add nothing.

        Args:
            action: Says what the fingerprints are of.
            fingerprints: Digests by name, all of them.
            host: Where they hold.
            who: Who is at work there.

        Raises:
            StorageError: The database cannot be reached, or refuses.
        """
        with self._timescale.connection() as connection:
            connection.execute(sql.query(_FILE, "lock_fingerprints"))
            row = connection.execute(
                sql.query(_FILE, "latest_of_host"), {"action": action.value, "host": host}
            ).fetchone()
            known: Mapping[str, str] = row[0]["fingerprints"] if row else {}
            if row and known == fingerprints:
                return False
            added = sorted(fingerprints.keys() - known.keys())
            removed = sorted(known.keys() - fingerprints.keys())
            changed = sorted(
                name
                for name in fingerprints.keys() & known.keys()
                if fingerprints[name] != known[name]
            )
            details = {
                "host": host,
                "added": added,
                "removed": removed,
                "changed": changed,
                "fingerprints": dict(fingerprints),
            }
            record(
                connection,
                action,
                who=who,
                subject=host if row else f"{host}, for the first time",
                details=details,
                journal=self._timescale.journal,
            )
        return True

    def subjects(self, action: Action, subjects: Sequence[str]) -> set[str]:
        """Return those of ``subjects`` that have a row of this action."""
        with self._timescale.connection() as connection:
            rows = connection.execute(
                sql.query(_FILE, "subjects"),
                {"action": action.value, "subjects": list(subjects)},
            ).fetchall()
        return {row[0] for row in rows}

    def privileges(self) -> list[str]:
        """Return what roles may do beyond what they own, a sentence each."""
        with self._timescale.connection() as connection:
            rows = connection.execute(sql.query(_FILE, "privileges")).fetchall()
        return [row[0] for row in rows]

    def find(
        self,
        *,
        since: datetime | None = None,
        actions: Sequence[Action] = (),
        who: str = "",
        limit: int | None = None,
    ) -> list[AuditRow]:
        """Return the rows that match, the latest first.

        Args:
            since: The first moment (aware).
            actions: Any of these; none means all.
            who: Part of the name, in any case.
            limit: Most rows.
        """
        parameters = {
            "since": since,
            "actions": [action.value for action in actions] or None,
            "who": who or None,
            "limit": limit,
        }
        with (
            self._timescale.connection() as connection,
            connection.cursor(row_factory=class_row(AuditRow)) as cursor,
        ):
            return cursor.execute(sql.query(_FILE, "find"), parameters).fetchall()

    @contextmanager
    def chain(self) -> Generator[tuple[Head | None, Iterator[AuditRow]]]:
        """Yield the head and all rows of one moment, without holding them in memory."""
        with self._timescale.connection() as connection:
            connection.execute(sql.query(_FILE, "one_moment"))
            row = connection.execute(sql.query(_FILE, "head")).fetchone()
            head = Head(last_id=row[0], last_hash=row[1]) if row else None
            with connection.cursor("audit_chain", row_factory=class_row(AuditRow)) as cursor:
                cursor.itersize = ROWS_AT_A_TIME
                cursor.execute(sql.query(_FILE, "chain"))
                yield head, iter(cursor)

    def head(self) -> Head:
        """Return the end of the chain.

        Raises:
            StorageConflictError: The head is gone, which `wrdata audit verify` reports as well.
        """
        with self._timescale.connection() as connection:
            row = connection.execute(sql.query(_FILE, "head")).fetchone()
        if row is None:
            message = "the head of the audit chain is missing: see docs/runbooks/audit.md"
            raise errors.StorageConflictError(message)
        return Head(last_id=row[0], last_hash=row[1])

    def hash_of(self, audit_id: int) -> bytes | None:
        """Return the hash of a row, None if there is none; row 0 stands before the first."""
        with self._timescale.connection() as connection:
            row = connection.execute(sql.query(_FILE, "hash"), {"id": audit_id}).fetchone()
        return row[0] if row else None

    def keep_verification(self, verification: Verification, finding: str) -> None:
        """Keep the result of a verification for metrics and alerts."""
        with self._timescale.connection() as connection:
            connection.execute(
                sql.query(_FILE, "record_verification"),
                {
                    "valid": verification.valid,
                    "through_id": verification.through_id,
                    "finding": finding,
                },
            )


def _insert(connection: Connection, deed: Deed, journal: Journal | None) -> None:
    parameters = {
        "who": deed.who,
        "origin": deed.origin or this_origin(),
        "action": deed.action.value,
        "subject": deed.subject,
        "details": Jsonb(dict(deed.details)),
    }
    connection.execute(sql.query(_FILE, "record"), parameters)
    if journal is None:
        return
    with connection.cursor(row_factory=class_row(AuditRow)) as cursor:
        row = cursor.execute(sql.query(_FILE, "last_row")).fetchone()
    if row is not None:
        journal.keep(row)
