"""The archive's oracle can fail: each kind of damage, fed to it, becomes a sentence."""

import hashlib
import io
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from faults.archive_oracle import Places, row_findings, version_findings
from faults.icebergs import Iceberg, NamedFile
from faults.recomputed import bar_findings, recomputed
from marketdata.bar_aggregation import aggregate_minutes
from marketdata.bars import Interval
from marketdata.calendars import calendar
from marketdata.minute_bars import WIRE_MINUTE_BARS

SEPTEMBER = (date(2026, 9, 1), date(2026, 10, 1))
BORDER = datetime(2026, 9, 30, 19, 58, tzinfo=UTC)
LATER = datetime(2026, 10, 1, 13, 30, tzinfo=UTC)
OPEN = datetime(2026, 11, 2, 14, 30, tzinfo=UTC)


def _minutes(*moments: datetime, symbol: str = "AAPL", close: float = 2.0) -> pa.Table:
    rows = [
        {
            "symbol": symbol,
            "opened_at": at,
            "open": 1.0,
            "high": 3.0,
            "low": 1.0,
            "close": close,
            "volume": 100.0 + place,
            "vwap": 2.0,
            "trades": 5,
        }
        for place, at in enumerate(moments)
    ]
    return pa.Table.from_pylist(rows, schema=WIRE_MINUTE_BARS)


TRUTH = _minutes(BORDER, BORDER + timedelta(minutes=1), LATER, OPEN).to_pandas()
CLOSED = TRUTH[TRUTH["opened_at"] < OPEN]
KEPT = TRUTH[TRUTH["opened_at"] >= LATER]
RIGHT = Places(truth=TRUTH, hot=TRUTH, archived=CLOSED, dropped=(), closed_before=date(2026, 11, 1))
DROPPED = replace(RIGHT, hot=KEPT, dropped=(SEPTEMBER,))


def _wrong(frame: pd.DataFrame, place: int) -> pd.DataFrame:
    return frame.assign(vwap=frame["vwap"] + np.where(np.arange(len(frame)) == place, 1e-9, 0.0))


@pytest.mark.parametrize("places", [RIGHT, DROPPED])
@pytest.mark.parametrize("settled", [True, False])
def test_the_truth_itself_is_found_right(places: Places, *, settled: bool) -> None:
    """Otherwise every scenario would fail: all hot and copied, or a month in the archive only."""
    assert row_findings("x", places, settled=settled) == []


def test_what_is_interrupted_may_be_behind_until_it_is_settled() -> None:
    """Not archived yet, an older copy, and a late row of a dropped month."""
    late = replace(DROPPED, hot=TRUTH)
    for places in (
        replace(RIGHT, archived=CLOSED.iloc[:0]),
        replace(RIGHT, archived=_wrong(CLOSED, 0)),
        late,
        replace(late, archived=_wrong(CLOSED, 0)),
    ):
        assert row_findings("x", places, settled=False) == []
        assert row_findings("x", places, settled=True) != []


@pytest.mark.parametrize(
    ("places", "sign"),
    [
        (replace(RIGHT, hot=KEPT, archived=KEPT.iloc[:1]), "2 rows are lost: neither"),
        (replace(DROPPED, archived=CLOSED.iloc[1:]), "1 rows are lost: neither"),
        (replace(RIGHT, hot=TRUTH.iloc[:3]), "1 rows are lost: neither"),
        (replace(DROPPED, dropped=()), "2 rows left the table without a tombstone"),
        (
            replace(DROPPED, dropped=((date(2026, 8, 1), date(2026, 9, 1)),)),
            "2 rows left the table without a tombstone",
        ),
        (
            replace(RIGHT, hot=pd.concat([TRUTH, TRUTH.iloc[:1]])),
            "1 rows stand in the table twice",
        ),
        (
            replace(DROPPED, archived=pd.concat([CLOSED, CLOSED.iloc[:1]])),
            "1 rows stand in the archive twice",
        ),
        (
            replace(RIGHT, hot=pd.concat([TRUTH, TRUTH.iloc[:1].assign(symbol="NVDA")])),
            "1 rows of the table were never served",
        ),
        (
            replace(DROPPED, archived=pd.concat([CLOSED, CLOSED.iloc[:1].assign(symbol=None)])),
            "1 rows of the archive were never served",
        ),
        (replace(RIGHT, hot=_wrong(TRUTH, 3)), "1 rows of the table differ from the truth"),
        (
            replace(DROPPED, archived=_wrong(CLOSED, 0)),
            "1 rows of the archive differ from the truth",
        ),
    ],
)
@pytest.mark.parametrize("settled", [True, False])
def test_a_row_that_is_lost_twice_foreign_or_different_is_found(
    places: Places, sign: str, *, settled: bool
) -> None:
    """Never allowed, interrupted or settled."""
    findings = row_findings("x", places, settled=settled)
    assert any(finding.startswith(f"x: {sign}") for finding in findings), findings


