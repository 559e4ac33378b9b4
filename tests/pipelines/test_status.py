"""Facts about the status page: it is as complete about every dataset as about daily bars."""

from datetime import timedelta
from typing import Any

import pytest

from assets.datasets import REFRESHES
from marketdata.calendars import utc_now
from marketdata.coverage import CoverageMark, CoverageState
from marketdata.datasets import DATASETS
from pipelines.cli import status
from pipelines.cli.status_summary import summary
from resources.settings import read_settings
from resources.storage.ledger import coverage
from tests.fixtures.pipeline import Pipeline


def _refresh(pipeline: Pipeline, dataset: str, *subjects: str) -> None:
    op = REFRESHES[dataset].node_def.name
    pipeline.run(dataset, config={op: {"config": {"symbols": list(subjects)}}})


def _rows() -> dict[tuple[str, str], dict[str, Any]]:
    rows = status.report(read_settings())["datasets"]
    return {(row["dataset"], row["provider"]): row for row in rows}


def test_days_that_failed_are_holes_and_their_reason_is_shown(pipeline: Pipeline) -> None:
    """One ticker of two came; what nobody has asked for of the others is missing too."""
    pipeline.simulator.add_fault("status", status=400, path="/polygon/", symbol="MSFT")
    _refresh(pipeline, "minute_bars", "AAPL", "MSFT")

    shown = _rows()["minute_bars", "polygon"]
    assert shown["holes"] == DATASETS["minute_bars"].usual_days
    assert shown["coverage_percent"] == 0.19, "one of 503 members"
    assert shown["never_asked"] == 503 - 2
    (failure,) = status.report(read_settings())["failures"]
    assert (failure["dataset"], failure["provider"]) == ("minute_bars", "polygon")
    assert "MSFT" in failure["reason"]


def test_states_that_are_due_are_holes(pipeline: Pipeline) -> None:
    """A company that was last asked for ten days ago is due, one of today is not."""
    _refresh(pipeline, "companies", "AAPL")
    (msft,), _ = pipeline.stores.instruments.resolve("fmp", ["MSFT"], utc_now().date())
    ten_days_ago = utc_now().date() - timedelta(days=10)
    mark = CoverageMark(
        instrument_id=msft.instrument_id,
        state=CoverageState.COMPLETE,
        spans=((DATASETS["companies"].begins, ten_days_ago),),
    )
    with pipeline.stores.timescale.connection() as connection:
        coverage.apply_marks(connection, "companies", "fmp", [mark], asked_at=utc_now())

    shown = _rows()["companies", "fmp"]
    assert (shown["holes"], shown["coverage_percent"], shown["never_asked"]) == (1, 0.19, 501)


@pytest.mark.usefixtures("settled")
def test_coverage_is_the_share_of_what_should_be_there(pipeline: Pipeline) -> None:
    """One whole history of 503: no 100 % beside a million sessions never asked for."""
    pipeline.backfill(["AAPL"])

    shown = status.report(read_settings())["daily_bars"]

    sessions = shown["sessions_complete"]
    assert shown["sessions_never_asked_for"] == 502 * sessions
    assert shown["coverage_percent"] == 0.19


def test_a_dataset_that_nobody_asked_for_has_no_holes(pipeline: Pipeline) -> None:
    """Nothing asked is not the same as nothing missing: of what should be there nothing is."""
    shown = _rows()

    assert {row["holes"] for row in shown.values()} == {0}
    assert {row["coverage_percent"] for row in shown.values()} == {0.0}
    assert shown["crypto_bars", "binance"]["never_asked"] > 1
    with pipeline.stores.timescale.connection() as connection:
        others = connection.execute("select count(*) from instrument where kind <> 'equity'")
        assert others.fetchone() == (0,)


def test_letters_and_loads_are_those_of_their_own_provider(pipeline: Pipeline) -> None:
    """Polygon has loaded and failed; the row of Tiingo, which has rows too, says nothing of it."""
    op = REFRESHES["minute_bars"].node_def.name
    pipeline.run(
        "minute_bars", config={op: {"config": {"symbols": ["AAPL"], "provider": "tiingo"}}}
    )
    pipeline.simulator.add_fault("status", status=400, path="/polygon/", symbol="MSFT")
    _refresh(pipeline, "minute_bars", "AAPL", "MSFT")

    shown = _rows()
    assert shown["minute_bars", "polygon"]["letters"] == 1
    assert shown["minute_bars", "tiingo"]["letters"] == 0
    with pipeline.stores.timescale.connection() as connection:
        connection.execute(
            "update ingest_log set finished_at = finished_at - interval '3 days'"
            " where provider = 'tiingo'"
        )
    loads = {key: row["latest_load"] for key, row in _rows().items()}
    assert loads["minute_bars", "tiingo"] < loads["minute_bars", "polygon"]


def test_the_summary_is_ten_lines_that_fit_eighty_columns(pipeline: Pipeline) -> None:
    """With letters, failures and rows in the database, and before there is anything."""
    empty = summary(status.report(read_settings()))
    pipeline.simulator.add_fault("status", status=400, path="/polygon/", symbol="MSFT")
    _refresh(pipeline, "minute_bars", "AAPL", "MSFT")
    filled = summary(status.report(read_settings()))

    for lines in (empty, filled):
        assert len(lines) == 10
        assert max(len(f"{name:15} {line}") for name, line in lines.items()) <= 80
    assert empty["dead letters"] == "none waits"
    assert filled["dead letters"].endswith("wrdata dlq list")
    assert filled["failures"].endswith("minute_bars by polygon")
