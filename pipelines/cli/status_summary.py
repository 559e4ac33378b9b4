"""The summary of `wrdata status`: ten lines that fit eighty columns.

Here: from the full status to sentences. Not here: the database's queries, or the tables
(status.py).
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from marketdata.batches import DAILY_BARS_DATASET

Row = Mapping[str, Any]
_KEY = re.compile(" [0-9a-f]{8,}$")
"""The digest of a key, at the end of a budget's name."""


def summary(stored: Mapping[str, Any]) -> dict[str, str]:
    """Return the lines of the summary by name; one more where splits or dividends wait.

    Args:
        stored: What ``status.report`` returns.
    """
    lines = {
        "daily bars": _daily_bars(stored["daily_bars"]),
        "other datasets": _datasets(stored["datasets"]),
        "aggregates": f"{sum(stored['aggregates'].values()):,} bars",
        "archive": _archive(stored["archive"]),
        "runs at work": _runs(stored.get("runs", [])),
        "requests": _budgets(stored["request_budgets"]),
        "breakers": _breakers(stored["circuit_breakers"]),
        "dead letters": _letters(stored["dead_letters"]),
        "failures": _failures(stored["failures"]),
        "disk": _sizes(stored["sizes"]),
    }
    waiting = {name: count for name, count in stored["actions_that_wait"].items() if count}
    if waiting:
        counts = ", ".join(f"{count:,} {name}" for name, count in waiting.items())
        lists = ", ".join(f"wrdata {name} list" for name in waiting)
        lines["adjust nothing"] = f"{counts}: {lists}"
    return lines


def _daily_bars(figures: Row) -> str:
    if not figures["rows"]:
        return "none yet: wrdata backfill daily_bars --all"
    return (
        f"{figures['rows']:,} rows to {figures['last_session']}, tickers: "
        f"{figures['instruments']:,}, coverage {figures['coverage_percent']:.1f} %"
    )


def _datasets(rows: Sequence[Row]) -> str:
    rows = [row for row in rows if row["dataset"] != DAILY_BARS_DATASET]
    loaded = {row["dataset"] for row in rows if row["rows"]}
    names = {row["dataset"] for row in rows}
    holes = sum(row["holes"] for row in rows)
    return (
        f"{len(loaded)} of {len(names)} have rows, {sum(row['rows'] for row in rows):,} in all; "
        f"{holes:,} holes"
    )


def _archive(figures: Row) -> str:
    if not figures["periods"]:
        return "nothing yet: wrdata archive run"
    return (
        f"{figures['rows']:,} rows of {figures['datasets']} datasets in {figures['files']:,} files "
        f"({_bytes(figures['bytes'])})"
    )


def _runs(rows: Sequence[Row]) -> str:
    without_worker = sum("gone" in row["state"] for row in rows)
    return f"{len(rows)}" + (f", {without_worker} whose worker is gone" if without_worker else "")


def _budgets(rows: Sequence[Row]) -> str:
    busy = [row for row in rows if row["this_day"]]
    if not busy:
        return "none today"
    used = (f"{_KEY.sub('', row['budget'])} {row['last_60_s']}/{row['this_day']:,}" for row in busy)
    return f"{', '.join(used)} (last minute/today)"


def _breakers(rows: Sequence[Row]) -> str:
    open_ones = [f"{row['provider']} {row['state']}" for row in rows if row["state"] != "closed"]
    return ", ".join(open_ones) or "all closed"


def _letters(rows: Sequence[Row]) -> str:
    waiting = {
        state: sum(row.get(state, 0) for row in rows) for state in ("open", "retrying", "parked")
    }
    if not any(waiting.values()):
        return "none waits"
    counts = ", ".join(f"{count:,} {state}" for state, count in waiting.items() if count)
    return f"{counts}: wrdata dlq list"


def _failures(rows: Sequence[Row]) -> str:
    if not rows:
        return "none in the last 7 days"
    latest = rows[0]
    return f"latest {latest['failed_at']} {latest['dataset']} by {latest['provider']}"


def _sizes(rows: Sequence[Row]) -> str:
    largest = max(rows, key=lambda row: row["bytes"])
    everything = sum(row["bytes"] for row in rows)
    return f"{_bytes(everything)}, the most for {largest['store']} ({_bytes(largest['bytes'])})"


def _bytes(count: int) -> str:
    size = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:  # noqa: PLR2004  # the step between units
            return f"{size:,.0f} {unit}" if unit == "B" else f"{size:,.1f} {unit}"
        size /= 1000
    return f"{size:,.1f} TB"
