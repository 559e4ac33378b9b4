"""The audit log's rows: what is audited, what is hashed, and whether a chain of rows is whole.

Here: the actions, and the verification of rows, head and anchors, all pure. Not here: how rows get
ids and hashes (migration 0019: the database chains them), or the log (resources/storage/audit).

A row's hash is the SHA-256 of its canonical text, a JSON object of all its other columns, the hash
of the row before among them. So a row cannot be altered without altering all that follow. Who
rewrites all of them, and the head, is betrayed by what was put where it cannot be overwritten: an
anchor, which is a row's hash, and the journal, which is each row, put there before it committed.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Protocol

FIRST_PREVIOUS = bytes(32)
"""What stands for the hash before the first row."""
NAMED = 100
"""Most findings that a verification keeps; it counts the others."""
_AT = "%Y-%m-%dT%H:%M:%S.%fZ"


class Action(StrEnum):
    """What is audited."""

    RUN_LAUNCHED = "run_launched"
    RUN_CANCELLED = "run_cancelled"
    BACKFILL_LAUNCHED = "backfill_launched"
    LETTERS_DISCARDED = "letters_discarded"
    LETTERS_RETRIED = "letters_retried"
    LETTERS_REPLAYED = "letters_replayed"
    PERIOD_DROPPED = "period_dropped"
    PERIOD_RESTORED = "period_restored"
    SNAPSHOTS_EXPIRED = "snapshots_expired"
    PERIODS_COMPACTED = "periods_compacted"
    ORPHANS_REMOVED = "orphans_removed"
    TABLE_REBUILT = "table_rebuilt"
    CONFIGURATION_CHANGED = "configuration_changed"
    PRIVILEGES_CHANGED = "privileges_changed"
    MIGRATION_APPLIED = "migration_applied"
    SPLIT_CONFIRMED = "split_confirmed"
    SPIN_OFF_RECORDED = "spin_off_recorded"
    DIVIDEND_CONFIRMED = "dividend_confirmed"
    HISTORY_PRUNED = "history_pruned"
    UI_OPERATION = "ui_operation"
    DATABASE_RESTORED = "database_restored"
    RECOVERY_RELEASED = "recovery_released"


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRow:
    """One row of the log.

    Attributes:
        id: Its place in the chain, from 1, without gaps.
        at: When it was chained (aware UTC).
        who: A person as user@host, a run, a schedule or a sensor.
        origin: From where: host and process, or the address of a client.
        action: An Action; text, since later versions may know more.
        canonical: The text that was hashed.
        previous_hash: Hash of the row before, 32 bytes.
        hash: Hash of ``canonical``, 32 bytes.
    """

    id: int
    at: datetime
    who: str
    origin: str
    action: str
    subject: str
    details: Mapping[str, Any]
    canonical: str
    previous_hash: bytes
    hash: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """The end of the chain, as the database keeps it beside the log."""

    last_id: int
    last_hash: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Anchor:
    """A row's hash as it was put into the locked bucket.

    Attributes:
        anchored_at: When (aware UTC).
        object_key: Key of the object that says so.
    """

    audit_id: int
    hash: bytes
    anchored_at: datetime
    object_key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalEntry:
    """A row of the log as the journal names it.

    Attributes:
        audit_id: The row's id. Two entries may have one id: the first deed was not committed.
        object_key: Key of the object with the row's canonical text.
    """

    audit_id: int
    previous_hash: bytes
    hash: bytes
    object_key: str


class Journal(Protocol):
    """Keeps each row outside the database, where nobody can overwrite it."""

    def keep(self, row: AuditRow) -> None:
        """Keep a row.

        Raises:
            ConfigurationError: The place does not keep what it is given.
            StorageError: It cannot be reached, or refuses.
        """
        ...

    def entries(self) -> list[JournalEntry]:
        """Return what is kept, by ascending id.

        Raises:
            StorageError: The place cannot be reached, or refuses.
        """
        ...

    def row(self, entry: JournalEntry) -> AuditRow:
        """Return the row of an entry.

        Raises:
            StorageError: The place cannot be reached, or the row is not the one that was kept.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """The outcome of a verification.

    Attributes:
        rows: Rows that were read.
        through_id: The last of them; 0 in an empty log.
        through_hash: Its hash.
        anchors: Anchors that were compared; None without a bucket for them.
        unjournaled: Rows that the journal does not have; None without a journal.
        findings: What is wrong, in the order of the chain; at most NAMED of them.
        further: Number of findings that are not named.
    """

    rows: int
    through_id: int
    through_hash: bytes
    anchors: int | None
    unjournaled: int | None
    findings: tuple[str, ...]
    further: int = 0

    @property
    def valid(self) -> bool:
        """Whether nothing is wrong."""
        return not self.findings


