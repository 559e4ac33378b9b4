"""Runs carried out by workers: the launcher, the worker's command, and the one daemon."""

import importlib
import os
import shutil
import signal
import ssl
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import dagster as dg
import psycopg
import pytest
import yaml
from typer import TyperException

from machine.processes import wait_until
from marketdata.recovery import errors
from marketdata.recovery.limits import Lane
from marketdata.recovery.process_identity import here, this_process
from pipelines import celery_launcher, workers
from pipelines.celery_launcher import CeleryLauncher, lane_of
from pipelines.cli.main import app
from pipelines.dagster_internals import WorkerStatus
from resources.storage.runs.only_daemon import DaemonLock
from resources.storage.runs.workers import RunWorker
from sandbox.redis import RedisServer
from tests.fixtures.dagster_internals import process_config, resolve_to_config_type
from tests.fixtures.pipeline import Pipeline

PROJECT = Path(__file__).parents[2]
LAUNCHER_FILES = PROJECT / "deploy/launchers"
LAUNCHERS = sorted(path.name for path in LAUNCHER_FILES.glob("*.yaml"))
TASK = {"dagster-celery/task_id": "a-task"}


def configuration(path: Path) -> dict[str, Any]:
    """Return a dagster.yaml."""
    return cast("dict[str, Any]", yaml.safe_load(path.read_text("utf-8")))


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A Redis of its own."""
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.start(lambda _: None)
    yield server
    server.stop()


@pytest.fixture
def launcher(
    redis: RedisServer, pipeline_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[CeleryLauncher]:
    """The launcher of an instance whose dagster.yaml is the shipped one."""
    shutil.copy(PROJECT / "deploy/launchers/celery.yaml", tmp_path / "dagster.yaml")
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    monkeypatch.setenv("WRDATA_REDIS_URL", redis.url)
    monkeypatch.setenv("WRDATA_DAGSTER_DATABASE_URL", pipeline_url)
    with dg.DagsterInstance.get() as instance:
        yield cast("CeleryLauncher", instance.run_launcher)


@dg.op
def nothing() -> None:
    """Do nothing."""


@dg.job
def a_job() -> None:
    """One op."""
    nothing()


def started(launcher: CeleryLauncher, tags: Mapping[str, str] = TASK) -> dg.DagsterRun:
    """Create a run that Dagster takes for running."""
    instance = launcher._instance  # pyright: ignore[reportPrivateUsage]
    run = instance.create_run_for_job(a_job, tags=dict(tags), status=dg.DagsterRunStatus.STARTED)
    found = instance.get_run_by_id(run.run_id)
    assert found
    return found


def heard_of(run_id: str, silent_s: float) -> RunWorker:
    """Return the worker of a run, whose last heartbeat is so old."""
    return RunWorker(
        run_id=run_id,
        job="a_job",
        place=here(),
        process=this_process(),
        started_at=celery_launcher.utc_now(),
        silent_s=silent_s,
        has_left=False,
    )


@pytest.mark.parametrize(
    ("tags", "lane"),
    [
        ({"wrdata/lane": "scheduled"}, Lane.SCHEDULED),
        ({"wrdata/lane": "backfill"}, Lane.BACKFILL),
        ({"dagster/backfill": "abc"}, Lane.BACKFILL),
        ({}, Lane.BACKFILL),
        ({"wrdata/lane": "fast"}, Lane.BACKFILL),
    ],
)
def test_a_run_waits_in_the_queue_of_its_lane(tags: dict[str, str], lane: Lane) -> None:
    """The same as in request budgets; what nobody knows waits with the backfills."""
    assert lane_of(tags) is lane


def test_the_shipped_configuration_starts_runs_by_celery(launcher: CeleryLauncher) -> None:
    """Early acknowledgement, states in Redis, one task at a time, and both queues."""
    conf = launcher.app.conf

    assert isinstance(launcher, CeleryLauncher)
    assert (conf.task_acks_late, conf.worker_prefetch_multiplier) == (False, 1)
    assert str(conf.result_backend).startswith("redis://")
    assert [queue.name for queue in conf.task_queues] == [lane.value for lane in Lane]


def test_the_certificate_of_a_redis_with_tls_is_checked_for_queues_and_states() -> None:
    """As the URL stands, without parameters of Celery's own."""
    url = "rediss://:secret@redis.example:6379/0"
    app = CeleryLauncher(broker=url, backend=url).app

    assert app.conf.broker_use_ssl == {"ssl_cert_reqs": ssl.CERT_REQUIRED}
    assert cast("Any", app.backend).connparams["ssl_cert_reqs"] is ssl.CERT_REQUIRED


