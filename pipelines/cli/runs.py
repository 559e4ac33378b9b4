"""Running a job of ours through Dagster from the command line, in this process.

Here: one run from start to end, recorded in the instance so that the UI shows it, and its report.
Not here: the jobs (pipelines/jobs.py), or what commands print around a run.

A run in this process needs neither daemon nor web server, and starts at once.
"""

import logging
import threading
import time
import uuid
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import dagster as dg
import sqlalchemy.exc

from machine.person import user_at_host
from marketdata.recovery import errors
from pipelines import observation, run_audit, users, workers
from pipelines.cli import console, dagster_instance
from pipelines.cli.code_location import record_under_location
from pipelines.cli.interruption import RunInterruptedError
from pipelines.definitions import definitions
from pipelines.run_failures import (
    BY_COMMAND,
    INTERRUPTED,
    PARTITION_TAG,
    RANGE_TAGS,
    STARTED_BY,
)

PROGRESS_EVERY_S = 0.5
MAX_RETRIES = "dagster/max_retries"
"""Dagster's tag: how often its daemon may launch a failed run again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reported:
    """One materialization: its asset, its partition, and its metadata as plain values."""

    asset: str
    partition: str | None
    metadata: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """One asset check's verdict; a warning is shown but fails nothing."""

    name: str
    passed: bool
    severity: dg.AssetCheckSeverity
    description: str

    @property
    def failed(self) -> bool:
        """Whether the check found an error."""
        return not self.passed and self.severity is dg.AssetCheckSeverity.ERROR


@dataclass(frozen=True, slots=True, kw_only=True)
class RunReport:
    """Outcome of a run.

    Attributes:
        failed_with: Metadata of the failure that one of our assets raised; empty without one.
    """

    run_id: str
    job: str
    success: bool
    duration_s: float
    reported: Sequence[Reported]
    checks: Sequence[Checked]
    failures: Sequence[str]
    failed_with: Mapping[str, Any]

    def of(self, asset: str) -> list[Reported]:
        """Return the materializations of the asset whose key ends in ``asset``."""
        return [report for report in self.reported if report.asset == asset]

    def last(self, asset: str) -> Mapping[str, Any]:
        """Return the metadata of the last materialization of ``asset``; empty without one."""
        reports = self.of(asset)
        return reports[-1].metadata if reports else {}


def run_job(
    job: str,
    *,
    config: Mapping[str, Any] | None = None,
    partition: str | None = None,
    partitions: tuple[str, str] | None = None,
    tags: Mapping[str, str] | None = None,
    progress: Callable[[str, float], None] | None = None,
) -> RunReport:
    """Execute ``job`` and return what it reported; a failed run is a report, not an error.

    Args:
        job: Name of a job in the definitions.
        config: Run config of its ops.
        partition: One partition key, or
        partitions: the first and last key of a range, done in a single run.
        tags: Further tags of the run.
        progress: Called every half second with the run's id and the seconds since its start.

    Raises:
        ConfigurationError: Dagster's storage cannot be opened.
        RunInterruptedError: Ctrl-C or SIGTERM came while the job ran.
    """
    for chatty in ("dagster", "psycopg.pool"):
        # The run's report says at its end what they would log on the way.
        logging.getLogger(chatty).setLevel(logging.CRITICAL)
    # No daemon repeats such a run: the person does, or a dead letter if the work is lost.
    every_tag = {
        **observation.tags(),
        **(tags or {}),
        STARTED_BY: BY_COMMAND,
        MAX_RETRIES: "0",
        users.USER_TAG: user_at_host(),
    }
    if partitions:
        every_tag |= dict(zip(RANGE_TAGS, partitions, strict=True))
    run_id = str(uuid.uuid4())
    started = time.monotonic()
    with (
        open_instance() as instance,
        workers.heartbeat(run_id, job),
        observation.observed_run(run_id, job, every_tag),
        _watched(progress, run_id, started),
    ):
        record_under_location(instance, job)
        named = {PARTITION_TAG: partition} if partition else {}
        run_audit.record_start(run_id, job, {**every_tag, **named})
        result = definitions.resolve_job_def(job).execute_in_process(
            run_config={
                "ops": dict(config or {}),
                "loggers": {"console": {"config": {"log_level": "CRITICAL"}}},
            },
            instance=instance,
            partition_key=partition,
            tags=every_tag,
            run_id=run_id,
            raise_on_error=False,
        )
    report = _report(job, result, time.monotonic() - started)
    if any(INTERRUPTED in reason for reason in report.failures):
        run_audit.record_interruption(run_id, job)
        message = f"run {run_id} was interrupted: stored rows are kept; repeat the command to go on"
        raise RunInterruptedError(message)
    return report


