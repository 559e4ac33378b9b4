"""The local world: database, object store and provider simulators of one checkout.

Here: starting, reusing and stopping them, and the environment by which the pipelines find
them. Not here: how each of them works (timescaledb.py, object_store.py,
simulated_providers.py).

By hand: ``python -m sandbox.local_world start|stop|status [--root DIR]``.
"""

import argparse
import contextlib
import os
import sys
from collections.abc import Callable, Collection, Generator
from dataclasses import dataclass
from pathlib import Path
from signal import Signals
from typing import Protocol, TextIO, cast

from machine import private_files, processes
from marketdata.recovery import errors
from sandbox import object_store, simulated_providers, timescaledb

SERVICES = ("timescaledb", "object_store", "providers")

_joined: dict[str, TextIO] = {}
"""Open files that mark this process as a user of a world, by path."""
_FORMER = "fmp"
"""Name of the simulators while FMP's was the only one."""


class Service(Protocol):
    """One server of the local world; constructing does nothing."""

    @property
    def name(self) -> str: ...
    @property
    def stop_signal(self) -> Signals: ...
    @property
    def start_within_s(self) -> float: ...
    def prepare(self, report: Callable[[str], None]) -> None: ...
    def launch(self, port: int) -> processes.Process: ...
    def answers(self, port: int) -> bool: ...
    def complete(self, port: int) -> None: ...
    def address(self, port: int) -> str: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceStatus:
    """State of one service: ``detail`` in words, ``cure`` what to do if it is not running."""

    name: str
    address: str
    running: bool
    detail: str
    cure: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Record:
    """Kept record of a service: its port, and its process while it runs."""

    port: int
    process: processes.Process | None


