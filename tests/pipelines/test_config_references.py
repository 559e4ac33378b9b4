"""Secrets by reference, against a server that speaks AWS Secrets Manager over HTTP."""

import json
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer
from typer.testing import CliRunner

from machine import processes
from marketdata.recovery import errors
from pipelines.cli.main import app
from resources.clients import missing_key
from resources.settings import read_provider_settings, read_settings
from resources.settings.references import KEPT_FOR_S, Reference, SecretsManager

pytestmark = pytest.mark.servers

Client = Any
"""boto3's client of Secrets Manager."""
FIRST, SECOND = "first-marked-4471", "second-marked-8832"
FMP = "aws-secrets-manager:prod/fmp#api_key"
LONG_LIVED = """
    import sys
    from resources.settings import read_provider_settings, references

    now = 0.0
    references.SECRETS = references.SecretsManager(clock=lambda: now)
    settings = read_provider_settings()
    for line in sys.stdin:
        now += float(line)
        print(settings.fmp_api_key.get_secret_value(), flush=True)
"""
"""Reads its settings once, and its key whenever it is told how much time has passed."""


@pytest.fixture(scope="module")
def moto() -> Iterator[str]:
    """The address of a running server."""
    server = ThreadedMotoServer(ip_address=processes.LOOPBACK, port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        yield f"http://{host}:{port}"
    finally:
        server.stop()


@pytest.fixture
def secrets_manager(moto: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    """Its client; this process finds the server as it finds AWS, and its secrets are gone after."""
    for name, value in {
        "AWS_ENDPOINT_URL_SECRETS_MANAGER": moto,
        "AWS_REGION": "eu-central-1",
        "AWS_ACCESS_KEY_ID": "a",
        "AWS_SECRET_ACCESS_KEY": "s",
        "FMP_API_KEY": FMP,
        "WRDATA_PROFILE": "",
        "WRDATA_S3_ENDPOINT": "",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("resources.settings.references.SECRETS", SecretsManager())
    client = boto3.client("secretsmanager", region_name="eu-central-1", endpoint_url=moto)
    client.create_secret(Name="prod/fmp", SecretString=json.dumps({"api_key": FIRST, "plan": 3}))
    yield client
    client.delete_secret(SecretId="prod/fmp", ForceDeleteWithoutRecovery=True)


def rotate(client: Client, key: str) -> None:
    """Put a new version in the place of the current one, which becomes the previous."""
    client.put_secret_value(SecretId="prod/fmp", SecretString=json.dumps({"api_key": key}))


def test_a_rotated_key_is_taken_up_by_a_process_that_goes_on(
    secrets_manager: Client,
) -> None:
    """Within the time that an answer counts, and without reading its settings again."""
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(LONG_LIVED)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None

        def key_after(seconds: float) -> str:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(f"{seconds}\n")
            process.stdin.flush()
            return process.stdout.readline().strip()

        assert key_after(0) == FIRST
        rotate(secrets_manager, SECOND)
        assert key_after(KEPT_FOR_S - 1) == FIRST
        assert key_after(1) == SECOND
        process.stdin.close()
        assert process.wait(60) == 0


def test_the_version_before_a_rotation_can_be_read(
    secrets_manager: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The way back, if the new key turns out to be wrong."""
    rotate(secrets_manager, SECOND)
    monkeypatch.setenv("FMP_API_KEY", "aws-secrets-manager:prod/fmp?stage=AWSPREVIOUS#api_key")

    settings = read_provider_settings()

    assert settings.fmp_api_key is not None
    assert settings.fmp_api_key.get_secret_value() == FIRST
    assert FIRST not in repr(settings)


def test_secrets_are_text_or_fields_of_json(
    secrets_manager: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Numbers count as text; the name may be an ARN, whose region counts before the bucket's."""
    arn = secrets_manager.describe_secret(SecretId="prod/fmp")["ARN"]
    monkeypatch.setenv("AWS_REGION", "fra1")  # of a bucket on Spaces
    assert SecretsManager().value(Reference.parse(f"aws-secrets-manager:{arn}#plan")) == "3"
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    for text, expected in {
        "aws-secrets-manager:prod/fmp#plan": "3",
        f"aws-secrets-manager:{arn}#api_key": FIRST,
        "aws-secrets-manager:prod/fmp": json.dumps({"api_key": FIRST, "plan": 3}),
    }.items():
        reference = Reference.parse(text)
        assert SecretsManager().value(reference) == expected
        assert str(reference) == text


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("aws-secrets-manager:prod/none#api_key", "(ResourceNotFoundException): create it"),
        ("aws-secrets-manager:prod/fmp#key", "no text under this key"),
        ("aws-secrets-manager:prod/fmp?stage=AWSPENDING#api_key", "ResourceNotFoundException"),
        ("aws-secrets-manager:plain#key", "is no JSON object; leave out #KEY"),
        ("aws-secrets-manager:bytes", "holds bytes, no text"),
    ],
)
def test_a_reference_that_cannot_be_resolved_is_one_line_without_a_secret(
    secrets_manager: Client,
    monkeypatch: pytest.MonkeyPatch,
    reference: str,
    expected: str,
) -> None:
    """It repeats the reference, which is none, and says what to do."""
    secrets_manager.create_secret(Name="plain", SecretString=SECOND)
    secrets_manager.create_secret(Name="bytes", SecretBinary=SECOND.encode())
    monkeypatch.setenv("FMP_API_KEY", reference)
    settings = read_provider_settings()
    assert settings.fmp_api_key is not None
    try:
        with pytest.raises(errors.ConfigurationError) as raised:
            settings.fmp_api_key.get_secret_value()
    finally:
        for name in ("plain", "bytes"):
            secrets_manager.delete_secret(SecretId=name, ForceDeleteWithoutRecovery=True)

    line = str(raised.value)
    assert line.startswith(f"{reference} cannot be resolved")
    assert expected in line
    assert "\n" not in line
    for secret in (FIRST, SECOND):
        assert secret not in line
    assert missing_key(settings, "fmp") == "", "who asks the provider is told why"


@pytest.mark.parametrize(
    "text", ["aws-secrets-manager:", "aws-secrets-manager:#key", "aws-secrets-manager:a?b=c#d"]
)
def test_a_malformed_reference_is_a_wrong_value(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """It is told when settings are read, before anything is asked."""
    monkeypatch.setenv("FMP_API_KEY", text)

    with pytest.raises(errors.ConfigurationError, match="FMP_API_KEY: a reference to a secret has"):
        read_provider_settings()


def test_while_the_service_is_away_the_last_answer_counts(
    secrets_manager: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key is not wrong because its keeper cannot be asked; without one, waiting may help."""
    assert secrets_manager
    now = 0.0
    kept = SecretsManager(clock=lambda: now)
    reference = Reference.parse(FMP)
    assert kept.value(reference) == FIRST
    closed = processes.free_port(None)
    monkeypatch.setenv("AWS_ENDPOINT_URL_SECRETS_MANAGER", f"http://{processes.LOOPBACK}:{closed}")

    now = KEPT_FOR_S
    assert kept.value(reference) == FIRST
    with pytest.raises(errors.StorageUnavailableError, match="cannot be resolved now: AWS Secrets"):
        SecretsManager().value(reference)


def test_the_buckets_own_keys_may_be_references(
    secrets_manager: Client, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Secrets Manager is asked as the machine, never with a reference for a key."""
    secrets_manager.put_secret_value(
        SecretId="prod/fmp",
        SecretString=json.dumps(
            {"access": "AK", "secret": SECOND, "url": f"postgresql://u:{SECOND}@db/m"}
        ),
    )
    of_machine = tmp_path / "credentials"
    of_machine.write_text("[default]\naws_access_key_id = m\naws_secret_access_key = m\n")
    for name, value in {
        "AWS_SHARED_CREDENTIALS_FILE": str(of_machine),
        "AWS_ACCESS_KEY_ID": "aws-secrets-manager:prod/fmp#access",
        "AWS_SECRET_ACCESS_KEY": "aws-secrets-manager:prod/fmp#secret",
        "WRDATA_DATABASE_URL": "aws-secrets-manager:prod/fmp#url",
        "WRDATA_ARCHIVE_BUCKET": "market-data",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("WRDATA_DAGSTER_DATABASE_URL", raising=False)

    settings = read_settings()

    assert settings.s3_access_key.get_secret_value() == "AK"
    assert settings.s3_secret_key.get_secret_value() == SECOND
    assert settings.database_url.get_secret_value() == f"postgresql://u:{SECOND}@db/m"
    monkeypatch.setenv("WRDATA_PROFILE", "production")
    with pytest.raises(errors.ConfigurationError, match="#url: production demands a verified"):
        settings.database_url.get_secret_value()


def test_config_names_references_and_shows_no_secret(
    secrets_manager: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`show` says where a secret lies; `check` says which of them cannot be had."""
    for name, value in {
        "WRDATA_DATABASE_URL": "postgresql://u:p@db/m",
        "WRDATA_DAGSTER_DATABASE_URL": "",
        "WRDATA_ARCHIVE_BUCKET": "market-data",
        "POLYGON_API_KEY": "aws-secrets-manager:prod/polygon",
    }.items():
        monkeypatch.setenv(name, value)

    def run(command: str) -> tuple[Any, Any]:
        said = CliRunner().invoke(app, ["config", command, "--json"], standalone_mode=False)
        assert said.exception is None, said.exception
        assert FIRST not in said.output
        return said.return_value, json.loads(said.stdout)

    _, shown = run("show")
    lines = {line["variable"]: (line["value"], line["source"]) for line in shown["settings"]}
    value, source = lines["FMP_API_KEY"]
    assert value.startswith(f"{FMP}, set (")
    assert source == "secrets manager"
    assert "cannot be resolved (ResourceNotFoundException)" in lines["POLYGON_API_KEY"][0]
    status, said = run("check")
    assert status == 1
    (fault,) = said["faults"]
    assert fault.startswith("POLYGON_API_KEY: aws-secrets-manager:prod/polygon cannot be resolved")
    secrets_manager.create_secret(Name="prod/polygon", SecretString=SECOND)
    assert run("check") == (0, {"faults": [], "warnings": []})
    secrets_manager.delete_secret(SecretId="prod/polygon", ForceDeleteWithoutRecovery=True)
