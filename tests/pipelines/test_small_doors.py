"""Facts about words and files that are wrong: one clear line with its cure, in this process."""

import resource
import signal
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import typer
from pyarrow import ipc
from typer.testing import CliRunner

from marketdata.recovery import errors
from pipelines.cli import environment, query, result_files
from pipelines.cli.main import app
from resources.reading import answers
from resources.reading.missing import MissingBarsWarning
from resources.settings import read_settings
from resources.storage import timescale
from sandbox import timescaledb, timescaledb_programs
from sandbox.control import SimulatorControl
from tests.fixtures.world import RunningSimulators


def refused(*words: str) -> str:
    """Run a command that its words forbid; return the line."""
    said = CliRunner().invoke(app, words, standalone_mode=False)
    assert isinstance(said.exception, typer.TyperException | errors.MarketDataError), said.output
    if isinstance(said.exception, typer.TyperException):
        return said.exception.format_message()
    return str(said.exception)


@contextmanager
def room_for(count: int) -> Generator[None]:
    """Let no file of this process grow beyond ``count`` bytes, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (count, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


# What is asked for


def test_two_ways_to_say_what_to_load_are_both_named() -> None:
    """It said "say which with one of --tickers … --from", and both were given."""
    error = refused("backfill", "daily_bars", "--tickers", "AAPL", "--all")

    assert "--tickers and --all exclude each other, give one of them" in error


def test_whole_trading_days_are_always_asked_again_of_the_configured_provider() -> None:
    """What cannot be had so says with what it can."""
    for option in (["--refetch"], ["--provider", "tiingo"]):
        error = refused("backfill", "daily_bars", "--from", "2026-11-02", *option)
        assert "need tickers, or --all" in error


def test_no_way_to_say_what_to_load_names_all_of_them() -> None:
    """For each dataset those that it has."""
    days = refused("plan", "daily_bars")
    states = refused("plan", "splits")

    assert "say which, with one of --tickers, --file, --all, --failed" in days
    assert "or whole trading days with --from" in days
    assert "say which, with one of --tickers, --file, --all, --failed" in states
    assert "--from" not in states


def test_a_dataset_that_there_is_not_is_refused_by_letters_too() -> None:
    """An empty list with status 0 reads as "nothing failed"; lost runs are kept by their job."""
    for command in ("list", "export"):
        assert "there is no dataset 'foo'" in refused("dlq", command, "--dataset", "foo")
    assert "did you mean daily_bars?" in refused("dlq", "retry", "--dataset", "daily_bar")


def test_a_file_of_tickers_out_of_a_spreadsheet_is_read(tmp_path: Path) -> None:
    """Through the command's own words."""
    from pipelines.cli import load_options

    file = tmp_path / "list.csv"
    file.write_bytes("\ufeffTicker;Name\r\nAAPL;Apple\r\nMSFT;Microsoft\r\n".encode())
    assert load_options.LoadOptions(dataset="daily_bars", file=file).file == file
    # A plan would need a database.
    named = load_options._named  # pyright: ignore[reportPrivateUsage]
    assert named("", file) == ["AAPL", "MSFT"]


# What a query writes


@pytest.fixture
def bars(monkeypatch: pytest.MonkeyPatch) -> pa.Table:
    """The answer to every query."""
    rows = [
        {"ticker": "AAPL", "bucket_start": date(2024, 1, 2), "close": 10.5, "provider": "fmp"},
    ]
    answer = pa.Table.from_pylist(rows, schema=answers.columns("1d"))
    monkeypatch.setattr(query, "read_bars", lambda *_, **__: answer)
    monkeypatch.setattr(environment, "enter", lambda *_, **__: None)
    return answer


