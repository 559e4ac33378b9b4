"""Figures of our own tables, for the exporter.

Here: one function a question, each in the caller's snapshot. Not here: the snapshot
(snapshots.py), Dagster's tables (dagster_figures.py), or the names under which Prometheus keeps the
figures (monitoring/metrics.py).

No question reads rows of datasets or all of a table that grows by the day: a scrape has to stay
cheap at a hundred million rows (bench/exporter.py).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime

from marketdata.recovery.leases import BreakerState
from marketdata.recovery.request_timings import RequestTiming, Timed, TimingKey
from resources.storage import sql
from resources.storage.timescale import Connection


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetUse:
    """How much of a budget is used in one of its periods, as weights."""

    provider: str
    budget: str
    period: str
    limit: int
    used: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadTotals:
    """The ingest log of a dataset at a provider, added up since the beginning.

    Attributes:
        loaded: Stored answers.
        failed: Requests that failed for good.
        rows: Number of rows by what became of them.
        latest_loaded_at: When an answer was last stored (aware UTC), or None.
    """

    dataset: str
    provider: str
    loaded: int
    failed: int
    rows: dict[str, int]
    latest_loaded_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingLetters:
    """Letters of a dataset in one unsettled state; ``oldest_seen_at`` is aware UTC."""

    dataset: str
    state: str
    letters: int
    oldest_seen_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class DayCoverage:
    """How many days of some instruments are covered.

    Attributes:
        first_asked: The first day that was asked for of any of them, or None.
        held: Days of all of them whose rows are kept.
        unlisted: Absent days before a known listing: not expected.
        held_before: The day before which kept rows end, or None.
    """

    first_asked: date | None
    held: int
    unlisted: int
    held_before: date | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditState:
    """The audit log: None where nothing was written, verified or anchored; times are aware UTC."""

    last_id: int | None
    is_valid: bool | None
    verified_at: datetime | None
    anchored_id: int | None
    anchored_at: datetime | None


def request_timings(connection: Connection) -> list[RequestTiming]:
    """Return the times of requests and of waits, added up over all processes."""
    rows = connection.execute(sql.query("metrics", "request_timings")).fetchall()
    return [
        RequestTiming(
            key=TimingKey(
                timed=Timed(timed), provider=provider, outcome=outcome, error_class=error_class
            ),
            count=requests,
            seconds=seconds,
            buckets=tuple(buckets),
        )
        for timed, provider, outcome, error_class, requests, seconds, buckets in rows
    ]


def budgets(connection: Connection) -> list[BudgetUse]:
    """Return the use of each budget of the last weeks, in each period that bounds it."""
    rows = connection.execute(sql.query("metrics", "budgets")).fetchall()
    return [
        BudgetUse(provider=provider, budget=budget, period=period, limit=limit, used=int(used))
        for provider, budget, period, limit, used in rows
    ]


def breakers(connection: Connection) -> dict[str, BreakerState]:
    """Return the state of each provider's breaker."""
    rows = connection.execute(sql.query("metrics", "breakers")).fetchall()
    return {provider: BreakerState(state) for provider, state in rows}


def load_totals(connection: Connection) -> list[LoadTotals]:
    """Return the totals of the ingest log."""
    rows = connection.execute(sql.query("metrics", "load_totals")).fetchall()
    return [
        LoadTotals(
            dataset=dataset,
            provider=provider,
            loaded=loaded,
            failed=failed,
            rows={
                "inserted": inserted,
                "unchanged": unchanged,
                "restated": restated,
                "stale": stale,
                "rejected": rejected,
                "withdrawn": withdrawn,
            },
            latest_loaded_at=latest,
        )
        for (
            dataset, provider, loaded, failed, inserted, unchanged, restated, stale, rejected,
            withdrawn, latest,
        ) in rows
    ]  # fmt: skip


def waiting_letters(connection: Connection) -> list[WaitingLetters]:
    """Return the unsettled letters, by dataset and state."""
    rows = connection.execute(sql.query("metrics", "waiting_letters")).fetchall()
    return [
        WaitingLetters(dataset=dataset, state=state, letters=letters, oldest_seen_at=oldest)
        for dataset, state, letters, oldest in rows
    ]


def members(connection: Connection, universe: str) -> list[int]:
    """Return the present members of a universe, sorted."""
    row = connection.execute(sql.query("metrics", "members"), {"universe": universe}).fetchone()
    return row[0] if row else []


