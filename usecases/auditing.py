"""The audit log at work: verified, anchored, and told what has changed in silence.

Here: a verification against the bucket's anchors, an anchor, and the comparison of configuration
and privileges with what was last recorded, since nobody announces their changes. Not here: how a
chain is verified (marketdata/audit.py), rows of deeds (beside the deeds), or when this runs
(assets/audit.py).
"""

import functools
import hashlib
import socket
from datetime import datetime

from pydantic import SecretStr

from marketdata.audit import Action, Anchor, Verification, verify
from marketdata.datasets import DATASETS
from marketdata.recovery import errors
from resources.settings import (
    ROUTED,
    Settings,
    provider_of,
    provider_variable,
    route_of,
    route_variable,
)
from resources.storage.audit import AuditLog, Deed
from resources.storage.audit.anchors import Anchors
from usecases.operations import Operation

NOT_ANCHORED = (
    "nothing is anchored, so a rewrite of the whole log would not show: WRDATA_AUDIT_BUCKET names "
    "no bucket"
)
_SCRYPT_COST = 2**12
"""12 ms for each secret: a weak password is not guessed from its digest by trying millions."""


def verify_log(log: AuditLog, anchors: Anchors | None) -> Verification:
    """Verify the whole chain, compare it with anchors and journal, and keep the result.

    Args:
        log: The log.
        anchors: None if none are configured.

    Raises:
        StorageError: Database or bucket cannot be reached, or refuse.
    """
    # The bucket first: a row that is put there meanwhile would else seem to be missing.
    anchored = anchors.all() if anchors else None
    journaled = log.journal.entries() if log.journal else None
    with log.chain() as (head, rows):
        verification = verify(rows, head, anchored, journaled)
    log.keep_verification(verification, describe(verification))
    return verification


def audit_operation(log: AuditLog, operation: Operation) -> None:
    """Record what a user did in Dagster's UI; a run that was launched there records itself.

    Raises:
        StorageError: The database cannot be reached, or refuses.
    """
    if operation.is_launch:
        return
    log.append(
        Deed(
            action=Action.UI_OPERATION,
            who=operation.who,
            origin=operation.address,
            subject=operation.subject,
            details={"operation": operation.what, "outcome": operation.outcome},
        )
    )


def anchor_log(log: AuditLog, anchors: Anchors | None, now: datetime) -> Anchor:
    """Anchor the last row, once every row is in the journal.

    Args:
        log: The log.
        anchors: Where to; None if none are configured.
        now: This moment (aware).

    Raises:
        ConfigurationError: No bucket is configured, or it locks nothing.
        StorageError: Database or bucket cannot be reached, or refuse.
    """
    if anchors is None:
        message = "WRDATA_AUDIT_BUCKET names no bucket for anchors: see docs/how-to/audit.md"
        raise errors.ConfigurationError(message)
    complete_journal(log)
    return anchors.put(log.head(), now)


def complete_journal(log: AuditLog) -> int:
    """Keep the rows that were written past the journal; return how many.

    Those are the rows of before there was a journal, and of who inserts rows by hand.

    Raises:
        StorageError: Database or journal cannot be reached, or refuse.
    """
    if log.journal is None:
        return 0
    known = {entry.audit_id for entry in log.journal.entries()}
    kept = 0
    with log.chain() as (_, rows):
        for row in rows:
            if row.id not in known:
                log.journal.keep(row)
                kept += 1
    return kept


def describe(verification: Verification) -> str:
    """Return a verification in one line."""
    if not verification.valid:
        count = len(verification.findings) + verification.further
        more = f" (and {count - 1} more)" if count > 1 else ""
        return f"{verification.findings[0]}{more}"
    compared = (
        NOT_ANCHORED if verification.anchors is None else f"{verification.anchors} anchors agree"
    )
    if verification.unjournaled:
        compared += (
            f"; {verification.unjournaled} rows are not in the journal yet: wrdata audit anchor"
        )
    return f"{verification.rows} rows are whole; {compared}"


def record_changes(log: AuditLog, settings: Settings, *, who: str) -> list[Action]:
    """Record configuration and privileges, each if it is not what was last recorded.

    Args:
        log: The log.
        settings: What this process runs with.
        who: Who runs it.

    Returns:
        What was recorded.

    Raises:
        StorageError: The database cannot be reached, or refuses.
    """
    host = socket.gethostname()
    seen = {
        Action.CONFIGURATION_CHANGED: _configuration(settings),
        Action.PRIVILEGES_CHANGED: dict.fromkeys(log.privileges(), "granted"),
    }
    return [
        action
        for action, fingerprints in seen.items()
        if log.record_if_changed(action, fingerprints, host=host, who=who)
    ]


def _configuration(settings: Settings) -> dict[str, str]:
    """Return a digest of every setting in force, by its variable."""
    values: dict[str, object] = {
        field.alias or name: getattr(settings, name)
        for name, field in type(settings).model_fields.items()
    }
    values |= {provider_variable(dataset): provider_of(dataset) for dataset in DATASETS}
    values |= {route_variable(dataset): route_of(dataset) for dataset in ROUTED}
    return {name: _digest(name, value) for name, value in values.items() if value is not None}


def _digest(name: str, value: object) -> str:
    if isinstance(value, SecretStr):
        return _slow_digest(name, value.get_secret_value())
    return hashlib.sha256(f"{name}={value}".encode()).hexdigest()[:32]


@functools.cache
def _slow_digest(name: str, secret: str) -> str:
    """Return a digest of a secret, from which a guess is expensive."""
    return hashlib.scrypt(
        secret.encode(), salt=name.encode(), n=_SCRYPT_COST, r=8, p=1, dklen=16
    ).hex()