@contextmanager
def open_instance() -> Generator[dg.DagsterInstance]:
    """Open the Dagster instance of DAGSTER_HOME, and end runs whose worker is gone.

    Raises:
        ConfigurationError: Its storage cannot be reached.
    """
    with dagster_instance.opened() as instance:
        workers.try_end_lost(instance)
        yield instance


def end_lost(instance: dg.DagsterInstance) -> None:
    """End the runs whose worker is gone, and print them; without storage a later look does it."""
    with suppress(sqlalchemy.exc.SQLAlchemyError, dg.DagsterError):
        for lost in workers.try_end_lost(instance):
            console.say(f"run {lost.run.run_id} ({lost.run.job_name}) is ended: {lost.reason}")


@contextmanager
def _watched(
    progress: Callable[[str, float], None] | None, run_id: str, started: float
) -> Generator[None]:
    """Call ``progress`` from a thread while the block runs, and once more at its end."""
    if progress is None:
        yield
        return
    ended = threading.Event()

    def call_progress() -> None:
        # Progress that cannot be read is skipped; the run itself reports what is wrong.
        with suppress(errors.MarketDataError):
            progress(run_id, time.monotonic() - started)

    def watch() -> None:
        while not ended.wait(PROGRESS_EVERY_S):
            call_progress()

    watcher = threading.Thread(target=watch, name="progress", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()
        call_progress()


def _report(job: str, result: dg.ExecuteInProcessResult, duration_s: float) -> RunReport:
    reported: list[Reported] = []
    checks: list[Checked] = []
    failures: list[str] = []
    failed_with: dict[str, Any] = {}
    for event in result.all_events:
        if event.event_type == dg.DagsterEventType.ASSET_MATERIALIZATION:
            materialization = event.step_materialization_data.materialization
            reported.append(
                Reported(
                    asset=materialization.asset_key.path[-1],
                    partition=materialization.partition,
                    metadata={
                        name: _plain(value) for name, value in materialization.metadata.items()
                    },
                )
            )
        elif event.event_type == dg.DagsterEventType.ASSET_CHECK_EVALUATION:
            verdict = event.asset_check_evaluation_data
            checks.append(
                Checked(
                    name=verdict.check_name,
                    passed=verdict.passed,
                    severity=verdict.severity,
                    description=verdict.description or "",
                )
            )
        elif event.event_type == dg.DagsterEventType.STEP_FAILURE:
            failures.append(_failure(event))
            failure_data = event.step_failure_data.user_failure_data
            if failure_data is not None:
                failed_with |= {
                    name: _plain(value) for name, value in failure_data.metadata.items()
                }
        elif event.event_type == dg.DagsterEventType.RUN_FAILURE:
            error = event.job_failure_data.error
            if error and error.cls_name == INTERRUPTED:  # between two steps
                failures.append(INTERRUPTED)
    return RunReport(
        run_id=result.run_id,
        job=job,
        success=result.success,
        duration_s=duration_s,
        reported=reported,
        checks=checks,
        failures=failures,
        failed_with=failed_with,
    )


def _plain(value: dg.MetadataValue) -> Any:
    if isinstance(value, dg.TableMetadataValue):
        return [record.data for record in value.records]
    return value.value


def _failure(event: dg.DagsterEvent) -> str:
    """Return why a step failed: our own description if there is one, or the first error."""
    data = event.step_failure_data
    if data.user_failure_data and data.user_failure_data.description:
        return data.user_failure_data.description
    error = data.error
    while error and error.cause:
        error = error.cause
    return error.message.strip() if error else "the step failed without an error"
