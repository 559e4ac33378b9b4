"""`wrdata migrate` and its --check, on a real database, in this process."""

import json
import os
from datetime import datetime

import psycopg
import pytest
from typer.testing import CliRunner, Result

from pipelines.cli.main import app
from resources.storage import sql
from tests.fixtures.world import BucketSettings

SHIPPED = sql.migrations()
EXPANDS = sql.migration("9001_create_colour.sql", "create table colour (name text)")
CONTRACTS = sql.migration("9002_drop_colour.sql", "-- migrate: contract\ndrop table colour")


@pytest.fixture
def configured(
    database_url: str, bucket: BucketSettings, monkeypatch: pytest.MonkeyPatch
) -> pytest.MonkeyPatch:
    """An empty database."""
    for name in [name for name in os.environ if name.startswith("WRDATA_")]:
        monkeypatch.delenv(name)
    for name, value in {
        "WRDATA_DATABASE_URL": database_url,
        "WRDATA_S3_ENDPOINT": bucket.endpoint,
        "WRDATA_ARCHIVE_BUCKET": bucket.bucket,
        "AWS_ACCESS_KEY_ID": bucket.access_key,
        "AWS_SECRET_ACCESS_KEY": bucket.secret_key,
        "FMP_API_KEY": "none",
    }.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


def ship(monkeypatch: pytest.MonkeyPatch, *more: sql.Migration) -> None:
    """Be a version that ships ``more`` migrations."""
    monkeypatch.setattr(sql, "migrations", lambda: (*SHIPPED, *more))


def migrate(*words: str) -> Result:
    """Run the command; it may fail by its status, and raises nothing."""
    said = CliRunner().invoke(app, ["migrate", *words], standalone_mode=False)
    assert said.exception is None, said.exception
    return said


def tables(url: str) -> int:
    """Return how many tables a database has outside of the server's own schemas."""
    with psycopg.connect(url) as connection:
        (count,) = connection.execute(
            "select count(*) from pg_tables where schemaname in ('public', 'iceberg_catalog')"
        ).fetchone() or (0,)
    return count


def test_a_check_lists_what_waits_and_changes_nothing(
    configured: pytest.MonkeyPatch, database_url: str
) -> None:
    """Status 1, a line for each migration, and what kind it is."""
    ship(configured, EXPANDS, CONTRACTS)

    said = migrate("--check")

    assert said.return_value == 1
    lines = said.stdout.splitlines()
    assert lines[-2:] == [f"{EXPANDS.name}  expanding", f"{CONTRACTS.name}  contracting"]
    assert len(lines) == len(SHIPPED) + 2
    assert tables(database_url) == 0


def test_a_check_finds_nothing_after_a_migration(configured: pytest.MonkeyPatch) -> None:
    """Status 0; a script gets every migration with its time."""
    migrate()

    said = migrate("--check")
    rows = json.loads(migrate("--check", "--json").stdout)

    assert said.return_value == 0
    assert f"nothing waits: {len(SHIPPED)} migrations are applied as shipped" in said.output
    assert [row["name"] for row in rows] == [migration.name for migration in SHIPPED]
    assert all(datetime.fromisoformat(row["applied_at"]).tzinfo for row in rows)
    assert not any(row["contracts"] or row["newer"] for row in rows)
    del configured


def test_an_upgrade_expands_first_and_contracts_on_request(
    configured: pytest.MonkeyPatch, database_url: str
) -> None:
    """Between the two, both releases run; a check says that the contraction waits."""
    migrate()
    before = tables(database_url)
    ship(configured, EXPANDS, CONTRACTS)

    expanded = migrate()
    assert f"applied: {EXPANDS.name}" in expanded.output
    assert f"no process of the release before runs: {CONTRACTS.name}" in expanded.output
    assert tables(database_url) == before + 1
    assert migrate("--check").return_value == 1

    contracted = migrate("--contract")
    assert f"applied: {CONTRACTS.name}" in contracted.output
    assert "waiting" not in contracted.output
    assert tables(database_url) == before
    assert migrate("--check").return_value == 0


def test_the_release_before_starts_again_after_an_expansion(
    configured: pytest.MonkeyPatch, guarded_url: str
) -> None:
    """A rollback migrates nothing: `migrate` succeeds, and leaves the newer privileges alone."""
    configured.setenv("WRDATA_DATABASE_URL", guarded_url)
    ship(configured, EXPANDS)
    migrate()
    with psycopg.connect(guarded_url) as connection:
        connection.execute("grant delete on daily_bar to wrdata_reader")
    ship(configured)

    said = migrate()
    check = migrate("--check")

    note = f"a newer version has added {EXPANDS.name}; this version works with it"
    assert note in said.output
    assert "privileges" not in said.output
    assert (check.return_value, note in check.output) == (0, True)
    with psycopg.connect(guarded_url) as connection:
        row = connection.execute(
            "select has_table_privilege('wrdata_reader', 'daily_bar', 'delete')"
        ).fetchone()
    assert row == (True,)


@pytest.mark.parametrize("words", [["--check", "--contract"], ["--json"]])
def test_options_that_do_not_go_together_are_refused(words: list[str]) -> None:
    """Before anything is asked of a database."""
    said = CliRunner().invoke(app, ["migrate", *words], standalone_mode=False)

    assert said.exception is not None
    assert "--check" in str(said.exception)
