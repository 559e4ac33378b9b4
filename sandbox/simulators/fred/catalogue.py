"""FRED's descriptions of series and releases, over the simulated world.

Here: the rows of series and releases, publication days, and pages of version 2. Not here:
observations (observations.py), parameters (query.py) or bodies (wire.py).

A page of version 2 holds so many observations, wherever a series begins or ends, so that one
may be split across two pages. How its cursor is called in a request is unverified: both names
that clients use are understood.
"""

import base64
from collections.abc import Mapping, Sequence
from datetime import date, datetime

from marketdata import macro
from marketdata.macro import ST_LOUIS
from sandbox.simulators.fred import wire
from sandbox.simulators.fred.query import Span
from sandbox.simulators.fred.wire import Row
from sandbox.simulators.worlds.macro import figures
from sandbox.simulators.worlds.macro.world import FOREVER, MacroWorld, Observation

RELEASE_IDS: Mapping[str, int] = {
    "Advance Monthly Sales for Retail and Food Services": 9,
    "Consumer Price Index": 10,
    "G.17 Industrial Production and Capacity Utilization": 13,
    "H.10 Foreign Exchange Rates": 17,
    "H.15 Selected Interest Rates": 18,
    "H.6 Money Stock Measures": 21,
    "New Residential Construction": 27,
    "Employment Situation": 50,
    "Gross Domestic Product": 53,
    "Personal Income and Outlays": 54,
    "Surveys of Consumers": 91,
    "Unemployment Insurance Weekly Claims Report": 180,
    "CBOE Market Statistics": 200,
    "Interest Rate Spreads": 304,
}
"""FRED's number by name."""

_POPULARITY = 50


def series_row(world: MacroWorld, series: str, period: Span, now: datetime) -> dict[str, str | int]:
    """Return FRED's row of a series; the span of its observations is as of today."""
    definition = macro.series()[series]
    long, short = figures.SHAPES[series].adjustment
    current = current_observations(world, series, now)
    return {
        "id": series,
        "realtime_start": period.start.isoformat(),
        "realtime_end": period.end.isoformat(),
        "title": definition.title,
        "observation_start": current[0].observed_on.isoformat(),
        "observation_end": current[-1].observed_on.isoformat(),
        "frequency": definition.frequency,
        "frequency_short": definition.frequency[0],
        "units": definition.units,
        "units_short": definition.units,
        "seasonal_adjustment": long,
        "seasonal_adjustment_short": short,
        "last_updated": wire.moment(world.last_updated(series, now)),
        "popularity": _POPULARITY + len(series),
        "notes": f"{definition.title} in a simulated world.",
    }


def current_observations(world: MacroWorld, series: str, now: datetime) -> list[Observation]:
    """Return the latest value of each period."""
    return [
        observation
        for observation in world.observations(series, now)
        if observation.realtime_end == FOREVER
    ]


def search(text: str) -> list[str]:
    """Return the series whose id or title contains every word of ``text``."""
    words = text.lower().split()
    return [
        name
        for name, definition in macro.series().items()
        if all(word in f"{name} {definition.title}".lower() for word in words)
    ]


def release_row(name: str, period: Span) -> Row:
    """Return FRED's row of a release."""
    return {
        "id": RELEASE_IDS[name],
        "realtime_start": period.start.isoformat(),
        "realtime_end": period.end.isoformat(),
        "name": name,
        "press_release": True,
    }


def release_named(text: str) -> str:
    """Return the name of the release with the number ``text``.

    Raises:
        ValueError: There is none; the text is FRED's.
    """
    for name, number in RELEASE_IDS.items():
        if str(number) == text:
            return name
    message = "The release does not exist."
    raise ValueError(message)


def series_of(release: str) -> list[str]:
    """Return the ids of a release's series, sorted."""
    return sorted(
        name for name, definition in macro.series().items() if definition.release == release
    )


def release_days(world: MacroWorld, release: str, now: datetime) -> list[date]:
    """Return the days on which any series of ``release`` was published, oldest first."""
    return sorted({day for name in series_of(release) for day in world.vintages(name, now)})


def release_page(
    world: MacroWorld, release: str, *, limit: int, cursor: str | None, now: datetime
) -> dict[str, object]:
    """Return a page of ``v2/release/observations``: latest values, ``limit`` of them.

    Raises:
        ValueError: The cursor is none of ours.
    """
    everything = [
        (name, observation)
        for name in series_of(release)
        for observation in current_observations(world, name, now)
    ]
    begin = 0 if cursor is None else _place(cursor)
    end = begin + limit
    blocks: dict[str, list[Row]] = {}
    for name, observation in everything[begin:end]:
        row = {"date": observation.observed_on.isoformat(), "value": observation.text}
        blocks.setdefault(name, []).append(row)
    has_more = end < len(everything)
    page: dict[str, object] = {"has_more": has_more}
    if has_more:
        page["next_cursor"] = base64.urlsafe_b64encode(str(end).encode()).decode()
    page["release"] = {"release_id": RELEASE_IDS[release], "name": release, "sources": []}
    page["series"] = [_block(world, name, rows, now) for name, rows in blocks.items()]
    return page


def _block(world: MacroWorld, series: str, rows: Sequence[Row], now: datetime) -> dict[str, object]:
    today = now.astimezone(ST_LOUIS).date()
    row = series_row(world, series, Span(start=today, end=today), now)
    return {
        "series_id": series,
        **{name: row[name] for name in ("title", "frequency", "units", "seasonal_adjustment")},
        "last_updated": row["last_updated"],
        "copyright_id": 1,
        "observations": rows,
    }


def _place(cursor: str) -> int:
    try:
        return int(base64.urlsafe_b64decode(cursor.encode()))
    except ValueError as error:
        message = "The value for variable next_cursor is not valid."
        raise ValueError(message) from error
