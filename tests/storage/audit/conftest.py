"""Fixtures of the audit log's tests: a log with rows, a superuser, a server that locks objects."""

from collections.abc import Iterator

import pytest

from resources.storage.audit import AuditLog
from resources.storage.timescale import Timescale
from sandbox import locking_object_store
from sandbox.local_world import LocalWorld
from sandbox.locking_object_store import LockingServer
from tests.fixtures.superuser import Tamper, tampering
from tests.storage.audit.deeds import ROWS, deed


@pytest.fixture
def log(timescale: Timescale) -> AuditLog:
    """A log with ten rows after those of the migrations."""
    log = AuditLog(timescale)
    for number in range(ROWS):
        log.append(deed(number))
    return log


@pytest.fixture
def tamper(world: LocalWorld, migrated_url: str) -> Tamper:
    """A superuser's session, in which no trigger fires."""
    return tampering(world, migrated_url)


@pytest.fixture(scope="session")
def locking_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LockingServer]:
    """An S3 server that locks objects; it takes some seconds to start."""
    with locking_object_store.running(tmp_path_factory.mktemp("seaweedfs")) as server:
        yield server
