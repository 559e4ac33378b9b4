"""Rows of the audit log that a restore has lost come back from the journal, as they were.

Here: adding them, with their own ids, times and hashes. Not here: which they are
(marketdata/audit.py), or the journal (journal.py).

Nothing but the owner of the tables may do it, and nothing is believed: each row's text has the hash
that its key names, and each follows the one before. So the chain goes on as if it had never been
broken, and every anchor agrees.
"""

import psycopg
from psycopg.types.json import Jsonb

from marketdata.audit import AuditRow, Journal, entries_after
from marketdata.recovery import errors
from resources.storage import sql, timescale

_FILE = "audit"


def owner(url: str) -> str:
    """Return the role that owns the log; empty if the database has none yet.

    Raises:
        StorageError: The database cannot be reached.
    """
    with timescale.connect(url) as connection:
        row = connection.execute(sql.query(_FILE, "owner")).fetchone()
    return row[0] if row else ""


def lost_rows(url: str, journal: Journal) -> list[AuditRow]:
    """Return the journal's rows that follow the last row of a log, in order; changes nothing.

    Raises:
        StorageError: Database or journal cannot be reached, or a kept row is not what it should be.
    """
    with timescale.connect(url) as connection:
        return _lost(connection, journal)


def reinstate(url: str, journal: Journal) -> int:
    """Add the journal's rows that follow the last row of the log; return how many.

    Args:
        url: Of the database, as the owner of its tables.
        journal: Of this log.

    Raises:
        StorageConflictError: The role does not own the tables.
        StorageError: As ``lost_rows`` says.
    """
    if not lost_rows(url, journal):
        return 0  # Whoever only looks need not be the owner.
    try:
        with timescale.connect(url) as connection, connection.transaction():
            connection.execute(sql.query(_FILE, "lock_log"))
            rows = _lost(connection, journal)
            if rows:
                _add(connection, rows)
    except errors.StorageError as error:
        if isinstance(error.__cause__, psycopg.errors.InsufficientPrivilege):
            message = (
                "only the owner of the audit log's tables puts its lost rows back: name it in "
                "WRDATA_DATABASE_URL for this command"
            )
            raise errors.StorageConflictError(message) from error
        raise
    return len(rows)


def _lost(connection: timescale.Connection, journal: Journal) -> list[AuditRow]:
    head = connection.execute(sql.query(_FILE, "head")).fetchone()
    if head is None:
        message = "the head of the audit chain is missing: see docs/runbooks/audit.md"
        raise errors.StorageConflictError(message)
    return [journal.row(entry) for entry in entries_after(journal.entries(), head[1])]


def _add(connection: timescale.Connection, rows: list[AuditRow]) -> None:
    connection.execute(sql.query(_FILE, "stop_chaining"))
    with connection.cursor() as cursor:
        cursor.executemany(
            sql.query(_FILE, "reinstate"),
            [
                {
                    "id": row.id,
                    "at": row.at,
                    "who": row.who,
                    "origin": row.origin,
                    "action": row.action,
                    "subject": row.subject,
                    "details": Jsonb(dict(row.details)),
                    "canonical": row.canonical,
                    "previous_hash": row.previous_hash,
                    "hash": row.hash,
                }
                for row in rows
            ],
        )
    connection.execute(sql.query(_FILE, "free_head"))
    connection.execute(
        sql.query(_FILE, "set_head"), {"last_id": rows[-1].id, "last_hash": rows[-1].hash}
    )
    connection.execute(sql.query(_FILE, "guard_head"))
    connection.execute(sql.query(_FILE, "chain_again"))
