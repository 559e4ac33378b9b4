"""Processes of this machine that outlive a command: starting, recognising and ending them.

Here: starting a process that outlives its command, finding and ending others, and free ports. Not
here: what is started (sandbox/, pipelines/cli/dagster_processes.py), or telling a process from a
later one with the same id (marketdata/recovery/process_identity.py).
"""

import contextlib
import os
import signal
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from pathlib import Path

from marketdata.recovery import errors
from marketdata.recovery.process_identity import Process, identify, is_running

LOOPBACK = "127.0.0.1"
NO_AUTHORITIES = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""For clients of plain addresses here: httpx reads all certificates for each client otherwise,
which takes 25 ms of CPU, longer than the request."""
_POLL_S = 0.02


def spawn(
    command: Sequence[str],
    *,
    log: Path,
    cwd: Path,
    env: Mapping[str, str],
    user: int | None = None,
) -> Process:
    """Start ``command`` so that it survives this process; its output is appended to ``log``.

    A short-lived shell starts it, so that the process becomes a child of init and never a zombie of
    ours.

    Args:
        command: Program and arguments.
        log: File to which stdout and stderr are appended.
        cwd: Its working folder.
        env: Its whole environment; nothing of ours is inherited.
        user: Numeric user (and group) to run under; only root may set it.

    Raises:
        ConfigurationError: The program ended at once; the text holds the end of its log.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        launched = subprocess.run(
            ["/bin/sh", "-c", '"$@" >&2 & echo $!', "sh", *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=output,
            cwd=cwd,
            env=dict(env),
            start_new_session=True,
            user=user,
            group=user,
            extra_groups=None if user is None else [],
            check=True,
        )
    process = identify(int(launched.stdout))
    if process is None:
        message = f"{command[0]} ended at once. Its log, {log}, ends with:\n{log_tail(log)}"
        raise errors.ConfigurationError(message)
    return process


@contextlib.contextmanager
def undisturbed() -> Generator[None]:
    """Defer Ctrl-C and SIGTERM until the block ends, so that what it starts is recorded."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    received: list[int] = []
    handlers = {
        number: signal.signal(number, lambda number, _frame: received.append(number))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for number in received:
            signal.raise_signal(signal.Signals(number))


def end(process: Process, *, with_signal: signal.Signals, within_s: float) -> bool:
    """End ``process`` with ``with_signal``, and by force after ``within_s`` seconds.

    Returns:
        Whether it was running at all.
    """
    if not is_running(process):
        return False
    with contextlib.suppress(ProcessLookupError):
        os.kill(process.pid, with_signal)
    if not wait_until(lambda: not is_running(process), within_s=within_s):
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)
        wait_until(lambda: not is_running(process), within_s=10)
    return True


def wait_until(fulfilled: Callable[[], bool], *, within_s: float, every_s: float = _POLL_S) -> bool:
    """Call ``fulfilled`` every ``every_s`` seconds until it is true; give up after ``within_s``."""
    deadline = time.monotonic() + within_s
    while not fulfilled():
        if time.monotonic() > deadline:
            return False
        time.sleep(every_s)
    return True


def end_all(
    find: Callable[[], Sequence[Process]], *, with_signal: signal.Signals, within_s: float
) -> int:
    """End all processes that ``find`` returns, by force after ``within_s`` seconds.

    ``find`` is called until it returns none.

    Returns:
        Number of processes at first.
    """
    first = find()
    for process in first:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, with_signal)
    if not wait_until(lambda: not find(), within_s=within_s if first else 0.0):
        for process in find():
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)
        wait_until(lambda: not find(), within_s=10)
    return len(first)


def working_in(folder: Path) -> list[Process]:
    """Return the processes whose working folder is ``folder``, as far as we have access."""
    return _processes_where(lambda entry: (entry / "cwd").readlink() == folder)


def holding(file: Path) -> list[Process]:
    """Return the processes that have ``file`` open, as far as we have access."""
    return _processes_where(
        lambda entry: any(opened.readlink() == file for opened in (entry / "fd").iterdir())
    )


def marked(name: str, value: str) -> list[Process]:
    """Return the processes that were started with ``name`` set to ``value``.

    Child processes inherit it, so they are found even after their parent is gone.
    """
    variable = f"{name}={value}".encode()
    return _processes_where(lambda entry: variable in (entry / "environ").read_bytes().split(b"\0"))


def runs_program(process: Process, text: str) -> bool:
    """Return whether the command line of ``process`` contains ``text``."""
    try:
        line = Path(f"/proc/{process.pid}/cmdline").read_bytes()
    except OSError:
        return False
    return text.encode() in line.replace(b"\0", b" ")


def _processes_where(matches: Callable[[Path], bool]) -> list[Process]:
    processes: list[Process] = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            if matches(entry) and (process := identify(int(entry.name))):
                processes.append(process)
    return processes


def free_port(preferred: int | None) -> int:
    """Return ``preferred`` if nothing listens there, else a free port of the kernel's choice."""
    for port in (preferred, 0):
        if port is None:
            continue
        with contextlib.suppress(OSError):
            return _bound(port)
    message = f"no free TCP port on {LOOPBACK}: end some local servers and try again"
    raise errors.ConfigurationError(message)


def why_not_free(port: int) -> str | None:
    """Return the system's reason why no server can start at ``port``; None if one can."""
    try:
        _bound(port)
    except OSError as error:
        return error.strerror
    return None


def _bound(port: int) -> int:
    with socket.socket() as probe:
        # Like servers do: a port with connections in TIME_WAIT is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((LOOPBACK, port))
        return int(probe.getsockname()[1])


def log_tail(log: Path, lines: int = 15) -> str:
    """Return the last lines of ``log``, or a note that there is none."""
    try:
        return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
    except OSError:
        return "(no log)"
