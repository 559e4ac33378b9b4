"""Runs of the catalogue's datasets: every provider, failures, letters, versions."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import pytest

from assets.datasets import BY_SYMBOL, REFRESHES, by_symbol_key
from demo import comparison
from marketdata import symbols
from marketdata.calendars import calendar, utc_now
from marketdata.datasets import DATASETS
from marketdata.recovery.dead_letters import LetterState, Work
from pipelines import replays, retries, schedules, sensors
from resources import opening
from resources.settings import read_settings
from resources.storage.letters import LetterFilter, StoredLetter
from sandbox.simulators.tiingo import last_published
from tests.fixtures.pipeline import Pipeline
from usecases import instruments

SERVED: dict[tuple[str, str], tuple[list[str], int]] = {
    # Other tickers each time: an equal daily bar keeps its first provider.
    ("daily_bars", "fmp"): (["AAPL"], 0),
    ("daily_bars", "polygon"): (["MSFT"], 0),
    ("daily_bars", "tiingo"): (["BRK.B"], 0),
    ("income_statements", "fmp"): (["AAPL", "BRK.B"], 0),
    ("balance_sheets", "fmp"): (["AAPL"], 0),
    ("cash_flows", "fmp"): (["AAPL"], 0),
    ("ratios", "fmp"): (["AAPL"], 0),
    ("companies", "fmp"): (["AAPL", "BRK.B"], 0),
    ("companies", "polygon"): (["AAPL", "BRK.B"], 0),
    ("index_changes", "fmp"): (["SP500"], 0),
    ("splits", "fmp"): (["AAPL"], 0),
    ("splits", "polygon"): (["AAPL"], 0),
    ("dividends", "fmp"): (["AAPL"], 0),
    ("dividends", "polygon"): (["MSFT"], 0),
    ("minute_bars", "polygon"): (["AAPL", "BRK.B"], 6),
    ("minute_bars", "tiingo"): (["AAPL", "BRK.B"], 6),
    ("macro_observations", "fred"): (["GDP", "DGS10"], 0),
    ("crypto_bars", "binance"): (["BTC-USDT"], 2),
    ("crypto_bars", "coinbase"): (["BTC-USD"], 1),
    ("crypto_trades", "binance"): (["BTC-USDT"], 1),
    ("crypto_trades", "coinbase"): (["BTC-USD"], 1),
}
"""Symbols, and days back where days are asked for."""


def _run(pipeline: Pipeline, dataset: str, names: Sequence[str], **config: Any) -> Any:
    op = REFRESHES[dataset].node_def.name
    wanted = {"symbols": list(names), **config}
    return pipeline.run(dataset, config={op: {"config": wanted}})


def _figures(result: dg.ExecuteInProcessResult, dataset: str) -> dict[str, Any]:
    key = REFRESHES[dataset].key
    (materialization,) = (
        event.step_materialization_data.materialization
        for event in result.get_asset_materialization_events()
        if event.asset_key == key
    )
    return {name: value.value for name, value in materialization.metadata.items()}


def _letters(pipeline: Pipeline, dataset: str) -> list[StoredLetter]:
    return pipeline.stores.dead_letters.find(LetterFilter(dataset=dataset))


def test_every_dataset_of_every_provider_equals_what_the_provider_has(pipeline: Pipeline) -> None:
    """Through Dagster, the shared budgets, the raw zone and the loader, row by row."""
    wrong: dict[tuple[str, str], object] = {}
    for (dataset, provider), (names, back) in SERVED.items():
        start = (utc_now().date() - timedelta(days=back)).isoformat() if back else ""
        result = _run(pipeline, dataset, names, provider=provider, start=start)
        compared = comparison.compare_dataset(
            pipeline.stores, pipeline.simulator, DATASETS[dataset], provider
        )
        if not (result.success and compared.perfect and compared.equal):
            wrong[dataset, provider] = (result.success, compared)
    assert wrong == {}
    assert set(SERVED) == {
        (dataset.name, name) for dataset in DATASETS.values() for name in dataset.sources
    }


def test_a_second_run_asks_only_for_what_is_not_fresh(pipeline: Pipeline) -> None:
    """A weekly snapshot is not fetched twice a day; --refetch fetches it, and it is unchanged."""
    _run(pipeline, "companies", ["AAPL", "MSFT"])
    again = _figures(_run(pipeline, "companies", ["AAPL", "MSFT"]), "companies")
    asked = _figures(_run(pipeline, "companies", ["AAPL", "MSFT"], only_missing=False), "companies")

    assert (again["requests"], again["tickers_complete_before"]) == (0, 2)
    assert (asked["requests"], asked["rows_unchanged"], asked["rows_inserted"]) == (2, 2, 0)


def test_one_failed_ticker_waits_in_a_letter_and_its_job_does_it_again(pipeline: Pipeline) -> None:
    """The others are stored; the letter's run asks the same provider for the same days."""
    pipeline.simulator.add_fault("status", status=503, path="/polygon/", symbol="MSFT")
    result = _run(pipeline, "minute_bars", ["AAPL", "MSFT", "NOSUCH"])

    figures = _figures(result, "minute_bars")
    assert result.success
    assert (figures["tickers_loaded"], figures["tickers_failed"]) == (1, 2)
    (letter,) = _letters(pipeline, "minute_bars")
    assert (letter.provider, letter.work, letter.state) == (
        "polygon", Work.INSTRUMENT, LetterState.OPEN,
    )  # fmt: skip

    pipeline.simulator.clear_faults()
    (retry,) = retries.claim(pipeline.stores.dead_letters, [letter.letter_id], "me")
    assert retry.job == "minute_bars"
    again = pipeline.run(retry.job, config=dict(retry.ops))
    assert again.success
    (settled,) = _letters(pipeline, "minute_bars")
    assert settled.state is LetterState.RESOLVED


