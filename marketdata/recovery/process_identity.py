"""Identity of a process: distinct from a later process with the same id.

Here: identities, and whether a process still runs, read from /proc (Linux only). Not here:
starting and ending processes (machine/processes.py), or workers of runs (pipelines/workers.py).
"""

import os
import socket
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """A process, distinct from any other one.

    Attributes:
        born: Boot id and start time, since the kernel reuses process ids.
    """

    pid: int
    born: str


def identify(pid: int) -> Process | None:
    """Return the process ``pid`` if it runs; a zombie does not run."""
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
    """Return whether this process, not a later one with its id, still runs."""
    return identify(process.pid) == process


def here() -> str:
    """Return the scope of process ids: the host, and its pid namespace (containers)."""
    try:
        namespace = str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        namespace = ""
    return f"{socket.gethostname()} {namespace}".strip()


def this_process() -> Process:
    """Return this process."""
    return identify(os.getpid()) or Process(pid=os.getpid(), born="")
