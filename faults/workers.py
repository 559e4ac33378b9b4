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
"""No command of the suite takes longer; one that does is a finding."""


class SuiteError(Exception):
    """The suite itself cannot go on: its servers, or a command that has to work, fail."""


class Worker:
    """One command of ours in a process of its own, with its outputs in files.

    Args:
        command: A module of ours and its arguments, such as ``pipelines.cli.main backfill …``.
        environment: All that the process sees.
        log: Where its outputs go: this path with ``.stdout`` and ``.stderr``.
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
        """The command in words, cut."""
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
        """Whether it ended otherwise than well, by a kill for instance."""
        return self._process.poll() not in {None, 0}

    @property
    def stderr(self) -> str:
        """What it has said so far."""
        return self._log.with_suffix(".stderr").read_text(errors="replace")

    @property
    def stdout(self) -> str:
        """What it has printed so far."""
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
            SuiteError: It runs on; it has been killed.
        """
        try:
            return self._process.wait(within_s)
        except subprocess.TimeoutExpired as error:
            self.kill()
            message = f"`{self.name}` had not ended after {within_s:g} s"
            raise SuiteError(message) from error
