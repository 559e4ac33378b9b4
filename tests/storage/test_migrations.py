"""Migrations on a real, empty database."""

import re
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from marketdata.recovery import errors
from resources.storage import migrations, sql


def test_every_file_is_named_for_its_number_verb_and_object() -> None:
    """Each number stands once, so that two branches which both add one collide visibly."""
    names = [one.name for one in sql.migrations()]

    assert all(re.match(r"^\d{4}_[a-z]+_[a-z0-9_]+\.sql$", name) for name in names)
    numbers = [int(name[:4]) for name in names]
    assert numbers == sorted(set(numbers))


def test_an_empty_database_gets_everything_once(database_url: str) -> None:
    """The first run applies every file, the second none, and each has its time."""
    expected = [one.name for one in sql.migrations()]

    assert migrations.migrate(database_url) == expected
    assert migrations.migrate(database_url) == []
    assert all(one.applied_at is not None for one in migrations.status(database_url))


def test_the_status_of_an_empty_database_is_all_pending(database_url: str) -> None:
    """Asking changes nothing: not even the table of records is made."""
    assert all(one.applied_at is None for one in migrations.status(database_url))
    with psycopg.connect(database_url) as connection:
        found = connection.execute("select to_regclass('schema_migration')").fetchone()
    assert found == (None,)


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


def test_the_ledger_of_daily_bars_is_handed_to_those_who_served_the_bars(
    database_url: str,
) -> None:
    """Migration 0016: days go to the provider of their bar, or of the one before it.

    One instrument from one provider, one whose provider was changed on the way, one without bars.
    Another dataset's ledger, which names its provider already, is left alone.
    """
    before, tidying = sql.migrations()[:15], sql.migrations()[:16]
    migrations.migrate(database_url, before)
    with psycopg.connect(database_url) as connection:
        connection.execute(
            """
            insert into instrument (instrument_id, name) overriding system value
            values (1, 'A'), (2, 'B'), (3, 'C');
            insert into daily_bar (
                instrument_id, session_date, open, high, low, close, volume, adjustment, provider,
                ingest_id, known_from
            )
            select one, day::date, 1, 1, 1, 1, 1, 'splits', provider, 1, now()
            from (
                values (1, '2024-06-03', 'tiingo'), (1, '2024-06-04', 'tiingo'),
                (2, '2024-06-03', 'fmp'), (2, '2024-06-05', 'polygon'), (2, '2024-06-06', 'polygon')
            ) as given (one, day, provider);
            insert into coverage (dataset, instrument_id, state, sessions) values
            ('daily_bars', 1, 'not_listed', '{[2016-01-04,2024-06-03)}'),
            ('daily_bars', 1, 'complete', '{[2024-06-03,2024-06-05)}'),
            ('daily_bars', 2, 'complete', '{[2024-06-03,2024-06-04), [2024-06-05,2024-06-07)}'),
            ('daily_bars', 2, 'provider_empty', '{[2024-06-04,2024-06-05)}'),
            ('daily_bars', 3, 'failed', '{[2024-06-03,2024-06-04)}'),
            ('splits by fmp', 1, 'complete', '{[2016-01-04,2024-06-05)}');
            """
        )

    assert migrations.migrate(database_url, tidying) == [tidying[-1].name]

    with psycopg.connect(database_url) as connection:
        rows = connection.execute(
            """
            select dataset, instrument_id, state::text, sessions::text
            from coverage
            order by 1, 2, 3
            """
        ).fetchall()
    assert rows == [
        ("daily_bars by fmp", 2, "complete", "{[2024-06-03,2024-06-04)}"),
        ("daily_bars by fmp", 2, "provider_empty", "{[2024-06-04,2024-06-05)}"),
        ("daily_bars by fmp", 3, "failed", "{[2024-06-03,2024-06-04)}"),
        ("daily_bars by polygon", 2, "complete", "{[2024-06-05,2024-06-07)}"),
        ("daily_bars by tiingo", 1, "complete", "{[2024-06-03,2024-06-05)}"),
        ("daily_bars by tiingo", 1, "not_listed", "{[2016-01-04,2024-06-03)}"),
        ("splits by fmp", 1, "complete", "{[2016-01-04,2024-06-05)}"),
    ]
