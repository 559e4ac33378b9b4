"""A server is backed up, and comes back as it was at a moment; what cannot work is refused."""

import json
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from typer import TyperException

from marketdata.audit import Action
from marketdata.recovery import errors
from pipelines.cli.main import app
from resources.backups import postgres_programs
from resources.backups.pgbackrest import Backup, Kind, PgBackRest
from resources.settings import Settings
from resources.storage import migrations
from resources.storage.audit import AuditLog
from resources.storage.audit.journal import BucketJournal
from resources.storage.recovery import digests, hold
from resources.storage.recovery.backup_log import BackupRun
from resources.storage.recovery.digests import Digest
from resources.storage.timescale import Timescale
from sandbox.backed_up import BUCKET, BackedUpWorld
from tests.fixtures.backups import database, keys_below, repository
from tests.storage.audit.deeds import deed
from usecases import backups, restoring
from usecases.auditing import verify_log
from usecases.restore_drill import differences

pytestmark = pytest.mark.long


def say_nothing(sentence: str) -> None:
    """Take a report."""
    del sentence


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """A full backup, rows, an incremental one, rows, the moment, and a delete that was a mistake.

    Attributes:
        moment: Between the last good commit and the delete.
        expected: What every table held then.
    """

    url: str
    full: BackupRun
    incremental: BackupRun
    moment: datetime
    expected: Mapping[str, Digest]


def add_bars(url: str, year: int) -> None:
    """Store a year of daily bars of ten instruments."""
    with psycopg.connect(url) as connection:
        connection.execute(
            """insert into daily_bar
               select instrument_id, day, 1, 2, 1, 1.5, 100, 'splits', 'fmp', 1, now()
               from generate_series(1, 10) as instrument_id,
                    generate_series(make_date(%(year)s, 1, 1), make_date(%(year)s, 12, 31),
                                    interval '1 day') as day""",
            {"year": year},
        )


def await_archived(url: str) -> None:
    """Wait until everything written so far is in the repository."""
    with psycopg.connect(url, autocommit=True) as connection:
        written = connection.execute("select pg_walfile_name(pg_current_wal_lsn())").fetchone()
        assert written
        for _ in range(600):
            row = connection.execute("select left(last_archived_wal, 24) from pg_stat_archiver")
            archived = row.fetchone()
            if archived and archived[0] and archived[0] >= written[0]:
                return
            time.sleep(0.1)
    pytest.fail("the server archives nothing")


@pytest.fixture(scope="module")
def story(backed_up: BackedUpWorld) -> Iterator[Story]:
    """What happened to a database."""
    with pytest.MonkeyPatch.context() as patch, database(backed_up, "story") as url:
        for name, value in backed_up.environment.items():
            patch.setenv(name, value)
        pgbackrest = PgBackRest(backed_up.config)
        migrations.migrate(url)
        add_bars(url, 2022)
        with Timescale(url) as timescale:
            full = backups.take_backup(pgbackrest, timescale, full=True)
            add_bars(url, 2023)
            incremental = backups.take_backup(pgbackrest, timescale, full=False)
        add_bars(url, 2024)
        with digests.moment([url]) as moment:
            [expected] = list(moment.digests())
        with psycopg.connect(url) as connection:
            connection.execute("delete from daily_bar where session_date > '2022-06-01'")
        await_archived(url)
        yield Story(
            url=url,
            full=full,
            incremental=incremental,
            moment=moment.at,
            expected=expected,
        )


def restored(pgbackrest: PgBackRest, story: Story, into: Path) -> Mapping[str, Digest]:
    """Restore to the story's moment and return what every table holds then."""
    plan = restoring.plan_restore(pgbackrest, story.moment, into)
    with restoring.restored_copy(plan, pgbackrest, say_nothing) as copy:
        return digests.digests(copy.server.url(story.url))


def test_a_backup_is_full_once_a_week_and_remembers_its_versions(
    pgbackrest: PgBackRest, story: Story
) -> None:
    """In the repository, which outlives the database, and in the table."""
    known = {backup.label: backup for backup in pgbackrest.backups()}
    full, incremental = known[story.full.label or ""], known[story.incremental.label or ""]

    assert (full.kind, incremental.kind) == (Kind.FULL, Kind.INCREMENTAL)
    assert incremental.stored_bytes < full.stored_bytes
    assert full.first_wal <= full.last_wal <= incremental.first_wal
    with Timescale(story.url) as timescale, timescale.connection() as connection:
        version = timescale.server().timescaledb_version
        rows = connection.execute(
            """select kind::text, label, timescaledb_version, bytes = %s, first_wal
               from backup_run order by backup_run_id""",
            [full.bytes],
        ).fetchall()
    assert full.timescaledb == incremental.timescaledb == version
    assert rows[0] == ("full", full.label, version, True, full.first_wal)
    assert rows[1][:3] == ("incremental", incremental.label, version)


