"""The archive's upkeep: the asset of Sundays, and the commands."""

import json
from datetime import timedelta
from typing import Any

import dagster as dg
import pytest

from assets import archive_upkeep as upkeep_asset
from marketdata.recovery import errors
from pipelines.cli.main import app
from resources.storage.archive import Archive
from resources.storage.object_store import ObjectStore
from resources.storage.timescale import Timescale
from resources.wiring import Archive as ArchiveResource
from tests.storage.archive.archived_years import (
    BARS,
    FOLDER,
    YEARS,
    archive_years,
    keys,
    restate,
    store_bars,
)

ALREADY = timedelta(minutes=-1)
"""An age that all objects have reached."""


@pytest.fixture
def configured(
    timescale: Timescale, object_store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The environment of a configured user, whose archive is empty."""
    s3 = object_store.settings
    for name, value in {
        "WRDATA_DATABASE_URL": timescale.url,
        "WRDATA_S3_ENDPOINT": s3.endpoint,
        "WRDATA_ARCHIVE_BUCKET": s3.bucket,
        "AWS_ACCESS_KEY_ID": s3.access_key,
        "AWS_SECRET_ACCESS_KEY": s3.secret_key,
        "AWS_REGION": s3.region,
        "FMP_API_KEY": "k" * 32,
    }.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def archive(
    configured: None,  # noqa: ARG001  # a fixture cannot use the mark
    timescale: Timescale,
    object_store: ObjectStore,
    instrument_ids: list[int],
) -> Archive:
    """Two years, of which 2023 was restated once, in the environment of a configured user."""
    rows = store_bars(timescale, instrument_ids)
    archive = archive_years(timescale, object_store)
    restate(timescale, rows[-1], 51.0)
    archive.archive(BARS, YEARS)
    return archive


def wrdata(capsys: pytest.CaptureFixture[str], *words: str) -> Any:
    """Run a command of the archive in this process; return its JSON."""
    capsys.readouterr()
    assert app(["archive", *words, "--json"], standalone_mode=False) in {None, 0}
    return json.loads(capsys.readouterr().out)


def materialized() -> dg.ExecuteInProcessResult:
    """Run the asset."""
    return dg.materialize(
        [upkeep_asset.archive_upkeep],
        resources={"archive": ArchiveResource()},
        raise_on_error=False,
    )


def test_the_asset_says_what_it_removed(
    archive: Archive, object_store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Figures for all, and a table by dataset; what is archived stays equal."""
    monkeypatch.setattr(upkeep_asset, "SNAPSHOTS_STAY_FOR", ALREADY)
    monkeypatch.setattr(upkeep_asset, "ORPHANS_STAY_FOR", ALREADY)
    before = keys(object_store)

    result = materialized()

    assert result.success
    metadata = result.asset_materializations_for_node("archive__upkeep")[0].metadata
    assert metadata["snapshots_expired"].value == 1
    assert metadata["objects_removed"].value == len(before - keys(object_store)) > 0
    datasets = metadata["datasets"]
    assert isinstance(datasets, dg.TableMetadataValue)
    (record,) = datasets.records
    assert record.data["dataset"] == "daily_bars"
    assert all(verdict.equal for verdict in archive.verify(BARS, archive.proofs(BARS)))


@pytest.mark.usefixtures("archive")
def test_by_default_a_young_archive_keeps_everything(object_store: ObjectStore) -> None:
    """Snapshots stay for 30 days, objects for 24 hours."""
    before = keys(object_store)

    assert materialized().success

    assert keys(object_store) == before


def test_a_damaged_dataset_fails_the_run_with_its_reason(
    archive: Archive, object_store: ObjectStore
) -> None:
    """In our words, once."""
    table = archive.table(BARS).load()
    assert table
    for key in keys(object_store):
        if "/metadata/snap-" in key:
            object_store.delete(key)

    result = materialized()

    assert not result.success
    (event,) = result.get_step_failure_events()
    assert "1 of 1 datasets: daily_bars" in str(event.step_failure_data)
    assert "lacks a file that it refers to" in str(event.step_failure_data)


def test_commands_say_what_they_would_do_and_do_it(
    archive: Archive, object_store: ObjectStore, capsys: pytest.CaptureFixture[str]
) -> None:
    """A dry run prints what the run then prints, and changes nothing."""
    before = keys(object_store)
    young = wrdata(capsys, "expire")
    assert young[0]["snapshots_expired"] == []
    planned = wrdata(capsys, "expire", "--days", "0", "--dry-run")
    assert len(planned[0]["snapshots_expired"]) == 1
    assert wrdata(capsys, "compact", "--dry-run") == []
    assert keys(object_store) == before

    assert wrdata(capsys, "expire", "--days", "0") == planned
    planned = wrdata(capsys, "orphans", "--hours", "0", "--dry-run", "--dataset", "daily_bars")
    assert before <= keys(object_store)
    assert wrdata(capsys, "orphans", "--hours", "0") == planned

    assert set(planned[0]["objects"]) == before - keys(object_store)
    assert all(verdict.equal for verdict in archive.verify(BARS, archive.proofs(BARS)))


def test_rebuild_registers_what_the_catalogue_lost(
    archive: Archive, timescale: Timescale, capsys: pytest.CaptureFixture[str]
) -> None:
    """Over all datasets: one that was never archived is no error."""
    proofs = archive.proofs(BARS)
    with timescale.connection() as connection:
        connection.execute("delete from iceberg_catalog.iceberg_tables")
        connection.execute("delete from archive_log")

    rebuilt = {row["dataset"]: row for row in wrdata(capsys, "rebuild")}

    assert rebuilt["daily_bars"]["registered"] is True
    assert rebuilt["daily_bars"]["metadata"].startswith(f"{FOLDER}metadata/")
    assert rebuilt["daily_bars"]["periods"] == ["2022", "2023"]
    assert rebuilt["splits"]["metadata"] == ""
    assert {label: logged.proof for label, logged in archive.proofs(BARS).items()} == {
        label: logged.proof for label, logged in proofs.items()
    }


@pytest.mark.usefixtures("configured")
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["list"], "nothing is archived yet"),
        (["list", "--dataset", "splits"], "nothing of splits is archived yet"),
        (["verify"], "nothing is archived yet"),
        (["expire"], "nothing is archived yet"),
        (["orphans"], "nothing is archived yet"),
        (["compact"], "no period has too many files"),
        (["rebuild"], "the bucket holds no table"),
    ],
)
def test_an_empty_archive_is_told_in_a_sentence(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Silence would look like a command that did nothing; standard output stays for results."""
    assert app(["archive", *words], standalone_mode=False) in {None, 0}

    said = capsys.readouterr()
    assert message in said.err
    assert said.out == ""


def test_a_metadata_file_is_chosen_for_one_dataset() -> None:
    """The key must lie in the dataset's folder."""
    with pytest.raises(errors.ConfigurationError, match="name it with --dataset"):
        app(["archive", "rebuild", "--metadata", "x"], standalone_mode=False)