@pytest.mark.parametrize("name", LAUNCHERS)
def test_a_shipped_configuration_differs_from_the_usual_one_only_in_what_it_says(name: str) -> None:
    """Who changes one dagster.yaml is told to change the others."""
    usual, other = configuration(PROJECT / "dagster.yaml"), configuration(LAUNCHER_FILES / name)

    different = {key for key in {*usual, *other} if usual.get(key) != other.get(key)}
    assert different == {"run_launcher", "concurrency", "run_monitoring"}


@pytest.mark.parametrize("name", LAUNCHERS)
def test_a_shipped_launcher_has_only_settings_that_dagster_knows(name: str) -> None:
    """Dagster's own schema of the launcher says so; it names a key that nobody knows."""
    configured = configuration(LAUNCHER_FILES / name)["run_launcher"]
    launcher = getattr(importlib.import_module(configured["module"]), configured["class"])
    schema = resolve_to_config_type(launcher.config_type())
    known = {"WRDATA_REDIS_URL": "redis://", "WRDATA_ECS_TASK_DEFINITION": "wrdata-run"}

    with pytest.MonkeyPatch.context() as environment:
        for variable, value in known.items():
            environment.setenv(variable, value)
        right = process_config(schema, configured["config"])
        wrong = process_config(schema, {**configured["config"], "name_space": "x"})

    assert right.success, right.errors
    assert not wrong.success
    assert "name_space" in str(wrong.errors)


