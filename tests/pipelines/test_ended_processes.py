"""Processes that are ended while they work: what a signal says, and what kill -9 leaves behind.

All of it with commands, Dagster's daemon and its workers as they are deployed.
"""

import signal
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from machine import processes
from machine.processes import NO_AUTHORITIES, runs_program, wait_until
from pipelines.cli.dagster_processes import CODE_SERVER, WORKER
from pipelines.sensors import TRIED_AGAIN
from tests.fixtures.state_folder import PATIENCE_S, StateFolder, killed, state_folder

pytestmark = [pytest.mark.servers, pytest.mark.long]

ENDS_WITHIN_S = 30.0
"""How long a load may take after the first signal."""
PACE = "20"
"""Requests a minute: an answer takes milliseconds, so all that works waits for its permit."""
WAITING = "select count(*) from daily_bar_invalidation"
REFRESHED_WITHIN_S = PATIENCE_S + TRIED_AGAIN.total_seconds()
"""The sensor may have asked for a refresh just before; then it waits before it asks again."""
ENDS_ALONE_WITHIN_S = 60.0
DAGSTER = "WRDATA_DAGSTER_DATABASE_URL"
TICKED = "select 1 from job_ticks where timestamp > %s and status in ('SKIPPED', 'SUCCESS') limit 1"
TERMINATE = "mutation ($run: String!) { terminateRun(runId: $run) { __typename } }"
SENSOR = """
query ($sensor: SensorSelector!) { sensorOrError(sensorSelector: $sensor) { ... on Sensor { id } } }
"""
STOP = "mutation ($id: String!) { stopSensor(id: $id) { __typename } }"
START = (
    "mutation ($sensor: SensorSelector!) { startSensor(sensorSelector: $sensor) { __typename } }"
)
REFRESHES = """
select count(*)
from run_tags
where key = 'dagster/sensor_name' and value = 'waiting_aggregates'
"""
UNDER_WAY = """
select
    (select count(*) from runs where status not in ('SUCCESS', 'FAILURE', 'CANCELED'))
    + (select count(*) from job_ticks where status = 'STARTED')
"""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StateFolder]:
    """A world with the universe in its database."""
    with state_folder(tmp_path_factory, "ended") as folder:
        assert folder("universe").returncode == 0
        yield folder


@pytest.fixture(scope="module")
def address(world: StateFolder) -> str:
    """The address of the UI of a `wrdata up`; a test may end that."""
    return world.start(processes.free_port(None))


