"""Dagster's storage over a pool, and the whole pipeline behind a real PgBouncer."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import dagster as dg
import psycopg
import pytest
import sqlalchemy

from resources.database_url import in_schema
from sandbox.pgbouncer import pgbouncer

PROJECT = Path(__file__).parents[2]
TICKERS = "AAPL,MSFT,NVDA"


@contextmanager
def opened(url: str, home: Path) -> Generator[dg.DagsterInstance]:
    """Open an instance by the shipped dagster.yaml, on a database."""
    home.mkdir(exist_ok=True)
    shutil.copy(PROJECT / "dagster.yaml", home)
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("DAGSTER_HOME", str(home))
        environment.setenv("WRDATA_DAGSTER_DATABASE_URL", url)
        with dg.DagsterInstance.get() as instance:
            yield instance


@pytest.fixture
def dagster_url(migrated_url: str) -> str:
    """Dagster's schema of a migrated database, by connections of a name of their own."""
    return in_schema(named(migrated_url, application_name="pooled"), "dagster")


def named(url: str, **parameters: str) -> str:
    """Return a URL with further parameters."""
    added = "&".join(f"{name}={text}" for name, text in parameters.items())
    return f"{url}{'&' if '?' in url else '?'}{added}"


def connections(url: str) -> set[int]:
    """Return the server's processes that serve Dagster's storage."""
    with psycopg.connect(url.partition("?")[0]) as connection:
        rows = connection.execute(
            "select pid from pg_stat_activity"
            " where datname = current_database() and application_name = 'pooled'"
        ).fetchall()
    return {pid for (pid,) in rows}


def asked(instance: dg.DagsterInstance) -> int:
    """Ask all three storages; return which process of the server answered for the runs."""
    instance.get_runs_count()
    instance.get_dynamic_partitions("tickers")
    instance.all_instigator_state()
    with cast("Any", instance.run_storage).connect() as connection:
        return int(connection.execute(sqlalchemy.text("select pg_backend_pid()")).scalar())


def test_all_instances_of_a_process_share_one_connection(dagster_url: str, tmp_path: Path) -> None:
    """The code server makes an instance for each tick."""
    with opened(dagster_url, tmp_path / "first") as instance:
        asked(instance)
        kept = connections(dagster_url)
        for _ in range(5):
            with dg.DagsterInstance.from_ref(instance.get_ref()) as another:
                asked(another)

    assert len(kept) == 1
    assert connections(dagster_url) == kept


def test_a_connection_that_the_server_ended_is_replaced_without_an_error(
    dagster_url: str, tmp_path: Path
) -> None:
    """As after a restart of the database."""
    with opened(dagster_url, tmp_path / "home") as instance:
        before = asked(instance)
        with psycopg.connect(dagster_url.partition("?")[0]) as admin:
            admin.execute("select pg_terminate_backend(%s, 5000)", (before,))
        after = asked(instance)

    assert after != before


def test_a_forked_process_has_a_connection_of_its_own(dagster_url: str, tmp_path: Path) -> None:
    """Celery's workers fork. On one connection two processes would read each other's answers."""
    reading, writing = os.pipe()
    with opened(dagster_url, tmp_path / "home") as instance:
        ours = asked(instance)
        child = os.fork()
        if child == 0:
            try:
                os.write(writing, str(asked(instance)).encode())
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        theirs = int(os.read(reading, 100))

        assert theirs != ours
        assert asked(instance) == ours


@pytest.fixture
def entries(pipeline_url: str) -> Iterator[dict[str, str]]:
    """The URLs of a database behind PgBouncer."""
    with pgbouncer(pipeline_url) as urls:
        yield urls


@pytest.fixture
def command(entries: dict[str, str], tmp_path: Path) -> Callable[..., str]:
    """`wrdata` in a process of its own that reaches its database through PgBouncer only."""
    shutil.copy(PROJECT / "dagster.yaml", tmp_path)
    environment = {
        **os.environ,
        "DAGSTER_HOME": str(tmp_path),
        "WRDATA_DATABASE_URL": entries["wrdata"],
        "WRDATA_DAGSTER_DATABASE_URL": entries["dagster"],
    }

    def run(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "pipelines.cli", *arguments],
            capture_output=True,
            text=True,
            env=environment,
            cwd=tmp_path,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


@pytest.mark.usefixtures("pipeline")
def test_a_whole_load_runs_through_pgbouncer(
    pipeline_url: str, command: Callable[..., str]
) -> None:
    """Migrations, a backfill with its run in Dagster, roll-ups, the archive, and the status."""
    command("migrate")
    command("backfill", "daily_bars", "--tickers", TICKERS)
    command("archive", "run", "--dataset", "daily_bars")
    command("doctor")
    command("status", "--json")

    with psycopg.connect(pipeline_url) as connection:
        bars = connection.execute("select count(*) from daily_bar").fetchone()
        runs = connection.execute("select status from dagster.runs").fetchall()
        strays = connection.execute(
            "select tablename from pg_tables where schemaname = 'public' and tablename = 'runs'"
        ).fetchall()
    assert bars is not None
    assert bars[0] > 3000
    assert {status for (status,) in runs} == {"SUCCESS"}
    assert strays == []


def test_the_web_servers_time_limit_reaches_nobody_else(
    entries: dict[str, str], tmp_path: Path
) -> None:
    """It stays with the connection, which PgBouncer lends to the next client of the same entry."""
    limit_ms = 12_345
    with opened(entries["dagster_web"], tmp_path / "web") as web:
        web.optimize_for_webserver(statement_timeout=limit_ms, pool_recycle=60, max_overflow=1)
        asked(web)
        with opened(entries["dagster"], tmp_path / "daemon") as daemon:
            asked(daemon)

    assert limit_of(entries["dagster_web"]) == "12345ms"
    assert limit_of(entries["dagster"]) == "0"


def limit_of(url: str) -> str:
    """Return the time limit of the next connection that an entry lends."""
    with psycopg.connect(url) as connection:
        row = connection.execute("show statement_timeout").fetchone()
    return str(row[0]) if row else ""
