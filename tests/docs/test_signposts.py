"""Signposts in modules' charters: the file that "Not here" sends a reader to is there."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

PROJECT = Path(__file__).parents[2]
NOT_HERE = re.compile(r"Not\s+here:\s.*?(?=\n\n|\Z)", re.DOTALL)
SIGNPOST = re.compile(r"(?<!its )(?<!'s )(?<![\w./`>])([\w./]+\.py)\b")
"""A file's name. One of several alike does not count, such as a provider's wire.py."""
FEWEST = 200
"""There are more signposts than this."""


def charters() -> Iterator[tuple[Path, str]]:
    """Yield every module but tests with the text of its charter."""
    for folder in PROJECT.iterdir():
        if folder.is_dir() and folder.name != "tests" and not folder.name.startswith("."):
            for module in folder.rglob("*.py"):
                yield module, ast.get_docstring(ast.parse(module.read_text("utf-8"))) or ""


def signposts() -> Iterator[tuple[Path, str]]:
    """Yield each file that a charter sends a reader to, with the module of the charter."""
    for module, charter in charters():
        for part in NOT_HERE.findall(charter):
            for name in SIGNPOST.findall(part):
                yield module, name


def test_charters_name_files_that_there_are() -> None:
    """A named file lies in the same folder, or at its path from there or from the root."""
    named = list(signposts())
    lost = [
        f"{module.relative_to(PROJECT)}: {name}"
        for module, name in named
        if not (module.parent / name).exists() and not (PROJECT / name).exists()
    ]

    assert sorted(lost) == []
    assert len(named) > FEWEST, "the patterns find too few"