def test_a_run_over_partitions_says_which_of_them_are_good(pipeline: Pipeline) -> None:
    """The door of the UI's backfill dialog: one run, the truth about each symbol."""
    pipeline.simulator.add_fault("status", status=503, path="/fred/", symbol="UNRATE")
    dataset = DATASETS["macro_observations"]
    result = pipeline.materialize(BY_SYMBOL[dataset.name], ("CPIAUCSL", "UNRATE"))

    good = pipeline.instance.get_materialized_partitions(by_symbol_key(dataset))
    assert not result.success
    assert "CPIAUCSL" in good
    assert "UNRATE" not in good


def test_a_kept_answer_is_read_again_without_a_request(pipeline: Pipeline) -> None:
    """A bad row of a statement points to the whole answer, from which it can be mended."""
    pipeline.simulator.add_fault("duplicate_rows", path="/stable/income-statement", count=1)
    pipeline.simulator.add_fault("malformed_rows", path="/polygon/v2/aggs", count=1)
    _run(pipeline, "minute_bars", ["AAPL"])
    letters = [letter for letter in _letters(pipeline, "minute_bars") if letter.work is Work.RECORD]
    assert letters
    before = len(pipeline.simulator.requests())

    failed = asyncio.run(
        replays.replay(pipeline.stores, opening.raw_zone(read_settings()).read, letters, "me")
    )

    assert failed == {}
    assert len(pipeline.simulator.requests()) == before
    again = [letter for letter in _letters(pipeline, "minute_bars") if letter.work is Work.RECORD]
    assert [letter.occurrences for letter in again] == [
        letter.occurrences + 1 for letter in letters
    ]


def test_a_restated_quarter_keeps_its_old_version_and_the_past_stays_as_it_was(
    pipeline: Pipeline,
) -> None:
    """What was known before the restatement is still what was known then."""
    _run(pipeline, "income_statements", ["AAPL"])
    # A filing's time has whole seconds.
    before = utc_now() - timedelta(minutes=1)
    year = _latest_year(pipeline)
    pipeline.simulator.restate("AAPL", year, "Q1", 1.1)
    figures = _figures(
        _run(pipeline, "income_statements", ["AAPL"], only_missing=False), "income_statements"
    )

    assert figures["rows_restated"] == 2  # the quarter, and the year that it is part of
    query = (
        "select revenue from income_statements_as_of(%s)"
        " where fiscal_year = %s and fiscal_period = 'Q1'"
    )
    with pipeline.stores.timescale.connection() as connection:
        then = connection.execute(query, [before, year]).fetchone()
        now = connection.execute(query, [utc_now() + timedelta(days=1), year]).fetchone()
    assert then != now


def _latest_year(pipeline: Pipeline) -> int:
    with pipeline.stores.timescale.connection() as connection:
        row = connection.execute(
            "select max(fiscal_year) from income_statement where fiscal_period = 'FY'"
        ).fetchone()
    assert row
    return row[0]


