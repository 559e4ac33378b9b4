"""Dagster after a restore: runs that only look alive are ended, and its moment is compared.

Here: what of a recovery needs Dagster. Not here: database, bucket and catalogue
(usecases/recovery.py), the hold that schedules respect (recovery_hold.py), or runs lost in everyday
work (workers.py).
"""

import dagster as dg

from resources.storage.recovery.hold import Hold
from usecases.recovery import Finding, Store

UNFINISHED = (
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
)


def end_runs_of_before(instance: dg.DagsterInstance, hold: Hold) -> list[str]:
    """End every run that was not finished at the restored moment; return their ids.

    Their workers are gone, or what they did is: a run that waited then may have ended since, in
    the world that was lost. As failed runs they are repeated or get letters, as ever.
    """
    records = instance.get_run_records(
        dg.RunsFilter(statuses=list(UNFINISHED), created_before=hold.held_at)
    )
    for record in records:
        instance.report_run_failed(
            record.dagster_run,
            f"the database was restored to {hold.target:%Y-%m-%d %H:%M:%S} UTC, when this run had "
            "not ended",
        )
    return [record.dagster_run.run_id for record in records]


def examine(instance: dg.DagsterInstance, loading_runs: list[str], hold: Hold | None) -> Finding:
    """Compare Dagster's moment with that of the data; changes nothing.

    Args:
        instance: Dagster's instance.
        loading_runs: Runs of the latest loads that the data know.
        hold: With the moment that the data were restored to; None if they were not.
    """
    about = "Dagster's runs and the data"
    unknown = [run_id for run_id in loading_runs if instance.get_run_by_id(run_id) is None]
    if unknown:
        return Finding(
            store=Store.DAGSTER, about=about, agrees=False,
            detail=(
                f"Dagster does not know {len(unknown)} of the last {len(loading_runs)} runs that "
                f"loaded rows, such as {unknown[0]}: its database is of an earlier moment"
            ),
            cure=(
                "restore Dagster's database to the same moment; or let it be: coverage and "
                "letters are in the data, only the UI's history lacks these runs: --accept"
            ),
        )  # fmt: skip
    later = _runs_after(instance, hold) if hold else []
    if later:
        return Finding(
            store=Store.DAGSTER, about=about, agrees=False,
            detail=(
                f"{len(later)} runs of Dagster went on after the moment of the data, such as "
                f"{later[0]}: its database is of a later moment, and calls partitions loaded "
                "that are not"
            ),
            cure=(
                "restore Dagster's database to the same moment; or let it be: wrdata backfill "
                "goes by the ledger, which is right: --accept"
            ),
        )  # fmt: skip
    return Finding(
        store=Store.DAGSTER, about=about, agrees=True,
        detail=f"all of the last {len(loading_runs)} loading runs are known, and none is later",
    )  # fmt: skip


def _runs_after(instance: dg.DagsterInstance, hold: Hold) -> list[str]:
    """Return the runs that something was recorded of between the moment and its restore."""
    records = instance.get_run_records(
        dg.RunsFilter(updated_after=hold.target, updated_before=hold.held_at)
    )
    return [record.dagster_run.run_id for record in records]
