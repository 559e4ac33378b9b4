"""Facts about the command line, each command run as its user runs it, on a world of its own."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from machine.processes import NO_AUTHORITIES, wait_until
from pipelines.definitions import definitions
from tests.fixtures.forked_commands import run_command
from tests.fixtures.state_folder import PATIENCE_S
from tests.fixtures.world import BucketSettings, RunningSimulator

pytestmark = pytest.mark.servers

WRDATA = Path(sys.executable).with_name("wrdata")
FRIDAY = ("--from", "2026-11-20")
MARCH = ("--start", "2024-03-01", "--end", "2024-03-31")
OURS = ("WRDATA_", "FMP_", "AWS_", "DAGSTER_")


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What a command printed, and its exit status."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output, which has to be JSON."""
        return json.loads(self.out)


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandLine:
    """The command in an environment that configures nothing but the world's folder."""

    state: Path

    def environment(self, **more: str) -> dict[str, str]:
        """Return this process's environment without anything of ours, and ``more``."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
        return kept | {"WRDATA_STATE_DIR": str(self.state)} | more

    def __call__(self, *words: str, **more: str) -> Said:
        """Run ``wrdata`` with ``words``."""
        done = run_command(words, self.environment(**more), within_s=240)
        return Said(status=done.returncode, out=done.stdout, err=done.stderr)


@pytest.fixture(scope="module")
def wrdata(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CommandLine]:
    """A command line whose world is new; it is stopped at the end."""
    folder = tmp_path_factory.mktemp("cli")
    # The database server runs as another user when the tests run as root.
    for path in (folder, *list(folder.parents)[:2]):
        path.chmod(0o755)
    command = CommandLine(state=folder / "world")
    yield command
    command("down")


def test_the_doctor_names_what_does_not_run_and_the_cure(wrdata: CommandLine) -> None:
    """Before anything was started nothing is well, and each line says what to do."""
    said = wrdata("doctor", "--json")

    assert said.status == 1
    broken = [service for service in said.json if service["state"] != "ok"]
    assert {service["name"] for service in broken} == {"timescaledb", "object_store", "providers"}
    assert all("wrdata up" in service["cure"] for service in broken)


def test_commands_that_only_look_do_not_start_servers(wrdata: CommandLine) -> None:
    """They say in one line that the world does not run."""
    said = wrdata("status")

    assert said.status == 1
    assert said.err.count("\n") == 1
    assert "wrdata up" in said.err


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["bakfill"], "Did you mean 'backfill'"),
        (["backfill", "daily_bar", "--all"], "did you mean daily_bars?"),
        (["backfill", "splits", "--all", "--from", "2026-01-01"], "have no days"),
        (["backfill", "splits", "--all", "--provider", "tiingo"], "fmp, polygon"),
        (["backfill", "minute_bars"], "--tickers"),
        (["plan", "daily_bars", *FRIDAY, "--provider", "polygon"], "of the configured provider"),
        (["backfill", "daily_bars"], "--tickers"),
        (["backfill", "daily_bars", "--all", "--tickers", "AAPL"], "one of"),
        (["backfill", "daily_bars", "--from", "16.11.2026"], "YYYY-MM-DD"),
        (["archive", "run", "--start", "2024-13"], "not written as YYYY-MM, or no such month"),
        (["archive", "restore", "--dataset", "splits", "--start", "2024-02-30"], "or no such day"),
        (["archive", "run", "--dataset", "daily_bar"], "did you mean daily_bars?"),
        (["archive", "drop", "--dataset", "minutebars"], "did you mean minute_bars?"),
        (["archive", "orphans", "--dataset", "daily_bar"], "did you mean daily_bars?"),
        (["archive", "rebuild", "--dataset", "daily_bar"], "did you mean daily_bars?"),
        (["archive", "restore", "--dataset", "daily_bar", *MARCH], "did you mean daily_bars?"),
        (["archive", "restore", "--dataset", "splits", *MARCH, "--into", "a b;"], "plain name"),
        (["archive", "restore", "--dataset", "splits", *MARCH, "--into", "pg_x"], "plain name"),
        (["archive", "expire", "--days", "-3"], "--days"),
        (["backfill", "daily_bars", "--tickers", "AAPL", "--to", "2024-01-31"], "--from"),
    ],
)
def test_a_slip_is_answered_in_one_line(
    wrdata: CommandLine, words: list[str], expected: str
) -> None:
    """No traceback, exit status 2, and the line says what would be right."""
    said = wrdata(*words)

    assert said.status == 2
    assert expected in said.err
    assert said.err.startswith("error: ")
    assert "Traceback" not in said.err


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["run", "--start", "2024-05", "--end", "2024-01"], "2024-05-01 is after end 2024-01-31"),
        (["run", "--start", "2030-05"], "no closed month lies from 2030-05 on: "),
        (["run", "--end", "1950-01"], "no closed month lies up to 1950-01: "),
        (
            ["restore", "--dataset", "splits", "--start", "2024-03-31", "--end", "2024-03-01"],
            "reversed: 2024-03-31 is after 2024-03-01",
        ),
        (
            # Months are taken as archive run takes them, the last one to its end.
            ["restore", "--dataset", "splits", "--start", "1990-01", "--end", "1989-02"],
            "reversed: 1990-01-01 is after 1989-02-28",
        ),
        (["run", "--start", "2024-05-17", "--end", "2024-05-16"], "2024-05-17 is after end"),
        (["rebuild", "--metadata", "x"], "name it with --dataset"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_a_world_is_made(
    tmp_path: Path, words: list[str], expected: str
) -> None:
    """Nothing is started, and nothing is archived, dropped or restored."""
    said = CommandLine(state=tmp_path / "world")("archive", *words)

    assert said.status == 2
    assert expected in said.err
    assert said.err.count("\n") == 1
    assert not (tmp_path / "world").exists()


def test_dropping_without_an_age_is_refused_before_a_world_is_made(tmp_path: Path) -> None:
    """That is no wrong word: the setting stands outside of the command."""
    said = CommandLine(state=tmp_path / "world")("archive", "drop")

    assert said.status == 1
    assert "WRDATA_RETENTION" in said.err
    assert said.err.count("\n") == 1
    assert not (tmp_path / "world").exists()


@pytest.mark.parametrize("words", [["correct", "AAPL", "2026-11-20"], ["requests"], ["heal"]])
def test_a_simulator_that_does_not_run_is_told_with_the_command_that_starts_it(
    tmp_path: Path, words: list[str]
) -> None:
    """Nobody can configure simulators of his own, which the line used to advise."""
    said = CommandLine(state=tmp_path / "world")("sandbox", *words)

    assert said.status == 1
    assert said.err == (
        "error: no simulator runs here: start the local world with `wrdata up`, then repeat it\n"
    )


def test_an_age_that_cannot_be_read_is_refused_before_a_world_is_made(tmp_path: Path) -> None:
    """The line says which part, and how one is written."""
    said = CommandLine(state=tmp_path / "world")(
        "archive", "drop", "--dry-run", WRDATA_RETENTION="minute_bars=400"
    )

    assert said.status == 1
    assert said.err == (
        "error: WRDATA_RETENTION: 'minute_bars=400' is no age of a dataset: write it like "
        "minute_bars=400d\n"
    )
    assert not (tmp_path / "world").exists()


def test_simulated_prices_are_refused_for_a_real_database(wrdata: CommandLine) -> None:
    """The line names both variables, and no password."""
    said = wrdata("universe", WRDATA_DATABASE_URL="postgresql://me:secret@db.invalid/prices")

    assert said.status == 1
    assert "WRDATA_DATABASE_URL" in said.err
    assert "FMP_API_KEY" in said.err
    assert "secret" not in said.err


def test_a_database_that_does_not_answer_is_named_without_its_password(
    wrdata: CommandLine,
) -> None:
    """Configured services that cannot be reached are one line."""
    said = wrdata(
        "universe",
        FMP_API_KEY="0" * 32,
        FMP_BASE_URL="http://127.0.0.1:9/stable",
        WRDATA_DATABASE_URL="postgresql://me:secret@127.0.0.1:9/prices",
        WRDATA_DAGSTER_DATABASE_URL="postgresql://me:secret@127.0.0.1:9/dagster",
        WRDATA_S3_ENDPOINT="http://127.0.0.1:9",
        WRDATA_ARCHIVE_BUCKET="prices",
        AWS_ACCESS_KEY_ID="a",
        AWS_SECRET_ACCESS_KEY="b",
    )

    assert said.status == 1
    assert "127.0.0.1:9" in said.err
    assert "secret" not in said.err
    assert "Traceback" not in said.err


def test_configured_services_are_used_once_their_schema_is_there(
    wrdata: CommandLine,
    database_url: str,
    bucket: BucketSettings,
    fmp_simulator: RunningSimulator,
) -> None:
    """No local server is started; Dagster's runs go to a schema of the same database."""
    configured = {
        "WRDATA_DATABASE_URL": database_url,
        "WRDATA_S3_ENDPOINT": bucket.endpoint,
        "WRDATA_ARCHIVE_BUCKET": bucket.bucket,
        "AWS_ACCESS_KEY_ID": bucket.access_key,
        "AWS_SECRET_ACCESS_KEY": bucket.secret_key,
        "FMP_API_KEY": fmp_simulator.api_key,
        "FMP_BASE_URL": fmp_simulator.base_url,
    }

    refused = wrdata("universe", **configured)
    assert refused.status == 1
    assert "wrdata migrate" in refused.err
    assert wrdata("migrate", **configured).status == 0
    assert wrdata("universe", "--json", **configured).json["figures"]["joined"] == 503
    assert wrdata("doctor", "--json", **configured).status == 0

    with psycopg.connect(database_url) as connection:
        runs = connection.execute("select count(*) from dagster.runs").fetchone()
    assert runs == (1,)
    assert not (wrdata.state / "timescaledb").exists()


