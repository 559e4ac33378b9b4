"""Dagster's own processes: web server, daemon, code server and workers of runs.

Here: starting `dagster dev` as a child, passing signals on, restarting a code server that is gone,
and ending all processes in order, those of an earlier command too. Not here: the local world's
servers (sandbox/), or runs (runs.py).

All processes below `dagster dev`, workers too, inherit a variable that names our state folder. By
it they are found, even after their parents are gone.
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

import httpx

from machine import private_files, processes
from marketdata.recovery import errors
from pipelines.cli import console
from pipelines.cli.code_location import LOCATION_NAME
from pipelines.cli.environment import PROJECT

SERVES_WITHIN_S = 600.0
"""Longer than any start; the UI's address is printed once it serves."""
ENDS_WITHIN_S = 150
"""Dagster gives web server and daemon 60 s each."""
DRAINED_WITHIN_S = 30
"""A load stops within this time: it finishes or rolls back its current batch."""
SERVERS_END_WITHIN_S = 10
STARTED_BY_UP = "STARTED_BY_WRDATA_UP"
"""Environment variable of all Dagster processes below one `wrdata up`."""
ASKED_TO_END = {0, -signal.SIGINT, -signal.SIGTERM, 130}
CODE_SERVER = "dagster api grpc"
PARENT = "dagster code-server start"
"""`dagster dev` starts it once. It starts the code server, and a new one for each reload."""
LOOKS_EVERY_S = 10.0
LOADS_WITHIN_S = 180.0
RELOAD = """
mutation ($name: String!) {
  reloadRepositoryLocation(repositoryLocationName: $name) { __typename }
}
"""
"""The request of the UI's button "Reload"."""
WORKER = "multiprocessing.spawn"
"""Stands in the command line of a run's worker, which the code server starts."""


@contextmanager
def only_up(state: Path) -> Generator[None]:
    """Be the only `wrdata up` of a state folder while the block runs.

    Raises:
        ConfigurationError: Another one runs; the text says where, and what to do.
    """
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(private_files.locked(state / "up.lock", wait=False))
        except BlockingIOError:
            running = left_over(state)
            where = f" at http://{processes.LOOPBACK}:{running[1]}" if running else ""
            message = (
                f"wrdata up runs already in {state}{where}: stop it first (Ctrl-C there, or "
                "`wrdata down`), or set WRDATA_STATE_DIR to another folder"
            )
            raise errors.ConfigurationError(message) from None
        except OSError as error:
            message = (
                f"the local world cannot be kept in {state} ({error.strerror}): set "
                "WRDATA_STATE_DIR to a folder of yours"
            )
            raise errors.ConfigurationError(message) from error
        yield


def run_in_front(state: Path, port: int, look: Callable[[], None]) -> int:
    """Run Dagster's UI and daemon until they end or a signal arrives; return the status.

    When this returns, none of its processes is left.

    Args:
        state: Folder that records the processes, for ``stop_left_over``.
        port: Preferred port of the UI; if it is not free, another is taken and printed.
        look: Ends lost runs; called every ten seconds while the UI serves. The sensors do it
            too, but only while there is a code server.
    """
    reason = processes.why_not_free(port)
    free = processes.free_port(port)
    instead = f" (port {port}: {reason})" if reason else ""
    child: subprocess.Popen[bytes] | None = None
    end_requested = False

    def end(_signal: int, _frame: FrameType | None) -> None:
        nonlocal end_requested
        end_requested = True
        if child is not None:
            child.send_signal(signal.SIGINT)

    # Before the child starts: a shell's background job ignores Ctrl-C, and the child would
    # inherit that.
    with signals_handled(end):
        console.say(f"Log of Dagster and its runs: {_log(state)}")
        child = _start(state, free)
        _remember(state, child.pid, free)
        if end_requested:  # the signal came before the child started
            child.send_signal(signal.SIGINT)
        broken = None
        if _serves(child, free):
            console.say(
                f"Dagster's UI: http://{processes.LOOPBACK}:{free}{instead}   "
                "(Ctrl-C stops everything)"
            )
            broken = _watch(child, state, free, look, lambda: end_requested)
        elif not end_requested:
            console.fail(f"Dagster does not serve:\n{processes.log_tail(_log(state))}")
        if broken is not None:
            console.fail(broken)
            child.send_signal(signal.SIGINT)
        status = child.wait()
        stop_left_over(state)
    return 1 if broken is not None else 0 if status in ASKED_TO_END else status


