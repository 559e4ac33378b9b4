"""Commands whose modules are imported when they are called, and not to list them.

Here: the one mechanism by which the command line starts fast: a command is a name and where its
function stands, and its help is read from the source. Not here: the list of commands (main.py).

What a command stands on (Dagster, pyiceberg, pandas) takes seconds of CPU to import.
"""

import ast
import importlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from marketdata.recovery import errors
from pipelines.cli.interruption import nothing_at_stake

PROJECT = Path(__file__).parents[2]
BESIDE = "pipelines.cli"
"""The package in which a command's module stands where its place names no other."""


class DeferredCommand(TyperCommand):
    """A command by its place, such as ``world:up``: a module beside this one, and a function.

    A place in another package names it: ``demo.main_job:demo``. That package may not be
    installed; then the command says so.
    """

    def __init__(self, name: str, place: str) -> None:
        module, _, self._function = place.partition(":")
        self._module = module if "." in module else f"{BESIDE}.{module}"
        self._installed = _source(self._module).exists()
        told = _docstrings(self._module)[self._function] if self._installed else "Not installed."
        super().__init__(name=name, help=told)

    def make_context(self, *args: Any, **more: Any) -> Any:
        """Import the command, and let it read its words."""
        return self.command().make_context(*args, **more)

    def command(self) -> Any:
        """Return the command itself; imports its module.

        Raises:
            ConfigurationError: This installation does not have it.
        """
        if not self._installed:
            message = f"{self.name} is not installed: only a checkout of the project has it"
            raise errors.ConfigurationError(message)
        with nothing_at_stake():
            module = importlib.import_module(self._module)
        alone = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
        alone.command(self.name)(getattr(module, self._function))
        return get_command(alone)


def _source(module: str) -> Path:
    """Return the file of a module of this project."""
    return PROJECT.joinpath(*module.split(".")).with_suffix(".py")


@cache
def _docstrings(module: str) -> Mapping[str, str | None]:
    """Return what the functions of a module say about themselves, without importing it."""
    tree = ast.parse(_source(module).read_text("utf-8"))
    functions = (node for node in tree.body if isinstance(node, ast.FunctionDef))
    return {function.name: ast.get_docstring(function) for function in functions}


def group(commands: Mapping[str, str]) -> type[TyperGroup]:
    """Return a class of groups which hold ``commands``: their names, and where they stand."""

    class DeferredGroup(TyperGroup):
        def __init__(self, **settings: Any) -> None:
            super().__init__(**settings)
            deferred = {name: DeferredCommand(name, place) for name, place in commands.items()}
            # Groups come after commands.
            self.commands = {**deferred, **self.commands}

    return DeferredGroup