def test_the_whole_way_of_some_tickers_by_command_line(wrdata: CommandLine) -> None:
    """Universe, plan, backfill, nothing left to do, archive, status, and equal to the simulator."""
    assert wrdata("universe", "--json").json["figures"]["dagster/row_count"] == 503

    planned = wrdata("backfill", "daily_bars", "--tickers", "aapl,BRK.B", "--dry-run", "--json")
    assert (planned.json["tickers"], planned.json["requests"]) == (2, 2)
    assert planned.json["minutes"] == pytest.approx(2 * 60.6 / 120 / 60, abs=0.01)

    loaded = wrdata("backfill", "daily_bars", "--tickers", "AAPL,BRK.B", "--json")
    assert loaded.status == 0, loaded.err
    assert loaded.json["requests"] == 2
    assert loaded.json["rows_inserted"] > 2000
    assert loaded.json["failures"] == {}
    again = wrdata("backfill", "daily_bars", "--tickers", "AAPL,BRK.B", "--json")
    assert again.status == 0
    # Of tickers that are named the latest sessions are asked again, for what was corrected.
    assert (again.json["rows_inserted"], again.json["rows_unchanged"]) == (0, 10)

    bars = ("--dataset", "daily_bars")
    archived = wrdata("archive", "run", *bars, "--start", "2022-01", "--end", "2024-03", "--json")
    assert archived.status == 0, archived.err
    assert archived.json["written"] == 3, archived.err
    assert archived.err.splitlines()[-1].startswith("periods: 3 of 3, ")
    listed = wrdata("archive", "list", "--json").json
    assert [(period["dataset"], period["period"]) for period in listed] == [
        ("daily_bars", year) for year in ("2022", "2023", "2024")
    ]
    verified = wrdata("archive", "verify", "--json").json
    assert (verified["periods"], verified["different"]) == (3, [])

    kept = {view["view"]: view for view in wrdata("aggregates", "status", "--json").json}
    assert kept["bars_1y"]["bars"] > 10
    assert {view["invalidations_waiting"] for view in kept.values()} == {0}
    compared = wrdata("aggregates", "verify", "--json")
    assert compared.status == 0, compared.out
    assert {comparison["differences"] for comparison in compared.json} == {0}
    assert "bars_1w, instruments' years: " in compared.err
    assert wrdata("aggregates", "refresh", "--json").json[1]["invalidations"] == 0
    again = wrdata("aggregates", "refresh", "--all", "--json").json[1]
    assert (again["invalidations"] > 0, again["bars_changed"]) == (True, 0)

    stored = wrdata("status", "--json").json
    assert stored["daily_bars"]["rows"] == loaded.json["rows_inserted"]
    assert stored["archive"]["periods"] == 3
    assert wrdata("sandbox", "verify", "--json").json["equal"] == loaded.json["rows_inserted"]
    arrived = wrdata("sandbox", "requests", "--json").json
    asked = [request["query"].get("symbol") for request in arrived if "full" in request["path"]]
    assert asked == ["AAPL", "BRK-B"] * 2


