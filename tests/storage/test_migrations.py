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


THING = sql.migration("0001_create_thing.sql", "create table thing (a int, b int)")
EXPANDS = sql.migration("0002_create_other.sql", "create table other (a int)")
CONTRACTS = sql.migration(
    "0003_drop_b.sql", "-- migrate: contract\nalter table thing drop column b"
)


def columns(url: str) -> list[str]:
    """Return the columns of the table ``thing``."""
    with psycopg.connect(url) as connection:
        rows = connection.execute(
            "select attname from pg_attribute where attrelid = 'thing'::regclass"
            " and attnum > 0 and not attisdropped order by attnum"
        ).fetchall()
    return [row[0] for row in rows]


def test_what_the_release_before_uses_is_taken_away_only_on_request(database_url: str) -> None:
    """Its processes may still run while the new version's migrations are applied."""
    migrations.migrate(database_url, [THING])

    assert migrations.migrate(database_url, [THING, EXPANDS, CONTRACTS]) == [EXPANDS.name]
    assert columns(database_url) == ["a", "b"]
    left = [
        (migration.name, migration.contracts)
        for migration in migrations.status(database_url, [THING, EXPANDS, CONTRACTS])
        if migration.waits
    ]
    assert left == [(CONTRACTS.name, True)]

    done = migrations.migrate(database_url, [THING, EXPANDS, CONTRACTS], contract=True)
    assert done == [CONTRACTS.name]
    assert columns(database_url) == ["a"]


def test_an_empty_database_is_contracted_at_once(database_url: str) -> None:
    """No release before uses it."""
    done = migrations.migrate(database_url, [THING, EXPANDS, CONTRACTS])

    assert done == [THING.name, EXPANDS.name, CONTRACTS.name]


def test_what_waits_behind_a_contraction_is_not_applied_before_it(database_url: str) -> None:
    """It was written for a schema without what the contraction takes away. The cure is named."""
    later = sql.migration("0004_add_b_again.sql", "alter table thing add column b text")
    history = [THING, CONTRACTS, later]
    migrations.migrate(database_url, [THING])

    with pytest.raises(
        errors.StorageConflictError, match=r"0004_add_b_again.*behind 0003_drop_b.*--contract"
    ):
        migrations.migrate(database_url, history)
    assert columns(database_url) == ["a", "b"]
    assert migrations.migrate(database_url, history, contract=True) == [CONTRACTS.name, later.name]


def test_the_version_before_works_on_with_what_a_newer_one_has_added(database_url: str) -> None:
    """So it may run beside the newer one, and be gone back to."""
    migrations.migrate(database_url, [THING, EXPANDS])

    assert migrations.migrate(database_url, [THING]) == []
    known = migrations.status(database_url, [THING])
    assert [(migration.name, migration.newer) for migration in known] == [
        (THING.name, False),
        (EXPANDS.name, True),
    ]


def test_a_version_is_refused_once_a_newer_one_has_taken_away_what_it_uses(
    database_url: str,
) -> None:
    """Going on would fail at some statement, or harm the data."""
    migrations.migrate(database_url, [THING, EXPANDS, CONTRACTS])

    for ask in (migrations.migrate, migrations.status):
        with pytest.raises(errors.StorageConflictError, match=r"ahead.*0003_drop_b.*newer"):
            ask(database_url, [THING, EXPANDS])


def test_a_database_of_before_contractions_were_known_is_read(database_url: str) -> None:
    """Its table of applied migrations has no column for them until it is migrated."""
    migrations.migrate(database_url, [THING])
    with psycopg.connect(database_url) as connection:
        connection.execute("alter table schema_migration drop column contracts")

    (only,) = migrations.status(database_url, [THING])
    assert (only.waits, only.contracts) == (False, False)
    assert migrations.migrate(database_url, [THING, EXPANDS]) == [EXPANDS.name]


def test_a_first_line_that_means_nothing_is_refused() -> None:
    """A misspelt one would be taken for an expansion."""
    with pytest.raises(errors.ConfigurationError, match=r"0002_drop_x\.sql says contracts"):
        sql.migration("0002_drop_x.sql", "-- migrate: contracts\ndrop table x")


def test_a_contraction_may_run_outside_a_transaction() -> None:
    """The words stand beside each other."""
    both = sql.migration(
        "0002_drop_index.sql", "-- migrate: no-transaction contract\ndrop index concurrently x"
    )

    assert (both.transactional, both.contracts) == (False, True)


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
