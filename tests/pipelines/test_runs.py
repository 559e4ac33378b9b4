"""Runs of the command line, as Dagster knows them."""

from pathlib import Path

import dagster as dg
import yaml

from pipelines.cli.code_location import record_under_location

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