def test_an_unknown_ticker_is_refused_with_near_matches(wrdata: CommandLine) -> None:
    """Nothing is asked for before the whole list is known to be right."""
    said = wrdata("backfill", "daily_bars", "--tickers", "AAPL,AAPLL")

    assert said.status == 2
    assert "AAPLL (did you mean AAPL" in said.err


def test_a_ticker_of_ten_thousand_letters_is_not_echoed_whole(wrdata: CommandLine) -> None:
    """The mistake is named, and the line stays one that can be read."""
    said = wrdata("backfill", "daily_bars", "--tickers", "A" * 10_000)

    assert said.status == 2
    assert "AAAA" in said.err
    assert len(said.err) < 1000


def test_a_refused_key_is_its_reason_and_no_table_of_zeros(wrdata: CommandLine) -> None:
    """Nothing was loaded, so there is nothing to show but why."""
    keys = wrdata.state / "providers" / "keys.json"
    known = keys.read_text()
    keys.write_text(json.dumps(json.loads(known) | {"fmp/ultimate": "sesame"}))

    said = wrdata("backfill", "daily_bars", "--tickers", "MSFT")

    keys.write_text(known)
    assert said.status == 1
    assert "rows_inserted" not in said.out + said.err
    assert "check the key" in said.err
    assert "sesame" not in said.out + said.err


