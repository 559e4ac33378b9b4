"""Redis for the local world: found, or unpacked beside the system, with a password and its file.

Here: the program, starting and ending it. Not here: what is kept in it
(pipelines/celery_launcher.py), or how a package is unpacked (debian_packages.py).

The append-only file is on: what waited in a queue waits there again after a restart.
"""

import contextlib
import shutil
import signal
import socket
from collections.abc import Callable
from pathlib import Path

from machine import private_files, processes
from marketdata.recovery import errors
from sandbox import debian_packages

_PREFIX = debian_packages.Prefix(
    package="redis-server",
    revision=1,
    programs="usr/bin",
    tried=("redis-server",),
    size="about 5 MB",
    instead="install redis-server",
)
STARTS_WITHIN_S = 30.0


class RedisServer:
    """A server and its data; constructing it starts nothing.

    Args:
        folder: Where it keeps its data and its log.
        host: The address it listens on.
    """

    def __init__(self, folder: Path, host: str = processes.LOOPBACK) -> None:
        self._folder = folder
        self._host = host
        self._port = processes.free_port(None)
        self._password = private_files.letters_and_digits(32)
        self._process: processes.Process | None = None

    @property
    def url(self) -> str:
        """Its URL, with the password."""
        return f"redis://:{self._password}@{self._host}:{self._port}/0"

    def start(self, report: Callable[[str], None]) -> None:
        """Start it, and wait until it answers; its data are as they were when it ended.

        Raises:
            ConfigurationError: It is not installed and cannot be fetched, or does not start.
        """
        program = _program(report)
        self._folder.mkdir(parents=True, exist_ok=True)
        settings = self._folder / "redis.conf"
        settings.touch(mode=0o600)
        settings.write_text(
            f"bind {self._host}\nport {self._port}\nrequirepass {self._password}\n"
            f'dir {self._folder}\nappendonly yes\nappendfsync everysec\nsave ""\n'
            "maxmemory-policy noeviction\n"
        )
        log = self._folder / "redis.log"
        process = processes.spawn([str(program), str(settings)], log=log, cwd=self._folder, env={})
        self._process = process
        processes.wait_until(
            lambda: self._answers() or not processes.is_running(process), within_s=STARTS_WITHIN_S
        )
        if not self._answers():
            message = f"Redis does not start. Its log, {log}, ends with:\n{processes.log_tail(log)}"
            raise errors.ConfigurationError(message)

    def stop(self, *, with_signal: signal.Signals = signal.SIGTERM) -> None:
        """End it."""
        if self._process is not None:
            processes.end(self._process, with_signal=with_signal, within_s=20)
            self._process = None

    def _answers(self) -> bool:
        """Return whether it takes commands: while it reads its file it says that it is loading."""
        with (
            contextlib.suppress(OSError),
            socket.create_connection((self._host, self._port), timeout=2) as connection,
        ):
            connection.sendall(f"AUTH {self._password}\r\nPING\r\n".encode())
            with connection.makefile("rb") as answers:
                return [answers.readline(), answers.readline()] == [b"+OK\r\n", b"+PONG\r\n"]
        return False


def _program(report: Callable[[str], None]) -> Path:
    system = shutil.which("redis-server", path="/usr/bin:/usr/local/bin")
    if system is not None:
        return Path(system)
    return debian_packages.install(_PREFIX, report) / "redis-server"
