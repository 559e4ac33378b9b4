"""Workers of runs: their heartbeats, and ending a run whose worker is gone.

Here: the heartbeat beside every run, the executor that starts it, and the look at all runs by the
sensor `lost_runs`, by `wrdata up` and by each command that opens Dagster. Not here: the table
(resources/storage/runs/workers.py), what a run tells of itself (observation.py), or what is done
about failed runs (run_failures.py, retries.py).

Dagster's code server watches the workers that it started. If it dies with them, or if a command
was the worker, nothing does: the run would stay STARTED and keep its place in the queue.
"""

import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta

import dagster as dg

from marketdata.calendars import utc_now
from marketdata.recovery import errors
from marketdata.recovery.process_identity import here, is_running, this_process
from pipelines import observation, run_audit, run_failures
from pipelines.dagster_internals import (
    ExecutionPlan,
    InProcessExecutor,
    PlanOrchestrationContext,
    RetryMode,
)
from resources.settings import read_settings
from resources.storage.runs.workers import RunWorker, RunWorkers
from resources.storage.timescale import Timescale
from resources.telemetry import logs

_LOG = logs.logger("pipelines")

BEAT_S = 5.0
FIRST_BEAT_WITHIN_S = 2.0
"""Longest wait for a run's first heartbeat before its work begins."""
SILENT_AFTER_S = 30.0
"""A worker on another host is gone after this silence. On this host its process is looked at."""
FIRST_BEAT_AFTER = timedelta(seconds=20)
"""Between the start of a run and its first heartbeat its code is loaded."""
UNKNOWN_AFTER = timedelta(seconds=45)
"""A run that has been STARTED for this long without any heartbeat has no worker."""

