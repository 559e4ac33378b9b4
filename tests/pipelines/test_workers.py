"""Runs whose worker is gone, with real processes, a real database and Dagster's own storage."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest

from machine.processes import wait_until
from marketdata.recovery import process_identity
from marketdata.recovery.dead_letters import LetterState, Work
from marketdata.recovery.process_identity import Process
from pipelines import retries, sensors, workers
from pipelines.definitions import definitions
from pipelines.run_failures import CLAIM_TAG
from resources.storage.letters import LetterFilter
from resources.storage.runs.workers import RunWorkers
from tests.fixtures.pipeline import Pipeline

WORKING = """
import sys
from pipelines import workers
with workers.heartbeat(sys.argv[1], "universe"):
    print("working", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def known(pipeline: Pipeline) -> RunWorkers:
    """The table of workers."""
    return RunWorkers(pipeline.stores.timescale)


@pytest.fixture
def worker_of() -> Iterator["Workers"]:
    """Real processes that work on runs; those that are left are killed."""
    those = Workers()
    yield those
    for process in those.started:
        process.kill()
        process.communicate()


class Workers:
    """Starts processes that beat for a run until their standard input is closed."""

    def __init__(self) -> None:
        self.started: list[subprocess.Popen[bytes]] = []

    def __call__(self, run: dg.DagsterRun) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, "-c", WORKING, run.run_id],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self.started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == b"working\n"
        return process


def started(
    pipeline: Pipeline,
    status: dg.DagsterRunStatus = dg.DagsterRunStatus.STARTED,
    **tags: str,
) -> dg.DagsterRun:
    """Return a run that Dagster takes for running."""
    job = definitions.resolve_job_def("universe")
    return pipeline.instance.create_run_for_job(job, status=status, tags=tags)


def status_of(pipeline: Pipeline, run: dg.DagsterRun) -> dg.DagsterRunStatus:
    """Return what Dagster takes the run for now."""
    known = pipeline.instance.get_run_by_id(run.run_id)
    assert known is not None
    return known.status


@pytest.mark.parametrize(
    ("status", "end"),
    [
        (dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.FAILURE),
        (dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.FAILURE),
        (dg.DagsterRunStatus.CANCELING, dg.DagsterRunStatus.CANCELED),
    ],
)
def test_a_run_whose_worker_was_killed_ends_and_one_that_works_is_left(
    pipeline: Pipeline,
    worker_of: Workers,
    status: dg.DagsterRunStatus,
    end: dg.DagsterRunStatus,
) -> None:
    """By its process: nobody has to wait until it has been silent for long enough."""
    killed, alive = started(pipeline, status), started(pipeline, status)
    victim = worker_of(killed)
    worker_of(alive)
    victim.send_signal(signal.SIGKILL)
    victim.wait()

    (lost,) = workers.try_end_lost(pipeline.instance)

    assert lost.run.run_id == killed.run_id
    assert f"its worker (process {victim.pid} on " in lost.reason
    assert status_of(pipeline, killed) is end
    assert status_of(pipeline, alive) is status


def test_a_worker_on_another_host_is_gone_once_it_was_silent(
    pipeline: Pipeline, known: RunWorkers
) -> None:
    """Nobody can look at its process, so its heartbeat decides; while that comes it lives."""
    run = started(pipeline)
    known.beat(run.run_id, job="universe", place="elsewhere", process=Process(pid=1, born="x"))
    assert workers.try_end_lost(pipeline.instance) == []
    _be_silent(pipeline)

    (lost,) = workers.try_end_lost(pipeline.instance)

    assert "process 1 on elsewhere" in lost.reason
    silent = re.search(r"has not been heard of for (\d+) s", lost.reason)
    assert silent
    assert int(silent[1]) >= 31
    assert status_of(pipeline, run) is dg.DagsterRunStatus.FAILURE


def test_while_the_database_was_away_nobody_could_be_heard_of(
    pipeline: Pipeline, known: RunWorkers
) -> None:
    """Silence counts from the server's start."""
    run = started(pipeline)
    known.beat(run.run_id, job="universe", place="elsewhere", process=Process(pid=1, born="x"))
    _age(pipeline, timedelta(days=365))

    def up_s() -> float:
        with pipeline.stores.timescale.connection() as connection:
            row = connection.execute(
                "select extract(epoch from clock_timestamp() - pg_postmaster_start_time())::float8"
            ).fetchone()
        assert row
        return row[0]

    before = up_s()
    (worker,) = known.all()

    assert before <= worker.silent_s <= up_s()


