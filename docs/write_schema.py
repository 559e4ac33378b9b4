"""Writes resources/storage/sql/schema.sql anew: make schema.

The migrations run in a scratch database of the tests' own server, which is stopped again unless it
ran before.
"""

from pathlib import Path

from resources.storage import migrations, schema, timescale
from sandbox.local_world import LocalWorld
from sandbox.scratch_databases import scratch_database

WORLD = Path(__file__).parents[1] / ".wrdata" / "test"
SERVER = "timescaledb"


def main() -> None:
    """Migrate an empty database and write what it consists of."""
    world = LocalWorld(WORLD)
    ran_before = any(service.running for service in world.status() if service.name == SERVER)
    world.start([SERVER])
    try:
        with scratch_database(world, "schema") as url:
            migrations.migrate(url)
            with timescale.connect(url) as connection:
                schema.FILE.write_text(schema.describe(connection), "utf-8")
    finally:
        if not ran_before:
            world.stop([SERVER])


if __name__ == "__main__":
    main()
