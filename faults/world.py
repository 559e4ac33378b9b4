"""What a scenario runs on: real servers, a simulator and a bucket of its own, and real workers.

Here: starting, breaking and ending them. Not here: what is broken when (scenarios.py), or what
has to be true afterwards (oracle.py).

A worker is the command line in a process of its own, with its environment and nothing else: what
a person or a scheduler starts. The database and S3 servers are one pair for all scenarios of a
run; database, bucket, simulator and Dagster instance belong to one scenario.
"""

import contextlib
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import psycopg

from faults.archive_oracle import Archived, ArchiveOracle
from faults.dataset_oracle import DatasetOracle, Slice
from faults.oracle import Claim, Evidence, Oracle, output_findings, secret_findings
from faults.pause_points import Hold, PausePoint, WatchedFront, held
from faults.workers import PROJECT, SuiteError, Worker
from machine import processes
from marketdata.batches import DAILY_BARS_DATASET
from resources.database_url import in_schema
from resources.storage import migrations
from resources.storage.object_store import ObjectStore, S3Settings
from sandbox.control import SimulatorControl
from sandbox.local_world import LocalWorld
from sandbox.scratch_databases import name_of, scratch_database
from sandbox.simulated_providers import SimulatedProviders
from sandbox.simulators import serving
from sandbox.simulators.faults import FaultKind
from sandbox.simulators.journal import Journal, JournalEntry
from sandbox.simulators.worlds.shares.world import World

