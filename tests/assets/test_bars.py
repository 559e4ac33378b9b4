"""Aggregated bars as assets: refreshed in the runs that load their sources."""

from datetime import timedelta
from typing import Any, LiteralString

import dagster as dg
import pytest

from assets import checks
from assets.bars import bars_key
from assets.datasets import BY_SYMBOL, REFRESHES
from marketdata.bars import MINUTE_INTERVALS, Interval
from marketdata.calendars import utc_now
from marketdata.recovery import errors
from marketdata.recovery.dead_letters import LetterState
from pipelines import sensors
from pipelines.cli import aggregates as aggregates_command
from pipelines.cli import environment
from pipelines.definitions import definitions
from resources.storage.aggregates import SourceTable
from resources.storage.letters import LetterFilter
from tests.fixtures.pipeline import Pipeline

LOADED = "holds_what_was_loaded"


def _load(pipeline: Pipeline, dataset: str, symbol: str) -> dg.ExecuteInProcessResult:
    start = (utc_now().date() - timedelta(days=6)).isoformat()
    config: dict[str, Any] = {"symbols": [symbol], "start": start}
    op = REFRESHES[dataset].node_def.name
    result = pipeline.run(dataset, config={op: {"config": config}})
    assert result.success
    return result


def test_minute_bars_bring_their_aggregates_along_in_the_same_run(pipeline: Pipeline) -> None:
    """Of shares and of pairs; each asset says how many bars have changed."""
    for dataset, symbol in (("minute_bars", "AAPL"), ("crypto_bars", "BTC-USDT")):
        result = _load(pipeline, dataset, symbol)
        metadata = {
            event.asset_key: event.step_materialization_data.materialization.metadata
            for event in result.get_asset_materialization_events()
        }
        for interval in MINUTE_INTERVALS:
            bars_changed = metadata[bars_key(interval)]["bars_changed"].value
            assert isinstance(bars_changed, int)
            assert bars_changed > 0
            assert pipeline.stores.aggregates.rows(interval) > 0
    assert pipeline.stores.aggregates.waiting(SourceTable.MINUTES) == 0
    assert all(
        not pipeline.stores.aggregates.differences(interval) for interval in MINUTE_INTERVALS
    )


def test_aggregates_follow_a_backfill_from_the_dialog(pipeline: Pipeline) -> None:
    """The partitioned door of minute bars is enough."""
    before = dg.evaluate_automation_conditions(definitions, pipeline.instance)
    pipeline.materialize(BY_SYMBOL["minute_bars"], ("AAPL", "AAPL"))

    ticked = dg.evaluate_automation_conditions(definitions, pipeline.instance, cursor=before.cursor)

    assert all(ticked.get_num_requested(bars_key(interval)) for interval in MINUTE_INTERVALS)


