"""TLS to the database: every library checks who the server is, and a stranger is refused."""

import os
import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from psycopg import conninfo

from marketdata.recovery import errors
from pipelines.cli import database_probes
from resources.database_url import in_schema, is_verified, normalised
from resources.settings import read_settings, read_store_settings
from resources.storage import migrations
from resources.storage.timescale import Timescale, connect
from sandbox.local_world import LocalWorld
from tests.fixtures.superuser import superuser_url
from tests.fixtures.world import BucketSettings

NAME = "localhost"
Key = ec.EllipticCurvePrivateKey


def certificate(name: str, key: Key, issuer: str, issuer_key: Key, *, authority: bool) -> bytes:
    """Return a certificate for a host's name (not for its address), valid for a day."""
    common = x509.NameAttribute
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([common(NameOID.COMMON_NAME, name)]))
        .issuer_name(x509.Name([common(NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(issuer_key, hashes.SHA256())
    )
    return made.public_bytes(serialization.Encoding.PEM)


def private(key: Key) -> bytes:
    """Return a key as a file holds it."""
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


@pytest.fixture(scope="module")
def authority(world: LocalWorld, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The tests' server speaks TLS while this lasts; the file of who has signed its certificate."""
    folder = tmp_path_factory.mktemp("authority")
    authority_key, server_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    issuer = "authority of the tests"
    (folder / "authority.crt").write_bytes(
        certificate(issuer, authority_key, issuer, authority_key, authority=True)
    )
    administrator = superuser_url(world, database="postgres")
    with psycopg.connect(administrator, autocommit=True) as connection:
        (data,) = connection.execute("show data_directory").fetchone() or ("",)
        files = {
            "server.crt": certificate(NAME, server_key, issuer, authority_key, authority=False),
            "server.key": private(server_key),
        }
        for name, content in files.items():
            file = Path(data) / name
            file.touch(mode=0o600)
            file.write_bytes(content)
            if os.geteuid() == 0:
                shutil.chown(file, Path(data).owner(), Path(data).group())
        connection.execute("alter system set ssl = on")
        connection.execute("alter system set ssl_min_protocol_version = 'TLSv1.3'")
        connection.execute("select pg_reload_conf()")
        yield folder / "authority.crt"
        connection.execute("alter system reset ssl")
        connection.execute("alter system reset ssl_min_protocol_version")
        connection.execute("select pg_reload_conf()")


@pytest.fixture
def verified(authority: Path, database_url: str) -> Callable[..., str]:
    """The URL of a fresh database by verify-full; parts of it may be others."""

    def url(**parts: str) -> str:
        given = {"host": NAME, "sslmode": "verify-full", "sslrootcert": str(authority), **parts}
        return normalised(conninfo.make_conninfo(database_url, **given))

    return url


@pytest.fixture
def settled(
    verified: Callable[..., str], bucket: BucketSettings, monkeypatch: pytest.MonkeyPatch
) -> pytest.MonkeyPatch:
    """An environment that staging accepts."""
    for name, value in {
        "WRDATA_PROFILE": "staging",
        "WRDATA_DATABASE_URL": verified(),
        "WRDATA_S3_ENDPOINT": bucket.endpoint,
        "WRDATA_ARCHIVE_BUCKET": bucket.bucket,
        "AWS_ACCESS_KEY_ID": bucket.access_key,
        "AWS_SECRET_ACCESS_KEY": bucket.secret_key,
    }.items():
        monkeypatch.setenv(name, value)
    for name in [name for name in os.environ if name.startswith("WRDATA_TEST_")]:
        monkeypatch.delenv(name)
    monkeypatch.delenv("WRDATA_DAGSTER_DATABASE_URL", raising=False)
    return monkeypatch


def test_a_server_without_tls_is_refused_in_one_line(database_url: str, world: LocalWorld) -> None:
    """Nothing is sent to it in the clear. First here: the fixture above turns TLS on."""
    with psycopg.connect(superuser_url(world, database="postgres"), autocommit=True) as connection:
        assert connection.execute("show ssl").fetchone() == ("off",)
    url = normalised(conninfo.make_conninfo(database_url, sslmode="require"))

    with pytest.raises(errors.StorageConflictError, match="does not support SSL"), connect(url):
        pass


def test_every_library_connects_by_the_same_verified_url(settled: pytest.MonkeyPatch) -> None:
    """Psycopg and its pool, ADBC, SQLAlchemy under the catalogue, psycopg2 under Dagster."""
    del settled
    settings = read_settings()
    url = settings.database_url.get_secret_value()
    migrations.migrate(url)

    with Timescale(url) as timescale, timescale.connection() as connection:
        used = connection.execute(
            "select version, ssl from pg_stat_ssl where pid = pg_backend_pid()"
        )
        assert used.fetchone() == ("TLSv1.3", True)
    database_probes.try_arrow(settings)
    database_probes.try_catalogue(settings)
    assert database_probes.try_dagster(in_schema(url, "dagster"))


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ({"host": "127.0.0.1"}, 'does not match host name "127.0.0.1"'),
        ({"sslrootcert": "/nowhere/authority.crt"}, 'certificate file "/nowhere/authority.crt"'),
        ({"sslrootcert": "system"}, "certificate verify failed"),
    ],
)
def test_a_server_that_is_another_is_refused_in_one_line(
    verified: Callable[..., str], parts: dict[str, str], expected: str
) -> None:
    """It is no server that is down: waiting mends nothing, the URL does."""
    url = verified(**parts)

    with pytest.raises(errors.StorageConflictError) as raised, connect(url):
        pass

    line = str(raised.value)
    assert expected in line
    assert "check the host's name in the URL, its sslmode, and the file" in line
    assert "\n" not in line
    assert str(conninfo.conninfo_to_dict(url)["password"]) not in line
    with pytest.raises(errors.StorageUnavailableError, match="cannot be reached"):
        database_probes.try_dagster(url)


@pytest.mark.parametrize("profile", ["staging", "production"])
@pytest.mark.parametrize("mode", ["", "prefer", "require", "verify-ca"])
def test_outside_development_an_unverified_database_is_refused(
    settled: pytest.MonkeyPatch, verified: Callable[..., str], profile: str, mode: str
) -> None:
    """The line says how to mend it; reading needs the same as loading."""
    settled.setenv("WRDATA_PROFILE", profile)
    settled.setenv("WRDATA_S3_ENDPOINT", "")
    settled.setenv("WRDATA_DAGSTER_DATABASE_URL", verified())
    settled.setenv("WRDATA_DATABASE_URL", verified(sslmode=mode or "disable"))

    for read in (read_settings, read_store_settings):
        with pytest.raises(errors.ConfigurationError) as raised:
            read()
        line = str(raised.value)
        assert f"WRDATA_DATABASE_URL: {profile} demands a verified server" in line
        assert "sslmode=verify-full&sslrootcert=/path/to/authority.crt" in line
        assert "WRDATA_DAGSTER_DATABASE_URL" not in line

    settled.setenv("WRDATA_DATABASE_URL", verified())
    settled.setenv("WRDATA_DAGSTER_DATABASE_URL", verified(sslmode="require"))
    with pytest.raises(errors.ConfigurationError, match=r"^WRDATA_DAGSTER_DATABASE_URL: "):
        read_settings()


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgresql://u:p@db/market?sslmode=verify-full", True),
        ("host=/run/postgresql dbname=market", True),
        ("host=/run/postgresql,db dbname=market", False),
        ("postgresql://u:p@db/market?sslmode=verify-ca", False),
        ("postgresql://u:p@db/market", False),
        ("dbname=market", False),
    ],
)
def test_a_socket_of_this_machine_needs_no_certificate(url: str, *, expected: bool) -> None:
    """Everything else does, whatever else the URL says."""
    assert is_verified(url) is expected
