"""The local world starts, is reused, stops, and gets up again after a crash."""

import contextlib
import os
import shutil
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TypedDict, cast

import httpx
import psycopg
import pytest

from machine import private_files, processes
from machine.processes import NO_AUTHORITIES
from marketdata.recovery import errors
from sandbox.control import SimulatorControl
from sandbox.local_world import SERVICES, LocalWorld, main

ROOT = Path(__file__).parents[2] / ".wrdata" / "test-life"


@pytest.fixture(scope="module")
def life() -> Iterator[LocalWorld]:
    """A world of this module's own, removed afterwards: the shared one must not be killed."""
    world = LocalWorld(ROOT)
    world.stop()
    shutil.rmtree(ROOT, ignore_errors=True)
    yield world
    world.stop()
    shutil.rmtree(ROOT)


@pytest.fixture
def running(life: LocalWorld) -> LocalWorld:
    """The world, up and running."""
    life.start()
    return life


def _processes(world: LocalWorld) -> dict[str, int]:
    return {name: record["pid"] for name, record in _state(world).items()}


class _Record(TypedDict):
    port: int
    pid: int
    born: str


def _state(world: LocalWorld) -> dict[str, _Record]:
    """Return what the world keeps of each service."""
    state = private_files.read_json(world.root / "state.json")
    return cast("dict[str, _Record]", state)


def test_a_second_start_reuses_what_runs(running: LocalWorld) -> None:
    """Same processes, same ports, and no report."""
    before, said = _processes(running), list[str]()
    running.start(report=said.append)
    assert _processes(running) == before
    assert said == []


def test_its_environment_leads_to_working_services(running: LocalWorld) -> None:
    """Both databases, the bucket's address and FMP's simulator answer."""
    environment = running.environment()
    for name in ("WRDATA_DATABASE_URL", "WRDATA_DAGSTER_DATABASE_URL"):
        with psycopg.connect(environment[name]) as connection:
            assert connection.execute("select 1").fetchone() == (1,)
    answer = httpx.get(
        f"{environment['FMP_BASE_URL']}/sp500-constituent",
        params={"apikey": environment["FMP_API_KEY"]},
        trust_env=False,
        verify=NO_AUTHORITIES,
    )
    assert len(answer.json()) == 503
    assert {service.name: service.running for service in running.status()} == dict.fromkeys(
        SERVICES, True
    )


def test_it_says_only_what_was_asked_for(running: LocalWorld) -> None:
    """Variables of services that are configured elsewhere stay out."""
    assert set(running.environment(["providers"])) == {
        "FMP_API_KEY",
        "FMP_BASE_URL",
        "FMP_BULK_INTERVAL_S",
        "WRDATA_DAILY_BARS_ROUTE",
        "POLYGON_API_KEY",
        "POLYGON_BASE_URL",
        "POLYGON_REQUESTS_PER_MINUTE",
        "TIINGO_API_KEY",
        "TIINGO_BASE_URL",
        "TIINGO_REQUESTS_PER_HOUR",
        "TIINGO_REQUESTS_PER_DAY",
        "FRED_API_KEY",
        "FRED_BASE_URL",
        "BINANCE_BASE_URL",
        "BINANCE_FILES_URL",
        "COINBASE_BASE_URL",
    }


def test_data_survive_a_stop_and_ports_stay(running: LocalWorld) -> None:
    """Rows, corrections and addresses are the same after the next start."""
    environment = running.environment()
    with psycopg.connect(environment["WRDATA_DATABASE_URL"]) as connection:
        connection.execute("create table kept (a int)")
    assert running.stop() == ["providers", "object_store", "timescaledb"]
    assert running.stop() == []
    assert not any(service.running for service in running.status())
    running.start()
    assert running.environment() == environment
    with psycopg.connect(environment["WRDATA_DATABASE_URL"]) as connection:
        assert connection.execute("select count(*) from kept").fetchone() == (0,)


@pytest.mark.parametrize("which", ["server", "whole family"])
def test_a_killed_database_comes_back_with_its_data(running: LocalWorld, which: str) -> None:
    """Kill -9 leaves a stale postmaster.pid and perhaps backends; committed rows are there."""
    url = running.environment()["WRDATA_DATABASE_URL"]
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("create table if not exists committed (which text)")
        connection.execute("insert into committed values (%s)", [which])
        victims = [_processes(running)["timescaledb"]]
        if which == "whole family":
            data = running.root / "timescaledb" / "data"
            victims = [process.pid for process in processes.working_in(data)]
        for pid in victims:
            # The rest of the family ends by itself when the first is gone.
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    running.start()
    with psycopg.connect(url) as connection:
        rows = connection.execute("select which from committed").fetchall()
    assert (which,) in rows


