"""The provider's own log."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from sandbox.simulators.journal import Journal, JournalEntry, stamp

MOMENT = datetime(2026, 8, 5, 12, tzinfo=UTC)


def _entry(at: datetime) -> JournalEntry:
    return JournalEntry(
        at=stamp(at), method="GET", path="/stable/x", query={"symbol": "A"}, key="wxyz",
        status=200, bytes=2, duration_s=0.1, fault=None,
    )  # fmt: skip


def test_requests_come_back_in_the_order_of_arrival(tmp_path: Path) -> None:
    """They are written when they end, which may be another order."""
    journal = Journal(tmp_path / "requests.jsonl")
    late, early = _entry(MOMENT + timedelta(microseconds=1)), _entry(MOMENT)
    journal.append(late)
    journal.append(early)
    assert journal.since(None) == [early, late]


def test_since_includes_its_moment_in_any_zone(tmp_path: Path) -> None:
    """Whole seconds and microseconds sort alike, and another process goes on in the same file."""
    path = tmp_path / "requests.jsonl"
    Journal(path).append(_entry(MOMENT - timedelta(microseconds=1)))
    Journal(path).append(_entry(MOMENT))
    in_new_york = datetime.fromisoformat("2026-08-05T08:00:00-04:00")
    assert Journal(path).since(in_new_york) == [_entry(MOMENT)]
