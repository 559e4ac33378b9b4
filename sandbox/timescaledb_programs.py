"""PostgreSQL with TimescaleDB without touching the system: found, or unpacked beside it.

Here: which package it is, and the system's own if that will do. Not here: how a package is
unpacked (debian_packages.py), or running a server (timescaledb.py).
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sandbox import debian_packages

_PREFIX = debian_packages.Prefix(
    package="postgresql-17-timescaledb",
    revision=1,
    programs="usr/lib/postgresql/17/bin",
    tried=("initdb", "postgres", "pg_dump", "../lib/timescaledb*.so"),
    size="about 40 MB",
    instead="install postgresql-17-timescaledb, or set WRDATA_DATABASE_URL to a TimescaleDB",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Programs:
    """Folder with ``initdb`` and ``postgres``, and whether the system or a prefix owns it."""

    folder: Path
    origin: str


def find_or_install(report: Callable[[str], None]) -> Programs:
    """Return programs that can load timescaledb; install the prefix if there are none.

    Raises:
        ConfigurationError: Nothing suitable is installed, and apt cannot fetch it.
    """
    system = _system_programs()
    if system is not None:
        return system
    folder = debian_packages.install(_PREFIX, report)
    return Programs(folder=folder, origin="private prefix")


def _system_programs() -> Programs | None:
    """Return the newest system PostgreSQL that has the extension (Debian 13 and later)."""
    extensions = sorted(
        Path("/usr/lib/postgresql").glob("*/lib/timescaledb.so"),
        key=lambda path: int(path.parts[-3]) if path.parts[-3].isdigit() else 0,
    )
    for extension in reversed(extensions):
        folder = extension.parents[1] / "bin"
        if (folder / "postgres").exists():
            return Programs(folder=folder, origin="system packages")
    return None
