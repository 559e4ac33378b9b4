"""What the doctor says of the engine of aggregates, on the connected database."""

import pytest

from marketdata.recovery import errors
from pipelines.cli import diagnosis
from resources.settings import read_settings
from resources.storage import migrations
from resources.storage.aggregates import engines, known_faults
from resources.storage.aggregates.engines import EngineSetting
from resources.storage.timescale import COMMUNITY, Timescale
from tests.fixtures.world import BucketSettings


@pytest.fixture
def url(database_url: str, bucket: BucketSettings, monkeypatch: pytest.MonkeyPatch) -> str:
    """A migrated database that the settings name."""
    migrations.migrate(database_url)
    for name, value in {
        "WRDATA_DATABASE_URL": database_url,
        "WRDATA_ARCHIVE_BUCKET": bucket.bucket,
        "AWS_ACCESS_KEY_ID": bucket.access_key,
        "AWS_SECRET_ACCESS_KEY": bucket.secret_key,
        "FMP_API_KEY": "none",
    }.items():
        monkeypatch.setenv(name, value)
    return database_url


# The doctor's other findings would ask every provider.
_aggregates = diagnosis._probe_aggregates  # pyright: ignore[reportPrivateUsage]


def test_roll_ups_are_reported_without_faults_of_an_engine_that_is_not_in_force(url: str) -> None:
    """By default, on every edition."""
    assert read_settings().database_url.get_secret_value() == url
    assert _aggregates(read_settings()) == "rollups (WRDATA_AGGREGATES=auto)"


def test_faults_of_the_servers_version_are_reported_where_continuous_aggregates_are_in_force(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that no refresh avoids is not well."""
    monkeypatch.setenv("WRDATA_AGGREGATES", "continuous_aggregates")
    with Timescale(url) as timescale:
        server = timescale.server()
        if server.edition != COMMUNITY:
            pytest.skip("the connected database is not of the Community edition")
        engines.put_in_force(timescale, EngineSetting.CONTINUOUS_AGGREGATES)
    faults = known_faults.known_faults(server.timescaledb_version)
    if all(fault.avoided for fault in faults):
        report = _aggregates(read_settings())
    else:
        with pytest.raises(errors.ConfigurationError) as raised:
            _aggregates(read_settings())
        report = str(raised.value)

    assert all(str(fault) in report for fault in faults)
