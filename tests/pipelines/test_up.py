"""`wrdata up` and the processes below it: alone in its folder, and ended in order."""

import signal
import socket
from collections.abc import Iterator
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

import httpx
import pytest

from machine import private_files, processes
from machine.processes import NO_AUTHORITIES
from sandbox.local_world import SERVICES, LocalWorld
from tests.fixtures.state_folder import PATIENCE_S, StateFolder, state_folder

pytestmark = [pytest.mark.servers, pytest.mark.long]

LISTEN = "0A"
"""State of a listening socket in /proc/net/tcp."""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StateFolder]:
    """A world that is stopped at the end, whatever a test has left."""
    with state_folder(tmp_path_factory, "up") as folder:
        yield folder


def test_a_second_up_in_one_folder_is_refused_and_the_first_goes_on(world: StateFolder) -> None:
    """The second would end the servers of the first, and forget them."""
    with socket.socket() as taken:
        taken.bind((processes.LOOPBACK, 0))
        taken.listen()
        address = world.start(taken.getsockname()[1])
    line = world.said()[world.said().index("Dagster's UI: ") :].splitlines()[0]
    assert world.said().splitlines()[-1].startswith("Dagster's UI: ")
    assert f"(port {taken_port(line)}: Address already in use)" in line
    assert httpx.get(f"{address}/server_info", verify=NO_AUTHORITIES).is_success, (
        "it is told when it serves"
    )

    second = world("up", "--port", "0")

    assert second.returncode == 1
    assert f"wrdata up runs already in {world.state} at {address}" in second.stderr
    assert "wrdata down" in second.stderr
    assert second.stderr.count("\n") == 1
    assert httpx.get(f"{address}/server_info", verify=NO_AUTHORITIES).is_success
    assert all(service.running for service in LocalWorld(world.state).status())
    assert world.up is not None
    world.up.send_signal(signal.SIGINT)
    assert world.up.wait(PATIENCE_S) == 0
    assert world.left() == []
    assert "nothing was running" in world("down").stderr


def taken_port(line: str) -> str:
    """Return the port that was wanted."""
    return line.partition("(port ")[2].partition(":")[0]


def test_no_server_of_ours_listens_on_a_public_address(world: StateFolder) -> None:
    """Neither Dagster's, nor the local world's database, object store and simulators."""
    world.start(processes.free_port(None))
    services = private_files.read_json(world.state / "state.json")
    pids = {int(str(service["pid"])) for service in services.values() if isinstance(service, dict)}
    assert len(pids) == len(SERVICES)
    of_dagster = {process.pid for process in world.left()}

    for group in (pids, of_dagster):
        listening = addresses_of(group)
        assert listening
        assert {address for address in listening if not address.is_loopback} == set()

    assert world.up is not None
    world.up.send_signal(signal.SIGINT)
    assert world.up.wait(PATIENCE_S) == 0


def addresses_of(pids: set[int]) -> list[IPv4Address | IPv6Address]:
    """Return the addresses on which some processes listen (TCP)."""
    sockets: set[str] = set()
    for link in (link for pid in pids for link in Path("/proc", str(pid), "fd").iterdir()):
        with suppress(FileNotFoundError):  # closed meanwhile
            sockets.add(link.readlink().name)
    found: list[IPv4Address | IPv6Address] = []
    for table in ("tcp", "tcp6"):
        for line in Path("/proc/net", table).read_text().splitlines()[1:]:
            _, local, _, state, *rest = line.split()
            if state == LISTEN and f"socket:[{rest[5]}]" in sockets:
                words = bytes.fromhex(local.partition(":")[0])
                # Each word of four bytes is in the machine's own order, lowest first.
                packed = b"".join(words[at : at + 4][::-1] for at in range(0, len(words), 4))
                found.append(ip_address(packed))
    return found


def test_ctrl_c_while_a_run_works_ends_its_worker_before_the_servers(world: StateFolder) -> None:
    """The batch in hand is finished or rolled back, Dagster knows the end, and nothing is left."""
    address = world.start(processes.free_port(None))
    run_id = world.launch_long_run(address)
    before = len(world.said())

    assert world.up is not None
    world.up.send_signal(signal.SIGINT)

    assert world.up.wait(PATIENCE_S) == 0
    said = world.said()[before:]
    assert world.left() == []
    assert "waiting for 1 workers of runs to end" in said
    words = ("refused", "terminating connection", "OperationalError", "could not connect")
    for word in (*words, "Stack Trace", "Traceback", "Interrupt"):
        assert word not in said, said
    assert not any(service.running for service in LocalWorld(world.state).status())
    assert "nothing was running" in world("down").stderr
    assert world("universe").returncode == 0
    assert world.status_of(run_id) == "FAILURE"
