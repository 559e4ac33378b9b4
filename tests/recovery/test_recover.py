"""After a restore, whatever does not agree is named with its cure; nothing starts before."""

import json
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from marketdata.calendars import utc_now
from pipelines import recovery, recovery_hold, schedules, sensors
from pipelines.cli.main import app
from pipelines.dagster_internals import (
    RegisteredCodeLocationOrigin,
    RemoteJobOrigin,
    RemoteRepositoryOrigin,
)
from pipelines.definitions import definitions
from resources.settings import Settings
from resources.storage.object_store import ObjectStore
from resources.storage.recovery import hold
from resources.storage.recovery.hold import Hold
from resources.storage.recovery.leftovers import Leftovers
from resources.storage.timescale import Timescale
from tests.storage.archive.archived_years import (
    BARS,
    FOLDER,
    YEARS,
    archive_years,
    backup,
    data_keys,
    keys,
    restate,
    restore_backup,
    store_bars,
)
from tests.storage.archive.moves import JANUARY, load, minutes
from usecases.recovery import Finding, Store, examine, expire_leases

MOMENT = datetime(2026, 11, 30, 12, tzinfo=UTC)
ORIGIN = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("wrdata"), "__repository__")
RUN = "0f3c5c3e-1111-4222-8333-444455556666"


@pytest.fixture
def archived(
    settings: Settings,
    timescale: Timescale,
    object_store: ObjectStore,
    instrument_ids: list[int],
) -> Settings:
    """Two archived years of daily bars, whose raw answer is in the bucket."""
    store_bars(timescale, instrument_ids)
    archive_years(timescale, object_store)
    with timescale.connection() as connection:
        connection.execute("update ingest_log set raw_answers = '{raw/fmp/ab/one.json.gz}'")
    object_store.put_bytes("raw/fmp/ab/one.json.gz", b"one", content_type="application/gzip")
    return settings


def wrong(findings: Iterator[Finding]) -> list[Finding]:
    """Return what does not agree."""
    return [finding for finding in findings if not finding.agrees]


def test_stores_that_agree_are_said_to(archived: Settings) -> None:
    """Every comparison is a finding, so that one sees what was looked at."""
    findings = list(examine(archived))

    assert [finding for finding in findings if not finding.agrees] == []
    assert {finding.store for finding in findings} == {
        Store.DATABASE,
        Store.BUCKET,
        Store.CATALOGUE,
    }
    assert not any(finding.cure for finding in findings)
    about = {finding.about: finding.detail for finding in findings}
    assert about["archive.daily_bars in catalogue and bucket"].endswith("objects, all there")
    assert about["archive.splits in catalogue and bucket"] == "not archived, in neither"


def catalogue_went_back(timescale: Timescale, store: ObjectStore) -> None:
    """The database is restored to a moment before the last commits to the archive."""
    taken = backup(timescale)
    with timescale.connection() as connection:
        row = connection.execute(
            "select instrument_id, session_date from daily_bar order by 1, 2 desc limit 1"
        ).fetchone()
    assert row
    restate(timescale, (row[0], row[1], 0.0), 51.0)
    archive_years(timescale, store)
    restore_backup(timescale, taken)


def bucket_lost_metadata(timescale: Timescale, store: ObjectStore) -> None:
    """The bucket is a new one."""
    del timescale
    for key in keys(store):
        store.delete(key)


def bucket_lost_a_file(timescale: Timescale, store: ObjectStore) -> None:
    """One of its objects is gone."""
    del timescale
    store.delete(min(data_keys(store)))


def bucket_lost_an_answer(timescale: Timescale, store: ObjectStore) -> None:
    """The raw zone lacks what was loaded last."""
    del timescale
    store.delete("raw/fmp/ab/one.json.gz")


def rows_are_gone(timescale: Timescale, store: ObjectStore) -> None:
    """Somebody deleted rows."""
    del store
    with timescale.connection() as connection:
        rows = connection.execute("select distinct instrument_id from daily_bar").fetchall()
    load(timescale, "minute_bars", minutes([row[0] for row in rows], JANUARY, 4))
    with timescale.connection() as connection:
        connection.execute("delete from minute_bar where opened_at = %s", [JANUARY])