def _start(state: Path, port: int) -> subprocess.Popen[bytes]:
    quiet = {"PYTHONWARNINGS": "ignore:Function `dev_command` is superseded"}
    # To a file: on the terminal each event of a run would be a line, and Ctrl-C two tracebacks.
    with _log(state).open("wb") as log:
        return subprocess.Popen(
            [
                sys.executable, "-m", "dagster", "dev",
                "--workspace", str(PROJECT / "workspace.yaml"),
                "--host", processes.LOOPBACK, "--port", str(port),
                "--log-level", "warning",
            ],
            stdout=log,
            stderr=subprocess.STDOUT,
            # Not the checkout: Dagster warns of a dagster.yaml in the current folder.
            cwd=os.environ["DAGSTER_HOME"],
            env={**os.environ, **quiet, STARTED_BY_UP: str(state.resolve())},
            # A group of its own: Ctrl-C reaches only us, and we end the child once and in order.
            start_new_session=True,
        )  # fmt: skip


def _log(state: Path) -> Path:
    return state / "dagster.log"


def _serves(child: subprocess.Popen[bytes], port: int) -> bool:
    """Wait until the UI answers or its process has ended; return whether it answers."""

    def answers() -> bool:
        with contextlib.suppress(httpx.HTTPError):
            return httpx.get(
                f"http://{processes.LOOPBACK}:{port}/server_info",
                verify=processes.NO_AUTHORITIES,
                trust_env=False,
            ).is_success
        return False

    processes.wait_until(
        lambda: child.poll() is not None or answers(), within_s=SERVES_WITHIN_S, every_s=0.2
    )
    return child.poll() is None and answers()


def _watch(
    dagster: subprocess.Popen[bytes],
    state: Path,
    port: int,
    look: Callable[[], None],
    is_asked_to_end: Callable[[], bool],
) -> str | None:
    """Wait for ``dagster`` to end; meanwhile end lost runs and restart a missing code server.

    The code server watches its workers, and the sensors that end lost runs need it. If it is
    killed, `dagster dev` starts no new one: no sensor or schedule runs, and a run stays STARTED.

    Args:
        dagster: The process of `dagster dev`, whose UI serves.
        state: Folder that it was started for.
        port: Port of its UI.
        look: Ends the runs whose worker is gone; called every ten seconds.
        is_asked_to_end: Whether a signal came: then nothing is restarted.

    Returns:
        None once it has ended or a signal came; otherwise why it cannot go on.
    """
    while not _has_ended(dagster) and not is_asked_to_end():
        look()
        if _lives(state, CODE_SERVER) or is_asked_to_end():
            continue
        if not _lives(state, PARENT):
            return (
                f"`{PARENT}`, which loads the code, is gone, and Dagster starts no new one: "
                "everything stops. Run `wrdata up` again"
            )
        _start_anew(port)
    return None


def _has_ended(process: subprocess.Popen[bytes]) -> bool:
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(LOOKS_EVERY_S)
    return process.poll() is not None


def _lives(state: Path, program: str) -> bool:
    marked = processes.marked(STARTED_BY_UP, str(state.resolve()))
    return any(processes.runs_program(process, program) for process in marked)


def _start_anew(port: int) -> None:
    console.say("the code server is gone: starting a new one")
    # Where this fails, the next look tries again.
    with contextlib.suppress(httpx.HTTPError):
        httpx.post(
            f"http://{processes.LOOPBACK}:{port}/graphql",
            json={"query": RELOAD, "variables": {"name": LOCATION_NAME}},
            timeout=LOADS_WITHIN_S,
            verify=processes.NO_AUTHORITIES,
            trust_env=False,
        )


def stop_left_over(state: Path) -> list[str]:
    """End the processes left of a `wrdata up`: first Dagster, then workers, then servers.

    Workers have time to finish their current batch; the servers they use run until then.
    """
    running = left_over(state)
    if running is not None:
        processes.end(running[0], with_signal=signal.SIGINT, within_s=ENDS_WITHIN_S)

    def all_processes() -> list[processes.Process]:
        return processes.marked(STARTED_BY_UP, str(state.resolve()))

    def workers() -> list[processes.Process]:
        return [process for process in all_processes() if processes.runs_program(process, WORKER)]

    if at_work := len(workers()):
        console.say(f"waiting for {at_work} workers of runs to end")
    processes.end_all(workers, with_signal=signal.SIGTERM, within_s=DRAINED_WITHIN_S)
    ended = processes.end_all(
        all_processes, with_signal=signal.SIGTERM, within_s=SERVERS_END_WITHIN_S
    )
    _record(state).unlink(missing_ok=True)
    return ["dagster"] if running is not None or at_work or ended else []


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
def signals_handled(end: Callable[[int, FrameType | None], None]) -> Generator[None]:
    """Handle Ctrl-C, SIGTERM and a closed terminal with ``end`` while the block runs."""
    asking = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, end) for number in asking}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
