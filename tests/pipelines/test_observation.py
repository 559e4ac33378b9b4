"""One id, one trace and one report from a tick to what is stored, with real runs of Dagster's."""

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

from assets.partitions import TICKERS
from marketdata.archiving import archived_dataset
from marketdata.calendars import NEW_YORK_ZONE
from marketdata.recovery.dead_letters import LetterState
from pipelines import observation, retries, schedules, sensors
from pipelines.definitions import definitions
from resources import opening
from resources.settings import read_settings
from resources.storage.letters import LetterFilter, StoredLetter
from resources.storage.object_store import ObjectStore
from resources.storage.raw_zone import PREFIX
from resources.telemetry import traces
from resources.telemetry.context import CORRELATION_TAG, bound
from tests.fixtures.pipeline import Pipeline
from tests.fixtures.telemetry import Spans, lines_of

pytestmark = pytest.mark.usefixtures("own_telemetry")

PYTHON_LOGS = yaml.safe_load((Path(__file__).parents[2] / "dagster.yaml").read_text("utf-8"))[
    "python_logs"
]
REFRESH = "curated__equity_prices__daily_bars_refresh"
WORK = {CORRELATION_TAG: "work-1"}
TUESDAY = datetime(2026, 11, 24, 18, 30, tzinfo=NEW_YORK_ZONE)
EVERY_LINE = {"timestamp", "level", "event", "correlation_id"}


def daily_bars_job() -> dg.JobDefinition:
    """Return a job of the definitions, as a launcher loads it."""
    return definitions.resolve_job_def("daily_bars")


def archive_job() -> dg.JobDefinition:
    """Return the job that archives."""
    return definitions.resolve_job_def("archive")


@contextmanager
def instance(pipeline: Pipeline) -> Generator[dg.DagsterInstance]:
    """Open an instance with the log settings that this project ships."""
    with dg.instance_for_test(overrides={"python_logs": PYTHON_LOGS}) as opened:
        tickers = pipeline.stores.instruments.tickers()
        opened.add_dynamic_partitions(TICKERS.name or "", tickers)
        yield opened


def load(
    opened: dg.DagsterInstance, *tickers: str, tags: Mapping[str, str] = WORK
) -> dg.JobExecutionResult:
    """Load daily bars in a run with our executor, as a worker does."""
    config = {"symbols": list(tickers)}
    return dg.execute_job(
        dg.reconstructable(daily_bars_job),
        instance=opened,
        run_config={"ops": {REFRESH: {"config": config}}},
        tags=dict(tags),
        raise_on_error=False,
    )


def rows(pipeline: Pipeline, query: str) -> list[Any]:
    """Ask the database."""
    with pipeline.stores.timescale.connection() as connection:
        return connection.execute(query.encode()).fetchall()


def look_at_failures(opened: dg.DagsterInstance, cursor: str | None = None) -> str | None:
    """Evaluate the sensor that looks at failed runs, as the daemon does; return its cursor."""
    context = dg.build_sensor_context(
        instance=opened, cursor=cursor, definitions=definitions, sensor_name="lost_runs"
    )
    return sensors.lost_runs.evaluate_tick(context).cursor


def letters(pipeline: Pipeline) -> list[StoredLetter]:
    """Return every letter."""
    return pipeline.stores.dead_letters.find(LetterFilter())


