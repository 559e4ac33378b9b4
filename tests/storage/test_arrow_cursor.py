"""ADBC's connections: kept between queries, and never in a state that a query has left."""

import psycopg
import pytest

from marketdata.recovery import errors
from resources.storage.arrow_cursor import arrow_cursor
from resources.storage.timescale import Timescale

PID = "select pg_backend_pid()"


def answer(timescale: Timescale, query: str = PID) -> object:
    """Return the first value of a query's answer."""
    with arrow_cursor(timescale) as cursor:
        cursor.execute(query)
        row = cursor.fetchone()
    assert row is not None
    return row[0]


def test_a_connection_is_kept_for_the_next_query(timescale: Timescale) -> None:
    """Opening one reads all types of the database."""
    assert answer(timescale) == answer(timescale)


def test_each_query_sees_what_was_committed_before_it(timescale: Timescale) -> None:
    """No transaction of an earlier one goes on."""
    query = "select count(*) from instrument"
    before = answer(timescale, query)
    with timescale.connection() as connection:
        connection.execute("insert into instrument (kind, name) values ('pair', 'XX-YY')")

    assert answer(timescale, query) != before


def test_a_setting_of_one_query_is_not_that_of_the_next(timescale: Timescale) -> None:
    """A lock time-out is for callers that hold locks."""
    with arrow_cursor(timescale, lock_timeout_s=3) as cursor:
        cursor.execute("select 1")

    assert answer(timescale, "select current_setting('lock_timeout')") == "0"


def test_after_the_server_ended_it_another_connection_is_opened(timescale: Timescale) -> None:
    """As after a restart of the server."""
    pid = answer(timescale)
    with timescale.connection() as connection:
        connection.execute("select pg_terminate_backend(%s, 10000)", (pid,))

    assert answer(timescale) != pid


def test_after_an_error_or_half_a_result_nothing_is_left_of_it(timescale: Timescale) -> None:
    """The connection goes with the query."""
    with pytest.raises(errors.StorageConflictError):
        answer(timescale, "select 1 / 0")
    assert answer(timescale, "select 7") == 7

    with arrow_cursor(timescale) as cursor:
        cursor.execute("select * from generate_series(1, 1000000)")
        cursor.fetch_record_batch().read_next_batch()
    assert answer(timescale, "select 8") == 8


def test_no_session_is_left_when_the_pool_is_closed(migrated_url: str) -> None:
    """Nobody could drop the database."""
    with Timescale(migrated_url) as opened:
        answer(opened)
    closed = Timescale(migrated_url)
    assert answer(closed) is not None, "one that is not open keeps nothing"

    with psycopg.connect(migrated_url) as connection:
        sessions = connection.execute(
            "select count(*) from pg_stat_activity"
            " where datname = current_database() and pid <> pg_backend_pid()"
        ).fetchone()
    assert sessions == (0,)
