"""The code location that runs of the command line belong to, as Dagster's UI knows it.

Here: recording a run that a command executes itself under its code location and job. Without it
the UI shows the run only on its list of runs: Timeline and the pages of jobs leave out runs that
name no location. Not here: executing runs (runs.py).
"""

import functools

import dagster as dg

from pipelines.dagster_internals import (
    SINGLETON_REPOSITORY_NAME,
    RegisteredCodeLocationOrigin,
    RemoteJobOrigin,
    RemoteRepositoryOrigin,
)

LOCATION_NAME = "wrdata"
"""The location's name in workspace.yaml."""


def record_under_location(instance: dg.DagsterInstance, job: str) -> None:
    """Record every run that ``instance`` creates from now on as one of ``job`` in our location."""
    repository = RemoteRepositoryOrigin(
        RegisteredCodeLocationOrigin(LOCATION_NAME), SINGLETON_REPOSITORY_NAME
    )
    located = functools.partial(
        instance.create_run_for_job, remote_job_origin=RemoteJobOrigin(repository, job)
    )
    # execute_in_process creates its run itself, through this method and without an origin.
    instance.create_run_for_job = located  # pyright: ignore[reportAttributeAccessIssue]
