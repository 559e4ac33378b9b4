"""The database's upkeep: the size of what grows with time, and pruning.

Here: sizes of our own tables and of the raw zone, and pruning of rows that nothing refers to. Not
here: Dagster's tables (runs/history.py), rows of datasets (archive/retain/), or the archive's
objects (archive/maintain/). docs/decisions/0066-what-grows-has-a-bound.md says why the rest stays.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from marketdata.audit import Action
from marketdata.datasets import DATASETS
from resources.storage import sql
from resources.storage.audit import record
from resources.storage.object_store import ObjectStore
from resources.storage.raw_zone import PREFIX
from resources.storage.timescale import Timescale

TRANSITIONS_STAY_FOR = timedelta(days=90)
"""How long the changes of circuit breakers are kept."""
USAGE_STAYS_FOR = timedelta(days=400)
"""How long the hours of use of each key are kept: longer than any quota's period."""

RAW_ZONE = "raw answers"
_TABLES: Mapping[str, Sequence[str]] = {
    "rows of datasets": [*dict.fromkeys(dataset.table for dataset in DATASETS.values())],
    "replaced versions": [
        *dict.fromkeys(f"{dataset.table}_version" for dataset in DATASETS.values()),
    ],
    "ingest log": ["ingest_log", "ingest_total"],
    "audit log": ["audit_log", "audit_anchor", "audit_verification"],
    "coverage ledger": ["coverage"],
    "dead letters": ["dead_letter", "dead_letter_transition"],
    "request budgets": [
        "request_budget",
        "request_lease",
        "request_usage",
        "request_limit",
        "request_timing",
        "circuit_breaker",
        "circuit_breaker_transition",
    ],
}
_BOUNDS = {
    "rows of datasets": "WRDATA_RETENTION, once archived",
    "replaced versions": "kept: reads as of a moment need them",
    "ingest log": "kept: every row's origin",
    "audit log": "kept: who did what, for seven years and longer; nothing prunes it",
    "coverage ledger": "spans, not days",
    "dead letters": "kept: what failed, and what became of it",
    "request budgets": "leases 10 minutes, changes of breakers 90 days, usage 400 days",
    RAW_ZONE: "kept: what was loaded can be read again; a rule of the bucket may move it",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreSize:
    """The size of one store that grows.

    Attributes:
        estimated_entries: Rows as the planner estimates them, without tables that were not
            analyzed yet; None if none was. Objects are counted.
        bytes: Including indexes.
        bound: What keeps it from growing for ever, or why it is kept.
        measured_at: When (aware UTC), if not just now.
    """

    store: str
    estimated_entries: int | None
    bytes: int
    bound: str
    measured_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PrunedRows:
    """Rows removed from our own tables."""

    breaker_transitions: int
    usage_hours: int


class DatabaseUpkeep:
    """Measures and prunes.

    Args:
        timescale: An open Timescale whose database is migrated.
    """

    def __init__(self, timescale: Timescale) -> None:
        self._timescale = timescale

    def sizes(self) -> list[StoreSize]:
        """Return the size of each store, with its bound; the raw zone as last measured."""
        names = [name for tables in _TABLES.values() for name in tables]
        with self._timescale.connection() as connection:
            measured = {
                name: (row_count, size)
                for name, row_count, size in connection.execute(
                    sql.query("upkeep", "table_sizes"), {"names": names}
                ).fetchall()
            }
            listed = connection.execute(sql.query("upkeep", "store_sizes")).fetchall()
        tables = [
            StoreSize(
                store=store,
                estimated_entries=_sum(measured.get(name, (0, 0))[0] for name in tables),
                bytes=sum(measured.get(name, (0, 0))[1] for name in tables),
                bound=_BOUNDS[store],
            )
            for store, tables in _TABLES.items()
        ]
        return tables + [
            StoreSize(
                store=store,
                estimated_entries=objects,
                bytes=size,
                bound=_BOUNDS[store],
                measured_at=at,
            )
            for store, objects, size, at in listed
        ]

    def measure_raw_zone(self, objects: ObjectStore) -> StoreSize:
        """List the raw zone and store its size for ``sizes``: one request per thousand answers."""
        count = size = 0
        for stored in objects.list(f"{PREFIX}/"):
            count += 1
            size += stored.bytes
        with self._timescale.connection() as connection:
            connection.execute(
                sql.query("upkeep", "keep_store_size"),
                {"store": RAW_ZONE, "objects": count, "bytes": size},
            )
        return StoreSize(
            store=RAW_ZONE, estimated_entries=count, bytes=size, bound=_BOUNDS[RAW_ZONE]
        )

    def prune(self, now: datetime, *, by: str, also: Mapping[str, int]) -> PrunedRows:
        """Remove rows that have expired at ``now`` (aware).

        Args:
            now: This moment.
            by: Who prunes, for the audit log.
            also: What the same upkeep removed elsewhere just before, for the same row of the log.
        """
        with self._timescale.connection() as connection:
            transitions = connection.execute(
                sql.query("upkeep", "prune_breaker_transitions"),
                {"before": now - TRANSITIONS_STAY_FOR},
            ).rowcount
            usage = connection.execute(
                sql.query("upkeep", "prune_request_usage"), {"before": now - USAGE_STAYS_FOR}
            ).rowcount
            record(
                connection,
                Action.HISTORY_PRUNED,
                who=by,
                subject="what has expired",
                details={**also, "breaker_transitions": transitions, "usage_hours": usage},
                journal=self._timescale.journal,
            )
        return PrunedRows(breaker_transitions=transitions, usage_hours=usage)


def _sum(estimates: Iterable[int | None]) -> int | None:
    """Add up the known estimates; None if there is none."""
    known = [rows for rows in estimates if rows is not None]
    return sum(known) if known else None
