"""What a command does where its output cannot go, and when it is stopped before it has begun."""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

pytestmark = pytest.mark.servers

COMMAND = (sys.executable, "-m", "pipelines.cli")
FULL = Path("/dev/full")


@pytest.fixture
def nowhere(tmp_path: Path) -> dict[str, str]:
    """An environment whose world was never started: settings can be shown all the same."""
    ours = ("WRDATA_", "FMP_", "AWS_", "DAGSTER_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return kept | {"WRDATA_STATE_DIR": str(tmp_path / "world")}


@pytest.mark.parametrize("words", [("--help",), ("config", "show"), ("config", "show", "--json")])
def test_results_on_a_full_disk_are_one_line_and_a_status(
    nowhere: dict[str, str], words: Sequence[str]
) -> None:
    """Whoever reads the file has to know that it is not whole."""
    with FULL.open("w") as full:
        done = subprocess.run(
            [*COMMAND, *words], env=nowhere, stdout=full, stderr=subprocess.PIPE, check=False
        )
    assert done.stderr.decode() == (
        "error: standard output cannot be written: No space left on device\n"
    )
    assert done.returncode == 1


def test_a_closed_standard_output_is_one_line_and_a_status(nowhere: dict[str, str]) -> None:
    """Nor does a file or a connection of ours take its place."""
    done = subprocess.run(
        ["/bin/sh", "-c", '"$@" >&-', "sh", *COMMAND, "config", "show"],
        env=nowhere,
        stderr=subprocess.PIPE,
        check=False,
    )
    assert done.stderr.decode() == (
        "error: standard output cannot be written: Bad file descriptor\n"
    )
    assert done.returncode == 1


@pytest.mark.parametrize(("words", "status"), [(("config", "show"), 1), (("down",), 0)])
@pytest.mark.parametrize("redirected", [">&- 2>&-", ">&- 2>/dev/full", "2>/dev/full >/dev/full"])
def test_a_command_that_can_tell_nobody_still_has_its_status(
    nowhere: dict[str, str], redirected: str, words: Sequence[str], status: int
) -> None:
    """Results that are lost are a failure; where there are none, the work was done."""
    done = subprocess.run(
        ["/bin/sh", "-c", f'"$@" {redirected}', "sh", *COMMAND, *words],
        env=nowhere,
        capture_output=True,
        check=False,
    )
    assert (done.stdout, done.stderr) == (b"", b"")
    assert done.returncode == status


def test_what_is_only_told_to_a_person_may_be_lost(nowhere: dict[str, str]) -> None:
    """The work is done, so the status is 0."""
    with FULL.open("w") as full:
        done = subprocess.run([*COMMAND, "down"], env=nowhere, stderr=full, check=False)
    assert done.returncode == 0


@pytest.mark.parametrize("words", [("--help",), ("config", "show"), ("config", "show", "--json")])
def test_a_reader_that_goes_away_ends_the_command_as_it_ends_others(
    nowhere: dict[str, str], words: Sequence[str]
) -> None:
    """As `| head` does: without a word, with 141."""
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [*COMMAND, *words], env=nowhere, stdout=writer, stderr=subprocess.PIPE, check=False
    )
    os.close(writer)
    assert done.stderr == b""
    assert done.returncode == 141


@pytest.mark.parametrize(
    "loaded",
    [
        "marketdata.recovery.errors",
        "pipelines.cli.console",
        "dagster._annotations",
        "resources.opening",
    ],
)
def test_ctrl_c_while_a_command_is_loaded_is_no_traceback(
    nowhere: dict[str, str], loaded: str
) -> None:
    """In the first moments, wherever the imports are just then."""
    with subprocess.Popen(
        [sys.executable, "-X", "importtime", *COMMAND[1:], "doctor"],
        env=nowhere,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as command:
        assert command.stderr is not None
        lines: list[str] = []
        for line in command.stderr:
            lines.append(line)
            if line.rstrip().endswith(loaded):
                command.send_signal(signal.SIGINT)
        assert command.wait() == 130
    assert loaded in "".join(lines)
    assert "Traceback" not in "".join(lines)
