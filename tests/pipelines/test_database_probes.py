"""The doctor tries the database through each library that will use it."""

import pytest
from psycopg import conninfo

from marketdata.recovery import errors
from pipelines.cli import database_probes
from resources.database_url import in_schema, normalised
from resources.settings import read_settings
from resources.storage import migrations
from resources.storage.timescale import Timescale
from tests.fixtures.world import BucketSettings
from tests.pipelines.pg_bouncer import pg_bouncer


@pytest.fixture
def url(database_url: str, bucket: BucketSettings, monkeypatch: pytest.MonkeyPatch) -> str:
    """A migrated database; the settings name it as some hosts do."""
    migrations.migrate(database_url)
    for name, value in {
        "WRDATA_DATABASE_URL": database_url.replace("postgresql://", "postgres://"),
        "WRDATA_S3_ENDPOINT": bucket.endpoint,
        "WRDATA_ARCHIVE_BUCKET": bucket.bucket,
        "AWS_ACCESS_KEY_ID": bucket.access_key,
        "AWS_SECRET_ACCESS_KEY": bucket.secret_key,
        "FMP_API_KEY": "none",
    }.items():
        monkeypatch.setenv(name, value)
    return database_url


def through(url: str, port: int) -> str:
    """Return ``url`` by way of a proxy."""
    return normalised(conninfo.make_conninfo(url, host="127.0.0.1", port=port))


def test_one_spelling_of_the_url_serves_every_library(url: str) -> None:
    """``postgres://`` passed the doctor and the loads, and an archive run then failed."""
    settings = read_settings()

    assert settings.database_url.get_secret_value() == normalised(url)
    database_probes.try_arrow(settings)
    database_probes.try_catalogue(settings)
    with Timescale(url) as timescale:
        database_probes.try_time_zones(timescale)
    assert database_probes.try_dagster(in_schema(url, "dagster"))


@pytest.mark.parametrize("forgets_options", [True, False])
def test_the_archives_catalogue_needs_no_options_of_a_connection(
    url: str, monkeypatch: pytest.MonkeyPatch, *, forgets_options: bool
) -> None:
    """So it works behind PgBouncer, as reading and loading do."""
    parts = conninfo.conninfo_to_dict(url)
    with pg_bouncer(
        str(parts["host"]), int(str(parts["port"])), forgets_options=forgets_options
    ) as port:
        monkeypatch.setenv("WRDATA_DATABASE_URL", through(url, port))
        settings = read_settings()

        database_probes.try_catalogue(settings)
        database_probes.try_arrow(settings)
        with Timescale(settings.database_url.get_secret_value()) as timescale:
            database_probes.try_time_zones(timescale)


@pytest.mark.parametrize(
    ("forgets_options", "expected"),
    [(False, "unsupported startup parameter: options"), (True, "to schema public")],
)
def test_dagsters_schema_behind_pg_bouncer_is_told_with_its_cure(
    url: str, expected: str, *, forgets_options: bool
) -> None:
    """Refused options fail at once; forgotten ones would put Dagster's tables among the data."""
    parts = conninfo.conninfo_to_dict(url)
    with (
        pg_bouncer(
            str(parts["host"]), int(str(parts["port"])), forgets_options=forgets_options
        ) as port,
        pytest.raises(errors.StorageError, match=expected) as raised,
    ):
        database_probes.try_dagster(in_schema(through(url, port), "dagster"))
    assert "set WRDATA_DAGSTER_DATABASE_URL" in str(raised.value)
    assert str(parts["password"]) not in str(raised.value)
