"""Runs in the audit log, and `wrdata audit`: through Dagster and the command line."""

import asyncio
import json
import re
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
import psycopg
import pytest
from typer.testing import CliRunner, Result

from machine.person import user_at_host
from marketdata.audit import Action, AuditRow
from marketdata.recovery.dead_letters import Work
from pipelines import replays, run_audit, sensors, workers
from pipelines.cli import environment, runs
from pipelines.cli.interruption import RunInterruptedError
from pipelines.cli.main import app
from pipelines.definitions import definitions
from pipelines.users import USER_TAG
from resources import opening
from resources.settings import read_settings
from resources.storage.audit import AuditLog
from resources.storage.audit.log import this_origin
from resources.storage.letters import LetterFilter
from resources.telemetry.context import CORRELATION_TAG
from sandbox import locking_object_store
from sandbox.local_world import LocalWorld
from tests.fixtures.dagster_internals import SensorExecutionData
from tests.fixtures.pipeline import Pipeline
from tests.fixtures.superuser import tampering
from tests.storage.audit.deeds import deed

GUIDE = Path(__file__).parents[2] / "docs" / "how-to" / "audit.md"
LAUNCHED, CANCELLED, BACKFILL = (
    Action.RUN_LAUNCHED,
    Action.RUN_CANCELLED,
    Action.BACKFILL_LAUNCHED,
)


