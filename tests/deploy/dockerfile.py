"""What the Dockerfile says, and which files a build gets to see.

Here: reading deploy/image/Dockerfile and .dockerignore. Not here: facts about them
(test_dockerfile.py), or images that are built from them (test_images.py).
"""

import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
FILE = PROJECT / "deploy" / "image" / "Dockerfile"
TARGETS = ("code", "webserver", "daemon", "worker", "exporter", "reader", "backup")


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A stage, with the instructions of those that it stands on.

    Attributes:
        instructions: Keyword and argument, in order, continued lines joined.
    """

    name: str
    instructions: list[tuple[str, str]]

    def all(self, keyword: str) -> list[str]:
        """Return the arguments of every instruction of a kind."""
        return [argument for word, argument in self.instructions if word == keyword]

    def last(self, keyword: str) -> str:
        """Return the argument of the instruction that counts."""
        return self.all(keyword)[-1]

    @property
    def command(self) -> list[str]:
        """The words that a container starts with."""
        return json.loads(self.last("CMD"))

    @property
    def health_check(self) -> list[str]:
        """The words of its health check; none where it says so."""
        check = self.last("HEALTHCHECK")
        return [] if check == "NONE" else json.loads(check.partition("CMD ")[2])


def stages() -> dict[str, Stage]:
    """Return every stage by its name."""
    found: dict[str, Stage] = {}
    current = Stage(name="", instructions=[])
    for keyword, argument in _instructions():
        if keyword == "FROM":
            below, _, name = argument.partition(" AS ")
            inherited = found[below].instructions if below in found else [("BASE", below)]
            current = found[name] = Stage(name=name, instructions=[*inherited])
        else:
            current.instructions.append((keyword, argument))
    return found


def _instructions() -> Iterator[tuple[str, str]]:
    lines = [line for line in FILE.read_text("utf-8").splitlines() if not line.startswith("#")]
    text = re.sub(r"\\\n\s*", "", "\n".join(lines))
    for line in filter(None, text.splitlines()):
        keyword, _, argument = line.partition(" ")
        yield keyword, argument


def sources(stage: Stage) -> Iterator[str]:
    """Yield the files of the project that a stage copies."""
    for argument in stage.all("COPY"):
        words = shlex.split(argument)
        if not words[0].startswith("--from="):
            yield from words[:-1]


def let_in() -> set[str]:
    """Return what .dockerignore lets a build see."""
    lines = (PROJECT / ".dockerignore").read_text("utf-8").splitlines()
    return {line.removeprefix("!") for line in lines if line.startswith("!")}
