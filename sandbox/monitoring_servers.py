"""Prometheus and Alertmanager on loopback, for as long as a block lasts.

Here: starting and ending the servers. Not here: their programs (monitoring_programs.py), or their
configuration (monitoring/).
"""

import contextlib
import subprocess
from collections.abc import Generator, Sequence
from pathlib import Path

import httpx

from machine.processes import LOOPBACK, NO_AUTHORITIES, free_port, log_tail, wait_until
from marketdata.recovery import errors
from sandbox.monitoring_programs import Programs

_START_WITHIN_S = 60.0
_END_WITHIN_S = 20.0


@contextlib.contextmanager
def serve_prometheus(programs: Programs, folder: Path) -> Generator[str]:
    """Run Prometheus with the ``prometheus.yml`` of a folder, and yield its origin (``http://…``).

    Raises:
        ConfigurationError: It did not start; the text holds the end of its log.
    """
    port = free_port(None)
    command = [
        str(programs.prometheus),
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'prometheus'}",
        f"--web.listen-address={LOOPBACK}:{port}",
    ]
    with _running(command, folder / "prometheus.log", port, cwd=folder) as origin:
        yield origin


@contextlib.contextmanager
def serve_alertmanager(programs: Programs, folder: Path, port: int) -> Generator[str]:
    """Run Alertmanager with the ``alertmanager.yml`` of a folder, and yield its origin.

    Raises:
        ConfigurationError: It did not start; the text holds the end of its log.
    """
    command = [
        str(programs.alertmanager),
        f"--config.file={folder / 'alertmanager.yml'}",
        f"--storage.path={folder / 'alertmanager'}",
        f"--web.listen-address={LOOPBACK}:{port}",
        # Alone: it would listen for others like it.
        "--cluster.listen-address=",
    ]
    log = folder / "alertmanager.log"
    with _running(command, log, port, cwd=programs.alertmanager_folder) as origin:
        yield origin


@contextlib.contextmanager
def _running(command: Sequence[str], log: Path, port: int, *, cwd: Path) -> Generator[str]:
    origin = f"http://{LOOPBACK}:{port}"
    with log.open("ab") as output:
        server = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=cwd
        )
    try:
        if (
            not wait_until(
                lambda: server.poll() is not None or _is_ready(origin),
                within_s=_START_WITHIN_S,
                every_s=0.1,
            )
            or server.poll() is not None
        ):
            message = f"{command[0]} did not start. Its log, {log}, ends with:\n{log_tail(log)}"
            raise errors.ConfigurationError(message)
        yield origin
    finally:
        server.terminate()
        try:
            server.wait(_END_WITHIN_S)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def _is_ready(origin: str) -> bool:
    try:
        return httpx.get(f"{origin}/-/ready", verify=NO_AUTHORITIES, timeout=5.0).is_success
    except httpx.TransportError:
        return False
