"""PgBouncer for the local world: unpacked beside the system, in front of a server that runs.

Here: the program, its files, starting and ending it. Not here: what it is told, which is the
shipped configuration (deploy/pgbouncer/), or how a package is unpacked (debian_packages.py).

Always Debian 13's: that of Debian 12 is two years older, and knows no prepared statements.
"""

import configparser
import os
import pwd
import shlex
import signal
import socket
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from machine import processes
from marketdata.recovery import errors
from sandbox import debian_packages

_PREFIX = debian_packages.Prefix(
    package="pgbouncer",
    revision=1,
    programs="usr/sbin",
    tried=("pgbouncer",),
    size="about 5 MB",
    instead="do without PgBouncer",
)
CONFIGURATION = Path(__file__).resolve().parents[1] / "deploy" / "pgbouncer" / "pgbouncer.ini"
"""What a deployment is told to use."""
STARTS_WITHIN_S = 30.0


@contextmanager
def pgbouncer(url: str) -> Generator[dict[str, str]]:
    """Serve a database through PgBouncer by the shipped configuration, without TLS.

    Args:
        url: Of the database, as the server itself has it.

    Yields:
        The database's URL through each entry of the configuration, by the entry's name.

    Raises:
        ConfigurationError: It cannot be fetched, or does not start.
    """
    program = debian_packages.install(_PREFIX, lambda _: None) / "pgbouncer"
    port = processes.free_port(None)
    with tempfile.TemporaryDirectory(prefix="wrdata-pgbouncer-") as name:
        folder = Path(name)
        settings, log = folder / "pgbouncer.ini", folder / "pgbouncer.log"
        entries = _write(settings, url, port)
        # It refuses to run as root.
        user = pwd.getpwnam("nobody").pw_uid if os.geteuid() == 0 else None
        if user is not None:
            for path in (folder, *folder.iterdir()):
                os.chown(path, user, user)
        process = processes.spawn(
            [str(program), str(settings)], log=log, cwd=folder, env={}, user=user
        )
        try:
            processes.wait_until(
                lambda: _listens(port) or not processes.is_running(process),
                within_s=STARTS_WITHIN_S,
            )
            if not _listens(port):
                message = f"PgBouncer does not start. It says:\n{processes.log_tail(log)}"
                raise errors.ConfigurationError(message)
            server = urlsplit(url)
            place = f"{server.netloc.rpartition('@')[0]}@{processes.LOOPBACK}:{port}"
            yield {
                entry: server._replace(netloc=place, path=f"/{entry}", query="").geturl()
                for entry in entries
            }
        finally:
            processes.end(process, with_signal=signal.SIGTERM, within_s=20)


def _listens(port: int) -> bool:
    with socket.socket() as client:
        client.settimeout(1)
        return client.connect_ex((processes.LOOPBACK, port)) == 0


def _write(settings: Path, url: str, port: int) -> list[str]:
    """Write the shipped configuration for this server; return the names of its entries."""
    server = urlsplit(url)
    users = settings.with_name("users.txt")
    shipped = configparser.ConfigParser(interpolation=None)
    shipped.read_string(CONFIGURATION.read_text("utf-8"))
    entries = list(shipped["databases"])
    for entry in entries:
        kept = [
            word
            for word in shlex.split(shipped["databases"][entry], posix=False)
            if word.partition("=")[0] not in {"host", "port", "dbname"}
        ]
        here = f"host={server.hostname} port={server.port} dbname={server.path[1:]}"
        shipped["databases"][entry] = f"{here} {' '.join(kept)}"
    own = shipped["pgbouncer"]
    for name in [name for name in own if "_tls_" in name]:
        del own[name]
    own["listen_addr"], own["listen_port"] = processes.LOOPBACK, str(port)
    own["auth_file"], own["unix_socket_dir"] = str(users), ""
    users.write_text(f'"{server.username}" "{server.password}"\n')
    with settings.open("w") as file:
        shipped.write(file)
    return entries
