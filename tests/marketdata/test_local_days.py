"""Days on the clocks of a place, also where the system knows no time zones."""

import re
import shutil
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketdata.local_days import local_days

PROJECT = Path(__file__).parents[2]
ZONES = [ZoneInfo("UTC"), ZoneInfo("America/New_York"), ZoneInfo("Asia/Kathmandu")]
NEEDS_THE_SYSTEMS_ZONES = re.compile(
    r"\bpc\.(local_timestamp|assume_timezone|strftime|(floor|ceil|round)_temporal|year|quarter"
    r"|month|week|day(_of_\w+)?|hour|minute|second|iso_\w+|us_\w+)\("
)
"""Arrow's functions which look a zone up; also for UTC."""

_WITHOUT_ZONEINFO = """
import sys
from datetime import UTC, date, datetime
from pathlib import Path
from zoneinfo import ZoneInfo
import pyarrow as pa
from marketdata import minute_bars
from marketdata.datasets import DATASETS
from marketdata.calendars import calendar
from marketdata.dataset_ingest import DatasetFeed
from marketdata.local_days import local_days
from marketdata.rows import INSTANT
from demo.comparison import _days
from pipelines.cli.query import Form, _write

assert not list(Path("/usr/share/zoneinfo").iterdir())
evening = datetime(2024, 6, 4, 0, 30, tzinfo=UTC)
opened_at = pa.chunked_array([pa.array([evening], INSTANT)])
[day] = local_days(opened_at, ZoneInfo("America/New_York")).to_pylist()
assert day == date(2024, 6, 3), day

prices = dict.fromkeys(("open", "high", "low", "close", "vwap", "volume"), 5.0)
minute = {"symbol": "AAPL", "opened_at": evening, **prices, "trades": 1}
bars = pa.Table.from_pylist([minute], schema=minute_bars.WIRE_MINUTE_BARS)
assert minute_bars.validate(bars).accepted.num_rows == 1
def days_of(dataset):
    return DatasetFeed(DATASETS[dataset], None, calendar())._days_of(bars)

assert days_of("minute_bars") == {date(2024, 6, 3)}
assert days_of("crypto_bars") == {date(2024, 6, 4)}
assert str(_days(opened_at, None)[0]) == "2024-06-04"
_write(bars, Form.CSV, sys.stdout.buffer)
"""


@given(st.lists(st.datetimes(datetime(1970, 1, 2), datetime(2080, 1, 1), timezones=st.just(UTC))))  # noqa: DTZ001 - the strategy adds the zone
def test_a_day_of_a_column_is_the_day_of_each_of_its_moments(moments: list[datetime]) -> None:
    """As in Python, in zones that differ by hours and by quarters of one."""
    column = pa.chunked_array([pa.array(moments, pa.timestamp("us", tz="UTC"))])
    for zone in ZONES:
        expected = [moment.astimezone(zone).date() for moment in moments]
        assert local_days(column, zone).to_pylist() == expected


def test_midnight_begins_a_day_on_both_sides_of_a_change_of_the_clocks() -> None:
    """At 5:00 UTC in winter, at 4:00 in summer."""
    for midnight in (datetime(2024, 3, 9, 5, tzinfo=UTC), datetime(2024, 3, 12, 4, tzinfo=UTC)):
        before = midnight - timedelta(microseconds=1)
        column = pa.chunked_array([pa.array([before, midnight], pa.timestamp("us", tz="UTC"))])
        first, second = local_days(column, ZoneInfo("America/New_York")).to_pylist()
        assert (first, second) == (midnight.date() - timedelta(days=1), midnight.date())
    assert date(2024, 3, 9) < date(2024, 3, 12)


def test_loads_and_answers_work_where_the_system_has_no_time_zones() -> None:
    """As in small containers: Python brings zones from PyPI, Arrow looks for the system's."""
    alone = ["unshare", "--user", "--map-root-user", "--mount"]
    if not shutil.which("unshare") or subprocess.run([*alone, "true"], check=False).returncode:
        pytest.skip("this system gives no mount namespace")
    hide = 'mount -t tmpfs none /usr/share/zoneinfo && exec "$@"'
    done = subprocess.run(
        [*alone, "sh", "-c", hide, "sh", sys.executable, "-c", _WITHOUT_ZONEINFO],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert "2024-06-04 00:30:00.000000Z" in done.stdout


def test_nothing_asks_arrow_for_a_time_zone() -> None:
    """Two databases of time zones may differ, and one of them may be missing."""
    rooms = [
        "marketdata",
        "resources",
        "usecases",
        "monitoring",
        "assets",
        "pipelines",
        "wrdata",
        "sandbox",
        "faults",
    ]
    files = [path for room in rooms for path in (PROJECT / room).rglob("*.py")]
    uses = [
        f"{path.relative_to(PROJECT)}: {match[0]}"
        for path in files
        for match in NEEDS_THE_SYSTEMS_ZONES.finditer(path.read_text("utf-8"))
    ]
    assert files
    assert uses == []
