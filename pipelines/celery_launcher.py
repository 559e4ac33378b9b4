"""Runs as Celery tasks: workers on any number of machines take them from queues in Redis.

Here: the launcher that deploy/launchers/celery.yaml names: which queue a run waits in, how a run is
cancelled, and how a worker that is gone is noticed. Not here: the workers' command (cli/worker.py),
how many runs go at once (the same dagster.yaml), or heartbeats (workers.py).

Dagster's own launcher does all but three things right. A cancelled run fails there, and a failed
run is repeated. A run whose task was lost stays STARTED, since Redis says so for ever. And it asks
nobody whether the worker lives. A run is never delivered twice (no late acknowledgement): whether
it is repeated is for Dagster to decide, by its own retries.
"""

import contextlib
import ssl
import time
from collections.abc import Mapping
from typing import Any

import dagster as dg
from celery import Celery
from celery.exceptions import CeleryError
from dagster_celery.launcher import CeleryRunLauncher
from dagster_celery.tags import DAGSTER_CELERY_QUEUE_TAG, DAGSTER_CELERY_TASK_ID_TAG
from kombu import Exchange, Queue
from kombu.exceptions import KombuError
from redis.exceptions import RedisError

from marketdata.calendars import utc_now
from marketdata.recovery import errors
from marketdata.recovery.limits import Lane
from pipelines import run_failures, workers
from pipelines.dagster_internals import (
    CheckRunHealthResult,
    ConfigurableClassData,
    LaunchRunContext,
    WorkerStatus,
)
from resources.wiring import LANE_TAG

_SILENT_S = workers.BEAT_S + 1.0
"""A heartbeat that is younger needs no question to the worker."""
_ASKED_WITHIN_S = 2.0
"""Workers answer a broadcast within this time, or count as gone."""
_ANSWERS_COUNT_FOR_S = 2.0
"""One broadcast serves all runs that are looked at together."""
_ENDED = {"SUCCESS", "FAILURE", "REVOKED"}
_AWAY = (RedisError, KombuError, CeleryError, OSError)
"""What is raised where Redis cannot be asked now."""

_SETTINGS: Mapping[str, Any] = {
    "task_acks_late": False,
    "task_reject_on_worker_lost": False,
    "task_track_started": True,
    # A worker takes a task when it can begin it, and acknowledges it then. One that it kept for
    # later would be lost for the time below when Redis is restarted.
    "worker_prefetch_multiplier": 1,
    "worker_disable_prefetch": True,
    "broker_transport_options": {"visibility_timeout": 120},
    # Longer than any run: dagster.yaml bounds them.
    "result_expires": 86_400,
    "broker_connection_retry_on_startup": True,
    # Dagster and our own lines are logged as dagster.yaml says.
    "worker_hijack_root_logger": False,
    "worker_redirect_stdouts": False,
    # At SIGTERM a run has this long to end, or is cut off and repeated by Dagster.
    "worker_soft_shutdown_timeout": 25.0,
}


