"""What is broken and repaired: a whole installation on loopback, as production has it.

Here: a backed-up database, stores, simulated providers, the UI behind its proxy, Dagster's daemon
and the exporter. Not here: who watches it (watchers.py), or what is broken (breaks.py).
"""

import signal
import subprocess
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psycopg

from machine import processes
from machine.processes import LOOPBACK, Process, wait_until
from marketdata.recovery import errors
from operate.shared_ui import COMMAND, OPERATORS, VIEWERS, SharedUi, ask, launch, shared_ui
from operate.small_disk import SmallDisk, small_disk
from resources.database_url import in_schema
from resources.storage.timescale import translated
from sandbox.backed_up import BackedUpWorld
from sandbox.control import SimulatorControl
from sandbox.local_world import LocalWorld
from sandbox.locking_object_store import REGION, LockingServer
from sandbox.simulators.worlds.shares.world import World
from sandbox.timescaledb import SUPERUSER

PROJECT = Path(__file__).resolve().parents[1]
MEMBERS = 12
"""So many shares the index has: whole coverage is had in seconds."""
ARCHIVE, AUDIT = "archive", "audit"
"""Names of the buckets."""
COMMAND_WITHIN_S = 600.0
STARTS_WITHIN_S = 180.0
STATUS = "query ($id: ID!) { runOrError(runId: $id) { ... on Run { status } } }"
ENDED = frozenset({"SUCCESS", "FAILURE", "CANCELED"})


@dataclass(slots=True, kw_only=True)
class Place:
    """An installation that runs.

    Attributes:
        folder: Holds all of it.
        environment: Variables by which commands find it.
        server: The database server with its backups.
        store: The server of the archive's bucket, and of the audit log's, which locks.
        simulators: Controls of the providers.
        ui: Dagster's UI behind its proxy.
        disk: A disk that may be filled.
        exporter: Host and port of the exporter.
        tickers: The members of the index.
    """

    folder: Path
    environment: Mapping[str, str]
    server: BackedUpWorld
    store: LockingServer
    simulators: SimulatorControl
    ui: SharedUi
    disk: SmallDisk
    exporter: str = ""
    tickers: list[str] = field(default_factory=list[str])
    _daemon: Process | None = None

    def run(self, *words: str, **changed: str) -> subprocess.CompletedProcess[str]:
        """Run a `wrdata` command to its end; ``changed`` replaces variables."""
        return _command(words, {**self.environment, **changed})

    def do(self, *words: str, **changed: str) -> str:
        """Run a `wrdata` command that has to succeed, and return what it prints.

        Raises:
            ConfigurationError: It failed; the text holds what it says.
        """
        return _succeed(words, {**self.environment, **changed})

    def start_daemon(self) -> None:
        """Start Dagster's daemon, and wait for its first heartbeat."""
        self._daemon = processes.spawn(
            [COMMAND[0], "-m", "dagster._daemon", "run", "-w", str(self.ui.workspace)],
            log=self.folder / "daemon.log",
            cwd=self.folder,
            env=self.ui.environment,
        )
        began = self.database_time()
        beats = "select count(*) from daemon_heartbeats where timestamp > %s at time zone 'utc'"
        if not wait_until(
            lambda: self.dagster_rows(beats, began)[0][0] > 0, within_s=STARTS_WITHIN_S, every_s=0.5
        ):
            message = (
                f"the daemon does not start:\n{processes.log_tail(self.folder / 'daemon.log')}"
            )
            raise errors.ConfigurationError(message)

    def stop_daemon(self) -> None:
        """Stop Dagster's daemon."""
        if self._daemon is not None:
            processes.end(self._daemon, with_signal=signal.SIGTERM, within_s=60)
            self._daemon = None

    def supervise_daemon(self) -> None:
        """Start the daemon again if it has ended, as whoever keeps processes running does."""
        if self._daemon is not None and not processes.is_running(self._daemon):
            self.start_daemon()

    def launch(self, job: str) -> str:
        """Launch a run as an operator by way of the proxy; return its id.

        Raises:
            ConfigurationError: Dagster refuses.
        """
        with self.ui.client(OPERATORS[0], seen_before=True) as operator:
            answer = launch(operator, job)
        if "run" not in answer:
            raise errors.ConfigurationError(f"{job} is not launched: {answer}")
        return str(answer["run"]["runId"])

    def status_of(self, run_id: str) -> str:
        """Return Dagster's status of a run, as a viewer sees it."""
        with self.ui.client(VIEWERS[0], seen_before=True) as viewer:
            return str(ask(viewer, STATUS, id=run_id)["runOrError"]["status"])

    def await_end(self, run_id: str, within_s: float = COMMAND_WITHIN_S) -> str:
        """Wait until a run has ended, and return its status."""
        wait_until(lambda: self.status_of(run_id) in ENDED, within_s=within_s, every_s=1.0)
        return self.status_of(run_id)

    def rows(self, query: str, *parameters: object) -> list[tuple[Any, ...]]:
        """Ask the market data's database."""
        return _rows(self.environment["WRDATA_DATABASE_URL"], query, parameters)

    def dagster_rows(self, query: str, *parameters: object) -> list[tuple[Any, ...]]:
        """Ask Dagster's database."""
        return _rows(self.environment["WRDATA_DAGSTER_DATABASE_URL"], query, parameters)

    def database_time(self) -> Any:
        """Return the database's time (aware)."""
        return self.rows("select clock_timestamp()")[0][0]

    def change(self, statement: str, *parameters: object, of_dagster: bool = False) -> None:
        """Change rows as the owner of the database."""
        name = "WRDATA_DAGSTER_DATABASE_URL" if of_dagster else "WRDATA_DATABASE_URL"
        url = self.environment[name]
        with translated(url), psycopg.connect(url) as connection:
            connection.execute(statement.encode(), parameters)

    def tamper(self, statement: str, *parameters: object) -> None:
        """Change rows as a superuser for whom no trigger fires."""
        url = self.server.url("wrdata", SUPERUSER)
        with translated(url), psycopg.connect(url) as connection:
            connection.execute("set session_replication_role = replica")
            connection.execute(statement.encode(), parameters)


