"""A new code server takes over from the old one by `workspace.yaml`, as the page of upgrades says.

Here: Dagster's own web server and daemon, and two versions of a small location. Not here: the
project's definitions, whose loading is the subject of tests/pipelines.
"""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest

from machine import processes

pytestmark = pytest.mark.long

DAGSTER = Path(sys.executable).parent
LOCATION = """
import dagster as dg

@dg.op
def work() -> None: ...

@dg.job
def of_{version}() -> None:
    work()

@dg.schedule(
    job=of_{version}, cron_schedule="* * * * *",
    default_status=dg.DefaultScheduleStatus.RUNNING,
)
def every_minute():
    return dg.SkipReason("{version}")

definitions = dg.Definitions(jobs=[of_{version}], schedules=[every_minute])
"""
JOBS = """{ workspaceOrError { ... on Workspace { locationEntries { name locationOrLoadError {
  ... on RepositoryLocation { repositories { jobs { name } } } } } } } }"""
TICK = re.compile(r"(\d\d):(\d\d):\d\d \+0000.*Schedule every_minute skipped: (old|new)")


class Installation:
    """A web server, a daemon, and code servers by version."""

    def __init__(self, folder: Path, ends: ExitStack) -> None:
        self._folder, self._ends = folder, ends
        self._web = processes.free_port(None)
        self._log = folder / "daemon.log"
        self._environment = {"PATH": os.environ["PATH"], "DAGSTER_HOME": str(folder)}
        (folder / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
        # Three processes that make one SQLite database at once would disturb each other.
        self.run("dagster", "run", "list")

    def run(self, program: str, *words: str) -> subprocess.CompletedProcess[bytes]:
        """Run a program to its end."""
        return subprocess.run(
            [DAGSTER / program, *words], env=self._environment, capture_output=True, check=False
        )

    def start(self, program: str, *words: str) -> subprocess.Popen[bytes]:
        """Start a program that ends with the test."""
        with (
            self._log.open("a")
            if program == "dagster-daemon"
            else Path(os.devnull).open("w") as log
        ):
            process = subprocess.Popen(
                [DAGSTER / program, *words],
                env=self._environment,
                cwd=self._folder,
                stdout=log,
                stderr=log,
            )
        self._ends.callback(lambda: (process.terminate(), process.wait(60)))
        return process

    def serve(self, version: str) -> tuple[int, subprocess.Popen[bytes]]:
        """Start a version's code server; return its port when it has loaded its code."""
        file = self._folder / f"{version}.py"
        file.write_text(LOCATION.format(version=version))
        port = processes.free_port(None)
        server = self.start(
            "dagster", "api", "grpc", "--host", "127.0.0.1", "--port", str(port),
            "--python-file", str(file), "--location-name", "wrdata",
        )  # fmt: skip
        until(
            lambda: (
                self.run("dagster", "api", "grpc-health-check", "--port", str(port)).returncode == 0
            )
        )
        return port, server

    def point_to(self, port: int) -> None:
        """Write `workspace.yaml` as the page has it."""
        (self._folder / "workspace.yaml").write_text(
            "load_from:\n  - grpc_server:\n      host: 127.0.0.1\n"
            f"      port: {port}\n      location_name: wrdata\n"
        )

    def look(self) -> None:
        """Start web server and daemon."""
        self.start("dagster-webserver", "--host", "127.0.0.1", "--port", str(self._web))
        self.start("dagster-daemon", "run")
        until(lambda: bool(self.jobs()))

    def ask(self, question: str) -> Any:
        """Ask the web server by GraphQL; None while it does not answer."""
        try:
            answer = httpx.post(
                f"http://127.0.0.1:{self._web}/graphql", json={"query": question}, timeout=60
            )
        except httpx.TransportError:
            return None
        return json.loads(answer.text)["data"]

    def jobs(self) -> list[str]:
        """Return the jobs of every location."""
        data = self.ask(JOBS)
        entries = data["workspaceOrError"]["locationEntries"] if data else []
        return [
            job["name"]
            for entry in entries
            for repository in (entry["locationOrLoadError"] or {}).get("repositories", [])
            for job in repository["jobs"]
            if not job["name"].startswith("__")
        ]

    def ticks(self) -> list[tuple[int, str]]:
        """Return minute of the day and version of each tick that the daemon has evaluated."""
        return [
            (int(hour) * 60 + int(minute), version)
            for hour, minute, version in TICK.findall(self._log.read_text())
        ]


def until(holds: Callable[[], bool], within_s: float = 240) -> None:
    """Wait until something holds."""
    end = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < end
        time.sleep(1)


@pytest.fixture
def installation(tmp_path: Path) -> Generator[Installation]:
    """An installation whose processes end with the test."""
    with ExitStack() as ends:
        yield Installation(tmp_path, ends)


def test_a_new_code_server_takes_over_by_the_workspace_file(installation: Installation) -> None:
    """The UI when it is told, the daemon by itself; the schedule runs once a minute throughout."""
    old_port, old = installation.serve("old")
    installation.point_to(old_port)
    installation.look()
    assert installation.jobs() == ["of_old"]
    until(lambda: len(installation.ticks()) >= 1)

    new_port, _ = installation.serve("new")
    installation.point_to(new_port)
    answer = installation.ask("mutation { reloadWorkspace { __typename } }")
    assert answer["reloadWorkspace"]["__typename"] == "Workspace"
    assert installation.jobs() == ["of_new"]
    until(lambda: "new" in [version for _, version in installation.ticks()])
    old.terminate()
    after = installation.ticks()[-1][0]
    until(lambda: installation.ticks()[-1][0] > after)

    ticks = installation.ticks()
    minutes = [minute for minute, _ in ticks]
    versions = [version for _, version in ticks]
    assert all((later - minute) % (24 * 60) == 1 for minute, later in pairwise(minutes))
    assert versions == sorted(versions, reverse=True)
    assert set(versions) == {"old", "new"}