def test_a_query_tells_what_is_missing_and_nothing_that_libraries_tell_each_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A calendar that is made for the first time warns of what pandas will change."""
    answer = pa.Table.from_pylist([], schema=answers.columns("1d"))

    def read(*_: object, **__: object) -> pa.Table:
        warnings.warn("Series.values is deprecated", DeprecationWarning, stacklevel=1)
        warnings.warn("a file was not closed", ResourceWarning, stacklevel=1)
        warnings.warn(MissingBarsWarning([]), stacklevel=1)
        return answer

    monkeypatch.setattr(query, "read_bars", read)
    monkeypatch.setattr(environment, "enter", lambda *_, **__: None)
    said = CliRunner().invoke(app, ["query", "AAPL", "--format", "csv"])

    assert said.exit_code == 0
    assert "AAPL has no bars of 1d" in said.stderr
    assert "deprecated" not in said.stderr
    assert "not closed" not in said.stderr


def test_a_file_of_a_query_has_the_format_of_its_name(bars: pa.Table, tmp_path: Path) -> None:
    """Each format under each of its endings."""
    for name in ("x.parquet", "x.PQ", "x.csv", "x.json", "x.arrow"):
        said = CliRunner().invoke(app, ["query", "AAPL", "--output", str(tmp_path / name)])
        assert said.exit_code == 0, said.output

    assert pq.read_table(tmp_path / "x.parquet").equals(bars)
    assert pq.read_table(tmp_path / "x.PQ").equals(bars)
    assert (tmp_path / "x.csv").read_text().startswith('"ticker","bucket_start"')
    assert (tmp_path / "x.json").read_text().startswith('[{"ticker": "AAPL"')
    assert ipc.open_stream((tmp_path / "x.arrow").read_bytes()).read_all().equals(bars)


def test_a_name_that_says_nothing_needs_a_format(bars: pa.Table, tmp_path: Path) -> None:
    """And one that is given counts more than the name."""
    del bars
    error = refused("query", "AAPL", "--output", str(tmp_path / "x.xlsx"))
    CliRunner().invoke(
        app, ["query", "AAPL", "--output", str(tmp_path / "x.txt"), "--format", "csv"]
    )

    assert "the ending of x.xlsx names no format" in error
    assert ".parquet" in error
    assert (tmp_path / "x.txt").read_text().startswith('"ticker"')
    assert [path.name for path in tmp_path.iterdir()] == ["x.txt"]


@pytest.mark.parametrize("name", ["x.parquet", "x.csv", "x.json", "x.arrow"])
def test_a_full_disk_leaves_the_file_that_was_there(
    bars: pa.Table, tmp_path: Path, name: str
) -> None:
    """And no empty or half one where there was none."""
    del bars
    old, new = tmp_path / f"old{Path(name).suffix}", tmp_path / name
    old.write_text("of yesterday")
    with room_for(10):
        for file in (old, new):
            assert "cannot be written" in refused("query", "AAPL", "--output", str(file))

    assert [path.name for path in tmp_path.iterdir()] == [old.name]
    assert old.read_text() == "of yesterday"


def test_a_folder_that_is_not_there_is_named(bars: pa.Table, tmp_path: Path) -> None:
    """One line, without a traceback."""
    del bars
    error = refused("query", "AAPL", "--output", str(tmp_path / "none" / "x.csv"))

    assert "No such file or directory" in error


def test_a_device_is_written_to_and_not_replaced() -> None:
    """Somebody measures how long a query takes."""
    with result_files.written(Path("/dev/null")) as file:
        file.write(b"x")

    assert Path("/dev/null").is_char_device()


# The simulators


def test_a_correction_needs_a_bar(simulators: RunningSimulators) -> None:
    """A Saturday has none, nor has tomorrow, nor what nobody lists."""
    control = simulators.control
    for ticker, day, expected in (
        ("AAPL", date(2026, 11, 21), "AAPL has no bar of 2026-11-21: name a trading day"),
        ("AAPL", date(2099, 1, 5), "AAPL has no bar of 2099-01-05"),
        ("NOPE", date(2026, 11, 20), "refuses: nothing trades as NOPE"),
    ):
        with pytest.raises(errors.ConfigurationError, match=expected):
            control.correct(ticker, day, 1.01)
    control.correct("AAPL", date(2026, 11, 20), 1.01)


def test_refusals_of_the_simulators_are_sentences(simulators: RunningSimulators) -> None:
    """Not JSON, nor the name of a Python class."""
    control: SimulatorControl = simulators.control
    attempts: list[Any] = [
        lambda: control.split("NOPE", date(2026, 11, 20), new_shares=4, old_shares=1),
        lambda: control.restate("NOPE", 2024, "FY", 1.1),
        lambda: control.revise("NOPE"),
        lambda: control.dataset_truth("nope"),
    ]
    for attempt in attempts:
        with pytest.raises(errors.ConfigurationError) as raised:
            attempt()
        assert "{" not in str(raised.value)
        assert "Error" not in str(raised.value)


def test_a_status_that_http_has_not_is_refused() -> None:
    """Both ways."""
    for status, bound in (("99999", "599"), ("99", "200"), ("-1", "200")):
        error = refused("sandbox", "fail", "status", "--status", status)
        assert "--status" in error
        assert bound in error


# What others' libraries say


def test_a_statement_that_fails_is_told_without_its_sql(database_url: str) -> None:
    """Neither LINE 2 nor the text of the query is a user's business."""
    with (
        pytest.raises(errors.StorageError) as raised,
        timescale.connect(database_url) as connection,
    ):
        connection.execute("select 1\nfrom ingest_log where x = 1")

    error = str(raised.value)
    assert 'relation "ingest_log" does not exist' in error
    assert "run `wrdata migrate`" in error
    assert "LINE" not in error
    assert "where x" not in error


