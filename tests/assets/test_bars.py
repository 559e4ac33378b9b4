"""Bars of coarser intervals as assets: they come along with the loads they are made of."""

from datetime import timedelta
from typing import Any

import dagster as dg
import pytest

from assets import checks
from assets.bars import bars_key
from assets.datasets import REFRESHES, by_subject
from marketdata.bars import MINUTE_INTERVALS, Interval
from marketdata.calendars import utc_now
from marketdata.datasets import DATASETS
from pipelines.definitions import definitions
from resources.storage.aggregates import Source
from tests.fixtures.pipeline import Pipeline


def _load(pipeline: Pipeline, dataset: str, subject: str) -> dg.ExecuteInProcessResult:
    start = (utc_now().date() - timedelta(days=6)).isoformat()
    wish: dict[str, Any] = {"subjects": [subject], "start": start}
    op = REFRESHES[dataset].node_def.name
    result = pipeline.run(dataset, config={op: {"config": wish}})
    assert result.success
    return result


def test_minute_bars_bring_their_aggregates_along_in_the_same_run(pipeline: Pipeline) -> None:
    """Of shares and of pairs; each asset says how many bars have changed."""
    for dataset, subject in (("minute_bars", "AAPL"), ("crypto_bars", "BTC-USDT")):
        result = _load(pipeline, dataset, subject)
        told = {
            event.asset_key: event.step_materialization_data.materialization.metadata
            for event in result.get_asset_materialization_events()
        }
        for interval in MINUTE_INTERVALS:
            assert told[bars_key(interval)]["bars_changed"].value > 0
            assert pipeline.stores.aggregates.rows(interval) > 0
    assert pipeline.stores.aggregates.waiting(Source.MINUTES) == 0
    assert all(not pipeline.stores.aggregates.differences(one) for one in MINUTE_INTERVALS)


def test_aggregates_follow_a_backfill_from_the_dialog(pipeline: Pipeline) -> None:
    """The partitioned door of minute bars is enough."""
    before = dg.evaluate_automation_conditions(definitions, pipeline.instance)
    pipeline.materialize(by_subject(DATASETS["minute_bars"]), ("AAPL", "AAPL"))

    ticked = dg.evaluate_automation_conditions(definitions, pipeline.instance, cursor=before.cursor)

    assert all(ticked.get_num_requested(bars_key(one)) for one in MINUTE_INTERVALS)


def test_the_check_names_a_bar_that_is_wrong(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is wrong, and the command that looks at all; the other intervals are well."""
    monkeypatch.setattr(checks, "COMPARED", 1.0)
    _load(pipeline, "minute_bars", "AAPL")
    with pipeline.stores.timescale.connection() as connection:
        connection.execute("update rollup_1h set high = high + 1")

    result = pipeline.run("aggregate_verification")

    verdicts = {one.check_name: one for one in result.get_asset_check_evaluations()}
    assert {name for name, one in verdicts.items() if not one.passed} == {
        "bars_1h_equal_recomputation"
    }
    assert len(verdicts) == len(Interval)
    described = verdicts["bars_1h_equal_recomputation"].description or ""
    assert "the values differ" in described
    assert "wrdata aggregates verify" in described


def test_each_check_says_what_it_chooses_from() -> None:
    """Bars of minutes are compared by the month, bars of days by the year."""
    periods = {
        spec.name: [one for one in ("months", "years") if one in (spec.description or "")]
        for check in checks.AGGREGATE_CHECKS
        for spec in check.check_specs
    }

    assert periods == {
        f"bars_{one}_equal_recomputation": ["months" if one in MINUTE_INTERVALS else "years"]
        for one in Interval
    }