@pytest.fixture
def log(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> AuditLog:
    """The audit log of a pipeline whose commands work on its instance."""

    @contextmanager
    def opened() -> Generator[dg.DagsterInstance]:
        yield pipeline.instance

    monkeypatch.setattr(environment, "enter", lambda *_, **__: None)
    monkeypatch.setattr(environment, "require_schema", lambda *_: None)
    monkeypatch.setattr(runs, "open_instance", opened)
    return pipeline.stores.audit


def rows(log: AuditLog, *actions: Action) -> list[AuditRow]:
    """Return the rows of some actions, the oldest first."""
    return log.find(actions=actions)[::-1]


def tick(pipeline: Pipeline, cursor: str | None) -> SensorExecutionData:
    """Evaluate the sensor as the daemon does."""
    context = dg.build_sensor_context(
        instance=pipeline.instance,
        cursor=cursor,
        definitions=definitions,
        sensor_name=sensors.audited_runs.name,
    )
    return sensors.audited_runs.evaluate_tick(context)


def created(pipeline: Pipeline, **tags: str) -> dg.DagsterRun:
    """Put a run into the instance, as the UI or the daemon does."""
    named = {name.replace("__", "/"): value for name, value in tags.items()}
    job = definitions.resolve_job_def("universe")
    return pipeline.instance.create_run_for_job(job, tags=named)


def run(*words: str) -> Result:
    """Run ``wrdata``."""
    return CliRunner().invoke(app, list(words))


def printed(*words: str) -> Any:
    """Run ``wrdata`` and return its JSON."""
    return json.loads(run(*words, "--json").output)


# Runs


def test_a_run_of_a_command_says_who_ran_it_and_where(pipeline: Pipeline, log: AuditLog) -> None:
    """Before it begins; the sensor that finds it later adds nothing."""
    start = tick(pipeline, None)

    report = runs.run_job("universe")

    [row] = rows(log, LAUNCHED)
    assert (row.who, row.origin, row.subject) == (user_at_host(), this_origin(), report.run_id)
    seen = pipeline.instance.get_run_by_id(report.run_id)
    assert seen
    assert row.details == {"job": "universe", "correlation_id": seen.tags[CORRELATION_TAG]}
    assert seen.tags[USER_TAG] == user_at_host()
    tick(pipeline, start.cursor)
    assert len(rows(log, LAUNCHED)) == 1


def test_a_run_of_the_daemon_records_itself_when_it_begins(log: AuditLog) -> None:
    """In the executor that all its runs pass."""
    with dg.DagsterInstance.ephemeral() as instance:
        done = dg.execute_job(
            dg.reconstructable(_job_of_the_daemon),
            instance=instance,
            tags={"dagster/schedule_name": "universe_weekly"},
        )
    assert done.success

    [row] = rows(log, LAUNCHED)
    assert (row.who, row.origin) == ("schedule:universe_weekly", "Dagster")
    assert row.subject == done.run_id
    assert len(rows(log, Action.CONFIGURATION_CHANGED)) == 1


@dg.op
def _nothing() -> None:
    pass


@dg.job(executor_def=workers.in_process_with_heartbeat)
def _job_of_the_daemon() -> None:
    _nothing()


@pytest.mark.parametrize(
    ("tags", "who", "origin"),
    [
        ({"wrdata__user": "grace"}, "grace", "Dagster"),
        (
            {"wrdata__user": "grace", "wrdata__client_address": "192.0.2.7"},
            "grace",
            "192.0.2.7",
        ),
        ({"dagster__schedule_name": "universe_weekly"}, "schedule:universe_weekly", "Dagster"),
        ({"dagster__sensor_name": "rebased_histories"}, "sensor:rebased_histories", "Dagster"),
        (
            {"dagster__retry_number": "1", "wrdata__user": "grace"},
            "Dagster, as a retry",
            "Dagster",
        ),
        ({}, run_audit.UNKNOWN, "Dagster"),
    ],
)
def test_the_sensor_finds_every_run_once_and_who_launched_it(
    pipeline: Pipeline, log: AuditLog, tags: dict[str, str], who: str, origin: str
) -> None:
    """Also one that never began."""
    start = tick(pipeline, None)
    waiting = created(pipeline, **tags)

    first = tick(pipeline, start.cursor)
    tick(pipeline, first.cursor)
    tick(pipeline, start.cursor)

    [row] = rows(log, LAUNCHED)
    assert (row.who, row.origin, row.subject) == (who, origin, waiting.run_id)


def test_a_backfill_has_a_row_beside_those_of_its_runs(pipeline: Pipeline, log: AuditLog) -> None:
    """One, however many runs it has."""
    start = tick(pipeline, None)
    tags = {"dagster__backfill": "abcdefgh", "wrdata__user": "grace"}
    launched = {created(pipeline, **tags).run_id for _ in range(3)}

    tick(pipeline, start.cursor)

    [row] = rows(log, BACKFILL)
    assert (row.subject, row.who) == ("abcdefgh", "grace")
    assert {row.subject for row in rows(log, LAUNCHED)} == launched


def test_more_runs_than_a_page_are_all_found(
    pipeline: Pipeline, log: AuditLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And so are those that appear while the sensor does not look."""
    monkeypatch.setattr(run_audit, "RUNS_AT_A_TIME", 2)
    start = tick(pipeline, None)
    first = {created(pipeline).run_id for _ in range(5)}
    after = tick(pipeline, start.cursor)
    second = {created(pipeline).run_id for _ in range(3)}
    tick(pipeline, after.cursor)

    assert {row.subject for row in rows(log, LAUNCHED)} == first | second


def test_a_cancelled_run_has_a_row_of_that(pipeline: Pipeline, log: AuditLog) -> None:
    """Dagster does not say who; when, and what it says, is kept."""
    start = tick(pipeline, None)
    waiting = created(pipeline)
    pipeline.instance.report_run_canceling(waiting)
    pipeline.instance.report_run_canceled(waiting, "somebody pressed the button")

    first = tick(pipeline, start.cursor)
    tick(pipeline, first.cursor)
    tick(pipeline, start.cursor)

    [row] = rows(log, CANCELLED)
    assert (row.subject, row.who) == (waiting.run_id, run_audit.UNKNOWN)
    assert row.details["reason"] == "somebody pressed the button"


def test_a_command_that_a_person_ends_is_a_cancelled_run(
    log: AuditLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By Ctrl-C: who pressed it is known."""

    def interrupted(job: str, result: Any, duration_s: float) -> runs.RunReport:
        return runs.RunReport(
            run_id=result.run_id,
            job=job,
            success=False,
            duration_s=duration_s,
            reported=[],
            checks=[],
            failures=[runs.INTERRUPTED],
            failed_with={},
        )

    monkeypatch.setattr(runs, "_report", interrupted)
    with pytest.raises(RunInterruptedError):
        runs.run_job("universe")

    [launched], [cancelled] = rows(log, LAUNCHED), rows(log, CANCELLED)
    assert (cancelled.subject, cancelled.who) == (launched.subject, user_at_host())


def test_a_log_that_cannot_be_written_holds_the_sensors_cursor(
    pipeline: Pipeline, log: AuditLog, pipeline_url: str
) -> None:
    """Nothing is skipped: the next tick finds the same runs."""
    start = tick(pipeline, None)
    waiting = created(pipeline)
    with psycopg.connect(pipeline_url) as connection:
        connection.execute("alter table audit_log rename to elsewhere")

    failed = tick(pipeline, start.cursor)

    assert failed.cursor == start.cursor
    assert "runs cannot be audited" in (failed.skip_message or "")
    with psycopg.connect(pipeline_url) as connection:
        connection.execute("alter table elsewhere rename to audit_log")
    tick(pipeline, failed.cursor)
    assert [row.subject for row in rows(log, LAUNCHED)] == [waiting.run_id]


def test_a_replay_leaves_a_row(pipeline: Pipeline, log: AuditLog) -> None:
    """With the letters, and those that it did not resolve."""
    pipeline.simulator.add_fault("malformed_rows", path="/polygon/v2/aggs", count=1)
    name = "curated__equity_prices__minute_bars_refresh"
    pipeline.run("minute_bars", config={name: {"config": {"symbols": ["AAPL"]}}})
    letters = [
        letter
        for letter in pipeline.stores.dead_letters.find(LetterFilter())
        if letter.work is Work.RECORD
    ]
    assert letters
    read = opening.raw_zone(read_settings()).read

    asyncio.run(replays.replay(pipeline.stores, read, letters, "ada@desk"))

    [row] = rows(log, Action.LETTERS_REPLAYED)
    assert row.who == "ada@desk"
    assert row.details["letter_ids"] == sorted(letter.letter_id for letter in letters)


# The day of the log


@pytest.mark.usefixtures("log")
def test_the_daily_run_verifies_and_says_that_nothing_is_anchored(pipeline: Pipeline) -> None:
    """Without a bucket for anchors the chain is verified all the same."""
    result = pipeline.run("audit")

    assert result.success
    [check] = result.get_asset_check_evaluations()
    assert check.passed
    assert "nothing is anchored" in (check.description or "")


@pytest.mark.usefixtures("log")
def test_the_daily_run_fails_its_check_over_a_broken_chain(
    pipeline: Pipeline, world: LocalWorld, pipeline_url: str
) -> None:
    """The check names the row."""
    tampering(world, pipeline_url)("update audit_log set who = 'nobody' where id = 1")

    [check] = pipeline.run("audit").get_asset_check_evaluations()

    assert not check.passed
    assert "row 1 was altered" in (check.description or "")


# Commands


@pytest.mark.usefixtures("log")
def test_the_list_shows_who_did_what_and_filters() -> None:
    """By action, name and time; as a table and as JSON."""
    runs.run_job("universe")

    [row] = printed("audit", "list", "--action", "run_launched", "--who", user_at_host())
    assert (row["who"], row["details"]["job"]) == (user_at_host(), "universe")
    assert printed("audit", "list", "--since", "2999-01-01") == []
    shown = run("audit", "list", "--action", "run_launched", "--since", "2020-01-01").output
    assert "run_launched" in shown
    nothing = run("audit", "list", "--who", "nobody-of-this-name")
    assert nothing.exit_code == 0
    wrong = run("audit", "list", "--action", "run_forgotten")
    assert wrong.exit_code == 2


@pytest.mark.usefixtures("log")
def test_verify_has_status_1_for_a_broken_chain(world: LocalWorld, pipeline_url: str) -> None:
    """And names the row and the runbook."""
    whole = run("audit", "verify")
    assert (whole.exit_code, whole.exception) == (0, None)
    tampering(world, pipeline_url)("update audit_log set who = 'nobody' where id = 1")

    said = CliRunner().invoke(app, ["audit", "verify", "--json"], standalone_mode=False)

    assert said.return_value == 1
    broken = json.loads(said.output)
    assert not broken["valid"]
    assert "row 1 was altered" in broken["findings"][0]
    told = CliRunner().invoke(app, ["audit", "verify"], standalone_mode=False)
    assert told.return_value == 1


def test_an_export_is_verified_by_the_lines_of_the_guide(
    log: AuditLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Plain Python, without this project; they find a changed line."""
    runs.run_job("universe")
    file = tmp_path / "audit.jsonl"
    assert run("audit", "export", "--output", str(file)).exit_code == 0
    found = re.search(r"```python\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    assert found
    program = compile(found[1], str(GUIDE), "exec")
    monkeypatch.chdir(tmp_path)

    exec(program, {})  # noqa: S102  # the lines of our own page

    lines = file.read_text().splitlines()
    assert len(lines) == log.head().last_id
    assert json.loads(lines[-1])["hash"] == log.head().last_hash.hex()
    file.write_text("\n".join(lines).replace(user_at_host(), "nobody@desk", 1) + "\n")
    with pytest.raises(AssertionError):
        exec(program, {})  # noqa: S102
    file.write_text("\n".join(lines[:1] + lines[2:]) + "\n")
    with pytest.raises(AssertionError):
        exec(program, {})  # noqa: S102


@pytest.mark.usefixtures("log")
def test_anchor_without_a_bucket_is_one_clear_line() -> None:
    """With the variable and the page."""
    said = run("audit", "anchor")

    assert said.exit_code != 0
    assert "WRDATA_AUDIT_BUCKET" in str(said.exception)


def test_the_log_is_anchored_by_command_and_by_the_daily_run(
    pipeline: Pipeline, log: AuditLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a bucket that locks; and a rewrite of everything shows."""
    with locking_object_store.running(tmp_path / "seaweedfs") as server:
        server.create_bucket("audit-anchors")
        for name, value in {
            "WRDATA_S3_ENDPOINT": server.endpoint,
            "AWS_ACCESS_KEY_ID": server.access_key,
            "AWS_SECRET_ACCESS_KEY": server.secret_key,
            "WRDATA_AUDIT_BUCKET": "audit-anchors",
            "WRDATA_AUDIT_LOCK_DAYS": "1",
        }.items():
            monkeypatch.setenv(name, value)

        anchored = printed("audit", "anchor")
        assert anchored["audit_id"] == log.head().last_id
        # An anchor is named by its second and its row: two of one second differ by the row.
        log.append(deed(1))
        result = pipeline.run("audit")
        verified = printed("audit", "verify")

    assert result.success
    assert (verified["valid"], verified["anchors"]) == (True, 2)


# Nothing is in the way


def test_a_run_goes_on_while_the_log_is_away(
    pipeline: Pipeline, log: AuditLog, pipeline_url: str
) -> None:
    """A run is no transaction of ours: the sensor records it when the log is back."""
    start = tick(pipeline, None)
    with psycopg.connect(pipeline_url) as connection:
        connection.execute("alter table audit_log rename to elsewhere")
    report = runs.run_job("universe")
    with psycopg.connect(pipeline_url) as connection:
        connection.execute("alter table elsewhere rename to audit_log")

    assert report.success
    tick(pipeline, start.cursor)
    [row] = rows(log, LAUNCHED)
    assert (row.subject, row.who) == (report.run_id, user_at_host())
