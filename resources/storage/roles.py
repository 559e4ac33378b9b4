"""Roles of the database: who loads, reads, watches, or keeps Dagster's runs, and may no more.

Here: creating the roles, and giving each exactly what its purpose needs. Not here: what that is
(sql/queries/roles.sql), or which process uses which (docs/how-to/guard.md).

The owner is whoever migrates: the tables are its own. Roles belong to the server and tables to the
database, so creating is an administrator's step of its own, and each migration brings the
privileges of the existing roles up to date.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import LiteralString

import psycopg
from psycopg import sql as composed

from marketdata.recovery import errors
from resources.storage import sql, timescale
from resources.storage.timescale import Connection


class Role(StrEnum):
    """The roles beside the owner; the same for every database of a server."""

    LOADER = "wrdata_loader"
    READER = "wrdata_reader"
    EXPORTER = "wrdata_exporter"
    DAGSTER = "wrdata_dagster"


PURPOSES: Mapping[Role, str] = {
    Role.LOADER: "runs and commands: loads and archives, and changes no history",
    Role.READER: "read_bars, wrdata query: reads rows, their history, the archive's catalogue",
    Role.EXPORTER: "monitoring: reads ledgers, logs and Dagster's tables, no prices",
    Role.DAGSTER: "Dagster's storage: its own tables in schema dagster, nothing else",
}

_KINDS: Mapping[str, LiteralString] = {
    "table": "table",
    "sequence": "sequence",
    "schema": "schema",
    "function": "function",
}
_PRIVILEGES: Mapping[str, LiteralString] = {
    "SELECT": "select",
    "INSERT": "insert",
    "UPDATE": "update",
    "DELETE": "delete",
    "TRUNCATE": "truncate",
    "REFERENCES": "references",
    "TRIGGER": "trigger",
    "MAINTAIN": "maintain",
    "USAGE": "usage",
    "CREATE": "create",
    "EXECUTE": "execute",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PrivilegeChange:
    """What a role gets and loses on one object.

    Attributes:
        kind: ``table``, ``sequence``, ``schema`` or ``function``.
        schema: Empty for a schema.
        granted: Privileges as Postgres names them, such as ``SELECT``.
    """

    role: Role
    kind: str
    schema: str
    name: str
    granted: Sequence[str]
    revoked: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleStatus:
    """A role of this server.

    Attributes:
        differences: Objects of this database on which its privileges are not those of its purpose.
    """

    role: Role
    exists: bool
    logs_in: bool
    differences: int


def owner(url: str) -> str:
    """Return who owns the tables, or will: the user that migrates.

    Raises:
        StorageError: The database cannot be reached, or refuses.
    """
    with timescale.connect(url) as connection:
        return _owner(connection)


def status(url: str) -> list[RoleStatus]:
    """Return every role, existing or not; changes nothing.

    Raises:
        StorageError: The database cannot be reached, or refuses.
    """
    with timescale.connect(url) as connection:
        existing = _existing(connection)
        differences = _differences(connection)
    return [
        RoleStatus(
            role=role,
            exists=role in existing,
            logs_in=existing.get(role, False),
            differences=sum(change.role is role for change in differences),
        )
        for role in Role
    ]


def creation(url: str) -> list[str]:
    """Return the statements that create the missing roles, for an administrator to run.

    Raises:
        StorageError: The database cannot be reached, or refuses.
    """
    with timescale.connect(url) as connection:
        return [statement.as_string(connection) for statement in _creation(connection)]


def create(url: str) -> list[Role]:
    """Create the missing roles, without passwords; return them.

    Raises:
        ConfigurationError: This user may not create roles; the text says who may, and how.
        StorageError: The database cannot be reached, or refuses.
    """
    with timescale.connect(url) as connection:
        before = _existing(connection)
        try:
            with connection.transaction():
                for statement in _creation(connection):
                    connection.execute(statement)
        except psycopg.errors.InsufficientPrivilege:
            message = (
                "the user of WRDATA_DATABASE_URL may not create roles: let an administrator of "
                "the server run what `wrdata roles create --sql` prints, then `wrdata migrate`"
            )
            raise errors.ConfigurationError(message) from None
        return [role for role in Role if role not in before]


def put_in_force(url: str) -> list[PrivilegeChange]:
    """Give each existing role the privileges of its purpose, and take all others away.

    Args:
        url: Of the owner.

    Returns:
        What was changed; empty if nothing had to be, or there are no roles.

    Raises:
        ConfigurationError: The owner is no member of Dagster's role.
        StorageError: The database cannot be reached, or refuses.
    """
    with timescale.connect(url) as connection, connection.transaction():
        existing = _existing(connection)
        if not existing:
            return []
        # First, since a new owner of a table has to be allowed to create it.
        changes = _change(connection)
        if Role.DAGSTER in existing:
            _give_dagster_its_tables(connection, existing)
            changes += _change(connection)
    return changes


def _change(connection: Connection) -> list[PrivilegeChange]:
    differences = _differences(connection)
    for change in differences:
        _run(connection, "grant_privileges", change, change.granted)
        _run(connection, "revoke_privileges", change, change.revoked)
    return differences


def _run(
    connection: Connection, name: str, change: PrivilegeChange, privileges: Sequence[str]
) -> None:
    if not privileges:
        return
    parts = [change.schema, change.name] if change.schema else [change.name]
    connection.execute(
        composed.SQL(_query(name)).format(
            privileges=composed.SQL(", ").join(
                composed.SQL(_PRIVILEGES[privilege]) for privilege in privileges
            ),
            kind=composed.SQL(_KINDS[change.kind]),
            name=composed.Identifier(*parts),
            role=composed.Identifier(change.role),
        )
    )


def _give_dagster_its_tables(connection: Connection, existing: Mapping[str, bool]) -> None:
    user, role = connection.info.user, {"role": Role.DAGSTER}
    if not _is_member(connection, user):
        message = (
            f"{user} is no member of {Role.DAGSTER.value}, whose tables it lets others read: let "
            "an administrator run `wrdata roles create`"
        )
        raise errors.ConfigurationError(message)
    for (table,) in connection.execute(_query("dagster_tables_of_owner"), role).fetchall():
        connection.execute(
            composed.SQL(_query("give_table")).format(
                name=composed.Identifier("dagster", table), role=composed.Identifier(Role.DAGSTER)
            )
        )
    if Role.EXPORTER in existing:
        connection.execute(
            composed.SQL(_query("let_read_future_tables")).format(
                creator=composed.Identifier(Role.DAGSTER),
                reader=composed.Identifier(Role.EXPORTER),
            )
        )


def _differences(connection: Connection) -> list[PrivilegeChange]:
    rows = connection.execute(_query("differences"), {"roles": list(Role)}).fetchall()
    return [
        PrivilegeChange(
            role=Role(role), kind=kind, schema=schema, name=name, granted=granted, revoked=revoked
        )
        for role, kind, schema, name, granted, revoked in rows
    ]


def _creation(connection: Connection) -> list[composed.Composed]:
    existing = _existing(connection)
    owner_name = _owner(connection)
    statements = [
        composed.SQL(_query("create_role")).format(role=composed.Identifier(role))
        for role in Role
        if role not in existing
    ]
    if Role.DAGSTER not in existing or not _is_member(connection, owner_name):
        join = composed.SQL(_query("join_role")).format(
            role=composed.Identifier(Role.DAGSTER), owner=composed.Identifier(owner_name)
        )
        statements.append(join)
    return statements


def _owner(connection: Connection) -> str:
    row = connection.execute(_query("owner")).fetchone()
    return str(row[0]) if row else ""


def _is_member(connection: Connection, user: str) -> bool:
    row = connection.execute(
        _query("is_member"), {"user": user, "role": Role.DAGSTER.value}
    ).fetchone()
    return row == (True,)


def _existing(connection: Connection) -> dict[str, bool]:
    rows = connection.execute(_query("existing_roles"), {"roles": list(Role)}).fetchall()
    return dict(rows)


def _query(name: str) -> LiteralString:
    return sql.query("roles", name)
