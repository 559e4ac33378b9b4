"""The drill restores a backup on trial: equal is equal, and what differs is named."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from assets.restore_drill import restore_drill
from marketdata.archiving import ARCHIVED
from marketdata.recovery import errors
from pipelines.schedules import restore_drill_weekly
from resources import opening
from resources.backups.pgbackrest import PgBackRest
from resources.settings import Settings
from resources.storage import sql
from resources.storage.aggregates.rollup_engine import RollUps
from resources.storage.audit import AuditLog
from resources.storage.object_store import ObjectStore, S3Settings
from resources.storage.recovery import digests
from resources.storage.recovery.digests import Digest
from resources.storage.timescale import Timescale
from sandbox.backed_up import BackedUpWorld
from tests.fixtures.backups import database
from tests.fixtures.world import server_folder
from tests.storage.archive.moves import JANUARY, Moves, load, moments
from tests.storage.audit.deeds import deed
from usecases import backups
from usecases.auditing import verify_log
from usecases.restore_drill import differences, drill

pytestmark = pytest.mark.long

MINUTES = ARCHIVED["minute_bars"]


@pytest.fixture
def timescale(backed_up_url: str) -> Iterator[Timescale]:
    """An open pool on a database of the server that is backed up."""
    with Timescale(backed_up_url) as opened:
        yield opened


@pytest.fixture
def drilled(
    settings: Settings,
    pgbackrest: PgBackRest,
    timescale: Timescale,
    object_store: ObjectStore,
    instrument_ids: list[int],
    backed_up: BackedUpWorld,
) -> Settings:
    """A month of minutes that only the archive holds, rows in the database, and a backup."""
    moves = Moves(timescale=timescale, store=object_store, aggregates=RollUps(timescale))
    load(timescale, "minute_bars", moments("minute_bars", instrument_ids, JANUARY, 9))
    load(timescale, "daily_bars", moments("daily_bars", instrument_ids, JANUARY, 9))
    moves.prove("minute_bars", "2024-01")
    assert moves.retention.drop(MINUTES, "2024-01", by="test").status == "dropped"
    backups.take_backup(pgbackrest, timescale, full=False)
    return settings.model_copy(update={"backup_config": backed_up.config})


def say_nothing(sentence: str) -> None:
    """Take a report."""
    del sentence


def rows_of(url: str, query: str) -> list[tuple[object, ...]]:
    """Return the rows of a query."""
    with psycopg.connect(url) as connection:
        return connection.execute(query.encode()).fetchall()


def test_a_drill_finds_production_and_copy_equal_and_completes_the_copy(
    drilled: Settings, timescale: Timescale, instrument_ids: list[int]
) -> None:
    """Rows loaded after the backup are in it, and those that only the archive holds come back."""
    load(timescale, "daily_bars", moments("daily_bars", instrument_ids, datetime(
        2024, 3, 4, 15, tzinfo=UTC), 5))  # fmt: skip
    before = set(server_folder().iterdir())

    done = drill(drilled, say_nothing, folder=server_folder())

    figures = done.figures
    assert done.differences == []
    assert figures.error is None
    assert figures.rows_completed == 9 * len(instrument_ids)
    assert figures.rows_compared is not None
    assert figures.rows_compared > 14 * len(instrument_ids)
    assert figures.rto_s == sum(
        seconds for part, seconds in done.seconds.items() if part != "comparison"
    )
    assert set(server_folder().iterdir()) == before
    [row] = rows_of(
        timescale.url,
        "select backup_label, rto_s, rpo_s, tables_compared, error, finished_at > target"
        " from restore_drill",
    )
    assert row == (
        figures.backup_label, figures.rto_s, figures.rpo_s, figures.tables_compared, None, True,
    )  # fmt: skip
    with timescale.connection() as connection:
        last = connection.execute(sql.query("recovery", "last_drill")).fetchone()
        kinds = connection.execute(sql.query("recovery", "last_backups")).fetchall()
    assert last is not None
    assert last[1:] == (figures.rto_s, figures.rpo_s, figures.audit_rows_lost)
    assert [kind for kind, _ in kinds] in (["full"], ["incremental"])
    # Production itself is as it was: its month is still in the archive only.
    assert rows_of(timescale.url, "select count(*) from minute_bar") == [(0,)]


@pytest.mark.parametrize(("is_journaled", "lost"), [(True, 0), (False, 2)])
def test_a_drill_counts_what_the_audit_log_would_have_lost(
    settings: Settings,
    pgbackrest: PgBackRest,
    timescale: Timescale,
    backed_up: BackedUpWorld,
    locked: S3Settings,
    *,
    is_journaled: bool,
    lost: int,
) -> None:
    """Deeds go on after the moment: with the journal none is lost, without it those are."""
    backups.take_backup(pgbackrest, timescale, full=False)
    drilled = settings.model_copy(
        update={
            "backup_config": backed_up.config,
            "s3_endpoint": locked.endpoint,
            "s3_access_key": SecretStr(locked.access_key),
            "s3_secret_key": SecretStr(locked.secret_key),
            "audit_bucket": locked.bucket if is_journaled else "",
        }
    )

    def go_on(sentence: str) -> None:
        if sentence.startswith("Comparing"):
            with opening.database(drilled, pool_size=1) as database:
                AuditLog(database).append(deed(1))
                AuditLog(database).append(deed(2))

    done = drill(drilled, go_on, folder=server_folder())

    assert done.differences == []
    assert done.figures.audit_rows_lost == lost
    production = AuditLog(timescale)
    assert [row.subject for row in production.find(limit=2)] == ["letter 2", "letter 1"]
    assert verify_log(production, None).valid


def test_a_drill_names_the_table_that_a_restore_would_not_bring_back(
    drilled: Settings, timescale: Timescale
) -> None:
    """Somebody made a table unlogged: faster, and in no backup. The asset's run fails."""
    with timescale.connection() as connection:
        connection.execute("insert into store_size (store, objects, bytes) values ('raw', 1, 2)")
        connection.execute("alter table store_size set unlogged")

    with dg.DagsterInstance.ephemeral() as instance, pytest.MonkeyPatch.context() as patch:
        patch.setenv("WRDATA_BACKUP_CONFIG", str(drilled.backup_config))
        result = dg.materialize(
            [restore_drill],
            instance=instance,
            raise_on_error=False,
            run_config={
                "ops": {"operations__restore_drill": {"config": {"folder": str(server_folder())}}}
            },
        )

    [event] = [event for event in result.all_events if event.is_step_failure]
    failure = event.step_failure_data.user_failure_data
    assert failure is not None
    assert failure.description == (
        "the copy differs from production in 1 tables: public.store_size has 0 rows in the copy,"
        " and had 1"
    )
    assert rows_of(timescale.url, "select error from restore_drill") == [
        ("public.store_size has 0 rows in the copy, and had 1",)
    ]
    with timescale.connection() as connection:
        assert connection.execute(sql.query("recovery", "last_drill")).fetchone() is None


