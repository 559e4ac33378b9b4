"""Facts about what the doctor finds, and about variables that nobody reads, in this process."""

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import dagster as dg
import pytest
from typer.testing import CliRunner

from machine import processes
from marketdata.recovery import errors
from pipelines.cli import diagnosis
from pipelines.cli.main import app
from resources import key_probes
from resources.storage import migrations
from sandbox import timescaledb
from tests.fixtures.state_folder import PATIENCE_S
from tests.fixtures.world import BucketSettings, RunningSimulators

FAMILIES = ("WRDATA_", "FMP_", "POLYGON_", "TIINGO_", "FRED_", "BINANCE_", "COINBASE_", "AWS_")
Doctor = Callable[..., Mapping[str, Mapping[str, str]]]


@pytest.fixture
def configured(
    database_url: str,
    bucket: BucketSettings,
    simulators: RunningSimulators,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> pytest.MonkeyPatch:
    """Services of a test's own, set as a user sets them; more may be set, or otherwise."""
    migrations.migrate(database_url)
    # On a busy machine a permit may lapse before it is used, and another is waited for.
    monkeypatch.setattr(key_probes, "ANSWER_WITHIN_S", PATIENCE_S)
    for name in list(os.environ):
        if name.startswith(FAMILIES):
            monkeypatch.delenv(name)
    for name, value in {
        "WRDATA_DATABASE_URL": database_url,
        "WRDATA_DAGSTER_DATABASE_URL": database_url,
        "WRDATA_S3_ENDPOINT": bucket.endpoint,
        "WRDATA_ARCHIVE_BUCKET": bucket.bucket,
        "AWS_ACCESS_KEY_ID": bucket.access_key,
        "AWS_SECRET_ACCESS_KEY": bucket.secret_key,
        "WRDATA_STATE_DIR": str(tmp_path / "state"),
        "DAGSTER_HOME": str(tmp_path / "dagster"),
        **simulators.environment,
    }.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


@pytest.fixture
def doctor() -> Doctor:
    """Run `wrdata doctor`; findings by name, of the same name the last one."""

    def run(status: int) -> Mapping[str, Mapping[str, str]]:
        said = CliRunner().invoke(app, ["doctor", "--json"], standalone_mode=False)
        assert said.exception is None, said.exception
        assert said.return_value == status, said.stdout
        return {finding["name"]: finding for finding in json.loads(said.stdout)}

    return run


def test_a_healthy_world_has_its_keys_accepted_and_shows_no_refusal(
    configured: pytest.MonkeyPatch, doctor: Doctor, simulators: RunningSimulators
) -> None:
    """Each provider is asked once, with the key; of those without one an answer is enough."""
    del configured
    found = doctor(0)

    for name in ("fmp", "polygon", "tiingo", "fred"):
        assert found[name]["detail"].startswith("key accepted"), found[name]
    for name in ("binance", "coinbase"):
        assert found[name]["detail"].startswith("answers and needs no key"), found[name]
    assert "with index constituents" in found["fmp"]["detail"]
    assert not re.search(r"\b4\d\d\b", " ".join(finding["detail"] for finding in found.values()))
    requests = simulators.control.requests()  # Binance has files.
    assert [request.status for request in requests] == [200] * 7


@pytest.mark.parametrize(
    ("variable", "provider"),
    [
        ("FMP_API_KEY", "fmp"),
        ("POLYGON_API_KEY", "polygon"),
        ("TIINGO_API_KEY", "tiingo"),
        ("FRED_API_KEY", "fred"),
    ],
)
def test_a_refused_key_is_not_well_and_is_not_shown(
    configured: pytest.MonkeyPatch, doctor: Doctor, variable: str, provider: str
) -> None:
    """It said "the host answers (401)", and was green."""
    configured.setenv(variable, "0123456789abcdef" * 2)

    found = doctor(1)

    assert found[provider]["state"] == "not ok"
    assert "key refused" in found[provider]["detail"]
    assert "0123456789abcdef" not in json.dumps(found)
    assert found[provider]["cure"]


def test_a_delayed_plan_is_told(
    configured: pytest.MonkeyPatch, doctor: Doctor, simulators: RunningSimulators
) -> None:
    """What Polygon's answer says of the plan."""
    simulators.control.add_fault("quirk", path="/polygon", quirk="delayed")
    del configured

    assert "key accepted, plan with delayed prices" in doctor(0)["polygon"]["detail"]


def test_a_plan_without_constituents_has_an_accepted_key_and_a_cure(
    configured: pytest.MonkeyPatch, doctor: Doctor, simulators: RunningSimulators
) -> None:
    """The universe would be refused: that is said before it is asked for."""
    simulators.control.add_fault("status", path="/stable/sp500-constituent", status=402)
    del configured

    found = doctor(1)["fmp"]

    assert "key accepted, its plan does not cover" in found["detail"]
    assert "sp500-constituent" in found["detail"]


def test_a_closed_port_names_its_address_and_one_try_is_enough(
    configured: pytest.MonkeyPatch, doctor: Doctor
) -> None:
    """Nobody has to look up what the address was."""
    configured.setenv("FMP_BASE_URL", "http://127.0.0.1:9/stable")

    found = doctor(1)["fmp"]

    assert found["address"] == "127.0.0.1:9/stable"
    assert "address" in found["cure"]


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"WRDATA_DATABSE_URL": "x"}, "did you mean WRDATA_DATABASE_URL?"),
        ({"FMP_API_KY": "x"}, "did you mean FMP_API_KEY?"),
        ({"WRDATA_MINUTE_BARS_PROVIDER": "yahoo"}, "set it to one of polygon, tiingo"),
        ({"WRDATA_DAILY_BARS_ROUTE": "fast"}, "it should be 'bulk' or 'per_ticker'"),
        ({"FMP_BASE_URL": "notaurl"}, "FMP_BASE_URL: it is no address"),
        ({"WRDATA_RETENTION": "garbage"}, "write it like minute_bars=400d"),
        ({"WRDATA_DATABASE_POOL_SIZE": "many"}, "is 'many': it should be a valid integer"),
        ({"TIINGO_BASE_URL": "https://host:port"}, "TIINGO_BASE_URL: it is no address"),
    ],
)
def test_what_nobody_reads_or_knows_is_not_well(
    configured: pytest.MonkeyPatch, doctor: Doctor, variables: Mapping[str, str], expected: str
) -> None:
    """In one line with its cure, without a pattern of pydantic's."""
    for name, value in variables.items():
        configured.setenv(name, value)

    found = doctor(1)["configuration"]

    assert expected in found["detail"]
    assert next(iter(variables)) in found["detail"]
    assert "^" not in found["detail"]