def test_the_check_names_a_bar_that_is_wrong(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The check names the difference and the command that compares all; other intervals pass."""
    monkeypatch.setattr(checks, "COMPARED", 1.0)
    _load(pipeline, "minute_bars", "AAPL")
    with pipeline.stores.timescale.connection() as connection:
        connection.execute("update rollup_1h set high = high + 1")

    result = pipeline.run("aggregate_verification")

    verdicts = {
        evaluation.check_name: evaluation for evaluation in result.get_asset_check_evaluations()
    }
    assert {name for name, verdict in verdicts.items() if not verdict.passed} == {
        "bars_1h_equal_recomputation"
    }
    assert set(verdicts) == {
        *(f"bars_{interval}_equal_recomputation" for interval in Interval),
        LOADED,
    }
    described = verdicts["bars_1h_equal_recomputation"].description or ""
    assert "the values differ" in described
    assert "wrdata aggregates verify" in described


def test_the_night_finds_rows_that_are_gone_and_asks_for_them_again(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A loss that no trigger noticed: the check names it, its days are holes, letters wait."""
    monkeypatch.setattr(checks, "COMPARED", 1.0)
    _load(pipeline, "minute_bars", "AAPL")
    assert all(evaluation.passed for evaluation in _verified(pipeline))
    with pipeline.stores.timescale.connection() as connection:
        connection.execute("select drop_chunks('minute_bar', older_than => now() + '1 year')")

    verdicts = [evaluation for evaluation in _verified(pipeline) if evaluation.check_name == LOADED]

    (failed,) = [verdict for verdict in verdicts if not verdict.passed]
    assert failed.asset_key == BY_SYMBOL["minute_bars"].key
    assert "rows of minute_bars that were loaded" in (failed.description or "")
    assert "wrdata ledger verify" in (failed.description or "")
    letters = pipeline.stores.dead_letters.find(LetterFilter(dataset="minute_bars"))
    assert {letter.error_class for letter in letters} == {"RowsLostError"}
    _load(pipeline, "minute_bars", "AAPL")
    letters = pipeline.stores.dead_letters.find(LetterFilter(dataset="minute_bars"))
    assert {letter.state for letter in letters} == {LetterState.RESOLVED}
    assert all(evaluation.passed for evaluation in _verified(pipeline))


def test_bars_made_of_rows_that_are_gone_are_not_computed_anew(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are the last trace of the rows: `aggregates refresh --all` refuses."""
    monkeypatch.setattr(environment, "enter", lambda *_, **__: None)
    _load(pipeline, "minute_bars", "AAPL")
    bars = pipeline.stores.aggregates.rows(Interval.HOUR)
    aggregates_command.refresh(everything=True)
    with pipeline.stores.timescale.connection() as connection:
        connection.execute("select drop_chunks('minute_bar', older_than => now() + '1 year')")

    with pytest.raises(errors.RowsLostError, match=r"nothing was recomputed.*minute_bars"):
        aggregates_command.refresh(everything=True)

    assert pipeline.stores.aggregates.rows(Interval.HOUR) == bars > 0
    letters = pipeline.stores.dead_letters.find(LetterFilter(error_class="RowsLostError"))
    assert {letter.state for letter in letters} == {LetterState.OPEN}


def _verified(pipeline: Pipeline) -> list[dg.AssetCheckEvaluation]:
    return list(pipeline.run("aggregate_verification").get_asset_check_evaluations())


def test_each_check_says_what_it_chooses_from() -> None:
    """Bars of minutes are compared by the month, bars of days by the year."""
    periods = {
        spec.name: [level for level in ("months", "years") if level in (spec.description or "")]
        for check in checks.AGGREGATE_CHECKS
        for spec in check.check_specs
    }

    assert periods == {
        f"bars_{interval}_equal_recomputation": [
            "months" if interval in MINUTE_INTERVALS else "years"
        ]
        for interval in Interval
    }


def _execute(pipeline: Pipeline, statement: LiteralString) -> None:
    with pipeline.stores.timescale.connection() as connection:
        connection.execute(statement)


def _sensor(pipeline: Pipeline) -> dg.RunRequest | dg.SkipReason:
    context = dg.build_sensor_context(
        instance=pipeline.instance, sensor_name=sensors.waiting_aggregates.name
    )
    answer = sensors.waiting_aggregates(context)
    assert isinstance(answer, dg.RunRequest | dg.SkipReason)
    return answer


def test_aggregates_that_a_killed_run_left_behind_are_refreshed_without_another_load(
    pipeline: Pipeline,
) -> None:
    """Bars are loaded, but the process that would refresh is gone: the sensor requests a run."""
    assert pipeline.backfill(["AAPL"]).success
    assert isinstance(_sensor(pipeline), dg.SkipReason)
    _execute(pipeline, "update daily_bar set high = high + 1")

    assert pipeline.stores.aggregates.waiting(SourceTable.DAYS)
    assert isinstance(_sensor(pipeline), dg.SkipReason)
    _execute(pipeline, "update daily_bar_invalidation set noted_at = now() - interval '3 min'")
    request = _sensor(pipeline)

    assert isinstance(request, dg.RunRequest)
    assert pipeline.run("derived").success
    assert pipeline.stores.aggregates.waiting(SourceTable.DAYS) == 0
    assert pipeline.stores.aggregates.differences(Interval.YEAR) == []
    assert isinstance(_sensor(pipeline), dg.SkipReason)


def test_one_run_at_a_time_refreshes_what_waits_and_a_lost_one_is_not_waited_for(
    pipeline: Pipeline,
) -> None:
    """The bound holds although a run stays started for ever."""
    assert pipeline.backfill(["AAPL"]).success
    _execute(pipeline, "update daily_bar set high = high + 1")
    _execute(pipeline, "update daily_bar_invalidation set noted_at = now() - interval '3 min'")
    job = definitions.resolve_job_def("derived")
    run = pipeline.instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED)

    skipped = _sensor(pipeline)
    assert isinstance(skipped, dg.SkipReason)
    assert "a run refreshes them" in (skipped.skip_message or "")

    later = utc_now() + sensors.REFRESH_LASTS + timedelta(minutes=1)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(sensors, "utc_now", lambda: later)
        assert isinstance(_sensor(pipeline), dg.RunRequest)
    assert run.run_id