def schema_is_older(timescale: Timescale, store: ObjectStore) -> None:
    """The moment was before a migration."""
    del store
    with timescale.connection() as connection:
        connection.execute(
            "delete from schema_migration where name = (select max(name) from schema_migration)"
        )


@pytest.mark.parametrize(
    ("break_it", "store", "detail", "cure"),
    [
        (catalogue_went_back, Store.CATALOGUE, "the catalogue is behind " + FOLDER,
         "wrdata archive rebuild --dataset daily_bars"),
        (bucket_lost_metadata, Store.CATALOGUE, "lacks a file that it refers to",
         "the bucket is lost"),
        (bucket_lost_a_file, Store.CATALOGUE, "which is not there", "wrdata archive verify"),
        (bucket_lost_an_answer, Store.BUCKET, "1 of 1 are not in the bucket, such as raw/fmp/ab/",
         "wrdata recover --accept"),
        (rows_are_gone, Store.DATABASE, "the database lacks 3 of 12 rows of minute_bars",
         "wrdata ledger verify"),
        (schema_is_older, Store.DATABASE, "waits for 1 migrations", "wrdata migrate"),
    ],
)  # fmt: skip
def test_each_disagreement_is_named_with_its_cure(
    archived: Settings,
    timescale: Timescale,
    object_store: ObjectStore,
    break_it: Callable[[Timescale, ObjectStore], None],
    store: Store,
    detail: str,
    cure: str,
) -> None:
    """And nothing else is said not to agree."""
    break_it(timescale, object_store)

    found = wrong(examine(archived))

    assert len(found) == 1, found
    [finding] = found
    assert finding.store is store
    assert detail in finding.detail
    assert cure in finding.cure


