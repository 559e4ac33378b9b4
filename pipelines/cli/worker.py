"""wrdata worker: carries out runs that wait in Redis, on this machine.

Here: the command: from the Dagster instance to a Celery worker that serves until it is asked to
end. Not here: how runs get into the queues (../celery_launcher.py), or the workers of
`wrdata up`, which need no Redis.
"""

import socket
from typing import TYPE_CHECKING, Annotated

import typer

from marketdata.recovery import errors
from marketdata.recovery.limits import Lane
from pipelines.cli import console, dagster_instance, environment
from resources.settings import read_settings

if TYPE_CHECKING:
    from celery import Celery

RUNS_A_PROCESS = 50
"""A process that carries out runs is replaced after so many: what they leave behind is bounded."""


def worker(
    *,
    queue: Annotated[
        list[Lane] | None,
        typer.Option(help="Serve only this lane; may be given several times."),
    ] = None,
    runs: Annotated[int, typer.Option(help="How many runs at once.", min=1, max=64)] = 1,
    name: Annotated[str, typer.Option(help="Tells several workers of one host apart.")] = "worker",
) -> None:
    """Carry out runs from the queues until it is asked to end; at SIGTERM the run has 25 s."""
    environment.enter(environment.surroundings(writes=False), start=False)
    read_settings()
    queues = [lane.value for lane in queue or list(Lane)]
    app = _app()
    console.say(f"{name} on {socket.gethostname()} serves {', '.join(queues)}: {runs} runs at once")
    app.worker_main(
        [
            "worker",
            f"--queues={','.join(queues)}",
            f"--concurrency={runs}",
            f"--max-tasks-per-child={RUNS_A_PROCESS}",
            f"--hostname={name}@%h",
            "--loglevel=WARNING",
            # Workers need not know of each other.
            "--without-gossip",
            "--without-mingle",
        ]
    )


def _app() -> "Celery":
    """Return the Celery application of the Dagster instance, with the task that is a run.

    Raises:
        ConfigurationError: The packages are not installed, or the instance starts runs otherwise.
    """
    try:
        from celery.signals import setup_logging, worker_ready
        from dagster_celery.tasks import (
            create_execute_job_task,  # pyright: ignore[reportUnknownVariableType] its dict has no types
        )

        from pipelines.celery_launcher import CeleryLauncher
    except ModuleNotFoundError as error:
        message = f"there is no {error.name}: install the project with its extra `workers`"
        raise errors.ConfigurationError(message) from error
    with dagster_instance.opened() as instance:
        launcher = instance.run_launcher
    if not isinstance(launcher, CeleryLauncher):
        message = (
            "the dagster.yaml of DAGSTER_HOME does not start runs by Celery: put "
            "deploy/launchers/celery.yaml there (docs/how-to/scale.md)"
        )
        raise errors.ConfigurationError(message)
    create_execute_job_task(launcher.app)
    # Each line once, as dagster.yaml says: without a receiver Celery adds handlers of its own.
    setup_logging.connect(_leave_logging)
    worker_ready.connect(_say_ready)
    return launcher.app


def _say_ready(**_: object) -> None:
    console.say("ready: it takes runs")


def _leave_logging(**_: object) -> None:
    """Configure nothing."""
