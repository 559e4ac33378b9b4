"""The loads that commands start: each one Dagster run, with progress while it lasts.

Here: which job with which config and partitions. Not here: what is told to the user before and
after (backfill.py, archive.py, demo.py), or how a run is executed (runs.py).
"""

from collections.abc import Callable, Sequence
from datetime import date
from typing import Any

import dagster as dg

from assets.archive import ArchiveWish, closed_periods, periods_with_rows
from assets.datasets import NOUNS, REFRESHES
from marketdata.archiving import archived_dataset
from marketdata.datasets import Dataset
from pipelines.cli import console, runs
from pipelines.cli.interruption import RunInterruptedError
from pipelines.cli.runs import RunReport
from pipelines.cli.wishes import SubjectWish
from resources import opening
from resources.opening import Stores
from resources.settings import read_settings

FIGURES = (
    "rows_inserted",
    "rows_unchanged",
    "rows_restated",
    "rows_rejected",
    "tickers_failed",
    "requests",
)
"""What the price assets report, and what is added up here."""


def load_universe() -> RunReport:
    """Bring the universe and the ticker partitions up to date."""
    return runs.run_job("universe")


def load_histories(
    stores: Stores, tickers: Sequence[str], *, expected: int, only_holes: bool, again: int = 0
) -> RunReport:
    """Load histories of ``tickers`` in one run; ``expected`` of them need a request.

    So many of the latest sessions as ``again`` says are asked for although they are settled.
    """
    config = {"tickers": list(tickers), "only_holes": only_holes, "again": again}
    return _with_meter(
        "histories",
        expected,
        stores,
        lambda progress: runs.run_job(
            "price_backfill",
            config={"curated__equities__price_backfill": {"config": config}},
            progress=progress,
        ),
    )


def load_days(stores: Stores, sessions: Sequence[date]) -> RunReport:
    """Load neighbouring ``sessions`` for the whole universe in one run."""
    return _with_meter(
        "trading days",
        len(sessions),
        stores,
        lambda progress: runs.run_job(
            "daily_prices",
            partitions=(sessions[0].isoformat(), sessions[-1].isoformat()),
            progress=progress,
        ),
    )


def load_subjects(stores: Stores, wish: SubjectWish, *, only_missing: bool) -> RunReport:
    """Load subjects of a dataset in one run."""
    config = {
        "subjects": list(wish.subjects),
        "provider": wish.provider,
        "only_missing": only_missing,
        "start": wish.start.isoformat() if wish.start else "",
        "end": wish.end.isoformat() if wish.end else "",
        "again": wish.again,
    }
    op = REFRESHES[wish.dataset.name].node_def.name
    return _with_meter(
        wish.dataset.name.replace("_", " "),
        wish.loads,
        stores,
        lambda progress: runs.run_job(
            wish.dataset.name, config={op: {"config": config}}, progress=progress
        ),
    )


def archive(wish: ArchiveWish) -> RunReport:
    """Archive closed periods of some datasets in one run."""
    with opening.archive(read_settings()) as opened:
        periods = sum(
            len(periods_with_rows(opened, archived_dataset(one), wish)) for one in wish.datasets
        )
    meter = console.Meter("periods", periods)
    with meter.shown(), runs.open_instance() as instance:

        def tell(run_id: str, elapsed_s: float) -> None:
            made = instance.get_records_for_run(
                run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION
            )
            # The run as a whole reports on itself too, and is no period.
            done = sum(one.asset_key != closed_periods.key for one in made.records)
            meter.update(done, note="", elapsed_s=elapsed_s)

        return runs.run_job(
            "archive",
            config={closed_periods.node_def.name: {"config": wish.model_dump()}},
            progress=tell,
        )


def outcome(report: RunReport) -> dict[str, Any]:
    """Return the figures of a run that loaded bars, and its failures by ticker or day."""
    driver = report.last("price_backfill")
    days = [one.metadata for one in report.of("daily_prices")]
    parts = [driver] if driver else days or [report.failed_with]
    failed = {row["key"]: row["reason"] for part in parts for row in part.get("failed_tickers", [])}
    failed |= failures(report)
    return {
        "run_id": report.run_id,
        **{name: sum(part.get(name, 0) for part in parts) for name in FIGURES},
        "duration_s": round(report.duration_s, 1),
        "failures": failed,
    }


def subjects_outcome(dataset: Dataset, report: RunReport) -> dict[str, Any]:
    """Return the figures of a run that loaded subjects of a dataset, and its failures."""
    noun = NOUNS[dataset.subjects]
    part = report.last(f"{dataset.name}_refresh") or report.failed_with
    failed = {row["key"]: row["reason"] for row in part.get(f"failed_{noun}", [])} | failures(
        report
    )
    figures = [*(one for one in FIGURES if one.startswith("rows")), f"{noun}_failed", "requests"]
    return {
        "run_id": report.run_id,
        **{name: part.get(name, 0) for name in figures},
        f"{noun}_deferred": part.get(f"{noun}_deferred", 0),
        "duration_s": round(report.duration_s, 1),
        "failures": failed,
    }


def failures(report: RunReport) -> dict[str, str]:
    """Return why a run, or one of its checks, failed."""
    failed = {f"run {report.run_id}": reason for reason in report.failures}
    return failed | {
        f"check {check.name}": check.description for check in report.checks if check.failed
    }


def shown_on(meter: console.Meter, stores: Stores) -> Callable[[str, float], None]:
    """Return a progress function for a run: the meter shows its rows in the ingest log."""

    def tell(run_id: str, elapsed_s: float) -> None:
        so_far = stores.ingest_log.progress(run_id)
        note = f"{so_far.failed} failed" if so_far.failed else ""
        meter.update(so_far.loaded + so_far.failed, note=note, elapsed_s=elapsed_s)

    return tell


def _with_meter(
    title: str,
    total: int,
    stores: Stores,
    run: Callable[[Callable[[str, float], None]], RunReport],
) -> RunReport:
    meter = console.Meter(title, total)
    with meter.shown():
        try:
            return run(shown_on(meter, stores))
        except RunInterruptedError as error:
            message = f"{error} ({meter.done} of {total} {title} done)"
            raise RunInterruptedError(message) from error
