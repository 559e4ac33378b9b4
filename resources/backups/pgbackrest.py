"""pgBackRest: backups of a whole database server, and its WAL, on S3.

Here: its commands, what it answers, and what its errors mean. Not here: its configuration
(deploy/backup/), a server on restored files (scratch_server.py), or the record of backups
(../storage/recovery/backup_log.py).
https://pgbackrest.org/2.55/command.html

Every program runs as the user who owns pgBackRest's configuration: that is the server's user, since
the server archives by the same file, which holds keys. As root we become that user.
"""

import configparser
import json
import os
import pwd
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, cast

from marketdata.recovery import errors

STANZA = "wrdata"
"""pgBackRest's name for the server whose backups these are."""
FILE = "pgbackrest.conf"
POSTGRES, TIMESCALEDB = "postgres", "timescaledb"
"""Annotations of a backup: the versions it was taken with."""
LONGEST_S = 24 * 3600
ANSWERS_WITHIN_S = 300
"""Of a question about the repository: a store that is away is tried again and again."""

_UNREACHABLE = ("HostConnectError", "ServiceError", "unable to connect", "FileReadError", "timeout")


class Kind(StrEnum):
    """How much a backup holds by itself; pgBackRest's words are ``full``, ``diff``, ``incr``."""

    FULL = "full"
    DIFFERENTIAL = "differential"
    INCREMENTAL = "incremental"


