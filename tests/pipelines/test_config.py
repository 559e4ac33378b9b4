"""Layers, profiles and `wrdata config`: where a setting comes from, and what is wrong with it."""

import json
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from marketdata.recovery import errors
from pipelines.cli import environment
from pipelines.cli.main import app
from resources.settings import (
    known_variables,
    layers,
    provider_of,
    read_provider_settings,
    read_settings,
    read_store_settings,
    unread_variables,
    wrong_values,
)
from resources.settings.profiles import PROFILES, Profile, profile_in_force

PASSWORD = "pass-marked-5521"
KEY = "key-marked-9917"
REAL = {
    "WRDATA_DATABASE_URL": f"postgresql://u:{PASSWORD}@db.example/market?sslmode=verify-full",
    "WRDATA_ARCHIVE_BUCKET": "market-data",
    "AWS_ACCESS_KEY_ID": "access-marked-1",
    "AWS_SECRET_ACCESS_KEY": "secret-marked-2",
    "FMP_API_KEY": KEY,
}
FAMILIES = ("WRDATA_", "FMP_", "POLYGON_", "TIINGO_", "FRED_", "BINANCE_", "COINBASE_", "AWS_")
GUARD = Path(__file__).parents[2] / "docs" / "how-to" / "guard.md"

Config = Callable[..., Mapping[str, Any]]


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """An environment without anything of ours, in an empty working directory."""
    for name in list(os.environ):
        if name.startswith(FAMILIES):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WRDATA_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    return monkeypatch


@pytest.fixture
def real(bare: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """That of an installation on real services."""
    for name, value in REAL.items():
        bare.setenv(name, value)
    return bare


@pytest.fixture
def config() -> Config:
    """Run a command of `wrdata config` with --json; return what it prints."""

    def run(command: str, status: int | None = None) -> Mapping[str, Any]:
        said = CliRunner().invoke(app, ["config", command, "--json"], standalone_mode=False)
        assert said.exception is None, said.exception
        assert said.return_value == status, said.stdout
        return json.loads(said.stdout)

    return run


def by_variable(shown: Mapping[str, Any]) -> Mapping[str, tuple[str, str]]:
    """Return value and source of each variable."""
    return {line["variable"]: (line["value"], line["source"]) for line in shown["settings"]}


# --- layers ---


def test_the_environment_counts_before_env_file_and_both_before_defaults(
    real: pytest.MonkeyPatch,
) -> None:
    """In every reader: settings, providers of datasets, and the choice of services."""
    Path(".env").write_text(
        "WRDATA_ARCHIVE_BUCKET=of-file\nWRDATA_MINUTE_BARS_PROVIDER=tiingo\n"
        f"POLYGON_API_KEY={KEY}-polygon\nWRDATA_DATABASE_POOL_SIZE=7\n"
    )
    real.setenv("WRDATA_DATABASE_POOL_SIZE", "9")
    real.setenv("POLYGON_API_KEY", "")  # empty is unset

    settings = read_settings()

    assert settings.archive_bucket == "market-data"
    assert settings.database_pool_size == 9
    assert settings.fmp_requests_per_minute == 120
    for keys in (settings, read_provider_settings()):
        assert keys.polygon_api_key is not None
        assert keys.polygon_api_key.get_secret_value() == f"{KEY}-polygon"
    assert provider_of("minute_bars") == "tiingo"
    real.delenv("WRDATA_ARCHIVE_BUCKET")
    assert read_store_settings().archive_bucket == "of-file"


def test_commands_hand_the_env_file_on_to_the_processes_they_start(
    real: pytest.MonkeyPatch,
) -> None:
    """These work in another folder, and Dagster reads its own variables."""
    real.delenv("FMP_API_KEY")
    real.delenv("WRDATA_DATABASE_URL")
    Path(".env").write_text(
        f"FMP_API_KEY={KEY}\nWRDATA_DATABASE_URL={REAL['WRDATA_DATABASE_URL']}\n"
    )
    for name in ("FMP_API_KEY", "WRDATA_DATABASE_URL", "WRDATA_DAGSTER_DATABASE_URL"):
        real.setenv(name, "")  # so that it is put back afterwards
    real.setenv("DAGSTER_HOME", str(Path.cwd() / "dagster"))

    environment.adopt(environment.surroundings())

    assert os.environ["FMP_API_KEY"] == KEY
    assert os.environ["WRDATA_DAGSTER_DATABASE_URL"].startswith(f"postgresql://u:{PASSWORD}@")
    assert "search_path%3Ddagster" in os.environ["WRDATA_DAGSTER_DATABASE_URL"]


@pytest.mark.parametrize("profile", ["staging", "production"])
def test_outside_development_no_env_file_is_read(real: pytest.MonkeyPatch, profile: str) -> None:
    """A file that somebody left in a folder changes no deployment."""
    Path(".env").write_text("WRDATA_DATABASE_POOL_SIZE=7\nWRDATA_ARCHIVE_BUKET=x\n")
    assert read_settings().database_pool_size == 7
    real.setenv("WRDATA_PROFILE", profile)

    assert read_settings().database_pool_size == 10
    assert unread_variables(layers.variables()) == []


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"WRDATA_PROFILE=production\n", "names WRDATA_PROFILE, which only the process's own"),
        (b"WRDATA_ARCHIVE_BUCKET=\xff\xfe\n", "cannot be read (UnicodeDecodeError)"),
    ],
)
def test_an_env_file_that_cannot_be_used_is_one_line(
    real: pytest.MonkeyPatch, content: bytes, expected: str
) -> None:
    """It names the file, and nothing of what it holds."""
    del real
    Path(".env").write_bytes(content)

    (line,) = wrong_values()

    assert expected in line
    assert str(Path.cwd() / ".env") in line
    with pytest.raises(errors.ConfigurationError, match=re.escape(expected)):
        read_settings()


