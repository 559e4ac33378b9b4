"""An installation whose runs are carried out by workers, each on a host of its own.

Here: servers, Dagster's web server and daemon, and workers, for as long as a block lasts. Not here:
what is tried with them (trials.py).

Workers share nothing with the daemon but the database, the bucket and Redis, as if each were a
machine: another host name (by a namespace, where we may), another folder, another process.
"""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Generator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import psycopg

from machine import processes
from machine.processes import LOOPBACK, NO_AUTHORITIES, wait_until
from marketdata.recovery import errors
from resources.database_url import in_schema
from resources.storage.timescale import translated
from sandbox.control import SimulatorControl
from sandbox.local_world import LocalWorld
from sandbox.redis import RedisServer
from sandbox.scratch_databases import scratch_database
from sandbox.simulated_providers import SimulatedProviders

PROJECT = Path(__file__).resolve().parents[1]
PER_MINUTE = 900
"""Requests that the provider allows: so many that workers, not the budget, are what is short."""
STARTS_WITHIN_S = 180.0
COMMAND_WITHIN_S = 600.0
WRDATA = (sys.executable, "-m", "pipelines.cli")
REFRESH = ["curated", "equity_prices", "daily_bars"]
"""The asset whose partitions are the tickers."""
BACKFILL = """
mutation ($params: LaunchBackfillParams!) {
  launchPartitionBackfill(backfillParams: $params) {
    __typename
    ... on LaunchBackfillSuccess { backfillId }
    ... on PythonError { message }
  }
}
"""
CANCEL = """
mutation ($id: String!) { cancelPartitionBackfill(backfillId: $id) { __typename } }
"""
STATUS = """
query ($id: String!) { partitionBackfillOrError(backfillId: $id) {
  ... on PartitionBackfill { status } } }
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A run as Dagster's database has it; times are aware UTC."""

    run_id: str
    status: str
    began_at: datetime | None
    ended_at: datetime | None
    tags: Mapping[str, str]


