"""The three routes to daily bars, on real servers and a simulated provider."""

from datetime import date, timedelta

import dagster as dg
import pyarrow.compute as pc
import pytest

from assets.datasets import BY_SESSION, BY_SYMBOL, REFRESHES
from assets.partitions import TICKERS
from demo.comparison import compare
from marketdata.batches import DAILY_BARS_DATASET
from marketdata.calendars import HISTORY_START, NEW_YORK_ZONE, calendar, utc_now
from marketdata.coverage import RESTATED_AFTER, CoverageState, Span, age_label
from marketdata.day_calendars import TradingDays
from marketdata.ingest import IngestContext
from marketdata.recovery import errors
from marketdata.recovery.dead_letters import UNSETTLED
from marketdata.session_ingest import refuse_open_session
from resources.storage.bar_reader import read_daily_bars
from resources.storage.letters import LetterFilter
from tests.fixtures.pipeline import Pipeline
from usecases.instruments import UNIVERSE

UNKNOWN = {"UNKN1", "UNKN2", "UNKN3"}


def _hundred_tickers(pipeline: Pipeline) -> tuple[list[str], set[str], set[str]]:
    """Return 100 members: 3 that the provider does not know, 2 that it answers with a 500."""
    members = [member.ticker for member in pipeline.stores.instruments.members(UNIVERSE)]
    chosen = members[:200:2]
    unknown, broken = set(chosen[10:40:10]), set(chosen[50:70:10])
    for ticker in unknown:
        pipeline.simulator.add_fault("unknown", symbol=ticker)
    for ticker in broken:
        pipeline.simulator.add_fault("status", symbol=ticker, status=500)
    return chosen, unknown, broken


def _states(pipeline: Pipeline, asset: dg.AssetsDefinition) -> dict[str, str]:
    """Return the state of each partition that has one."""
    statuses = pipeline.instance.get_status_by_partition(
        asset.key,
        TICKERS.get_partition_keys(dynamic_partitions_store=pipeline.instance),
        TICKERS,
    )
    return {key: status.value for key, status in (statuses or {}).items() if status}


def test_the_driver_materializes_95_of_100_tickers_and_says_why_5_are_not(
    pipeline: Pipeline,
) -> None:
    """A list with gaps is one run; each success has its own metadata, no neighbour changes."""
    chosen, unknown, broken = _hundred_tickers(pipeline)

    result = pipeline.backfill(chosen)

    assert result.success
    good = set(chosen) - unknown - broken
    assert 95 == len(good)
    assert dict.fromkeys(good, "MATERIALIZED") == _states(pipeline, BY_SYMBOL["daily_bars"])
    driver = result.asset_materializations_for_node("curated__equity_prices__daily_bars_refresh")[
        -1
    ]
    failed_tickers = driver.metadata["failed_tickers"]
    assert isinstance(failed_tickers, dg.TableMetadataValue)
    reasons = {str(row.data["key"]): str(row.data["reason"]) for row in failed_tickers.records}
    assert unknown | broken == set(reasons)
    assert all("no daily bars under this symbol" in reasons[ticker] for ticker in unknown)
    assert all("HTTP 500" in reasons[ticker] for ticker in broken)
    event = pipeline.instance.get_latest_materialization_event(
        dg.AssetKey(["curated", "equity_prices", "daily_bars"])
    )
    assert event is not None
    assert event.asset_materialization is not None
    rows_inserted = event.asset_materialization.metadata["rows_inserted"].value
    assert isinstance(rows_inserted, int)
    assert rows_inserted > 0


def test_the_partitioned_door_keeps_the_good_ones_and_fails_only_the_bad_ones(
    pipeline: Pipeline,
) -> None:
    """Of a range with 3 unknown and 2 broken tickers the rest is good, and nothing else changes."""
    keys = TICKERS.get_partition_keys(dynamic_partitions_store=pipeline.instance)
    chosen, untouched = list(keys[:100]), set(keys[100:])
    unknown, broken = set(chosen[10:40:10]), set(chosen[50:70:10])
    for ticker in unknown:
        pipeline.simulator.add_fault("unknown", symbol=ticker)
    for ticker in broken:
        pipeline.simulator.add_fault("status", symbol=ticker, status=500)

    result = pipeline.materialize(BY_SYMBOL["daily_bars"], (chosen[0], chosen[-1]))

    assert not result.success
    states = _states(pipeline, BY_SYMBOL["daily_bars"])
    assert unknown | broken == {key for key, state in states.items() if state == "FAILED"}
    assert 95 == sum(state == "MATERIALIZED" for state in states.values())
    assert not untouched & set(states)