def test_a_backfills_lines_are_json_with_run_step_dataset_provider_and_duration(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each line parses, Dagster's own too; a request is a line at DEBUG, a batch one at INFO."""
    monkeypatch.setenv("WRDATA_LOG_LEVEL", "debug")
    pipeline.simulator.add_fault("status", status=503, symbol="MSFT", count=1)
    with instance(pipeline) as opened:
        result = load(opened, "AAPL", "MSFT")

    assert result.success
    lines = lines_of(capsys.readouterr().out)
    assert all(line.keys() >= EVERY_LINE for line in lines)
    assert {line["correlation_id"] for line in lines} == {"work-1"}
    assert {line["run"] for line in lines} == {result.run_id}
    assert {line["job"] for line in lines} == {"daily_bars"}
    loaded = [line for line in lines if line["event"] == "batch loaded"]
    assert len(loaded) == 2
    for line in loaded:
        assert line["level"] == "info"
        assert (line["dataset"], line["provider"], line["step"]) == ("daily_bars", "fmp", REFRESH)
        assert line["inserted"] > 2000
        assert line["duration_s"] > 0
        assert line["operation"].startswith("historical-price-eod/")
    sent = [line for line in lines if line["event"] == "request sent"]
    assert sorted(line["status"] for line in sent) == [200, 200, 503]
    assert {(line["level"], line["weight"], line["dataset"]) for line in sent} == {
        ("debug", 1, "daily_bars")
    }
    (again,) = [line for line in lines if line["event"] == "tried again"]
    assert again["error_class"] == "ProviderUnavailableError"
    assert (again["level"], again["provider"], again["attempt"]) == ("warning", "fmp", 1)
    assert "STEP_SUCCESS" in {line.get("dagster_event") for line in lines}


def test_lines_of_a_run_over_partitions_name_them(
    pipeline: Pipeline, capsys: pytest.CaptureFixture[str]
) -> None:
    """A range by its first and last."""
    partition = {"dagster/partition": "2026-11-20"}
    first, last = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"
    observation.begin()
    del pipeline
    with observation.observed_run("r-1", "daily_bars_by_session", partition):
        pass
    with observation.observed_run("r-2", "daily_bars", {first: "AAPL", last: "MSFT"}):
        pass

    one, many = lines_of(capsys.readouterr().out)
    assert (one["event"], one["partition"], one["correlation_id"]) == (
        "run ended", "2026-11-20", "r-1",
    )  # fmt: skip
    assert many["partitions"] == "AAPL...MSFT"


def test_one_id_leads_from_the_log_to_rows_letter_raw_answer_and_archive(
    pipeline: Pipeline, capsys: pytest.CaptureFixture[str]
) -> None:
    """What a person looks for is found everywhere by the same text."""
    pipeline.simulator.add_fault("status", status=402, symbol="MSFT")
    with instance(pipeline) as opened:
        assert load(opened, "AAPL", "MSFT").success
        assert dg.execute_job(
            dg.reconstructable(archive_job),
            instance=opened,
            run_config={
                "ops": {
                    "archive__closed_periods": {
                        "config": {
                            "datasets": ["daily_bars"],
                            "start": "2024-01-01",
                            "end": "2024-12-31",
                        }
                    }
                }
            },
            tags=WORK,
            raise_on_error=False,
        ).success

    lines = lines_of(capsys.readouterr().out)
    events = {line["event"] for line in lines if line["correlation_id"] == "work-1"}
    assert {"batch loaded", "letter posted", "period archived", "run ended"} <= events
    (posted,) = [line for line in lines if line["event"] == "letter posted"]
    assert (posted["subject"], posted["error_class"]) == ("MSFT", "NotEntitledError")
    (archived,) = [line for line in lines if line["event"] == "period archived"]
    assert (archived["dataset"], archived["period"]) == ("daily_bars", "2024")
    assert archived["files"] == 1
    logged = rows(pipeline, "select outcome::text, correlation_id from ingest_log order by 1")
    assert logged[-2:] == [("failed", "work-1"), ("loaded", "work-1")]
    assert [letter.correlation_id for letter in letters(pipeline)] == ["work-1"]
    assert rows(pipeline, "select correlation_id from archive_log") == [("work-1",)]
    ((pointer,),) = rows(
        pipeline,
        "select raw_answers[1] from ingest_log"
        " where correlation_id = 'work-1' and outcome = 'loaded'",
    )
    assert pointer.startswith(PREFIX)
    settings = read_settings()
    kept = ObjectStore(opening.s3_settings(settings)).get(pointer)
    assert kept.metadata["correlation-id"] == "work-1"
    with opening.archive(settings) as archive:
        (logged_period,) = archive.proofs(archived_dataset("daily_bars")).values()
        table = archive.table(archived_dataset("daily_bars")).load()
    assert logged_period.correlation_id == "work-1"
    snapshot = table and table.current_snapshot()
    assert snapshot
    assert snapshot.summary
    assert snapshot.summary.additional_properties["wrdata.correlation_id"] == "work-1"


def test_a_letter_keeps_the_id_of_the_work_that_failed_first_and_hands_it_to_its_retry(
    pipeline: Pipeline,
) -> None:
    """Whatever fails at the same later, and whoever tries it again."""
    pipeline.simulator.add_fault("status", status=503, symbol="MSFT")
    with instance(pipeline) as opened:
        assert load(opened, "AAPL", "MSFT").success
        load(opened, "MSFT", tags={CORRELATION_TAG: "work-2"})
        (letter,) = letters(pipeline)
        assert (letter.occurrences, letter.correlation_id) == (2, "work-1")

        pipeline.simulator.clear_faults()
        (retry,) = retries.claim(pipeline.stores.dead_letters, [letter.letter_id], "somebody")
        request = retry.request(observation.tags_of_tick("dead_letter_retries"))
        assert request.tags[CORRELATION_TAG] == "work-1"
        config = dict(retry.ops)
        assert dg.execute_job(
            dg.reconstructable(daily_bars_job),
            instance=opened,
            run_config={"ops": config},
            tags=dict(request.tags),
            raise_on_error=False,
        ).success

    (letter,) = letters(pipeline)
    assert letter.state is LetterState.RESOLVED
    asked = "select distinct correlation_id from ingest_log where request like '%MSFT%'"
    assert sorted(rows(pipeline, f"{asked} and outcome = 'failed'")) == [("work-1",), ("work-2",)]
    assert rows(pipeline, f"{asked} and outcome = 'loaded'") == [("work-1",)]


def test_letters_of_different_work_are_retried_under_the_ticks_own_id(pipeline: Pipeline) -> None:
    """One run has one id; each letter still has its own, and names the run in its history."""
    pipeline.simulator.add_fault("status", status=503)
    with instance(pipeline) as opened:
        load(opened, "AAPL")
        load(opened, "MSFT", tags={CORRELATION_TAG: "work-2"})
    ids = [letter.letter_id for letter in letters(pipeline)]
    (retry,) = retries.claim(pipeline.stores.dead_letters, ids, "somebody")

    tags = observation.tags_of_tick("dead_letter_retries")
    assert retry.correlation_tags == {}
    assert (
        retry.request(tags).tags[CORRELATION_TAG]
        == tags[CORRELATION_TAG]
        not in {"work-1", "work-2"}
    )


def test_every_schedule_gives_each_of_its_ticks_an_id(
    monkeypatch: pytest.MonkeyPatch, pipeline: Pipeline
) -> None:
    """Two of them look at the route of daily bars, and one of each pair skips."""
    del pipeline
    monkeypatch.setenv("WRDATA_RETENTION", "minute_bars=400d")
    monkeypatch.setenv("WRDATA_BACKUP_CONFIG", "/etc/pgbackrest")
    ids: list[tuple[str, str]] = []
    for route in ("bulk", "per_ticker"):
        monkeypatch.setenv("WRDATA_DAILY_BARS_ROUTE", route)
        for schedule in schedules.ALL:
            tick = schedule.evaluate_tick(
                dg.build_schedule_context(
                    scheduled_execution_time=TUESDAY,
                    repository_def=definitions.get_repository_def(),
                )
            )
            ids += [
                (schedule.name, request.tags[CORRELATION_TAG])
                for request in tick.run_requests or []
            ]

    assert {name for name, _ in ids} == {schedule.name for schedule in schedules.ALL}
    assert len({correlation_id for _, correlation_id in ids}) == len(ids)


def test_a_run_that_died_leaves_its_id_to_its_letter(pipeline: Pipeline) -> None:
    """The sensor that posts the letter works for that run."""
    cursor = look_at_failures(pipeline.instance)
    run = pipeline.instance.create_run_for_job(definitions.resolve_job_def("universe"), tags=WORK)
    pipeline.instance.report_run_failed(run, "its worker is gone")
    look_at_failures(pipeline.instance, cursor)

    (letter,) = letters(pipeline)
    assert (letter.run_id, letter.correlation_id) == (run.run_id, "work-1")


def test_requests_loads_and_commits_are_children_of_the_run_and_that_of_its_tick(
    pipeline: Pipeline, spans: Spans
) -> None:
    """Across processes by the run's tag."""
    tags = observation.tags_of_tick("daily_bars_after_close")
    with instance(pipeline) as opened:
        assert load(opened, "AAPL", tags=tags).success

    (tick,), (run,) = spans.named("tick"), spans.named("run")
    (request,), (loaded,) = spans.named("request"), spans.named("load")
    assert tick.context
    assert run.parent
    assert run.context
    assert run.parent.span_id == tick.context.span_id
    for child in (request, loaded):
        assert child.parent
        assert child.parent.span_id == run.context.span_id
        assert child.attributes
        assert child.attributes["correlation_id"] == tags[CORRELATION_TAG]
    assert request.attributes
    assert request.attributes["status"] == 200


def test_a_failed_run_is_reported_once_with_provider_dataset_and_id(
    pipeline: Pipeline, reported: list[dict[str, Any]]
) -> None:
    """By the worker that saw it; the sensor that looks at failed runs adds nothing."""
    pipeline.simulator.add_fault("status", status=401)
    with instance(pipeline) as opened:
        cursor = look_at_failures(opened)
        assert not load(opened, "AAPL").success
        assert look_at_failures(opened, cursor) != cursor

    (event,) = reported
    assert event["exception"]["values"][0]["type"] == "KeyRefusedError"
    assert (
        event["tags"].items()
        >= {
            "provider": "fmp",
            "dataset": "daily_bars",
            "correlation_id": "work-1",
            "job": "daily_bars",
            "step": REFRESH,
        }.items()
    )
    assert read_settings().fmp_api_key.get_secret_value() not in str(event)  # pyright: ignore[reportOptionalMemberAccess]


def test_a_run_whose_worker_is_gone_is_reported_once_by_the_sensor(
    pipeline: Pipeline, reported: list[dict[str, Any]]
) -> None:
    """A killed worker reports nothing."""
    cursor = look_at_failures(pipeline.instance)
    run = pipeline.instance.create_run_for_job(daily_bars_job(), tags=WORK)
    pipeline.instance.report_run_failed(run, "its worker is gone")
    cursor = look_at_failures(pipeline.instance, cursor)
    look_at_failures(pipeline.instance, cursor)

    (event,) = reported
    assert event["exception"]["values"][0]["value"] == "its worker is gone"
    assert event["tags"]["correlation_id"] == "work-1"
    assert event["tags"]["dataset"] == "daily_bars"


def test_work_of_a_command_gives_its_runs_the_id_that_it_has(spans: Spans) -> None:
    """And the span of the command as parent."""
    with bound(correlation_id="by-hand"), traces.span("command"):
        tags = observation.tags()

    (command,) = spans.named("command")
    assert command.context
    assert tags[CORRELATION_TAG] == "by-hand"
    assert f"{command.context.span_id:016x}" in tags[observation.TRACE_TAG]
