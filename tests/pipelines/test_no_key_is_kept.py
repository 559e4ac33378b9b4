"""No key or password lies in any table: neither in ours, nor in those of Dagster."""

import zlib
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import dagster as dg
import psycopg
import pytest
from psycopg import conninfo, sql
from pydantic import SecretStr

from resources.database_url import in_schema
from resources.settings import read_settings
from tests.fixtures.pipeline import Pipeline

SCHEMAS = ["public", "dagster", "iceberg_catalog"]


@pytest.fixture
def under_dagster(
    pipeline: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Pipeline]:
    """A pipeline whose runs are kept in Postgres, as in production."""
    (tmp_path / "dagster.yaml").symlink_to(Path(__file__).parents[2] / "dagster.yaml")
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    url = read_settings().database_url.get_secret_value()
    monkeypatch.setenv("WRDATA_DAGSTER_DATABASE_URL", in_schema(url, "dagster"))
    with dg.DagsterInstance.get() as instance:
        yield replace(pipeline, instance=instance)


def tables_with(url: str, secrets: Iterable[str]) -> set[str]:
    """Return the tables of which some column, also a compressed one, holds one of the secrets."""
    found: set[str] = set()
    with psycopg.connect(url) as connection:
        tables = connection.execute(
            """select schemaname, tablename from pg_tables where schemaname = any(%s)""", [SCHEMAS]
        ).fetchall()
        assert len(tables) > 80
        for schema, table in tables:
            query = sql.SQL("select held::text from {} as held").format(
                sql.Identifier(schema, table)
            )
            texts = [text for (text,) in connection.execute(query)]
            if table == "snapshots":
                bodies = connection.execute("select snapshot_body from dagster.snapshots")
                texts += [zlib.decompress(body).decode() for (body,) in bodies]
            if any(secret in text for secret in secrets for text in texts):
                found.add(table)
    return found


def test_a_whole_load_leaves_no_key_in_any_table(under_dagster: Pipeline) -> None:
    """With a failure, a letter, an archive and a refused key; the search finds what is there."""
    settings = read_settings()
    url = settings.database_url.get_secret_value()
    password = str(conninfo.conninfo_to_dict(url)["password"])
    secrets = {
        value.get_secret_value()
        for name in type(settings).model_fields
        if isinstance(value := getattr(settings, name), SecretStr) and value.get_secret_value()
    } | {password}
    assert len(secrets) >= 7, "keys of four providers, two of the bucket, the database's"
    under_dagster.simulator.add_fault("status", symbol="MSFT", status=500)

    under_dagster.backfill(["AAPL", "MSFT"])
    assert under_dagster.run("archive")
    under_dagster.simulator.add_fault("status", status=401)
    under_dagster.backfill(["KO"])

    with psycopg.connect(url) as connection:
        for table in ("daily_bar", "dead_letter", "dagster.event_logs", "dagster.snapshots"):
            assert connection.execute(f"table {table} limit 1".encode()).fetchone(), table
    assert tables_with(url, secrets) == set()
    with psycopg.connect(url) as connection:
        connection.execute("update instrument set name = %s", [f"x {password}"])
    assert tables_with(url, secrets) == {"instrument"}
