"""Facts about the Dockerfile that need no build."""

import re
import subprocess
import sysconfig
from pathlib import Path

import pytest

from tests.deploy.dockerfile import FILE, PROJECT, TARGETS, let_in, sources, stages
from tests.docs.test_pages import misfit
from tests.packaging.installations import pyproject

SCRIPTS = Path(sysconfig.get_path("scripts"))
SERVE = {"code": "4000", "webserver": "3000", "exporter": "9464"}
CHECKED = ("code", "webserver", "daemon", "worker", "exporter")


def test_hadolint_finds_nothing() -> None:
    """Neither in form nor in the shell's lines."""
    done = subprocess.run(
        [SCRIPTS / "hadolint", FILE], capture_output=True, text=True, check=False, timeout=60
    )

    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_every_image_has_its_target() -> None:
    """Those that `make images` builds."""
    script = (PROJECT / "deploy" / "image" / "build").read_text("utf-8")

    assert stages().keys() >= set(TARGETS)
    assert f"targets=({' '.join(TARGETS)})" in script


@pytest.mark.parametrize("target", TARGETS)
def test_an_image_runs_as_nobody_special(target: str) -> None:
    """By number, since Kubernetes cannot judge names; the database's user in that for backups."""
    assert stages()[target].last("USER") == ("1000:1000" if target == "backup" else "10001:10001")


@pytest.mark.parametrize("target", TARGETS)
def test_an_image_says_what_it_is_and_how_it_ends(target: str) -> None:
    """Labels of the OCI, and the signal."""
    stage = stages()[target]

    assert stage.last("STOPSIGNAL") == "SIGTERM"
    assert {
        label.partition("=")[0].removeprefix("org.opencontainers.image.")
        for label in stage.last("LABEL").split()
        if label.startswith("org.opencontainers.")
    } == {"title", "description", "licenses", "version", "revision", "base.name"}


@pytest.mark.parametrize("target", CHECKED)
def test_an_image_that_serves_is_asked_for_its_health(target: str) -> None:
    """At the port that it says it listens on."""
    stage = stages()[target]
    asked = " ".join(stage.health_check)

    assert asked
    if target in SERVE:
        assert stage.last("EXPOSE") == SERVE[target]
        assert SERVE[target] in asked


@pytest.mark.parametrize("target", sorted({*TARGETS} - {"code", "reader"}))
def test_a_command_is_one_of_ours(target: str) -> None:
    """With options that it takes."""
    program, *words = stages()[target].command

    assert program == "wrdata"
    assert misfit(" ".join(words)) is None


@pytest.mark.servers
@pytest.mark.parametrize(
    ("target", "program"),
    [
        ("code", "dagster api grpc"),
        ("code", "dagster api grpc-health-check"),
        ("daemon", "dagster-daemon liveness-check"),
        ("worker", "celery inspect"),
    ],
)
def test_a_program_of_a_library_takes_its_options(target: str, program: str) -> None:
    """Dagster's and Celery's: what their help lists."""
    stage = stages()[target]
    lines = f"{' '.join(stage.command)}\n{' '.join(stage.health_check)}"
    given = re.search(rf"\b{program}( .*|)$", lines, re.MULTILINE)
    name, *words = program.split()
    shown = subprocess.run(
        [SCRIPTS / name, *words, "--help"], capture_output=True, text=True, check=True, timeout=120
    ).stdout

    assert given
    assert [word for word in given[1].split() if word.startswith("--") and word not in shown] == []


def test_every_file_that_is_copied_is_there_and_let_in() -> None:
    """A build sees what .dockerignore lets in, and nothing else."""
    copied = {source for stage in stages().values() for source in sources(stage)} - {"."}

    assert [source for source in copied if not (PROJECT / source).exists()] == []
    assert copied <= let_in()


def test_a_build_sees_the_wheel_and_nothing_else_of_the_project() -> None:
    """No test, no simulator, no `.env`, no history."""
    packages = set(pyproject()["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"])
    others = let_in() - packages

    assert (PROJECT / ".dockerignore").read_text("utf-8").splitlines()[1] == "*"
    assert packages <= let_in()
    assert others == {
        "pyproject.toml", "requirements.lock", "README.md", "LICENSE", "dagster.yaml",
        "workspace.yaml", "deploy/image/finish",
    }  # fmt: skip


def test_every_stage_stands_on_the_same_python() -> None:
    """The environment is built by the Python that runs it."""
    bases = {stage.last("BASE") for stage in stages().values()}

    assert bases == {"docker.io/library/python:3.11-slim"}
