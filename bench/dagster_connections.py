"""Connections that Dagster's daemon and code server open: with its own storage, and with the pool.

Here: both storages, one after the other, under a real daemon with all sensors and schedules, on a
database of their own. Not here: the pool (pipelines/pooled_storage.py).

    python -m bench.dagster_connections [--seconds 60] [--json]

A session is counted by Postgres when it ends, so those that stay open are not in the figure.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import LiteralString

import psycopg
import yaml

from bench.scratch import scratch_database
from machine.processes import wait_until
from resources.database_url import in_schema
from resources.storage import migrations

PROJECT = Path(__file__).resolve().parents[1]
STARTS_WITHIN_S = 120.0
NOBODYS_BUCKET = {
    "WRDATA_S3_ENDPOINT": "http://127.0.0.1:9",
    "WRDATA_ARCHIVE_BUCKET": "nobodys",
    "AWS_ACCESS_KEY_ID": "none",
    "AWS_SECRET_ACCESS_KEY": "none",
    "FMP_API_KEY": "none",
}
"""A daemon wants one to be named; no run of this bench archives."""
BARS = {"left": 0.1}
"""Required figure: of the connections that are opened, at most one in ten is left. The rest is not
Dagster's: each of our sensors opens a pool for its tick, and this bench asks for its figures."""


def measure(url: str, *, pooled: bool, seconds: float) -> dict[str, float]:
    """Let the daemon work; return connections opened a second, and its processor time.

    Args:
        url: Of a migrated database.
        pooled: Use the project's storage; else Dagster's own.
        seconds: How long it works before the figures are read.
    """
    home = Path(tempfile.mkdtemp(prefix="wrdata-bench-"))
    configured = yaml.safe_load((PROJECT / "dagster.yaml").read_text())
    if not pooled:
        configured["storage"] = {"postgres": configured["storage"]["custom"]["config"]}
    (home / "dagster.yaml").write_text(yaml.safe_dump(configured))
    environment = {
        **os.environ,
        "DAGSTER_HOME": str(home),
        "WRDATA_DATABASE_URL": url,
        "WRDATA_DAGSTER_DATABASE_URL": in_schema(url, "dagster"),
        **NOBODYS_BUCKET,
    }
    with (home / "daemon.log").open("wb") as log:
        daemon = subprocess.Popen(
            [sys.executable, "-m", "pipelines.cli", "daemon"],
            cwd=PROJECT,
            env=environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        made = "select count(*) from pg_tables where tablename = 'job_ticks'"
        ticked = "select count(*) from dagster.job_ticks where status <> 'STARTED'"
        if not wait_until(
            lambda: _number(url, made) > 0 and _number(url, ticked) > 0,
            within_s=STARTS_WITHIN_S,
            every_s=1,
        ):
            raise SystemExit((home / "daemon.log").read_text()[-2000:])
        time.sleep(5)  # What is opened once is open now.
        opened, ticks = _opened(url), _number(url, ticked)
        time.sleep(seconds)
        return {
            "opened_per_s": (_opened(url) - opened) / seconds,
            "ticks": _number(url, ticked) - ticks,
            "open": _number(
                url, "select count(*) from pg_stat_activity where datname = current_database()"
            ),
        }
    finally:
        os.killpg(daemon.pid, signal.SIGTERM)
        daemon.wait(60)
        shutil.rmtree(home, ignore_errors=True)


def _opened(url: str) -> float:
    return _number(url, "select sessions from pg_stat_database where datname = current_database()")


def _number(url: str, query: LiteralString) -> float:
    with psycopg.connect(url) as connection:
        row = connection.execute(query).fetchone()
    return float(row[0]) if row else 0.0


def main() -> int:
    """Measure both; print the figures and return 1 if the bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    figures: dict[str, dict[str, float]] = {}
    with scratch_database() as url:
        migrations.migrate(url)
        for name, pooled in (("dagster", False), ("pooled", True)):
            figures[name] = measure(url, pooled=pooled, seconds=asked.seconds)
    left = figures["pooled"]["opened_per_s"] / figures["dagster"]["opened_per_s"]
    if asked.json:
        print(json.dumps({**figures, "left": left}))
    else:
        for name, figure in figures.items():
            print(
                f"{name:8} {figure['opened_per_s']:7.2f} connections opened a second, "
                f"{figure['open']:.0f} open, {figure['ticks']:.0f} ticks"
            )
        print(f"left: {left:.3f} (at most {BARS['left']})")
    return 1 if left > BARS["left"] else 0


if __name__ == "__main__":
    sys.exit(main())
