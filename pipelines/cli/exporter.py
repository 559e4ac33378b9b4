"""wrdata exporter: metrics for Prometheus, and health for whoever keeps processes running.

Here: the command: from settings to a server that runs until it is asked to end. Not here: what it
answers (monitoring/).
"""

import threading
from typing import Annotated

import typer

from machine.processes import LOOPBACK
from monitoring import health, server
from monitoring.collector import DatabaseCollector
from pipelines import users
from pipelines.cli import console, dagster_processes, environment
from resources import opening
from resources.settings import read_settings
from resources.storage.object_store import ObjectStore
from usecases.instruments import UNIVERSE

PORT = 9464


def exporter(
    host: Annotated[
        str, typer.Option("--host", help="Address to bind; 0.0.0.0 lets other machines in.")
    ] = LOOPBACK,
    port: Annotated[int, typer.Option("--port", help="Port; 0 is any free one.")] = PORT,
    webserver: Annotated[
        str,
        typer.Option(
            "--webserver",
            help="Address of Dagster's web server, which knows the code location; by default the "
            "one of wrdata up.",
        ),
    ] = "",
) -> None:
    """Serve /metrics for Prometheus, and /health/live, /health/ready and /health/startup."""
    surroundings = environment.surroundings(writes=False)
    environment.enter(surroundings, start=False)
    settings = read_settings()
    database_url = settings.database_url.get_secret_value()
    collector = DatabaseCollector(database_url, settings.dagster_url, UNIVERSE)
    probes = health.probes(
        database_url=database_url,
        dagster_url=settings.dagster_url,
        store=ObjectStore(opening.s3_settings(settings)),
        webserver=webserver or _webserver_of(surroundings),
        webserver_headers=users.of_the_proxy(),
    )
    ended = threading.Event()
    with (
        dagster_processes.signals_handled(lambda _number, _frame: ended.set()),
        server.serving(host, port, collector, health.Health(probes)) as address,
    ):
        console.say(f"the exporter serves {address}/metrics and {address}/health/ready")
        ended.wait()


def _webserver_of(surroundings: environment.Surroundings) -> str:
    """Return the address of the web server that `wrdata up` runs, or nothing."""
    running = dagster_processes.left_over(surroundings.world.root)
    return f"http://{LOOPBACK}:{running[1]}" if running else ""
