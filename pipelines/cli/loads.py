"""Loads that commands start: each is one Dagster run, with progress while it lasts.

Here: the job, config and partitions of each. Not here: what the user reads before and after
(backfill.py, archive.py, demo/main_job.py), or how a run is executed (runs.py).
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import dagster as dg

from assets.archive import ArchiveRunConfig, closed_periods
from assets.datasets import NOUNS, REFRESHES, LoadRunConfig
from marketdata.archiving import archived_dataset
from pipelines.cli import console, runs
from pipelines.cli.interruption import RunInterruptedError
from pipelines.cli.runs import RunReport
from pipelines.jobs import BY_SESSION_JOBS
from resources import opening
from resources.opening import Stores
from resources.settings import read_settings
from usecases.archiving import periods_with_rows
from usecases.load_plan import LoadPlan
from usecases.requested_days import requested_days

FIGURES = ("rows_inserted", "rows_unchanged", "rows_restated", "rows_rejected")
"""Figures that every load reports."""


def load_universe() -> RunReport:
    """Bring the universe and the ticker partitions up to date."""
    return runs.run_job("universe")


def load(stores: Stores, plan: LoadPlan) -> RunReport:
    """Carry out a plan in one run, with a meter of its requests or trading days."""
    dataset = plan.load.dataset
    if plan.sessions:
        first, last = plan.sessions[0].isoformat(), plan.sessions[-1].isoformat()
        job = BY_SESSION_JOBS[dataset.name].name
        return _with_meter(
            "trading days",
            len(plan.sessions),
            stores,
            lambda progress: runs.run_job(job, partitions=(first, last), progress=progress),
        )
    op = REFRESHES[dataset.name].node_def.name
    config = LoadRunConfig.of(replace(plan.load, symbols=tuple(plan.symbols)))
    return _with_meter(
        dataset.name.replace("_", " "),
        len(plan.requests),
        stores,
        lambda progress: runs.run_job(
            dataset.name, config={op: {"config": config.model_dump()}}, progress=progress
        ),
    )


def archive(config: ArchiveRunConfig) -> RunReport:
    """Archive closed periods of some datasets in one run."""
    with opening.archive(read_settings()) as opened:
        days = requested_days(config.start, config.end)
        periods = sum(
            len(periods_with_rows(opened, archived_dataset(name), *days))
            for name in config.datasets
        )
    meter = console.Meter("periods", periods)
    with meter.shown(), runs.open_instance() as instance:

        def show_progress(run_id: str, elapsed_s: float) -> None:
            materializations = instance.get_records_for_run(
                run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION
            )
            # The run's own materialization is no period.
            done = sum(
                record.asset_key != closed_periods.key for record in materializations.records
            )
            meter.update(done, note="", elapsed_s=elapsed_s)

        return runs.run_job(
            "archive",
            config={closed_periods.node_def.name: {"config": config.model_dump()}},
            progress=show_progress,
        )


def outcome(plan: LoadPlan, report: RunReport) -> dict[str, Any]:
    """Return the figures of a plan's run, and its failures by symbol or day."""
    dataset = plan.load.dataset
    noun = NOUNS[dataset.instrument_kind]
    if plan.sessions:
        parts = [day.metadata for day in report.of(f"{dataset.name}_by_session")]
    else:
        parts = [part] if (part := report.last(f"{dataset.name}_refresh")) else []
    parts = parts or [report.failed_with]
    failed = {row["key"]: row["reason"] for part in parts for row in part.get(f"failed_{noun}", [])}
    figures = (*FIGURES, f"{noun}_failed", f"{noun}_deferred", "requests")
    return {
        "run_id": report.run_id,
        **{name: sum(part.get(name, 0) for part in parts) for name in figures},
        "duration_s": round(report.duration_s, 1),
        "failures": failed | failures(report),
    }


def failures(report: RunReport) -> dict[str, str]:
    """Return why a run, or one of its checks, failed."""
    failed = {f"run {report.run_id}": reason for reason in report.failures}
    return failed | {
        f"check {check.name}": check.description for check in report.checks if check.failed
    }


def shown_on(meter: console.Meter, stores: Stores) -> Callable[[str, float], None]:
    """Return a progress function for a run: the meter shows its rows in the ingest log."""

    def show_progress(run_id: str, elapsed_s: float) -> None:
        so_far = stores.ingest_log.progress(run_id)
        note = f"{so_far.failed} failed" if so_far.failed else ""
        meter.update(so_far.loaded + so_far.failed, note=note, elapsed_s=elapsed_s)

    return show_progress


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
