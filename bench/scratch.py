"""A database that benchmarks may fill: new, on a local server of their own, dropped afterwards."""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from sandbox import scratch_databases
from sandbox.local_world import LocalWorld

ROOT = Path(__file__).parents[1] / ".wrdata" / "bench"


@contextmanager
def scratch_database() -> Generator[str]:
    """Start the server, yield the URL of an empty database, and stop the server again."""
    world = LocalWorld(ROOT)
    world.start(["timescaledb"])
    try:
        with scratch_databases.scratch_database(world, "bench") as url:
            yield url
    finally:
        world.stop()
