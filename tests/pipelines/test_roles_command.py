"""`wrdata roles`, and that `wrdata migrate` gives privileges, in this process."""

import json
import os

import psycopg
import pytest
from typer.testing import CliRunner

from pipelines.cli.main import app
from resources.storage.roles import PURPOSES, Role
from tests.fixtures.world import BucketSettings


@pytest.fixture
def configured(
    guarded_url: str, bucket: BucketSettings, monkeypatch: pytest.MonkeyPatch
) -> pytest.MonkeyPatch:
    """A database with roles, as its owner."""
    for name in [name for name in os.environ if name.startswith("WRDATA_")]:
        monkeypatch.delenv(name)
    for name, value in {
        "WRDATA_DATABASE_URL": guarded_url,
        "WRDATA_DAGSTER_DATABASE_URL": guarded_url,
        "WRDATA_S3_ENDPOINT": bucket.endpoint,
        "WRDATA_ARCHIVE_BUCKET": bucket.bucket,
        "AWS_ACCESS_KEY_ID": bucket.access_key,
        "AWS_SECRET_ACCESS_KEY": bucket.secret_key,
        "FMP_API_KEY": "none",
    }.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


def run(*words: str) -> str:
    """Run a command that has to succeed; return all that it prints."""
    said = CliRunner().invoke(app, list(words), standalone_mode=False)
    assert said.exception is None, said.exception
    return said.output


def test_the_list_shows_drift_and_a_migration_ends_it(
    configured: pytest.MonkeyPatch, guarded_url: str
) -> None:
    """A privilege that somebody gave by hand is counted, and taken back."""
    del configured
    with psycopg.connect(guarded_url) as connection:
        connection.execute("grant delete on daily_bar to wrdata_reader")

    listed = json.loads(run("roles", "list", "--json"))
    said = run("migrate")

    assert listed["owner"] == "wrdata"
    assert [row["role"] for row in listed["roles"]] == [role.value for role in PURPOSES]
    wrong = {row["role"]: row["wrong privileges"] for row in listed["roles"]}
    assert wrong == dict.fromkeys(Role, 0) | {Role.READER: 1}
    assert "privileges brought up to date: wrdata_reader" in said
    again = json.loads(run("roles", "list", "--json"))
    assert not any(row["wrong privileges"] for row in again["roles"])


def test_creating_roles_twice_does_nothing(configured: pytest.MonkeyPatch) -> None:
    """And there is nothing left for an administrator to run."""
    del configured
    assert "all roles exist" in run("roles", "create")
    assert run("roles", "create", "--sql") == ""
