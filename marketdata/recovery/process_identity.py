"""Which process is meant: one that cannot be mistaken for a later one with the same id.

Here: identities, and whether a process still runs, read from /proc (Linux only). Not here:
starting and ending processes (machine/processes.py), or what a run's worker is
(pipelines/workers.py).
"""

import os
import socket
from dataclasses import dataclass
from pathlib import Path


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


def here() -> str:
    """Name where process ids mean the same: the host, and its namespace of ids (containers)."""
    try:
        namespace = str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        namespace = ""
    return f"{socket.gethostname()} {namespace}".strip()


def this_process() -> Process:
    """Return the process that asks."""
    return identify(os.getpid()) or Process(pid=os.getpid(), born="")