def test_series_that_did_not_change_cost_one_request_together(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """First all are asked by name; then only those that FRED says have changed."""
    series = {"GDP": "gdp", "UNRATE": "rate", "ICSA": "claims"}
    monkeypatch.setattr(symbols, "static_symbols", lambda _: series)

    def asked() -> list[str]:
        since = utc_now()
        assert _run(pipeline, "macro_observations", [], bulk_refresh=True).success
        return [
            f"{entry.path.rpartition('/')[2]} {entry.query.get('series_id', '')}".strip()
            for entry in pipeline.simulator.requests(since)
        ]

    first = asked()
    unchanged = asked()
    pipeline.simulator.revise("GDP")
    revised = asked()

    assert {request.partition(" ")[2] for request in first} == set(series)
    assert unchanged == ["updates"]
    assert revised[0] == "updates"
    assert {request.partition(" ")[2] for request in revised[1:]} == {"GDP"}
    compared = comparison.compare_dataset(
        pipeline.stores, pipeline.simulator, DATASETS["macro_observations"], "fred"
    )
    assert compared.perfect


def test_the_calendar_brings_the_actions_of_all_who_were_asked_before(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A symbol never asked for is asked by name; a new split comes from its day's calendar."""
    monkeypatch.setattr(instruments, "member_tickers", lambda _: ["AAPL", "NVDA"])
    _run(pipeline, "splits", ["AAPL"])
    # The third of the days to come, so that it is announced and has not happened.
    day = calendar().sessions(utc_now().date(), utc_now().date() + timedelta(days=14))[3]
    pipeline.simulator.split("AAPL", day, new_shares=5, old_shares=1)
    result = _run(pipeline, "splits", [], bulk_refresh=True)
    figures = _figures(result, "splits")

    assert (figures["market_rows_inserted"], figures["tickers_loaded"]) == (1, 1)
    reported = {
        event.partition: event.step_materialization_data.materialization.metadata["rows"].value
        for event in result.get_asset_materialization_events()
        if event.asset_key == by_symbol_key(DATASETS["splits"])
    }
    assert set(reported) == {"AAPL", "NVDA"}
    assert reported["AAPL"] == 1  # the calendar's row; NVDA came by name
    compared = comparison.compare_dataset(
        pipeline.stores, pipeline.simulator, DATASETS["splits"], "fmp"
    )
    assert compared.perfect


def test_a_split_re_derives_one_instrument_and_has_its_history_fetched_again(
    pipeline: Pipeline,
) -> None:
    """FMP re-bases a whole history: the others' factors and rows stay as they are."""
    pipeline.backfill(["AAPL", "MSFT"])
    for dataset in ("splits", "dividends"):
        _run(pipeline, dataset, ["AAPL", "MSFT"])
    day = calendar().last_closed(utc_now())
    pipeline.simulator.split("MSFT", day, new_shares=4, old_shares=1)
    result = _run(pipeline, "splits", ["AAPL", "MSFT"], only_missing=False)

    (factors,) = (
        event.step_materialization_data.materialization.metadata
        for event in result.get_asset_materialization_events()
        if event.asset_key == dg.AssetKey(["curated", "corporate_actions", "price_factors"])
    )
    assert factors["instruments_looked_at"].value == 1
    listed, _ = pipeline.stores.instruments.resolve("fmp", ["MSFT"], utc_now().date())
    with pipeline.stores.timescale.connection() as connection:
        rows = connection.execute("select distinct instrument_id from price_factor").fetchall()
    assert (listed[0].instrument_id,) in rows


def test_rebased_histories_are_asked_for_once_a_day(pipeline: Pipeline) -> None:
    """Nothing was re-based: the sensor says so, and starts nothing."""
    context = dg.build_sensor_context(instance=pipeline.instance)
    skipped = sensors.rebased_histories(context)
    assert isinstance(skipped, dg.SkipReason)
    assert "no history was re-based" in (skipped.skip_message or "")


def test_a_schedule_without_its_providers_key_skips_and_names_the_variable(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A provider without a key is skipped; the others run."""
    monkeypatch.delenv("FRED_API_KEY")
    at = datetime(2026, 11, 20, 15, 30, tzinfo=UTC)
    answers = {
        schedule.name: schedule(dg.build_schedule_context(scheduled_execution_time=at))
        for schedule in schedules.REFRESH_SCHEDULES
    }
    skipped = answers.pop("macro_observations_refresh")
    assert isinstance(skipped, dg.SkipReason)
    assert "FRED_API_KEY" in (skipped.skip_message or "")
    assert all(isinstance(answer, dg.RunRequest) for answer in answers.values())
    assert pipeline


def test_another_provider_is_one_line_of_configuration_and_never_a_fallback(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Daily bars from Polygon: as traded, under its name; when it is down, no other is asked.

    What FMP has answered before covers nothing of it.
    """
    assert pipeline.backfill(["AAPL"]).success
    monkeypatch.setenv("WRDATA_DAILY_BARS_PROVIDER", "polygon")
    assert pipeline.backfill(["AAPL"]).success
    with pipeline.stores.timescale.connection() as connection:
        rows = connection.execute(
            "select distinct provider, adjustment::text from daily_bar"
        ).fetchall()
    assert rows == [("polygon", "as_traded")]

    pipeline.simulator.add_fault("status", status=503, path="/polygon/")
    since = utc_now()
    assert not pipeline.backfill(["MSFT"]).success
    assert {entry.path.split("/")[1] for entry in pipeline.simulator.requests(since)} == {"polygon"}


def test_a_day_of_the_whole_market_is_one_request_at_polygon_and_tiingo(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The daily bars of the whole universe cost one request, at every provider."""
    session = last_published(utc_now())  # by Tiingo, which is the later one
    for provider in ("polygon", "tiingo"):
        monkeypatch.setenv("WRDATA_DAILY_BARS_PROVIDER", provider)
        since = utc_now()
        result = pipeline.run("daily_bars_by_session", partition=session.isoformat())
        assert result.success
        bars = [
            request for request in pipeline.simulator.requests(since) if provider in request.path
        ]
        assert len(bars) == 1
    assert pipeline.stores.quality.totals().rows > 490
