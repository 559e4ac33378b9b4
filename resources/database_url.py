"""The URL of a database in the one form that all libraries accept.

Here: parsing by libpq, and writing the result. Not here: connecting.

Four libraries read the same URL: psycopg's pool and ADBC, both by libpq; SQLAlchemy with psycopg
under the archive's catalogue, and with psycopg2 under Dagster's storage. libpq accepts more forms
than SQLAlchemy: ``postgres://``, ``host=… dbname=…``, several hosts.
https://www.postgresql.org/docs/17/libpq-connect.html
"""

import re
from collections.abc import Iterable
from urllib.parse import quote, urlencode

import psycopg
from psycopg import conninfo

from marketdata.recovery import errors

_DRIVER = re.compile(r"^postgres(ql)?(\+\w+)?://")
"""SQLAlchemy's way to name a driver, which is dropped: each library uses its own."""
_SEARCH_PATH = re.compile(r"-c\s*search_path=(\S+)")


_OF_THE_SESSION = ("user", "dbname", "options")
_VARIABLES = {
    "host": "PGHOST",
    "hostaddr": "PGHOSTADDR",
    "port": "PGPORT",
    "user": "PGUSER",
    "password": "PGPASSWORD",
    "passfile": "PGPASSFILE",
    "dbname": "PGDATABASE",
    "sslmode": "PGSSLMODE",
    "sslrootcert": "PGSSLROOTCERT",
    "sslcert": "PGSSLCERT",
    "sslkey": "PGSSLKEY",
}


def normalised(url: str) -> str:
    """Return ``url`` as ``postgresql://user:password@host:port/database?…``.

    Sockets and several hosts go into the query, where every library accepts them.

    Raises:
        ConfigurationError: The URL cannot be read; the text does not repeat it.
    """
    return _format(_parsed(url))


def in_schema(url: str, schema: str) -> str:
    """Return ``url`` with ``schema`` as its only search path."""
    parts = _parsed(url)
    options = parts.get("options", "")
    return _format(parts | {"options": f"{options} -csearch_path={schema}".strip()})


def schema_asked_for(url: str) -> str:
    """Return the schema that ``in_schema`` has put into ``url``; empty if there is none."""
    schemas = _SEARCH_PATH.findall(_parsed(url).get("options", ""))
    return schemas[-1] if schemas else ""


def is_verified(url: str) -> bool:
    """Return whether ``url`` demands TLS with a server that proves its name.

    A socket of this machine needs neither. The URL alone counts: other libraries than libpq do not
    read its variables, such as PGSSLMODE.
    """
    parts = _parsed(url)
    hosts = parts.get("host", "").split(",")
    return parts.get("sslmode") == "verify-full" or all(host.startswith("/") for host in hosts)


def for_sqlalchemy(url: str) -> str:
    """Return ``url`` for SQLAlchemy with psycopg 3."""
    return normalised(url).replace("postgresql://", "postgresql+psycopg://", 1)


def place(url: str) -> str:
    """Return ``host:port/database`` of ``url``, fit to be shown.

    Raises:
        ConfigurationError: The URL cannot be read; the text does not repeat it.
    """
    parts = _parsed(url)
    host, port = parts.get("host") or "local socket", parts.get("port") or 5432
    return f"{host}:{port}/{parts.get('dbname') or parts.get('user') or ''}"


def name(url: str) -> str:
    """Return the name of the database in ``url``."""
    parts = _parsed(url)
    return parts.get("dbname") or parts.get("user") or ""


def at_socket(url: str, folder: str, port: int, *, user: str = "") -> str:
    """Return the URL of the same database of a server that listens on a socket in ``folder``.

    Nothing of the way to the original is kept: neither password nor TLS; with ``user``, neither
    the user.
    """
    kept = {name: value for name, value in _parsed(url).items() if name in _OF_THE_SESSION}
    other = {"user": user} if user else {}
    return _format(kept | other | {"host": folder, "port": str(port)})


def for_programs(url: str) -> dict[str, str]:
    """Return the variables by which libpq's own programs reach the same database.

    In a program's environment, not among its arguments, which all users can list.
    """
    return {_VARIABLES[name]: value for name, value in _parsed(url).items() if name in _VARIABLES}


def are_of_one_server(urls: Iterable[str]) -> bool:
    """Return whether all databases are of one server, as far as their addresses tell."""
    return len({place(url).rpartition("/")[0] for url in urls}) <= 1


def _parsed(url: str) -> dict[str, str]:
    try:
        parts = conninfo.conninfo_to_dict(_DRIVER.sub("postgresql://", url))
    except psycopg.ProgrammingError:
        message = (
            "the database URL cannot be read; it has the form "
            "postgresql://user:password@host:port/database (set WRDATA_DATABASE_URL)"
        )
        # libpq's error repeats the text with the password: nothing of it is kept.
        raise errors.ConfigurationError(message) from None
    return {name: str(value) for name, value in parts.items() if value is not None}


def _format(parts: dict[str, str]) -> str:
    rest = dict(parts)
    login = ""
    if "user" in rest:
        login = quote(rest.pop("user"), safe="")
        login += f":{quote(rest.pop('password'), safe='')}" if "password" in rest else ""
    database = quote(rest.pop("dbname", ""), safe="")
    host = rest.get("host", "")
    where = ""
    if host and not re.search(r"[,/]", host):
        where = f"[{rest.pop('host')}]" if ":" in host else rest.pop("host")
        where += f":{rest.pop('port')}" if "port" in rest else ""
    query = urlencode(rest, quote_via=quote, safe="/,:")
    return f"postgresql://{login and f'{login}@'}{where}/{database}{query and f'?{query}'}"
