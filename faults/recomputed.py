"""Aggregates of minutes beside a recomputation of the oracle's own, from the truth.

Here: buckets, phases and sums by pandas, and where a view differs. Not here: rows of
minutes themselves (archive_oracle.py), or the project's own recomputation
(marketdata/bar_aggregation.py).
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd
import psycopg
from psycopg import sql

from faults.dataset_oracle import Slice
from marketdata.calendars import calendar

WIDTHS: Mapping[str, str] = {"5m": "5min", "15m": "15min", "1h": "60min"}
KEY = ["symbol", "bucket_start", "phase"]
EXACT = ["open", "high", "low", "close", "volume", "trades", "source_bars"]
"""Share volumes are integers, so their sums do not depend on the order."""
VWAP_WITHIN = 1e-12
"""Relative; sums of float products depend on the order."""
SHOWN = 3


def aggregate_findings(
    connection: psycopg.Connection, part: Slice, truth: pd.DataFrame
) -> list[str]:
    """Compare the bars of 5m, 15m, 1h and 1d of a slice of shares with the truth's minutes."""
    findings: list[str] = []
    for interval in (*WIDTHS, "1d"):
        stored = _stored(connection, part, interval)
        findings += bar_findings(
            f"bars_{interval} of {part.provider}", recomputed(truth, interval), stored
        )
    return findings


def recomputed(minutes: pd.DataFrame, interval: str) -> pd.DataFrame:
    """Compute the bars of an interval from minutes of shares (WIRE_MINUTE_BARS), in pandas."""
    bars = minutes.sort_values(["symbol", "opened_at"])
    bars = bars.assign(
        phase=np.where(_is_regular(bars["opened_at"]), "regular", "extended"),
        turnover=np.where(bars["volume"] > 0, bars["vwap"] * bars["volume"], 0.0),
    )
    if interval == "1d":
        bars = bars[bars["phase"] == "regular"].assign(phase="")
        start = bars["opened_at"].dt.date
    else:
        start = bars["opened_at"].dt.floor(WIDTHS[interval])
    grouped = bars.assign(bucket_start=start).groupby(KEY, sort=False)
    aggregated = grouped.agg(
        open=("open", "first"),
        high=("high", "max"),
        low=("low", "min"),
        close=("close", "last"),
        volume=("volume", "sum"),
        turnover=("turnover", "sum"),
        turnovers=("turnover", "count"),
        trades=("trades", "sum"),
        trade_counts=("trades", "count"),
        source_bars=("open", "size"),
    ).reset_index()
    # A sum is unknown if one of its minutes is.
    turnover = aggregated.pop("turnover").where(
        aggregated.pop("turnovers") == aggregated["source_bars"]
    )
    aggregated["trades"] = aggregated["trades"].where(
        aggregated.pop("trade_counts") == aggregated["source_bars"]
    )
    aggregated["vwap"] = turnover / aggregated["volume"].where(aggregated["volume"] > 0)
    return aggregated


def bar_findings(name: str, expected: pd.DataFrame, stored: pd.DataFrame) -> list[str]:
    """Say which bars are missing, too many, twice, or different.

    Args:
        name: The view's name, for the sentences.
        expected: Bars from ``recomputed``.
        stored: Bars of the view, with the same columns.
    """
    merged = expected.merge(
        stored, on=KEY, how="outer", suffixes=("", "_stored"), indicator="found"
    )
    both = merged[merged["found"] == "both"]
    equal = np.logical_and.reduce(
        [
            np.isclose(
                both[column].astype(float), both[f"{column}_stored"].astype(float),
                rtol=within, atol=0.0, equal_nan=True,
            )
            for column, within in {**dict.fromkeys(EXACT, 0.0), "vwap": VWAP_WITHIN}.items()
        ]
    )  # fmt: skip
    wrong: dict[str, pd.DataFrame] = {
        "are missing": merged[merged["found"] == "left_only"],
        "are made of nothing": merged[merged["found"] == "right_only"],
        "are there twice": stored[stored.duplicated(KEY)],
        "are not what their minutes come to": both[~equal],
    }
    return [
        f"{name}: {len(rows)} bars {finding}, such as {_sample(rows)}"
        for finding, rows in wrong.items()
        if len(rows)
    ]


def _is_regular(moments: pd.Series) -> pd.Series:
    """Return for each moment whether its day's session (same day in UTC) was open."""
    days = moments.dt.date
    hours = {
        day: (calendar().open_at(day), calendar().close_at(day))
        for day in days.unique()
        if calendar().is_session(day)
    }
    opens = days.map({day: opened for day, (opened, _) in hours.items()})
    closes = days.map({day: closed for day, (_, closed) in hours.items()})
    return (moments >= opens) & (moments < closes)


def _stored(connection: psycopg.Connection, part: Slice, interval: str) -> pd.DataFrame:
    columns = [*EXACT, "vwap"]
    query = sql.SQL(
        "select named.ticker, bar.bucket_start, {phase}, {columns} from {view} as bar"
        " inner join instrument_ticker as named"
        " on named.instrument_id = bar.instrument_id and upper_inf(named.valid)"
        " where bar.provider = %s"
    ).format(
        # A daily bar aggregates regular minutes only, so it has no phase.
        phase=sql.SQL("''" if interval == "1d" else "bar.phase"),
        columns=sql.SQL(", ").join(sql.Identifier("bar", name) for name in columns),
        view=sql.Identifier(f"bars_{interval}"),
    )
    rows = connection.execute(query, [part.provider]).fetchall()
    frame = pd.DataFrame(rows, columns=pd.Index([*KEY, *columns]))
    if interval == "1d":
        return frame
    return frame.assign(bucket_start=pd.to_datetime(frame["bucket_start"], utc=True))


def _sample(rows: pd.DataFrame) -> str:
    shown = rows.head(SHOWN)[KEY].itertuples(index=False)
    return ", ".join(f"{symbol} {at} {phase}".rstrip() for symbol, at, phase in shown)
