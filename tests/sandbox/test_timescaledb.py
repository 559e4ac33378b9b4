"""The embedded server is private, durable, and never root's."""

import os
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from marketdata.recovery import errors
from sandbox import timescaledb
from sandbox.local_world import LocalWorld

pytestmark = pytest.mark.skipif(
    "WRDATA_TEST_DATABASE_URL" in os.environ, reason="databases are made on another server"
)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("listen_addresses", "127.0.0.1"),
        ("fsync", "on"),
        ("jit", "off"),
        ("max_locks_per_transaction", "256"),
        ("timescaledb.telemetry_level", "off"),
        ("timescaledb.license", "apache"),
        ("server_encoding", "UTF8"),
        ("TimeZone", "UTC"),
    ],
)
def test_the_server_is_set_up_as_meant(database_url: str, setting: str, value: str) -> None:
    """Each setting as the running server reports it."""
    with psycopg.connect(database_url) as connection:
        row = connection.execute("select current_setting(%s)", [setting]).fetchone()
    assert row == (value,)


def test_a_fresh_database_has_the_extensions(database_url: str) -> None:
    """A hypertable and a range exclusion can be made at once, without being a superuser."""
    with psycopg.connect(database_url) as connection:
        connection.execute("create table bar (instrument int, at date, price float8)")
        connection.execute("select create_hypertable('bar', 'at')")
        connection.execute(
            "create table span"
            " (id int, days daterange, exclude using gist (id with =, days with &&))"
        )
        superuser = connection.execute("select current_setting('is_superuser')").fetchone()
    assert superuser == ("off",)


def test_lower_case_knows_more_than_ascii(database_url: str) -> None:
    """Names of companies carry accents."""
    with psycopg.connect(database_url) as connection:
        assert connection.execute("select lower('ÉSTÉE')").fetchone() == ("éstée",)


def test_a_database_can_be_made_again_and_again(world: LocalWorld) -> None:
    """No session sits in the template: a scheduler of TimescaleDB there would refuse copies."""
    url = world.environment(["timescaledb"])["WRDATA_DATABASE_URL"]
    with psycopg.connect(url, autocommit=True) as connection:
        for number in range(5):
            name = sql.Identifier(f"again_{number}")
            connection.execute(sql.SQL("create database {} template template1").format(name))
            connection.execute(sql.SQL("drop database {}").format(name))


@pytest.mark.parametrize("role", ["wrdata", "postgres"])
def test_a_wrong_password_is_refused(database_url: str, role: str) -> None:
    """Another user of this machine reaches the port, but not the data."""
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(database_url, user=role, password="wrong")


def test_the_server_is_not_roots(world: LocalWorld) -> None:
    """Whoever started it, its processes belong to an unprivileged user."""
    root = world.root / "timescaledb" / "data"
    pid = int((root / "postmaster.pid").read_text().splitlines()[0])
    assert Path(f"/proc/{pid}").stat().st_uid != 0


def test_data_move_to_where_the_servers_user_can_reach_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder closed to others is no place for the server of another user."""
    monkeypatch.setattr(timescaledb, "_server_user", lambda: 65534)
    closed, public = tmp_path / "closed", Path("/var/lib/wrdata")
    closed.mkdir(mode=0o700)
    moved, other = (
        timescaledb.TimescaleServer(home=closed / name, log=tmp_path / "log").home
        for name in ("timescaledb", "other")
    )
    assert moved.parent == public
    assert moved != other


def test_a_system_without_time_zones_is_told_before_a_server_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would end at once, with the reason in its log only."""
    monkeypatch.setattr(timescaledb, "_ZONEINFO", tmp_path)
    server = timescaledb.TimescaleServer(home=tmp_path / "home", log=tmp_path / "log")

    with pytest.raises(errors.ConfigurationError, match="install tzdata"):
        server.prepare(lambda _: None)