STORES = ("timescaledb", "object_store")
WRDATA = Path(sys.executable).with_name("wrdata")
WRONG_CLOCK = Path(__file__).with_name("wrong_clock.c")
AT_ONCE = 4
"""Workers that load at once, since each takes some seconds to start."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Servers:
    """The database and S3 servers of one run of the suite.

    Attributes:
        folder: Holds logs and the scenarios' states.
        template: URL of a database with schema and universe; each scenario gets a copy.
    """

    world: LocalWorld
    folder: Path
    template: str


@dataclass(slots=True, kw_only=True)
class Scene:
    """One scenario's world, and what was done in it.

    Attributes:
        random: Source of all random draws, from the suite's seed.
        per_minute: The limit of the simulator and of the workers' settings.
        short: Play the short form.
        injected: Faults so far, by name.
        wrong: What the scenario itself found wrong.
        notes: Remarks beside the verdict.
        fault_ended_at: Monotonic time at which the last fault ended.
    """

    servers: Servers
    folder: Path
    random: random.Random
    seed: int
    per_minute: int
    bulk_interval_s: float
    environment: Mapping[str, str]
    control: SimulatorControl
    front: WatchedFront
    bucket: S3Settings
    short: bool
    injected: dict[str, int] = field(default_factory=dict[str, int])
    wrong: list[str] = field(default_factory=list[str])
    notes: list[str] = field(default_factory=list[str])
    fault_ended_at: float = 0.0
    workers: list[Worker] = field(default_factory=list[Worker])

    def members(self) -> list[str]:
        """Return the tickers of the universe."""
        return sorted(
            constituent.ticker for constituent in World(self.folder / "providers").constituents()
        )

    def draw_tickers(self, count: int) -> list[str]:
        """Draw members of the universe; a third of them in the short form."""
        drawn = self.random.sample(self.members(), count // 3 if self.short else count)
        return sorted(drawn)

    def start(self, *arguments: str, **changed: str) -> Worker:
        """Start a `wrdata` command; ``changed`` replaces variables of its environment."""
        return self._worker([str(WRDATA), *arguments], changed)

    def backfill(self, tickers: Sequence[str], **changed: str) -> Worker:
        """Start a backfill of the tickers' histories."""
        named = ("--tickers", ",".join(tickers))
        return self.start("backfill", "daily_bars", *named, **changed)

    def load(self, *slices: Slice, refetch: bool = False) -> None:
        """Load slices, each in its own worker, some at once, and wait for all."""
        for place in range(0, len(slices), AT_ONCE):
            workers = [
                self.start_load(part, refetch=refetch) for part in slices[place : place + AT_ONCE]
            ]
            for worker in workers:
                worker.ended()

    def start_load(self, part: Slice, *, refetch: bool = False) -> Worker:
        """Start a backfill of a slice."""
        words = ["backfill", part.dataset, "--symbols", ",".join(part.symbols)]
        words += ["--provider", part.provider]
        if part.start and part.end and part.dataset != DAILY_BARS_DATASET:
            words += ["--from", part.start.isoformat(), "--to", part.end.isoformat()]
        return self.start(*words, *(["--refetch"] if refetch else []))

    def run(self, *arguments: str) -> int:
        """Run a `wrdata` command to its end and return its exit status."""
        return self.start(*arguments).ended()

    def tick(self) -> None:
        """Give Dagster's sensor of lost runs one tick.

        Raises:
            SuiteError: The sensor failed.
        """
        self._tick("lost_runs")

    def retry_due(self) -> int:
        """Age the dead letters by an hour, and let Dagster's sensor retry what is due.

        Returns the number of those letters.

        Raises:
            SuiteError: The sensor failed.
        """
        with psycopg.connect(self.environment["WRDATA_DATABASE_URL"]) as connection:
            due = connection.execute(
                """
                update dead_letter set next_attempt_at = clock_timestamp()
                where state = 'open' and next_attempt_at < clock_timestamp() + interval '1 hour'
                """
            ).rowcount
        if due:
            self._tick("dead_letter_retries")
        return due

    def _tick(self, sensor: str) -> None:
        worker = self._worker([sys.executable, "-m", "faults.tick", sensor], {})
        if worker.ended() != 0:
            message = f"the sensor {sensor} failed: {worker.stderr}"
            raise SuiteError(message)

    def daemon(self) -> Worker:
        """Start Dagster's daemon, with schedules and sensors as deployed."""
        url = self.environment["WRDATA_DATABASE_URL"]
        program = str(WRDATA.with_name("dagster-daemon"))
        changed = {"WRDATA_DAGSTER_DATABASE_URL": in_schema(url, "dagster")}
        return self._worker([program, "run", "-w", str(PROJECT / "workspace.yaml")], changed)

    def _worker(self, command: Sequence[str], changed: Mapping[str, str]) -> Worker:
        log = self.folder / f"worker-{len(self.workers) + 1:02}"
        worker = Worker(command, {**self.environment, **changed}, log)
        self.workers.append(worker)
        return worker

    def clock_off_by(self, seconds: int) -> dict[str, str]:
        """Return variables that make a worker's wall clock wrong by ``seconds``.

        Raises:
            SuiteError: There is no C compiler (cc) to build the library which does it.
        """
        library = self.folder / "wrong_clock.so"
        try:
            subprocess.run(
                ["cc", "-shared", "-fPIC", "-O1", "-o", str(library), str(WRONG_CLOCK)],
                check=True,
                capture_output=True,
            )
        except (OSError, subprocess.CalledProcessError) as error:
            message = f"a wrong clock needs a C compiler, cc: install gcc ({error})"
            raise SuiteError(message) from error
        return {"LD_PRELOAD": str(library), "FAULTS_CLOCK_SHIFT_S": str(seconds)}

    def held(self, point: PausePoint) -> AbstractContextManager[Hold]:
        """Hold the worker that reaches ``point`` until the block ends."""
        return held(self.front, self.environment["WRDATA_DATABASE_URL"], point)

    def inject(self, name: str, count: int = 1) -> None:
        """Count faults."""
        self.injected[name] = self.injected.get(name, 0) + count

    def fault_ends(self) -> None:
        """Start the clock of the recovery."""
        self.fault_ended_at = time.monotonic()

    def heal_provider(self) -> None:
        """End the simulator's faults, and count the injected ones."""
        self.control.clear_faults()
        self.fault_ends()
        for entry in self.journal():
            if entry.fault:
                is_status = entry.fault == FaultKind.STATUS
                self.inject(str(entry.status) if is_status else entry.fault)

    def heal_object_store(self) -> None:
        """Let the S3 front pass everything again, and count its refusals."""
        self.front.heal()
        self.fault_ends()
        for (method, status), count in self.front.refused.items():
            self.inject(f"{status} to {method}", count)

    def journal(self) -> list[JournalEntry]:
        """Return the simulator's journal."""
        return Journal(self.folder / "providers" / "requests.jsonl").since(None)

    def arrivals(self) -> int:
        """Count the requests that the simulator has answered."""
        path = self.folder / "providers" / "requests.jsonl"
        return path.read_bytes().count(b"\n") if path.exists() else 0

    def await_arrivals(self, more: int, worker: Worker, within_s: float = 120.0) -> bool:
        """Wait until the simulator has answered ``more`` more requests, or the worker ended."""
        target = self.arrivals() + more
        processes.wait_until(
            lambda: self.arrivals() >= target or not worker.runs, within_s=within_s
        )
        return worker.runs

    @property
    def oracle(self) -> Oracle:
        """The oracle of this scenario."""
        url = self.environment["WRDATA_DATABASE_URL"]
        return Oracle(
            database_url=url,
            control=self.control,
            bucket=self.bucket,
            per_minute=self.per_minute,
            bulk_interval_s=self.bulk_interval_s,
            secrets=(
                *(key for name, key in self.environment.items() if name.endswith("_API_KEY")),
                self.bucket.secret_key,
                urlsplit(url).password or "",
            ),
        )

    @property
    def dataset_oracle(self) -> DatasetOracle:
        """The oracle of datasets in this scenario."""
        return DatasetOracle(
            database_url=self.environment["WRDATA_DATABASE_URL"],
            control=self.control,
            bucket=self.bucket,
            per_minute=self.per_minute,
            secrets=self.oracle.secrets,
            logs=self.folder,
        )

    @property
    def archive_oracle(self) -> ArchiveOracle:
        """The oracle of the archive in this scenario."""
        return ArchiveOracle(
            database_url=self.environment["WRDATA_DATABASE_URL"],
            control=self.control,
            bucket=self.bucket,
            secrets=self.oracle.secrets,
        )

    def look(self, claims: Sequence[Claim | Slice | Archived], *, listed: bool = True) -> Evidence:
        """Ask the oracles about the claims; ``listed`` as in ``Oracle.look``."""
        archived = [claim for claim in claims if isinstance(claim, Archived)]
        if archived:
            return self.archive_oracle.look(archived)
        slices = [claim for claim in claims if isinstance(claim, Slice)]
        if slices:
            return self.dataset_oracle.look(slices)
        bars = [claim for claim in claims if isinstance(claim, Claim)]
        return self.oracle.look(bars, listed=listed)

    def outputs(self) -> list[str]:
        """Return findings about the workers' outputs."""
        return [
            finding
            for worker in self.workers
            for finding in (
                *output_findings(worker.name, worker.stderr),
                *secret_findings(self.oracle.secrets, [worker.stderr, worker.stdout]),
            )
        ]

    def end_workers(self) -> None:
        """Kill the workers that still run."""
        for worker in self.workers:
            worker.kill()