# --- profiles ---


def test_the_page_shows_the_profiles_as_they_are() -> None:
    """One table, a row for each cell of the code."""
    rows = {
        cells[0]: cells[1:]
        for line in GUARD.read_text().splitlines()
        if line.startswith("| ")
        and len(cells := [c.strip() for c in line.strip("|").split("|")]) == 4
    }
    said = {"yes": True, "no": False}
    meanings = {
        "reads `.env` of the working directory": "reads_env_file",
        "may work in the local world": "uses_local_world",
        "an unknown `WRDATA_*` is only a warning": "allows_unknown_variables",
        "takes a database URL without `sslmode=verify-full`": "allows_unverified_database",
        "takes `http://` for bucket and providers, as simulators have": "allows_plain_http",
    }
    assert set(meanings.values()) == {field.name for field in fields(Profile)} - {"name"}
    for row, cell in meanings.items():
        told = [said[answer] for answer in rows[row]]
        assert told == [getattr(profile, cell) for profile in PROFILES.values()], row


@pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES)
def test_each_cell_of_a_profile_is_enforced(real: pytest.MonkeyPatch, profile: Profile) -> None:
    """What it allows works, and what it does not is one line that names the variable."""
    real.setenv("WRDATA_PROFILE", profile.name)
    assert profile_in_force() is profile
    assert read_settings()

    def is_refused(variable: str, value: str) -> bool:
        with real.context() as changed:
            changed.setenv(variable, value)
            try:
                read_settings()
            except errors.ConfigurationError as error:
                return variable in str(error) and PASSWORD not in str(error)
            return False

    assert is_refused("WRDATA_ARCHIVE_BUKET", "x") is not profile.allows_unknown_variables
    plain = ("WRDATA_S3_ENDPOINT", "FMP_BASE_URL", "TIINGO_BASE_URL", "BINANCE_FILES_URL")
    for variable in plain:
        assert not is_refused(variable, "https://host.example")
        assert is_refused(variable, "http://127.0.0.1:8000") is not profile.allows_plain_http
    unverified = REAL["WRDATA_DATABASE_URL"].partition("?")[0]
    for variable in ("WRDATA_DATABASE_URL", "WRDATA_DAGSTER_DATABASE_URL"):
        assert is_refused(variable, unverified) is not profile.allows_unverified_database
    Path(".env").write_text("WRDATA_DATABASE_POOL_SIZE=7\n")
    assert (read_settings().database_pool_size == 7) is profile.reads_env_file
    real.delenv("WRDATA_ARCHIVE_BUCKET")
    if profile.uses_local_world:
        assert environment.surroundings(writes=False).local == ("object_store",)
    else:
        lacks = f"set WRDATA_ARCHIVE_BUCKET: {profile.name} has no local world to stand in"
        with pytest.raises(errors.ConfigurationError, match=f"^{lacks}$"):
            environment.surroundings(writes=False)


def test_where_no_provider_is_simulated_none_is_needed(real: pytest.MonkeyPatch) -> None:
    """An installation with Tiingo alone has no key for FMP, whose absence means simulators here."""
    real.delenv("FMP_API_KEY")
    with pytest.raises(errors.ConfigurationError, match="simulated prices would be written"):
        environment.surroundings()

    real.setenv("WRDATA_PROFILE", "production")

    assert environment.surroundings().local == ()


def test_a_profile_that_does_not_exist_is_one_line_everywhere(
    real: pytest.MonkeyPatch, config: Config
) -> None:
    """A misspelt production must never be taken for development."""
    real.setenv("WRDATA_PROFILE", "prod")
    line = "WRDATA_PROFILE is 'prod': it should be one of development, staging, production"

    for read in (read_settings, read_store_settings, read_provider_settings):
        with pytest.raises(errors.ConfigurationError) as raised:
            read()
        assert str(raised.value) == line
    assert wrong_values() == [line]
    assert config("check", 1) == {"faults": [line], "warnings": []}


# --- misspelt and unknown ---


