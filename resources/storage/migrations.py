"""Brings a database's schema to what this version of the project needs, forward only.

Here: which migrations apply, in what order, and the record of them. Expanding migrations are
applied while the release before still runs; contracting ones (``-- migrate: contract``) once it
is gone. Not here: the migrations
(sql/migrations/NNNN_verb_object.sql), or roles and privileges.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import takewhile

from machine.person import user_at_host
from marketdata.audit import Action, Journal
from marketdata.recovery import errors
from resources.storage import sql, timescale
from resources.storage.audit.log import has_log, record

TIMESCALEDB = "timescaledb"
EXTENSIONS = (TIMESCALEDB, "btree_gist")


@dataclass(frozen=True, slots=True, kw_only=True)
class MigrationStatus:
    """One migration of this version, or one that a newer version has applied.

    Attributes:
        name: Of its file.
        applied_at: When it was applied (aware UTC); None while it waits.
        contracts: Whether it takes away what the release before uses.
        newer: Whether a newer version has applied it, and this one does not have its file.
    """

    name: str
    applied_at: datetime | None
    contracts: bool
    newer: bool

    @property
    def waits(self) -> bool:
        """Whether it has yet to be applied."""
        return self.applied_at is None


@dataclass(frozen=True, slots=True)
class _Applied:
    """A row of the table of applied migrations."""

    name: str
    sha256: str
    applied_at: datetime
    contracts: bool


def migrate(
    url: str,
    migrations: Sequence[sql.Migration] | None = None,
    *,
    contract: bool = False,
    by: str = "",
    journal: Journal | None = None,
) -> list[str]:
    """Apply what waits and return the names, oldest first.

    Contracting migrations stay waiting unless ``contract`` is given or the database is empty:
    they break the release before, of which processes may still run. A database that a newer
    version has expanded is left as it is.

    Each migration and the record of it commit together; a file whose first line says
    ``-- migrate: no-transaction`` runs alone and is recorded right after. Processes that
    migrate at the same time wait for each other.

    Args:
        url: Database to migrate.
        migrations: Other migrations than the shipped ones, for tests.
        contract: Apply contracting migrations too.
        by: Who migrates, for the audit log; the user of this process if empty.
        journal: Of the audit log; None if there is none.

    Raises:
        StorageConflictError: A migration failed, an applied file has changed, a newer version has
            contracted the database, it is of an earlier line of migrations, an expanding migration
            waits behind a contracting one, or TimescaleDB is not available.
        StorageUnavailableError: The server cannot be reached.
    """
    shipped = sql.migrations() if migrations is None else migrations
    with timescale.connect(url) as connection:
        connection.execute(sql.query("migrations", "lock_migrations"))
        _ensure_extensions(connection)
        connection.execute(sql.query("migrations", "create_schema_migration"))
        connection.execute(sql.query("migrations", "add_contracts"))
        applied = _applied(connection)
        _require_known_history(shipped, applied)
        waiting = [migration for migration in shipped if migration.name not in applied]
        if applied and not contract:
            waiting = _expanding(waiting)
        for migration in waiting:
            _apply(connection, migration, by or user_at_host(), journal)
    return [migration.name for migration in waiting]


def _expanding(waiting: Sequence[sql.Migration]) -> list[sql.Migration]:
    """Return what may be applied while the release before still runs."""
    before = list(takewhile(lambda migration: not migration.contracts, waiting))
    for migration in waiting[len(before) :]:
        if not migration.contracts:
            message = (
                f"migration {migration.name} waits behind {waiting[len(before)].name}, which takes "
                "away what the release before uses: end all processes of that release, then run "
                "`wrdata migrate --contract`"
            )
            raise errors.StorageConflictError(message)
    return before


def status(url: str, migrations: Sequence[sql.Migration] | None = None) -> list[MigrationStatus]:
    """Return every shipped migration, then those that a newer version applied; changes nothing.

    Args:
        url: Database to ask.
        migrations: Other migrations than the shipped ones, for tests.

    Raises:
        StorageConflictError: An applied file has changed, a newer version has contracted the
            database, or it is of an earlier line of migrations.
        StorageUnavailableError: The server cannot be reached.
    """
    shipped = sql.migrations() if migrations is None else migrations
    with timescale.connect(url) as connection:
        exists = connection.execute(sql.query("migrations", "schema_migration_exists")).fetchone()
        applied = _applied(connection) if exists == (True,) else {}
    newer = _require_known_history(shipped, applied)
    return [
        *(
            MigrationStatus(
                name=migration.name,
                applied_at=applied[migration.name].applied_at
                if migration.name in applied
                else None,
                contracts=migration.contracts,
                newer=False,
            )
            for migration in shipped
        ),
        *(
            MigrationStatus(name=row.name, applied_at=row.applied_at, contracts=False, newer=True)
            for row in newer
        ),
    ]


def needed(url: str) -> list[str]:
    """Return the names of the migrations that this version cannot work without; changes nothing.

    Contracting ones are not among them: a version works before and after its own.

    Raises:
        StorageConflictError: As ``status`` does.
        StorageUnavailableError: The server cannot be reached.
    """
    return [
        migration.name for migration in status(url) if migration.waits and not migration.contracts
    ]


def _applied(connection: timescale.Connection) -> dict[str, _Applied]:
    rows = connection.execute(sql.query("migrations", "applied_migrations")).fetchall()
    return {row[0]: _Applied(*row) for row in rows}


def _require_known_history(
    shipped: Sequence[sql.Migration], applied: dict[str, _Applied]
) -> list[_Applied]:
    """Return what a newer version has applied, oldest first; refuse any other strange history."""
    by_name = {migration.name: migration for migration in shipped}
    newest = max(by_name, default="")
    newer = [applied[name] for name in sorted(applied.keys() - by_name.keys())]
    for row in newer:
        if row.name < newest:
            message = (
                f"the database was made by a development version of the project (migration "
                f"{row.name} is no longer one of its files), and nothing leads from there to this "
                "version: name a new, empty database in WRDATA_DATABASE_URL, or for the local "
                "world run `wrdata down` and delete its folder (.wrdata, or WRDATA_STATE_DIR)"
            )
            raise errors.StorageConflictError(message)
        if row.contracts:
            message = (
                f"the database is ahead: migration {row.name} of a newer version has taken away "
                "what this version uses; install a version that has it"
            )
            raise errors.StorageConflictError(message)
    for migration in shipped:
        row = applied.get(migration.name)
        if row and row.sha256 != migration.sha256:
            message = (
                f"migration {migration.name} was changed after it was applied; restore the file "
                "and put the change into a new migration"
            )
            raise errors.StorageConflictError(message)
    return newer


def _apply(
    connection: timescale.Connection, migration: sql.Migration, by: str, journal: Journal | None
) -> None:
    applied = {
        "name": migration.name,
        "sha256": migration.sha256,
        "contracts": migration.contracts,
    }
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
