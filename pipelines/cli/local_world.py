"""The local world as commands see it: a plugin that an installation may lack.

Here: the protocol of a local world, and finding it. Not here: its servers (sandbox/), which only a
checkout has, or when a command works on it (environment.py).
"""

import importlib
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Protocol, cast

from machine.processes import Process
from marketdata.recovery import errors

PLUGIN = "sandbox.local_world"
"""Module with a ``LocalWorld``; loaded by name, so that production runs without it."""


class ServiceStatus(Protocol):
    """State of one service; ``detail`` describes it, ``cure`` says what to do if it is down."""

    @property
    def name(self) -> str: ...
    @property
    def address(self) -> str: ...
    @property
    def running(self) -> bool: ...
    @property
    def detail(self) -> str: ...
    @property
    def cure(self) -> str: ...


class LocalWorld(Protocol):
    """Database, object store and simulated providers of a checkout."""

    @property
    def root(self) -> Path: ...
    def start(self, services: Collection[str], report: Callable[[str], None], /) -> None: ...
    def stop(self) -> list[str]: ...
    def join(self) -> None: ...
    def users(self) -> Sequence[Process]: ...
    def status(self) -> Sequence[ServiceStatus]: ...
    def environment(self, services: Collection[str], /) -> Mapping[str, str]: ...
    def simulators_origin(self) -> str: ...


def is_installed() -> bool:
    """Return whether this installation has a local world."""
    return _plugin() is not None


def at(root: Path) -> LocalWorld:
    """Return the local world whose state folder is ``root``; without the plugin, an empty one."""
    plugin = _plugin()
    return _Nowhere(root) if plugin is None else plugin(root)


def _plugin() -> Callable[[Path], LocalWorld] | None:
    try:
        module = importlib.import_module(PLUGIN)
    except ModuleNotFoundError as error:
        if error.name not in {PLUGIN, PLUGIN.partition(".")[0]}:
            raise  # The plugin is installed, and a library that it needs is not.
        return None
    return cast("Callable[[Path], LocalWorld]", module.LocalWorld)


class _Nowhere:
    """The empty local world of an installation without the plugin: nothing can run."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()

    def start(self, _services: Collection[str], _report: Callable[[str], None], /) -> None:
        raise errors.ConfigurationError(NOT_INSTALLED)

    def stop(self) -> list[str]:
        return []

    def join(self) -> None: ...

    def users(self) -> Sequence[Process]:
        return ()

    def status(self) -> Sequence[ServiceStatus]:
        return ()

    def environment(self, _services: Collection[str], /) -> Mapping[str, str]:
        raise errors.ConfigurationError(NOT_INSTALLED)

    def simulators_origin(self) -> str:
        raise errors.ConfigurationError(NOT_INSTALLED)


NOT_INSTALLED = (
    "the local world is not installed: only a checkout of the project has it (`make demo` there)"
)
"""Message for a person, in one line."""