def test_a_run_whose_worker_nobody_ever_heard_of_ends_after_its_first_moments(
    pipeline: Pipeline,
) -> None:
    """It died before it could say anything; one that has just started is given time."""
    run = started(pipeline, dg.DagsterRunStatus.NOT_STARTED)
    pipeline.instance.report_dagster_event(
        dg.DagsterEvent(
            event_type_value=dg.DagsterEventType.RUN_START.value, job_name=run.job_name
        ),
        run.run_id,
    )
    assert workers.try_end_lost(pipeline.instance) == []
    (record,) = pipeline.instance.get_run_records(dg.RunsFilter(run_ids=[run.run_id]))
    assert record.start_time is not None

    later = datetime.fromtimestamp(record.start_time, UTC) + timedelta(minutes=1)
    assert workers.reason_of_unknown(record, later) == "its worker never sent a heartbeat"


def test_every_run_of_ours_is_known_while_it_works_and_leaves_in_good_order(
    known: RunWorkers,
) -> None:
    """Whoever launches it: the executor brings the heartbeat along."""
    with dg.instance_for_test() as instance:
        result = dg.execute_job(
            dg.reconstructable(universe_job), instance=instance, raise_on_error=False
        )
        assert result.success
    (worker,) = [
        known_worker for known_worker in known.all() if known_worker.run_id == result.run_id
    ]
    assert (worker.has_left, worker.process.pid) == (True, os.getpid())
    assert worker.place == process_identity.here()


def universe_job() -> dg.JobDefinition:
    """Return a job of the definitions, as a launcher loads it."""
    return definitions.resolve_job_def("universe")


def test_letters_of_a_killed_retry_go_back_with_the_sensors_next_ticks(
    pipeline: Pipeline, worker_of: Workers
) -> None:
    """Its run stayed STARTED and held their claim for ever."""
    pipeline.simulator.add_fault("status", status=503, symbol="MSFT")
    assert pipeline.backfill(["AAPL", "MSFT"]).success
    letters = pipeline.stores.dead_letters
    (letter,) = letters.find(LetterFilter(states=(LetterState.OPEN,)))
    assert letter.work is Work.INSTRUMENT
    (retry,) = retries.claim(letters, [letter.letter_id], "somebody")
    victim = worker_of(
        started(pipeline, dg.DagsterRunStatus.STARTED, **{CLAIM_TAG: str(retry.claim)})
    )
    retries.settle_ended(pipeline.instance, letters, "a tick")
    assert letters.by_id([letter.letter_id])[0].state is LetterState.RETRYING
    victim.kill()
    victim.wait()

    with dg.build_sensor_context(pipeline.instance, cursor="0") as context:
        sensors.lost_runs(context)
    retries.settle_ended(pipeline.instance, letters, "a tick")

    (after,) = letters.by_id([letter.letter_id])
    assert after.state is LetterState.OPEN
    assert "is gone" in after.reason


def test_workers_of_runs_that_are_over_are_forgotten(pipeline: Pipeline, known: RunWorkers) -> None:
    """The table holds who works, not who ever did."""
    run = started(pipeline)
    known.beat(run.run_id, job="universe", place="elsewhere", process=Process(pid=1, born="x"))
    pipeline.instance.report_run_failed(run)
    _be_silent(pipeline)

    workers.try_end_lost(pipeline.instance)

    assert known.all() == []


def _be_silent(pipeline: Pipeline) -> None:
    """Let all workers have been silent for long enough to be gone.

    Silence counts from the start of the server, which may be younger than that: it is waited for.
    """
    silence_s = workers.SILENT_AFTER_S + 1

    def has_been_up() -> bool:
        with pipeline.stores.timescale.connection() as connection:
            row = connection.execute(
                "select clock_timestamp() - pg_postmaster_start_time() > %s",
                [timedelta(seconds=silence_s)],
            ).fetchone()
        return row is not None and bool(row[0])

    assert wait_until(has_been_up, within_s=silence_s + 5, every_s=0.5)
    _age(pipeline, timedelta(seconds=silence_s))


def _age(pipeline: Pipeline, by: timedelta) -> None:
    """Let all heartbeats have come earlier."""
    with pipeline.stores.timescale.connection() as connection:
        connection.execute("update run_worker set beat_at = beat_at - %s", [by])
