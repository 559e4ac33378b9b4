"""Detached processes: recognised, ended, and never mistaken for others."""

import contextlib
import signal
import socket
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from machine import processes
from marketdata.recovery import errors

_SLEEPER = [sys.executable, "-c", "import time; time.sleep(600)"]
_STUBBORN = [
    sys.executable,
    "-c",
    """import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print('ready', flush=True)
time.sleep(600)""",
]


def _spawn(command: list[str], folder: Path) -> processes.Process:
    return processes.spawn(command, log=folder / "log", cwd=folder, env={})


def test_a_process_is_ended_once(tmp_path: Path) -> None:
    """Ending returns whether there was a process to end."""
    process = _spawn(_SLEEPER, tmp_path)
    assert processes.is_running(process)
    assert processes.working_in(tmp_path) == [process]
    assert processes.end(process, with_signal=signal.SIGTERM, within_s=10)
    assert not processes.is_running(process)
    assert not processes.end(process, with_signal=signal.SIGTERM, within_s=10)


def test_a_process_that_ignores_the_signal_is_killed(tmp_path: Path) -> None:
    """After the time given, by force."""
    process = _spawn(_STUBBORN, tmp_path)
    assert processes.wait_until(
        lambda: "ready" in processes.log_tail(tmp_path / "log"), within_s=20
    )
    assert processes.end(process, with_signal=signal.SIGTERM, within_s=0.1)
    assert not processes.is_running(process)


def test_a_later_process_with_the_same_id_is_left_alone(tmp_path: Path) -> None:
    """A remembered id that the kernel has given to another process is not ended."""
    process = _spawn(_SLEEPER, tmp_path)
    remembered = replace(process, born="another boot:1")
    try:
        assert not processes.is_running(remembered)
        assert not processes.end(remembered, with_signal=signal.SIGKILL, within_s=1)
        assert processes.is_running(process)
    finally:
        processes.end(process, with_signal=signal.SIGKILL, within_s=10)


def test_a_port_in_use_is_replaced() -> None:
    """The preferred port is kept while it is free."""
    with socket.create_server((processes.LOOPBACK, 0)) as taken:
        port = int(taken.getsockname()[1])
        assert processes.free_port(port) != port
    assert processes.free_port(port) == port


def test_a_missing_log_is_told() -> None:
    """The tail of a missing log is a text, not an error."""
    assert processes.log_tail(Path("/nonexistent")) == "(no log)"


def test_the_words_of_a_program_that_ends_at_once_are_in_its_log(tmp_path: Path) -> None:
    """It is seen to have ended, at once or a moment later."""
    log = tmp_path / "log"
    with contextlib.suppress(errors.ConfigurationError):
        process = _spawn(["/bin/sh", "-c", "echo no; exit 3"], tmp_path)
        assert processes.wait_until(lambda: not processes.is_running(process), within_s=10)
    assert processes.wait_until(lambda: processes.log_tail(log) == "no", within_s=10)


def test_an_unknown_id_is_no_process() -> None:
    """Ids beyond the kernel's limit belong to no process."""
    assert processes.identify(2**30) is None


@pytest.mark.parametrize("attempts", [3])
def test_waiting_ends_as_soon_as_the_condition_holds(attempts: int) -> None:
    """And gives up when the time is over."""
    calls: list[None] = []

    def third_time() -> bool:
        calls.append(None)
        return len(calls) == attempts

    assert processes.wait_until(third_time, within_s=10)
    assert len(calls) == attempts
    assert not processes.wait_until(lambda: False, within_s=0)
