"""The output types of ``series/observations`` over the simulated world's vintages.

Here: which rows a real-time period shows, cut to it as FRED cuts them. Not here: parameters
(query.py), bodies (wire.py), or the vintages (../worlds/macro/world.py).

Type 4 is as recorded: tall rows whose spans are whole, without the periods that the first
vintage already knew.
"""

from collections.abc import Sequence
from datetime import date

from sandbox.simulators.fred.query import Span
from sandbox.simulators.fred.wire import Row
from sandbox.simulators.worlds.macro.world import Observation


def by_real_time(observations: Sequence[Observation], period: Span) -> list[Row]:
    """Return type 1: each value that was the latest within ``period``, its span cut to it."""
    return [
        _row(
            observation,
            max(observation.realtime_start, period.start),
            min(observation.realtime_end, period.end),
        )
        for observation in observations
        if observation.realtime_start <= period.end and observation.realtime_end >= period.start
    ]


def by_vintage(
    series: str, observations: Sequence[Observation], vintages: Sequence[date]
) -> list[Row]:
    """Return type 2: a row for each period, with a field for each of ``vintages`` that has it."""
    rows: dict[date, dict[str, str]] = {}
    for observation in observations:
        shown = {
            f"{series}_{day:%Y%m%d}": observation.text
            for day in vintages
            if observation.realtime_start <= day <= observation.realtime_end
        }
        if shown:
            first = {"date": observation.observed_on.isoformat()}
            rows.setdefault(observation.observed_on, first).update(shown)
    return list(rows.values())


def first_releases(observations: Sequence[Observation], period: Span, archived: date) -> list[Row]:
    """Return type 4: the first value of each period that was published within ``period``."""
    firsts: dict[date, Observation] = {}
    for observation in observations:
        firsts.setdefault(observation.observed_on, observation)
    return [
        _row(observation, observation.realtime_start, observation.realtime_end)
        for observation in firsts.values()
        if observation.realtime_start > archived
        and period.start <= observation.realtime_start <= period.end
    ]


def _row(observation: Observation, start: date, end: date) -> Row:
    return {
        "realtime_start": start.isoformat(),
        "realtime_end": end.isoformat(),
        "date": observation.observed_on.isoformat(),
        "value": observation.text,
    }