def test_killed_servers_come_back(running: LocalWorld) -> None:
    """Object store and simulator start again on their ports."""
    environment = running.environment()
    for name in ("object_store", "providers"):
        os.kill(_processes(running)[name], signal.SIGKILL)
    running.start()
    assert running.environment() == environment
    assert all(service.running for service in running.status())


def test_a_taken_port_is_given_up(running: LocalWorld) -> None:
    """Somebody else listens where the simulator did: it moves."""
    running.stop(["providers"])
    origin = running.simulators_origin()
    with socket.create_server((processes.LOOPBACK, int(origin.rpartition(":")[2]))):
        running.start(["providers"])
        assert running.simulators_origin() != origin


def test_a_lost_state_file_costs_nothing_but_a_restart(running: LocalWorld) -> None:
    """Data and keys are found; forgotten servers do not block the start."""
    simulator = _processes(running)["providers"], _processes(running)["object_store"]
    key = running.environment()["FMP_API_KEY"]
    orphans = [process for process in map(processes.identify, simulator) if process]
    (running.root / "state.json").unlink()
    try:
        running.start()
        assert running.environment()["FMP_API_KEY"] == key
    finally:
        for orphan in orphans:
            processes.end(orphan, with_signal=signal.SIGTERM, within_s=10)
    assert all(service.running for service in running.status())


def test_the_simulators_controls_are_at_its_origin(running: LocalWorld) -> None:
    """The command line finds the journal there."""
    with SimulatorControl(running.simulators_origin()) as control:
        assert control.faults() == []


def test_a_world_with_fmp_alone_is_taken_over(running: LocalWorld) -> None:
    """Its key, port and changes go on; its process, which knows no other provider, is ended."""
    environment = running.environment()
    running.stop(["providers"])
    state = _state(running)
    (running.root / "providers").rename(running.root / "fmp")
    private_files.write_json(
        running.root / "fmp" / "keys.json", {"ultimate": environment["FMP_API_KEY"]}
    )
    port = str(state.pop("providers")["port"])
    former = processes.spawn(
        [sys.executable, "-m", "http.server", port, "--bind", processes.LOOPBACK],
        log=running.root / "logs" / "fmp.log",
        cwd=running.root / "fmp",
        env={"PATH": "/usr/bin:/bin"},
    )
    state["fmp"] = {"port": int(port), "pid": former.pid, "born": former.born}
    private_files.write_json(running.root / "state.json", state)

    running.start()

    assert not processes.is_running(former)
    assert running.environment()["FMP_API_KEY"] == environment["FMP_API_KEY"]
    assert running.environment()["FMP_BASE_URL"] == environment["FMP_BASE_URL"]
    assert [service.name for service in running.status() if service.running] == list(SERVICES)
    assert not (running.root / "fmp").exists()


def test_a_server_that_cannot_start_shows_its_log(running: LocalWorld) -> None:
    """The text names the log, quotes its end, and says what to do."""
    running.stop(["timescaledb"])
    broken = running.root / "timescaledb" / "data" / "postgresql.auto.conf"
    kept = broken.read_text()
    broken.write_text("no_such_setting = 1\n")
    try:
        with pytest.raises(errors.ConfigurationError, match="no_such_setting") as caught:
            running.start(["timescaledb"])
        assert "timescaledb.log" in str(caught.value)
    finally:
        broken.write_text(kept)
    running.start(["timescaledb"])


def test_a_world_that_was_never_started_says_so(tmp_path: Path) -> None:
    """Asking creates nothing."""
    world = LocalWorld(tmp_path / "none")
    assert [service.detail for service in world.status()] == ["never started"] * 3
    assert world.stop() == []
    with pytest.raises(errors.ConfigurationError, match="was never started"):
        world.environment()
    assert not world.root.exists()


def test_an_unknown_service_is_refused(tmp_path: Path) -> None:
    """The text lists the known ones."""
    with pytest.raises(errors.ConfigurationError, match="no such service: kafka; there are"):
        LocalWorld(tmp_path).start(["kafka"])


def test_it_works_by_hand(running: LocalWorld, capsys: pytest.CaptureFixture[str]) -> None:
    """Status prints a line for each service and no password."""
    assert main(["status", "--root", str(running.root)]) == 0
    shown = capsys.readouterr().out
    assert [line.split()[:2] for line in shown.splitlines()] == [
        [name, "running"] for name in SERVICES
    ]
    assert running.environment()["AWS_SECRET_ACCESS_KEY"] not in shown
