"""Pages that people read: their links lead somewhere, their commands work, their lines fit."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer import TyperException
from typer.core import TyperGroup
from typer.main import get_command

from pipelines.cli.deferred import DeferredCommand
from pipelines.cli.main import app

PROJECT = Path(__file__).parents[2]
FOLDERS = [
    folder
    for folder in sorted(PROJECT.iterdir())
    if folder.is_dir() and (not folder.name.startswith(".") or folder.name == ".github")
]
PAGES = [
    *sorted(PROJECT.glob("*.md")),
    *(page for folder in FOLDERS for page in sorted(folder.rglob("*.md"))),
]
DECISIONS = sorted((PROJECT / "docs" / "decisions").glob("[0-9]*.md"))
GUIDES = [PROJECT / name for name in ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md")]
LONGEST_LINE = 100
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")
PLACE = re.compile(r"`((?:\w+/)+[^`]*)`")
"""A folder or a file of the repository, from its root."""
IN_PROSE = re.compile(r"`wrdata ([^`\n|;)]+)")
IN_A_FENCE = re.compile(r"^wrdata ([^#\n|;]+)", re.MULTILINE)


def named(page: Path) -> str:
    """Return a page's place, as a test's name."""
    return str(page.relative_to(PROJECT))


def found_command(words: list[str]) -> tuple[Any, list[str]]:
    """Return the command at the beginning of ``words``, and the other words.

    Raises:
        KeyError: No command is called so.
    """
    command: Any = get_command(app)
    while words and isinstance(command, TyperGroup) and not words[0].startswith("-"):
        command = command.commands[words.pop(0)]
    return command.command() if isinstance(command, DeferredCommand) else command, words


def unknown_options(words: list[str]) -> Iterator[str]:
    """Yield the words that are no command, and the options that the command does not take."""
    try:
        command, rest = found_command(words)
    except KeyError as error:
        yield str(error)
        return
    taken = {option for parameter in command.params for option in parameter.opts} | {"--help"}
    yield from (word for word in rest if word.startswith("--") and word not in taken)


def misfit(line: str) -> str | None:
    """Return why a whole line of a command makes no sense: what is unknown, missing or too much."""
    command, words = found_command(shlex.split(line))
    parser = command.make_parser(command.context_class(command, info_name="wrdata"))
    try:
        given, left_over, _ = parser.parse_args(words)
    except TyperException as error:
        return str(error)
    missing = [
        part.name for part in command.params if part.required and given.get(part.name) is None
    ]
    return f"missing {missing}, too much {left_over}" if missing or left_over else None


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_lines_of_pages_fit_into_a_window(page: Path) -> None:
    """Tables and the addresses of links cannot be cut; all else has at most 100 columns."""
    too_long = [
        (number, line)
        for number, line in enumerate(page.read_text("utf-8").splitlines(), start=1)
        if len(LINK.sub("]", line)) > LONGEST_LINE and not line.lstrip().startswith("|")
    ]

    assert too_long == []


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_relative_links_lead_to_files(page: Path) -> None:
    """A link that leads nowhere is worse than none."""
    links = LINK.findall(FENCE.sub("", page.read_text("utf-8")))
    targets = {link.partition("#")[0] for link in links if ":" not in link}

    assert [target for target in targets if not (page.parent / target).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_pages_name_commands_and_options_that_there_are(page: Path) -> None:
    """Lines copied from a runbook must work."""
    text = page.read_text("utf-8")
    in_prose = IN_PROSE.findall(FENCE.sub("", text))
    wrong = {words: bad for words in in_prose if (bad := list(unknown_options(words.split())))}

    assert wrong == {}


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_commands_in_blocks_are_whole(page: Path) -> None:
    """Blocks are copied as they are: no word is missing or superfluous."""
    blocks = "\n".join(FENCE.findall(page.read_text("utf-8")))
    lines = [line for line in IN_A_FENCE.findall(blocks) if "…" not in line]

    assert {line: why for line in lines if (why := misfit(line))} == {}


@pytest.mark.parametrize("page", GUIDES, ids=named)
def test_guides_name_places_that_there_are(page: Path) -> None:
    """A reader who misses a named file does not trust the page."""
    prose = FENCE.sub("", page.read_text("utf-8"))
    places = [
        place.rstrip("/")
        for place in PLACE.findall(prose)
        if not set(place) & set("<*{ ") and "NNNN" not in place
    ]

    assert [place for place in places if not (PROJECT / place).exists()] == []


def test_all_decisions_are_listed_in_order() -> None:
    """The list is how a reader finds a decision."""
    page = (PROJECT / "docs" / "decisions" / "README.md").read_text("utf-8")
    entries = page.replace("\n  ", " ")  # A long title goes on in the next line.
    listed = re.findall(r"^- \[(.*)\]\((\d{4}-.*\.md)\)$", entries, re.MULTILINE)
    titles = [page.read_text("utf-8").splitlines()[0].removeprefix("# ") for page in DECISIONS]

    assert listed == list(zip(titles, (page.name for page in DECISIONS), strict=True))


@pytest.mark.parametrize("page", DECISIONS, ids=named)
def test_a_decision_says_when_what_and_why(page: Path) -> None:
    """Number, date, status, context, decision and consequences, in this order."""
    text = page.read_text("utf-8")

    assert text.startswith(f"# {page.name[:4]}. ")
    assert re.match(r"# .*\n\n(Date: )?\d{4}-\d{2}-\d{2}\b[^#]*Status: \w+", text)
    headings = re.findall(r"^## (.*)$", text, re.MULTILINE)
    assert headings in (
        ["Context", "Decision", "Consequences"],
        ["Context", "Decision", "Consequences", "Measured"],
    )