def test_what_grows_is_shown_and_a_dry_run_removes_nothing(wrdata: CommandLine) -> None:
    """Events of a month ago would go, and go without the option."""
    exports = dict(
        line.removeprefix("export ").split("=", 1) for line in wrdata("env").out.splitlines()
    )
    url = exports["WRDATA_DAGSTER_DATABASE_URL"].strip("'")
    with psycopg.connect(url) as connection:
        connection.execute("update runs set end_time = end_time - 40 * 86400")
        connection.execute("update event_logs set timestamp = timestamp - interval '40 days'")

    shown, removed = (
        wrdata("prune", "--days", "30", *more, "--json") for more in (["--dry-run"], [])
    )

    assert (shown.status, removed.status) == (0, 0), shown.err + removed.err
    assert shown.json["dry_run"]
    assert removed.json["events_removed"] == shown.json["events_removed"] > 0
    stores = {size["store"] for size in removed.json["sizes"]}
    assert {"ingest log", "Dagster's event_logs", "Dagster's runs"} <= stores
    assert wrdata("prune", "--days", "30", "--dry-run", "--json").json["events_removed"] == 0


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["query", "NOPE"], "correct it (tickers are spelt as in BRK.B and BTC-USD), or run"),
        (["query", "AAPL", "--start", "2026-11-20", "--end", "2026-11-01"], ", exchange them"),
        (["plan", "macro_observations", "--symbols", "GPD"], "offer GPD (did you mean GDP"),
        (["plan", "crypto_bars", "--symbols", "BTCUSDT"], "BTCUSDT (did you mean BTC-USDT"),
        (["backfill", "daily_bars", "--from", "2026-11-20", "--to", "2026-11-01"], "reversed"),
        (["sandbox", "correct", "AAPL", "2026-11-21"], "has no bar of 2026-11-21"),
        (["splits", "confirm", "AAPL", "2026-11-20", "--reason", "x"], "wrdata splits list"),
        (["dlq", "show", "999999"], "`wrdata dlq list` shows them"),
    ],
)
def test_words_that_only_the_data_show_to_be_wrong_have_the_status_of_wrong_words(
    wrdata: CommandLine, words: list[str], expected: str
) -> None:
    """As the shell's own slips have: 2, and one line that says what would be right."""
    said = wrdata(*words)

    assert said.status == 2
    assert expected in said.err
    assert "Traceback" not in said.err


