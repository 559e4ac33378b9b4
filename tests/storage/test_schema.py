"""sql/schema.sql, which readers see, and the schema that the migrations make."""

import re

import psycopg
import pytest

from resources.storage import schema

_WRITTEN_BY = 17
"""Major version of the server that `make schema` asks: each spells expressions in its own way."""


def test_the_written_schema_is_the_one_that_the_migrations_make(migrated_url: str) -> None:
    """A changed migration needs `make schema`, so that a review shows the result."""
    with psycopg.connect(migrated_url) as connection:
        if connection.info.server_version // 10_000 != _WRITTEN_BY:
            pytest.skip("another major version of PostgreSQL spells expressions differently")
        described = schema.describe(connection)

    assert described == schema.FILE.read_text("utf-8"), "run `make schema`"


def test_no_function_is_defined_twice_by_the_migrations() -> None:
    """A later definition would leave an outdated copy in an earlier file."""
    folder = schema.FILE.parent / "migrations"
    text = "\n".join(path.read_text("utf-8") for path in sorted(folder.glob("*.sql")))
    names = re.findall(r"create (?:or replace )?function ([a-z_.]+)", text)

    assert names
    assert sorted(names) == sorted(set(names))
