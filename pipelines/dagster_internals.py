"""What we take from Dagster that it does not call public, each with the reason.

Here: the only imports of private modules of Dagster in what is shipped, so that a release which
moves one breaks this module and nothing else. Not here: what is done with them. Tests take theirs
from tests/fixtures/dagster_internals.py; tests/pipelines/test_dagster_internals.py says which
one a release has moved.
"""

from dagster._core.definitions.repository_definition import SINGLETON_REPOSITORY_NAME
from dagster._core.definitions.unresolved_asset_job_definition import (
    UnresolvedAssetJobDefinition,
)
from dagster._core.execution.context.system import PlanOrchestrationContext
from dagster._core.execution.plan.plan import ExecutionPlan
from dagster._core.execution.retries import RetryMode
from dagster._core.executor.in_process import InProcessExecutor
from dagster._core.remote_origin import (
    RegisteredCodeLocationOrigin,
    RemoteJobOrigin,
    RemoteRepositoryOrigin,
)
from dagster._utils.schedules import schedule_execution_time_iterator

__all__ = [
    "SINGLETON_REPOSITORY_NAME",
    "ExecutionPlan",
    "InProcessExecutor",
    "PlanOrchestrationContext",
    "RegisteredCodeLocationOrigin",
    "RemoteJobOrigin",
    "RemoteRepositoryOrigin",
    "RetryMode",
    "UnresolvedAssetJobDefinition",
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
    "schedule_execution_time_iterator": "`wrdata plan` says when the daemon will start a schedule,"
    " by the daemon's own reading of a cron line",
}
"""Why no public name serves, by private name."""
