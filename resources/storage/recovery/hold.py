"""The hold on a database that was restored: nothing starts by itself until all stores agree.

Here: the table recovery_hold. Not here: who respects it (pipelines/recovery_hold.py), or when the
stores agree (usecases/recovery.py).
"""

from dataclasses import dataclass
from datetime import datetime

from resources.storage import sql, timescale


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


def hold(url: str, *, reason: str, target: datetime) -> None:
    """Put a database on hold; one that is on hold stays as it is.

    Raises:
        StorageError: The database cannot be reached, or lacks the table.
    """
    with timescale.connect(url) as connection:
        connection.execute(sql.query("recovery", "hold"), {"reason": reason, "target": target})


def current(url: str) -> Hold | None:
    """Return the hold on a database; None if there is none.

    Raises:
        StorageError: The database cannot be reached, or lacks the table.
    """
    with timescale.connect(url) as connection:
        row = connection.execute(sql.query("recovery", "open_hold")).fetchone()
    return Hold(reason=row[0], target=row[1], held_at=row[2]) if row else None


def release(url: str, *, by: str, accepted: str | None) -> None:
    """Release the hold.

    Args:
        url: Of the database.
        by: Who releases it.
        accepted: What is let stand, if the stores do not agree.

    Raises:
        StorageError: The database cannot be reached.
    """
    with timescale.connect(url) as connection:
        connection.execute(sql.query("recovery", "release"), {"by": by, "accepted": accepted})
