"""Facts about the code location as Dagster loads it."""

import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest
import yaml

from assets.archive import ARCHIVES
from pipelines.definitions import definitions
from pipelines.sensors import ALL
from tests.fixtures.dagster_internals import (
    default_values_yaml_from_type_snap,
    snap_from_config_type,
)

PROJECT = Path(__file__).parents[2]


def test_every_asset_says_source_cadence_and_destination() -> None:
    """Descriptions, owners, kinds and groups are there for the UI."""
    for spec in definitions.resolve_all_asset_specs():
        text = " ".join((spec.description or "").split())
        assert "Source: " in text, spec.key
        assert "Destination: " in text, spec.key
        assert spec.owners, spec.key
        assert spec.group_name != "default", spec.key


def test_every_check_says_what_it_looks_at() -> None:
    """The UI shows it beside the verdict."""
    graph = definitions.resolve_asset_graph()
    specs = [graph.get_check_spec(key) for key in graph.asset_check_keys]

    assert len(specs) > 5
    assert [spec.key for spec in specs if not spec.description] == []


def test_an_archive_says_which_of_its_rows_are_archived() -> None:
    """Months that are closed, or all of a dataset that has no months."""
    begins = {name: dataset.descriptions_by_key[dataset.key] for name, dataset in ARCHIVES.items()}

    assert begins["minute_bars"].startswith("Closed months of minute_bars ")
    assert begins["daily_bars"].startswith("Years, each with its closed months, of daily_bars ")
    assert begins["companies"].startswith("All rows of companies ")


def test_every_asset_with_a_condition_is_watched_by_a_sensor_that_runs() -> None:
    """Dagster adds a sensor of its own, which is off, for any that ours leaves out."""
    sensors = definitions.get_repository_def().sensor_defs

    assert sorted(sensor.name for sensor in sensors) == sorted(sensor.name for sensor in ALL)
    assert {sensor.default_status for sensor in sensors} == {dg.DefaultSensorStatus.RUNNING}


@pytest.mark.parametrize(
    ("job", "field"),
    [
        ("daily_bars", "symbols"),
        ("minute_bars", "symbols"),
        ("archive", "datasets"),
        ("retention", "datasets"),
    ],
)
def test_the_launchpad_shows_the_list_that_a_run_takes(job: str, field: str) -> None:
    """An empty list stands there to be filled; a field without a plain default is not shown."""
    resolved = definitions.resolve_job_def(job)
    schema = resolved.get_job_snapshot().config_schema_snapshot
    shown = yaml.safe_load(
        default_values_yaml_from_type_snap(
            schema, snap_from_config_type(resolved.run_config_schema.run_config_schema_type)
        )
    )

    assert [ops["config"][field] for ops in shown["ops"].values()] == [[]]


def test_no_description_speaks_in_riddles() -> None:
    """Readers of the UI know neither our doors nor a destination that is itself."""
    texts = [spec.description or "" for spec in definitions.resolve_all_asset_specs()]

    assert [text for text in texts if "door" in text or "Destination: itself" in text] == []


def test_tables_tell_their_columns() -> None:
    """Assets that are tables carry a column schema."""
    with_schema = {
        spec.key.path[-1]
        for spec in definitions.resolve_all_asset_specs()
        if "dagster/column_schema" in spec.metadata
    }

    assert {
        "daily_bars_by_session",
        "daily_bars_table",
        "bars_1h",
        "bars_1mo",
        "daily_bars",
    } <= with_schema


def test_the_definitions_load_without_any_configuration() -> None:
    """No variable of ours is read, and nothing is connected to, while definitions load."""
    loaded = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", "import pipelines.definitions"],
        cwd=PROJECT,
        env={"PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert loaded.returncode == 0, loaded.stderr


def test_a_run_without_configuration_fails_with_the_names_of_what_is_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One line in Dagster's words, which names every variable and the cure."""
    for name in ("WRDATA_DATABASE_URL", "WRDATA_ARCHIVE_BUCKET", "FMP_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    with dg.DagsterInstance.ephemeral() as instance:
        result = definitions.resolve_job_def("universe").execute_in_process(
            instance=instance, raise_on_error=False
        )

    failure = result.failure_data_for_node("curated__reference__universe")
    assert failure is not None
    assert failure.user_failure_data is not None
    text = failure.user_failure_data.description or ""
    assert "WRDATA_DATABASE_URL is not set" in text
    assert "WRDATA_ARCHIVE_BUCKET is not set" in text
    assert "wrdata up" in text
