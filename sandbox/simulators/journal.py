"""The provider's own log: every request with its time of arrival.

Here: one JSON object per line, appended when the request is over. Not here: what is answered.
It is the oracle of request budgets, so times are the simulator's. It holds no keys.
"""

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalEntry:
    """One request.

    Attributes:
        at: Arrival in UTC, microseconds, ISO 8601.
        query: Parameters without the key.
        key: The last four characters of the key, or None.
        status: HTTP status; 0 if nothing was sent.
        bytes: Length of the body as far as it was sent.
        fault: Kind of the fault that was injected, or None.
    """

    at: str
    method: str
    path: str
    query: dict[str, str]
    key: str | None
    status: int
    bytes: int
    duration_s: float
    fault: str | None


class Journal:
    """Append-only journal in the file ``path``; continues that of an earlier process."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        path.touch()

    def append(self, entry: JournalEntry) -> None:
        """Write one line, in one system call."""
        with self._path.open("a") as file:
            file.write(json.dumps(asdict(entry), separators=(",", ":")) + "\n")

    def since(self, moment: datetime | None) -> list[JournalEntry]:
        """Return the requests that arrived at or after ``moment`` (aware), in their order."""
        oldest = "" if moment is None else stamp(moment)
        with self._path.open() as file:
            entries = [JournalEntry(**json.loads(line)) for line in file]
        return sorted(
            (entry for entry in entries if entry.at >= oldest), key=lambda entry: entry.at
        )


def stamp(moment: datetime) -> str:
    """Write an aware time in UTC so that texts sort as times do."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds")
