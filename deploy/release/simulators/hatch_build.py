"""Version and requirements of the wheel wrdata-simulators.

Here: both, taken from the project's own pyproject.toml, so that they stand there alone. Not here:
what the wheel holds (pyproject.toml beside this module).
"""

# ruff: noqa: INP001  hatch loads this file by its path.

import tomllib
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

PROJECT = Path(__file__).resolve().parents[3]
NEEDED = ("httpx", "starlette", "uvicorn")


class Metadata(MetadataHookInterface):
    """Fills in what pyproject.toml calls dynamic."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Add the version, wrdata of the same version, and what serves and asks simulators."""
        project = tomllib.loads((PROJECT / "pyproject.toml").read_text("utf-8"))
        version = project["project"]["version"]
        offered = [
            *project["project"]["optional-dependencies"]["pipeline"],
            *project["dependency-groups"]["sandbox"],
        ]
        metadata["version"] = version
        metadata["dependencies"] = [
            f"wrdata=={version}",
            *(requirement for requirement in offered if requirement.startswith(NEEDED)),
        ]
