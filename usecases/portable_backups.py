"""Portable backups: the databases by pg_dump, in the bucket, with what a restore of them needs.

Here: taking, listing and loading them. Not here: pg_dump (resources/backups/portable.py), or
pgBackRest's backups (backups.py), which are taken of the whole server and reach any moment.

A backup is a folder ``backups/portable/<moment>/`` of the bucket: a file for each database, and
about.json, which is written last: without it there is no backup.
"""

import hashlib
import json
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from marketdata.calendars import utc_now
from marketdata.recovery import errors
from resources import database_url, opening
from resources.backups import portable, postgres_programs
from resources.settings import Settings
from resources.storage.audit import reinstatement
from resources.storage.object_store import ObjectMissingError, ObjectStore
from resources.storage.recovery import emptied, hold
from resources.storage.recovery.backup_log import PORTABLE, BackupLog, BackupRun

FOLDER = "backups/portable"
ABOUT = "about.json"
MARKET, DAGSTER = "market", "dagster"
READ_AT_ONCE = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class PortableBackup:
    """One backup in the bucket.

    Attributes:
        label: Its folder, such as ``20261130T140501Z``.
        taken_at: When its first dump began (aware UTC).
        postgres: Version of the server; ``timescaledb`` that of the extension: a restore needs the
            same one.
        sha256: Hex digest of each file, by the database's part.
        bytes: Size of all files.
    """

    label: str
    taken_at: datetime
    postgres: str
    timescaledb: str
    sha256: Mapping[str, str]
    bytes: int


def take_portable_backup(settings: Settings, report: Callable[[str], None]) -> PortableBackup:
    """Dump the databases into the bucket, and record it.

    The market data are one moment; Dagster's database, where it has its own, is a later one.

    Args:
        settings: Of production.
        report: Called with a sentence for each step.

    Raises:
        StorageError: A database or the bucket cannot be reached or refuses. It is recorded.
        ConfigurationError: This machine lacks pg_dump of the server's version.
    """
    taken_at = utc_now()
    with opening.stores(settings) as stores:
        server = stores.timescale.server()
        log = BackupLog(stores.timescale)
        try:
            backup = _dumped(settings, taken_at, server.postgres_version,
                             server.timescaledb_version, report)  # fmt: skip
        except errors.StorageError as error:
            log.record(
                BackupRun(
                    kind=PORTABLE, started_at=taken_at, finished_at=utc_now(), error=str(error)
                )
            )
            raise
        log.record(
            BackupRun(
                kind=PORTABLE, label=backup.label, started_at=taken_at, finished_at=utc_now(),
                bytes=server.size_bytes, stored_bytes=backup.bytes,
                postgres_version=backup.postgres, timescaledb_version=backup.timescaledb,
            )
        )  # fmt: skip
    return backup


def portable_backups(settings: Settings) -> list[PortableBackup]:
    """Return the portable backups in the bucket, oldest first.

    Raises:
        StorageError: The bucket cannot be reached or refuses.
    """
    objects = ObjectStore(opening.s3_settings(settings))
    keys = [stored.key for stored in objects.list(f"{FOLDER}/")]
    return [_read(objects, key) for key in keys if key.endswith(f"/{ABOUT}")]


