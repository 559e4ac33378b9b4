"""PostgreSQL's own programs on this machine: which there are, and what they can serve.

Here: finding them, their version, and whether they have an extension's version. Not here: starting
a server (scratch_server.py), or pg_dump (portable.py).
"""

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from marketdata.recovery import errors

_INSTALLED = Path("/usr/lib/postgresql")
"""Where Debian keeps the programs of each major version, off the PATH."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PostgresPrograms:
    """Programs of one installation.

    Attributes:
        folder: Holds ``postgres``, ``pg_dump`` and the others.
        major: Major version, such as ``17``.
    """

    folder: Path
    major: str

    def has_timescaledb(self, version: str) -> bool:
        """Return whether a server of this installation can load this version of the extension."""
        return (self.folder.parent / "lib" / f"timescaledb-{version}.so").exists()

    def timescaledb_versions(self) -> list[str]:
        """Return the versions of the extension that a server of this installation can load."""
        found = (self.folder.parent / "lib").glob("timescaledb-[0-9]*.so")
        return sorted(file.stem.removeprefix("timescaledb-") for file in found)


def find(major: str = "") -> PostgresPrograms:
    """Return the programs of a major version: those on the PATH, or Debian's.

    Args:
        major: Such as ``17``; without it any, those on the PATH first.

    Raises:
        ConfigurationError: There are none of that version.
    """
    on_path = shutil.which("postgres")
    folders = [Path(on_path).resolve().parent] if on_path else []
    folders += sorted((path.parent for path in _INSTALLED.glob("*/bin/postgres")), reverse=True)
    found = [PostgresPrograms(folder=folder, major=_major(folder)) for folder in folders]
    for programs in found:
        if major in {"", programs.major}:
            return programs
    there = ", ".join(programs.major for programs in found) or "none at all"
    message = (
        f"no server programs of PostgreSQL {major or '(any version)'} are on the PATH or in "
        f"{_INSTALLED} (found: {there}): install them, with TimescaleDB"
    )
    raise errors.ConfigurationError(message)


def _major(folder: Path) -> str:
    said = subprocess.run(
        [folder / "postgres", "--version"], capture_output=True, text=True, check=False
    ).stdout
    matched = re.search(r"\) (\d+)", said)
    return matched[1] if matched else ""
