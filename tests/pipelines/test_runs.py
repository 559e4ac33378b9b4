"""Runs of commands whose process is gone."""

import os
import socket
from pathlib import Path

import dagster as dg
import pytest
import yaml

from pipelines.cli import runs
from pipelines.cli.code_location import record_under_location
from pipelines.definitions import definitions
from sandbox import processes

WORKSPACE = Path(__file__).parents[2] / "workspace.yaml"


def test_a_run_of_a_command_belongs_to_the_code_location_of_the_workspace() -> None:
    """Dagster's Timeline and its pages of jobs show no other; its daemon repeats none of them."""

    @dg.job
    def nothing() -> None:
        pass

    module = yaml.safe_load(WORKSPACE.read_text())["load_from"][0]["python_module"]
    with dg.DagsterInstance.ephemeral() as instance:
        record_under_location(instance, "nothing")
        nothing.execute_in_process(instance=instance)
        (run,) = instance.get_runs()

    assert run.remote_job_origin is not None
    assert run.remote_job_origin.job_name == "nothing"
    label = f"__repository__@{module['location_name']}"
    assert run.remote_job_origin.repository_origin.get_label() == label
    assert run.tags_for_storage()[".dagster/repository"] == label


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
