"""Contents of an installation of this project: its distributions and their modules.

Here: the sets of pyproject.toml, followed through the metadata of what is installed here. Not
here: facts about them (the tests beside this module).
"""

import tomllib
from collections.abc import Iterable
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PROJECT = Path(__file__).resolve().parents[2]


@cache
def pyproject() -> dict[str, Any]:
    """Return the project's own pyproject.toml."""
    return tomllib.loads((PROJECT / "pyproject.toml").read_text("utf-8"))


def base() -> list[str]:
    """Return the requirements of a reader's installation."""
    return list(pyproject()["project"]["dependencies"])


def extra(name: str) -> list[str]:
    """Return the requirements that an extra adds."""
    return list(pyproject()["project"]["optional-dependencies"][name])


def group(name: str) -> list[str]:
    """Return the requirements of a dependency group, those of the groups in it included."""
    requirements: list[str] = []
    for entry in pyproject()["dependency-groups"][name]:
        requirements += [entry] if isinstance(entry, str) else group(entry["include-group"])
    return requirements


def distributions(requirements: Iterable[str]) -> set[str]:
    """Return the names of all distributions that ``requirements`` bring, on this machine."""
    names: set[str] = set()
    seen: set[str] = set()
    waiting = list(requirements)
    while waiting:
        text = waiting.pop()
        if text in seen:
            continue
        seen.add(text)
        requirement = Requirement(text)
        name = canonicalize_name(requirement.name)
        names.add(name)
        for needed in metadata.requires(name) or ():
            marker = Requirement(needed).marker
            if any(
                marker is None or marker.evaluate({"extra": chosen})
                for chosen in ("", *requirement.extras)
            ):
                waiting.append(needed)
    return names


def modules(names: Iterable[str]) -> set[str]:
    """Return the names of the top-level modules that distributions bring."""
    wanted = set(names)
    return {
        module
        for module, bringing in metadata.packages_distributions().items()
        if wanted.intersection(map(canonicalize_name, bringing))
    }
