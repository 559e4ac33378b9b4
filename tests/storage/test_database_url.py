"""One URL in a spelling that all its readers accept."""

import psycopg
import pytest
import sqlalchemy
from hypothesis import given
from hypothesis import strategies as st
from psycopg import conninfo
from sqlalchemy import NullPool

from marketdata.recovery import errors
from resources.database_url import (
    for_sqlalchemy,
    in_schema,
    normalised,
    place,
    schema_asked_for,
)
from resources.storage.archive.iceberg.catalogue import open_catalogue, require_same_bucket
from resources.storage.arrow_cursor import arrow_cursor
from resources.storage.object_store import ObjectStore
from resources.storage.timescale import Timescale


@pytest.mark.parametrize(
    ("given_url", "written"),
    [
        ("postgres://u:p@h:5433/d", "postgresql://u:p@h:5433/d"),
        ("postgresql+psycopg2://u:p@h/d", "postgresql://u:p@h/d"),
        ("host=h port=5433 dbname=d user=u password='a b'", "postgresql://u:a%20b@h:5433/d"),
        (
            "postgres://u:p%40s%2Bs@h/d?sslmode=require",
            "postgresql://u:p%40s%2Bs@h/d?sslmode=require",
        ),
        ("postgresql:///d?host=/var/run", "postgresql:///d?host=/var/run"),
        ("postgresql://u@one:1,two:2/d", "postgresql://u@/d?host=one,two&port=1,2"),
        ("postgresql://u@[::1]:5432/d", "postgresql://u@[::1]:5432/d"),
    ],
)
def test_what_libpq_takes_is_written_as_sqlalchemy_takes_it(given_url: str, written: str) -> None:
    """The values are the same to libpq."""
    assert normalised(given_url) == written
    assert normalised(written) == written
    assert sqlalchemy.make_url(for_sqlalchemy(given_url)).drivername == "postgresql+psycopg"
    as_given = given_url.replace("+psycopg2", "")
    assert conninfo.conninfo_to_dict(written) == conninfo.conninfo_to_dict(as_given)


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=20))
def test_a_password_means_the_same_to_every_library(password: str) -> None:
    """Whatever characters it has."""
    given_url = conninfo.make_conninfo(host="h", user="u", password=password, dbname="d")

    assert conninfo.conninfo_to_dict(normalised(given_url))["password"] == password
    assert sqlalchemy.make_url(for_sqlalchemy(given_url)).password == password


def test_a_schema_joins_the_options_that_are_there() -> None:
    """Two options of one name would be a list to SQLAlchemy, and one of them lost to libpq."""
    url = in_schema("postgres://u@h/d?options=-c%20geqo%3Doff", "dagster")

    assert url == "postgresql://u@h/d?options=-c%20geqo%3Doff%20-csearch_path%3Ddagster"
    assert schema_asked_for(url) == "dagster"
    assert schema_asked_for("postgresql://u@h/d") == ""


def test_a_url_that_cannot_be_read_is_not_repeated() -> None:
    """It may hold a password."""
    with pytest.raises(errors.ConfigurationError, match="cannot be read") as raised:
        normalised("postgresql://u:topsecret@[h/d")
    assert "topsecret" not in str(raised.value)
    assert place("postgres://u:topsecret@h:5433/d") == "h:5433/d"


@pytest.mark.parametrize("spelling", ["postgres", "postgresql", "postgresql+psycopg2"])
def test_every_library_opens_the_database_by_each_spelling(
    migrated_url: str, object_store: ObjectStore, spelling: str
) -> None:
    """psycopg, ADBC, the archive's catalogue, and psycopg2 under Dagster's storage."""
    url = normalised(migrated_url.replace("postgresql", spelling, 1))

    with psycopg.connect(url) as connection:
        assert connection.execute("select 1").fetchone() == (1,)
    with arrow_cursor(Timescale(url)) as cursor:
        cursor.execute("select 1")
        assert cursor.fetch_arrow_table().num_rows == 1
    require_same_bucket(open_catalogue(url, object_store.settings), object_store.settings.bucket)
    engine = sqlalchemy.create_engine(in_schema(url, "dagster"), poolclass=NullPool)
    with engine.connect() as dagster:
        assert dagster.execute(sqlalchemy.text("select current_schema()")).scalar() == "dagster"
