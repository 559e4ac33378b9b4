"""Roles of the database: each does its work, and is refused everything else."""

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import dagster as dg
import psycopg
import pytest
from psycopg import sql as composed

from machine import processes
from marketdata.bars import Interval
from marketdata.coverage import CoverageState
from marketdata.instruments import Constituent, UniverseChange
from marketdata.recovery import errors
from resources.database_url import in_schema
from resources.settings import StoreSettings
from resources.storage import migrations, roles
from resources.storage.aggregates import SourceTable
from resources.storage.aggregates.rollup_engine import RollUps
from resources.storage.archive.retain.outcomes import RetentionStatus
from resources.storage.instruments import InstrumentStore
from resources.storage.object_store import ObjectStore
from resources.storage.roles import Role
from resources.storage.timescale import Timescale
from resources.storage.upkeep import DatabaseUpkeep
from sandbox import timescaledb
from sandbox.local_world import LocalWorld
from tests.fixtures.roles import AsRole
from tests.fixtures.state_folder import PATIENCE_S
from tests.fixtures.superuser import superuser_url
from tests.fixtures.world import BucketSettings
from tests.storage.archive.moves import JANUARY, Moves, load, table_rows, tombstones
from tests.storage.conftest import JOINED_ON, UNIVERSE
from wrdata import read_bars

LATER = datetime(2024, 7, 1, 21, 30, tzinfo=UTC)
ROWS = {(1, JANUARY): 10.25, (1, JANUARY + timedelta(days=1)): 11.5}
REFUSED = psycopg.errors.InsufficientPrivilege


def universe_of(timescale: Timescale) -> list[int]:
    """Load the universe's one member."""
    store = InstrumentStore(timescale)
    joined = (Constituent(ticker="AAA", name="AAA Inc.", cik="0000000001", sector=None),)
    store.apply(UniverseChange(joined=joined, left=(), renamed=(), kept=()), JOINED_ON, UNIVERSE)
    return [member.instrument_id for member in store.members(UNIVERSE)]


def test_the_loader_loads_restates_aggregates_archives_and_drops(
    as_role: AsRole, object_store: ObjectStore
) -> None:
    """All that runs do works without owning anything, in chunks that it has made itself too."""
    with Timescale(as_role(Role.LOADER)) as timescale:
        universe_of(timescale)
        moves = Moves(timescale=timescale, store=object_store, aggregates=RollUps(timescale))
        for dataset in ("daily_bars", "minute_bars"):
            complete = [(CoverageState.COMPLETE, date(2024, 1, 1), date(2024, 2, 1))]
            load(timescale, dataset, ROWS, states=complete)
            restated = load(
                timescale, dataset, dict.fromkeys(ROWS, 12.5), fetched_at=LATER, states=complete
            )
            assert restated.restated == len(ROWS)
        for source in SourceTable:
            moves.aggregates.refresh(source)

        archived = moves.prove("minute_bars", "2024-01")
        dropped = moves.retention.drop(archived, "2024-01", by="test")

        assert (dropped.status, dropped.chunks) == (RetentionStatus.DROPPED, 1), dropped
        assert table_rows(timescale, "minute_bar") == set()
        assert len(tombstones(timescale)) == 1
        moves.restore.into_hot(archived, date(2024, 1, 1), date(2024, 1, 31), by="test")
        assert len(table_rows(timescale, "minute_bar")) == len(ROWS)
        DatabaseUpkeep(timescale).prune(LATER, by="test", also={})