@pytest.mark.parametrize(
    ("places", "sign"),
    [
        (replace(DROPPED, hot=TRUTH), "2 rows are in the table though they were dropped"),
        (replace(RIGHT, archived=CLOSED.iloc[:2]), "1 rows of closed months are not in the"),
        (replace(RIGHT, archived=_wrong(CLOSED, 2)), "1 rows of the archive differ"),
    ],
)
def test_what_is_left_unsettled_is_found(places: Places, sign: str) -> None:
    """After the run that settles it."""
    (finding,) = row_findings("x", places, settled=True)
    assert finding.startswith(f"x: {sign}")


FORMER = _minutes(BORDER, BORDER + timedelta(minutes=1), LATER, OPEN)
BEFORE = FORMER.to_pandas()
RESTATED = FORMER.to_pandas()
RESTATED.loc[0, "close"] = 2.5
AFTER = replace(RIGHT, truth=RESTATED, hot=RESTATED, archived=RESTATED.iloc[:3])


@pytest.mark.parametrize(
    ("former", "versions", "sign"),
    [
        (BEFORE, BEFORE.iloc[:1], ""),
        (None, BEFORE.iloc[:0], ""),
        (BEFORE, BEFORE.iloc[:0], "1 rows were restated and have no version"),
        (BEFORE, BEFORE.iloc[:2], "1 rows are versions of what was never restated"),
        (None, BEFORE.iloc[:1], "1 rows are versions of what was never restated"),
        (BEFORE, pd.concat([BEFORE.iloc[:1]] * 2), "1 rows are a version twice"),
    ],
)
@pytest.mark.parametrize("settled", [True, False])
def test_a_former_value_has_one_version(
    former: pd.DataFrame | None, versions: pd.DataFrame, sign: str, *, settled: bool
) -> None:
    """None is lost, none invented, none there twice."""
    findings = version_findings("x", former, versions, AFTER, settled=settled)
    assert [finding.startswith(f"x: {sign}") for finding in findings] == ([True] if sign else [])


def test_the_former_value_of_a_late_row_may_be_the_archived_one_until_it_is_settled() -> None:
    """The next run makes it a version."""
    late = replace(AFTER, archived=CLOSED)
    assert version_findings("x", BEFORE, BEFORE.iloc[:0], late, settled=False) == []
    assert version_findings("x", BEFORE, BEFORE.iloc[:0], late, settled=True) != []


def _parquet(rows: pa.Table) -> bytes:
    kept = rows.rename_columns(["ticker", *rows.column_names[1:]])
    sink = io.BytesIO()
    pq.write_table(kept.append_column("provider", pa.array(["polygon"] * rows.num_rows)), sink)
    return sink.getvalue()


CONTENT = _parquet(FORMER)
FILE = NamedFile(
    snapshot_id=1,
    key="data/2026-09/a.parquet",
    bytes=len(CONTENT),
    proven=hashlib.sha256(CONTENT).hexdigest(),
)
TABLE = Iceberg(
    dataset="minute_bars",
    current=1,
    files=[FILE],
    objects={FILE.key: CONTENT},
    logged=[FILE.key],
)


