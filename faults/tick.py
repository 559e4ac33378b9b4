"""One look at failed runs, as Dagster's daemon takes it every half minute: `python -m faults.tick`.

Here: the sensor `lost_runs` on the instance of DAGSTER_HOME, from its first failure on. Not here:
what a lost run is (pipelines/run_failures.py). Opening the instance also ends the runs of
commands whose process is gone, as every command does.

The sensor waits a minute for the daemon to decide whether it repeats a run. There is no daemon
here, so the sensor is told that the minute is over.
"""

import sys
from datetime import timedelta

import dagster as dg

from marketdata import calendars
from pipelines import sensors
from pipelines.cli import environment, runs

_LATER = timedelta(minutes=2)


def main() -> int:
    """Give the sensor one tick; return 0 if it could be given."""
    environment.enter(environment.surroundings(), start=False)
    sensors.utc_now = lambda: calendars.utc_now() + _LATER
    with runs.open_instance() as instance:
        context = dg.build_sensor_context(
            instance=instance, cursor="0", sensor_name=sensors.lost_runs.name
        )
        data = sensors.lost_runs.evaluate_tick(context)
    sys.stdout.write(f"{data.skip_message}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
