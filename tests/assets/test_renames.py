"""A share that was renamed, at a provider which keeps each day under the ticker of that day.

Facebook's share was FB until 2022-06-08 and is META since; until January 2022 META was a fund.
"""

import json
from datetime import date, timedelta
from typing import Any

import pytest
from typer.testing import CliRunner

from assets.datasets import REFRESHES
from marketdata.calendars import HISTORY_START, calendar, utc_now
from marketdata.datasets import DATASETS
from marketdata.planning import Wanted
from marketdata.recovery import errors
from marketdata.recovery.dead_letters import LetterState
from pipelines.cli import environment
from pipelines.cli.load_options import LoadOptions
from pipelines.cli.main import app
from resources.settings import read_settings
from resources.storage.letters import LetterFilter
from tests.fixtures.pipeline import Pipeline
from usecases.instruments import UNIVERSE
from usecases.load_cost import cost_of
from usecases.load_plan import LoadRequest, plan_load, plan_sessions
from wrdata import read_bars

RENAMED_ON = date(2022, 6, 9)
LAST_OF_FB = date(2022, 6, 8)
OF_THE_FUND = date(2022, 1, 3)
FUND = "AIG"
"""Series of the fund that traded as META in this world."""


@pytest.fixture
def renamed(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> Pipeline:
    """A pipeline that knows of the rename, and a Polygon that shows it."""
    monkeypatch.setenv("WRDATA_DAILY_BARS_PROVIDER", "polygon")
    monkeypatch.setenv("WRDATA_SPLITS_PROVIDER", "polygon")
    monkeypatch.setenv("WRDATA_DIVIDENDS_PROVIDER", "polygon")
    with pipeline.stores.timescale.connection() as connection:
        connection.execute(
            "update instrument_ticker set valid = daterange(%s, null) where ticker = 'META'",
            [RENAMED_ON],
        )
        connection.execute(
            """
            insert into instrument_ticker (instrument_id, ticker, valid)
            select instrument_id, 'FB', daterange(null, %s) from instrument_ticker
            where ticker = 'META'
            """,
            [RENAMED_ON],
        )
    pipeline.simulator.was_called("META", "FB", date(2000, 1, 1), LAST_OF_FB)
    pipeline.simulator.was_called(FUND, "META", date(2021, 6, 30), date(2022, 1, 28))
    return pipeline


def _closes(pipeline: Pipeline, ticker: str = "META") -> dict[date, float]:
    (instrument,), _ = pipeline.stores.instruments.resolve("polygon", [ticker], utc_now().date())
    with pipeline.stores.timescale.connection() as connection:
        rows = connection.execute(
            "select session_date, close from daily_bar where instrument_id = %s order by 1",
            [instrument.instrument_id],
        ).fetchall()
    return dict[date, float](rows)


def _truth(pipeline: Pipeline, ticker: str = "META") -> dict[date, float]:
    table = pipeline.simulator.truth([ticker], start=HISTORY_START)
    return dict(zip(table["date"].to_pylist(), table["close"].to_pylist(), strict=True))


def _requests(pipeline: Pipeline, *tickers: str, day: date | None = None) -> int:
    """Return how many requests a load of tickers, or of one session, is planned to take."""
    load = LoadRequest(
        dataset=DATASETS["daily_bars"],
        provider="polygon",
        symbols=tickers,
        wanted=Wanted(start=day, end=day),
    )
    plan = plan_sessions(load) if day else plan_load(pipeline.stores, load)
    return cost_of(pipeline.stores, read_settings(), plan).load.requests


def _asked(pipeline: Pipeline, since: Any) -> list[str]:
    """Return the tickers and days of the requests for bars, in order."""
    paths = [
        request.path
        for request in pipeline.simulator.requests(since)
        if "/aggs/ticker/" in request.path
    ]
    return [f"{path.split('/')[5]} {'/'.join(path.split('/')[9:])}" for path in paths]


@pytest.mark.usefixtures("settled")
def test_a_history_across_a_rename_is_the_shares_own_and_is_planned_as_it_is_asked(
    renamed: Pipeline,
) -> None:
    """Two planned requests; the fund's closes are not stored, and nothing is left to ask."""
    planned = _requests(renamed, "META")
    since = utc_now()
    result = renamed.backfill(["META"])

    assert result.success
    last = calendar().last_closed(utc_now())
    assert _asked(renamed, since) == [
        f"FB {HISTORY_START}/{LAST_OF_FB}",
        f"META {RENAMED_ON}/{last}",
    ]
    assert planned == 2
    assert _closes(renamed) == _truth(renamed)
    assert _requests(renamed, "META") == 0
    (materialization,) = (
        event.step_materialization_data.materialization
        for event in result.get_asset_materialization_events()
        if event.partition == "META"
    )
    assert materialization.metadata["requests"].value == 2
    assert renamed.stores.dead_letters.find(LetterFilter()) == []


@pytest.mark.parametrize("route", ["bulk", "per_ticker"])
def test_a_day_is_loaded_under_the_tickers_of_that_day(
    renamed: Pipeline, monkeypatch: pytest.MonkeyPatch, route: str
) -> None:
    """Both routes: META of January 2022 is the fund's, whose bar goes to the fund."""
    monkeypatch.setenv("WRDATA_DAILY_BARS_ROUTE", route)
    if route == "per_ticker":
        with renamed.stores.timescale.connection() as connection:
            connection.execute(
                """
                delete from universe_member where instrument_id not in (
                    select instrument_id from instrument_ticker where ticker in ('META', 'AAPL')
                )
                """
            )
    assert _requests(renamed, day=OF_THE_FUND) == (1 if route == "bulk" else 2)
    assert renamed.run("daily_bars_by_session", partition=OF_THE_FUND.isoformat()).success
    assert _closes(renamed) == {OF_THE_FUND: _truth(renamed)[OF_THE_FUND]}


def test_who_was_a_member_on_the_day_is_loaded_with_it(renamed: Pipeline) -> None:
    """A member that has left since: its days as a member are asked for like those of others."""
    left_on = utc_now().date() - timedelta(days=3)
    with renamed.stores.timescale.connection() as connection:
        connection.execute(
            """
            update universe_member set valid = daterange('2022-01-03', %s) where instrument_id = (
                select instrument_id from instrument_ticker where ticker = 'AAPL'
            )
            """,
            [left_on],
        )
    assert "AAPL" not in [
        instrument.ticker for instrument in renamed.stores.instruments.members(UNIVERSE)
    ]
    day, before = date(2022, 1, 3), date(2021, 12, 31)
    for session in (before, day):
        assert renamed.run("daily_bars_by_session", partition=session.isoformat()).success
    assert list(_closes(renamed, "AAPL")) == [day]


def test_minutes_around_a_rename_are_the_shares_own(renamed: Pipeline) -> None:
    """In one load of two requests."""
    since = utc_now()
    op = REFRESHES["minute_bars"].node_def.name
    config = {
        "symbols": ["META"],
        "start": LAST_OF_FB.isoformat(),
        "end": RENAMED_ON.isoformat(),
        "provider": "polygon",
    }
    assert renamed.run("minute_bars", config={op: {"config": config}}).success
    truth = renamed.simulator.dataset_truth(
        "minute_bars", ["META"], start=LAST_OF_FB, end=RENAMED_ON, provider="polygon"
    )
    with renamed.stores.timescale.connection() as connection:
        rows = connection.execute("select opened_at, close from minute_bar order by 1").fetchall()
    assert rows == list(
        zip(truth["opened_at"].to_pylist(), truth["close"].to_pylist(), strict=True)
    )
    assert [path.split()[0] for path in _asked(renamed, since)] == ["FB", "META"]


def test_splits_and_dividends_of_the_fund_are_not_the_shares(renamed: Pipeline) -> None:
    """Dividends of the ticker before the rename belong to another share."""
    for dataset in ("splits", "dividends"):
        op = REFRESHES[dataset].node_def.name
        config = {"symbols": ["META"], "provider": "polygon"}
        assert renamed.run(dataset, config={op: {"config": config}}).success
        truth = renamed.simulator.dataset_truth(dataset, ["META"], provider="polygon")
        table = dataset.removesuffix("s")
        with renamed.stores.timescale.connection() as connection:
            rows = connection.execute(f"select ex_date from {table} order by 1").fetchall()  # noqa: S608
        assert [day for (day,) in rows] == truth["ex_date"].to_pylist()


def test_a_letter_across_a_rename_is_retried_and_settled_as_one(renamed: Pipeline) -> None:
    """Its second request failed: both are made again, over the days it waits for."""
    renamed.simulator.add_fault("status", status=503, path="/polygon/", symbol="META")
    renamed.backfill(["META"])
    (letter,) = renamed.stores.dead_letters.find(LetterFilter(dataset="daily_bars"))
    assert letter.span == (HISTORY_START, calendar().last_closed(utc_now()))
    assert _closes(renamed) == {}

    renamed.simulator.clear_faults()
    config = {"letters": [letter.letter_id]}
    op = "curated__equity_prices__daily_bars_refresh"
    assert renamed.run("daily_bars", config={op: {"config": config}}).success
    assert _closes(renamed) == _truth(renamed)
    (letter,) = renamed.stores.dead_letters.by_id([letter.letter_id])
    assert letter.state is LetterState.RESOLVED


def test_a_former_ticker_is_answered_with_the_present_one(renamed: Pipeline) -> None:
    """On the command line, and in a run that was started with it."""
    with pytest.raises(errors.ConfigurationError, match=r"FB \(it is called META now\)"):
        LoadOptions(dataset="daily_bars", symbols="FB").plan(renamed.stores, read_settings())
    result = renamed.backfill(["FB"])
    (failure,) = (
        event.step_failure_data.user_failure_data
        for event in result.all_events
        if event.is_step_failure
    )
    assert failure is not None
    assert "FB is called META now" in (failure.description or "")


def test_a_company_that_is_registered_anew_keeps_its_history_and_is_told(
    pipeline: Pipeline,
) -> None:
    """The list has another CIK under the ticker: no instrument leaves, no read becomes empty."""
    days = [day.isoformat() for day in calendar().sessions(date(2024, 1, 2), date(2024, 1, 10))]
    assert pipeline.backfill(["AAPL"]).success
    before = read_bars("AAPL", days[0], days[-1], as_of=utc_now())
    pipeline.simulator.add_constituent("AAPL", cik="0000000099")

    result = pipeline.run("universe")

    assert result.success
    after = read_bars("AAPL", days[0], days[-1], as_of=utc_now())
    assert len(after) == len(before) == len(days) == 7
    (materialization,) = (
        event.step_materialization_data.materialization
        for event in result.get_asset_materialization_events()
    )
    figures = {name: value.value for name, value in materialization.metadata.items()}
    assert (figures["joined"], figures["left"], figures["issuer_changed"]) == (0, 0, 1)
    assert "AAPL issuer_changed: 0000320193 to 0000000099" in str(figures["events"])
    assert [event.ticker for event in pipeline.stores.instruments.events()] == ["AAPL"]


def test_what_happened_to_instruments_can_be_read_later(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`wrdata universe --events`, which loads nothing."""
    monkeypatch.setattr(environment, "enter", lambda *_, **__: None)
    pipeline.simulator.add_constituent("AAPX", former_ticker="AAPL")
    assert pipeline.run("universe").success
    since = utc_now()
    content = CliRunner().invoke(app, ["universe", "--events", "--json"])
    (event,) = json.loads(content.stdout)
    assert (event["event"], event["before"], event["after"]) == ("renamed", "AAPL", "AAPX")
    assert pipeline.simulator.requests(since) == []