def test_a_worker_that_sends_heartbeats_is_well(
    launcher: CeleryLauncher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody is asked."""
    run = started(launcher)
    monkeypatch.setattr(workers, "worker_of", lambda run_id: heard_of(run_id, silent_s=1.0))

    assert launcher.check_run_worker_health(run).status is WorkerStatus.RUNNING


def test_a_worker_that_nobody_hears_of_and_no_worker_knows_is_gone(
    launcher: CeleryLauncher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A silent heartbeat, no state of the task, and no answer."""
    run = started(launcher)
    monkeypatch.setattr(workers, "worker_of", lambda run_id: heard_of(run_id, silent_s=9.0))
    monkeypatch.setattr(
        workers, "FIRST_BEAT_AFTER", celery_launcher.utc_now() - celery_launcher.utc_now()
    )
    monkeypatch.setattr(CeleryLauncher, "_starts", lambda _self, _run: False)

    assert launcher.check_run_worker_health(run).status is WorkerStatus.NOT_FOUND


def test_a_run_that_has_just_begun_need_not_have_been_heard_of(
    launcher: CeleryLauncher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its code is loaded first; later its silence counts."""
    run = started(launcher)
    monkeypatch.setattr(workers, "worker_of", lambda _run_id: None)
    before = launcher.check_run_worker_health(run).status
    monkeypatch.setattr(CeleryLauncher, "_starts", lambda _self, _run: False)

    assert before is WorkerStatus.RUNNING
    assert launcher.check_run_worker_health(run).status is WorkerStatus.NOT_FOUND


@pytest.mark.filterwarnings("ignore:Call to deprecated setex")
def test_a_task_that_ended_without_its_run_is_a_failure(
    launcher: CeleryLauncher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process was killed: Celery knows it, and Dagster does not."""
    run = started(launcher)
    launcher.app.backend.store_result("a-task", None, "FAILURE")
    monkeypatch.setattr(workers, "worker_of", lambda _run_id: None)
    health = launcher.check_run_worker_health(run)
    launcher.app.backend.forget("a-task")

    assert health.status is WorkerStatus.FAILED
    assert "FAILURE" in (health.msg or "")


def test_no_run_is_ended_for_a_redis_that_is_away(
    launcher: CeleryLauncher, redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is known then."""
    run = started(launcher)
    monkeypatch.setattr(workers, "worker_of", lambda run_id: heard_of(run_id, silent_s=9.0))
    redis.stop()
    try:
        assert launcher.check_run_worker_health(run).status is WorkerStatus.RUNNING
    finally:
        redis.start(lambda _: None)


def test_a_run_that_waits_is_cancelled_at_once(launcher: CeleryLauncher) -> None:
    """And as cancelled, not as failed: a failed one would be repeated."""
    instance = launcher._instance  # pyright: ignore[reportPrivateUsage]
    run = instance.create_run_for_job(a_job, tags=dict(TASK), status=dg.DagsterRunStatus.STARTING)

    assert launcher.terminate(run.run_id)
    ended = instance.get_run_by_id(run.run_id)
    assert ended
    assert ended.status is dg.DagsterRunStatus.CANCELED
    assert not launcher.terminate(run.run_id)


@pytest.mark.usefixtures("pipeline")
def test_a_worker_without_the_launcher_says_what_to_do() -> None:
    """One line, with the file."""
    with pytest.raises((TyperException, errors.ConfigurationError), match=r"celery\.yaml"):
        app(["worker"], standalone_mode=False)


def test_of_two_daemons_one_has_the_lock(pipeline_url: str) -> None:
    """The other is told who; when the first lets go, it has it."""
    first, second = DaemonLock(pipeline_url), DaemonLock(pipeline_url)

    assert first.holder() == ""
    assert first.take()
    assert not second.take()
    assert second.holder().endswith(f"process {os.getpid()}")
    assert first.is_held()
    first.release()
    assert second.take()
    assert not first.is_held()
    second.release()


def test_the_lock_is_lost_with_its_connection(pipeline_url: str) -> None:
    """As after a restart of the database."""
    lock = DaemonLock(pipeline_url)
    assert lock.take()
    with psycopg.connect(pipeline_url, autocommit=True) as admin:
        admin.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where application_name like 'wrdata daemon%' and datname = current_database()"
        )

    assert not lock.is_held()
    assert lock.take()
    lock.release()


@pytest.mark.long
def test_a_second_daemon_is_refused_and_one_that_stands_by_takes_over(
    pipeline: Pipeline, tmp_path: Path
) -> None:
    """From a daemon that was killed, within seconds."""
    del pipeline
    logs = [tmp_path / f"{name}.log" for name in ("first", "second", "standby")]
    command = [sys.executable, "-m", "pipelines.cli", "daemon"]

    def start(log: Path, *options: str) -> subprocess.Popen[bytes]:
        with log.open("wb") as output:
            return subprocess.Popen([*command, *options], stdout=output, stderr=output, cwd=PROJECT)

    def says(log: Path, text: str) -> bool:
        return wait_until(lambda: text in log.read_text("utf-8"), within_s=180, every_s=0.2)

    first = start(logs[0])
    assert says(logs[0], "the daemon works")
    second = start(logs[1])
    assert second.wait(180) == 1
    assert "another daemon works" in logs[1].read_text("utf-8")
    standby = start(logs[2], "--standby")
    try:
        assert says(logs[2], "standing by")
        first.kill()
        first.wait()
        assert says(logs[2], "the daemon works")
        standby.send_signal(signal.SIGTERM)
        assert standby.wait(180) == 0
    finally:
        standby.kill()