def test_one_fault_does_not_hide_another(configured: pytest.MonkeyPatch) -> None:
    """Each variable has its line; services are looked at all the same where that is possible."""
    configured.setenv("WRDATA_DATABSE_URL", "x")
    configured.setenv("WRDATA_FOO", "x")
    configured.setenv("WRDATA_SPLITS_PROVIDER", "x")
    configured.setenv("FRED_API_KEY", "wrong")

    broken = [finding for finding in diagnosis.findings() if not finding.ok]

    assert [finding.name for finding in broken] == ["configuration"] * 3 + ["fred"]


def test_every_command_tells_a_variable_that_nobody_reads(
    configured: pytest.MonkeyPatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line beside what the command says; a wrong value is an error of its own."""
    monkeypatch.setattr(dg.DagsterInstance, "get", dg.DagsterInstance.ephemeral)
    configured.setenv("WRDATA_STAET_DIR", "x")
    configured.setenv("WRDATA_MINUTE_BARS_ROUTE", "fast")
    listed = CliRunner().invoke(app, ["dlq", "list"], standalone_mode=False)
    stopped = CliRunner().invoke(app, ["down"], standalone_mode=False)
    configured.setenv("WRDATA_AGGREGATES", "best")
    refused = CliRunner().invoke(app, ["dlq", "list"], standalone_mode=False)

    line = "warning: WRDATA_STAET_DIR is set, but never read: did you mean WRDATA_STATE_DIR?\n"
    assert listed.exception is None
    assert line in listed.stderr
    assert line in stopped.stderr
    assert "warning: WRDATA_MINUTE_BARS_ROUTE is set, but never read" in listed.stderr
    assert "WRDATA_AGGREGATES is 'best': it should be 'auto'" in str(refused.exception)
    assert "Correct it, or unset it" in str(refused.exception)


def test_variables_of_other_programs_are_left_alone(configured: pytest.MonkeyPatch) -> None:
    """Only what is nearly one of ours is told."""
    configured.setenv("COINBASE_API_KEY", "x")
    configured.setenv("BINANCE_API_SECRET", "x")
    configured.setenv("AWS_PROFILE", "x")

    assert [finding for finding in diagnosis.findings() if finding.name == "configuration"] == []


@pytest.fixture
def without_loader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A PostgreSQL that has TimescaleDB and does not load it, as after a plain apt install."""
    monkeypatch.setitem(timescaledb.SETTINGS, "shared_preload_libraries", "")
    server = timescaledb.TimescaleServer(home=tmp_path / "plain", log=tmp_path / "plain.log")
    server.prepare(lambda _: None)
    port = processes.free_port(None)
    process = server.launch(port)
    try:
        assert processes.wait_until(lambda: server.answers(port), within_s=PATIENCE_S)
        yield server.url(port, "postgres", timescaledb.SUPERUSER)
    finally:
        processes.end(process, with_signal=server.stop_signal, within_s=30)


def test_a_server_that_does_not_load_timescaledb_is_called_that(
    configured: pytest.MonkeyPatch, doctor: Doctor, without_loader: str
) -> None:
    """Not "20 migrations wait", which would fail; migrating says the same."""
    configured.setenv("WRDATA_DATABASE_URL", without_loader)

    found = doctor(1)

    assert (
        "does not load it: put timescaledb into shared_preload_libraries"
        in (found["database"]["detail"])
    )
    assert found["fmp"]["detail"].startswith("key accepted")
    with pytest.raises(errors.StorageConflictError, match="shared_preload_libraries"):
        migrations.migrate(without_loader)


def test_a_server_that_has_no_timescaledb_names_where_one_is_to_be_had(
    configured: pytest.MonkeyPatch,
    doctor: Doctor,
    without_loader: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What a managed PostgreSQL without the extension answers."""
    configured.setenv("WRDATA_DATABASE_URL", without_loader)
    rows = [("btree_gist", None, "1.7", False), ("timescaledb", None, None, False)]
    monkeypatch.setattr(migrations, "_extensions", lambda _: rows)

    assert "does not offer the extension timescaledb" in doctor(1)["database"]["detail"]
