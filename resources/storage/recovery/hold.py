"""The hold on a database that was restored: nothing starts by itself until all stores agree.

Here: the table recovery_hold. Not here: who respects it (pipelines/recovery_hold.py), or when the
stores agree (usecases/recovery.py).
"""

from dataclasses import dataclass
from datetime import datetime

from machine.person import user_at_host
from marketdata.audit import Action, Journal
from resources.storage import sql, timescale
from resources.storage.audit.log import has_log, record


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """A hold that is not released.

    Attributes:
        reason: What was restored, in a sentence.
        target: The moment whose rows the database holds (aware UTC).
        held_at: When it was restored (aware UTC).
    """

    reason: str
    target: datetime
    held_at: datetime


def hold(url: str, *, reason: str, target: datetime, by: str = "") -> None:
    """Put a restored database on hold; one that is on hold stays as it is.

    Args:
        url: Of the database.
        reason: What was restored, and from where.
        target: The moment whose rows it holds (aware UTC).
        by: Who restored it; empty means the user of this process.

    Raises:
        StorageError: The database cannot be reached, or lacks the table.
    """
    with timescale.connect(url) as connection, connection.transaction():
        held = connection.execute(
            sql.query("recovery", "hold"), {"reason": reason, "target": target}
        )
        # A copy of a database from before the audit log has none.
        if held.rowcount and has_log(connection):
            record(
                connection,
                Action.DATABASE_RESTORED,
                who=by or user_at_host(),
                subject=f"to {target.isoformat()}",
                details={"reason": reason},
                # A copy may be restored to be looked at: its row is not of production's chain.
                journal=None,
            )


def current(url: str) -> Hold | None:
    """Return the hold on a database; None if there is none.

    Raises:
        StorageError: The database cannot be reached, or lacks the table.
    """
    with timescale.connect(url) as connection:
        row = connection.execute(sql.query("recovery", "open_hold")).fetchone()
    return Hold(reason=row[0], target=row[1], held_at=row[2]) if row else None


def release(url: str, *, by: str, accepted: str | None, journal: Journal | None) -> None:
    """Release the hold.

    Args:
        url: Of the database.
        by: Who releases it.
        accepted: What is let stand, if the stores do not agree.
        journal: Of the audit log; None if there is none.

    Raises:
        StorageError: The database cannot be reached.
    """
    with timescale.connect(url) as connection, connection.transaction():
        connection.execute(sql.query("recovery", "release"), {"by": by, "accepted": accepted})
        record(
            connection,
            Action.RECOVERY_RELEASED,
            who=by,
            subject="recovery hold",
            details={"accepted": accepted},
            journal=journal,
        )
