"""How a command ends that was asked to end, apart from what it was doing.

Here: what is raised then (runs.py), and Ctrl-C while modules are imported. Not here: anything that
takes time to import, since main.py has to know it before any command is.
"""

import os
import signal
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

INTERRUPTED = 130
"""The status of a command that Ctrl-C ended, as shells have it."""


class RunInterruptedError(Exception):
    """A person or the system asked the command to end; Dagster knows the run as failed."""


@contextmanager
def nothing_at_stake() -> Generator[None]:
    """Let Ctrl-C end the process at once: within an import an exception would be a traceback."""
    before = signal.signal(signal.SIGINT, _quit)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _quit(_number: int, _frame: FrameType | None) -> NoReturn:
    os._exit(INTERRUPTED)
