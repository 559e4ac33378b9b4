"""Failed runs: which, why, and the dead letter of one whose work is lost.

Here: failures in order, a failure's class and message as its events have them, and the dead letter
of a lost run. Not here: when failures are looked at (sensors.py, alert_sensors.py), or what is done
about letters (retries.py).

Failures that our code saw are in dead letters already: a provider's error, or partitions that a
run named. Lost are those that it did not see or could not record: a killed worker, a shutdown, a
bug, a database that was down.
"""

import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg

from marketdata.batches import DAILY_BARS_DATASET
from marketdata.recovery import errors
from marketdata.recovery.dead_letters import DeadLetter, Work
from pipelines import jobs
from resources.settings import read_settings
from resources.telemetry import masks
from resources.wiring import LANE_TAG

CLAIM_TAG = "wrdata/dead_letters"
"""Tag that names the claim of dead letters that a run works on."""
PARTITION_TAG = "dagster/partition"
RANGE_TAGS = ("dagster/asset_partition_range_start", "dagster/asset_partition_range_end")
WILL_RETRY_TAG = "dagster/will_retry"
DECIDED_WITHIN = timedelta(minutes=1)
"""Dagster writes the tag a moment after the failure; without it after this time, no retry comes."""

STARTED_BY = "wrdata/started_by"
BY_COMMAND = "command line"
"""Value of that tag on a run that a command executes itself."""
INTERRUPTED = "DagsterExecutionInterruptedError"
CHECK_FAILED = "DagsterAssetCheckFailedError"
FAILURES_AT_ONCE = 100
SHOWN = 500
"""Most characters of a message that are kept."""