def test_a_bucket_that_is_gone_is_one_finding(
    archived: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What would need it is not looked at."""
    monkeypatch.setenv("WRDATA_ARCHIVE_BUCKET", "another-bucket")
    elsewhere = archived.model_copy(update={"archive_bucket": "another-bucket"})

    [finding] = wrong(examine(elsewhere))

    assert finding.store is Store.BUCKET
    assert "another-bucket" in finding.detail


def test_a_catalogue_that_was_put_forward_agrees_again(
    archived: Settings, timescale: Timescale, object_store: ObjectStore
) -> None:
    """The cure that the finding names is one."""
    catalogue_went_back(timescale, object_store)
    [finding] = wrong(examine(archived))

    command = finding.cure.split()[1:]
    assert app([*command, "--json"], standalone_mode=False) in {None, 0}

    assert wrong(examine(archived)) == []
    assert BARS.name in command
    assert YEARS


def a_hold(target: datetime = MOMENT) -> Hold:
    """Return a hold of an hour's restore."""
    return Hold(reason="restored", target=target, held_at=target + timedelta(hours=1))


def test_runs_that_load_rows_and_that_dagster_does_not_know_are_named(
    instance: dg.DagsterInstance,
) -> None:
    """Dagster's database is of an earlier moment."""
    assert recovery.examine(instance, [], None).agrees

    finding = recovery.examine(instance, [RUN], None)

    assert not finding.agrees
    assert RUN in finding.detail
    assert "an earlier moment" in finding.detail
    assert "--accept" in finding.cure


def test_runs_that_went_on_after_the_moment_are_named(instance: dg.DagsterInstance) -> None:
    """Dagster's database is of a later moment than the data, until the restore itself."""
    run = instance.add_run(dg.DagsterRun(job_name="archive", status=dg.DagsterRunStatus.SUCCESS))
    now = utc_now()

    later = recovery.examine(instance, [run.run_id], a_hold(now - timedelta(minutes=30)))
    assert not later.agrees
    assert "a later moment" in later.detail
    assert run.run_id in later.detail
    of_same_moment = a_hold(now + timedelta(minutes=1))
    assert recovery.examine(instance, [run.run_id], of_same_moment).agrees
    restored_long_ago = a_hold(now - timedelta(days=1))
    assert recovery.examine(instance, [run.run_id], restored_long_ago).agrees


@pytest.mark.parametrize("status", recovery.UNFINISHED)
def test_runs_that_only_look_alive_are_ended(
    instance: dg.DagsterInstance, status: dg.DagsterRunStatus
) -> None:
    """As failed ones, so that they are repeated or get letters; ended ones stay as they were."""
    alive = instance.add_run(
        dg.DagsterRun(
            job_name="archive",
            status=status,
            # Only runs that a daemon launches wait in the queue, and those name their code.
            remote_job_origin=RemoteJobOrigin(ORIGIN, "archive"),
        )
    )
    done = instance.add_run(dg.DagsterRun(job_name="archive", status=dg.DagsterRunStatus.SUCCESS))
    held = Hold(reason="restored", target=utc_now(), held_at=utc_now() + timedelta(minutes=1))

    assert recovery.end_runs_of_before(instance, held) == [alive.run_id]

    ended = instance.get_run_by_id(alive.run_id)
    assert ended is not None
    assert ended.status is dg.DagsterRunStatus.FAILURE
    untouched = instance.get_run_by_id(done.run_id)
    assert untouched is not None
    assert untouched.status is dg.DagsterRunStatus.SUCCESS
    assert recovery.end_runs_of_before(instance, held) == []


def test_runs_begun_after_the_restore_go_on(instance: dg.DagsterInstance) -> None:
    """They are of this world."""
    instance.add_run(dg.DagsterRun(job_name="archive", status=dg.DagsterRunStatus.STARTED))

    assert recovery.end_runs_of_before(instance, a_hold()) == []


def test_permits_of_processes_that_are_gone_expire(
    settings: Settings, timescale: Timescale
) -> None:
    """Those granted after the restore stay."""
    with timescale.connection() as connection:
        for hours in (-1, 1):
            connection.execute(
                """insert into request_lease (provider, budgets, lane, host, pid, weights, slots,
                       ends_at, granted_at, expires_at)
                   select 'fmp', '{b}', 'backfill', 'host', 1, '{1}', array[at], array[at], at,
                          at + interval '1 day'
                   from (select %s::timestamptz as at) as granted""",
                [utc_now() + timedelta(hours=hours)],
            )

    assert expire_leases(settings, utc_now()) == 1

    with timescale.connection() as connection:
        live = connection.execute(
            "select count(*) from request_lease where released_at is null"
        ).fetchone()
    assert live == (1,)


def test_a_hold_is_one_and_stays_until_it_is_released(
    settings: Settings, timescale: Timescale
) -> None:
    """A second restore on top of it changes nothing; who released it is known."""
    assert settings
    assert hold.current(timescale.url) is None

    hold.hold(timescale.url, reason="restored from backup A", target=MOMENT)
    hold.hold(timescale.url, reason="restored from backup B", target=MOMENT)

    current = hold.current(timescale.url)
    assert current is not None
    assert (current.reason, current.target) == ("restored from backup A", MOMENT)
    hold.release(timescale.url, by="ann", accepted=None, journal=None)
    assert hold.current(timescale.url) is None
    hold.hold(timescale.url, reason="restored from backup B", target=MOMENT)
    assert hold.current(timescale.url) is not None
    with timescale.connection() as connection:
        rows = connection.execute(
            "select reason, released_by from recovery_hold order by recovery_hold_id"
        ).fetchall()
    assert rows == [("restored from backup A", "ann"), ("restored from backup B", None)]


HELD_SENSORS = (
    sensors.dead_letter_retries,
    sensors.rebased_histories,
    sensors.waiting_aggregates,
)


def test_no_schedule_starts_anything_while_a_database_is_on_hold(
    settings: Settings, timescale: Timescale, instance: dg.DagsterInstance
) -> None:
    """Every one of them, by Dagster's own evaluation of a tick; afterwards they do."""
    assert settings
    moment = datetime(2026, 11, 24, 18, 30, tzinfo=UTC)

    def asked() -> list[Sequence[dg.RunRequest]]:
        requests: list[Sequence[dg.RunRequest]] = []
        for definition in schedules.ALL:
            with dg.build_schedule_context(
                instance=instance,
                scheduled_execution_time=moment,
                repository_def=definitions.get_repository_def(),
            ) as context:
                requests.append(definition.evaluate_tick(context).run_requests or [])
        return requests

    assert len([requests for requests in asked() if requests]) > 8
    hold.hold(timescale.url, reason="restored from backup A", target=MOMENT)
    assert [requests for requests in asked() if requests] == []
    hold.release(timescale.url, by="ann", accepted=None, journal=None)
    assert len([requests for requests in asked() if requests]) > 8


@pytest.mark.parametrize("sensor", HELD_SENSORS, ids=lambda sensor: sensor.name)
def test_sensors_say_that_a_database_is_on_hold(
    settings: Settings,
    timescale: Timescale,
    instance: dg.DagsterInstance,
    sensor: dg.SensorDefinition,
) -> None:
    """With the command that releases it."""
    assert settings
    hold.hold(timescale.url, reason="restored from backup A", target=MOMENT)

    with dg.build_sensor_context(instance=instance, sensor_name=sensor.name) as context:
        skipped = sensor.evaluate_tick(context).skip_message

    assert skipped == recovery_hold.reason_to_wait()
    assert skipped is not None
    assert "restored from backup A, as of 2026-11-30 12:00:00 UTC" in skipped
    assert "`wrdata recover`" in skipped


def test_a_database_that_does_not_answer_holds_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The run itself says that it cannot be reached, and is repeated."""
    monkeypatch.setenv("WRDATA_DATABASE_URL", "postgresql://nobody@127.0.0.1:1/none")

    assert recovery_hold.reason_to_wait() is None


def recover(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, Any]:
    """Run the command in this process; return its status and its JSON."""
    capsys.readouterr()
    status = app(["recover", *words, "--json"], standalone_mode=False)
    return status or 0, json.loads(capsys.readouterr().out)


def test_recover_releases_the_hold_once_all_stores_agree(
    archived: Settings,
    timescale: Timescale,
    object_store: ObjectStore,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Not before; a dry run does not; a database that was not restored has none."""
    with timescale.connection() as connection:
        connection.execute("update ingest_log set run_id = 'by hand'")
    assert archived
    assert recover(capsys)[1]["hold"].startswith("the database is not on hold")
    hold.hold(timescale.url, reason="restored from backup A", target=MOMENT)
    catalogue_went_back(timescale, object_store)

    status, told = recover(capsys)
    assert (status, told["agrees"]) == (1, False)
    assert [row["store"] for row in told["findings"] if row["agrees"] == "no"] == ["catalogue"]
    assert hold.current(timescale.url) is not None
    assert app(["archive", "rebuild", "--json"], standalone_mode=False) in {None, 0}
    status, told = recover(capsys, "--dry-run")
    assert (status, told["agrees"]) == (0, True)
    assert hold.current(timescale.url) is not None

    status, told = recover(capsys)

    assert (status, told["agrees"]) == (0, True)
    assert told["hold"].startswith("the hold is released (restored from backup A")
    assert hold.current(timescale.url) is None


def test_a_person_may_let_a_disagreement_stand_and_says_why(
    archived: Settings,
    timescale: Timescale,
    object_store: ObjectStore,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """It is kept with the hold; the finding is told all the same."""
    assert archived
    bucket_lost_an_answer(timescale, object_store)
    restored_to = "2026-11-30T12:00:00"

    status, told = recover(
        capsys, "--restored-to", restored_to, "--accept", "answers of one day are lost"
    )

    assert (status, told["agrees"]) == (0, False)
    with timescale.connection() as connection:
        rows = connection.execute("select target, accepted from recovery_hold").fetchall()
    assert rows == [(MOMENT, "answers of one day are lost")]
    assert hold.current(timescale.url) is None


def test_the_latest_runs_are_those_of_loads_not_of_commands(
    archived: Settings, timescale: Timescale, tmp_path: Path
) -> None:
    """A command's name is no run that Dagster could know."""
    assert archived
    assert tmp_path
    with timescale.connection() as connection:
        connection.execute("update ingest_log set run_id = 'wrdata ledger verify'")
    assert Leftovers(timescale).latest_runs() == []
    with timescale.connection() as connection:
        connection.execute("update ingest_log set run_id = %s", [RUN])
    assert Leftovers(timescale).latest_runs() == [RUN]