_WITH_A_WORKER = (
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LostRun:
    """A run that Dagster takes for running though its worker is gone."""

    run: dg.DagsterRun
    reason: str


@contextmanager
def heartbeat(run_id: str, job: str) -> Generator[None]:
    """Record in the database that this process works on a run, until the block ends.

    Work goes on if the database is down; heartbeats resume when it is back.
    """
    first_beat, ended = threading.Event(), threading.Event()
    beats = threading.Thread(
        target=_beat, args=(run_id, job, first_beat, ended), name="heartbeat", daemon=True
    )
    beats.start()
    first_beat.wait(FIRST_BEAT_WITHIN_S)
    try:
        yield
    finally:
        ended.set()
        beats.join(BEAT_S)


def _beat(run_id: str, job: str, first_beat: threading.Event, ended: threading.Event) -> None:
    place, process = here(), this_process()
    while not ended.is_set():
        try:
            with _opened() as workers:
                while not ended.is_set():
                    workers.beat(run_id, job=job, place=place, process=process)
                    first_beat.set()
                    ended.wait(BEAT_S)
                workers.leave(run_id)
        except errors.MarketDataError as error:
            _LOG.debug("the heartbeat of run %s cannot be written: %s", run_id, error)
            ended.wait(BEAT_S)


@contextmanager
def _opened() -> Generator[RunWorkers]:
    url = read_settings().database_url.get_secret_value()
    with Timescale(url, pool_size=1) as timescale:
        yield RunWorkers(timescale)


class InProcessWithHeartbeat(InProcessExecutor):
    """Executes all steps in the run's own process, with a heartbeat as its worker."""

    def execute(
        self, plan_context: PlanOrchestrationContext, execution_plan: ExecutionPlan
    ) -> Iterator[dg.DagsterEvent]:
        """Execute the run with a heartbeat beside it; report the steps that fail."""
        run = plan_context.dagster_run
        observation.begin()
        run_audit.record_start(run.run_id, run.job_name, run.tags)
        with (
            heartbeat(run.run_id, run.job_name),
            observation.observed_run(run.run_id, run.job_name, run.tags),
        ):
            for event in super().execute(plan_context, execution_plan):
                observation.report_step(run, event)
                yield event


@dg.executor(name="in_process")
def in_process_with_heartbeat(_context: dg.InitExecutorContext) -> InProcessWithHeartbeat:
    """Return the executor of our runs (see definitions.py)."""
    return InProcessWithHeartbeat(retries=RetryMode.ENABLED)


def worker_of(run_id: str) -> RunWorker | None:
    """Return the worker of a run, as its last heartbeat tells; None if there was none.

    Raises:
        StorageError: The workers cannot be read.
    """
    with _opened() as workers:
        return next((worker for worker in workers.all() if worker.run_id == run_id), None)


def is_gone(worker: RunWorker) -> bool:
    """Return whether a worker does not work on its run any more."""
    if worker.has_left:
        return worker.silent_s > SILENT_AFTER_S
    if worker.place == here():
        return not is_running(worker.process)
    return worker.silent_s > SILENT_AFTER_S


def lost(instance: dg.DagsterInstance, workers: RunWorkers) -> list[LostRun]:
    """Return the runs that Dagster takes for running though their worker is gone.

    Raises:
        StorageError: The workers cannot be read.
    """
    by_run = {worker.run_id: worker for worker in workers.all()}
    records = instance.get_run_records(dg.RunsFilter(statuses=list(_WITH_A_WORKER)))
    lost_runs: list[LostRun] = []
    for record in records:
        worker = by_run.get(record.dagster_run.run_id)
        reason = _why_gone(worker) if worker else reason_of_unknown(record, utc_now())
        if reason:
            lost_runs.append(LostRun(run=record.dagster_run, reason=reason))
    return lost_runs


def end_lost(instance: dg.DagsterInstance, workers: RunWorkers) -> list[LostRun]:
    """End the runs whose worker is gone, and forget the workers of finished runs.

    Raises:
        StorageError: The workers cannot be read.
    """
    ended: list[LostRun] = []
    for lost_run in lost(instance, workers):
        # It may have ended meanwhile.
        run = instance.get_run_by_id(lost_run.run.run_id)
        if run is None or run.is_finished:
            continue
        if run.status is dg.DagsterRunStatus.CANCELING:
            instance.report_run_canceled(run, lost_run.reason)
        else:
            instance.report_run_failed(run, lost_run.reason)
        ended.append(lost_run)
    over = [
        worker.run_id
        for worker in workers.all()
        if worker.silent_s > SILENT_AFTER_S and _is_over(instance, worker.run_id)
    ]
    if over:
        workers.forget(over)
    return ended


def current_lost(instance: dg.DagsterInstance) -> list[LostRun]:
    """Return the runs whose worker is gone, without ending them.

    Raises:
        StorageError: The workers cannot be read.
    """
    with _opened() as workers:
        return lost(instance, workers)


def try_end_lost(instance: dg.DagsterInstance) -> list[LostRun]:
    """End lost runs; if the database fails, they wait for the next call."""
    with suppress(errors.MarketDataError), _opened() as workers:
        return end_lost(instance, workers)
    return []


def _why_gone(worker: RunWorker) -> str | None:
    if not is_gone(worker):
        return None
    host = worker.place.partition(" ")[0]
    worker_name = f"its worker (process {worker.process.pid} on {host})"
    if worker.place == here() and not worker.has_left:
        return f"{worker_name} is gone"
    return f"{worker_name} has not been heard of for {worker.silent_s:.0f} s"


def reason_of_unknown(record: dg.RunRecord, now: datetime) -> str | None:
    """Return why a run without any heartbeat counts as lost, or None while it may be starting."""
    if record.dagster_run.status is not dg.DagsterRunStatus.STARTED or record.start_time is None:
        return None  # Dagster itself watches runs that do not start.
    age = now - run_failures.utc(record.start_time)
    return "its worker never sent a heartbeat" if age > UNKNOWN_AFTER else None


def _is_over(instance: dg.DagsterInstance, run_id: str) -> bool:
    run = instance.get_run_by_id(run_id)
    return run is None or run.is_finished
