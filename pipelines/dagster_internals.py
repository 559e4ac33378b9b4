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
from dagster._core.events import EngineEventData
from dagster._core.execution.api import ExecuteRunWithPlanIterable
from dagster._core.execution.context.system import PlanExecutionContext, PlanOrchestrationContext
from dagster._core.execution.context_creation_job import PlanExecutionContextManager
from dagster._core.execution.plan.plan import ExecutionPlan
from dagster._core.execution.retries import RetryMode
from dagster._core.executor.in_process import InProcessExecutor, inprocess_execution_iterator
from dagster._core.log_manager import DagsterLogManager
from dagster._core.remote_origin import (
    RegisteredCodeLocationOrigin,
    RemoteJobOrigin,
    RemoteRepositoryOrigin,
)
from dagster._utils.schedules import schedule_execution_time_iterator

__all__ = [
    "SINGLETON_REPOSITORY_NAME",
    "DagsterLogManager",
    "EngineEventData",
    "ExecuteRunWithPlanIterable",
    "ExecutionPlan",
    "InProcessExecutor",
    "PlanExecutionContext",
    "PlanExecutionContextManager",
    "PlanOrchestrationContext",
    "RegisteredCodeLocationOrigin",
    "RemoteJobOrigin",
    "RemoteRepositoryOrigin",
    "RetryMode",
    "UnresolvedAssetJobDefinition",
    "inprocess_execution_iterator",
    "schedule_execution_time_iterator",
]

REASONS = {
    "UnresolvedAssetJobDefinition": "the type of what the public define_asset_job returns",
    "InProcessExecutor": "a heartbeat beside a run is an executor around this one (workers.py)",
    "RetryMode": "an argument that InProcessExecutor wants",
    "ExecuteRunWithPlanIterable": "what InProcessExecutor.execute does, which lets nobody come "
    "between it and its steps: below `wrdata up` these tell the terminal nothing",
    "EngineEventData": "what the two events of that are told with, on the page of a run",
    "PlanExecutionContextManager": "an argument of that",
    "inprocess_execution_iterator": "an argument of that",
    "PlanExecutionContext": "the type of what that is given",
    "DagsterLogManager": "the type of a run's log, whose console is silenced there",
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
