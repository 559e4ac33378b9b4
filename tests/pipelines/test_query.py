"""Facts about ``wrdata query``: what a person and a script get."""

import io
import json
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import csv, ipc
from pyarrow import parquet as pq
from typer.testing import CliRunner

from marketdata.recovery import errors
from pipelines.cli import environment, query
from pipelines.cli.main import app
from resources.reading import answers

Said = Callable[..., Any]
DAYS = [date(2024, 1, 2), date(2024, 1, 3), date(2024, 1, 4)]


def bars_of(days: list[date]) -> pa.Table:
    """Return daily bars of AAPL."""
    rows = [
        {"ticker": "AAPL", "bucket_start": day, "close": 10.1 + number, "provider": "fmp"}
        for number, day in enumerate(days)
    ]
    return pa.Table.from_pylist(rows, schema=answers.columns("1d"))


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """Answer every request with three bars; the requests come here."""
    requests: list[tuple[Any, ...]] = []

    def read_bars(*request: Any, missing: str) -> pa.Table:
        requests.append(request)
        assert missing in {"warn", "raise", "ignore"}
        return bars_of(DAYS)

    monkeypatch.setattr(query, "read_bars", read_bars)
    monkeypatch.setattr(environment, "enter", lambda *_, **__: None)
    return requests


def run(*words: str) -> Any:
    """Run ``wrdata query`` with ``words``."""
    return CliRunner().invoke(app, ["query", *words])


def test_every_option_reaches_the_reader(asked: list[tuple[Any, ...]]) -> None:
    """Those that are not given are left to it."""
    run("AAPL", "MSFT", "--start", "2024-01-02", "--end", "2024-01-04", "--interval", "1w",
        "--adjusted", "splits", "--as-of", "2024-05-01T00:00:00Z", "--provider", "fmp")  # fmt: skip
    run("AAPL")

    assert asked == [
        (
            ["AAPL", "MSFT"],
            "2024-01-02",
            "2024-01-04",
            "1w",
            "splits",
            "2024-05-01T00:00:00Z",
            "fmp",
        ),
        (["AAPL"], None, None, "1d", None, None, None),
    ]


def test_reading_from_ones_own_database_needs_no_providers_key() -> None:
    """Only what stores prices could mix simulated ones with them; the local world stays whole."""
    own = {
        "WRDATA_DATABASE_URL": "postgresql://reader@example.org/market",
        "WRDATA_ARCHIVE_BUCKET": "market",
    }

    assert environment.surroundings(own, writes=False).local == ()
    assert environment.surroundings({}, writes=False).simulated
    with pytest.raises(errors.ConfigurationError, match="FMP_API_KEY is not set"):
        environment.surroundings(own)


@pytest.mark.usefixtures("asked")
def test_a_table_shows_the_columns_that_hold_something() -> None:
    """And how many bars there are."""
    said = run("AAPL")

    assert said.exit_code == 0
    assert "2024-01-03" in said.output
    assert "11.1" in said.output
    assert "vwap" not in said.output
    assert "3 bars" in said.output


@pytest.mark.usefixtures("asked")
def test_a_ticker_without_bars_is_named() -> None:
    """Beside the answer, so that its silence is not taken for one."""
    result = CliRunner().invoke(app, ["query", "aapl,MMM", "--format", "csv"])

    assert "MMM has no bars of 1d in this time" in result.stderr
    assert "AAPL has no" not in result.stderr
    assert "MMM" not in result.stdout


def test_a_long_table_shows_its_ends(
    asked: list[tuple[Any, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A person reads no thousand lines; the other forms hold them all."""
    days = [date.fromordinal(number) for number in range(738_000, 738_100)]
    monkeypatch.setattr(query, "read_bars", lambda *_, **__: bars_of(days))
    assert not asked

    said = run("AAPL")

    assert str(days[0]) in said.output
    assert str(days[-1]) in said.output
    assert str(days[50]) not in said.output
    assert "100 bars" in said.output


@pytest.mark.usefixtures("asked")
def test_every_form_holds_the_bars_to_the_last_bit(tmp_path: Path) -> None:
    """Numbers, nulls and days; on standard output and in a file."""
    expected = bars_of(DAYS)
    for form in set(query.Form) - {query.Form.TABLE}:
        run("AAPL", "--format", form, "--output", str(tmp_path / form))

    assert pq.read_table(tmp_path / "parquet").equals(expected)
    assert ipc.open_stream(tmp_path / "arrow").read_all().equals(expected)
    rows = json.loads((tmp_path / "json").read_text())
    assert rows == [
        row | {"bucket_start": row["bucket_start"].isoformat()} for row in expected.to_pylist()
    ]
    assert csv.read_csv(tmp_path / "csv")["close"].to_pylist() == expected["close"].to_pylist()
    assert json.loads(run("AAPL", "--format", "json").stdout) == rows
    assert ipc.open_stream(
        io.BytesIO(run("AAPL", "--format", "arrow").stdout_bytes)
    ).read_all() == (expected)


@pytest.mark.usefixtures("asked")
def test_a_file_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    """With the reason."""
    said = run("AAPL", "--format", "csv", "--output", str(tmp_path / "nowhere" / "bars.csv"))

    assert isinstance(said.exception, errors.ConfigurationError)
    assert "bars.csv cannot be written: No such file or directory" in str(said.exception)


def test_moments_are_written_with_their_zone(monkeypatch: pytest.MonkeyPatch) -> None:
    """In JSON as in the table."""
    at = datetime(2024, 1, 2, 14, 30, tzinfo=UTC)
    row = {"ticker": "AAPL", "bucket_start": at, "close": 10.0}
    bars = pa.Table.from_pylist([row], schema=answers.columns("1m"))
    monkeypatch.setattr(query, "read_bars", lambda *_, **__: bars)
    monkeypatch.setattr(environment, "enter", lambda *_, **__: None)

    said = run("AAPL", "--interval", "1m", "--format", "json")

    assert json.loads(said.stdout)[0]["bucket_start"] == "2024-01-02T14:30:00+00:00"