@contextlib.contextmanager
def servers(world: LocalWorld, folder: Path) -> Generator[Servers]:
    """Prepare the template on the running servers of ``world``; drop it afterwards.

    Raises:
        SuiteError: Schema or universe cannot be loaded.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with scratch_database(world, "faults_template", to_copy=True) as template:
        opened = Servers(world=world, folder=folder, template=template)
        with _scene(opened, "template", template, 0, 1200, 10.0, short=False) as scene:
            migrations.migrate(template)
            worker = scene.start("universe")
            if worker.ended() != 0:
                message = f"`wrdata universe` failed on a fresh database: {worker.stderr}"
                raise SuiteError(message)
        yield opened


@contextlib.contextmanager
def scene(
    opened: Servers,
    name: str,
    *,
    seed: int,
    per_minute: int,
    bulk_interval_s: float,
    short: bool,
) -> Generator[Scene]:
    """Yield the world of one scenario; only its logs remain afterwards."""
    with (
        scratch_database(opened.world, f"faults_{name}", copy_of=opened.template) as database,
        _scene(opened, name, database, seed, per_minute, bulk_interval_s, short) as started,
    ):
        yield started


@contextlib.contextmanager
def _scene(
    opened: Servers,
    name: str,
    database: str,
    seed: int,
    per_minute: int,
    bulk_interval_s: float,
    short: bool,
) -> Generator[Scene]:
    folder = opened.folder / name
    folder.mkdir()
    stores = opened.world.environment(["object_store"])
    simulated = SimulatedProviders(
        home=folder / "providers",
        log=folder / "providers.log",
        per_minute=per_minute,
        bulk_interval_s=bulk_interval_s,
        seed=seed,
    )
    bucket = S3Settings(
        endpoint=stores["WRDATA_S3_ENDPOINT"],
        bucket=name_of(database).replace("_", "-"),
        region=stores["AWS_REGION"],
        access_key=stores["AWS_ACCESS_KEY_ID"],
        secret_key=stores["AWS_SECRET_ACCESS_KEY"],
    )
    ObjectStore(bucket).ensure_bucket()
    front = WatchedFront(bucket.endpoint, seed=seed, store=ObjectStore(bucket))
    with (
        _simulators(simulated) as port,
        serving.serve(front) as s3_origin,
        SimulatorControl(simulated.address(port)) as control,
    ):
        scene = Scene(
            servers=opened,
            folder=folder,
            random=random.Random(f"{seed} {name}"),  # noqa: S311 - to be repeated, not secret
            seed=seed,
            per_minute=per_minute,
            bulk_interval_s=bulk_interval_s,
            environment={
                "PATH": os.environ["PATH"],
                "HOME": str(folder),
                "LANG": "C.UTF-8",
                "PYTHONPATH": str(PROJECT),
                "DAGSTER_HOME": str(folder / "dagster"),
                "WRDATA_STATE_DIR": str(folder / "state"),
                "WRDATA_DATABASE_URL": database,
                "WRDATA_S3_ENDPOINT": s3_origin,
                "WRDATA_ARCHIVE_BUCKET": bucket.bucket,
                "AWS_ACCESS_KEY_ID": bucket.access_key,
                "AWS_SECRET_ACCESS_KEY": bucket.secret_key,
                "AWS_REGION": bucket.region,
                **simulated.environment(port),
                "FMP_REQUESTS_PER_MINUTE": str(per_minute),
            },
            control=control,
            front=front,
            bucket=bucket,
            short=short,
        )
        try:
            yield scene
        finally:
            scene.end_workers()


@contextlib.contextmanager
def _simulators(simulated: SimulatedProviders) -> Generator[int]:
    """Run the simulators in a process of their own and yield its port."""
    simulated.prepare(lambda _: None)
    port = processes.free_port(None)
    process = simulated.launch(port)
    try:
        if not processes.wait_until(
            lambda: simulated.answers(port), within_s=simulated.start_within_s
        ):
            message = "the simulators did not start; their log lies beside their folder"
            raise SuiteError(message)
        yield port
    finally:
        processes.end(process, with_signal=simulated.stop_signal, within_s=10)
