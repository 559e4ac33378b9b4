"""Index of the suite's fixtures, and the order of its tests; each plugin says what it holds."""

import gc
from pathlib import Path

import pytest
from hypothesis import settings

pytest_plugins = [
    "tests.fixtures.world",
    "tests.fixtures.pipeline",
    "tests.fixtures.backups",
    "tests.fixtures.locked_bucket",
    "tests.fixtures.roles",
    "tests.fixtures.telemetry",
    "tests.fixtures.webhook",
]

# No test is a timed one: what a busy machine does late is not wrong.
settings.register_profile("wrdata", deadline=None)
settings.load_profile("wrdata")

PROJECT = Path(__file__).parents[1]
LONGEST_FIRST = ("pipelines", "faults", "assets", "storage")
"""Rooms whose files take longest: the processes that share the suite then end together."""
SERVERS = {
    "world",
    "simulators",
    "fmp_simulator",
    "backed_up",
    "programs",
    "webhook",
    "locking_server",
}
"""Fixtures that start servers, or whole programs."""


def pytest_configure() -> None:
    """Refuse a `.env` of the checkout: commands that tests start here would read it."""
    if (PROJECT / ".env").exists():
        message = f"tests would read {PROJECT / '.env'}: move it away while they run"
        pytest.exit(message, returncode=pytest.ExitCode.USAGE_ERROR)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest files first, and mark the tests that need servers."""
    items.sort(key=lambda item: _rank(item.path))
    for item in items:
        if SERVERS.intersection(getattr(item, "fixturenames", ())) or item.path.stem.endswith(
            "_simulated"
        ):
            item.add_marker("servers")


def pytest_collection_finish() -> None:
    """Keep the garbage collector from walking through all that is imported, again and again."""
    gc.collect()
    gc.freeze()


def _rank(path: Path) -> int:
    room = _room(path)
    return LONGEST_FIRST.index(room) if room in LONGEST_FIRST else len(LONGEST_FIRST)


def _room(path: Path) -> str:
    return path.relative_to(Path(__file__).parent).parts[0]
