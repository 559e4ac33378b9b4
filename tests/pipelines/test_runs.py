"""Runs of commands whose process is gone."""

import os
import socket

import dagster as dg
import pytest

from pipelines.cli import runs
from pipelines.definitions import definitions
from sandbox import processes


@pytest.mark.parametrize("status", [dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.STARTED])
def test_a_run_whose_command_was_killed_is_ended(status: dg.DagsterRunStatus) -> None:
    """Also where the kill came between making the run and starting it; a living one is left."""
    me = processes.identify(os.getpid())
    assert me is not None
    job = definitions.resolve_job_def("universe")
    with dg.DagsterInstance.ephemeral() as instance:
        gone, alive = (
            instance.create_run_for_job(
                job,
                status=status,
                tags={
                    runs.STARTED_BY: runs.BY_COMMAND,
                    runs.PROCESS: f"{socket.gethostname()}/{me.pid}/{born}",
                },
            )
            for born in ("never", me.born)
        )
        runs._end_orphans(instance)
        states = {run.run_id: run.status for run in instance.get_runs()}
    assert states == {gone.run_id: dg.DagsterRunStatus.FAILURE, alive.run_id: status}
