"""Commands that the documents name are commands that there are."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.core import TyperGroup
from typer.main import get_command

from pipelines.cli.deferred import DeferredCommand
from pipelines.cli.main import app

PROJECT = Path(__file__).parents[2]
DOCUMENTS = [PROJECT / "README.md", *sorted((PROJECT / "docs").rglob("*.md"))]
COMMAND = re.compile(r"(?:^|`)wrdata ([^`\n#|;)]+)", re.MULTILINE)


def unknown(words: list[str]) -> Iterator[str]:
    """Yield the words that are no command, and the options that the command does not take."""
    command = get_command(app)
    while words and isinstance(command, TyperGroup) and not words[0].startswith("--"):
        name = words.pop(0)
        if name not in command.commands:
            yield name
            return
        command = command.commands[name]
    if isinstance(command, DeferredCommand):
        command = command.command()
    taken = {option for parameter in command.params for option in parameter.opts} | {"--help"}
    yield from (one for one in words if one.startswith("--") and one not in taken)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda one: one.name)
def test_documents_name_commands_and_options_that_there_are(document: Path) -> None:
    """Whoever copies a line from a runbook is in need of it."""
    named = [found[1] for found in COMMAND.finditer(document.read_text())]
    wrong = {one: bad for one in named if (bad := list(unknown(one.split())))}

    assert wrong == {}