def load_portable_backup(
    settings: Settings, label: str, report: Callable[[str], None]
) -> PortableBackup:
    """Load a backup into the empty database of the settings, and put it on hold.

    Args:
        settings: Their databases are the new ones; the user has to be a superuser, or what the
            provider has in place of one.
        label: Which backup.
        report: Called with a sentence for each step.

    Raises:
        ArgumentError: There is no such backup, or a database is not empty or not named.
        ConfigurationError: The server's TimescaleDB is of another version.
        ArchiveMismatchError: A file is not the one that was kept; nothing was loaded.
        StorageError: Database or bucket cannot be reached or refuses.
    """
    objects = ObjectStore(opening.s3_settings(settings))
    try:
        backup = _read(objects, f"{FOLDER}/{label}/{ABOUT}")
    except ObjectMissingError as error:
        message = f"there is no portable backup {label}: wrdata backup list --portable"
        raise errors.ArgumentError(message) from error
    market = settings.database_url.get_secret_value()
    places = {MARKET: market, DAGSTER: settings.dagster_url}
    if DAGSTER in backup.sha256 and not _has_own_database(settings):
        message = (
            f"portable backup {label} holds a database of Dagster's own: name an empty one in "
            "WRDATA_DAGSTER_DATABASE_URL; nothing was loaded"
        )
        raise errors.ArgumentError(message)
    programs = postgres_programs.find(backup.postgres.partition(".")[0])
    for part in backup.sha256:
        emptied.require_empty(places[part])
    emptied.require_extension(market, backup.timescaledb)
    with tempfile.TemporaryDirectory(prefix="wrdata-portable-") as folder:
        files = {part: Path(folder, part) for part in backup.sha256}
        for part, file in files.items():
            objects.download_file(f"{FOLDER}/{label}/{part}.dump", file)
            _require_same(backup, part, file)
        for part, file in files.items():
            report(f"Loading {part} into {database_url.place(places[part])}")
            with emptied.restoring(places[part]):
                portable.load(programs, places[part], file)
    journal = opening.journal(settings)
    if journal is not None and reinstatement.owner(market):
        report("Putting back the audit log's rows of after the backup, from its journal")
        reinstatement.reinstate(market, journal)
    hold.hold(market, reason=f"loaded from portable backup {label}", target=backup.taken_at)
    return backup


def _dumped(
    settings: Settings,
    taken_at: datetime,
    postgres: str,
    timescaledb: str,
    report: Callable[[str], None],
) -> PortableBackup:
    market = settings.database_url.get_secret_value()
    urls = {MARKET: market}
    if _has_own_database(settings):
        urls[DAGSTER] = settings.dagster_url
    programs = postgres_programs.find(postgres.partition(".")[0])
    objects = ObjectStore(opening.s3_settings(settings))
    label = f"{taken_at:%Y%m%dT%H%M%SZ}"
    digests: dict[str, str] = {}
    size = 0
    with tempfile.TemporaryDirectory(prefix="wrdata-portable-") as folder:
        for part, url in urls.items():
            file = Path(folder, part)
            report(f"Dumping {database_url.place(url)}")
            portable.dump(programs, url, file)
            digests[part] = _sha256(file)
            size += file.stat().st_size
            objects.upload_file(file, f"{FOLDER}/{label}/{part}.dump")
            file.unlink()
    backup = PortableBackup(
        label=label,
        taken_at=taken_at,
        postgres=postgres,
        timescaledb=timescaledb,
        sha256=digests,
        bytes=size,
    )
    about = json.dumps(asdict(backup), default=str, indent=2).encode()
    objects.put_bytes(f"{FOLDER}/{label}/{ABOUT}", about, content_type="application/json")
    return backup


def _has_own_database(settings: Settings) -> bool:
    market = settings.database_url.get_secret_value()
    return database_url.place(settings.dagster_url) != database_url.place(market)


def _read(objects: ObjectStore, key: str) -> PortableBackup:
    try:
        fields: dict[str, Any] = json.loads(objects.get(key).content)
        taken_at = datetime.fromisoformat(fields.pop("taken_at"))
        return PortableBackup(taken_at=taken_at, **fields)
    except (ValueError, TypeError, KeyError) as error:
        message = f"{key} does not describe a portable backup ({error}): remove its folder"
        raise errors.StorageConflictError(message) from error


def _require_same(backup: PortableBackup, part: str, file: Path) -> None:
    if _sha256(file) != backup.sha256[part]:
        message = (
            f"{part}.dump of portable backup {backup.label} is not the file that was kept: "
            "choose another backup; nothing was loaded"
        )
        raise errors.ArchiveMismatchError(message)


def _sha256(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as opened:
        while chunk := opened.read(READ_AT_ONCE):
            digest.update(chunk)
    return digest.hexdigest()