def test_a_drill_publishes_its_figures(drilled: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the asset's metadata."""
    monkeypatch.setenv("WRDATA_BACKUP_CONFIG", str(drilled.backup_config))
    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize(
            [restore_drill],
            instance=instance,
            run_config={
                "ops": {"operations__restore_drill": {"config": {"folder": str(server_folder())}}}
            },
        )

    [materialized] = result.asset_materializations_for_node("operations__restore_drill")
    assert {
        "backup", "rto_s", "rpo_s", "tables_compared", "rows_compared", "rows_completed",
        "audit_rows_lost", "restore_s", "replay_s", "audit_log_s", "completion_s", "comparison_s",
    } <= set(materialized.metadata)  # fmt: skip


def test_a_drill_without_a_backup_says_what_to_do(
    settings: Settings,
    backed_up: BackedUpWorld,
    pgbackrest: PgBackRest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One line, as every error of ours."""
    assert pgbackrest
    monkeypatch.setattr(PgBackRest, "backups", lambda _: [])
    configured = settings.model_copy(update={"backup_config": backed_up.config})

    with pytest.raises(errors.ArgumentError, match="take one with wrdata backup run"):
        drill(configured, say_nothing, folder=server_folder())


def test_the_weekly_drill_is_skipped_where_backups_are_not_ours(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As with a provider's managed database."""
    assert settings
    context = dg.build_schedule_context(
        scheduled_execution_time=datetime(2026, 11, 29, 15, tzinfo=UTC)
    )
    skipped = restore_drill_weekly(context)
    assert isinstance(skipped, dg.SkipReason)
    assert "WRDATA_BACKUP_CONFIG is not set" in (skipped.skip_message or "")
    monkeypatch.setenv("WRDATA_BACKUP_CONFIG", str(tmp_path))
    assert isinstance(restore_drill_weekly(context), dg.RunRequest)


def test_a_moment_is_between_two_commits_of_all_databases(backed_up: BackedUpWorld) -> None:
    """What commits after it is in neither read, whatever table and database it is in."""
    with database(backed_up, "one") as one, database(backed_up, "two") as two:
        for url in (one, two):
            with psycopg.connect(url) as connection:
                connection.execute("create table kept as select 1 as figure")
        with digests.moment([one, two]) as moment:
            for url in (one, two):
                with psycopg.connect(url) as connection:
                    connection.execute("insert into kept values (2)")
            read = [tables["public.kept"].rows for tables in moment.digests()]
        assert read == [1, 1]
        assert [digests.digests(url)["public.kept"].rows for url in (one, two)] == [2, 2]


def test_a_writer_that_keeps_its_lock_is_not_waited_for_for_ever(
    backed_up: BackedUpWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The drill gives up, since other writers wait behind it; the table is named."""
    monkeypatch.setattr(digests, "LOCK_TIMEOUT_S", 0.2)
    with database(backed_up, "busy") as url, psycopg.connect(url) as writer:
        writer.execute("create table kept as select 1 as figure")
        writer.commit()
        writer.execute("insert into kept values (2)")

        with (
            pytest.raises(errors.StorageUnavailableError, match=r'writer of "public"\."kept"'),
            digests.moment([url]),
        ):
            pytest.fail("it is no moment")

        # It has let go of everything.
        writer.execute("insert into kept values (3)")
        writer.commit()


TABLES = st.dictionaries(
    st.sampled_from(["a", "b", "c"]),
    st.builds(Digest, rows=st.integers(0, 3), sum=st.integers(0, 2)),
)


@given(TABLES, TABLES)
def test_differences_are_told_of_exactly_the_tables_that_differ(
    here: dict[str, Digest], there: dict[str, Digest]
) -> None:
    """Each once, whether rows are missing, other values are held, or the table itself is gone."""
    different = sorted(table for table in {*here, *there} if here.get(table) != there.get(table))

    told = differences([here], [there])

    assert [sentence.split(" ")[0] for sentence in told] == different