_KINDS = {"full": Kind.FULL, "diff": Kind.DIFFERENTIAL, "incr": Kind.INCREMENTAL}
_TYPES = {kind: name for name, kind in _KINDS.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Backup:
    """A backup in the repository.

    Attributes:
        label: Its name, such as ``20261130-140501F``.
        started_at: Aware UTC; so is ``finished_at``: restores reach back to the latter.
        bytes: Size of the databases.
        stored_bytes: What it added to the repository.
        first_wal: First WAL segment that its restore needs; ``last_wal`` makes it consistent.
        postgres_major: Major version of the server, such as ``17``.
        timescaledb: Version of the extension; empty if the backup was taken without us.
        damaged: pgBackRest found bad page checksums in the database when it took the backup.
    """

    label: str
    kind: Kind
    started_at: datetime
    finished_at: datetime
    bytes: int
    stored_bytes: int
    first_wal: str
    last_wal: str
    postgres_major: str
    timescaledb: str
    damaged: bool


class PgBackRest:
    """Runs pgBackRest with one configuration; constructing it runs nothing.

    Args:
        folder: Holds pgbackrest.conf, and the keys in ``conf.d``.

    Raises:
        ConfigurationError: There is no configuration, or no pgBackRest on the PATH.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file = folder / FILE
        program = shutil.which("pgbackrest")
        if program is None:
            message = "there is no pgbackrest on the PATH: install it (docs/how-to/back_up.md)"
            raise errors.ConfigurationError(message)
        self._program = program
        settings = configparser.ConfigParser(interpolation=None)
        try:
            settings.read_string(self._file.read_text("utf-8"))
            self.data_directory = Path(settings[STANZA]["pg1-path"])
        except (OSError, configparser.Error, KeyError) as error:
            why = getattr(error, "strerror", None) or f"{type(error).__name__} {error}"
            message = (
                f"WRDATA_BACKUP_CONFIG: {self._file} is no configuration of pgBackRest with "
                f"[{STANZA}] and pg1-path ({why}): see docs/how-to/back_up.md"
            )
            raise errors.ConfigurationError(message) from error

    @property
    def user(self) -> int | None:
        """The user to run as; None for ourselves.

        Raises:
            ConfigurationError: That would be root, as whom no server runs.
        """
        if os.geteuid() != 0:
            return None
        owner = self._file.stat().st_uid
        if owner == 0:
            message = (
                f"{self._file} belongs to root: give it to the database server's user, as whom "
                "pgBackRest runs (chown postgres)"
            )
            raise errors.ConfigurationError(message)
        return owner

    @property
    def user_name(self) -> str:
        """Name of the user that the programs run as."""
        return pwd.getpwuid(os.geteuid() if self.user is None else self.user).pw_name

    def create_stanza(self) -> None:
        """Prepare the repository for the server; one that is prepared stays as it is.

        Raises:
            StorageError: The server, or the repository, cannot be reached or refuses.
        """
        self._run("stanza-create")

    def backup(self, kind: Kind, *, postgres: str, timescaledb: str) -> Backup:
        """Take a backup, wait until its WAL is archived, and drop what has expired.

        Args:
            kind: Without an earlier full backup, or after a new stanza, it is a full one.
            postgres: Version of the server, kept with the backup.
            timescaledb: Version of the extension, likewise.

        Raises:
            StorageUnavailableError: Server or repository cannot be reached.
            StorageConflictError: They refuse: a wrong passphrase, archiving that does not work.
        """
        annotations = {POSTGRES: postgres, TIMESCALEDB: timescaledb}
        self._run(
            "backup",
            f"--type={_TYPES[kind]}",
            *(f"--annotation={name}={value}" for name, value in annotations.items() if value),
        )
        return self.backups()[-1]

    def backups(self) -> list[Backup]:
        """Return the backups in the repository, oldest first.

        Raises:
            StorageUnavailableError: The repository cannot be reached.
            StorageConflictError: It refuses, or is damaged.
        """
        answer: Sequence[Mapping[str, Any]] = json.loads(
            self._run("info", "--output=json", within_s=ANSWERS_WITHIN_S),
            strict=False,  # What could not be decrypted has control characters.
        )
        stanza = next((entry for entry in answer if entry["name"] == STANZA), None)
        if stanza is None:
            return []
        majors = {database["id"]: str(database["version"]) for database in stanza["db"]}
        for repository in stanza.get("repo", ()):
            self._require_readable(repository)
        found = [_backup(entry, majors) for entry in stanza["backup"]]
        return sorted(found, key=lambda backup: backup.finished_at)

    def restore(self, label: str, target: datetime, into: Path) -> None:
        """Restore files into an empty folder, set to replay WAL up to ``target`` (aware).

        The restored server never archives: ``archive_mode`` is off in its own settings.

        Raises:
            StorageUnavailableError: The repository cannot be reached.
            StorageConflictError: The backup is missing or damaged.
        """
        moment = target.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f+00")
        try:
            self._run(
                "restore", f"--set={label}", f"--pg1-path={into}", "--type=time",
                f"--target={moment}", "--target-action=promote", "--archive-mode=off",
            )  # fmt: skip
        except errors.StorageConflictError as error:
            message = f"backup {label} cannot be restored: {error}"
            raise errors.StorageConflictError(message) from error

    def _run_as_user(
        self, command: Sequence[str], *, within_s: float = LONGEST_S
    ) -> subprocess.CompletedProcess[str]:
        """Run a program as the server's user, and with nothing of our environment but the PATH.

        Raises:
            subprocess.TimeoutExpired: It did not end in time, and was killed.
        """
        user = self.user
        return subprocess.run(
            # With a wrong passphrase it prints bytes of what it could not decrypt.
            command, capture_output=True, text=True, errors="replace", check=False,
            timeout=within_s,
            stdin=subprocess.DEVNULL, cwd="/",
            env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"},
            user=user, group=None if user is None else pwd.getpwuid(user).pw_gid,
            extra_groups=None if user is None else [],
        )  # fmt: skip

    def _require_readable(self, repository: Mapping[str, Any]) -> None:
        """Refuse a repository that pgBackRest reports as unusable, with its reason."""
        status: Mapping[str, Any] = repository.get("status", {})
        if status.get("code") == _OTHER_STATUS:
            raise self._error(str(status.get("message", "")), "info")

    def _run(self, command: str, *options: str, within_s: float = LONGEST_S) -> str:
        try:
            done = self._run_as_user(
                [
                    self._program, f"--config-path={self._folder}", f"--stanza={STANZA}",
                    "--log-level-console=off", "--log-level-stderr=error", *options, command,
                ],
                within_s=within_s,
            )  # fmt: skip
        except subprocess.TimeoutExpired as error:
            message = (
                f"pgBackRest cannot {command}: no answer within {within_s:.0f} s; is the "
                "repository's store up?"
            )
            raise errors.StorageUnavailableError(message) from error
        if done.returncode == 0:
            return done.stdout
        raise self._error(done.stderr or done.stdout, command)

    def _error(self, said: str, command: str) -> errors.StorageError:
        """Return pgBackRest's error as one of ours, in one line."""
        text = _first_error(said)
        # Decrypted with a wrong passphrase, the list of backups is noise.
        if "unable to load info file" in said and ("Crypto" in said or "Format" in said):
            return errors.StorageConflictError(
                "the passphrase does not open the repository: repo1-cipher-pass in "
                f"{self._folder}/conf.d is not the one that it was made with, or backup.info is "
                "damaged"
            )
        if any(sign in said for sign in _UNREACHABLE):
            return errors.StorageUnavailableError(
                f"pgBackRest cannot {command}: {text}; is the repository's store up?"
            )
        return errors.StorageConflictError(f"pgBackRest cannot {command}: {text}")


_OTHER_STATUS = 99
"""pgBackRest's code where the repository cannot be read at all."""


def _backup(entry: Mapping[str, Any], majors: Mapping[int, str]) -> Backup:
    times: Mapping[str, int] = entry["timestamp"]
    annotation = cast("Mapping[str, str]", entry.get("annotation") or {})
    return Backup(
        label=entry["label"],
        kind=_KINDS[entry["type"]],
        started_at=datetime.fromtimestamp(times["start"], UTC),
        finished_at=datetime.fromtimestamp(times["stop"], UTC),
        bytes=entry["info"]["size"],
        stored_bytes=entry["info"]["repository"].get("delta", 0),
        first_wal=entry["archive"]["start"],
        last_wal=entry["archive"]["stop"],
        postgres_major=majors.get(entry["database"]["id"], ""),
        timescaledb=annotation.get(TIMESCALEDB, ""),
        damaged=bool(entry.get("error")),
    )


def _first_error(said: str) -> str:
    """Return pgBackRest's first error and its hints in one line."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    begin = next((place for place, line in enumerate(lines) if "ERROR:" in line), 0)
    shown = [line.partition("ERROR:")[2].strip() or line for line in lines[begin : begin + 4]]
    return "; ".join(shown) or "it says nothing"
