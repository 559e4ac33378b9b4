"""Fixtures of the audit log's tests: a log with rows, and a superuser."""

import pytest

from resources.storage.audit import AuditLog
from resources.storage.timescale import Timescale
from sandbox.local_world import LocalWorld
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