def test_a_snapshot_whose_files_are_there_is_found_right() -> None:
    """And its rows are those of the file."""
    assert TABLE.findings(logged=True) == []
    assert TABLE.rows(WIRE_MINUTE_BARS, "polygon").to_pylist() == FORMER.to_pylist()
    assert TABLE.rows(WIRE_MINUTE_BARS, "tiingo").num_rows == 0


@pytest.mark.parametrize(
    ("changed", "sign"),
    [
        ({"objects": {}}, "1 files are named by a snapshot and missing"),
        ({"objects": {FILE.key: CONTENT[:-1]}}, "1 files are not the bytes of their proof"),
        ({"files": [replace(FILE, bytes=1)]}, "1 files are not the bytes of their proof"),
        ({"files": [replace(FILE, proven=None)]}, "1 files have no proof with any snapshot"),
        ({"files": [FILE, FILE]}, "1 files are named twice by a snapshot"),
        (
            {"files": [replace(FILE, snapshot_id=0, key="gone"), FILE]},
            "1 files are named by a snapshot and missing",
        ),
    ],
)
def test_a_file_that_is_not_what_a_snapshot_says_is_found(
    changed: Mapping[str, Any], sign: str
) -> None:
    """Of any kept snapshot; rows of a file that is not the proven one do not count."""
    damaged = replace(TABLE, **changed)
    (finding,) = damaged.findings(logged=True)
    assert finding.startswith(f"archive.minute_bars: {sign}")
    if "named twice" in sign:
        rows = damaged.rows(WIRE_MINUTE_BARS, "polygon").num_rows
        assert rows == 2 * FORMER.num_rows


def test_a_log_that_is_out_of_step_is_found_once_it_has_to_be_in_step() -> None:
    """A crash between commit and log leaves it behind until the next run."""
    for logged, sign in (([], "named and not logged"), ([FILE.key, "b"], "logged and not named")):
        damaged = replace(TABLE, logged=logged)
        assert damaged.findings(logged=False) == []
        (finding,) = damaged.findings(logged=True)
        assert sign in finding


SESSION = [
    datetime(2026, 9, 30, 13, 27, tzinfo=UTC) + timedelta(minutes=place) for place in range(90)
]
MINUTES = _minutes(*SESSION)


@pytest.mark.parametrize(
    ("interval", "bars"),
    [
        (Interval.FIVE_MINUTES, 19),
        (Interval.QUARTER_HOUR, 7),
        (Interval.HOUR, 3),
        (Interval.DAY, 1),
    ],
)
def test_the_recomputation_is_that_of_the_project(interval: Interval, bars: int) -> None:
    """They share no code, so their agreement checks both."""
    ours = recomputed(MINUTES.to_pandas(), interval)
    named = MINUTES.append_column("provider", pa.array(["polygon"] * len(SESSION)))
    named = named.append_column("instrument_id", pa.array([1] * len(SESSION)))
    theirs = aggregate_minutes(named, interval, calendar()).to_pandas().assign(symbol="AAPL")
    if interval is Interval.DAY:
        theirs = theirs.assign(phase="")
    assert bar_findings("x", ours, theirs) == []
    assert len(ours) == bars


BARS = recomputed(MINUTES.to_pandas(), "15m")


@pytest.mark.parametrize(
    "column", ["open", "high", "low", "close", "volume", "vwap", "trades", "source_bars"]
)
def test_an_aggregate_that_is_not_its_minutes_is_found(column: str) -> None:
    """In any column."""
    stored = BARS.astype({"trades": float, "source_bars": float})
    stored[column] += np.where(stored.index == 1, 1e-6, 0.0)
    (finding,) = bar_findings("x", BARS, stored)
    assert finding.startswith("x: 1 bars are not what their minutes come to, such as AAPL")


def test_an_aggregate_that_is_missing_unasked_for_or_twice_is_found() -> None:
    """Each by its own sentence."""
    (missing,) = bar_findings("x", BARS, BARS.iloc[1:])
    (foreign,) = bar_findings("x", BARS.iloc[1:], BARS)
    (twice,) = bar_findings("x", BARS, pd.concat([BARS, BARS.iloc[:1]]))
    assert "1 bars are missing" in missing
    assert "1 bars are made of nothing" in foreign
    assert "1 bars are there twice" in twice
