"""Commands whose modules are imported when they are called, not when they are listed.

Here: how the command line starts fast: a command is a name and the place of its function, and its
help is read from the source. Not here: the list of commands (main.py).

What commands import (Dagster, pyiceberg, pandas) takes seconds of CPU.
"""

import ast
import gc
import importlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from marketdata.recovery import errors
from pipelines.cli.interruption import quit_on_interrupt

PROJECT = Path(__file__).parents[2]
BESIDE = "pipelines.cli"
"""Package of a command's module where its place names none."""


class DeferredCommand(TyperCommand):
    """A command by its place, such as ``world:up``: a module beside this one, and a function.

    A place in another package names the package: ``demo.main_job:demo``. If that package is not
    installed, the command says so.
    """

    def __init__(self, name: str, place: str) -> None:
        module, _, self._function = place.partition(":")
        self._module = module if "." in module else f"{BESIDE}.{module}"
        self._installed = _source(self._module).exists()
        help_text = (
            _docstrings(self._module)[self._function] if self._installed else "Not installed."
        )
        super().__init__(name=name, help=help_text)

    def make_context(self, *args: Any, **more: Any) -> Any:
        """Import the command, and let it parse its arguments."""
        return self.command().make_context(*args, **more)

    def command(self) -> Any:
        """Import the command's module and return the command.

        Raises:
            ConfigurationError: The command is not installed.
        """
        if not self._installed:
            message = f"{self.name} is not installed: only a checkout of the project has it"
            raise errors.ConfigurationError(message)
        with quit_on_interrupt():
            module = importlib.import_module(self._module)
        gc.freeze()  # as in pipelines/definitions.py
        alone = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
        alone.command(self.name)(getattr(module, self._function))
        return get_command(alone)


def _source(module: str) -> Path:
    """Return the file of a module of this project."""
    return PROJECT.joinpath(*module.split(".")).with_suffix(".py")


@cache
def _docstrings(module: str) -> Mapping[str, str | None]:
    """Return the docstrings of a module's functions, without importing it."""
    tree = ast.parse(_source(module).read_text("utf-8"))
    functions = (node for node in tree.body if isinstance(node, ast.FunctionDef))
    return {function.name: ast.get_docstring(function) for function in functions}


def group(commands: Mapping[str, str]) -> type[TyperGroup]:
    """Return a group class of ``commands``: places by name."""

    class DeferredGroup(TyperGroup):
        def __init__(self, **settings: Any) -> None:
            super().__init__(**settings)
            deferred = {name: DeferredCommand(name, place) for name, place in commands.items()}
            # Groups come after commands.
            self.commands = {**deferred, **self.commands}

    return DeferredGroup