@dataclass(slots=True, kw_only=True)
class Place:
    """An installation that runs, on a database of its own.

    Attributes:
        folder: Holds all of it.
        environment: Variables by which its processes find everything.
        redis: The server of the queues.
        simulators: Controls of the providers.
        tickers: The index, which a backfill loads.
        ui: Address of Dagster's web server.
        daemon: The daemon that was started first.
    """

    folder: Path
    environment: Mapping[str, str]
    redis: RedisServer
    simulators: SimulatorControl
    tickers: list[str] = field(default_factory=list[str])
    ui: str = ""
    daemon: "subprocess.Popen[bytes]" = field(init=False)
    _children: list[subprocess.Popen[bytes]] = field(
        default_factory=list["subprocess.Popen[bytes]"]
    )

    def start(self, name: str, *command: str, host: str = "") -> subprocess.Popen[bytes]:
        """Start a process of the installation, in a group of its own; it ends with the place.

        Args:
            name: Of its log.
            command: Program and arguments.
            host: Its host name, where we may give it one.
        """
        own_host = (
            ["unshare", "--uts", "--", "sh", "-c", 'hostname "$0" && exec "$@"', host]
            if host and os.geteuid() == 0
            else []
        )
        with (self.folder / f"{name}.log").open("ab") as log:
            child = subprocess.Popen(
                [*own_host, *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                env=dict(self.environment),
                start_new_session=True,
            )
        self._children.append(child)
        return child

    def start_daemon(self) -> None:
        """Start the daemon, and wait for its first heartbeat.

        Raises:
            ConfigurationError: There is none.
        """
        began = self.rows("select clock_timestamp()")[0][0]
        self.daemon = self.start("daemon", *WRDATA, "daemon")
        beats = "select count(*) from daemon_heartbeats where timestamp > %s at time zone 'utc'"
        if not wait_until(
            lambda: self.dagster_rows(beats, began)[0][0] > 0,
            within_s=STARTS_WITHIN_S,
            every_s=0.5,
        ):
            raise errors.ConfigurationError(f"the daemon does not start:\n{self.log('daemon')}")

    def log(self, name: str) -> str:
        """Return what a process has said so far."""
        return (self.folder / f"{name}.log").read_text("utf-8", "replace")

    def start_worker(self, number: int) -> subprocess.Popen[bytes]:
        """Start a worker on a host of its own; it takes runs some seconds later."""
        return self.start(
            f"worker-{number}", *WRDATA, "worker", "--name", f"w{number}", host=f"worker-{number}"
        )

    def kill(self, child: subprocess.Popen[bytes]) -> None:
        """Kill a process with all that it started, as a machine that loses its power does."""
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()

    def end(self, child: subprocess.Popen[bytes], within_s: float = 40.0) -> None:
        """End a process in good order, and by force if it takes too long."""
        child.terminate()
        try:
            child.wait(within_s)
        except subprocess.TimeoutExpired:
            self.kill(child)

    def backfill(self) -> str:
        """Launch a backfill of all tickers, as the UI's dialog does; return its id.

        Raises:
            ConfigurationError: Dagster refuses.
        """
        params = {"assetSelection": [{"path": REFRESH}], "partitionNames": self.tickers}
        launched = self.ask(BACKFILL, params=params)["launchPartitionBackfill"]
        if "backfillId" not in launched:
            raise errors.ConfigurationError(f"no backfill was launched: {launched}")
        return str(launched["backfillId"])

    def cancel(self, backfill: str) -> None:
        """Cancel a backfill, as its button in the UI does."""
        self.ask(CANCEL, id=backfill)

    def status(self, backfill: str) -> str:
        """Return Dagster's status of a backfill."""
        return str(self.ask(STATUS, id=backfill)["partitionBackfillOrError"]["status"])

    def runs(self, backfill: str) -> list[Run]:
        """Return the runs of a backfill, and their repetitions, the first one first."""
        rows = self.dagster_rows(
            """
            select runs.run_id, runs.status, to_timestamp(runs.start_time),
                to_timestamp(runs.end_time),
                (select json_object_agg(own.key, own.value) from run_tags as own
                 where own.run_id = runs.run_id)
            from runs inner join run_tags as tag on tag.run_id = runs.run_id
            where tag.key = 'dagster/backfill' and tag.value = %s
            order by runs.id
            """,
            backfill,
        )
        return [
            Run(run_id=row[0], status=row[1], began_at=row[2], ended_at=row[3], tags=row[4] or {})
            for row in rows
        ]

    def ask(self, query: str, **variables: object) -> Any:
        """Ask Dagster's web server.

        Raises:
            ConfigurationError: It answers with errors.
        """
        answer = httpx.post(
            f"{self.ui}/graphql",
            json={"query": query, "variables": variables},
            timeout=120,
            verify=NO_AUTHORITIES,
            trust_env=False,
        ).json()
        if "errors" in answer:
            raise errors.ConfigurationError(f"Dagster answers: {answer['errors'][0]['message']}")
        return answer["data"]

    def rows(self, query: str, *parameters: object) -> list[tuple[Any, ...]]:
        """Ask the market data's database."""
        return _rows(self.environment["WRDATA_DATABASE_URL"], query, parameters)

    def dagster_rows(self, query: str, *parameters: object) -> list[tuple[Any, ...]]:
        """Ask Dagster's database."""
        return _rows(self.environment["WRDATA_DAGSTER_DATABASE_URL"], query, parameters)

    def stop(self) -> None:
        """End all processes that are left."""
        for child in reversed(self._children):
            if child.poll() is None:
                child.terminate()
        for child in self._children:
            with suppress(subprocess.TimeoutExpired):
                child.wait(30)
            self.kill(child)


@contextmanager
def servers(
    folder: Path, report: Callable[[str], None]
) -> Generator[tuple[LocalWorld, dict[str, str]]]:
    """Run database server, bucket and providers, and yield their variables.

    Raises:
        ConfigurationError: A server does not start.
    """
    world = LocalWorld(folder / "world")
    providers = SimulatedProviders(
        home=folder / "providers", log=folder / "providers.log", per_minute=PER_MINUTE
    )
    try:
        world.start(["timescaledb", "object_store"], report=report)
        providers.prepare(report)
        port = processes.free_port(None)
        process = providers.launch(port)
        try:
            if not wait_until(lambda: providers.answers(port), within_s=STARTS_WITHIN_S):
                raise errors.ConfigurationError("the simulated providers do not start")
            yield (
                world,
                {
                    **world.environment(["timescaledb", "object_store"]),
                    **providers.environment(port),
                    "FMP_REQUESTS_PER_MINUTE": str(PER_MINUTE),
                },
            )
        finally:
            processes.end(process, with_signal=signal.SIGTERM, within_s=20)
    finally:
        world.stop()


@contextmanager
def installed(
    folder: Path,
    world: LocalWorld,
    variables: Mapping[str, str],
    report: Callable[[str], None],
) -> Generator[Place]:
    """Run the web server and the daemon on a new database, without workers yet.

    Raises:
        ConfigurationError: Something does not start; the text says what.
    """
    folder.mkdir(parents=True)
    home = folder / "dagster"
    home.mkdir()
    shutil.copy(PROJECT / "deploy" / "launchers" / "celery.yaml", home / "dagster.yaml")
    redis = RedisServer(folder / "redis")
    with ExitStack() as opened:
        url = opened.enter_context(scratch_database(world, "scale"))
        environment = {
            "PATH": "/usr/sbin:/usr/bin:/bin",
            "HOME": str(folder),
            "LANG": "C.UTF-8",
            "PYTHONPATH": str(PROJECT),
            "DAGSTER_HOME": str(home),
            "WRDATA_STATE_DIR": str(folder / "state"),
            **variables,
            "WRDATA_DATABASE_URL": url,
            "WRDATA_DAGSTER_DATABASE_URL": in_schema(url, "dagster"),
            "WRDATA_REDIS_URL": redis.url,
        }
        redis.start(report)
        opened.callback(redis.stop)
        origin = variables["FMP_BASE_URL"].removesuffix("/stable")
        place = Place(
            folder=folder,
            environment=environment,
            redis=redis,
            simulators=opened.enter_context(SimulatorControl(origin)),
        )
        report("Making the schema, and the universe")
        _succeed(place, "migrate")
        _succeed(place, "universe")
        place.tickers = sorted(
            row[0] for row in place.dagster_rows("select partition from dynamic_partitions")
        )
        opened.callback(place.stop)
        report("Starting the web server and the daemon")
        _start_web_server(place)
        place.start_daemon()
        yield place


def _start_web_server(place: Place) -> None:
    port = processes.free_port(None)
    server = place.start(
        "webserver", sys.executable, "-m", "dagster_webserver",
        "-w", str(PROJECT / "workspace.yaml"), "-h", LOOPBACK, "-p", str(port),
    )  # fmt: skip
    place.ui = f"http://{LOOPBACK}:{port}"

    def serves() -> bool:
        with suppress(httpx.HTTPError):
            return httpx.get(
                f"{place.ui}/server_info", verify=NO_AUTHORITIES, trust_env=False
            ).is_success
        return False

    if (
        not wait_until(
            lambda: server.poll() is not None or serves(), within_s=STARTS_WITHIN_S, every_s=0.3
        )
        or server.poll() is not None
    ):
        said = processes.log_tail(place.folder / "webserver.log")
        raise errors.ConfigurationError(f"the web server does not start:\n{said}")


def _succeed(place: Place, *words: str) -> None:
    done = subprocess.run(
        [*WRDATA, *words],
        cwd=place.folder,
        env=dict(place.environment),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=COMMAND_WITHIN_S,
        check=False,
    )
    if done.returncode != 0:
        message = f"wrdata {' '.join(words)} failed: {done.stderr.strip()[-2000:]}"
        raise errors.ConfigurationError(message)


def _rows(url: str, query: str, parameters: tuple[object, ...]) -> list[tuple[Any, ...]]:
    with translated(url), psycopg.connect(url) as connection:
        return connection.execute(query.encode(), parameters).fetchall()