def a_full_backup(finished_at: datetime) -> Backup:
    """Return one that ended then."""
    return Backup(
        label="20260101-000000F", kind=Kind.FULL, started_at=finished_at, finished_at=finished_at,
        bytes=1, stored_bytes=1, first_wal="", last_wal="", postgres_major="17", timescaledb="",
        damaged=False,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("age", "full", "due"),
    [
        (timedelta(days=1), False, Kind.INCREMENTAL),
        (timedelta(days=1), True, Kind.FULL),
        (timedelta(days=6, hours=23), False, Kind.FULL),
        (timedelta(days=20), False, Kind.FULL),
        (None, False, Kind.FULL),
    ],
)
def test_a_daily_backup_is_full_when_the_last_full_one_is_a_week_old(
    age: timedelta | None, full: bool, due: Kind
) -> None:
    """Or when somebody asks for it; the first is full in any case."""
    now = datetime(2026, 11, 30, tzinfo=UTC)
    known = [a_full_backup(now - age)] if age else []

    assert backups.kind_now(known, now, full=full) is due


def test_a_restore_to_the_moment_before_a_bad_delete_has_every_row_of_then(
    pgbackrest: PgBackRest, story: Story, new_folder: Path
) -> None:
    """Every table, by hash; the delete itself is not in it."""
    with psycopg.connect(story.url) as connection:
        left = connection.execute("select count(*) from daily_bar").fetchone()

    found = restored(pgbackrest, story, new_folder)

    assert left == (10 * 152,)
    assert found["public.daily_bar"].rows == 10 * (365 + 365 + 366)
    assert differences([story.expected], [found]) == []
    assert len(found) > 50


def test_a_restored_server_pushes_nothing_into_the_repository(
    backed_up: BackedUpWorld, pgbackrest: PgBackRest, story: Story, new_folder: Path
) -> None:
    """Not even a second timeline, though it commits and switches its WAL."""
    plan = restoring.plan_restore(pgbackrest, story.moment, new_folder)

    with restoring.restored_copy(plan, pgbackrest, say_nothing) as copy:
        url = copy.server.url(backed_up.url("postgres", "postgres"))
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("create table afterwards as select 1 as one")
            connection.execute("select pg_switch_wal()")
            timeline = connection.execute("select timeline_id from pg_control_checkpoint()")
            modes = connection.execute(
                "select name, setting from pg_settings where name in"
                " ('archive_mode', 'listen_addresses', 'timescaledb.max_background_workers')"
            ).fetchall()
            assert timeline.fetchone() == (2,)
    written_by_it = (new_folder / "postgresql.auto.conf").read_text()

    assert sorted(modes) == [
        ("archive_mode", "off"),
        ("listen_addresses", ""),
        ("timescaledb.max_background_workers", "0"),
    ]
    assert "archive_mode = 'off'" in written_by_it
    archived = keys_below(backed_up, "wrdata/archive/")
    assert [key for key in archived if "/00000002" in key] == []
    assert [key for key in archived if "/00000001" in key] != []


def test_a_restored_database_is_on_hold(
    pgbackrest: PgBackRest, story: Story, new_folder: Path
) -> None:
    """In the files: whoever starts a server on them finds it."""
    plan = restoring.plan_restore(pgbackrest, story.moment, new_folder)

    restoring.restore(plan, pgbackrest, story.url, None, say_nothing)

    assert not (new_folder / "postmaster.pid").exists()
    programs = postgres_programs.find("17")
    with restoring.scratch_server.running(pgbackrest, programs, new_folder) as server:
        held = hold.current(server.url(story.url))
    assert held is not None
    assert (held.reason, held.target) == (
        f"restored from backup {story.incremental.label}",
        story.moment,
    )
    assert hold.current(story.url) is None


def test_a_restore_loses_no_row_of_the_audit_log(
    pgbackrest: PgBackRest, story: Story, new_folder: Path, journal: BucketJournal
) -> None:
    """Deeds of after the moment come back from the journal; that of the restore follows them."""
    with Timescale(story.url, pool_size=1, journal=journal) as timescale:
        log = AuditLog(timescale)
        for number in range(3):
            log.append(deed(number))
        production = log.find()
    plan = restoring.plan_restore(pgbackrest, story.moment, new_folder)

    restoring.restore(plan, pgbackrest, story.url, journal, say_nothing)

    programs = postgres_programs.find("17")
    with (
        restoring.scratch_server.running(pgbackrest, programs, new_folder) as server,
        Timescale(server.url(story.url), pool_size=1) as timescale,
    ):
        copy = AuditLog(timescale)
        assert copy.find()[1:] == production
        assert copy.find()[0].action == Action.DATABASE_RESTORED
        assert verify_log(copy, None).valid


