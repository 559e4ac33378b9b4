"""A reader's installation: `read_bars` over database and archive on base dependencies alone."""

import json
import os
import subprocess
import sys
from datetime import UTC, datetime

from resources.storage.aggregates.rollup_engine import RollUps
from resources.storage.object_store import ObjectStore
from resources.storage.timescale import Timescale
from tests.fixtures.world import BucketSettings
from tests.packaging.installations import base, distributions, modules
from tests.storage.archive.moves import Moves, load, minutes

OPEN = datetime(2024, 1, 2, 14, 30, tzinfo=UTC)
READER = """
import importlib.abc, json, sys, warnings

ALLOWED = set(sys.argv[1].split())

class Reader(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] not in ALLOWED and not name.startswith("_sysconfigdata"):
            raise ModuleNotFoundError(f"a reader has not installed {name!r}", name=name)

sys.meta_path.insert(0, Reader())
from wrdata import read_bars

warnings.simplefilter("ignore")
bars = read_bars(["AAA"], "2024-01-02", "2024-01-03", interval="1m")
print(json.dumps({"closes": bars["close"].to_pylist(), "modules": sorted(sys.modules)}))
"""
"""A reader's program in which nothing can be imported that a reader has not installed."""


def test_bars_of_database_and_archive_are_read_without_dagster(
    timescale: Timescale,
    object_store: ObjectStore,
    instrument_ids: list[int],
    migrated_url: str,
    bucket: BucketSettings,
) -> None:
    """Nothing else that pipelines or tests install can be imported."""
    moves = Moves(timescale=timescale, store=object_store, aggregates=RollUps(timescale))
    load(timescale, "minute_bars", minutes(instrument_ids[:1], OPEN, 2))
    dataset = moves.prove("minute_bars", "2024-01")
    assert moves.retention.drop(dataset, "2024-01", by="test").status == "dropped"
    load(timescale, "minute_bars", {(instrument_ids[0], OPEN.replace(day=3)): 7.0})

    done = subprocess.run(
        [sys.executable, "-c", READER, " ".join(importable())],
        env={
            **os.environ,
            "WRDATA_DATABASE_URL": migrated_url,
            "WRDATA_S3_ENDPOINT": bucket.endpoint,
            "WRDATA_ARCHIVE_BUCKET": bucket.bucket,
            "AWS_REGION": bucket.region,
            "AWS_ACCESS_KEY_ID": bucket.access_key,
            "AWS_SECRET_ACCESS_KEY": bucket.secret_key,
        },
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    content = json.loads(done.stdout)
    assert len(content["closes"]) == 3
    assert content["closes"][-1] == 7.0
    assert not {"dagster", "httpx", "typer", "sandbox", "pipelines"} & set(content["modules"])


def importable() -> set[str]:
    """Return the top-level modules that a reader's installation has."""
    ours = {"machine", "marketdata", "resources", "wrdata"}
    return modules(distributions(base())) | set(sys.stdlib_module_names) | ours