_DATASETS = {
    jobs.derived_job.name: DAILY_BARS_DATASET,
    **{name: name for name in jobs.DATASET_JOBS},
    **{job.name: name for name, job in jobs.BY_SYMBOL_JOBS.items()},
    **{job.name: name for name, job in jobs.BY_SESSION_JOBS.items()},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFailure:
    """Why a run failed.

    Attributes:
        message: One line, without secrets.
        lost: No dead letter keeps the work that the run did not do.
        needs_person: The same run would fail again until a person fixes the cause.
        at_step: A step has raised it, in the run's worker.
        provider: The provider that caused it; empty if none did.
    """

    error_class: str
    message: str
    lost: bool
    needs_person: bool = False
    at_step: bool = True
    provider: str = ""


def newest_failure(instance: dg.DagsterInstance) -> int:
    """Return the number of the newest failure in Dagster's storage; 0 if there is none."""
    newest = _failures(instance, limit=1, ascending=False)
    return newest[0].storage_id if newest else 0


def failures_after(instance: dg.DagsterInstance, storage_id: int) -> list[dg.EventLogRecord]:
    """Return the next failures of runs after a number, oldest first."""
    return _failures(instance, limit=FAILURES_AT_ONCE, ascending=True, after=storage_id)


def _failures(
    instance: dg.DagsterInstance, *, limit: int, ascending: bool, after: int | None = None
) -> list[dg.EventLogRecord]:
    record_filter = dg.RunStatusChangeRecordsFilter(
        event_type=dg.DagsterEventType.RUN_FAILURE, after_storage_id=after
    )
    return list(
        instance.fetch_run_status_changes(record_filter, limit=limit, ascending=ascending).records
    )


def will_be_retried(run: dg.DagsterRun) -> bool:
    """Return whether Dagster itself repeats a failed run.

    Dagster tags every failed run, but repeats only those that the daemon or the UI launched: a run
    of the command line has no origin to launch it from.
    """
    launched = run.remote_job_origin is not None
    return run.is_failure and launched and run.tags.get(WILL_RETRY_TAG) == "true"


def is_undecided(
    instance: dg.DagsterInstance, run: dg.DagsterRun, failed_at: datetime, now: datetime
) -> bool:
    """Return whether Dagster has yet to decide if it repeats a run; that takes a moment."""
    return (
        run.is_failure
        and run.remote_job_origin is not None
        and instance.run_retries_enabled
        and WILL_RETRY_TAG not in run.tags
        and now - failed_at < DECIDED_WITHIN
    )


def failure_of(instance: dg.DagsterInstance, run: dg.DagsterRun) -> RunFailure:
    """Return why ``run`` failed: its first lost failure, or else its first failure."""
    records = instance.get_records_for_run(
        run.run_id, of_type={dg.DagsterEventType.STEP_FAILURE, dg.DagsterEventType.RUN_FAILURE}
    ).records
    events = [
        record.event_log_entry.dagster_event
        for record in records
        if record.event_log_entry.dagster_event
    ]
    steps = [
        failure_of_step(event, run)
        for event in events
        if event.event_type is dg.DagsterEventType.STEP_FAILURE
    ]
    if steps:
        return next((step for step in steps if step.lost), steps[0])
    ended = events[-1] if events else None
    # A run that another process ended has a message only.
    data = ended.event_specific_data if ended else None
    reason = getattr(data, "failure_reason", None)
    return RunFailure(
        error_class=reason.value if reason else "RunFailure",
        message=_line((ended.message if ended else "") or "the run ended without a message"),
        lost=True,
        at_step=False,
    )


def lost_work(instance: dg.DagsterInstance, run: dg.DagsterRun, at: datetime) -> DeadLetter | None:
    """Return the dead letter of a failed run whose work is lost, or None.

    A run that Dagster repeats gets none, nor does one that works on dead letters: these go back.

    Args:
        instance: Reads the run's events.
        run: A failed run.
        at: When it failed (aware UTC).
    """
    if CLAIM_TAG in run.tags or will_be_retried(run):
        return None
    failure = failure_of(instance, run)
    if not failure.lost:
        return None
    job = job_of(run)
    tags = {
        name: run.tags[name] for name in (PARTITION_TAG, *RANGE_TAGS, LANE_TAG) if name in run.tags
    }
    work = {"job": job, "ops": run.run_config.get("ops", {}), "tags": tags}
    return DeadLetter(
        dataset=_DATASETS.get(job, job),
        provider=None,
        work=Work.RUN,
        subject=_subject(job, tags, work),
        instrument_id=None,
        error_class=failure.error_class,
        message=failure.message,
        request=job,
        run_id=run.run_id,
        raw_answers=(),
        details=work,
        seen_at=at,
        parked=failure.needs_person or job not in {known_job.name for known_job in jobs.ALL},
    )


def failure_of_step(event: dg.DagsterEvent, run: dg.DagsterRun) -> RunFailure:
    """Return why a step of ``run`` failed, from the event that says so."""
    data = event.step_failure_data
    failure_data = data.user_failure_data
    if failure_data is not None:
        return _of_own_failure(
            failure_data.description or failure_data.label, failure_data.metadata
        )
    chain: list[tuple[str, str]] = []
    error = data.error
    while error:
        chain.append((error.cls_name or "Exception", error.message))
        error = error.cause
    names = [name for name, _ in chain]
    # The first error is Dagster's own, around the one that the step raised.
    error_class, text = chain[min(1, len(chain) - 1)] if chain else ("Exception", "")
    by_command = run.tags.get(STARTED_BY) == BY_COMMAND
    stopped_by_person = INTERRUPTED in names and by_command
    return RunFailure(
        error_class=INTERRUPTED if INTERRUPTED in names else error_class,
        message=_line(text),
        lost=not stopped_by_person and CHECK_FAILED not in names,
    )


def _of_own_failure(text: str, metadata: Mapping[str, dg.MetadataValue]) -> RunFailure:
    """Return the failure of a dg.Failure, which our code raised after it saw the error."""
    named, provider = metadata.get("error_class"), metadata.get("provider")
    error_class = str(named.value) if named else "Failure"
    kind = getattr(errors, error_class, None) if named else None
    is_recorded = (
        issubclass(kind, errors.ProviderError) if isinstance(kind, type) else "failed" in metadata
    )
    return RunFailure(
        error_class=error_class,
        message=_line(text),
        lost=not is_recorded,
        needs_person=kind is errors.ConfigurationError,
        provider=str(provider.value) if provider else "",
    )


def job_of(run: dg.DagsterRun) -> str:
    """Return the job that repeats a run's work.

    A run of the UI may select assets instead of a job: the job that loads them is returned. If
    that takes several of our jobs, Dagster's own name stays, which no job of ours has.
    """
    if not run.job_name.startswith("__"):
        return run.job_name
    chosen = run.asset_selection or frozenset[dg.AssetKey]()
    loaders = [job for key, job in jobs.OF_LOADER.items() if key in chosen]
    if not loaders:
        return jobs.derived_job.name
    return loaders[0] if len(loaders) == 1 else run.job_name


def _subject(job: str, tags: Mapping[str, str], work: Mapping[str, Any]) -> str:
    """Return a name of a run's work: equal for runs of equal work."""
    keys = [tags[name] for name in (PARTITION_TAG, *RANGE_TAGS) if name in tags]
    same = {name: value for name, value in work.items() if name != "tags"} | {"keys": keys}
    digest = hashlib.sha256(json.dumps(same, sort_keys=True, default=str).encode()).hexdigest()
    return " ".join([job, *dict.fromkeys(keys), digest[:8]])


def _line(text: str) -> str:
    """Return ``text`` in one line, shortened, and without secrets."""
    # Reading the settings makes their secrets known; a run may have failed because it cannot.
    with suppress(errors.ConfigurationError):
        read_settings()
    line = " ".join(masks.masked(text).split())
    return line if len(line) <= SHOWN else f"{line[: SHOWN - 1]}…"


def utc(timestamp: float) -> datetime:
    """Return a timestamp of Dagster's storage as aware UTC."""
    return datetime.fromtimestamp(timestamp, UTC)