def test_the_reader_reads_bars_hot_and_archived(
    guarded_url: str, as_role: AsRole, bucket: BucketSettings, object_store: ObjectStore
) -> None:
    """The same read as the owner's, across the border between database and archive."""
    with Timescale(guarded_url) as timescale:
        universe_of(timescale)
        moves = Moves(timescale=timescale, store=object_store, aggregates=RollUps(timescale))
        load(timescale, "minute_bars", ROWS)
        load(timescale, "daily_bars", ROWS)
        for source in SourceTable:
            moves.aggregates.refresh(source)
        archived = moves.prove("minute_bars", "2024-01")
        assert moves.retention.drop(archived, "2024-01", by="test").status == "dropped"

    def read(url: str, interval: str) -> list[Mapping[str, object]]:
        where = StoreSettings.model_validate(
            {
                "database_url": url,
                "s3_endpoint": bucket.endpoint,
                "archive_bucket": bucket.bucket,
                "s3_region": bucket.region,
                "s3_access_key": bucket.access_key,
                "s3_secret_key": bucket.secret_key,
            }
        )
        return read_bars(
            "AAA", "2024-01-01", "2024-01-31", interval, settings=where, missing="ignore"
        ).to_pylist()

    for interval in ("1m", Interval.WEEK.value):
        rows = read(as_role(Role.READER), interval)
        assert rows, interval
        assert rows == read(guarded_url, interval)


@pytest.fixture
def run_under_dagster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], dg.DagsterRunStatus]:
    """Run a job on Dagster's storage in a database; returns the run's status as it is stored."""
    # Dagster's own storage: a pool would keep a session of a role that the admin cannot end.
    (tmp_path / "dagster.yaml").write_text(
        "storage: {postgres: {postgres_url: {env: WRDATA_DAGSTER_DATABASE_URL}}}"
    )
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))

    @dg.op
    def nothing() -> None: ...

    @dg.job
    def trivial() -> None:
        nothing()

    def run(url: str) -> dg.DagsterRunStatus:
        monkeypatch.setenv("WRDATA_DAGSTER_DATABASE_URL", in_schema(url, "dagster"))
        with dg.DagsterInstance.get() as instance:
            ended = trivial.execute_in_process(instance=instance)
            stored = instance.get_run_by_id(ended.run_id)
            assert stored is not None
            return stored.status

    return run


def test_dagsters_storage_makes_its_tables_and_the_exporter_reads_them(
    as_role: AsRole, run_under_dagster: Callable[[str], dg.DagsterRunStatus]
) -> None:
    """Tables that Dagster creates after the grants are readable as well, and only that."""
    assert run_under_dagster(as_role(Role.DAGSTER)) is dg.DagsterRunStatus.SUCCESS

    with psycopg.connect(as_role(Role.EXPORTER)) as connection:
        assert connection.execute("select status from dagster.runs").fetchall() == [("SUCCESS",)]
        connection.execute("select * from dagster.daemon_heartbeats")
        with pytest.raises(REFUSED):
            connection.execute("delete from dagster.runs")


def test_tables_that_dagster_made_as_the_owner_become_its_own(
    guarded_url: str,
    as_role: AsRole,
    run_under_dagster: Callable[[str], dg.DagsterRunStatus],
) -> None:
    """An installation that had no roles goes on with its history."""
    run_under_dagster(guarded_url)

    roles.put_in_force(guarded_url)

    assert run_under_dagster(as_role(Role.DAGSTER)) is dg.DagsterRunStatus.SUCCESS
    with psycopg.connect(as_role(Role.DAGSTER)) as connection:
        assert connection.execute("select count(*) from dagster.runs").fetchone() == (2,)
        connection.execute("alter table dagster.runs add column later text")
    with psycopg.connect(as_role(Role.EXPORTER)) as connection:
        connection.execute("select * from dagster.runs")
    assert roles.put_in_force(guarded_url) == []


@pytest.mark.parametrize(
    "query",
    [
        "select name from schema_migration",
        "select * from coverage",
        "select state, count(*) from dead_letter group by state",
        "select * from request_budget",
        "select * from circuit_breaker",
        "select outcome, count(*) from ingest_log group by outcome",
        "select * from archive_log",
        "select * from run_worker",
        "select * from request_timing",
        "select * from request_limit",
        "select * from ingest_total",
        "select * from audit_verification",
        "select pg_total_relation_size('minute_bar')",
        "select count(*) from timescaledb_information.chunks",
    ],
)
def test_the_exporter_sees_what_its_figures_need(as_role: AsRole, query: str) -> None:
    """Ledgers, logs, letters, budgets and sizes."""
    with psycopg.connect(as_role(Role.EXPORTER)) as connection:
        connection.execute(query.encode())


