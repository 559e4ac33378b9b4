"""Images that are built here, and what runs in them on a real database, bucket and Redis."""

import json
import os
import signal
import subprocess
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from machine import processes
from sandbox.redis import RedisServer
from tests.deploy.building import Builder, missing
from tests.deploy.dockerfile import PROJECT, TARGETS, stages
from tests.fixtures.world import BucketSettings
from tests.packaging.installations import pyproject

pytestmark = [pytest.mark.long, pytest.mark.skipif(bool(missing()), reason=missing())]

VERSION = pyproject()["project"]["version"]
PORTS = {"code": "4000", "webserver": "3000", "exporter": "9464"}
STARTS_WITHIN_S = 180.0
ENDS_WITHIN_S = 60.0


@pytest.fixture(scope="module")
def builder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Builder]:
    """All images, built once."""
    made = Builder(tmp_path_factory.mktemp("images"))
    made.prepare()
    made.build()
    yield made
    made.buildah("rm", "--all")
    made.buildah("rmi", "--all", "--force")


@pytest.fixture(scope="module")
def containers(builder: Builder) -> dict[str, str]:
    """A container of each image."""
    return {target: builder.container(f"wrdata-{target}:{VERSION}") for target in TARGETS}


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis with a password."""
    server = RedisServer(tmp_path / "redis")
    server.start(lambda _: None)
    yield server
    server.stop()


@pytest.fixture
def variables(migrated_url: str, bucket: BucketSettings, redis: RedisServer) -> dict[str, str]:
    """What Compose would give a container."""
    return {
        "WRDATA_DATABASE_URL": migrated_url,
        "WRDATA_DAGSTER_DATABASE_URL": f"{migrated_url}?options=-csearch_path%3Ddagster",
        "WRDATA_REDIS_URL": redis.url,
        "WRDATA_S3_ENDPOINT": bucket.endpoint,
        "WRDATA_ARCHIVE_BUCKET": bucket.bucket,
        "WRDATA_PROXY_SECRET": "a-secret-of-this-test",
        "AWS_REGION": bucket.region,
        "AWS_ACCESS_KEY_ID": bucket.access_key,
        "AWS_SECRET_ACCESS_KEY": bucket.secret_key,
        "FMP_API_KEY": "a-key-that-nobody-asks-with",
    }


@pytest.mark.parametrize("target", TARGETS)
def test_an_image_says_what_the_dockerfile_says(builder: Builder, target: str) -> None:
    """User, command, health check, signal and labels survive the build."""
    config = builder.inspected(f"wrdata-{target}:{VERSION}")
    stage = stages()[target]
    labels = config["Labels"]

    assert config["User"] == stage.last("USER")
    assert config["Cmd"] == stage.command
    assert config["Healthcheck"]["Test"] == (
        ["CMD", *stage.health_check] if stage.health_check else ["NONE"]
    )
    assert config["StopSignal"] == "SIGTERM"
    assert labels["org.opencontainers.image.version"] == VERSION
    assert len(labels["org.opencontainers.image.revision"]) == 40


@pytest.mark.parametrize("target", TARGETS)
def test_a_user_can_write_to_hardly_anything(
    builder: Builder, containers: dict[str, str], target: str
) -> None:
    """So that a root that is read-only changes nothing."""
    found = builder.said(
        containers[target],
        "/bin/sh", "-c",
        "find / -xdev -writable -not -type l -not -path '/proc/*' -not -path '/dev/*'"
        " -not -path '/sys/*' 2>/dev/null || true",
    )  # fmt: skip
    allowed = {"/tmp", "/var/tmp", "/run/lock", "/proc", "/dev"}
    allowed |= {"/opt/wrdata/storage"} if target != "backup" else set()
    # Those of Debian's packages, for the database's user, whom they know.
    theirs = ("/var/log/p", "/var/lib/p", "/var/spool/p", "/run/p", "/etc/p")

    assert {
        path for path in found.splitlines() if not (target == "backup" and path.startswith(theirs))
    } <= allowed


@pytest.mark.parametrize("target", TARGETS)
def test_an_image_holds_no_compiler_and_nothing_of_the_local_world(
    builder: Builder, containers: dict[str, str], target: str
) -> None:
    """Nor tests, nor what builds."""
    program = (
        "import importlib.util as u, json, shutil, sys; print(json.dumps({"
        "'programs': [p for p in ('gcc', 'cc', 'g++', 'make', 'uv', 'git') if shutil.which(p)],"
        "'modules': [m for m in ('sandbox', 'demo', 'faults', 'operate', 'tests', 'pytest',"
        " 'uv', 'cyclonedx') if u.find_spec(m)],"
        "'dagster': bool(u.find_spec('dagster')), 'python': sys.prefix}))"
    )
    held = json.loads(builder.said(containers[target], "python", "-c", program))

    assert held == {
        "programs": [],
        "modules": [],
        "dagster": target != "reader",
        "python": "/opt/wrdata/venv",
    }


@pytest.mark.parametrize("target", ["code", "reader"])
def test_an_image_lists_what_it_holds(
    builder: Builder, containers: dict[str, str], target: str
) -> None:
    """In CycloneDX: every distribution that Python finds in it, with its version."""
    bill = json.loads(builder.said(containers[target], "cat", "/opt/wrdata/sbom.json"))
    program = (
        "import importlib.metadata as m, json;"
        "print(json.dumps(sorted([d.name, d.version] for d in m.distributions())))"
    )
    installed = json.loads(builder.said(containers[target], "python", "-c", program))

    assert bill["bomFormat"] == "CycloneDX"
    listed = sorted([part["name"], part["version"]] for part in bill["components"])
    assert [name.lower() for name, _ in listed] == [name.lower() for name, _ in installed]
    assert ["dagster", "1.13.27"] in listed or target == "reader"


def test_a_reader_asks_the_database(
    builder: Builder, containers: dict[str, str], variables: dict[str, str]
) -> None:
    """An empty one, and so it is told what is missing there; no Dagster is needed for that."""
    program = "from wrdata import read_bars; read_bars(['AAPL'], '2024-01-02')"
    done = subprocess.run(
        builder.command(containers["reader"], ["python", "-c", program], variables),
        env=builder.environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )

    assert "this database knows no names yet" in done.stderr


@contextmanager
def started(
    builder: Builder, container: str, target: str, variables: Mapping[str, str], log: Path
) -> Generator[tuple[subprocess.Popen[bytes], list[str]]]:
    """Start what an image starts; yield the process, and the words of its health check."""
    stage = stages()[target]
    port = PORTS.get(target)
    free = str(processes.free_port(None))
    words, check = (
        [word.replace(port, free) if port else word for word in said]
        for said in (stage.command, stage.health_check)
    )
    if target == "exporter":
        words += ["--port", free]
    launcher = PROJECT / "deploy" / "launchers" / "celery.yaml"
    mounted = f"--volume={launcher}:/opt/wrdata/dagster.yaml:ro"
    with log.open("wb") as output:
        process = subprocess.Popen(
            builder.command(container, words, variables, mounted),
            env=builder.environment,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
        try:
            yield process, builder.command(container, check, variables, mounted)
        finally:
            for number in descendants(process.pid):
                with_signal(number, signal.SIGKILL)
            process.wait(30)


def descendants(parent: int) -> list[int]:
    """Return the processes below one, the deepest last."""
    children = [
        int(path.parent.name)
        for path in Path("/proc").glob("[0-9]*/stat")
        if _parent(path) == parent
    ]
    return [parent, *(number for child in children for number in descendants(child))]


def _parent(stat: Path) -> int:
    try:
        return int(stat.read_text().rpartition(")")[2].split()[1])
    except (OSError, IndexError):
        return 0


def with_signal(number: int, what: signal.Signals) -> None:
    """Send a signal to a process that may be gone."""
    with suppress(ProcessLookupError):
        os.kill(number, what)


@pytest.mark.parametrize("target", ["code", "webserver", "daemon", "worker", "exporter"])
def test_an_image_runs_is_healthy_and_ends_when_asked(
    builder: Builder,
    containers: dict[str, str],
    variables: dict[str, str],
    tmp_path: Path,
    target: str,
) -> None:
    """Its own command and health check, with the instance that has workers."""
    log = tmp_path / f"{target}.log"
    with started(builder, containers[target], target, variables, log) as (process, check):

        def healthy() -> bool:
            return (
                subprocess.run(
                    check, env=builder.environment, capture_output=True, check=False, timeout=60
                ).returncode
                == 0
            )

        is_healthy = processes.wait_until(
            lambda: process.poll() is not None or healthy(),
            within_s=STARTS_WITHIN_S,
            every_s=2.0,
        )
        assert process.poll() is None, log.read_text()
        assert is_healthy, log.read_text()
        inner = next(number for number in descendants(process.pid) if _is_ours(number))
        with_signal(inner, signal.SIGTERM)
        ended = processes.wait_until(
            lambda: process.poll() is not None, within_s=ENDS_WITHIN_S, every_s=0.2
        )
        assert ended, log.read_text()


def _is_ours(number: int) -> bool:
    try:
        words = Path(f"/proc/{number}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return words[0].startswith(b"/opt/wrdata/venv")
