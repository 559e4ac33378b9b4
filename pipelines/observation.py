"""What a tick and a run tell of themselves: an id that follows the work, lines, spans, reports.

Here: the tags that carry id and trace from a tick or command to its run and the run's retries, and
what surrounds a run. Not here: how lines, spans and reports are written (resources/telemetry), or
why a run failed (run_failures.py).
"""

import time
import warnings
from collections.abc import Generator, Mapping
from contextlib import contextmanager

import dagster as dg
import stamina.instrumentation

from marketdata.datasets import DATASETS
from pipelines.run_failures import (
    BY_COMMAND,
    INTERRUPTED,
    PARTITION_TAG,
    RANGE_TAGS,
    STARTED_BY,
    RunFailure,
    failure_of,
    failure_of_step,
    will_be_retried,
)
from resources.settings import read_telemetry_settings
from resources.telemetry import context, logs, reports, traces

TRACE_TAG = "wrdata/traceparent"
"""A run's tag for the span that asked for it, in the form of W3C."""

_LOG = logs.logger("pipelines")

# Dagster says it to whoever reads a command's standard error.
warnings.filterwarnings(
    "ignore", message=".*yaml-defined logging configuration.*", category=dg.BetaWarning
)


def begin() -> None:
    """Begin log lines, spans and error reports of a process of Dagster, as the environment says.

    A command tells a person itself what went wrong, and reports no errors (cli/main.py).

    Raises:
        ConfigurationError: A variable's value is wrong.
    """
    settings = read_telemetry_settings()
    logs.begin(settings.log_format, settings.log_level, command=False)
    stamina.instrumentation.set_on_retry_hooks([logs.log_retry])
    traces.begin()
    reports.begin()


def tags() -> dict[str, str]:
    """Return the tags of a run that goes on with the work at hand, or with new work."""
    carried = {context.CORRELATION_TAG: context.correlation_id() or context.new_correlation_id()}
    parent = traces.traceparent()
    return {**carried, TRACE_TAG: parent} if parent else carried


def tags_of_tick(name: str) -> dict[str, str]:
    """Return the tags of the runs that a tick of a schedule or sensor asks for.

    Raises:
        ConfigurationError: A variable's value is wrong.
    """
    begin()
    with (
        context.bound(correlation_id=context.new_correlation_id(), tick=name),
        traces.span("tick"),
    ):
        _LOG.info("run requested")
        return tags()


@contextmanager
def observed_run(run_id: str, job: str, tags: Mapping[str, str]) -> Generator[None]:
    """Give all that is logged and stored within the block the run's fields, in one span."""
    first, last = (tags.get(name) for name in RANGE_TAGS)
    fields = context.bound(
        correlation_id=context.correlation_id_of_run(run_id, tags),
        run=run_id,
        job=job,
        partition=tags.get(PARTITION_TAG),
        partitions=f"{first}...{last}" if first and last else None,
    )
    began = time.monotonic()
    with fields:
        try:
            with traces.span("run", parent=tags.get(TRACE_TAG, "")):
                yield
        finally:
            _LOG.info("run ended", extra={"duration_s": round(time.monotonic() - began, 3)})
            traces.flush()
            reports.flush()


def report_step(run: dg.DagsterRun, event: dg.DagsterEvent) -> None:
    """Report a step's failure, in the worker that saw it; interruptions are none."""
    if event.event_type is not dg.DagsterEventType.STEP_FAILURE:
        return
    failure = failure_of_step(event, run)
    traces.note(error_class=failure.error_class)
    if failure.error_class != INTERRUPTED:
        error = event.step_failure_data.error
        trace = error.to_string() if error else ""
        _report(run, failure, step=event.step_key or "", details={"traceback": trace})


def report_lost(instance: dg.DagsterInstance, run: dg.DagsterRun) -> None:
    """Report a failed run whose worker could not do so, once no retry follows.

    What a command ran is told by the command.
    """
    if will_be_retried(run) or run.tags.get(STARTED_BY) == BY_COMMAND:
        return
    failure = failure_of(instance, run)
    if not failure.at_step or failure.error_class == INTERRUPTED:
        _report(run, failure, step="", details={})


def _report(
    run: dg.DagsterRun, failure: RunFailure, *, step: str, details: Mapping[str, object]
) -> None:
    known = {
        "correlation_id": context.correlation_id_of_run(run.run_id, run.tags),
        "run": run.run_id,
        "job": run.job_name,
        "step": step,
        "dataset": _dataset_of(step) or _dataset_of(run.job_name),
        "provider": failure.provider,
    }
    reports.report(
        failure.error_class,
        failure.message,
        tags={name: value for name, value in known.items() if value},
        group=(run.job_name, step, failure.error_class),
        details=details,
    )


def _dataset_of(name: str) -> str:
    """Return the dataset of a step or job by its name; empty if it is of none."""
    bare = name.rpartition("__")[2]
    for ending in ("_refresh", "_by_session", "_by_symbol"):
        bare = bare.removesuffix(ending)
    return bare if bare in DATASETS else ""