@pytest.mark.parametrize(
    ("role", "statement"),
    [
        *(
            (role, statement)
            for role in Role
            for statement in (
                "create table public.mine (x integer)",
                "drop table daily_bar",
                "truncate daily_bar",
                "alter table daily_bar add column mine integer",
                "create role mine",
                "create schema mine",
                "update schema_migration set sha256 = ''",
                "delete from ingest_log",
                "update ingest_log set request = ''",
                "delete from archive_log",
                "delete from audit_log",
                "update audit_log set who = 'nobody'",
                "truncate audit_log",
                "update audit_head set last_id = 0",
                "delete from audit_anchor",
                "update daily_bar_version set close = 0",
                "delete from dead_letter_transition",
                "copy daily_bar to program 'true'",
                "select pg_read_file('/etc/passwd')",
            )
        ),
        (Role.LOADER, "select * from dagster.runs"),
        (Role.LOADER, "alter role wrdata_reader password 'x'"),
        *(
            (role, statement)
            for role in (Role.READER, Role.EXPORTER, Role.DAGSTER)
            for statement in (
                "insert into daily_bar select * from daily_bar",
                "update daily_bar set close = 0",
                "delete from daily_bar",
                "delete from coverage",
                "insert into ingest_log select * from ingest_log",
                "update iceberg_catalog.iceberg_tables set metadata_location = ''",
                "select drop_chunk('pg_class')",
                "create table dagster.mine (x integer)"
                if role is not Role.DAGSTER
                else "create table iceberg_catalog.mine (x integer)",
            )
        ),
        *((Role.READER, f"table {table}") for table in (
            "dead_letter", "request_lease", "circuit_breaker", "run_worker", "schema_migration",
            "audit_log", "audit_head",
        )),
        *((Role.EXPORTER, f"table {table}") for table in (
            "daily_bar", "minute_bar", "trade", "income_statement", "price_factor",
            "iceberg_catalog.iceberg_tables", "daily_bar_version", "bars_1d",
        )),
        *((Role.DAGSTER, f"table {table}") for table in (
            "daily_bar", "instrument", "coverage", "ingest_log", "dead_letter", "request_lease",
            "iceberg_catalog.iceberg_tables", "schema_migration",
        )),
    ],
)  # fmt: skip
def test_a_role_is_refused_what_is_not_its_purpose(
    as_role: AsRole, role: Role, statement: str
) -> None:
    """By the server, whatever the program says."""
    with psycopg.connect(as_role(role), autocommit=True) as connection, pytest.raises(REFUSED):
        connection.execute(statement.encode())


def test_chunks_are_dropped_for_who_may_delete_their_rows_and_nothing_else(
    guarded_url: str, as_role: AsRole
) -> None:
    """The function runs as the owner, and asks on behalf of the caller."""
    with Timescale(guarded_url) as timescale:
        universe_of(timescale)
        load(timescale, "minute_bars", ROWS)
    with psycopg.connect(guarded_url, autocommit=True) as owner:
        (chunk,) = [
            composed.Identifier(schema, name).as_string()
            for schema, name in owner.execute("""
                select chunk_schema, chunk_name from timescaledb_information.chunks
                where hypertable_name = 'minute_bar'""").fetchall()
        ]
        owner.execute("grant execute on function drop_chunk to wrdata_reader")
        with (
            psycopg.connect(as_role(Role.READER), autocommit=True) as reader,
            pytest.raises(REFUSED, match="permission denied to drop chunks of minute_bar"),
        ):
            reader.execute("select drop_chunk(%s)", [chunk])
        with psycopg.connect(as_role(Role.LOADER), autocommit=True) as loader:
            for other in ("daily_bar", "pg_class"):
                with pytest.raises(psycopg.errors.InvalidParameterValue, match="no chunk"):
                    loader.execute("select drop_chunk(%s)", [other])
            loader.execute("select drop_chunk(%s)", [chunk])
        assert owner.execute("select count(*) from minute_bar").fetchone() == (0,)


