"""Detached processes of the local world: starting, recognising and ending them.

Here: how a process outlives the command that started it, how it is told from a later one with
the same id, and which ports are free. Not here: what is started (timescaledb.py,
object_store.py, local_world.py). Linux only: identities are read from /proc.
"""

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from marketdata.recovery import errors

LOOPBACK = "127.0.0.1"
_POLL_S = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """A process that cannot be mistaken for another one.

    Attributes:
        born: Boot id and start time, since the kernel gives ids out again.
    """

    pid: int
    born: str


def identify(pid: int) -> Process | None:
    """Return the process ``pid`` if it runs; one that ended but was not reaped does not run."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
        boot_id = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return None
    # The second field is the program's name in brackets and may hold spaces and brackets.
    fields = stat.rpartition(")")[2].split()
    if fields[0] in {"Z", "X"}:
        return None
    return Process(pid=pid, born=f"{boot_id}:{fields[19]}")


def is_running(process: Process) -> bool:
    """Tell whether exactly this process, and not a later one with its id, still runs."""
    return identify(process.pid) == process


def spawn(
    command: Sequence[str],
    *,
    log: Path,
    cwd: Path,
    env: Mapping[str, str],
    user: int | None = None,
) -> Process:
    """Start ``command`` so that it survives this process; its output is appended to ``log``.

    A shell stands between for a moment, so that the process becomes a child of init and never
    a zombie of ours.

    Args:
        command: Program and arguments.
        log: File that both of its outputs are appended to.
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
    """Ask ``fulfilled`` every so many seconds until it is true; give up after ``within_s``."""
    deadline = time.monotonic() + within_s
    while not fulfilled():
        if time.monotonic() > deadline:
            return False
        time.sleep(every_s)
    return True


def working_in(folder: Path) -> list[Process]:
    """Return the processes whose working folder is ``folder``, as far as we may look."""
    found: list[Process] = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            if (entry / "cwd").readlink() == folder and (process := identify(int(entry.name))):
                found.append(process)
    return found


def free_port(preferred: int | None) -> int:
    """Return ``preferred`` if nothing listens there, else a free port of the kernel's choice."""
    for port in (preferred, 0):
        if port is None:
            continue
        with socket.socket() as probe, contextlib.suppress(OSError):
            # As servers do: a port with connections in TIME_WAIT is free.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((LOOPBACK, port))
            return int(probe.getsockname()[1])
    message = f"no free TCP port on {LOOPBACK}: end some local servers and try again"
    raise errors.ConfigurationError(message)


def log_tail(log: Path, lines: int = 15) -> str:
    """Return the last lines of ``log``, or a word that there is none."""
    try:
        return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
    except OSError:
        return "(no log)"