def test_a_run_that_a_person_terminates_in_the_ui_ends_while_it_waits_for_permits(
    world: StateFolder, address: str
) -> None:
    """It waits for most of its time, and nobody who waited was told of the end."""
    run_id = world.launch_long_run(address)

    answer = _asked(address, TERMINATE, run=run_id)

    assert answer["terminateRun"]["__typename"] == "TerminateRunSuccess", answer
    assert wait_until(lambda: world.status_of(run_id) == "CANCELED", within_s=PATIENCE_S)
    assert wait_until(
        lambda: not any(runs_program(process, WORKER) for process in world.left()),
        within_s=PATIENCE_S,
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_load_that_waits_for_permits_ends_with_the_first_signal_and_one_line(
    world: StateFolder, number: signal.Signals
) -> None:
    """One SIGTERM of three left all who waited for permits waiting for ever."""
    words = ("backfill", "daily_bars", "--all")
    before = _loads(world)
    with world.running(*words, FMP_REQUESTS_PER_MINUTE=PACE) as load:
        assert wait_until(lambda: _loads(world) > before, within_s=PATIENCE_S)

        load.send_signal(number)

        _, said = load.communicate(timeout=ENDS_WITHIN_S)
    lines = [line for line in said.splitlines() if not line.startswith("daily bars: ")]
    assert len(lines) == 1, said
    assert lines[0].startswith("error: run ")
    assert "was interrupted: stored rows are kept; repeat the command to go on" in lines[0]
    assert load.returncode == 130
    assert world.status_of(lines[0].split()[2]) == "FAILURE"


def test_the_daemon_refreshes_what_a_killed_load_left_waiting(
    world: StateFolder, address: str
) -> None:
    """Without another load: 148 spans waited beside a daemon for eight minutes."""
    words = ("backfill", "daily_bars", "--tickers", "AAPL,MSFT,NVDA")
    # These two refresh as well: after what the load had reported, and after they load its rest.
    with _stopped(address, "derived_after_loads", "dead_letter_retries"):
        assert wait_until(lambda: _count(world, UNDER_WAY, of=DAGSTER) == 0, within_s=PATIENCE_S)
        before, refreshes = _loads(world), _count(world, REFRESHES, of=DAGSTER)
        with world.running(*words, FMP_REQUESTS_PER_MINUTE=PACE) as load:
            assert wait_until(lambda: _loads(world) > before, within_s=PATIENCE_S)
            load.kill()
            load.wait()
        # It has waited for longer than a run takes from its load to its refresh.
        world.run_sql(
            "update daily_bar_invalidation set noted_at = noted_at - interval '2 minutes'"
        )
        assert _count(world, WAITING) > 0

        assert wait_until(
            lambda: _count(world, WAITING) == 0, within_s=REFRESHED_WITHIN_S, every_s=0.5
        )

    assert _count(world, REFRESHES, of=DAGSTER) > refreshes
    verified = world("aggregates", "verify", "--interval", "1w")
    assert verified.returncode == 0, verified.stderr


def test_a_run_ends_within_a_minute_after_its_worker_and_the_code_server_were_killed(
    world: StateFolder, address: str
) -> None:
    """Dagster starts no new code server: no sensor ran, and the run stayed STARTED for hours."""
    _postpone_letters(world)
    run_id = world.launch_long_run(address)
    assert world.up is not None
    world.up.send_signal(signal.SIGSTOP)  # so that nobody ends it before we have asked
    gone = [
        process
        for process in world.left()
        if runs_program(process, WORKER) or runs_program(process, CODE_SERVER)
    ]
    assert len(gone) >= 2

    killed(gone)

    short, wide = world("status"), world("status", "--wide")
    assert " whose worker is gone" in short.stdout
    assert run_id in wide.stdout
    assert world.status_of(run_id) == "STARTED"
    world.up.send_signal(signal.SIGCONT)
    assert wait_until(lambda: world.status_of(run_id) == "FAILURE", within_s=ENDS_ALONE_WITHIN_S)
    ((now,),) = world.rows("select now() at time zone 'utc'")
    assert wait_until(lambda: bool(world.rows(TICKED, now, of=DAGSTER)), within_s=PATIENCE_S)
    assert "the code server is gone: starting a new one" in world.said()
    assert f"run {run_id} (daily_bars) is ended: its worker (process" in world.said()


def test_a_run_ends_with_the_next_start_after_all_of_dagster_and_its_worker_were_killed(
    world: StateFolder, address: str
) -> None:
    """Until then `status` and `doctor` name it; it stayed STARTED for hours, and held its lane."""
    _postpone_letters(world)
    run_id = world.launch_long_run(address)
    assert any(runs_program(process, WORKER) for process in world.left())

    world.kill_up()

    assert world.status_of(run_id) == "STARTED"
    doctor, short, wide = world("doctor"), world("status"), world("status", "--wide")
    assert doctor.returncode == 1
    assert f"run {run_id} (daily_bars): its worker (process" in doctor.stdout
    assert " whose worker is gone" in short.stdout
    assert run_id in wide.stdout
    assert "its worker is gone" in wide.stdout
    world.launch(processes.free_port(None))
    assert wait_until(lambda: "Dagster's storage is ready" in world.said(), within_s=PATIENCE_S)
    assert world.status_of(run_id) == "FAILURE", "before the UI is there: seconds, not minutes"
    assert "each has a running worker" in world("doctor").stdout


@contextmanager
def _stopped(address: str, *sensors: str) -> Generator[None]:
    """Stop sensors for the length of the block, as a person does in the UI."""
    selectors = [
        {
            "repositoryLocationName": "wrdata",
            "repositoryName": "__repository__",
            "sensorName": name,
        }
        for name in sensors
    ]
    for selector in selectors:
        found = _asked(address, SENSOR, sensor=selector)
        answer = _asked(address, STOP, id=found["sensorOrError"]["id"])
        assert answer["stopSensor"]["__typename"] == "StopSensorMutationResult", answer
    try:
        yield
    finally:
        for selector in selectors:
            _asked(address, START, sensor=selector)


def _asked(address: str, query: str, **variables: object) -> Any:
    """Ask the UI's server, and return its data."""
    question = {"query": query, "variables": variables}
    answer = httpx.post(
        f"{address}/graphql", json=question, timeout=60, verify=NO_AUTHORITIES
    ).json()
    assert "errors" not in answer, answer
    return answer["data"]


def _postpone_letters(world: StateFolder) -> None:
    """Keep the daemon from trying again meanwhile what a test before has left."""
    world.run_sql("update dead_letter set next_attempt_at = next_attempt_at + interval '1 hour'")


def _loads(world: StateFolder) -> int:
    return _count(world, "select count(*) from ingest_log where dataset = 'daily_bars'")


def _count(world: StateFolder, query: str, *, of: str = "WRDATA_DATABASE_URL") -> int:
    ((count,),) = world.rows(query, of=of)
    return int(count)
