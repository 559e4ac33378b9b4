"""Private names of Dagster that we use, each with the reason.

Here: all imports of Dagster's private modules in shipped code, so that a release which moves one
breaks only this module. Not here: their use. Tests have their own in
tests/fixtures/dagster_internals.py; tests/pipelines/test_dagster_internals.py names the one that a
release has moved.
"""

from dagster._core.definitions.repository_definition import SINGLETON_REPOSITORY_NAME
from dagster._core.definitions.unresolved_asset_job_definition import (
    UnresolvedAssetJobDefinition,
)
from dagster._core.execution.context.system import PlanOrchestrationContext
from dagster._core.execution.plan.plan import ExecutionPlan
from dagster._core.execution.retries import RetryMode
from dagster._core.executor.in_process import InProcessExecutor
from dagster._core.launcher.base import CheckRunHealthResult, LaunchRunContext, WorkerStatus
from dagster._core.remote_origin import (
    RegisteredCodeLocationOrigin,
    RemoteJobOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.run_coordinator.base import SubmitRunContext
from dagster._core.run_coordinator.queued_run_coordinator import QueuedRunCoordinator
from dagster._core.workspace.context import WorkspaceProcessContext, WorkspaceRequestContext
from dagster._core.workspace.load_target import WorkspaceFileTarget
from dagster._daemon.cli import run_command
from dagster._serdes import ConfigurableClassData
from dagster._utils.schedules import schedule_execution_time_iterator

__all__ = [
    "SINGLETON_REPOSITORY_NAME",
    "CheckRunHealthResult",
    "ConfigurableClassData",
    "ExecutionPlan",
    "InProcessExecutor",
    "LaunchRunContext",
    "PlanOrchestrationContext",
    "QueuedRunCoordinator",
    "RegisteredCodeLocationOrigin",
    "RemoteJobOrigin",
    "RemoteRepositoryOrigin",
    "RetryMode",
    "SubmitRunContext",
    "UnresolvedAssetJobDefinition",
    "WorkerStatus",
    "WorkspaceFileTarget",
    "WorkspaceProcessContext",
    "WorkspaceRequestContext",
    "run_command",
    "schedule_execution_time_iterator",
]

REASONS = {
    "UnresolvedAssetJobDefinition": "the type of what the public define_asset_job returns",
    "InProcessExecutor": "a heartbeat beside a run is an executor around this one (workers.py)",
    "RetryMode": "an argument that InProcessExecutor wants",
    "PlanOrchestrationContext": "the type of what the public Executor.execute is given",
    "ExecutionPlan": "the type of what the public Executor.execute is given",
    "SINGLETON_REPOSITORY_NAME": "part of the place under which the UI shows a command's run",
    "RegisteredCodeLocationOrigin": "part of that place (cli/code_location.py)",
    "RemoteRepositoryOrigin": "part of that place",
    "RemoteJobOrigin": "that place: execute_in_process names none",
    "QueuedRunCoordinator": "the queue that tags runs with who started them is built on it"
    " (run_coordinator.py); the documentation names it for dagster.yaml",
    "SubmitRunContext": "the type of what its submit_run is given",
    "WorkspaceRequestContext": "a request's user is known by its headers (webserver.py), and a run"
    " of the UI from one of the daemon (run_coordinator.py)",
    "WorkspaceProcessContext": "makes the contexts of requests; the web server is given one",
    "WorkspaceFileTarget": "an argument that it wants",
    "LaunchRunContext": "the type of what RunLauncher.launch_run is given (celery_launcher.py)",
    "CheckRunHealthResult": "what a launcher says of a run's worker",
    "WorkerStatus": "part of that",
    "run_command": "Dagster's daemon in the process that holds its lock (cli/daemon.py):"
    " a child would outlive it",
    "ConfigurableClassData": "the type of what a class of dagster.yaml is given",
    "schedule_execution_time_iterator": "`wrdata plan` says when the daemon will start a schedule,"
    " by the daemon's own reading of a cron line",
}
"""Reason for each private name."""
