"""Probes of the database through each library that uses it, for `wrdata doctor`.

Here: a query by ADBC, by the archive's catalogue and by Dagster's storage, and whether the
server knows our time zone. Not here: psycopg's pool, which every other probe uses (diagnosis.py).

The libraries differ: in what they accept in a URL, and behind PgBouncer, which by default refuses
or ignores the options of a connection.
"""

import sqlalchemy
from sqlalchemy import NullPool
from sqlalchemy import exc as sqlalchemy_errors

from marketdata.calendars import NEW_YORK_ZONE
from marketdata.recovery import errors
from resources import opening
from resources.database_url import place, schema_asked_for
from resources.settings import Settings
from resources.storage.archive.iceberg.catalogue import open_catalogue, require_same_bucket
from resources.storage.arrow_cursor import arrow_cursor
from resources.storage.timescale import Timescale

OWN_DATABASE = (
    "set WRDATA_DAGSTER_DATABASE_URL to the server itself, or to an entry of PgBouncer that sets "
    "the search path (docs/how-to/pool.md), without options"
)


def try_time_zones(timescale: Timescale) -> None:
    """Ask the server for the time in New York: our SQL groups bars by it.

    Raises:
        StorageConflictError: The server has no database of time zones.
    """
    try:
        with timescale.connection() as connection:
            connection.execute("select now() at time zone %s", (str(NEW_YORK_ZONE),))
    except errors.StorageConflictError as error:
        message = f"{error}; install tzdata on the database's machine, and start its server again"
        raise errors.StorageConflictError(message) from error


def try_arrow(settings: Settings) -> None:
    """Run a query by ADBC, as reads and the archive do.

    Raises:
        StorageError: The database cannot be reached, or refuses.
    """
    with arrow_cursor(Timescale(settings.database_url.get_secret_value())) as cursor:
        cursor.execute("select 1")
        cursor.fetch_arrow_table()


def try_catalogue(settings: Settings) -> None:
    """Read the archive's catalogue.

    Raises:
        StorageError: It cannot be reached, refuses, or belongs to another bucket.
    """
    url, s3 = settings.database_url.get_secret_value(), opening.s3_settings(settings)
    require_same_bucket(open_catalogue(url, s3), s3.bucket)


def try_dagster(url: str) -> str:
    """Connect as Dagster's storage does; return the server's version.

    Args:
        url: Value of WRDATA_DAGSTER_DATABASE_URL.

    Raises:
        StorageUnavailableError: The database cannot be reached.
        StorageConflictError: A proxy refuses the options of the URL, or ignores them, so that the
            connection uses another schema.
        ConfigurationError: The URL cannot be read.
    """
    wanted_schema, where = schema_asked_for(url), place(url)
    query = sqlalchemy.text("select current_setting('server_version'), current_schema()")
    try:
        # The driver that dagster-postgres takes: psycopg2, since the URL names none.
        with sqlalchemy.create_engine(url, poolclass=NullPool).connect() as connection:
            version, schema = connection.execute(query).one()
    except sqlalchemy_errors.OperationalError as error:
        reason = " ".join(str(error.orig).split())
        if "startup parameter" in reason:
            message = f"{where} refuses Dagster's storage: {reason}; {OWN_DATABASE}"
            raise errors.StorageConflictError(message) from None
        message = f"{where} cannot be reached by Dagster's storage: {reason}; is the server up?"
        raise errors.StorageUnavailableError(message) from None
    if wanted_schema and schema != wanted_schema:
        message = (
            f"{where} leads Dagster's storage to schema {schema} instead of {wanted_schema}. "
            "Either that schema does not exist: run wrdata migrate. Or a proxy, such as PgBouncer, "
            f"ignores the connection's options: {OWN_DATABASE}"
        )
        raise errors.StorageConflictError(message)
    return str(version)