def canonical_fields(row: AuditRow) -> dict[str, Any]:
    """Return what the canonical text of a row has to say: every column but text and hash."""
    return {
        "id": row.id,
        "at": utc_text(row.at),
        "who": row.who,
        "origin": row.origin,
        "action": row.action,
        "subject": row.subject,
        "details": dict(row.details),
        "previous_hash": row.previous_hash.hex(),
    }


def exported(row: AuditRow) -> dict[str, Any]:
    """Return a row as JSON takes it: its canonical fields, the text, and the hash in hex."""
    return {**canonical_fields(row), "canonical": row.canonical, "hash": row.hash.hex()}


def row_of(canonical: str) -> AuditRow:
    """Return the row whose canonical text this is; its hash is computed.

    Raises:
        ValueError: It is no text of a row.
    """
    stated = json.loads(canonical)
    try:
        return AuditRow(
            id=stated["id"],
            at=datetime.strptime(stated["at"], _AT).replace(tzinfo=UTC),
            who=stated["who"],
            origin=stated["origin"],
            action=stated["action"],
            subject=stated["subject"],
            details=stated["details"],
            canonical=canonical,
            previous_hash=bytes.fromhex(stated["previous_hash"]),
            hash=hashlib.sha256(canonical.encode()).digest(),
        )
    except (KeyError, TypeError) as error:
        message = f"a row's text lacks {error}"
        raise ValueError(message) from error


def utc_text(moment: datetime) -> str:
    """Return a moment as the canonical text writes it: UTC, with microseconds."""
    return moment.astimezone(UTC).strftime(_AT)


def entries_after(entries: Iterable[JournalEntry], last_hash: bytes) -> list[JournalEntry]:
    """Return the entries that follow a row, in the order of the chain.

    Where several follow one row, all but one were not committed: only that one has a successor. Of
    several at the end nobody can tell which was, so the last of ``entries`` is taken.

    Args:
        entries: By ascending id.
        last_hash: Hash of the row.
    """
    followers: dict[bytes, JournalEntry] = {}
    length: dict[bytes, int] = {}
    for entry in sorted(entries, key=lambda entry: entry.audit_id, reverse=True):
        length[entry.hash] = 1 + length.get(_hash_of(followers.get(entry.hash)), 0)
        rival = followers.get(entry.previous_hash)
        if length[entry.hash] > length.get(_hash_of(rival), 0):
            followers[entry.previous_hash] = entry
    chain: list[JournalEntry] = []
    while entry := followers.get(last_hash):
        chain.append(entry)
        last_hash = entry.hash
    return chain


def _hash_of(entry: JournalEntry | None) -> bytes:
    return entry.hash if entry else b""


def verify(
    rows: Iterable[AuditRow],
    head: Head | None,
    anchors: Sequence[Anchor] | None = None,
    journal: Sequence[JournalEntry] | None = None,
) -> Verification:
    """Verify a chain of rows against its head, its anchors and its journal.

    Args:
        rows: All rows, by ascending id.
        head: The head's row; None if it is gone.
        anchors: All anchors; None if nothing is anchored anywhere.
        journal: All entries; None if nothing is journaled anywhere.
    """
    chain = _Chain(anchors or (), journal or ())
    for row in rows:
        chain.take(row)
    chain.end(head)
    return Verification(
        rows=chain.rows,
        through_id=chain.last_id,
        through_hash=chain.last_hash,
        anchors=None if anchors is None else len(anchors),
        unjournaled=None if journal is None else chain.unjournaled,
        findings=tuple(chain.findings),
        further=chain.further,
    )


