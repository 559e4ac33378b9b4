"""The pool and its errors on a real server."""

import psycopg
import pytest

from marketdata.recovery import errors
from resources.storage.timescale import Timescale, place


def test_constructing_connects_to_nothing() -> None:
    """A resource may be built where no server runs; using it unopened explains itself."""
    closed = Timescale("postgresql://someone:topsecret@127.0.0.1:1/nowhere")

    with (
        pytest.raises(errors.StorageConflictError, match="use it as a context manager"),
        closed.connection(),
    ):
        pass
    assert "topsecret" not in repr(closed)


def test_the_server_says_what_it_is(timescale: Timescale) -> None:
    """The edition decides which aggregate engine is used; the sandbox has the Apache one."""
    server = timescale.server()
    with timescale.connection() as connection:
        licence = connection.execute("show timescaledb.license").fetchone()

    assert (server.edition, licence) in [("apache", ("apache",)), ("community", ("timescale",))]
    assert server.postgres_version.startswith("17")
    assert server.timescaledb_version.startswith("2.")
    assert server.size_bytes > 0


def test_sessions_speak_utc(timescale: Timescale) -> None:
    """Times come back aware and in UTC whatever the server's own zone is."""
    with timescale.connection() as connection:
        row = connection.execute("select current_setting('TimeZone')").fetchone()

    assert row == ("UTC",)


def test_an_error_undoes_the_transaction(timescale: Timescale) -> None:
    """Writes before the error are undone, and the error is one of ours."""

    def write_and_fail() -> None:
        with timescale.connection() as connection:
            connection.execute("create table half (a int)")
            connection.execute("select 1 / 0")

    with pytest.raises(errors.StorageConflictError, match="division by zero"):
        write_and_fail()

    with timescale.connection() as connection:
        assert connection.execute("select to_regclass('half')").fetchone() == (None,)


def test_a_database_without_migrations_says_so(database_url: str) -> None:
    """A missing table is a missing migration."""
    with (
        Timescale(database_url) as opened,
        pytest.raises(errors.StorageConflictError, match="run `wrdata migrate`"),
        opened.connection() as connection,
    ):
        connection.execute("select * from daily_bar")


def test_the_server_notices_within_a_minute_that_a_machine_is_lost(timescale: Timescale) -> None:
    """Otherwise locks of its sessions, such as on aggregates, would last two hours."""
    with timescale.connection() as connection:
        settings = [
            int(row[0])
            for row in connection.execute(
                "select setting from pg_settings where starts_with(name, 'tcp_') order by name"
            )
        ]
    count, idle, interval, unanswered_ms = settings
    assert idle + count * interval <= 60
    assert unanswered_ms <= 60_000


def test_a_missing_database_is_refused_at_once(database_url: str) -> None:
    """No waiting for a pool's time-out where the server has already said no."""
    url = database_url.replace("/test_", "/absent_")

    with pytest.raises(errors.StorageConflictError, match="correct its name"), Timescale(url):
        pass


def test_a_wrong_password_is_refused_at_once_and_not_shown(database_url: str) -> None:
    """Repeating would not help: a person has to act."""
    login, _, host = database_url.rpartition("@")
    if ":" not in login.partition("://")[2]:
        pytest.skip("the connected database asks nobody for a password")
    url = f"postgresql://wrdata:topsecret@{host}"

    with pytest.raises(errors.StorageConflictError, match="check user") as caught, Timescale(url):
        pass
    assert "topsecret" not in str(caught.value)


def test_a_server_that_is_gone_may_come_back() -> None:
    """No server listens: the same call may succeed later."""
    url = "postgresql://someone:topsecret@127.0.0.1:1/nowhere"

    with pytest.raises(errors.StorageUnavailableError, match="is the server up"), Timescale(url):
        pass


def test_a_connection_killed_by_the_server_is_unavailable_and_the_pool_goes_on(
    timescale: Timescale, migrated_url: str
) -> None:
    """A backend that an administrator ends costs one transaction, not the pool."""

    def use_after_end() -> None:
        with timescale.connection() as connection, psycopg.connect(migrated_url) as other:
            other.execute("select pg_terminate_backend(%s)", (connection.info.backend_pid,))
            connection.execute("select 1")

    with pytest.raises(errors.StorageUnavailableError):
        use_after_end()

    with timescale.connection() as connection:
        assert connection.execute("select 1").fetchone() == (1,)


@pytest.mark.parametrize("url", ["postgres//someone:topsecret@host", "host=a topsecret"])
def test_a_url_that_cannot_be_read_is_not_repeated(url: str) -> None:
    """Libpq quotes the text it could not read, password and all; we do not."""
    with pytest.raises(errors.ConfigurationError, match="postgresql://user:password@") as caught:
        place(url)

    assert "topsecret" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__