@pytest.mark.parametrize("words", [["--tickers", ","], ["--file", "/dev/null"]])
def test_a_list_without_tickers_is_not_nothing_to_do(wrdata: CommandLine, words: list[str]) -> None:
    """An empty list is a mistake of somebody's, not a success."""
    said = wrdata("backfill", "daily_bars", *words)

    assert said.status == 2
    assert "names no ticker" in said.err


def test_down_works_whatever_else_is_configured(wrdata: CommandLine) -> None:
    """It needs nothing but the folder of the local world."""
    said = wrdata(
        "down",
        WRDATA_DATABASE_URL="postgresql://db.invalid/x",
        WRDATA_STATE_DIR=str(wrdata.state / "elsewhere"),
    )

    assert said.status == 0, said.err


def test_a_ticker_that_fails_is_named_and_the_status_is_not_zero(wrdata: CommandLine) -> None:
    """The other tickers are loaded; the failure is listed by status as well."""
    wrdata("sandbox", "fail", "unknown", "--symbol", "MSFT", "--count", "1")

    said = wrdata("backfill", "daily_bars", "--tickers", "MSFT,NVDA", "--json")

    assert said.status == 1
    assert set(said.json["failures"]) == {"MSFT"}
    assert said.json["rows_inserted"] > 1000
    failures = wrdata("status", "--json").json["failures"]
    assert any("MSFT" in failure["reason"] for failure in failures)
    assert wrdata("backfill", "daily_bars", "--failed", "--json").status == 0


def test_a_command_logs_lines_where_they_are_asked_for_under_the_id_that_its_caller_gave(
    wrdata: CommandLine,
) -> None:
    """Each event is one line; a person who asks for none reads plain sentences."""
    wrdata("sandbox", "fail", "unknown", "--symbol", "KO", "--count", "1")
    load = ("backfill", "daily_bars", "--tickers", "KO,PEP")

    said = wrdata(*load, "--json", WRDATA_LOG_FORMAT="json", WRDATA_CORRELATION_ID="ticket-17")

    assert said.status == 1
    lines = [json.loads(line) for line in said.err.splitlines() if line.startswith("{")]
    events = [line["event"] for line in lines]
    assert (events.count("batch loaded"), events.count("letter posted")) == (1, 1)
    assert {(line["correlation_id"], line["run"]) for line in lines} == {
        ("ticket-17", said.json["run_id"])
    }
    letters = {letter["subject"]: letter for letter in wrdata("dlq", "list", "--json").json}
    assert letters["KO"]["correlation_id"] == "ticket-17"
    shown = wrdata("dlq", "show", str(letters["KO"]["letter_id"]))
    assert "correlation id    ticket-17" in shown.out

    plain = wrdata(*load, "--refetch")
    assert plain.status == 0
    assert "{" not in plain.err
    assert "Warning" not in plain.err
    assert "batch loaded" not in plain.err


@pytest.mark.parametrize(
    ("name", "value"), [("WRDATA_LOG_LEVEL", "loud"), ("WRDATA_LOG_FORMAT", "xml")]
)
def test_a_wrong_way_to_log_is_one_line_that_says_what_there_is(
    wrdata: CommandLine, name: str, value: str
) -> None:
    """Before anything is done."""
    said = wrdata("status", **{name: value})

    assert said.status == 1
    assert said.err.startswith(f"error: {name} is '{value}': it should be ")
    assert said.err.count("\n") == 1