def test_the_newest_backup_before_the_moment_is_chosen(
    pgbackrest: PgBackRest, story: Story, new_folder: Path
) -> None:
    """A later one cannot go back."""
    between = story.incremental.started_at - timedelta(milliseconds=1)

    assert restoring.plan_restore(pgbackrest, between, new_folder).backup.label == story.full.label
    later = restoring.plan_restore(pgbackrest, story.moment, new_folder)
    assert later.backup.label == story.incremental.label
    assert not new_folder.exists()


def test_a_moment_that_no_backup_reaches_is_refused(
    pgbackrest: PgBackRest, story: Story, new_folder: Path
) -> None:
    """With what there is."""
    with pytest.raises(errors.ArgumentError, match=r"no backup ended before 2001-.* the oldest, "):
        restoring.plan_restore(pgbackrest, datetime(2001, 1, 1, tzinfo=UTC), new_folder)
    tomorrow = story.moment + timedelta(days=1)
    with pytest.raises(errors.ArgumentError, match="is still to come"):
        restoring.plan_restore(pgbackrest, tomorrow, new_folder)


def test_a_folder_with_files_is_never_restored_into(
    backed_up: BackedUpWorld, pgbackrest: PgBackRest, story: Story
) -> None:
    """Above all not that of the running server."""
    with pytest.raises(errors.ArgumentError, match="is not empty: a restore never writes over"):
        restoring.plan_restore(pgbackrest, story.moment, backed_up.database.data)


def test_another_version_of_the_extension_is_refused_before_anything_is_done(
    pgbackrest: PgBackRest, story: Story, new_folder: Path
) -> None:
    """The backup says which one it needs."""
    label = story.incremental.label or ""
    annotate(pgbackrest, label, "0.0.1")
    try:
        with pytest.raises(errors.ConfigurationError) as refused:
            restoring.plan_restore(pgbackrest, story.moment, new_folder)
    finally:
        annotate(pgbackrest, label, story.incremental.timescaledb_version or "")

    assert f"backup {label} was taken with TimescaleDB 0.0.1, and " in str(refused.value)
    assert f"has {story.incremental.timescaledb_version}: install" in str(refused.value)
    assert not new_folder.exists()


def annotate(pgbackrest: PgBackRest, label: str, timescaledb: str) -> None:
    """Change the version that a backup remembers."""
    pgbackrest._run(  # pyright: ignore[reportPrivateUsage]  # nobody else changes a backup
        "annotate", f"--set={label}", f"--annotation=timescaledb={timescaledb}"
    )


def copy_config(backed_up: BackedUpWorld, folder: Path, file: str, line: str) -> None:
    """Copy the configuration with another value in one line."""
    shutil.copytree(backed_up.config, folder)
    name = line.partition("=")[0]
    changed = [
        line if written.startswith(name) else written
        for written in (folder / file).read_text().splitlines()
    ]
    (folder / file).write_text("\n".join(changed) + "\n")
    for path in (folder, *folder.rglob("*")):
        backed_up.give_away(path)