def listed(connection: Connection, kind: str, symbols: Sequence[str]) -> list[int]:
    """Return the instruments of a kind that have these symbols now, sorted."""
    row = connection.execute(
        sql.query("metrics", "listed"), {"kind": kind, "symbols": list(symbols)}
    ).fetchone()
    return row[0] if row else []


def day_coverage(
    connection: Connection,
    dataset: str,
    provider: str,
    instrument_ids: Sequence[int],
    days: Sequence[date],
) -> DayCoverage:
    """Count the covered ones of ``days`` (sorted) of some instruments, at one provider."""
    row = connection.execute(
        sql.query("metrics", "day_coverage"),
        {
            "dataset": dataset,
            "provider": provider,
            "instrument_ids": _array(instrument_ids),
            "days": _array(days),
        },
        # Prepared, it would get a plan for any number of instruments, which takes 15 times as long.
        prepare=False,
    ).fetchone()
    first_asked, held, unlisted, held_before = row or (None, 0, 0, None)
    return DayCoverage(
        first_asked=first_asked, held=held, unlisted=unlisted, held_before=held_before
    )


def fresh_snapshots(
    connection: Connection,
    dataset: str,
    provider: str,
    instrument_ids: Sequence[int],
    *,
    begins: date,
    asked_since: date,
) -> int:
    """Count the instruments of which all since ``begins`` was asked for after a day."""
    row = connection.execute(
        sql.query("metrics", "snapshot_coverage"),
        {
            "dataset": dataset,
            "provider": provider,
            "instrument_ids": _array(instrument_ids),
            "begins": begins,
            "asked_since": asked_since,
        },
    ).fetchone()
    return row[0] if row else 0


def first_unarchived_day(connection: Connection, dataset: str) -> date | None:
    """Return the first day with rows that no valid proof of the archive holds, or None.

    Args:
        connection: In a snapshot.
        dataset: One whose loaded days are counted, archived by the month or year.
    """
    query = sql.query("metrics", "first_unarchived_day")
    row = connection.execute(query, {"dataset": dataset}).fetchone()
    return row[0] if row else None


def first_unarchived_session(
    connection: Connection, dataset: str, part: int, parts: int
) -> date | None:
    """Return the first session with a row that no valid proof of the archive holds, or None.

    Args:
        connection: In a snapshot.
        dataset: One with a row a session, archived by the year.
        part: Which part of the instruments is looked at, from 0.
        parts: How many parts there are.
    """
    query = sql.query("metrics", "first_unarchived_session")
    parameters = {"dataset": dataset, "part": part, "parts": parts}
    row = connection.execute(query, parameters).fetchone()
    return row[0] if row else None


def table_size(connection: Connection, table: str) -> tuple[int, int | None] | None:
    """Return the bytes of a table with its indexes and its chunks, which a plain one has not.

    None if there is no such table.
    """
    row = connection.execute(sql.query("metrics", "table_size"), {"name": table}).fetchone()
    return (row[0], row[1]) if row else None


def audit(connection: Connection) -> AuditState:
    """Return the state of the audit log."""
    row = connection.execute(sql.query("metrics", "audit")).fetchone()
    last_id, is_valid, verified_at, anchored_id, anchored_at = row or (None,) * 5
    return AuditState(
        last_id=last_id,
        is_valid=is_valid,
        verified_at=verified_at,
        anchored_id=anchored_id,
        anchored_at=anchored_at,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class DrillState:
    """The latest restore drill that found everything equal; its end is aware UTC.

    Attributes:
        audit_rows_lost: None if it was not counted.
    """

    finished_at: datetime
    rto_s: float
    rpo_s: float
    audit_rows_lost: int | None


def backups(connection: Connection) -> Mapping[str, datetime]:
    """Return when the latest backup of each kind ended well."""
    return dict(connection.execute(sql.query("recovery", "last_backups")).fetchall())


def drill(connection: Connection) -> DrillState | None:
    """Return the latest restore drill that found everything equal, if there was one."""
    row = connection.execute(sql.query("recovery", "last_drill")).fetchone()
    if row is None:
        return None
    return DrillState(finished_at=row[0], rto_s=row[1], rpo_s=row[2], audit_rows_lost=row[3])


def _array(values: Sequence[int] | Sequence[date]) -> str:
    """Write an array as Postgres reads it: psycopg takes longer for it than the query runs."""
    return f"{{{','.join(map(str, values))}}}"
