"""The portable form of a database: pg_dump's archive, for a server of any machine or provider.

Here: the programs, and what their errors mean. Not here: where the files lie, and what has to be
prepared before they are loaded (usecases/portable_backups.py).

Never `pg_restore --jobs`: with TimescaleDB it broke the restore (8 errors, an empty table).
"""

import os
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from marketdata.recovery import errors
from resources import database_url
from resources.backups.postgres_programs import PostgresPrograms

LONGEST_S = 24 * 3600
_OF_EXTENSIONS = (" EXTENSION ", " COMMENT - EXTENSION ")
"""Entries of an archive that only an extension's owner may restore; the extensions are there."""


def dump(programs: PostgresPrograms, url: str, file: Path) -> None:
    """Write one database into a file, as it is at one moment; it may be in use.

    Raises:
        StorageUnavailableError: The database cannot be read.
    """
    command = ["pg_dump", "--format=custom", "--compress=zstd:1", f"--file={file}"]
    _run(programs, command, url, doing="dumped")


def load(programs: PostgresPrograms, url: str, file: Path) -> None:
    """Load a file into a database that holds nothing but the extensions.

    Raises:
        StorageUnavailableError: The database cannot be reached, or the file is damaged.
    """
    listed = _run(programs, ["pg_restore", "--list", str(file)], url, doing="listed")
    with tempfile.NamedTemporaryFile("w", suffix=".list") as entries:
        entries.writelines(
            f"{line}\n"
            for line in listed.splitlines()
            if not any(text in line for text in _OF_EXTENSIONS)
        )
        entries.flush()
        command = [
            "pg_restore", "--no-owner", "--no-privileges", "--exit-on-error",
            f"--use-list={entries.name}", f"--dbname={database_url.name(url)}", str(file),
        ]  # fmt: skip
        _run(programs, command, url, doing="loaded")


def _run(programs: PostgresPrograms, command: Sequence[str], url: str, *, doing: str) -> str:
    """Run one of PostgreSQL's programs on a database; the password goes by the environment."""
    done = subprocess.run(
        [str(programs.folder / command[0]), *command[1:]],
        capture_output=True, text=True, check=False, timeout=LONGEST_S, stdin=subprocess.DEVNULL,
        env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C",
             **database_url.for_programs(url)},
    )  # fmt: skip
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if "error:" in line]
        why = lines[0] if lines else (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        message = f"{database_url.place(url)} cannot be {doing}: {why}"
        raise errors.StorageUnavailableError(message)
    return done.stdout
