"""Prometheus and Alertmanager without touching the system: unpacked beside it.

Here: which packages they are. Not here: how a package is unpacked (debian_packages.py), their
configuration (monitoring/), or running them.

Always those of Debian 13: Debian 12's are three years older, and say less about a wrong rule.
"""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from marketdata.recovery import errors
from sandbox import debian_packages

_INSTEAD = "do without what watches the local world"
_PROMETHEUS = debian_packages.Prefix(
    package="prometheus",
    revision=1,
    programs="usr/bin",
    tried=("prometheus", "promtool"),
    size="about 35 MB",
    instead=_INSTEAD,
)
_ALERTMANAGER = debian_packages.Prefix(
    package="prometheus-alertmanager",
    revision=1,
    programs="usr/bin",
    tried=("prometheus-alertmanager", "amtool"),
    size="about 25 MB",
    instead=_INSTEAD,
)
_TEMPLATES = re.compile(rb"/usr/share/prometheus/alertmanager(?!/)")
"""Where Debian's Alertmanager looks for its own templates; no option says otherwise."""
_BELOW_ITS_FOLDER = b"usr/share/prometheus/alertmanager/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Programs:
    """The two servers, and what checks their files.

    Attributes:
        alertmanager: It has to run in ``alertmanager_folder``, below which its templates lie.
    """

    prometheus: Path
    promtool: Path
    alertmanager: Path
    alertmanager_folder: Path
    amtool: Path


def install(report: Callable[[str], None]) -> Programs:
    """Return the programs; fetch those that are not there.

    Raises:
        ConfigurationError: apt cannot fetch them.
    """
    prometheus = debian_packages.install(_PROMETHEUS, report)
    alertmanager = debian_packages.install(_ALERTMANAGER, report)
    return Programs(
        prometheus=prometheus / "prometheus",
        promtool=prometheus / "promtool",
        alertmanager=_relocated(alertmanager / "prometheus-alertmanager"),
        alertmanager_folder=_ALERTMANAGER.folder,
        amtool=alertmanager / "amtool",
    )


def _relocated(program: Path) -> Path:
    """Return a copy of Alertmanager that looks for its templates below its working folder.

    Raises:
        ConfigurationError: The program names another folder than it did when this was written.
    """
    copy = program.with_name("alertmanager-relocated")
    if not copy.exists():
        content, places = _TEMPLATES.subn(_BELOW_ITS_FOLDER, program.read_bytes())
        if places != 1:
            message = f"{program} names its folder of templates {places} times, not once"
            raise errors.ConfigurationError(message)
        unfinished = copy.with_suffix(f".{os.getpid()}")
        unfinished.write_bytes(content)
        unfinished.chmod(0o755)
        unfinished.rename(copy)
    return copy