def test_a_failed_ticker_keeps_the_state_that_it_had(pipeline: Pipeline) -> None:
    """A driver's failure invalidates neither an earlier success nor its neighbours."""
    pipeline.backfill(["AAPL", "MSFT"])
    pipeline.simulator.add_fault("status", symbol="AAPL", status=500)

    result = pipeline.backfill(["AAPL", "MSFT"], only_missing=False)

    assert result.success
    assert {"AAPL": "MATERIALIZED", "MSFT": "MATERIALIZED"} == _states(
        pipeline, BY_SYMBOL["daily_bars"]
    )


def test_a_run_in_which_every_ticker_failed_is_red(pipeline: Pipeline) -> None:
    """An outage is reported as such."""
    pipeline.simulator.add_fault("status", status=503)

    result = pipeline.backfill(["AAPL", "MSFT", "NVDA"])

    assert not result.success
    failure = result.failure_data_for_node("curated__equity_prices__daily_bars_refresh")
    assert failure is not None
    assert failure.user_failure_data is not None
    assert "none of 3 tickers came through" in (failure.user_failure_data.description or "")


def test_a_refused_key_ends_the_run_with_one_clear_reason(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No further ticker is asked for, and the text holds no key."""
    monkeypatch.setenv("FMP_API_KEY", "not-a-key-of-anyone-at-all-00000")
    before = len(pipeline.simulator.requests())

    result = pipeline.backfill([m.ticker for m in pipeline.stores.instruments.members(UNIVERSE)])

    assert not result.success
    failure = result.failure_data_for_node("curated__equity_prices__daily_bars_refresh")
    assert failure is not None
    assert failure.user_failure_data is not None
    assert "401" in (failure.user_failure_data.description or "")
    assert "not-a-key" not in str(failure)
    assert len(pipeline.simulator.requests()) - before < 20


@pytest.mark.usefixtures("settled")
def test_a_second_run_over_the_same_tickers_asks_for_nothing(pipeline: Pipeline) -> None:
    """What the ledger calls complete is not asked for again."""
    pipeline.backfill(["AAPL", "BRK.B"])
    before = len(pipeline.simulator.requests())

    assert pipeline.backfill(["AAPL", "BRK.B"]).success

    assert before == len(pipeline.simulator.requests())


def test_a_late_correction_is_restated_and_its_old_version_kept(pipeline: Pipeline) -> None:
    """The provider changed one bar: the new value is served, the old one stays readable."""
    day = calendar().sessions(date(2024, 3, 1), date(2024, 3, 31))[5]
    pipeline.backfill(["AAPL"])
    pipeline.simulator.correct("AAPL", day, 1.25)

    result = pipeline.backfill(["AAPL"], only_missing=False)

    driver = result.asset_materializations_for_node("curated__equity_prices__daily_bars_refresh")[
        -1
    ]
    assert 1 == driver.metadata["rows_restated"].value
    assert 1 == pipeline.stores.quality.totals().versions
    assert compare(pipeline.stores, pipeline.simulator).perfect


def _label(after: timedelta) -> str:
    """Return a bar's age as in the figures of a run."""
    return age_label(max(age for age in RESTATED_AFTER if age <= after)).removeprefix("+")


def test_a_correction_of_a_settled_session_is_seen_in_the_next_five(pipeline: Pipeline) -> None:
    """The run says how old the corrected bars were; a sixth session is not looked at again."""
    sessions = calendar().sessions(date(2026, 1, 1), calendar().last_closed(utc_now()))[-6:]
    pipeline.backfill(["AAPL"])
    for session in sessions[:2]:
        # By less than a re-based history, for which the whole history is fetched.
        pipeline.simulator.correct("AAPL", session, 1.004)

    op = "curated__equity_prices__daily_bars_refresh"
    config = {"symbols": ["AAPL"], "again": True}
    result = pipeline.run("daily_bars", config={op: {"config": config}})

    figures = result.asset_materializations_for_node(op)[-1].metadata
    assert 1 == figures["rows_restated"].value
    age = utc_now() - calendar().close_at(sessions[1])
    assert 1 == figures[f"daily_bars_restated_after_{_label(age)}"].value


def test_a_correction_is_seen_by_whole_days_too(pipeline: Pipeline) -> None:
    """The morning's run where the plan has the bulk route: five days again, five requests."""
    days = calendar().sessions(date(2026, 1, 1), calendar().last_closed(utc_now()))[-5:]
    span = (days[0].isoformat(), days[-1].isoformat())
    pipeline.run("daily_bars_by_session", partitions=span)
    pipeline.simulator.correct("AAPL", days[0], 1.004)
    before = len(pipeline.simulator.requests())

    assert pipeline.run("daily_bars_by_session", partitions=span).success

    assert len(pipeline.simulator.requests()) - before == 5
    assert 1 == pipeline.stores.quality.totals().versions
    assert compare(pipeline.stores, pipeline.simulator).perfect


def test_whole_trading_days_are_one_request_each_and_equal_the_simulator(
    pipeline: Pipeline,
) -> None:
    """Five days of the universe by the bulk route: five requests, every row as served."""
    days = calendar().sessions(date(2026, 1, 1), calendar().last_closed(utc_now()))[-5:]
    before = len(pipeline.simulator.requests())

    result = pipeline.run(
        "daily_bars_by_session", partitions=(days[0].isoformat(), days[-1].isoformat())
    )

    assert result.success
    assert 5 == len(pipeline.simulator.requests()) - before
    compared = compare(pipeline.stores, pipeline.simulator)
    assert compared.perfect
    assert read_daily_bars(pipeline.stores.timescale, days[0], days[-1]).num_rows == compared.equal
    assert compared.equal > 2450
    materialized = pipeline.instance.get_materialized_partitions(BY_SESSION["daily_bars"].key)
    assert {day.isoformat() for day in days} == materialized


def test_a_day_of_which_the_bulk_answer_is_broken_fails_alone(pipeline: Pipeline) -> None:
    """One bad day of a range is failed, the others are good."""
    days = calendar().sessions(date(2026, 1, 1), calendar().last_closed(utc_now()))[-3:]
    pipeline.simulator.add_fault("malformed", path="/stable/eod-bulk", count=1)

    result = pipeline.run(
        "daily_bars_by_session", partitions=(days[0].isoformat(), days[-1].isoformat())
    )

    assert not result.success
    materialized = pipeline.instance.get_materialized_partitions(BY_SESSION["daily_bars"].key)
    assert {days[1].isoformat(), days[2].isoformat()} == materialized


def test_without_the_bulk_plan_a_day_is_asked_for_ticker_by_ticker(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other route ends in the same rows; a ticker that fails is named, the day is there."""
    monkeypatch.setenv("WRDATA_DAILY_BARS_ROUTE", "per_ticker")
    day = calendar().last_closed(utc_now())
    pipeline.simulator.add_fault("status", symbol="MSFT", status=500)

    result = pipeline.run("daily_bars_by_session", partition=day.isoformat())

    assert result.success
    metadata = result.asset_materializations_for_node(
        "curated__equity_prices__daily_bars_by_session"
    )[-1].metadata
    assert 502 == metadata["rows_inserted"].value
    assert 1 == metadata["tickers_failed"].value
    assert compare(pipeline.stores, pipeline.simulator).perfect


def test_rows_that_cannot_be_right_are_quarantined_and_the_rest_is_kept(
    pipeline: Pipeline,
) -> None:
    """A row without close and one with low above high are refused, not the ticker."""
    pipeline.simulator.add_fault("malformed_rows", symbol="AAPL", count=1)

    result = pipeline.backfill(["AAPL"])

    assert result.success
    driver = result.asset_materializations_for_node("curated__equity_prices__daily_bars_refresh")[
        -1
    ]
    assert 2 == driver.metadata["rows_rejected"].value
    sessions = calendar().sessions(HISTORY_START, calendar().last_closed(utc_now()))
    members = [
        instrument.instrument_id for instrument in pipeline.stores.instruments.members(UNIVERSE)
    ]
    holes = pipeline.stores.coverage.holes(DAILY_BARS_DATASET, "fmp", members, sessions)
    assert 2 == holes.count
    checks = {
        evaluation.check_name: evaluation.passed
        for evaluation in result.get_asset_check_evaluations()
    }
    assert checks["no_missing_sessions"] is False
    assert checks["ohlc_sanity"] is True
    ledger = pipeline.stores.coverage.ledger(DAILY_BARS_DATASET, "fmp", members[:1])
    assert CoverageState.FAILED not in ledger


def test_a_key_that_is_refused_half_way_keeps_what_was_loaded(pipeline: Pipeline) -> None:
    """Of a range of tickers the ones before the refusal are good, the others failed with it."""
    keys = list(TICKERS.get_partition_keys(dynamic_partitions_store=pipeline.instance))[:30]
    pipeline.simulator.add_fault("status", symbol=keys[20], status=401)

    result = pipeline.materialize(BY_SYMBOL["daily_bars"], (keys[0], keys[-1]))

    assert not result.success
    states = _states(pipeline, BY_SYMBOL["daily_bars"])
    good = {key for key, state in states.items() if state == "MATERIALIZED"}
    assert set(keys[:12]) <= good
    assert keys[20] not in good
    stored = set(
        read_daily_bars(pipeline.stores.timescale, HISTORY_START, utc_now().date())["ticker"]
        .unique()
        .to_pylist()
    )
    assert stored == good


def test_tickers_that_were_stored_but_not_reported_are_reported_by_the_next_run(
    pipeline: Pipeline,
) -> None:
    """A run killed between database and Dagster leaves no partition empty for ever."""
    pipeline.backfill(["AAPL"])
    pipeline.instance.wipe_assets([BY_SYMBOL["daily_bars"].key])
    assert _states(pipeline, BY_SYMBOL["daily_bars"]) == {}

    assert pipeline.backfill(["AAPL", "MSFT"]).success

    assert set(_states(pipeline, BY_SYMBOL["daily_bars"])) == {"AAPL", "MSFT"}


def _ledger(pipeline: Pipeline, ticker: str) -> dict[CoverageState, list[Span]]:
    (listed,), _ = pipeline.stores.instruments.resolve("fmp", [ticker], utc_now().date())
    ids = [listed.instrument_id]
    return pipeline.stores.coverage.ledger(DAILY_BARS_DATASET, "fmp", ids)[listed.instrument_id]


@pytest.mark.usefixtures("settled")
def test_a_history_that_a_small_plan_cuts_off_is_asked_for_again_when_the_plan_shows_more(
    pipeline: Pipeline,
) -> None:
    """Until then one request a run checks; afterwards all of it is loaded, without a notice."""
    tickers = ["AAPL", "BRK.B", "MSFT"]
    history = "/stable/historical-price-eod/full"
    pipeline.simulator.add_fault("quirk", quirk="five_years", path=history)
    pipeline.backfill(tickers)
    for ticker in tickers:
        assert set(_ledger(pipeline, ticker)) == {
            CoverageState.COMPLETE,
            CoverageState.PROVIDER_EMPTY,
        }
    before = len(pipeline.simulator.requests())

    assert pipeline.backfill(tickers).success
    assert len(pipeline.simulator.requests()) - before == 1, "the same plan: one finds out"

    pipeline.simulator.clear_faults()
    assert pipeline.backfill(tickers).success
    assert len(pipeline.simulator.requests()) - before == 4
    for ticker in tickers:
        assert set(_ledger(pipeline, ticker)) == {CoverageState.COMPLETE}
    stored = read_daily_bars(pipeline.stores.timescale, HISTORY_START, utc_now().date())
    sessions = calendar().sessions(HISTORY_START, calendar().last_closed(utc_now()))
    assert stored.num_rows == 3 * len(sessions)
    assert compare(pipeline.stores, pipeline.simulator).perfect


@pytest.mark.usefixtures("settled")
def test_another_key_or_another_plan_of_it_is_asked_for_what_the_last_one_lacked(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A plan's limits are declared, and so is what it shows."""
    pipeline.backfill(["AAPL", "ED"])
    before = len(pipeline.simulator.requests())
    assert pipeline.backfill(["AAPL", "ED"]).success
    assert len(pipeline.simulator.requests()) == before

    monkeypatch.setenv("FMP_REQUESTS_PER_MINUTE", "2900")
    assert pipeline.backfill(["AAPL", "ED"]).success

    assert len(pipeline.simulator.requests()) == before + 1, "AAPL lacks nothing"


@pytest.mark.usefixtures("settled")
def test_days_before_the_listing_are_told_from_holes_whatever_came_first(
    pipeline: Pipeline,
) -> None:
    """A ticker listed in 2020, whose last days came by the bulk route before its history.

    That it was listed then is not told by the bars: it takes the company's day of listing.
    """
    last = calendar().last_closed(utc_now())
    pipeline.run("daily_bars_by_session", partition=last.isoformat())
    truth = pipeline.simulator.truth(["ED"])
    first = min(truth["date"].to_pylist())
    assert first > HISTORY_START

    assert pipeline.backfill(["ED"]).success

    assert set(_ledger(pipeline, "ED")) == {CoverageState.COMPLETE, CoverageState.PROVIDER_EMPTY}
    op = REFRESHES["companies"].node_def.name
    assert pipeline.run("companies", config={op: {"config": {"symbols": ["ED"]}}}).success
    assert set(_ledger(pipeline, "ED")) == {CoverageState.COMPLETE, CoverageState.NOT_LISTED}


def test_a_day_that_could_not_be_had_is_logged_and_marked_failed(pipeline: Pipeline) -> None:
    """The failure is on the status page, and the ledger has holes that ask again."""
    day = calendar().last_closed(utc_now())
    pipeline.simulator.add_fault("status", path="/stable/eod-bulk", status=400)

    assert not pipeline.run("daily_bars_by_session", partition=day.isoformat()).success

    failures = pipeline.stores.ingest_log.recent_failures(
        DAILY_BARS_DATASET, utc_now() - timedelta(minutes=5)
    )
    assert len(failures) == 1
    members = [
        instrument.instrument_id for instrument in pipeline.stores.instruments.members(UNIVERSE)
    ]
    summary = pipeline.stores.coverage.summary(DAILY_BARS_DATASET, "fmp", members, [day])
    assert summary.sessions == {CoverageState.FAILED: 503}


def test_an_empty_universe_is_an_error_and_not_nothing_to_do(pipeline: Pipeline) -> None:
    """Neither route succeeds without tickers."""
    with pipeline.stores.timescale.connection() as connection:
        connection.execute("delete from universe_member")

    assert not pipeline.backfill([]).success
    assert not pipeline.run(
        "daily_bars_by_session", partition=calendar().last_closed(utc_now()).isoformat()
    ).success


def test_a_session_that_has_not_closed_is_refused_by_the_day(pipeline: Pipeline) -> None:
    """Its partition may exist already; its bars do not."""
    future = calendar().next_session(calendar().last_closed(utc_now()))

    with pytest.raises(dg.DagsterUnknownPartitionError):
        pipeline.run("daily_bars_by_session", partition=calendar().next_session(future).isoformat())
    with pytest.raises(errors.RecordRejectedError, match="can be asked for after that"):
        refuse_open_session(
            IngestContext(
                store=pipeline.stores.batches, calendar=calendar(), run_id="r", now=utc_now
            ),
            TradingDays(calendar()),
            future,
        )


@pytest.mark.parametrize("route", ["bulk", "per_ticker"])
def test_after_a_split_a_backfill_of_one_day_mixes_no_shares(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch, route: str
) -> None:
    """The last session alone is asked for; all of the history comes, in one transaction."""
    monkeypatch.setenv("WRDATA_DAILY_BARS_ROUTE", route)
    assert pipeline.backfill(["AAPL", "MSFT"]).success
    last = calendar().last_closed(utc_now())
    today = utc_now().astimezone(NEW_YORK_ZONE).date()
    pipeline.simulator.split("AAPL", today, new_shares=4, old_shares=1)

    assert pipeline.run("daily_bars_by_session", partition=last.isoformat()).success

    assert compare(pipeline.stores, pipeline.simulator).different == 0
    stored = read_daily_bars(pipeline.stores.timescale, HISTORY_START, last)
    apple = stored.filter(pc.equal(stored["ticker"], "AAPL")).sort_by("session_date")
    days = pipeline.simulator.truth(["AAPL"], start=HISTORY_START, end=last).sort_by("date")
    assert apple["close"].to_pylist() == days["close"].to_pylist()
    with pipeline.stores.timescale.connection() as connection:
        loads = connection.execute(
            "select count(distinct ingest_id) from daily_bar as bar"
            " inner join instrument_ticker using (instrument_id) where ticker = 'AAPL'"
        ).fetchone()
    assert loads == (1,)


def test_while_the_whole_history_cannot_be_had_the_new_bar_of_a_split_share_waits(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Readers see the old history throughout, and a letter says why."""
    monkeypatch.setenv("WRDATA_DAILY_BARS_ROUTE", "bulk")
    assert pipeline.backfill(["AAPL"]).success
    last = calendar().last_closed(utc_now())
    before = read_daily_bars(pipeline.stores.timescale, HISTORY_START, last)
    today = utc_now().astimezone(NEW_YORK_ZONE).date()
    pipeline.simulator.split("AAPL", today, new_shares=4, old_shares=1)
    pipeline.simulator.add_fault(
        "status", symbol="AAPL", path="/stable/historical-price-eod/full", status=500
    )

    pipeline.run("daily_bars_by_session", partition=last.isoformat())

    after = read_daily_bars(pipeline.stores.timescale, HISTORY_START, last)
    apple = pc.equal(after["ticker"], "AAPL")
    assert after.filter(apple)["close"].to_pylist() == before["close"].to_pylist()
    waiting = pipeline.stores.dead_letters.find(LetterFilter(states=UNSETTLED))
    assert "AAPL" in {letter.subject for letter in waiting}