class LocalWorld:
    """The local world of the checkout whose state folder is ``root``, such as ``.wrdata``.

    Servers outlive the process that starts them. Each checkout has its own folder, ports and
    keys.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()

    def start(
        self,
        services: Collection[str] = SERVICES,
        report: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Start the services that do not run; ``report`` gets each step as a sentence.

        Raises:
            ConfigurationError: A service cannot be started; the text names its log.
        """
        with self._locked():
            for service in self._services(services):
                self._start(service, report)

    def stop(
        self, services: Collection[str] = SERVICES, *, with_signal: Signals | None = None
    ) -> list[str]:
        """Stop those of ``services`` that run and return their names.

        Args:
            services: Names of services.
            with_signal: Instead of the service's own, such as SIGQUIT to make PostgreSQL drop
                everything at once, as in a crash.
        """
        if not self.root.exists():
            return []
        stopped: list[str] = []
        with self._locked():
            for service in reversed(self._services(services)):
                record = self._record(service.name)
                if record is None or record.process is None:
                    continue
                if processes.end(
                    record.process, with_signal=with_signal or service.stop_signal, within_s=60
                ):
                    stopped.append(service.name)
                self._remember(service.name, _Record(port=record.port, process=None))
        return stopped

    def join(self) -> None:
        """Register as a user of this world until this process ends, however it ends.

        The file stays open on purpose: ``users`` looks for processes that have it open.
        """
        private_files.make_passable(self.root)
        file = str(self._users_file())
        if file not in _joined:
            _joined[file] = self._users_file().open("a")

    def users(self) -> list[processes.Process]:
        """Return the other processes that work in this world."""
        return [
            process
            for process in processes.holding(self._users_file())
            if process.pid != os.getpid()
        ]

    def status(self) -> list[ServiceStatus]:
        """Return the state of each service, without starting anything."""
        return [self._status(service) for service in self._services(SERVICES)]

    def environment(self, services: Collection[str] | None = None) -> dict[str, str]:
        """Return the environment variables by which the pipelines find ``services``.

        With the providers among them, database and bucket are those for simulated prices.

        Args:
            services: Names of services; all that were ever started if None.

        Raises:
            ConfigurationError: One of them was never started.
        """
        state = private_files.read_json(self._state_file())
        variables: dict[str, str] = {}
        known = [name for name in SERVICES if name in state] or SERVICES
        names = known if services is None else services
        simulated = "providers" in names
        for name in names:
            port = self._port(name)
            if name == "timescaledb":
                variables |= self._database_variables(port, simulated)
            elif name == "object_store":
                variables |= self._object_store_variables(port, simulated)
            else:
                variables |= self._providers().environment(port)
        return variables

    def _database_variables(self, port: int, simulated: bool) -> dict[str, str]:
        server = self._timescaledb()
        market, dagster = timescaledb.DATABASES[simulated]
        return {
            "WRDATA_DATABASE_URL": server.url(port, market),
            "WRDATA_DAGSTER_DATABASE_URL": server.url(port, dagster),
        }

    def _object_store_variables(self, port: int, simulated: bool) -> dict[str, str]:
        store = self._object_store()
        access_key, secret_key = store.keys()
        return {
            "WRDATA_S3_ENDPOINT": store.address(port),
            "WRDATA_ARCHIVE_BUCKET": object_store.BUCKETS[simulated],
            "AWS_ACCESS_KEY_ID": access_key,
            "AWS_SECRET_ACCESS_KEY": secret_key,
            "AWS_REGION": object_store.REGION,
        }

    def simulators_origin(self) -> str:
        """Return scheme, host and port of the simulators, for sandbox.control.

        Raises:
            ConfigurationError: The world was never started.
        """
        return self._providers().address(self._port("providers"))

    def _start(self, service: Service, report: Callable[[str], None]) -> None:
        record = self._record(service.name)
        if record is not None and record.process is not None:
            if processes.is_running(record.process) and service.answers(record.port):
                service.complete(record.port)
                return
            processes.end(record.process, with_signal=service.stop_signal, within_s=30)
        service.prepare(report)
        port = processes.free_port(record.port if record else None)
        with processes.undisturbed():
            process = service.launch(port)
            self._remember(service.name, _Record(port=port, process=process))
        self._await(service, port, process)
        service.complete(port)
        report(f"{service.name} runs at {service.address(port)}")

    def _await(self, service: Service, port: int, process: processes.Process) -> None:
        log = self._log(service.name)
        answered = processes.wait_until(
            lambda: not processes.is_running(process) or service.answers(port),
            within_s=service.start_within_s,
        )
        if answered and processes.is_running(process):
            return
        trouble = (
            "ended while starting"
            if answered
            else f"did not answer within {service.start_within_s:g} s"
        )
        processes.end(process, with_signal=service.stop_signal, within_s=10)
        message = (
            f"{service.name} {trouble}. Mend what its log, {log}, shows and start again; it ends"
            f" with:\n{processes.log_tail(log)}"
        )
        raise errors.ConfigurationError(message)

    def _status(self, service: Service) -> ServiceStatus:
        record = self._record(service.name)
        if record is None:
            address, running, detail = "", False, "never started"
        else:
            address = service.address(record.port)
            alive = record.process is not None and processes.is_running(record.process)
            running = alive and service.answers(record.port)
            detail = "running" if running else "runs but does not answer" if alive else "stopped"
        cure = "" if running else f"start the local world; log: {self._log(service.name)}"
        return ServiceStatus(
            name=service.name, address=address, running=running, detail=detail, cure=cure
        )

    def _services(self, names: Collection[str]) -> list[Service]:
        unknown = sorted(set(names) - set(SERVICES))
        if unknown:
            message = f"no such service: {', '.join(unknown)}; there are {', '.join(SERVICES)}"
            raise errors.ConfigurationError(message)
        services: tuple[Service, ...] = (
            self._timescaledb(),
            self._object_store(),
            self._providers(),
        )
        return [service for service in services if service.name in names]

    def _timescaledb(self) -> timescaledb.TimescaleServer:
        return timescaledb.TimescaleServer(
            home=self.root / "timescaledb", log=self._log("timescaledb")
        )

    def _object_store(self) -> object_store.ObjectStore:
        return object_store.ObjectStore(
            home=self.root / "object_store", log=self._log("object_store")
        )

    def _providers(self) -> simulated_providers.SimulatedProviders:
        return simulated_providers.SimulatedProviders(
            home=self.root / "providers", log=self._log("providers")
        )

    def _log(self, name: str) -> Path:
        return self.root / "logs" / f"{name}.log"

    def _port(self, name: str) -> int:
        record = self._record(name)
        if record is None:
            message = f"the local world in {self.root} was never started: start it first"
            raise errors.ConfigurationError(message)
        return record.port

    def _record(self, name: str) -> _Record | None:
        stored = private_files.read_json(self._state_file()).get(name)
        if not isinstance(stored, dict):
            return None
        values = cast("dict[str, int | str]", stored)
        process = (
            processes.Process(pid=int(values["pid"]), born=str(values["born"]))
            if "pid" in values
            else None
        )
        return _Record(port=int(values["port"]), process=process)

    def _remember(self, name: str, record: _Record) -> None:
        values: dict[str, object] = {"port": record.port}
        if record.process is not None:
            values |= {"pid": record.process.pid, "born": record.process.born}
        state = private_files.read_json(self._state_file())
        private_files.write_json(self._state_file(), {**state, name: values})

    def _users_file(self) -> Path:
        return self.root.resolve() / "users"

    def _state_file(self) -> Path:
        return self.root / "state.json"

    @contextlib.contextmanager
    def _locked(self) -> Generator[None]:
        with private_files.locked(self.root / "lock"):
            self._take_over_former()
            yield

    def _take_over_former(self) -> None:
        """Give key, log and changes of a world with FMP alone their present names.

        Its old process, which serves FMP only, is ended by the next start or stop.
        """
        state = private_files.read_json(self._state_file())
        if _FORMER not in state:
            return
        simulated_providers.take_over(self.root / _FORMER, self.root / "providers")
        former = state.pop(_FORMER)
        private_files.write_json(self._state_file(), {"providers": former, **state})


def main(arguments: list[str]) -> int:
    """Start, stop or show the local world from a shell; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m sandbox.local_world")
    parser.add_argument("action", choices=("start", "stop", "status"))
    parser.add_argument("--root", type=Path, default=Path(".wrdata"))
    asked = parser.parse_args(arguments)
    world = LocalWorld(asked.root)

    def say(sentence: str) -> None:
        sys.stdout.write(f"{sentence}\n")

    try:
        if asked.action == "start":
            world.start(report=say)
        elif asked.action == "stop":
            say(f"Stopped: {', '.join(world.stop()) or 'nothing ran'}")
        else:
            for service in world.status():
                say(f"{service.name:14}{service.detail:28}{service.address}  {service.cure}")
    except errors.MarketDataError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