@pytest.mark.parametrize(
    "variable", sorted(v for v in known_variables() if v.startswith("WRDATA_"))
)
def test_every_variable_of_ours_with_one_letter_missing_is_named_with_its_cure(
    variable: str,
) -> None:
    """Whatever letter it is."""
    for place in range(len("WRDATA_"), len(variable)):
        misspelt = variable[:place] + variable[place + 1 :]
        if misspelt in known_variables():
            continue
        (line,) = unread_variables({misspelt: "x"})
        assert line.startswith(f"{misspelt} is set, but never read: did you mean WRDATA_"), line


def test_in_production_a_misspelt_variable_stops_a_command_with_one_line(
    real: pytest.MonkeyPatch,
) -> None:
    """In development it is a warning: a checkout of another day may read it."""
    real.setenv("WRDATA_RETENTON", "minute_bars=400d")
    real.setenv("FMP_API_KY", "x")
    real.setenv("DAGSTER_HOME", str(Path.cwd() / "dagster"))
    real.setenv("WRDATA_DAGSTER_DATABASE_URL", REAL["WRDATA_DATABASE_URL"])
    environment.enter(environment.surroundings(), start=False)

    real.setenv("WRDATA_PROFILE", "production")

    with pytest.raises(errors.ConfigurationError) as raised:
        environment.enter(environment.surroundings(), start=False)
    line = "WRDATA_RETENTON is set, but never read: did you mean WRDATA_RETENTION?"
    assert str(raised.value) == f"{line}. production takes no unknown variables"


# --- wrdata config ---


def test_config_show_tells_value_and_source_and_no_secret(
    real: pytest.MonkeyPatch, config: Config
) -> None:
    """A digest is enough to see whether two machines have the same key."""
    Path(".env").write_text(f"TIINGO_API_KEY={KEY}\nWRDATA_DATABASE_POOL_SIZE=7\n")
    real.setenv("FMP_BASE_URL", f"https://u:{PASSWORD}@proxy.example/stable?apikey={KEY}")

    said = config("show")
    shown = by_variable(said)

    assert said["profile"] == "development"
    assert shown["WRDATA_PROFILE"] == ("development", "default")
    assert shown["WRDATA_ARCHIVE_BUCKET"] == ("market-data", "environment")
    assert shown["WRDATA_DATABASE_POOL_SIZE"] == ("7", ".env")
    assert shown["WRDATA_MINUTE_BARS_PROVIDER"][1] == "default"
    assert shown["FMP_BASE_URL"] == ("https://proxy.example/stable", "environment")
    assert shown["FRED_API_KEY"] == ("not set", "default")
    assert re.fullmatch(
        r"db\.example:5432/market, set \([0-9a-f]{8}…\)", shown["WRDATA_DATABASE_URL"][0]
    )
    fmp, tiingo = shown["FMP_API_KEY"], shown["TIINGO_API_KEY"]
    assert (fmp[1], tiingo[1]) == ("environment", ".env")
    assert fmp[0] == tiingo[0]
    assert re.fullmatch(r"set \([0-9a-f]{8}…\)", fmp[0])
    everything = json.dumps(said)
    for secret in (PASSWORD, KEY, *REAL.values()):
        assert secret not in everything or secret == "market-data"
    assert set(shown) >= known_variables() - {"WRDATA_TEST_DATABASE_URL"}


def test_config_check_names_everything_that_is_wrong_at_once(
    real: pytest.MonkeyPatch, config: Config
) -> None:
    """Faults stop commands; warnings do not."""
    assert config("check", 0) == {"faults": [], "warnings": []}
    real.setenv("WRDATA_DATABASE_POOL_SIZE", "many")
    real.setenv("WRDATA_MINUTE_BARS_PROVIDER", "tingo")
    real.setenv("WRDATA_DATABASE_URL", f"postgresql://u:{PASSWORD}@[")
    real.setenv("WRDATA_ARCHIV_BUCKET", "x")

    said = config("check", 1)

    assert len(said["faults"]) == 3
    assert {line.split()[0].rstrip(":") for line in said["faults"]} == {
        "WRDATA_DATABASE_POOL_SIZE",
        "WRDATA_MINUTE_BARS_PROVIDER",
        "WRDATA_DATABASE_URL",
    }
    assert [line.split()[0] for line in said["warnings"]] == ["WRDATA_ARCHIV_BUCKET"]
    assert PASSWORD not in json.dumps(said)
    real.setenv("WRDATA_PROFILE", "production")
    assert len(config("check", 1)["faults"]) == 4


def test_config_check_names_what_production_lacks(bare: pytest.MonkeyPatch, config: Config) -> None:
    """In development the local world stands in."""
    assert config("check", 0)["faults"] == []
    bare.setenv("WRDATA_PROFILE", "production")

    (line,) = config("check", 1)["faults"]
    assert line.startswith("set WRDATA_DATABASE_URL and WRDATA_ARCHIVE_BUCKET: production has no")
    bare.setenv("WRDATA_DATABASE_URL", REAL["WRDATA_DATABASE_URL"])
    bare.setenv("WRDATA_ARCHIVE_BUCKET", "market-data")
    assert config("check", 1)["faults"] == [
        "AWS_ACCESS_KEY_ID is not set; AWS_SECRET_ACCESS_KEY is not set. Set what is missing"
    ]
