"""What one machine's size hides: how long questions take at 5,000 tickers, and how many they are.

Here: `wrdata status` and `plan`, every sensor and schedule, the planning of archive runs, and the
pages of Dagster's UI in a browser, on a database as large as that (large_installation.py), beside
one of a tenth. Not here: the exporter (exporter.py), or loads.

    python -m bench.size [--tickers 5000] [--json]

A number of statements that grows with the number of tickers is what fails first on a larger
installation, so both are counted: by psycopg's cursors and by SQLAlchemy's, in this process. What
ADBC reads is not counted. Pages need Chromium and the group ``pictures``.
"""

import argparse
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import httpx
import psycopg
import sqlalchemy
from sqlalchemy import event

from assets.partitions import TICKERS
from bench.large_installation import fill
from machine import processes
from machine.processes import LOOPBACK, NO_AUTHORITIES, wait_until
from marketdata.archiving import ARCHIVED
from marketdata.calendars import utc_now
from pipelines import schedules, sensors
from pipelines.cli import load_options, plan, status
from pipelines.definitions import definitions
from resources import opening
from resources.database_url import in_schema
from resources.settings import read_settings
from resources.storage import migrations
from sandbox.local_world import LocalWorld
from sandbox.scratch_databases import scratch_database
from usecases import archiving
from usecases.load_cost import cost_of

