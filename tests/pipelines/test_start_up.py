"""Facts about how the command line starts: what it imports before it knows what to do."""

import inspect
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from typer.core import TyperGroup
from typer.main import get_command

from pipelines.cli.deferred import DeferredCommand
from pipelines.cli.main import app
from tests.fixtures.state_folder import PATIENCE_S

pytestmark = pytest.mark.servers

WRDATA = Path(sys.executable).with_name("wrdata")
HEAVY = {
    "adbc_driver_postgresql", "boto3", "dagster", "exchange_calendars", "httpx", "numpy", "pandas",
    "polars", "psycopg", "pyarrow", "pyiceberg", "sqlalchemy",
}  # fmt: skip
"""What commands stand on; each takes a tenth of a second to a second of CPU."""
OURS = {
    "marketdata", "marketdata.recovery", "marketdata.recovery.errors", "pipelines", "pipelines.cli",
    "pipelines.cli.console", "pipelines.cli.deferred", "pipelines.cli.interruption",
    "pipelines.cli.main",
}  # fmt: skip
"""All of this project that stands before a command."""
TOLD = """
import atexit, sys
sys.argv[0] = "wrdata"
atexit.register(lambda: print("imported:", *sys.modules, file=sys.stderr))
from pipelines.cli.main import run
run()
"""


def started(*words: str, **more: str) -> tuple[subprocess.CompletedProcess[str], set[str]]:
    """Run the command line in a process of its own; return what it said, and what it imported."""
    done = subprocess.run(
        [sys.executable, "-c", TOLD, *words],
        env={**os.environ, **more},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    return done, set(done.stderr.splitlines()[-1].split()[1:])


def commands(group: TyperGroup) -> dict[str, DeferredCommand]:
    """Return every command below a group by its words."""
    found: dict[str, DeferredCommand] = {}
    for name, command in group.commands.items():
        if isinstance(command, DeferredCommand):
            found[name] = command
        elif isinstance(command, TyperGroup):
            found |= {f"{name} {rest}": part for rest, part in commands(command).items()}
    return found


ROOT = get_command(app)
assert isinstance(ROOT, TyperGroup)
COMMANDS = commands(ROOT)


@pytest.mark.parametrize(
    ("words", "status"),
    [
        ("--help", 0),
        ("-h", 0),
        ("--version", 0),
        ("", 2),
        ("archive --help", 0),
        ("dlq -h", 0),
        ("sandbox", 2),
        ("bakfill", 2),
        ("dlq lst", 2),
    ],
)
def test_help_version_and_mistakes_import_nothing_of_what_commands_stand_on(
    words: str, status: int
) -> None:
    """Whoever asks what there is waits for no Dagster."""
    done, imported = started(*words.split())

    assert done.returncode == status
    assert imported & HEAVY == set()
    assert {
        module for module in imported if module.partition(".")[0] in {"marketdata", "pipelines"}
    } <= OURS


def test_the_shell_completes_names_of_commands_without_importing_them() -> None:
    """A key press may not take seconds."""
    done, imported = started(
        _WRDATA_COMPLETE="complete_bash", COMP_WORDS="wrdata ba", COMP_CWORD="1"
    )
    below, imported_below = started(
        _WRDATA_COMPLETE="complete_bash", COMP_WORDS="wrdata archive re", COMP_CWORD="2"
    )

    assert done.stdout.split() == ["backfill", "backup"]
    assert below.stdout.split() == ["restore", "rebuild"]
    assert (imported | imported_below) & HEAVY == set()


def test_the_shell_completes_options_of_a_command() -> None:
    """Here the command itself is asked."""
    done, _ = started(
        _WRDATA_COMPLETE="complete_bash", COMP_WORDS="wrdata dlq retry --d", COMP_CWORD="3"
    )

    assert done.stdout.split() == ["--dataset", "--dry-run"]


def test_the_version_is_that_of_the_package() -> None:
    """For a report of a fault."""
    done, _ = started("--version")

    assert done.stdout == f"wrdata {version('wrdata')}\n"


def test_a_group_without_a_command_shows_its_help_and_no_empty_error() -> None:
    """It said "error:  (see wrdata --help)" below its own help."""
    done = subprocess.run(
        [WRDATA, "dlq"], capture_output=True, text=True, check=False, timeout=PATIENCE_S
    )

    assert done.returncode == 2
    assert "Give up the work of letters" in done.stdout + done.stderr
    assert "error:" not in done.stderr


@pytest.mark.parametrize("words", COMMANDS)
def test_what_is_listed_is_what_the_command_says_of_itself(words: str) -> None:
    """The list is read from the source: it names no function that is not there."""
    command = COMMANDS[words]
    itself = command.command()

    assert itself.name == words.rsplit(maxsplit=1)[-1]
    assert command.help
    assert inspect.cleandoc(command.help) == itself.help


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("dlq show abc", "Invalid value for 'ID': it should be a valid integer"),
        ("archive run --start 1990-13", "'1990-13' is not written as YYYY-MM, or no such month"),
        ("aggregates verify --interval 2h", "'2h' is not one of '5m', '15m'"),
        ("backfill splits --tikers A", "No such option: --tikers (Possible options: --tickers)"),
    ],
)
def test_a_wrong_word_is_told_in_plain_words_with_the_help_of_its_own_command(
    words: str, expected: str
) -> None:
    """Neither pydantic's "Value error" nor a format of strftime's."""
    done, _ = started(*words.split())
    line = next(text for text in done.stderr.splitlines() if text.startswith("error:"))
    command = " ".join(words.split()[: 1 if words.startswith("backfill") else 2])

    assert done.returncode == 2
    assert expected in line
    assert line.endswith(f"(see wrdata {command} --help)")
    assert "Value error" not in line
    assert "%" not in line
