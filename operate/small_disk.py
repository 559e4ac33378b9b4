"""A small disk that may be filled, and the exporter that watches it and nothing else.

Here: a tmpfs in a mount namespace of its own, which ends with its exporter: nothing stays mounted,
whatever happens. Not here: what a full disk does to a database (docs/runbooks/database.md).
"""

import os
import re
import signal
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from machine import processes
from machine.processes import LOOPBACK
from marketdata.recovery import errors
from sandbox import debian_packages

SIZE_MB = 16
STARTS_WITHIN_S = 30.0
_EXPORTER = debian_packages.Prefix(
    package="prometheus-node-exporter",
    revision=1,
    programs="usr/bin",
    tried=("prometheus-node-exporter",),
    size="about 10 MB",
    instead="leave this rehearsal out",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SmallDisk:
    """A disk of SIZE_MB.

    Attributes:
        address: Host and port of the exporter that watches it.
        seen_from_here: Its folder, by way of the exporter's process.
    """

    address: str
    seen_from_here: Path

    @property
    def _file(self) -> Path:
        return self.seen_from_here / "wal"

    def fill(self, share: float) -> None:
        """Fill it with one file to ``share`` of its size."""
        self._file.write_bytes(bytes(int(SIZE_MB * share * 1_000_000)))

    def make_room(self) -> None:
        """Delete that file."""
        self._file.unlink()


@contextmanager
def small_disk(folder: Path, report: Callable[[str], None]) -> Generator[SmallDisk]:
    """Mount it below an existing folder, and watch it.

    Raises:
        ConfigurationError: The exporter cannot be fetched, or this user may mount nothing.
    """
    program = debian_packages.install(_EXPORTER, report) / "prometheus-node-exporter"
    mounted, log, port = folder / "disk", folder / "node_exporter.log", processes.free_port(None)
    mounted.mkdir()
    # It asks what process 1 has mounted, which is not in this namespace.
    mounts = folder / "mounts"
    mounts.mkdir()
    (mounts / "1").symlink_to("/proc/self")
    process = processes.spawn(
        [
            "unshare", "--mount", *(() if os.geteuid() == 0 else ("--map-root-user",)),
            "/bin/sh", "-c", 'mount -t tmpfs -o "size=$1" disk "$2" && shift 2 && exec "$@"', "sh",
            f"{SIZE_MB * 1_000_000}", str(mounted),
            str(program), "--collector.disable-defaults", "--collector.filesystem",
            f"--collector.filesystem.mount-points-include=^{re.escape(str(mounted))}$",
            f"--path.procfs={mounts}",
            f"--web.listen-address={LOOPBACK}:{port}",
        ],
        log=log, cwd=folder, env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
    )  # fmt: skip
    try:
        processes.wait_until(
            lambda: processes.why_not_free(port) is not None or not processes.is_running(process),
            within_s=STARTS_WITHIN_S,
        )
        if not processes.is_running(process):
            message = f"no disk to fill: {processes.log_tail(log)}"
            raise errors.ConfigurationError(message)
        yield SmallDisk(
            address=f"{LOOPBACK}:{port}",
            seen_from_here=Path(f"/proc/{process.pid}/root", *mounted.absolute().parts[1:]),
        )
    finally:
        processes.end(process, with_signal=signal.SIGTERM, within_s=10)
