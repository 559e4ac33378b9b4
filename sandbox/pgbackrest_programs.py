"""pgBackRest without touching the system: unpacked beside it.

Here: which package it is. Not here: how a package is unpacked (debian_packages.py), or running it
(resources/backups/).

Always that of Debian 13, also where the system has one: versions must not be mixed on one
repository, and Debian 12's 2.45 refuses PostgreSQL 17.
"""

from collections.abc import Callable
from pathlib import Path

from sandbox import debian_packages

_PREFIX = debian_packages.Prefix(
    package="pgbackrest",
    revision=1,
    programs="usr/bin",
    tried=("pgbackrest",),
    size="about 15 MB",
    instead="do without backups of the local world",
)


def install(report: Callable[[str], None]) -> Path:
    """Return the folder of the program; fetch it if it is not there.

    Raises:
        ConfigurationError: apt cannot fetch it.
    """
    return debian_packages.install(_PREFIX, report)
