"""One tick of a sensor, as of Dagster's daemon every 30 s: `python -m faults.tick`.

Here: `lost_runs` on the instance of DAGSTER_HOME, from its first failure; and
`dead_letter_retries`, with the runs that it asks for. Not here: what a lost run is
(pipelines/run_failures.py), or which letters are due (pipelines/retries.py). Opening the instance
also ends the runs of commands whose process is gone, as every command does.
"""

import sys

import dagster as dg

from pipelines import retries, sensors
from pipelines.cli import environment, runs
from pipelines.run_failures import PARTITION_TAG, RANGE_TAGS
from resources import opening
from resources.settings import read_settings


def main(sensor: str) -> int:
    """Give the sensor one tick; return 0 if it could be given."""
    environment.enter(environment.surroundings(), start=False)
    answer = _lost_runs() if sensor == sensors.lost_runs.name else _dead_letter_retries()
    sys.stdout.write(f"{answer}\n")
    return 0


def _lost_runs() -> str | None:
    with runs.open_instance() as instance:
        context = dg.build_sensor_context(
            instance=instance, cursor="0", sensor_name=sensors.lost_runs.name
        )
        return sensors.lost_runs.evaluate_tick(context).skip_message


def _dead_letter_retries() -> str | None:
    """Execute the runs that the sensor requests, and settle the claims as a second tick would."""
    name = sensors.dead_letter_retries.name
    with runs.open_instance() as instance:
        context = dg.build_sensor_context(instance=instance, sensor_name=name)
        tick = sensors.dead_letter_retries.evaluate_tick(context)
    for request in tick.run_requests or ():
        tags = dict(request.tags)
        start, end = (tags.get(tag) for tag in RANGE_TAGS)
        runs.run_job(
            request.job_name or "",
            config=request.run_config.get("ops", {}),
            partition=tags.get(PARTITION_TAG),
            partitions=(start, end) if start and end else None,
            tags=tags,
        )
    with runs.open_instance() as instance, opening.stores(read_settings()) as stores:
        retries.settle_ended(instance, stores.dead_letters, name)
    return tick.skip_message or f"{len(tick.run_requests or ())} runs"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
