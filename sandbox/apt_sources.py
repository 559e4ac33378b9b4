"""The Debian archive of this machine's apt, as a source of another suite.

Here: reading the output of ``apt-get indextargets`` and the one field it lacks. Not here:
downloading. No archive host is written anywhere in this project.
"""

import re
import subprocess
from pathlib import Path

from marketdata.recovery import errors

_FIELDS = "$(CREATED_BY)|$(COMPONENT)|$(CODENAME)|$(RELEASE)|$(REPO_URI)|$(SOURCESENTRY)"
_CURE = "set WRDATA_DATABASE_URL to a PostgreSQL with TimescaleDB instead"


def source_of(suite: str) -> str:
    """Return an apt source (deb822) for ``suite`` from the archive this system itself uses.

    The keys that sign it stay those of the system's own entry (Signed-By), or apt's trusted
    ones if the entry names none.

    Raises:
        ConfigurationError: This is no Debian system, or its apt lists no Debian archive.
    """
    codename = _codename()
    listed = _indextargets()
    for line in listed.splitlines():
        created_by, component, known_codename, release, uri, entry = line.split("|")
        if (created_by, component) != ("Packages", "main"):
            continue
        # An entry may say "stable"; its codename is known once the lists are fetched.
        if codename in {release, known_codename}:
            lines = ["Types: deb", f"URIs: {uri}", f"Suites: {suite}", "Components: main"]
            return "\n".join([*lines, *_signed_by(entry)]) + "\n"
    message = f"apt lists no archive of Debian {codename}: {_CURE}"
    raise errors.ConfigurationError(message)


def _codename() -> str:
    release = Path("/etc/os-release")
    text = release.read_text() if release.exists() else ""
    values = dict(re.findall(r'^(\w+)="?([^"\n]*)"?$', text, re.MULTILINE))
    if values.get("ID") != "debian" or "VERSION_CODENAME" not in values:
        message = f"the embedded TimescaleDB needs a Debian system: {_CURE}"
        raise errors.ConfigurationError(message)
    return values["VERSION_CODENAME"]


def _indextargets() -> str:
    try:
        # Reads the configuration alone; needs no `apt-get update`.
        done = subprocess.run(
            ["apt-get", "indextargets", "--format", _FIELDS],
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
    except (OSError, subprocess.SubprocessError) as error:
        message = f"apt-get indextargets failed ({error}): {_CURE}"
        raise errors.ConfigurationError(message) from error
    return done.stdout


def _signed_by(entry: str) -> list[str]:
    """Return the Signed-By lines of an entry such as ``/etc/apt/….sources:2``.

    apt 2.6 prints the entry's file and number (stanza or line) but not its keys, so they are
    read from the file: a path, or a whole key block in deb822.
    """
    name, _, number = entry.rpartition(":")
    try:
        text = Path(name).read_text()
    except OSError:
        return []
    if name.endswith(".sources"):
        return _field_of_stanza(text, int(number))
    options = re.search(r"\[(?P<options>[^\]]*)\]", text.splitlines()[int(number) - 1])
    match = re.search(r"signed-by=(\S+)", options["options"]) if options else None
    return [f"Signed-By: {match[1].replace(',', ' ')}"] if match else []


def _field_of_stanza(text: str, number: int) -> list[str]:
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    stanzas = [
        stanza for stanza in re.split(r"\n\s*\n", "\n".join(lines).strip()) if stanza.strip()
    ]
    field = re.search(
        r"^Signed-By:.*(?:\n[ \t].*)*", stanzas[number - 1], re.MULTILINE | re.IGNORECASE
    )
    return field[0].splitlines() if field else []
