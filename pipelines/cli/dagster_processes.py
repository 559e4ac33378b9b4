"""Dagster's own processes: web server, daemon and code server, run in front or ended.

Here: starting `dagster dev` as a child, passing signals on, and ending one that was left. Not
here: the local world's servers (sandbox/), or runs (runs.py).
"""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from pipelines.cli import console
from pipelines.cli.environment import PROJECT
from sandbox import private_files, processes

STOP_WITHIN_S = 30
ASKED_TO_END = {0, -signal.SIGINT, -signal.SIGTERM, 130}


def run_in_front(state: Path, port: int) -> int:
    """Run Dagster's UI and daemon until they end or a signal asks them to; return the status.

    Args:
        state: Folder where the processes are remembered, for ``stop_left_over``.
        port: Wanted port of the UI; another is taken, and told, if something listens there.
    """
    free = processes.free_port(port)
    child: subprocess.Popen[bytes] | None = None

    def end(_signal: int, _frame: FrameType | None) -> None:
        if child is not None:
            child.send_signal(signal.SIGINT)

    # Before the child starts: a shell's background job ignores Ctrl-C, and would hand that on.
    with _handled(end):
        child = _start(free)
        _remember(state, child.pid, free)
        console.say(f"Dagster's UI: http://{processes.LOOPBACK}:{free}   (Ctrl-C stops everything)")
        status = child.wait()
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGTERM)
    _record(state).unlink(missing_ok=True)
    return 0 if status in ASKED_TO_END else status


def _start(port: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [
            sys.executable, "-m", "dagster", "dev",
            "--workspace", str(PROJECT / "workspace.yaml"),
            "--host", processes.LOOPBACK, "--port", str(port),
        ],
        # Not the checkout: Dagster warns of a dagster.yaml in the current folder.
        cwd=os.environ["DAGSTER_HOME"],
        env={**os.environ, "PYTHONWARNINGS": "ignore:Function `dev_command` is superseded"},
        # A group of its own: Ctrl-C reaches only us, and we end the child once and in order.
        start_new_session=True,
    )  # fmt: skip


def stop_left_over(state: Path) -> list[str]:
    """End the Dagster processes that ``run_in_front`` remembered, if they still run."""
    left = left_over(state)
    if left is None:
        return []
    ended = processes.end(left[0], with_signal=signal.SIGINT, within_s=STOP_WITHIN_S)
    _record(state).unlink(missing_ok=True)
    return ["dagster"] if ended else []


def left_over(state: Path) -> tuple[processes.Process, int] | None:
    """Return the running Dagster process and the port of its UI, or None."""
    remembered = private_files.read_json(_record(state))
    if not remembered:
        return None
    process = processes.Process(pid=int(str(remembered["pid"])), born=str(remembered["born"]))
    return (process, int(str(remembered["port"]))) if processes.is_running(process) else None


def _remember(state: Path, pid: int, port: int) -> None:
    process = processes.identify(pid)
    if process is not None:
        private_files.write_json(
            _record(state), {"pid": process.pid, "born": process.born, "port": port}
        )


def _record(state: Path) -> Path:
    return state / "dagster.json"


@contextmanager
def _handled(end: Callable[[int, FrameType | None], None]) -> Generator[None]:
    """Let ``end`` take Ctrl-C and SIGTERM while the block runs."""
    before = {one: signal.signal(one, end) for one in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
