"""Bars of coarser intervals, aggregated from minute bars and from daily bars.

Here: one asset for each view, in two groups, each refreshed at once. Not here: how bars are kept
equal to their source (resources/storage/aggregates), or the sources themselves (datasets.py).
"""

import time
from collections.abc import Iterator, Sequence
from typing import Any

import dagster as dg

from assets.daily_bars import daily_bars_table
from assets.datasets import AFTER_LOADS, OWNERS, REFRESHES, by_symbol_key
from assets.failures import as_dagster_failure
from assets.schemas import column_schema
from marketdata.bars import MINUTE_INTERVALS, Interval, aggregated_bars
from marketdata.datasets import DATASETS
from resources.storage.aggregates import SourceTable
from resources.wiring import Database

LOADS_MINUTES = tuple(
    name for name, dataset in DATASETS.items() if dataset.table == SourceTable.MINUTES
)
"""The datasets whose rows are minute bars."""

_FOLDERS = {SourceTable.MINUTES: "intraday", SourceTable.DAYS: "equity_prices"}

_ABOUT = {
    Interval.FIVE_MINUTES: "Five minutes, by provider",
    Interval.QUARTER_HOUR: "Fifteen minutes, by provider",
    Interval.HOUR: "Hours, by provider; two rows where a session begins or ends within the hour",
    Interval.DAY: "Sessions of New York made of their regular minutes, days of UTC for pairs",
    Interval.WEEK: "ISO weeks, named by the Monday",
    Interval.MONTH: "Calendar months, named by the first day",
    Interval.QUARTER: "Calendar quarters, named by the first day",
    Interval.YEAR: "Calendar years, named by the first day",
}


def bars_key(interval: Interval) -> dg.AssetKey:
    """Return the key of the asset of a view."""
    source = SourceTable.MINUTES if interval in MINUTE_INTERVALS else SourceTable.DAYS
    return dg.AssetKey(["published", _FOLDERS[source], f"bars_{interval}"])


def _specs(
    source: SourceTable, deps: Sequence[dg.AssetsDefinition | dg.AssetKey]
) -> list[dg.AssetSpec]:
    return [
        dg.AssetSpec(
            key=bars_key(interval),
            deps=deps,
            owners=OWNERS,
            kinds={"timescaledb"},
            automation_condition=AFTER_LOADS,
            description=(
                f"{_ABOUT[interval]}. Source: `{source}`; only bars that a load invalidated are "
                f"recomputed. Cadence: after each load. Destination: view `bars_{interval}`, "
                f"adjusted in `adjusted_bars_{interval}`."
            ),
            metadata={
                "source": source.value,
                "cadence": "after each load",
                "grain": "instrument, bucket",
                "dagster/table_name": f"public.bars_{interval}",
                "dagster/column_schema": column_schema(aggregated_bars(interval)),
            },
        )
        for interval in source.intervals
    ]


@dg.multi_asset(
    specs=_specs(
        SourceTable.MINUTES,
        [
            *(REFRESHES[name] for name in LOADS_MINUTES),
            *(by_symbol_key(DATASETS[name]) for name in LOADS_MINUTES),
        ],
    ),
    group_name="intraday_bars",
)
def bars_of_minutes(database: Database) -> Iterator[dg.MaterializeResult[Any]]:
    """Bars of five minutes to a day, refreshed where loads have invalidated them."""
    yield from _refreshed(database, SourceTable.MINUTES)


@dg.multi_asset(specs=_specs(SourceTable.DAYS, [daily_bars_table]), group_name="equity_bars")
def bars_of_days(database: Database) -> Iterator[dg.MaterializeResult[Any]]:
    """Bars of a week to a year, refreshed where loads have invalidated them."""
    yield from _refreshed(database, SourceTable.DAYS)


def _refreshed(database: Database, source: SourceTable) -> Iterator[dg.MaterializeResult[Any]]:
    began = time.monotonic()
    with as_dagster_failure(), database.open() as stores:
        refreshed = stores.aggregates.refresh(source)
        seconds = round(time.monotonic() - began, 3)
        for interval in source.intervals:
            yield dg.MaterializeResult(
                asset_key=bars_key(interval),
                metadata={
                    "bars_changed": refreshed.changed[interval],
                    "instruments_refreshed": refreshed.instruments,
                    "seconds": seconds,
                    "engine": stores.aggregates.engine,
                },
            )
