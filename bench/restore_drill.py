"""A restore drill over minute bars: how long backups, restores and their parts take.

Here: a full and an incremental backup, and the drill. Not here: restoring from the archive
(restore.py).

    python -m bench.restore_drill [--rows 3000000]
"""

import argparse
import os
import sys
import time
from pathlib import Path

from bench.archive import fill
from resources import opening
from resources.settings import read_settings
from resources.storage import migrations
from resources.storage.timescale import Timescale
from sandbox.backed_up import BackedUpWorld
from sandbox.local_world import LocalWorld
from usecases import backups
from usecases.restore_drill import drill

ROOT = Path(__file__).parents[1] / ".wrdata" / "bench-restore-drill"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="A restore drill.")
    parser.add_argument("--rows", type=int, default=3_000_000)
    wanted = parser.parse_args().rows
    bucket, world = LocalWorld(ROOT / "bucket"), BackedUpWorld(ROOT / "server")
    bucket.start(["object_store"])
    world.start()
    try:
        os.environ.update(bucket.environment(["object_store"]))
        os.environ.update(world.environment)
        os.environ["WRDATA_DATABASE_URL"] = world.url("wrdata")
        figures = measured(world, wanted)
    finally:
        world.stop()
        bucket.stop()
    for name, value in figures.items():
        print(f"{name:34}{value:>16}")


def measured(world: BackedUpWorld, wanted: int) -> dict[str, str]:
    """Return the figures by name."""
    settings = read_settings()
    pgbackrest = opening.pgbackrest(settings)
    url = world.url("wrdata")
    migrations.migrate(url)
    rows = fill(url, wanted)
    figures = {"rows": f"{rows:,}"}
    with Timescale(url) as timescale:
        figures["database, MB"] = f"{timescale.server().size_bytes / 1e6:,.0f}"
        for full in (True, False):
            began = time.perf_counter()
            run = backups.take_backup(pgbackrest, timescale, full=full)
            took = time.perf_counter() - began
            figures[f"{run.kind} backup, s"] = f"{took:.1f}"
            figures[f"{run.kind} backup stored, MB"] = f"{(run.stored_bytes or 0) / 1e6:,.1f}"
    done = drill(settings, lambda sentence: print(sentence, file=sys.stderr))
    figures["tables compared"] = str(done.figures.tables_compared)
    figures |= {f"{part}, s": f"{seconds:.1f}" for part, seconds in done.seconds.items()}
    figures["RTO, s"] = f"{done.figures.rto_s:.1f}"
    figures["RPO, s"] = f"{done.figures.rpo_s:.1f}"
    figures["differences"] = str(len(done.differences))
    return figures


if __name__ == "__main__":
    main()
