"""The simulated macroeconomic world: what is published by now, with all vintages.

Here: observations as of a moment, and revisions that tests publish, kept in the world's folder. Not
here: figures (figures.py), publication days (calendar.py), or any wire format.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import cast

import pyarrow as pa

from machine import private_files
from marketdata import macro
from marketdata.macro import ST_LOUIS
from sandbox.simulators.worlds.macro import figures
from sandbox.simulators.worlds.macro.figures import MISSING
from sandbox.simulators.worlds.shares.world import SEED

PUBLISHED_AT = time(8)
"""The hour at which a day's vintages are published, in St. Louis."""
FOREVER = date(9999, 12, 31)
_REVISED_PERIODS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """One value of a period with its real-time span, both ends included.

    Attributes:
        text: As FRED writes it; ``.`` where it is missing.
    """

    observed_on: date
    realtime_start: date
    realtime_end: date
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Revision:
    """A figure that was published on demand, at an aware time."""

    observed_on: date
    at: datetime
    text: str


class MacroWorld:
    """Macroeconomic series as they are known at a moment.

    Args:
        root: Folder in which revisions are kept.
    """

    def __init__(self, root: Path) -> None:
        self._file = root / "revisions.json"
        self._known: dict[tuple[object, ...], tuple[Observation, ...]] = {}

    def observations(self, series: str, now: datetime) -> tuple[Observation, ...]:
        """Return every value of ``series`` by period, then by vintage, as of ``now`` (aware)."""
        revisions = tuple(revision for revision in self._revisions(series) if revision.at <= now)
        newest = _newest_day(now)
        key = (series, newest, revisions)
        if key not in self._known:
            self._known[key] = tuple(_observations(series, newest, revisions))
        return self._known[key]

    def vintages(self, series: str, now: datetime) -> list[date]:
        """Return the days on which something new was published, oldest first."""
        return sorted(
            {observation.realtime_start for observation in self.observations(series, now)}
        )

    def last_updated(self, series: str, now: datetime) -> datetime:
        """Return the time (aware) of the newest publication; the archive's day if there is none."""
        newest = max(self.vintages(series, now), default=figures.SHAPES[series].archived)
        times = [revision.at for revision in self._revisions(series) if revision.at <= now]
        scheduled = datetime.combine(newest, PUBLISHED_AT, ST_LOUIS).astimezone(UTC)
        # A revision of this morning was published before today's usual hour.
        return max([min(scheduled, now), *times])

    def publish_revision(self, series: str, now: datetime) -> date:
        """Change the newest figures of ``series`` from ``now`` on; return the vintage's day.

        A value published on the same day is replaced within its vintage.
        """
        current = [
            observation
            for observation in self.observations(series, now)
            if observation.realtime_end == FOREVER and observation.text != MISSING
        ]
        kept = self._revisions(series)
        change = figures.unit(series) * (len(kept) + 1)
        revised = [
            _Revision(
                observed_on=observation.observed_on,
                at=now,
                text=figures.written(series, float(observation.text) + change),
            )
            for observation in current[-_REVISED_PERIODS:]
        ]
        self._keep(series, [*kept, *revised])
        return now.astimezone(ST_LOUIS).date()

    def truth(self, series: Iterable[str], now: datetime) -> pa.Table:
        """Return the truth (macro.WIRE_OBSERVATIONS), sorted."""
        rows = [
            (name, observation)
            for name in sorted(series)
            for observation in self.observations(name, now)
        ]
        return pa.Table.from_pydict(
            {
                "symbol": [name for name, _ in rows],
                "observed_on": [observation.observed_on for _, observation in rows],
                "realtime_start": [observation.realtime_start for _, observation in rows],
                "realtime_end": [observation.realtime_end for _, observation in rows],
                "value": [
                    None if observation.text == MISSING else Decimal(observation.text)
                    for _, observation in rows
                ],
            },
            schema=macro.WIRE_OBSERVATIONS,
        )

    def _revisions(self, series: str) -> list[_Revision]:
        # Read each time: simulator and publishing test may be two processes.
        kept = cast(
            "Mapping[str, Sequence[Mapping[str, str]]]", private_files.read_json(self._file)
        )
        return [
            _Revision(
                observed_on=date.fromisoformat(revision["observed_on"]),
                at=datetime.fromisoformat(revision["at"]),
                text=revision["text"],
            )
            for revision in kept.get(series, ())
        ]

    def _keep(self, series: str, revisions: Sequence[_Revision]) -> None:
        content = private_files.read_json(self._file)
        content[series] = [
            {
                "observed_on": revision.observed_on.isoformat(),
                "at": revision.at.astimezone(UTC).isoformat(),
                "text": revision.text,
            }
            for revision in revisions
        ]
        private_files.write_json(self._file, content)


def _newest_day(now: datetime) -> date:
    """Return the last day whose vintages are published."""
    local = now.astimezone(ST_LOUIS)
    is_early = local.time() < PUBLISHED_AT
    return local.date() - timedelta(days=1) if is_early else local.date()


def _observations(
    series: str, newest: date, revisions: Sequence[_Revision]
) -> Iterable[Observation]:
    of_period: dict[date, list[_Revision]] = {}
    for revision in revisions:
        of_period.setdefault(revision.observed_on, []).append(revision)
    for period in figures.history(SEED, series, newest.year):
        events = [
            (datetime.combine(publication.day, PUBLISHED_AT, ST_LOUIS), publication.text)
            for publication in period.publications
            if publication.day <= newest
        ]
        events += [
            (revision.at, revision.text) for revision in of_period.get(period.observed_on, ())
        ]
        spans = _spans(sorted(events))
        for place, (start, text) in enumerate(spans):
            is_last = place == len(spans) - 1
            yield Observation(
                observed_on=period.observed_on,
                realtime_start=start,
                realtime_end=FOREVER if is_last else spans[place + 1][0] - timedelta(days=1),
                text=text,
            )


def _spans(events: Sequence[tuple[datetime, str]]) -> list[tuple[date, str]]:
    """Return the first day of each value: one a day, and none that repeats the one before."""
    spans: list[tuple[date, str]] = []
    for at, text in events:
        day = at.astimezone(ST_LOUIS).date()
        if spans and spans[-1][0] == day:
            spans.pop()
        if not spans or spans[-1][1] != text:
            spans.append((day, text))
    return spans