def test_a_wrong_passphrase_is_one_clear_line(
    backed_up: BackedUpWorld, story: Story, new_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It names the file, not the passphrase."""
    assert story
    monkeypatch.setenv("PATH", backed_up.path)
    copy_config(backed_up, new_folder, "conf.d/secrets.conf", "repo1-cipher-pass=another")

    with pytest.raises(errors.StorageConflictError) as refused:
        PgBackRest(new_folder).backups()

    assert str(refused.value) == (
        f"the passphrase does not open the repository: repo1-cipher-pass in {new_folder}/conf.d "
        "is not the one that it was made with, or backup.info is damaged"
    )


@pytest.mark.parametrize("fault", ["missing", "corrupt"])
def test_a_backup_that_is_missing_or_corrupt_is_named(
    backed_up: BackedUpWorld, pgbackrest: PgBackRest, story: Story, new_folder: Path, fault: str
) -> None:
    """By its label; the other backups are not touched."""
    label = story.incremental.label or ""
    client = repository(backed_up)
    kept = {
        key: client.get_object(Bucket=BUCKET, Key=key)["Body"].read()
        for key in keys_below(backed_up, f"wrdata/backup/wrdata/{label}/")
    }
    for key, content in kept.items():
        if fault == "missing":
            client.delete_object(Bucket=BUCKET, Key=key)
        elif "manifest" not in key:
            middle = len(content) // 2
            damaged = content[:middle] + bytes(64) + content[middle + 64 :]
            client.put_object(Bucket=BUCKET, Key=key, Body=damaged)
    try:
        with pytest.raises(errors.StorageError, match=f"backup {label} cannot be restored: "):
            restored(pgbackrest, story, new_folder)
    finally:
        for key, content in kept.items():
            client.put_object(Bucket=BUCKET, Key=key, Body=content)


def test_a_store_that_is_away_is_said_and_recorded(
    backed_up: BackedUpWorld,
    backed_up_url: str,
    new_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A failed backup is a row, without a label."""
    monkeypatch.setenv("PATH", backed_up.path)
    copy_config(backed_up, new_folder, "pgbackrest.conf", "io-timeout=1")
    pgbackrest = PgBackRest(new_folder)
    backed_up.stop_store()
    try:
        with (
            Timescale(backed_up_url) as timescale,
            pytest.raises(errors.StorageUnavailableError, match="is the repository's store up"),
        ):
            backups.take_backup(pgbackrest, timescale, full=False)
    finally:
        backed_up.start_store()

    with psycopg.connect(backed_up_url) as connection:
        rows = connection.execute("select label, error from backup_run").fetchall()
    assert [label for label, _ in rows] == [None]
    assert "is the repository's store up" in rows[0][1]


def test_a_moment_after_the_archived_wal_is_said(
    backed_up: BackedUpWorld, pgbackrest: PgBackRest, story: Story, new_folder: Path
) -> None:
    """The replay cannot end at a moment that nothing was committed after."""
    backed_up.stop_database()
    try:
        moment = datetime.now(UTC)
        time.sleep(0.01)
        plan = restoring.plan_restore(pgbackrest, moment, new_folder)
        with (
            pytest.raises(errors.StorageConflictError, match="choose an earlier moment"),
            restoring.restored_copy(plan, pgbackrest, say_nothing),
        ):
            pass
    finally:
        backed_up.start_database()
    assert story


def test_no_configuration_is_one_clear_line(
    backed_up: BackedUpWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So is a missing program."""
    monkeypatch.setenv("PATH", backed_up.path)
    with pytest.raises(errors.ConfigurationError, match=r"pgbackrest\.conf is no configuration"):
        PgBackRest(tmp_path)
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(errors.ConfigurationError, match="no pgbackrest on the PATH"):
        PgBackRest(backed_up.config)


@pytest.fixture
def commands(
    settings: Settings, backed_up: BackedUpWorld, story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The environment of the commands."""
    assert settings
    monkeypatch.setenv("WRDATA_DATABASE_URL", story.url)
    for name, value in backed_up.environment.items():
        monkeypatch.setenv(name, value)


@pytest.mark.usefixtures("commands")
def test_the_commands_take_list_and_restore(
    story: Story, new_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As JSON for scripts; a dry run writes nothing."""

    def told(*words: str) -> Any:
        capsys.readouterr()
        assert app(["backup", *words, "--json"], standalone_mode=False) in {None, 0}
        return json.loads(capsys.readouterr().out)

    restore = ("restore", "--at", story.moment.isoformat(), "--into", str(new_folder))
    planned = told(*restore, "--dry-run")
    assert planned["backup"] == story.incremental.label
    assert not new_folder.exists()
    done = told(*restore)
    assert {name: done[name] for name in planned} == planned
    assert done["replayed_s"] > 0
    assert (new_folder / "PG_VERSION").read_text() == "17\n"
    taken = told("run")
    listed = told("list")
    assert [row["backup"] for row in listed][-1] == taken["backup"]
    assert {row["timescaledb"] for row in listed} == {story.full.timescaledb_version}


@pytest.mark.usefixtures("commands")
@pytest.mark.parametrize(
    ("at", "why"), [("yesterday", "is not written as 2026-11-30T14:05:00, in UTC"), ("", "in UTC")]
)
def test_a_moment_that_is_none_is_refused_by_its_words(at: str, why: str) -> None:
    """Like any wrong argument."""
    with pytest.raises(TyperException, match=why):
        app(["backup", "restore", "--at", at, "--into", "/nowhere"], standalone_mode=False)


@pytest.mark.usefixtures("commands")
@pytest.mark.parametrize("command", [["run"], ["list"]])
def test_commands_without_a_configuration_say_which_variable_is_missing(
    command: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And where to read on."""
    monkeypatch.delenv("WRDATA_BACKUP_CONFIG")

    with pytest.raises(errors.ConfigurationError, match="WRDATA_BACKUP_CONFIG is not set: "):
        app(["backup", *command], standalone_mode=False)
