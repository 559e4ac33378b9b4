"""The database tried through each library that will use it, for `wrdata doctor`.

Here: a question by ADBC, by the archive's catalogue and by Dagster's storage, and whether the
server knows our time zone. Not here: psycopg's pool, which every other probe uses (diagnosis.py).

The libraries differ in what they take: of a URL, and behind PgBouncer, which refuses or forgets the
options of a connection unless it is told otherwise.
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
    "set WRDATA_DAGSTER_DATABASE_URL to the server itself, or to a database for Dagster alone, "
    "without options"
)


def try_time_zones(timescale: Timescale) -> None:
    """Ask for the time in New York, by which bars are told apart in SQL.

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
    """Read by ADBC, as readers and archive do.

    Raises:
        StorageError: It cannot be reached, or refuses.
    """
    with arrow_cursor(settings.database_url.get_secret_value()) as cursor:
        cursor.execute("select 1")
        cursor.fetch_arrow_table()


def try_catalogue(settings: Settings) -> None:
    """Read the archive's catalogue.

    Raises:
        StorageError: It cannot be reached, refuses, or is of another bucket.
    """
    url, s3 = settings.database_url.get_secret_value(), opening.s3_settings(settings)
    require_same_bucket(open_catalogue(url, s3), s3.bucket)


def try_dagster(url: str) -> str:
    """Connect as Dagster's storage does; return the server's version.

    Args:
        url: Of WRDATA_DAGSTER_DATABASE_URL.

    Raises:
        StorageUnavailableError: It cannot be reached.
        StorageConflictError: Something between refuses the options of the URL, or forgets them, so
            that it leads to another schema than it asks for.
        ConfigurationError: The URL cannot be read.
    """
    asked, where = schema_asked_for(url), place(url)
    query = sqlalchemy.text("select current_setting('server_version'), current_schema()")
    try:
        # The driver that dagster-postgres takes: psycopg2, since the URL names none.
        with sqlalchemy.create_engine(url, poolclass=NullPool).connect() as connection:
            version, schema = connection.execute(query).one()
    except sqlalchemy_errors.OperationalError as error:
        told = " ".join(str(error.orig).split())
        if "startup parameter" in told:
            message = f"{where} refuses Dagster's storage: {told}; {OWN_DATABASE}"
            raise errors.StorageConflictError(message) from None
        message = f"{where} cannot be reached by Dagster's storage: {told}; is the server up?"
        raise errors.StorageUnavailableError(message) from None
    if asked and schema != asked:
        message = (
            f"{where} leads Dagster's storage to schema {schema}, and {asked} was asked for. "
            "Either it is not there: run wrdata migrate. Or something between, such as PgBouncer, "
            f"forgets the connection's options: {OWN_DATABASE}"
        )
        raise errors.StorageConflictError(message)
    return str(version)
