"""Which engine keeps the aggregates of a database, and the change from one to the other.

Here: the choice by setting and edition, and the set-up and removal of continuous aggregates. Not
here: refreshing (rollup_engine.py, continuous_engine.py), or the setting itself
(resources/settings/).
"""

from enum import StrEnum
from typing import LiteralString

from psycopg import sql as composed

from marketdata.bars import DAY_INTERVALS, MINUTE_INTERVALS, Interval
from marketdata.calendars import calendar
from marketdata.recovery import errors
from resources.storage import sql
from resources.storage.aggregates import continuous_engine, invalidations, rollup_engine, rollup_sql
from resources.storage.aggregates.continuous_engine import (
    FAMILIES,
    ContinuousAggregates,
    aggregate,
    kept,
)
from resources.storage.aggregates.contract import Aggregates, SourceTable
from resources.storage.aggregates.known_faults import numbers
from resources.storage.aggregates.rollup_engine import RollUps
from resources.storage.aggregates.sessions import keep_sessions
from resources.storage.timescale import COMMUNITY, Connection, Timescale

_WIDTHS = {
    Interval.QUARTER_HOUR: "15 minutes",
    Interval.HOUR: "1 hour",
    Interval.DAY: "1 day",
    Interval.WEEK: "1 week",
    Interval.MONTH: "1 month",
    Interval.QUARTER: "3 months",
    Interval.YEAR: "1 year",
}


_FORCES_SINCE = (2, 18)
"""The first version that refreshes by force, on which months, quarters and years rely."""


class Engine(StrEnum):
    """What keeps the views bars_5m to bars_1y."""

    ROLLUPS = rollup_engine.ENGINE
    CONTINUOUS_AGGREGATES = continuous_engine.ENGINE


class EngineSetting(StrEnum):
    """The configured engine; AUTO is roll-ups, which every edition has."""

    AUTO = "auto"
    ROLLUPS = Engine.ROLLUPS
    CONTINUOUS_AGGREGATES = Engine.CONTINUOUS_AGGREGATES


def in_force(timescale: Timescale) -> Engine:
    """Return which engine keeps the bars of this database."""
    with timescale.connection() as connection:
        row = connection.execute(_query("is_in_force")).fetchone()
    return Engine.CONTINUOUS_AGGREGATES if row == (True,) else Engine.ROLLUPS


def chosen(timescale: Timescale, setting: EngineSetting) -> Engine:
    """Return the engine that ``setting`` means for this server.

    Raises:
        ConfigurationError: The server's edition or version does not have it.
    """
    if setting is not EngineSetting.CONTINUOUS_AGGREGATES:
        return Engine.ROLLUPS
    server = timescale.server()
    lacks = ""
    if server.edition != COMMUNITY:
        lacks = f"the {server.edition} edition of {timescale!r} does not have"
    elif numbers(server.timescaledb_version) < _FORCES_SINCE:
        lacks = f"TimescaleDB {server.timescaledb_version} of {timescale!r} cannot refresh by force"
    if lacks:
        message = (
            f"WRDATA_AGGREGATES asks for continuous aggregates, which {lacks}: set it to auto or "
            "rollups, or use a server of the Community edition, 2.18 or later"
        )
        raise errors.ConfigurationError(message)
    return Engine.CONTINUOUS_AGGREGATES


def opened(timescale: Timescale, setting: EngineSetting) -> Aggregates:
    """Return the engine in force, which the setting has to allow.

    Raises:
        ConfigurationError: The setting names another engine than the one in force.
    """
    engine = in_force(timescale)
    if setting not in (EngineSetting.AUTO, engine):
        message = (
            f"WRDATA_AGGREGATES asks for {setting.value}, but {engine.value} keep the bars of "
            f"{timescale!r}: run `wrdata migrate`, which changes the engine, or set it to auto"
        )
        raise errors.ConfigurationError(message)
    return RollUps(timescale) if engine is Engine.ROLLUPS else ContinuousAggregates(timescale)


def put_in_force(timescale: Timescale, setting: EngineSetting) -> Engine:
    """Change to the engine that ``setting`` means, and return it.

    Readers see the same bars as before, and wait while roll-ups take them over. After the change
    all bars are computed again from their source, except those of days in the archive only.

    Raises:
        ConfigurationError: The server's edition does not have the engine.
        StorageConflictError: Continuous aggregates cannot be made of days that are in the archive
            only.
    """
    before, after = in_force(timescale), chosen(timescale, setting)
    if before is after:
        if after is Engine.CONTINUOUS_AGGREGATES:
            _keep_up(timescale)
        return after
    # Before anything is aggregated, so that no day has to be aggregated again.
    keep_sessions(timescale, calendar())
    if after is Engine.ROLLUPS:
        _stop_keeping_up(timescale)
    with timescale.connection() as connection:
        connection.execute("set local statement_timeout = 0")
        for source in SourceTable:
            connection.execute(_query("lock_refresh_until_commit"), {"source": source.value})
        # Removal drops triggers of these tables; upgrading a weaker lock later could deadlock.
        mode = "access exclusive" if after is Engine.ROLLUPS else "share row exclusive"
        _run(connection, "lock_engine", mode=composed.SQL(mode))
        if after is Engine.ROLLUPS:
            _take_down(connection)
        else:
            _require_hot(connection)
            _set_up(connection)
        # In the same transaction, so that the next refresh completes a change interrupted here.
        for source in SourceTable:
            invalidations.everything(connection, source)
    aggregates = opened(timescale, setting)
    for source in SourceTable:
        aggregates.refresh(source)
    return after


