"""wrdata archive …: write closed periods to Parquet, list and verify them.

Here: the commands. Not here: how a period is archived (resources/storage/archive).
"""

from collections import Counter
from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any

from assets.archive import ArchiveRunConfig
from marketdata.archiving import ARCHIVED, ArchivedDataset
from marketdata.calendars import HISTORY_START, utc_now
from marketdata.recovery import errors
from pipelines.cli import console, environment, loads
from pipelines.cli.archive_options import Json, MaybeEnd, MaybeStart, Names, nothing_archived
from pipelines.cli.runs import RunReport
from resources import opening
from resources.settings import read_settings
from resources.storage.archive import ArchiveStatus
from usecases.archiving import requested_periods
from usecases.requested_days import requested_days

WRITTEN = {
    ArchiveStatus.COMMITTED.value,
    ArchiveStatus.REPLACED.value,
    ArchiveStatus.REPAIRED.value,
}


def run(
    dataset: Names = None,
    start: MaybeStart = None,
    end: MaybeEnd = None,
    *,
    json: Json = False,
) -> int:
    """Archive all closed periods, or those from --start to --end; unchanged ones are skipped."""
    chosen = _chosen(dataset)
    config = ArchiveRunConfig(
        datasets=[entry.name for entry in chosen],
        start=start.isoformat() if start else "",
        end=end.isoformat() if end else "",
    )
    days = requested_days(config.start, config.end)
    if not any(requested_periods(entry, *days) for entry in chosen):
        raise errors.ArgumentError(_no_closed_month(start, end))
    surroundings = environment.surroundings(writes=False)
    environment.enter(surroundings, start=True, report=console.say)
    environment.require_schema(surroundings)
    report = loads.archive(config)
    summary = archived(report)
    failures = loads.failures(report)
    if json:
        console.print_json({name: figure for name, figure in summary.items() if name != "datasets"})
    else:
        console.print_table("", summary["datasets"])
        for reason in failures.values():
            console.fail(reason)
    return 0 if not failures else 1


def list_periods(dataset: Names = None, *, json: Json = False) -> None:
    """List what is archived, with the proof of each period."""
    chosen = _chosen(dataset)
    environment.enter(environment.surroundings(writes=False), start=False)
    rows: list[dict[str, Any]] = []
    with opening.archive(read_settings()) as archive:
        for entry in chosen:
            for label, logged in archive.proofs(entry).items():
                proof = logged.proof
                digest = proof.content_digest
                rows.append(
                    {
                        "dataset": entry.name,
                        "period": label,
                        "rows": proof.rows,
                        "bytes": proof.bytes,
                        "files": list(proof.object_keys) if json else len(proof.files),
                        "content": digest if json else digest[:12],
                        "snapshot": str(logged.snapshot_id),
                    }
                )
    if json:
        console.print_json(rows)
    elif rows:
        console.print_table("", rows, by=("dataset", "period"))
    else:
        console.say(nothing_archived(dataset))


def verify(dataset: Names = None, *, json: Json = False) -> int:
    """Read every archived period back from the bucket and compare it with the database.

    A period that was dropped from the database is compared with its proof. Rows that wait for
    the next run are reported; they are no error.
    """
    chosen = _chosen(dataset)
    environment.enter(environment.surroundings(writes=False), start=False)
    with opening.archive(read_settings()) as archive:
        verdicts = [
            verdict for entry in chosen for verdict in archive.verify(entry, archive.proofs(entry))
        ]
    different = [verdict for verdict in verdicts if verdict.is_wrong]
    waiting = [verdict for verdict in verdicts if verdict.waiting]
    if json:
        console.print_json(
            {
                "periods": len(verdicts),
                "rows": sum(verdict.archive_rows for verdict in verdicts),
                "different": [f"{verdict.dataset} {verdict.period.label}" for verdict in different],
                "waiting": [f"{verdict.dataset} {verdict.period.label}" for verdict in waiting],
            }
        )
    for verdict in different:
        console.fail(verdict.description)
    for verdict in () if json else waiting:
        console.say(verdict.description)
    if not json and not verdicts:
        console.say(nothing_archived(dataset))
    elif not json and not different:
        equal = len(verdicts) - len(waiting)
        console.say(
            f"{len(verdicts)} periods read back, {equal} equal to the database or their proof"
            + (f", {len(waiting)} with more to archive: wrdata archive run" if waiting else "")
        )
    return 1 if different else 0


def archived(report: RunReport) -> dict[str, Any]:
    """Return the figures of a run of the archive job, by dataset and together."""
    by_dataset = [
        _figures(name, [period.metadata for period in report.of(name)])
        for name in ARCHIVED
        if report.of(name)
    ]
    totals = {
        name: sum(figures[name] for figures in by_dataset)
        for name in ("periods", *_COUNTED, *_SUMMED)
    }
    return {**totals, "duration_s": round(report.duration_s, 1), "datasets": by_dataset}


_COUNTED = ("written", "unchanged", "frozen")
_SUMMED = ("rows", "bytes_written")


def _figures(name: str, periods: Sequence[Any]) -> dict[str, Any]:
    """Add up the figures of a dataset's periods; empty periods do not count."""
    statuses = Counter(period["status"] for period in periods)
    written = [period for period in periods if period["status"] in WRITTEN]
    return {
        "dataset": name,
        "periods": len(periods) - statuses[ArchiveStatus.EMPTY.value],
        "written": len(written),
        "unchanged": statuses[ArchiveStatus.UNCHANGED.value],
        "frozen": statuses[ArchiveStatus.FROZEN.value],
        "rows": sum(period["rows"] for period in periods),
        "bytes_written": sum(period["bytes"] for period in written),
    }


def _chosen(names: Sequence[str] | None) -> list[ArchivedDataset]:
    return [ARCHIVED[name] for name in names or ARCHIVED]


def _no_closed_month(start: date | None, end: date | None) -> str:
    """Say why months from ``start`` to ``end`` are none that can be archived."""
    after = f" from {start:%Y-%m} on" if start else ""
    until = f" up to {end:%Y-%m}" if end else ""
    last = utc_now().date().replace(day=1) - timedelta(days=1)
    return (
        f"no closed month lies{after}{until}: those that can be archived are "
        f"{HISTORY_START:%Y-%m} to {last:%Y-%m}"
    )
