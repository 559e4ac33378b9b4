"""`wrdata up` and the processes below it: alone in its folder, and ended in order."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from machine import processes
from machine.processes import wait_until
from pipelines.cli.dagster_processes import MARK
from sandbox.local_world import LocalWorld

COMMAND = (sys.executable, "-m", "pipelines.cli")
PATIENCE_S = 180.0
"""Bounds what would never come; nothing is measured by it."""
LAUNCH = """
mutation ($run: ExecutionParams!) {
  launchRun(executionParams: $run) {
    __typename
    ... on LaunchRunSuccess { run { runId } }
  }
}
"""


class World:
    """A state folder of its own, and commands in it."""

    def __init__(self, folder: Path) -> None:
        self.state = folder / "world"
        self.log = folder / "up.log"
        ours = ("WRDATA_", "FMP_", "AWS_", "DAGSTER_")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        self.environment = kept | {
            "WRDATA_STATE_DIR": str(self.state),
            "FMP_REQUESTS_PER_MINUTE": "60",
        }
        self.up: subprocess.Popen[bytes] | None = None

    def __call__(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        return subprocess.run(
            [*COMMAND, *words],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )

    def start(self, port: int) -> str:
        """Start `wrdata up`, and return the address that it tells."""
        with self.log.open("w") as log:
            self.up = subprocess.Popen(
                [*COMMAND, "up", "--port", str(port)],
                env=self.environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        up = self.up
        assert wait_until(
            lambda: "Dagster's UI: " in self.said() or up.poll() is not None, within_s=PATIENCE_S
        ), self.said()
        return self.said().partition("Dagster's UI: ")[2].split()[0]

    def said(self) -> str:
        """Return what `wrdata up` and its processes have said."""
        return self.log.read_text()

    def left(self) -> list[processes.Process]:
        """Return all of Dagster's processes."""
        return processes.marked(MARK, str(self.state.resolve()))

    def launch_long_run(self, address: str) -> str:
        """Start a run of minutes through the UI, and return its id once it has stored something."""
        assert self("universe").returncode == 0
        selector = {
            "repositoryLocationName": "wrdata",
            "repositoryName": "__repository__",
            "jobName": "daily_bars",
        }
        run = {"selector": selector, "mode": "default", "runConfigData": {}}
        answer = httpx.post(
            f"{address}/graphql", json={"query": LAUNCH, "variables": {"run": run}}, timeout=60
        ).json()
        run_id = str(answer["data"]["launchRun"]["run"]["runId"])
        stored = "select 1 from ingest_log where run_id = %s limit 1"
        assert wait_until(lambda: bool(self.rows(stored, run_id)), within_s=PATIENCE_S)
        return run_id

    def rows(self, query: str, *parameters: object, of: str = "WRDATA_DATABASE_URL") -> list[Any]:
        """Ask the world's database."""
        url = LocalWorld(self.state).environment()[of]
        with psycopg.connect(url) as connection:
            return connection.execute(query.encode(), parameters).fetchall()

    def status_of(self, run_id: str) -> str:
        """Return what Dagster takes a run for."""
        query = "select status from runs where run_id = %s"
        ((status,),) = self.rows(query, run_id, of="WRDATA_DAGSTER_DATABASE_URL")
        return str(status)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A world that is stopped at the end, whatever a test has left."""
    folder = tmp_path_factory.mktemp("up")
    # The database server runs as another user when the tests run as root.
    for one in (folder, *list(folder.parents)[:2]):
        one.chmod(0o755)
    made = World(folder)
    yield made
    made("down")


def test_a_second_up_in_one_folder_is_refused_and_the_first_goes_on(world: World) -> None:
    """The second would end the servers of the first, and forget them."""
    with socket.socket() as taken:
        taken.bind((processes.LOOPBACK, 0))
        taken.listen()
        address = world.start(taken.getsockname()[1])
    told = world.said()[world.said().index("Dagster's UI: ") :].splitlines()[0]
    assert f"(port {taken_port(told)}: Address already in use)" in told
    assert httpx.get(f"{address}/server_info").is_success, "it is told when it serves"

    second = world("up", "--port", "0")

    assert second.returncode == 1
    assert f"wrdata up runs already in {world.state} at {address}" in second.stderr
    assert "wrdata down" in second.stderr
    assert second.stderr.count("\n") == 1
    assert httpx.get(f"{address}/server_info").is_success
    assert all(service.running for service in LocalWorld(world.state).status())
    assert world.up is not None
    world.up.send_signal(signal.SIGINT)
    assert world.up.wait(PATIENCE_S) == 0
    assert world.left() == []
    assert "nothing was running" in world("down").stderr


def taken_port(told: str) -> str:
    """Return the port that was wanted."""
    return told.partition("(port ")[2].partition(":")[0]


def test_ctrl_c_while_a_run_works_ends_its_worker_before_the_servers(world: World) -> None:
    """The batch in hand is finished or rolled back, Dagster knows the end, and nothing is left."""
    address = world.start(processes.free_port(None))
    run_id = world.launch_long_run(address)
    before = len(world.said())

    assert world.up is not None
    world.up.send_signal(signal.SIGINT)

    assert world.up.wait(PATIENCE_S) == 0
    said = world.said()[before:]
    assert world.left() == []
    assert "waiting for 1 workers of runs to end" in said
    for word in ("refused", "terminating connection", "OperationalError", "could not connect"):
        assert word not in said, said
    assert not any(service.running for service in LocalWorld(world.state).status())
    assert "nothing was running" in world("down").stderr
    assert world("universe").returncode == 0
    assert world.status_of(run_id) == "FAILURE"