def _require_hot(connection: Connection) -> None:
    """Make sure that no source row of the bars is in the archive only.

    Raises:
        StorageConflictError: Some days are.
    """
    frozen = connection.execute(_query("frozen_days")).fetchall()
    if not frozen:
        return
    dataset, starts, ends = frozen[0]
    message = (
        f"continuous aggregates cannot be made of days that are in the archive only, such as "
        f"{dataset} from {starts} to before {ends}: restore them first (wrdata archive restore), "
        "or set WRDATA_AGGREGATES to auto or rollups"
    )
    raise errors.StorageConflictError(message)


def _keep_up(timescale: Timescale) -> None:
    """Restore policies that an interrupted change of the engine removed."""
    with timescale.connection() as connection:
        for family in FAMILIES:
            for interval in MINUTE_INTERVALS:
                name = composed.Literal(aggregate(interval, family).as_string())
                _run(connection, "keep_up", aggregate=name)


def _stop_keeping_up(timescale: Timescale) -> None:
    """Remove the server's policies, which cancels their running jobs.

    One by one: removing several in one transaction that also drops the schema can deadlock with
    the scheduler. The scheduler then ends and never starts a job of this database again.
    """
    for family in FAMILIES:
        for interval in MINUTE_INTERVALS:
            with timescale.connection() as connection:
                name = composed.Literal(aggregate(interval, family).as_string())
                _run(connection, "stop_keeping_up", aggregate=name)


def _set_up(connection: Connection) -> None:
    connection.execute(sql.engine("continuous_aggregates"))
    for family in FAMILIES:
        _create_minutes(connection, family)
    _create_days(connection)
    for interval in MINUTE_INTERVALS:
        families = {name: aggregate(interval, name) for name in FAMILIES}
        view = "kept_sessions" if interval is Interval.DAY else "kept_bars_shorter_than_a_day"
        _run(connection, view, kept=kept(interval), **families)
    for interval in Interval:
        _let_readers_see(connection, interval, kept(interval))
        _run(connection, "empty_roll_up", roll_up=rollup_sql.rollup(interval))


def _create_minutes(connection: Connection, family: str) -> None:
    finest = aggregate(Interval.FIVE_MINUTES, family)
    values = composed.SQL(_query("values_of_minutes"))
    _run(connection, f"five_minutes_of_{family}", aggregate=finest, values=values)
    finer = {Interval.HOUR: Interval.QUARTER_HOUR, Interval.DAY: Interval.QUARTER_HOUR}
    for interval in MINUTE_INTERVALS[1:]:
        _run(
            connection,
            "sessions" if interval is Interval.DAY else "longer_than_five_minutes",
            aggregate=aggregate(interval, family),
            finer=aggregate(finer.get(interval, Interval.FIVE_MINUTES), family),
            width=composed.Literal(_WIDTHS[interval]),
            values=composed.SQL(_query("values_of_finer_bars")),
        )
    for interval in MINUTE_INTERVALS:
        created = aggregate(interval, family)
        key = composed.SQL("instrument_id, provider, bucket_start")
        _run(connection, "index_aggregate", aggregate=created, key=key)
        _run(connection, "keep_up", aggregate=composed.Literal(created.as_string()))


def _create_days(connection: Connection) -> None:
    finer = {Interval.QUARTER: Interval.MONTH, Interval.YEAR: Interval.QUARTER}
    for interval in DAY_INTERVALS:
        width = composed.Literal(_WIDTHS[interval])
        if interval in finer:
            _run(
                connection,
                "made_of_months",
                aggregate=kept(interval),
                finer=kept(finer[interval]),
                width=width,
            )
        else:
            _run(connection, "made_of_daily_bars", aggregate=kept(interval), width=width)
        key = composed.SQL("instrument_id, bucket_start")
        _run(connection, "index_aggregate", aggregate=kept(interval), key=key)


def _take_down(connection: Connection) -> None:
    connection.execute(_query("release_roll_ups"))
    for interval in Interval:
        roll_up = rollup_sql.rollup(interval)
        _run(connection, "fill_roll_up", roll_up=roll_up, kept=kept(interval))
        _let_readers_see(connection, interval, roll_up)
    connection.execute(_query("drop_schema"))


def _let_readers_see(
    connection: Connection, interval: Interval, relation: composed.Identifier
) -> None:
    if interval in DAY_INTERVALS:
        view = "read_days"
    else:
        view = "read_sessions" if interval is Interval.DAY else "read_bars_shorter_than_a_day"
    _run(connection, view, bars=composed.Identifier(f"bars_{interval.value}"), kept=relation)


def _run(connection: Connection, name: str, **parts: composed.Composable) -> None:
    connection.execute(composed.SQL(_query(name)).format(**parts))


def _query(name: str) -> LiteralString:
    return sql.query("continuous_aggregates", name)
