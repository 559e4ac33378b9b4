"""Prometheus and Alertmanager without touching the system: unpacked beside it.

Here: which packages they are. Not here: how a package is unpacked (debian_packages.py), their
configuration (monitoring/), or running them.

Always those of Debian 13: Debian 12's are three years older, and say less about a wrong rule.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Programs:
    """The two servers, and what checks their files."""

    prometheus: Path
    promtool: Path
    alertmanager: Path
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
        alertmanager=alertmanager / "prometheus-alertmanager",
        amtool=alertmanager / "amtool",
    )