def test_a_bucket_with_an_impossible_name_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """It was a ParamValidationError of boto3's."""
    monkeypatch.setenv("WRDATA_ARCHIVE_BUCKET", "my bucket/2026")
    with pytest.raises(errors.ConfigurationError, match="it is no bucket's name: 3 to 63 letters"):
        read_settings()


def test_a_cluster_that_cannot_be_made_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What initdb does before it fails is six lines that help nobody."""
    monkeypatch.setattr(timescaledb, "_server_user", lambda: None)
    server = timescaledb.TimescaleServer(home=tmp_path / "db", log=tmp_path / "db.log")
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "initdb").write_text(
        "#!/bin/sh\n"
        'echo "The files belonging to this database system will be owned by user x." >&2\n'
        'echo "initdb: error: could not create directory: No space left on device" >&2\n'
        'echo "initdb: removing contents of data directory" >&2\nexit 1\n'
    )
    (programs / "initdb").chmod(0o755)
    found = timescaledb_programs.Programs(folder=programs, origin="of the test")
    monkeypatch.setattr(timescaledb_programs, "find_or_install", lambda _: found)

    with pytest.raises(errors.ConfigurationError) as raised:
        server.prepare(lambda _: None)

    error = str(raised.value)
    assert "could not create directory: No space left on device" in error
    assert "Set WRDATA_STATE_DIR" in error
    assert "\n" not in error
    assert "owned by" not in error


def test_reading_commands_need_no_providers_key(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever looks at letters of a real database asks no provider."""
    from resources.storage import migrations

    migrations.migrate(database_url)
    with psycopg.connect(database_url):
        pass
    for name in ("FMP_API_KEY", "FMP_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {
        "WRDATA_DATABASE_URL": database_url,
        "WRDATA_ARCHIVE_BUCKET": "prices",
        "WRDATA_S3_ENDPOINT": "http://127.0.0.1:9",
        "AWS_ACCESS_KEY_ID": "a",
        "AWS_SECRET_ACCESS_KEY": "b",
    }.items():
        monkeypatch.setenv(name, value)
    for words in (["dlq", "list"], ["splits", "list"], ["aggregates", "status"]):
        said = CliRunner().invoke(app, words, standalone_mode=False)
        assert said.exception is None, (words, said.exception)
    assert "FMP_API_KEY is not set" in refused("backfill", "splits", "--tickers", "AAPL")
