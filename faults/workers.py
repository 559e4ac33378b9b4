"""A worker: one command of ours in a process of its own, as a person or a scheduler starts it.

Here: its life and its outputs. Not here: its environment (world.py), or what it is asked to do
(scenarios.py).
"""

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
COMMAND_WITHIN_S = 300.0
"""Longest time of a command; a longer one is a finding."""


class SuiteError(Exception):
    """The suite itself cannot continue: a server or a required command failed."""


class Worker:
    """One command of ours in a process of its own, with its outputs in files.

    Args:
        command: A module of ours and its arguments, such as ``pipelines.cli.main backfill …``.
        environment: The whole environment of the process.
        log: Path of its outputs, with ``.stdout`` and ``.stderr`` added.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        self.command = tuple(command)
        self._log = log
        with (
            log.with_suffix(".stdout").open("wb") as out,
            log.with_suffix(".stderr").open("wb") as err,
        ):
            self._process = subprocess.Popen(
                [*command],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env=dict(environment),
                cwd=PROJECT,
                start_new_session=True,
            )

    @property
    def name(self) -> str:
        """The command, shortened."""
        return " ".join(self.command[1:])[:60]

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def runs(self) -> bool:
        """Whether it has not ended yet."""
        return self._process.poll() is None

    @property
    def failed(self) -> bool:
        """Whether it ended with an error or a kill."""
        return self._process.poll() not in {None, 0}

    @property
    def stderr(self) -> str:
        """Its standard error so far."""
        return self._log.with_suffix(".stderr").read_text(errors="replace")

    @property
    def stdout(self) -> str:
        """Its standard output so far."""
        return self._log.with_suffix(".stdout").read_text(errors="replace")

    def kill(self) -> bool:
        """End it with SIGKILL; return whether it was still running."""
        alive = self.runs
        if alive:
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        return alive

    def ask_to_end(self) -> None:
        """Send SIGTERM."""
        self._process.terminate()

    def ended(self, within_s: float = COMMAND_WITHIN_S) -> int:
        """Wait for its end and return its exit status.

        Raises:
            SuiteError: It did not end in time; it has been killed.
        """
        try:
            return self._process.wait(within_s)
        except subprocess.TimeoutExpired as error:
            self.kill()
            message = f"`{self.name}` had not ended after {within_s:g} s"
            raise SuiteError(message) from error
