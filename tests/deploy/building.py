"""Images that are built and run here by buildah, without Docker and without a registry.

Here: a stand-in for python:3.11-slim, made of this machine's Debian; building with the project's
own script; running an image's words in its own root. Not here: facts about images
(test_images.py), or what the Dockerfile says (dockerfile.py).

The stand-in is Debian with its own Python 3.11, so it is larger than the real base, and older. A
container shares this machine's network and processes: chroot is the isolation that needs no right
to make namespaces.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sandbox import apt_sources
from tests.deploy.dockerfile import PROJECT

BASE = "docker.io/library/python:3.11-slim"
SUITE = "bookworm"
NEEDED = ("buildah", "mmdebstrap")
AUTHORITIES = Path("/etc/ssl/certs/ca-certificates.crt")
STAND_IN = """
FROM scratch
ADD base.tar /
RUN ln -s /usr/bin/python3 /usr/local/bin/python3 \\
    && ln -s /usr/bin/python3 /usr/local/bin/python \\
    && rm -f /usr/lib/python3*/EXTERNALLY-MANAGED
"""


def missing() -> str:
    """Return why no image can be built here; empty if one can."""
    if os.geteuid() != 0:
        return "images are built by root here"
    programs = [program for program in NEEDED if shutil.which(program) is None]
    return f"install {' and '.join(programs)} to build images" if programs else ""


@dataclass(frozen=True, slots=True)
class Builder:
    """buildah with a store of its own, below a folder."""

    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        """The variables that make it so."""
        return {
            **os.environ,
            "CONTAINERS_STORAGE_CONF": str(self.folder / "storage.conf"),
            "CONTAINERS_REGISTRIES_CONF": str(self.folder / "registries.conf"),
            "BUILDAH_ISOLATION": "chroot",
            "TMPDIR": str(self.folder),
        }

    def prepare(self) -> None:
        """Make the store, and the stand-in for the base in it."""
        # vfs copies all of an image for each of its layers.
        driver = "overlay" if "overlay" in Path("/proc/filesystems").read_text() else "vfs"
        store = f'graphroot = "{self.folder}/store"\nrunroot = "{self.folder}/run"\n'
        (self.folder / "storage.conf").write_text(f'[storage]\ndriver = "{driver}"\n{store}')
        (self.folder / "registries.conf").write_text("")
        (self.folder / "sources").write_text(apt_sources.source_of(SUITE))
        context = self.folder / "base"
        context.mkdir()
        self._run(
            [
                "mmdebstrap", "--quiet", "--variant=minbase",
                "--include=python3,python3-pip,python3-venv,ca-certificates",
                SUITE, context / "base.tar", self.folder / "sources",
            ]
        )  # fmt: skip
        (context / "Containerfile").write_text(STAND_IN)
        self.buildah("build", "--format", "docker", "--tag", BASE, context)

    def build(self, *targets: str) -> None:
        """Build images by the script behind `make images`; all without targets.

        What installs packages there gets this machine's index, and the authorities it trusts.
        """
        pip, uv, cache = self.folder / "pip.conf", self.folder / "uv.toml", self.folder / "cache"
        pip.write_text(f"[global]\ncert = {AUTHORITIES}\n")
        uv.write_text("system-certs = true\n")
        cache.mkdir(exist_ok=True)
        options = [
            "--pull-never",
            f"--volume={AUTHORITIES}:{AUTHORITIES}:ro",
            f"--volume={pip}:/etc/pip.conf:ro",
            f"--volume={uv}:/etc/uv/uv.toml:ro",
            f"--volume={cache}:/root/.cache/uv:rw",
        ]
        self._run(
            [PROJECT / "deploy" / "image" / "build", *targets],
            BUILD_OPTIONS=" ".join(options),
            PATH=_without_docker(self.folder),
        )

    def buildah(self, *words: str | Path) -> str:
        """Run buildah; return what it prints."""
        return self._run(["buildah", *words])

    def container(self, image: str) -> str:
        """Make a container of an image; return its name."""
        return self.buildah("from", "--pull-never", image).strip()

    def inspected(self, image: str) -> dict[str, Any]:
        """Return an image's configuration, as Docker knows it."""
        return json.loads(self.buildah("inspect", "--type", "image", image))["Docker"]["config"]

    def command(
        self, container: str, words: Sequence[str], variables: Mapping[str, str], *options: str
    ) -> list[str]:
        """Return the words that run ``words`` in a container."""
        given = [f"--env={name}={value}" for name, value in variables.items()]
        return ["buildah", "run", *given, *options, container, "--", *words]

    def said(self, container: str, *words: str, **variables: str) -> str:
        """Run words in a container; return what they print."""
        return self._run(self.command(container, words, variables))

    def _run(self, words: Sequence[str | Path], **variables: str) -> str:
        done = subprocess.run(
            words,
            env=self.environment | variables,
            capture_output=True,
            text=True,
            check=False,
            timeout=1200,
        )
        assert done.returncode == 0, f"{words}:\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
        return done.stdout


def _without_docker(folder: Path) -> str:
    """Return a PATH on which docker does not work, so that the script takes buildah."""
    programs = folder / "programs"
    programs.mkdir(exist_ok=True)
    docker = programs / "docker"
    docker.write_text("#!/bin/sh\nexit 1\n")
    docker.chmod(0o755)
    return f"{programs}:{os.environ['PATH']}"
