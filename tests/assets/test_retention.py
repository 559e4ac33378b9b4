"""Retention as a run of the pipeline: dry, for real, and with something missing."""

from datetime import UTC, date, datetime
from typing import Any

import dagster as dg
import pytest

from marketdata.archiving import ARCHIVED
from pipelines.schedules import retention_weekly
from tests.fixtures.pipeline import Pipeline
from tests.storage.archive.moves import load, minutes, table_rows, tombstones

MINUTES = ARCHIVED["minute_bars"]
JANUARY = datetime(2024, 1, 3, 15, tzinfo=UTC)
ASSET = "archive__retention"


@pytest.fixture
def aged(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> Pipeline:
    """A pipeline with two old months of minute bars, and an age for them."""
    monkeypatch.setenv("WRDATA_RETENTION", "minute_bars=60d")
    with pipeline.stores.timescale.connection() as connection:
        row = connection.execute("select min(instrument_id) from instrument").fetchone()
    for month in (1, 2):
        rows = minutes([row[0] if row else 0], JANUARY.replace(month=month), 4)
        load(pipeline.stores.timescale, "minute_bars", rows)
    return pipeline


def figures_of(result: dg.ExecuteInProcessResult) -> dict[str, Any]:
    """Return what a run of retention reported."""
    [event] = result.asset_materializations_for_node(ASSET)
    return {name: value.value for name, value in event.metadata.items()}


def test_a_dry_run_drops_nothing_and_a_run_drops_what_is_due(aged: Pipeline) -> None:
    """It archives first, so that nothing needs to be prepared."""
    dry = aged.run("retention", config={ASSET: {"config": {"dry_run": True}}})
    assert dry.success
    assert (figures_of(dry)["due"], figures_of(dry)["dropped"], figures_of(dry)["dry_run"]) == (
        2,
        0,
        True,
    )
    assert tombstones(aged.stores.timescale) == []

    result = aged.run("retention")

    assert result.success
    assert (figures_of(result)["dropped"], figures_of(result)["rows_dropped"]) == (2, 8)
    assert figures_of(result)["ages"] == "minute_bars=60d"
    [check] = result.get_asset_check_evaluations()
    assert check.passed
    assert table_rows(aged.stores.timescale, "minute_bar") == set()
    assert [span[1:3] for span in tombstones(aged.stores.timescale)] == [
        (date(2024, 1, 1), date(2024, 2, 1)),
        (date(2024, 2, 1), date(2024, 3, 1)),
    ]


def test_what_has_to_stay_is_a_warning_with_its_reason(aged: Pipeline) -> None:
    """The other period is dropped all the same."""
    with aged.stores.timescale.connection() as connection:
        connection.execute(
            """insert into coverage (dataset, provider, instrument_id, state, sessions)
               select 'minute_bars', 'polygon', min(instrument_id), 'provisional',
                      '{[2024-01-03,2024-01-04)}' from instrument"""
        )

    result = aged.run("retention")

    assert result.success
    assert (figures_of(result)["dropped"], figures_of(result)["refused"]) == (1, 1)
    [check] = result.get_asset_check_evaluations()
    assert not check.passed
    assert check.severity is dg.AssetCheckSeverity.WARN
    assert "2024-01 are provisional" in (check.description or "")


def test_a_run_without_any_age_says_so(pipeline: Pipeline) -> None:
    """Otherwise its passed check would look as if nothing blocked the drop."""
    result = pipeline.run("retention", config={ASSET: {"config": {"dry_run": True}}})

    assert result.success
    assert "no dataset has an age" in figures_of(result)["ages"]
    [check] = result.get_asset_check_evaluations()
    assert check.passed
    assert "no dataset has an age" in (check.description or "")


def test_a_dataset_that_does_not_exist_is_none_without_an_age(aged: Pipeline) -> None:
    """The failure names the known ones."""
    result = aged.run("retention", config={ASSET: {"config": {"datasets": ["minutebars"]}}})

    assert not result.success
    (failure,) = result.get_step_failure_events()
    assert "'minutebars' is no dataset; there are" in str(failure.step_failure_data)


@pytest.mark.usefixtures("pipeline")
def test_the_weekly_schedule_asks_only_where_a_dataset_has_an_age(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By default all rows stay."""
    context = dg.build_schedule_context(
        scheduled_execution_time=datetime(2026, 11, 22, 12, tzinfo=UTC)
    )
    skipped = retention_weekly(context)
    assert isinstance(skipped, dg.SkipReason)
    assert "all rows stay" in (skipped.skip_message or "")

    monkeypatch.setenv("WRDATA_RETENTION", "minute_bars=60d")
    assert isinstance(retention_weekly(context), dg.RunRequest)
