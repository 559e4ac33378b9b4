"""Dagster's history in a real database: what is deleted, and what must stay."""

import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import psycopg
import pytest

from resources.storage.runs.history import RunHistory

PROJECT = Path(__file__).parents[2]
LETTERS = dg.StaticPartitionsDefinition(["a", "b"])


@dg.asset(partitions_def=LETTERS)
def parted() -> None:
    """An asset whose partitions are materialized once or twice."""


@dg.asset_check(asset=parted)
def well() -> dg.AssetCheckResult:
    """A check that always passes."""
    return dg.AssetCheckResult(passed=True)


@pytest.fixture
def instance(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[dg.DagsterInstance]:
    """The project's own instance, on a database of its own."""
    monkeypatch.setenv("WRDATA_DAGSTER_DATABASE_URL", database_url)
    shutil.copy(PROJECT / "dagster.yaml", tmp_path)
    with dg.DagsterInstance.from_config(str(tmp_path)) as opened:
        yield opened


def _materialized(instance: dg.DagsterInstance, partition: str) -> str:
    done = dg.materialize([parted, well], instance=instance, partition_key=partition)
    return done.run_id


def _aged(database_url: str, run_id: str, days: int) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute(
            "update event_logs set timestamp = timestamp - make_interval(days => %s) "
            "where run_id = %s",
            [days, run_id],
        )
        connection.execute(
            "update asset_check_executions "
            "set create_timestamp = create_timestamp - make_interval(days => %s) where run_id = %s",
            [days, run_id],
        )
        connection.execute(
            "update runs set end_time = end_time - %s * 86400 where run_id = %s", [days, run_id]
        )


def test_old_events_go_and_what_is_materialized_is_still_known(
    instance: dg.DagsterInstance, database_url: str
) -> None:
    """Of an old run only the latest events of a partition or a check stay."""
    replaced, latest_of_a, latest_of_b = (
        _materialized(instance, "a"),
        _materialized(instance, "a"),
        _materialized(instance, "b"),
    )
    for run_id in (replaced, latest_of_a):
        _aged(database_url, run_id, 100)
    young = len(instance.all_logs(latest_of_b))

    history = RunHistory(database_url)
    before = datetime.now(UTC) - timedelta(days=90)
    foreseen = history.prune(before, dry_run=True)
    pruned = history.prune(before)

    assert foreseen == pruned
    assert pruned.events > 10
    # The check has no partitions: the verdict of the young run replaces both.
    assert (pruned.runs, pruned.check_executions) == (1, 2)
    assert {run.run_id for run in instance.get_runs()} == {latest_of_a, latest_of_b}
    assert instance.get_materialized_partitions(parted.key) == {"a", "b"}
    assert [
        event.event_type_value
        for event in (entry.dagster_event for entry in instance.all_logs(latest_of_a))
        if event
    ] == ["ASSET_MATERIALIZATION"]
    assert len(instance.all_logs(latest_of_b)) == young
    latest = instance.get_latest_materialization_event(parted.key)
    assert latest is not None
    assert latest.run_id == latest_of_b


def test_a_run_that_has_not_ended_keeps_its_events(
    instance: dg.DagsterInstance, database_url: str
) -> None:
    """However old they are."""
    run_id = _materialized(instance, "a")
    _materialized(instance, "a")
    _aged(database_url, run_id, 100)
    with psycopg.connect(database_url) as connection:
        connection.execute("update runs set status = 'STARTED' where run_id = %s", [run_id])

    pruned = RunHistory(database_url).prune(datetime.now(UTC) - timedelta(days=90))

    assert (pruned.events, pruned.runs) == (0, 0)


def test_runs_that_ended_long_ago_are_named_and_measured(
    instance: dg.DagsterInstance, database_url: str
) -> None:
    """Their printed output is removed with them; sizes are those of the tables."""
    run_id = _materialized(instance, "a")
    _aged(database_url, run_id, 100)
    history = RunHistory(database_url)

    assert history.ended_before(datetime.now(UTC) - timedelta(days=90)) == [run_id]
    sizes = {size.store: size.bytes for size in history.sizes()}
    assert set(sizes) == {"Dagster's event_logs", "Dagster's runs"}
    assert all(size > 0 for size in sizes.values())