def test_trading_days_are_loaded_by_date(wrdata: CommandLine) -> None:
    """One day of the universe is one request."""
    assert wrdata("universe").status == 0

    said = wrdata("backfill", "daily_bars", "--from", "2026-11-19", "--to", "2026-11-19", "--json")

    assert said.status == 0, said.err
    assert said.json["requests"] == 1
    assert said.json["rows_inserted"] > 490


def test_the_doctor_finds_everything_well_in_a_running_world(wrdata: CommandLine) -> None:
    """Addresses, versions, and no password."""
    said = wrdata("doctor", "--json")

    assert said.status == 0, said.out
    found = {finding["name"]: finding for finding in said.json}
    assert "apache edition" in found["database"]["detail"]
    assert "schema up to date" in found["database"]["detail"]
    assert found["object store"]["state"] == "ok"
    assert "120 requests a minute" in found["fmp"]["detail"]
    assert {"polygon", "tiingo", "fred", "binance", "coinbase"} <= found.keys()
    assert "answers and needs no key" in found["binance"]["detail"]
    assert "key accepted" in found["fmp"]["detail"]


def test_a_killed_command_leaves_no_run_that_holds_the_queue(wrdata: CommandLine) -> None:
    """After kill -9 the next command ends the orphan in Dagster, and takes up where it was."""
    assert wrdata("universe").status == 0
    before = wrdata("status", "--json").json["daily_bars"]["rows"]
    with subprocess.Popen(
        [str(WRDATA), "backfill", "daily_bars", "--all"],
        env=wrdata.environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as command:
        loading = wait_until(
            lambda: wrdata("status", "--json").json["daily_bars"]["rows"] > before + 5000,
            within_s=PATIENCE_S,
        )
        command.kill()
    assert loading

    assert wrdata("universe").status == 0

    exports = dict(
        line.removeprefix("export ").split("=", 1) for line in wrdata("env").out.splitlines()
    )
    with psycopg.connect(exports["WRDATA_DAGSTER_DATABASE_URL"].strip("'")) as connection:
        states = connection.execute("select status, count(*) from runs group by 1").fetchall()
    assert "STARTED" not in dict(states)
    assert dict(states)["FAILURE"] >= 1
    assert wrdata("sandbox", "verify").status == 0


def test_env_prints_exports_that_a_shell_takes(wrdata: CommandLine) -> None:
    """What it prints makes Dagster's own commands work on this world."""
    said = wrdata("env")

    shell = subprocess.run(
        ["/bin/sh", "-c", f"{said.out}\necho $WRDATA_ARCHIVE_BUCKET $DAGSTER_HOME"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert shell.stdout.split() == ["market-data-simulated", str(wrdata.state / "dagster")]


def test_up_serves_the_ui_and_ctrl_c_stops_all_of_it(wrdata: CommandLine) -> None:
    """The web server answers with our code location; after Ctrl-C no process is left."""
    running = subprocess.Popen(
        [str(WRDATA), "up", "--port", "3917"],
        env=wrdata.environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        assert wait_until(lambda: _loaded("http://127.0.0.1:3917"), within_s=PATIENCE_S)
        user_interface = next(
            finding
            for finding in wrdata("doctor", "--json").json
            if finding["name"] == "dagster ui"
        )
        assert user_interface["address"] == "http://127.0.0.1:3917"
        running.send_signal(signal.SIGINT)
        assert running.wait(timeout=PATIENCE_S) == 0
    finally:
        running.kill()
    assert {finding["state"] for finding in wrdata("doctor", "--json").json[:3]} == {"not ok"}
    assert "nothing was running" in wrdata("down").err


def _loaded(address: str) -> bool:
    """Tell whether Dagster has loaded our assets."""
    expected = len(definitions.resolve_all_asset_specs())
    try:
        answer = httpx.post(
            f"{address}/graphql",
            json={"query": "{ assetNodes { id } }"},
            timeout=20,
            verify=NO_AUTHORITIES,
        )
        return len(answer.json()["data"]["assetNodes"]) == expected
    except (httpx.HTTPError, KeyError, TypeError, ValueError):
        return False
