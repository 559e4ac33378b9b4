"""Migrations on a real, empty database."""

import re
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from marketdata.recovery import errors
from resources.storage import migrations, sql


def test_every_file_is_named_for_its_number_verb_and_object() -> None:
    """Numbers have no gaps, so that two branches which both add one collide visibly."""
    names = [migration.name for migration in sql.migrations()]

    assert all(re.match(r"^\d{4}_[a-z]+_[a-z0-9_]+\.sql$", name) for name in names)
    assert [int(name[:4]) for name in names] == list(range(1, len(names) + 1))


def test_an_empty_database_gets_everything_once(database_url: str) -> None:
    """The first run applies every file, the second none, and each has its time."""
    expected = [migration.name for migration in sql.migrations()]

    assert migrations.migrate(database_url) == expected
    assert migrations.migrate(database_url) == []
    assert all(migration.applied_at is not None for migration in migrations.status(database_url))


def test_the_status_of_an_empty_database_is_all_pending(database_url: str) -> None:
    """Asking changes nothing: it does not even create the table of records."""
    assert all(migration.applied_at is None for migration in migrations.status(database_url))
    with psycopg.connect(database_url) as connection:
        row = connection.execute("select to_regclass('schema_migration')").fetchone()
    assert row == (None,)


def test_processes_that_migrate_together_wait_for_each_other(database_url: str) -> None:
    """Every file is applied by exactly one of three."""
    with ThreadPoolExecutor(3) as pool:
        applied = list(pool.map(migrations.migrate, [database_url] * 3))

    assert sorted(map(len, applied)) == [0, 0, len(sql.migrations())]


def test_a_changed_applied_file_is_refused(database_url: str) -> None:
    """The message names the file and the cure."""
    first = sql.migration("0001_create_thing.sql", "create table thing (a int)")
    migrations.migrate(database_url, [first])
    changed = sql.migration("0001_create_thing.sql", "create table thing (a int, b int)")

    with pytest.raises(errors.StorageConflictError, match=r"0001_create_thing.*new migration"):
        migrations.migrate(database_url, [changed])


def test_a_database_ahead_of_the_code_is_refused(database_url: str) -> None:
    """An unknown migration was applied by a newer version: going on would harm it."""
    first = sql.migration("0001_create_thing.sql", "create table thing (a int)")
    second = sql.migration("0002_create_other.sql", "create table other (a int)")
    migrations.migrate(database_url, [first, second])

    with pytest.raises(errors.StorageConflictError, match=r"0002_create_other.*ahead"):
        migrations.migrate(database_url, [first])


def test_a_database_of_a_development_version_is_told_what_to_do(database_url: str) -> None:
    """Its migrations were squashed before the first release: nothing leads from there to here.

    Their names have numbers that later files have too, and one has a name that still exists.
    """
    former = [
        sql.migration("0001_create_instruments.sql", "create table instrument (a int)"),
        sql.migration("0003_create_daily_bars.sql", "create table daily_bar (a int)"),
        sql.migration("0037_bound_what_grows.sql", "create table store_size (a int)"),
    ]
    migrations.migrate(database_url, former)

    cure = "development version.*new, empty database in WRDATA_DATABASE_URL.*`wrdata down`"
    with pytest.raises(errors.StorageConflictError, match=cure):
        migrations.migrate(database_url)
    with pytest.raises(errors.StorageConflictError, match=cure):
        migrations.status(database_url)


def test_a_failing_migration_leaves_nothing(database_url: str) -> None:
    """A file that fails half-way is undone with its record; the ones before it stay."""
    good = sql.migration("0001_create_thing.sql", "create table thing (a int)")
    bad = sql.migration("0002_create_other.sql", "create table other (a int); select 1 / 0")

    with pytest.raises(errors.StorageConflictError, match="0002_create_other"):
        migrations.migrate(database_url, [good, bad])

    with psycopg.connect(database_url) as connection:
        row = connection.execute(
            "select to_regclass('thing') is not null, to_regclass('other') is null"
        ).fetchone()
    assert row == (True, True)
    assert migrations.migrate(database_url, [good]) == []


def test_a_file_may_run_outside_a_transaction(database_url: str) -> None:
    """Statements such as create index concurrently refuse a transaction block."""
    table = sql.migration("0001_create_thing.sql", "create table thing (a int)")
    index = sql.migration(
        "0002_index_thing.sql",
        "-- migrate: no-transaction\ncreate index concurrently thing_a on thing (a)",
    )

    assert migrations.migrate(database_url, [table, index]) == [table.name, index.name]


def test_an_unreachable_database_is_named_without_its_password() -> None:
    """The text says where and what to do, and never the password."""
    url = "postgresql://someone:topsecret@127.0.0.1:1/nowhere"

    with pytest.raises(errors.StorageUnavailableError, match=r"127\.0\.0\.1:1/nowhere") as caught:
        migrations.migrate(url)

    assert "topsecret" not in str(caught.value)