@dataclass(slots=True)
class _Chain:
    """The state of a verification: the last row, and what was found."""

    anchors: Sequence[Anchor]
    journal: Sequence[JournalEntry]
    rows: int = 0
    unjournaled: int = 0
    last_id: int = 0
    last_hash: bytes = FIRST_PREVIOUS
    findings: list[str] = field(default_factory=list[str])
    further: int = 0
    _anchored: dict[int, list[Anchor]] = field(default_factory=dict[int, list[Anchor]])
    _journaled: dict[int, dict[bytes, JournalEntry]] = field(
        default_factory=dict[int, dict[bytes, JournalEntry]]
    )

    def __post_init__(self) -> None:
        for anchor in self.anchors:
            self._anchored.setdefault(anchor.audit_id, []).append(anchor)
        for entry in self.journal:
            self._journaled.setdefault(entry.audit_id, {})[entry.hash] = entry

    def take(self, row: AuditRow) -> None:
        """Compare a row with its text, with the row before, and with its anchors."""
        if row.id > self.last_id + 1:
            self._find(f"{_rows(self.last_id + 1, row.id - 1)} missing")
        elif row.id <= self.last_id:
            self._find(f"row {row.id} comes again after row {self.last_id}")
        elif row.previous_hash != self.last_hash:
            before = f"row {self.last_id}" if self.last_id else "the beginning"
            self._find(
                f"row {row.id} does not follow {before}, whose hash is another one: one of the two "
                "was replaced"
            )
        self._find_all(_alterations(row))
        for anchor in self._anchored.pop(row.id, ()):
            if anchor.hash != row.hash:
                self._find(
                    f"row {row.id} is not the one that was anchored at "
                    f"{utc_text(anchor.anchored_at)} ({anchor.object_key}): it, or rows before it, "
                    "were rewritten"
                )
        self._compare_with_journal(row)
        self.rows += 1
        self.last_id, self.last_hash = row.id, row.hash

    def end(self, head: Head | None) -> None:
        """Compare the last row with the head, and with anchors that it should have reached."""
        if head is None:
            self._find("the head is missing: only anchors tell whether rows were cut off")
        elif head.last_id > self.last_id:
            self._find(f"{_rows(self.last_id + 1, head.last_id)} missing: cut off at the end")
        elif head.last_id < self.last_id:
            self._find(
                f"the head names row {head.last_id} as the last, and the log ends at row "
                f"{self.last_id}: the head was set back, or rows were added past it"
            )
        elif head.last_hash != self.last_hash:
            self._find(f"the head has another hash than row {self.last_id}: one was replaced")
        for audit_id in sorted(self._anchored):
            for anchor in self._anchored[audit_id]:
                self._find(
                    f"row {audit_id} is missing, which was anchored at "
                    f"{utc_text(anchor.anchored_at)} ({anchor.object_key})"
                )
        self._find_all(self._lost())

    def _compare_with_journal(self, row: AuditRow) -> None:
        journaled = self._journaled.get(row.id, {})
        if not journaled:
            self.unjournaled += 1
        elif journaled.pop(row.hash, None) is None:
            keys = ", ".join(entry.object_key for entry in journaled.values())
            self._find(f"row {row.id} is not the one that was journaled ({keys})")

    def _lost(self) -> Iterator[str]:
        """Yield the journal's rows that the log lacks, though another row followed them.

        The last entry of a chain proves nothing: its deed may not have been committed.
        """
        followed = {entry.previous_hash for entry in self.journal}
        for audit_id in sorted(self._journaled):
            for entry in self._journaled[audit_id].values():
                if entry.hash in followed:
                    yield f"row {audit_id} is missing, which was journaled ({entry.object_key})"

    def _find_all(self, findings: Iterator[str]) -> None:
        for finding in findings:
            self._find(finding)

    def _find(self, finding: str) -> None:
        if len(self.findings) < NAMED:
            self.findings.append(finding)
        else:
            self.further += 1


def _alterations(row: AuditRow) -> Iterator[str]:
    """Yield what of a row does not fit its own hash."""
    if hashlib.sha256(row.canonical.encode()).digest() != row.hash:
        yield f"row {row.id} was altered: its hash is not that of its text"
    try:
        stated = json.loads(row.canonical)
    except ValueError:
        yield f"row {row.id} was altered: its text is no JSON"
        return
    columns = canonical_fields(row)
    if not isinstance(stated, dict) or stated.keys() != columns.keys():
        yield f"row {row.id} was altered: its text has other fields than a row"
        return
    different = [name for name, value in columns.items() if stated[name] != value]
    if different:
        yield f"row {row.id} was altered: its text says otherwise of {', '.join(different)}"


def _rows(first: int, last: int) -> str:
    """Return "row 9 is" or "rows 9 to 11 are"."""
    return f"row {first} is" if first == last else f"rows {first} to {last} are"