PROJECT = Path(__file__).resolve().parents[1]
ROOT = PROJECT / ".wrdata" / "bench"
LOG_ROWS = 1_000_000
BARS = {"status": 5.0, "plan": 5.0, "sensor": 5.0, "schedule": 5.0, "archive": 10.0, "page": 10.0}
"""Longest time in seconds, by kind. A page is a browser that has drawn it and asks no more."""
REFRESH = dg.AssetKey(["curated", "equity_prices", "daily_bars"])
PAGES = {
    "all assets": "/assets",
    "the graph of assets": "/asset-groups",
    "an asset of all tickers": f"/assets/{'/'.join(REFRESH.path)}",
    "its partitions": f"/assets/{'/'.join(REFRESH.path)}?view=partitions",
    "runs": "/runs",
    "automation": "/automation",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """What one question costs.

    Attributes:
        kind: A key of BARS.
        seconds: The second time that it is asked: code and plans are loaded.
        statements: SQL statements that it sent; None where another process sent them.
    """

    kind: str
    name: str
    seconds: float
    statements: int | None = None


class Statements:
    """Counts the statements that this process sends."""

    def __init__(self) -> None:
        self.count = 0

    @contextmanager
    def counted(self) -> Generator[None]:
        """Count while the block runs."""
        execute = psycopg.Cursor.execute

        def counting(cursor: Any, *arguments: Any, **options: Any) -> Any:
            self.count += 1
            return execute(cursor, *arguments, **options)

        def count_one(*_: Any) -> None:
            self.count += 1

        psycopg.Cursor.execute = counting  # type: ignore[method-assign]
        event.listen(sqlalchemy.Engine, "before_cursor_execute", count_one)
        try:
            yield
        finally:
            psycopg.Cursor.execute = execute  # type: ignore[method-assign]
            event.remove(sqlalchemy.Engine, "before_cursor_execute", count_one)


def asked(kind: str, name: str, question: Callable[[], object]) -> Figure:
    """Ask twice; return the time and the statements of the second time."""
    question()
    statements = Statements()
    with statements.counted():
        began = time.perf_counter()
        question()
        seconds = time.perf_counter() - began
    return Figure(kind=kind, name=name, seconds=seconds, statements=statements.count)


def figures(instance: dg.DagsterInstance) -> Iterator[Figure]:
    """Yield the cost of each question that this process can ask."""
    settings = read_settings()
    yield asked("status", "wrdata status", lambda: status.report(settings))
    every = load_options.LoadOptions(dataset="daily_bars", every=True)

    def planned() -> None:
        with opening.stores(settings) as stores:
            wanted = every.plan(stores, settings)
            plan.forecast_of(stores, settings, wanted, cost_of(stores, settings, wanted))

    yield asked("plan", "wrdata plan daily_bars --all", planned)

    def archive_planned() -> None:
        with opening.archive(settings) as archive:
            for dataset in ARCHIVED.values():
                archiving.periods_with_rows(archive, dataset, None, None)

    yield asked("archive", "periods of all archived datasets", archive_planned)
    yield from _ticks(instance)


def _ticks(instance: dg.DagsterInstance) -> Iterator[Figure]:
    """Yield the cost of a tick of each sensor and schedule, as the code server evaluates it."""
    repository = definitions.get_repository_def()
    for sensor in sensors.ALL:
        if isinstance(sensor, dg.AutomationConditionSensorDefinition):
            continue  # The daemon evaluates it, without code of ours.

        def tick(sensor: dg.SensorDefinition = sensor) -> None:
            with dg.build_sensor_context(
                instance=instance, repository_def=repository, sensor_name=sensor.name
            ) as context:
                sensor.evaluate_tick(context)

        yield asked("sensor", sensor.name, tick)
    at = utc_now() - timedelta(days=1)
    for schedule in schedules.ALL:

        def due(schedule: dg.ScheduleDefinition = schedule) -> None:
            with dg.build_schedule_context(
                instance=instance, repository_def=repository, scheduled_execution_time=at
            ) as context:
                schedule.evaluate_tick(context)

        yield asked("schedule", schedule.name, due)


def pages() -> Iterator[Figure]:
    """Yield how long a browser works on each page of the UI; nothing without a browser."""
    chromium = shutil.which("chromium")
    if chromium is None or importlib.util.find_spec("playwright") is None:
        print("no pages: they need chromium and the group `pictures`", file=sys.stderr)
        return
    playwright_api: Any = importlib.import_module("playwright.sync_api")
    port = processes.free_port(None)
    address = f"http://{LOOPBACK}:{port}"
    with (Path(os.environ["DAGSTER_HOME"]) / "webserver.log").open("wb") as log:
        server = subprocess.Popen(
            [
                sys.executable, "-m", "dagster_webserver",
                "-w", str(PROJECT / "workspace.yaml"), "-h", LOOPBACK, "-p", str(port),
            ],
            stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    try:
        wait_until(lambda: _serves(address), within_s=120, every_s=0.5)
        with playwright_api.sync_playwright() as playwright:
            flags = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
            browser = playwright.chromium.launch(executable_path=chromium, args=flags)
            page = browser.new_page()
            for name, path in PAGES.items():
                took = 0.0
                for _ in range(2):
                    began = time.perf_counter()
                    page.goto(f"{address}{path}", timeout=120_000)
                    # The UI polls: half a second without a request is its rest.
                    page.wait_for_load_state("networkidle", timeout=120_000)
                    took = time.perf_counter() - began - 0.5
                yield Figure(kind="page", name=name, seconds=took)
            browser.close()
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(60)


def _serves(address: str) -> bool:
    try:
        answer = httpx.get(f"{address}/server_info", verify=NO_AUTHORITIES, trust_env=False)
    except httpx.HTTPError:
        return False
    return answer.is_success


@contextmanager
def installed(world: LocalWorld, tickers: int) -> Generator[dg.DagsterInstance]:
    """Fill a database for a number of tickers, Dagster's as well, and open the instance on it."""
    home = ROOT / f"dagster_{tickers}"
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    shutil.copy(PROJECT / "dagster.yaml", home)
    with scratch_database(world, "bench") as url:
        os.environ.update(
            {
                **world.environment(["timescaledb", "object_store"]),
                "DAGSTER_HOME": str(home),
                "FMP_API_KEY": "none",
                "WRDATA_DATABASE_URL": url,
                "WRDATA_DAGSTER_DATABASE_URL": in_schema(url, "dagster"),
            }
        )
        migrations.migrate(url)
        fill(url, in_schema(url, "dagster"), tickers, LOG_ROWS)
        with dg.DagsterInstance.get() as instance:
            _fill_dagster(instance, url, tickers)
            yield instance


def _fill_dagster(instance: dg.DagsterInstance, url: str, tickers: int) -> None:
    """Let all tickers be partitions, each materialized once, and all runs be ones of ours."""
    names = [f"T{number}" for number in range(1, tickers + 1)]
    instance.add_dynamic_partitions(TICKERS.name or "", names)
    for name in names[:1]:
        instance.report_runless_asset_event(
            dg.AssetMaterialization(asset_key=REFRESH, partition=name, metadata={"rows": 1_250})
        )
    job = definitions.resolve_job_def("daily_bars")
    with psycopg.connect(url, autocommit=True) as connection:
        # One true event is copied: Dagster writes a hundred of them a second.
        connection.execute(
            """
            insert into dagster.event_logs (
                run_id, event, dagster_event_type, timestamp, step_key, asset_key, partition
            )
            select
                run_id, replace(event, '"T1"', '"T' || number || '"'), dagster_event_type,
                timestamp, step_key, asset_key, 'T' || number
            from dagster.event_logs cross join generate_series(2, %s) as number
            where partition = 'T1'
        """,
            (tickers,),
        )
        run = instance.create_run_for_job(job, tags={"wrdata/lane": "backfill"})
        connection.execute(
            """
            update dagster.runs set
                pipeline_name = own.pipeline_name,
                run_body = replace(
                    replace(own.run_body, own.run_id, runs.run_id),
                    'NOT_STARTED',
                    case runs.status when 'STARTED' then 'SUCCESS' else runs.status end
                ),
                status = case runs.status when 'STARTED' then 'SUCCESS' else runs.status end
            from dagster.runs as own
            where own.run_id = %s and runs.run_id <> own.run_id
        """,
            (run.run_id,),
        )
        instance.delete_run(run.run_id)
        connection.execute("vacuum analyze")


def main() -> int:
    """Measure at the size asked for, and at a tenth; return 1 if a bar is missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tickers", type=int, default=5_000)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    measured: dict[int, list[Figure]] = {}
    world = LocalWorld(ROOT)
    world.start(["timescaledb", "object_store"])
    try:
        for tickers in (arguments.tickers // 10, arguments.tickers):
            with installed(world, tickers) as instance:
                measured[tickers] = [*figures(instance), *pages()]
    finally:
        world.stop()
    wrong = list(_wrong(*measured.values()))
    if arguments.json:
        print(json.dumps({size: list(map(asdict, rows)) for size, rows in measured.items()}))
    else:
        _print(measured)
    for sentence in wrong:
        print(sentence, file=sys.stderr)
    return 1 if wrong else 0


def _wrong(small: list[Figure], large: list[Figure]) -> Iterator[str]:
    """Yield what misses its bar, and what asks more often where there are more tickers."""
    for few, many in zip(small, large, strict=True):
        if many.seconds > BARS[many.kind]:
            yield f"{many.name} takes {many.seconds:.1f} s, at most {BARS[many.kind]:.0f}"
        if few.statements is not None and (many.statements or 0) > few.statements * 1.5 + 5:
            yield f"{many.name} sends {many.statements} statements, {few.statements} at a tenth"


def _print(measured: dict[int, list[Figure]]) -> None:
    (small, few), (large, many) = measured.items()
    print(f"{'':9} {'':42} {f'{small:,} tickers':>16} {f'{large:,} tickers':>16} statements")
    for at_few, at_many in zip(few, many, strict=True):
        counts = "" if at_few.statements is None else f"{at_few.statements} {at_many.statements}"
        print(
            f"{at_few.kind:9} {at_few.name:42} {at_few.seconds:14.2f} s {at_many.seconds:14.2f} s"
            f" {counts}"
        )


if __name__ == "__main__":
    sys.exit(main())