@contextmanager
def installed(folder: Path, report: Callable[[str], None]) -> Generator[Place]:
    """Bring all of it up below a folder that any user may pass, and end it afterwards.

    Raises:
        ConfigurationError: A server or a command fails; the text says which.
    """
    local = LocalWorld(folder / "local")
    server = BackedUpWorld(folder / "server")
    store = LockingServer(folder / "store")
    try:
        local.start(["providers"], report=report)
        server.start(report)
        store.start()
        store.create_bucket(ARCHIVE, locks=False)
        store.create_bucket(AUDIT)
        environment = _environment(folder, local, server, store)
        report("Making the schema")
        _succeed(("migrate",), environment)
        ui_folder = folder / "ui"
        ui_folder.mkdir()
        report("Starting the UI behind its proxy")
        with (
            SimulatorControl(local.simulators_origin()) as simulators,
            small_disk(folder, report) as disk,
            shared_ui(ui_folder, environment) as ui,
        ):
            place = Place(
                folder=folder,
                environment=environment,
                server=server,
                store=store,
                simulators=simulators,
                ui=ui,
                disk=disk,
            )
            _load(place, report)
            report("Starting daemon and exporter")
            place.start_daemon()
            try:
                with _exporting(place):
                    yield place
            finally:
                place.stop_daemon()
    finally:
        store.stop()
        server.stop()
        local.stop()


def _environment(
    folder: Path, local: LocalWorld, server: BackedUpWorld, store: LockingServer
) -> dict[str, str]:
    home = folder / "dagster"
    home.mkdir()
    (home / "dagster.yaml").symlink_to(PROJECT / "dagster.yaml")
    url = server.url("wrdata")
    return {
        "HOME": str(folder),
        "LANG": "C.UTF-8",
        "PYTHONPATH": str(PROJECT),
        "DAGSTER_HOME": str(home),
        "WRDATA_STATE_DIR": str(folder / "state"),
        "WRDATA_DATABASE_URL": url,
        "WRDATA_DAGSTER_DATABASE_URL": in_schema(url, "dagster"),
        "WRDATA_S3_ENDPOINT": store.endpoint,
        "WRDATA_ARCHIVE_BUCKET": ARCHIVE,
        "WRDATA_AUDIT_BUCKET": AUDIT,
        "WRDATA_AUDIT_LOCK_DAYS": "1",
        "AWS_ACCESS_KEY_ID": store.access_key,
        "AWS_SECRET_ACCESS_KEY": store.secret_key,
        "AWS_REGION": REGION,
        **local.environment(["providers"]),
        "FMP_REQUESTS_PER_MINUTE": "1200",
        **server.environment,
    }


def _load(place: Place, report: Callable[[str], None]) -> None:
    """Load the histories of a small index, so that nothing is late or missing."""
    report(f"Loading the histories of {MEMBERS} shares")
    index = World(place.folder / "local" / "providers").constituents()
    members = sorted(share.ticker for share in index)
    for ticker in members[MEMBERS:]:
        place.simulators.remove_constituent(ticker)
    place.tickers = members[:MEMBERS]
    place.do("universe")
    place.do("backfill", "daily_bars", "--all")
    # Closed periods that are not archived would tell of themselves.
    place.do("archive", "run")
    place.do("audit", "anchor")
    place.do("audit", "verify")


@contextmanager
def _exporting(place: Place) -> Generator[None]:
    port = processes.free_port(None)
    log = place.folder / "exporter.log"
    process = processes.spawn(
        [*COMMAND, "exporter", "--port", str(port), "--webserver",
         f"http://{LOOPBACK}:{place.ui.ports['viewers']}"],
        log=log, cwd=place.folder, env=place.ui.environment,
    )  # fmt: skip
    place.exporter = f"{LOOPBACK}:{port}"
    try:
        if not wait_until(lambda: _answers(place.exporter), within_s=STARTS_WITHIN_S, every_s=0.2):
            message = f"the exporter does not start:\n{processes.log_tail(log)}"
            raise errors.ConfigurationError(message)
        yield
    finally:
        processes.end(process, with_signal=signal.SIGTERM, within_s=30)


def _answers(address: str) -> bool:
    with suppress(httpx.HTTPError):
        return httpx.get(
            f"http://{address}/health/ready", verify=processes.NO_AUTHORITIES, timeout=10
        ).is_success
    return False


def _command(
    words: tuple[str, ...], environment: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *words],
        cwd=environment["HOME"],
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=COMMAND_WITHIN_S,
        check=False,
    )


def _succeed(words: tuple[str, ...], environment: Mapping[str, str]) -> str:
    done = _command(words, environment)
    if done.returncode != 0:
        message = f"wrdata {' '.join(words)} failed: {done.stderr.strip()[-2000:]}"
        raise errors.ConfigurationError(message)
    return done.stdout


def _rows(url: str, query: str, parameters: tuple[object, ...]) -> list[tuple[Any, ...]]:
    with translated(url), psycopg.connect(url) as connection:
        return connection.execute(query.encode(), parameters).fetchall()