def test_a_privilege_that_was_added_by_hand_is_taken_away(guarded_url: str) -> None:
    """Each migration leaves exactly what a purpose needs, and says what it has changed."""
    with psycopg.connect(guarded_url, autocommit=True) as owner:
        owner.execute("grant delete, select on dead_letter to wrdata_reader")
        owner.execute("revoke select on coverage from wrdata_exporter")
        owner.execute("create table later (x integer)")
        owner.execute("create table later_version (x integer)")
    before = {status.role: status.differences for status in roles.status(guarded_url)}

    changes = {
        (change.role, change.name): (change.granted, change.revoked)
        for change in roles.put_in_force(guarded_url)
    }

    everything = ["DELETE", "INSERT", "SELECT", "UPDATE"]
    assert changes == {
        (Role.READER, "dead_letter"): ([], ["DELETE", "SELECT"]),
        (Role.EXPORTER, "coverage"): (["SELECT"], []),
        (Role.LOADER, "later"): (everything, []),
        (Role.READER, "later"): (["SELECT"], []),
        (Role.LOADER, "later_version"): (["INSERT", "SELECT"], []),
        (Role.READER, "later_version"): (["SELECT"], []),
    }
    assert before == {Role.LOADER: 2, Role.READER: 3, Role.EXPORTER: 1, Role.DAGSTER: 0}
    assert roles.put_in_force(guarded_url) == []


@pytest.fixture
def new_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """A server without any of the roles: URLs of a database as its owner and as a superuser."""
    folder = tmp_path_factory.mktemp("server")
    for path in (folder, *list(folder.parents)[:2]):
        path.chmod(0o755)
    server = timescaledb.TimescaleServer(home=folder / "db", log=folder / "db.log")
    server.prepare(lambda _: None)
    port = processes.free_port(None)
    process = server.launch(port)
    try:
        assert processes.wait_until(lambda: server.answers(port), within_s=PATIENCE_S)
        server.complete(port)
        yield server.url(port, "wrdata"), server.url(port, "wrdata", timescaledb.SUPERUSER)
    finally:
        processes.end(process, with_signal=server.stop_signal, within_s=30)


def test_an_owner_who_may_not_create_roles_is_told_who_may(new_server: tuple[str, str]) -> None:
    """Its migrations work without roles; an administrator gets the statements to run."""
    owner, administrator = new_server
    migrations.migrate(owner)
    assert roles.put_in_force(owner) == []
    assert not any(status.exists for status in roles.status(owner))
    assert roles.owner(owner) == "wrdata"

    with pytest.raises(errors.ConfigurationError, match="`wrdata roles create --sql` prints"):
        roles.create(owner)
    statements = roles.creation(owner)
    with psycopg.connect(administrator) as connection:
        for statement in statements:
            connection.execute(statement.encode())

    assert roles.create(owner) == []
    assert roles.put_in_force(owner)
    assert all(status.exists and not status.differences for status in roles.status(owner))


def test_who_is_no_member_of_dagsters_role_is_told_the_cure(
    world: LocalWorld, guarded_url: str
) -> None:
    """A second owner on the same server has to be let in by the administrator first."""
    administrator = superuser_url(world)
    with psycopg.connect(administrator, autocommit=True) as connection:
        connection.execute("revoke wrdata_dagster from wrdata")
        try:
            with pytest.raises(errors.ConfigurationError, match="run `wrdata roles create`"):
                roles.put_in_force(guarded_url)
            (statement,) = roles.creation(guarded_url)
            with pytest.raises(errors.ConfigurationError, match="--sql"):
                roles.create(guarded_url)
        finally:
            connection.execute("grant wrdata_dagster to wrdata")
    assert statement == 'grant "wrdata_dagster" to "wrdata"'
