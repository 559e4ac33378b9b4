"""nginx for the local world: found, or unpacked beside the system, and started.

Here: the program and its process. Not here: its configuration (usecases/ui_proxy.py), or how a
package is unpacked (debian_packages.py).
"""

import shutil
from collections.abc import Callable
from pathlib import Path

from machine import processes
from marketdata.recovery import errors
from sandbox import debian_packages

_PREFIX = debian_packages.Prefix(
    package="nginx",
    revision=1,
    programs="usr/sbin",
    tried=("nginx",),
    size="about 10 MB",
    instead="install nginx",
    needed=("libpcre2-8*",),
)
STARTS_WITHIN_S = 30.0


def find_or_install(report: Callable[[str], None]) -> Path:
    """Return nginx: the system's, or one in a private prefix.

    Raises:
        ConfigurationError: It is not installed, and apt cannot fetch it.
    """
    system = shutil.which("nginx", path="/usr/sbin:/usr/bin")
    if system is not None:
        return Path(system)
    return debian_packages.install(_PREFIX, report) / "nginx"


def start(program: Path, configuration: Path) -> processes.Process:
    """Start nginx with a configuration of ours, and wait until it listens.

    Raises:
        ConfigurationError: It does not; the text holds what it says.
    """
    log = configuration.parent / "logs" / "nginx.log"
    number = configuration.parent / "nginx.pid"
    number.unlink(missing_ok=True)
    process = processes.spawn(
        [str(program), "-e", "stderr", "-p", str(configuration.parent), "-c", str(configuration)],
        log=log,
        cwd=configuration.parent,
        env={"PATH": "/usr/bin:/bin"},
    )
    # It writes its number once it listens. That the port is taken may be the doing of another.
    processes.wait_until(
        lambda: number.exists() or not processes.is_running(process), within_s=STARTS_WITHIN_S
    )
    if not processes.is_running(process):
        message = f"nginx ended at once. Its log, {log}, ends with:\n{processes.log_tail(log)}"
        raise errors.ConfigurationError(message)
    return process