class CeleryLauncher(CeleryRunLauncher):
    """Starts a run as a task in the queue of its lane.

    Args:
        broker: URL of Redis, which holds the queues.
        backend: URL of Redis, which holds the tasks' states.
        default_queue: Of runs without a queue, of which there are none.
        include: Modules that workers import; none is needed.
        config_source: Settings of Celery instead of ours.
        inst_data: What dagster.yaml says.
    """

    def __init__(
        self,
        broker: str,
        backend: str,
        default_queue: str = Lane.BACKFILL.value,
        include: list[str] | None = None,
        config_source: Mapping[str, Any] | None = None,
        inst_data: ConfigurableClassData | None = None,
    ) -> None:
        super().__init__(  # pyright: ignore[reportUnknownMemberType] its dict has no types
            default_queue=default_queue,
            broker=broker,
            backend=backend,
            include=include,
            config_source={**_SETTINGS, **_tls(broker), **(config_source or {})},
            inst_data=inst_data,
        )
        self.celery.conf.task_queues = [
            Queue(lane.value, Exchange(lane.value, type="topic"), routing_key=f"{lane.value}.#")
            for lane in Lane
        ]
        self._active: frozenset[str] = frozenset()
        self._asked_at = -_ANSWERS_COUNT_FOR_S

    @property
    def app(self) -> Celery:
        """The Celery application: queues, and where Redis is."""
        return self.celery

    def launch_run(self, context: LaunchRunContext) -> None:
        """Put the run into the queue of its lane."""
        run = context.dagster_run
        tags = {DAGSTER_CELERY_QUEUE_TAG: lane_of(run.tags).value}
        self._instance.add_run_tags(run.run_id, tags)
        super().launch_run(context._replace(dagster_run=run.with_tags({**run.tags, **tags})))

    def terminate(self, run_id: str) -> bool:
        """Cancel a run: it ends as cancelled, whether it waits or a worker has begun it."""
        run = self._instance.get_run_by_id(run_id)
        if run is None or run.is_finished:
            return False
        self._instance.report_run_canceling(run)
        if DAGSTER_CELERY_TASK_ID_TAG in run.tags:
            super().terminate(run_id)
        if run.status is not dg.DagsterRunStatus.STARTED:
            # No worker has begun it; one that takes it now sees that it was cancelled.
            self._instance.report_run_canceled(run)
        return True

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        """Say whether somebody works on a run that Dagster takes for running.

        A heartbeat says it first, then the task's state, then the workers themselves. While Redis
        or the database is away, nothing is known, and no run is ended for it.
        """
        healthy = CheckRunHealthResult(WorkerStatus.RUNNING)
        try:
            worker = workers.worker_of(run.run_id)
            if worker is not None and worker.silent_s < _SILENT_S:
                return healthy
            state = self._state(run)
            if state in _ENDED:
                return self._ended(run, state)
            if worker is None and self._starts(run):
                return healthy
            if self._is_active(run):
                return healthy
        except (errors.StorageError, *_AWAY):
            return healthy
        return CheckRunHealthResult(WorkerStatus.NOT_FOUND, "its worker is gone: none has the task")

    def _ended(self, run: dg.DagsterRun, state: str) -> CheckRunHealthResult:
        present = self._instance.get_run_by_id(run.run_id)
        if present is None or present.is_finished:
            return CheckRunHealthResult(WorkerStatus.SUCCESS)
        return CheckRunHealthResult(
            WorkerStatus.FAILED, f"its worker is gone: the task ended ({state}), the run did not"
        )

    def _state(self, run: dg.DagsterRun) -> str:
        task = run.tags.get(DAGSTER_CELERY_TASK_ID_TAG)
        return str(self.celery.AsyncResult(task).state) if task else ""

    def _starts(self, run: dg.DagsterRun) -> bool:
        """Return whether the run began so lately that there need be no heartbeat yet."""
        record = self._instance.get_run_record_by_id(run.run_id)
        if record is None or record.start_time is None:
            return True
        return utc_now() - run_failures.utc(record.start_time) < workers.FIRST_BEAT_AFTER

    def _is_active(self, run: dg.DagsterRun) -> bool:
        """Return whether a worker says that it has the run's task."""
        if time.monotonic() - self._asked_at > _ANSWERS_COUNT_FOR_S:
            answers = self.celery.control.inspect(timeout=_ASKED_WITHIN_S).active() or {}
            self._active = frozenset(
                task["id"] for tasks in answers.values() for task in tasks if "id" in task
            )
            self._asked_at = time.monotonic()
        return run.tags.get(DAGSTER_CELERY_TASK_ID_TAG) in self._active


def _tls(url: str) -> Mapping[str, Any]:
    """Return what checks Redis' certificate; Celery would refuse the URL, or not check it."""
    if not url.startswith("rediss://"):
        return {}
    checked = {"ssl_cert_reqs": ssl.CERT_REQUIRED}
    return {"broker_use_ssl": checked, "redis_backend_use_ssl": checked}


def lane_of(tags: Mapping[str, str]) -> Lane:
    """Return the queue of a run, which is its lane in request budgets as well."""
    with contextlib.suppress(ValueError):
        return Lane(tags.get(LANE_TAG, Lane.BACKFILL))
    return Lane.BACKFILL
