"""How a command ends that a person or the system interrupts.

Here: the error that runs.py raises then, and Ctrl-C while modules are imported. Not here: anything
slow to import, since main.py imports this module before any command.
"""

import os
import signal
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

INTERRUPTED = 130
"""Exit status of a command that Ctrl-C ended, as shells have it."""


class RunInterruptedError(Exception):
    """A person or the system interrupted the command; Dagster records the run as failed."""


@contextmanager
def quit_on_interrupt() -> Generator[None]:
    """Let Ctrl-C end the process at once: during imports an exception would print a traceback."""
    before = signal.signal(signal.SIGINT, _quit)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _quit(_number: int, _frame: FrameType | None) -> NoReturn:
    os._exit(INTERRUPTED)
