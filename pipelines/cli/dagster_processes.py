"""Dagster's own processes: web server, daemon, code server and workers of runs.

Here: starting `dagster dev` as a child, passing signals on, a new code server where one is gone,
and ending all of it in order, also what an earlier command left. Not here: the local world's
servers (sandbox/), or runs (runs.py).

All that `dagster dev` starts, workers among it, inherits a variable that names our state folder:
by that it is found, whichever of its parents are gone.
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
"""Longer than any start: until then the UI's address is not told."""
ENDS_WITHIN_S = 150
"""Dagster gives web server and daemon 60 s each."""
DRAINED_WITHIN_S = 30
"""A load stops by itself in this time: the batch in hand is finished or rolled back."""
SERVERS_END_WITHIN_S = 10
STARTED_BY_UP = "STARTED_BY_WRDATA_UP"
"""The variable that all of Dagster's processes below one `wrdata up` have."""
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
"""What the button "Reload" in the UI asks for."""
WORKER = "multiprocessing.spawn"
"""Stands in the command line of a run's worker, which the code server starts."""


@contextmanager
def alone(state: Path) -> Generator[None]:
    """Be the only `wrdata up` of a state folder while the block runs.

    Raises:
        ConfigurationError: There is another one; the text says which, and what to do.
    """
    with contextlib.ExitStack() as held:
        try:
            held.enter_context(private_files.locked(state / "up.lock", wait=False))
        except BlockingIOError:
            left = left_over(state)
            where = f" at http://{processes.LOOPBACK}:{left[1]}" if left else ""
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
    """Run Dagster's UI and daemon until they end or a signal asks them to; return the status.

    When this returns, whichever way, none of its processes is left.

    Args:
        state: Folder where the processes are remembered, for ``stop_left_over``.
        port: Wanted port of the UI; another is taken, and told, if that one cannot be had.
        look: Called every ten seconds while the UI serves. The sensors look as well, but only
            where there is a code server.
    """
    reason = processes.why_not_free(port)
    free = processes.free_port(port)
    instead = f" (port {port}: {reason})" if reason else ""
    child: subprocess.Popen[bytes] | None = None
    asked = False

    def end(_signal: int, _frame: FrameType | None) -> None:
        nonlocal asked
        asked = True
        if child is not None:
            child.send_signal(signal.SIGINT)

    # Before the child starts: a shell's background job ignores Ctrl-C, and would hand that on.
    with handled(end):
        console.say(f"What Dagster and its runs say: {_log(state)}")
        child = _start(state, free)
        _remember(state, child.pid, free)
        if asked:  # between the two
            child.send_signal(signal.SIGINT)
        broken = None
        if _serves(child, free):
            console.say(
                f"Dagster's UI: http://{processes.LOOPBACK}:{free}{instead}   "
                "(Ctrl-C stops everything)"
            )
            broken = _watch(child, state, free, look, lambda: asked)
        elif not asked:
            console.fail(f"Dagster does not serve:\n{processes.log_tail(_log(state))}")
        if broken is not None:
            console.fail(broken)
            child.send_signal(signal.SIGINT)
        status = child.wait()
        stop_left_over(state)
    return 1 if broken is not None else 0 if status in ASKED_TO_END else status


def _start(state: Path, port: int) -> subprocess.Popen[bytes]:
    quiet = {"PYTHONWARNINGS": "ignore:Function `dev_command` is superseded"}
    # On the terminal each event of a run would be a line, and an interruption two tracebacks.
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
    """Wait until the UI answers, or will not any more; tell which."""

    def answers() -> bool:
        with contextlib.suppress(httpx.HTTPError):
            return httpx.get(
                f"http://{processes.LOOPBACK}:{port}/server_info", trust_env=False
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
    """Wait for the end of ``dagster``, and see meanwhile that runs end and a code server is there.

    The code server watches its workers, and the sensors that end lost runs need it. Where it is
    killed, `dagster dev` starts no new one: no sensor runs, no schedule, a run stays STARTED.

    Args:
        dagster: The process of `dagster dev`, whose UI serves.
        state: Folder that it was started for.
        port: Port of its UI.
        look: Ends the runs whose worker is gone; called every ten seconds.
        is_asked_to_end: Tells whether a signal came: what ends then is not started again.

    Returns:
        None once it has ended or is asked to; or why it cannot go on.
    """
    while not _has_ended(dagster) and not is_asked_to_end():
        look()
        if _lives(state, CODE_SERVER) or is_asked_to_end():
            continue
        if not _lives(state, PARENT):
            return (
                f"`{PARENT}`, which loads the code, is gone, and Dagster starts no new one: all "
                "of it ends. Run `wrdata up` again"
            )
        _start_anew(port)
    return None


def _has_ended(process: subprocess.Popen[bytes]) -> bool:
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(LOOKS_EVERY_S)
    return process.poll() is not None


def _lives(state: Path, words: str) -> bool:
    those = processes.marked(STARTED_BY_UP, str(state.resolve()))
    return any(processes.runs_program(process, words) for process in those)


def _start_anew(port: int) -> None:
    console.say("the code server is gone: a new one is started")
    # Where this fails, the next look finds none, and tries again.
    with contextlib.suppress(httpx.HTTPError):
        httpx.post(
            f"http://{processes.LOOPBACK}:{port}/graphql",
            json={"query": RELOAD, "variables": {"name": LOCATION_NAME}},
            timeout=LOADS_WITHIN_S,
            trust_env=False,
        )


def stop_left_over(state: Path) -> list[str]:
    """End what is left of a `wrdata up`: first what starts runs, then workers, then servers.

    Workers are asked first and have time to finish what they hold: their servers run till then.
    """
    left = left_over(state)
    if left is not None:
        processes.end(left[0], with_signal=signal.SIGINT, within_s=ENDS_WITHIN_S)

    def rest() -> list[processes.Process]:
        return processes.marked(STARTED_BY_UP, str(state.resolve()))

    def workers() -> list[processes.Process]:
        return [process for process in rest() if processes.runs_program(process, WORKER)]

    if at_work := len(workers()):
        console.say(f"waiting for {at_work} workers of runs to end")
    processes.end_all(workers, with_signal=signal.SIGTERM, within_s=DRAINED_WITHIN_S)
    ended = processes.end_all(rest, with_signal=signal.SIGTERM, within_s=SERVERS_END_WITHIN_S)
    _record(state).unlink(missing_ok=True)
    return ["dagster"] if left is not None or at_work or ended else []


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
def handled(end: Callable[[int, FrameType | None], None]) -> Generator[None]:
    """Let ``end`` take Ctrl-C, SIGTERM and a closed terminal while the block runs."""
    asking = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {one: signal.signal(one, end) for one in asking}
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
