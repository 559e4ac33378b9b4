"""Brings a database's schema to what this version of the project needs, forward only.

Here: which migrations apply, in what order, and the record of them. Not here: the migrations
(sql/migrations/NNNN_verb_object.sql), or roles and privileges.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from machine.person import user_at_host
from marketdata.audit import Action, Journal
from marketdata.recovery import errors
from resources.storage import sql, timescale
from resources.storage.audit.log import has_log, record

TIMESCALEDB = "timescaledb"
EXTENSIONS = (TIMESCALEDB, "btree_gist")


@dataclass(frozen=True, slots=True, kw_only=True)
class MigrationStatus:
    """One migration and when it was applied (aware UTC); None while it is pending."""

    name: str
    applied_at: datetime | None


def migrate(
    url: str,
    migrations: Sequence[sql.Migration] | None = None,
    *,
    by: str = "",
    journal: Journal | None = None,
) -> list[str]:
    """Apply what is pending and return the names, oldest first.

    Each migration and the record of it commit together; a file whose first line says
    ``-- migrate: no-transaction`` runs alone and is recorded right after. Processes that
    migrate at the same time wait for each other.

    Args:
        url: Database to migrate.
        migrations: Other migrations than the shipped ones, for tests.
        by: Who migrates, for the audit log; the user of this process if empty.
        journal: Of the audit log; None if there is none.

    Raises:
        StorageConflictError: A migration failed, an applied file has changed, the database is
            ahead of this code or of an earlier line of migrations, or TimescaleDB is not available.
        StorageUnavailableError: The server cannot be reached.
    """
    shipped = sql.migrations() if migrations is None else migrations
    with timescale.connect(url) as connection:
        connection.execute(sql.query("migrations", "lock_migrations"))
        _ensure_extensions(connection)
        connection.execute(sql.query("migrations", "create_schema_migration"))
        pending = _pending(shipped, _applied(connection))
        for migration in pending:
            _apply(connection, migration, by or user_at_host(), journal)
    return [migration.name for migration in pending]


def status(url: str) -> list[MigrationStatus]:
    """Return every shipped migration with its time of application; changes nothing.

    Raises:
        StorageConflictError: An applied file has changed, or the database is ahead or of an
            earlier line of migrations.
        StorageUnavailableError: The server cannot be reached.
    """
    with timescale.connect(url) as connection:
        exists = connection.execute(sql.query("migrations", "schema_migration_exists")).fetchone()
        applied = _applied(connection) if exists == (True,) else {}
    _pending(sql.migrations(), applied)
    return [
        MigrationStatus(
            name=migration.name,
            applied_at=applied[migration.name][1] if migration.name in applied else None,
        )
        for migration in sql.migrations()
    ]


def _applied(connection: timescale.Connection) -> dict[str, tuple[str, datetime]]:
    rows = connection.execute(sql.query("migrations", "applied_migrations")).fetchall()
    return {name: (sha256, applied_at) for name, sha256, applied_at in rows}


def _pending(
    shipped: Sequence[sql.Migration], applied: dict[str, tuple[str, datetime]]
) -> list[sql.Migration]:
    """Return the migrations to apply; refuse a history that does not match the files."""
    by_name = {migration.name: migration for migration in shipped}
    newest = max(by_name, default="")
    for name in sorted(applied.keys() - by_name.keys()):
        if name < newest:
            message = (
                f"the database was made by a development version of the project (migration {name} "
                "is no longer one of its files), and nothing leads from there to this version: "
                "name a new, empty database in WRDATA_DATABASE_URL, or for the local world run "
                "`wrdata down` and delete its folder (.wrdata, or WRDATA_STATE_DIR)"
            )
        else:
            message = (
                f"the database has migration {name}, which this version of the project does not "
                "know: the database is ahead; install a version that has it"
            )
        raise errors.StorageConflictError(message)
    for name, (sha256, _) in applied.items():
        if by_name[name].sha256 != sha256:
            message = (
                f"migration {name} was changed after it was applied; restore the file and put "
                "the change into a new migration"
            )
            raise errors.StorageConflictError(message)
    return [migration for migration in shipped if migration.name not in applied]


def _apply(
    connection: timescale.Connection, migration: sql.Migration, by: str, journal: Journal | None
) -> None:
    applied = {"name": migration.name, "sha256": migration.sha256}
    try:
        if migration.transactional:
            with connection.transaction():
                connection.execute(migration.text)
                connection.execute(sql.query("migrations", "record_migration"), applied)
                _audit(connection, migration, by, journal)
        else:
            connection.execute(migration.text)
            with connection.transaction():
                connection.execute(sql.query("migrations", "record_migration"), applied)
                _audit(connection, migration, by, journal)
    except timescale.REFUSED_STATEMENT as error:
        message = f"migration {migration.name} failed and was undone: {str(error).strip()}"
        raise errors.StorageConflictError(message) from error


def _audit(
    connection: timescale.Connection, migration: sql.Migration, by: str, journal: Journal | None
) -> None:
    """Record a migration; those before the audit log itself left no row."""
    if has_log(connection):
        record(
            connection,
            Action.MIGRATION_APPLIED,
            who=by,
            subject=migration.name,
            details={"sha256": migration.sha256},
            journal=journal,
        )


def require_extensions(url: str) -> None:
    """Check that the schema's extensions exist or can be created; changes nothing.

    Raises:
        StorageConflictError: The server does not offer one, or does not load TimescaleDB.
        StorageUnavailableError: The server cannot be reached.
    """
    with timescale.connect(url) as connection:
        _absent_extensions(connection)


def _absent_extensions(connection: timescale.Connection) -> list[str]:
    """Return the extensions that have to be created in this database.

    Raises:
        StorageConflictError: One cannot be created.
    """
    rows = _extensions(connection)
    absent = [
        (name, offered, loaded) for name, installed, offered, loaded in rows if installed is None
    ]
    for name, offered, loaded in absent:
        if offered is None:
            message = (
                f"the server does not offer the extension {name}; use a PostgreSQL that has it "
                "(packages postgresql-17-timescaledb and postgresql-contrib, the image "
                "timescale/timescaledb, or the local world: wrdata up)"
            )
            raise errors.StorageConflictError(message)
        if name == TIMESCALEDB and not loaded:
            message = (
                "the server offers TimescaleDB and does not load it: put timescaledb into "
                "shared_preload_libraries of its postgresql.conf and restart it"
            )
            raise errors.StorageConflictError(message)
    return [name for name, _, _ in absent]


def _extensions(connection: timescale.Connection) -> list[tuple[str, str | None, str | None, bool]]:
    """Return name, installed version, offered version and whether it is loaded, by extension."""
    return connection.execute(
        sql.query("server", "extension_versions"), {"names": list(EXTENSIONS)}
    ).fetchall()


def _ensure_extensions(connection: timescale.Connection) -> None:
    for name in _absent_extensions(connection):
        try:
            connection.execute(sql.query("migrations", f"create_{name}"))
        except timescale.REFUSED_STATEMENT as error:
            message = (
                f"the extension {name} is not in this database and this user may not create it: "
                f"{str(error).strip()}; run as its owner: create extension {name}"
            )
            raise errors.StorageConflictError(message) from error
