"""The main job as a whole: universe, roll-ups, archive, checks, secrets."""

from datetime import date

import dagster as dg
import pytest

from assets.archive import ARCHIVES
from assets.bars import bars_key
from assets.daily_bars import daily_bars_table
from assets.datasets import BY_SYMBOL
from assets.partitions import TICKERS
from marketdata.archiving import ARCHIVED
from marketdata.bars import DAY_INTERVALS
from marketdata.calendars import utc_now
from pipelines.definitions import definitions
from resources import opening
from resources.settings import read_settings
from tests.fixtures.pipeline import Pipeline
from usecases.archiving import requested_periods
from usecases.instruments import UNIVERSE


def _checks(result: dg.ExecuteInProcessResult) -> dict[str, bool]:
    return {
        evaluation.check_name: evaluation.passed
        for evaluation in result.get_asset_check_evaluations()
    }


def test_a_load_brings_table_and_roll_ups_along_with_all_checks_green(pipeline: Pipeline) -> None:
    """One run: bars, those of weeks to years that equal a recomputation, nothing missing."""
    result = pipeline.backfill(["AAPL", "MSFT", "BRK.B"])

    assert result.success
    assert set(_checks(result).values()) == {True}
    assert len(_checks(result)) == 13
    for interval in DAY_INTERVALS:
        assert pipeline.stores.aggregates.rows(interval) >= 3 * 10
        assert not pipeline.stores.aggregates.differences(interval)


def test_the_universe_becomes_one_ticker_partition_each(pipeline: Pipeline) -> None:
    """All 503 securities, in our spelling."""
    keys = set(TICKERS.get_partition_keys(dynamic_partitions_store=pipeline.instance))

    assert len(keys) == 503
    assert "BRK.B" in keys


def test_who_leaves_the_index_keeps_partition_and_data(pipeline: Pipeline) -> None:
    """A former member is no member any more, but nothing of it is deleted."""
    pipeline.backfill(["MMM"])
    rows = pipeline.stores.quality.totals().rows
    pipeline.simulator.remove_constituent("MMM")
    pipeline.simulator.add_constituent("NEWCO", cik="0009999999")

    assert pipeline.run("universe").success

    keys = set(TICKERS.get_partition_keys(dynamic_partitions_store=pipeline.instance))
    members = {member.ticker for member in pipeline.stores.instruments.members(UNIVERSE)}
    assert {"MMM", "NEWCO"} <= keys
    assert "MMM" not in members
    assert "NEWCO" in members
    assert pipeline.stores.quality.totals().rows == rows


def test_a_list_that_lost_a_fifth_of_its_members_changes_nothing(pipeline: Pipeline) -> None:
    """A provider's error must not end two hundred memberships."""
    before = pipeline.stores.instruments.members(UNIVERSE)
    for member in before[:150]:
        pipeline.simulator.remove_constituent(member.ticker)

    assert not pipeline.run("universe").success

    assert pipeline.stores.instruments.members(UNIVERSE) == before


def test_closed_years_are_archived_once_and_replaced_when_restated(pipeline: Pipeline) -> None:
    """New years are committed, unchanged ones upload nothing, a restated one is replaced."""
    pipeline.backfill(["AAPL", "MSFT"])

    def statuses() -> list[str]:
        result = pipeline.materialize(ARCHIVES["daily_bars"], ("2022", "2024"))
        assert result.success
        events = result.asset_materializations_for_node("archive__equity_prices__daily_bars")
        assert [event.partition for event in events] == ["2022", "2023", "2024"]
        return [str(event.metadata["status"].value) for event in events]

    assert statuses() == ["committed"] * 3
    assert statuses() == ["unchanged"] * 3
    pipeline.simulator.correct("AAPL", date(2023, 3, 6), 1.5)
    pipeline.backfill(["AAPL"], only_missing=False)
    assert statuses() == ["unchanged", "replaced", "unchanged"]
    bars = ARCHIVED["daily_bars"]
    with opening.archive(read_settings()) as archive:
        assert all(verdict.equal for verdict in archive.verify(bars, archive.proofs(bars)))


def test_one_run_archives_every_dataset_and_reports_on_each(pipeline: Pipeline) -> None:
    """By period where there are partitions; a month without rows is reported and has no file."""
    pipeline.backfill(["AAPL"])
    config = {"start": "2024-01-01", "end": "2024-02-01"}

    result = pipeline.run("archive", config={"archive__closed_periods": {"config": config}})

    assert result.success
    metadata = {
        (event.asset_key.path[-1], event.partition): event.metadata
        for event in result.asset_materializations_for_node("archive__closed_periods")
    }
    of_time = {(name, "2024-01") for name in ("minute_bars", "crypto_bars", "crypto_trades")}
    assert {*of_time, ("daily_bars", "2024"), ("splits", None), ("companies", None)} <= set(
        metadata
    )
    assert {name for name, _ in metadata} == {*ARCHIVED, "closed_periods"}
    assert metadata["daily_bars", "2024"]["status"].value == "committed"
    assert metadata["minute_bars", "2024-01"]["status"].value == "empty"
    assert metadata["closed_periods", None]["committed"].value == 1


def test_a_run_over_everything_begins_with_the_first_row(pipeline: Pipeline) -> None:
    """Years and months before the first row are not reported one by one."""
    pipeline.backfill(["AAPL"])
    with pipeline.stores.timescale.connection() as connection:
        row = connection.execute("select min(session_date) from daily_bar").fetchone()
    first = row[0].year if row else 0

    result = pipeline.run("archive", config={"archive__closed_periods": {"config": {}}})

    materialized = [
        (event.asset_key.path[-1], event.partition)
        for event in result.asset_materializations_for_node("archive__closed_periods")
    ]
    assert min(label or "" for name, label in materialized if name == "daily_bars") == f"{first}"
    assert not [
        key for key in materialized if key[0] in {"minute_bars", "crypto_bars", "crypto_trades"}
    ]
    assert ("splits", None) in materialized


@pytest.mark.parametrize("dataset", ["daily_bars", "minute_bars", "splits"])
@pytest.mark.parametrize(
    ("first", "last"),
    [(utc_now().date().replace(day=1), None), (None, date(1950, 1, 31))],
    ids=["this month", "long ago"],
)
def test_months_that_never_closed_are_a_wish_for_no_dataset(
    dataset: str, first: date | None, last: date | None
) -> None:
    """Also of datasets that are archived by the year, or as a whole."""
    assert requested_periods(ARCHIVED[dataset], first, last) == []
    assert requested_periods(ARCHIVED[dataset], date(2024, 1, 1), date(2024, 1, 31))


def _failure(result: dg.ExecuteInProcessResult) -> str:
    """Return why the one step that failed did so."""
    assert not result.success
    (failure,) = [event for event in result.all_events if event.is_step_failure]
    data = failure.step_failure_data.user_failure_data
    assert data
    return data.description or ""


def test_a_refused_period_fails_the_run_and_keeps_no_other_back(pipeline: Pipeline) -> None:
    """Rows that went missing are named; what is good is archived."""
    pipeline.backfill(["AAPL"])
    assert pipeline.materialize(ARCHIVES["daily_bars"], ("2023", "2023")).success
    with pipeline.stores.timescale.connection() as connection:
        connection.execute("delete from daily_bar where session_date = '2023-03-06'")

    result = pipeline.run("archive")
    by_year = pipeline.materialize(ARCHIVES["daily_bars"], ("2023", "2023"))

    assert "daily_bars 2023: the database lacks a row" in _failure(result)
    assert "1 of 1 partitions failed: 2023: the database lacks a row" in _failure(by_year)
    with opening.archive(read_settings()) as archive:
        assert "2024" in archive.proofs(ARCHIVED["daily_bars"])


def test_the_archive_check_tells_what_waits_from_what_is_wrong(pipeline: Pipeline) -> None:
    """A restated year waits for the next run; one that was altered by hand needs a person."""
    pipeline.backfill(["AAPL"])
    assert pipeline.materialize(ARCHIVES["daily_bars"], ("2024", "2024")).success
    pipeline.simulator.correct("AAPL", date(2024, 3, 5), 1.5)
    pipeline.backfill(["AAPL"], only_missing=False)

    waiting = _archive_verdicts(pipeline)
    with pipeline.stores.timescale.connection() as connection:
        connection.execute(
            "update daily_bar set volume = volume + 1 where session_date = '2024-03-06'"
        )
    altered = _archive_verdicts(pipeline)

    assert set(waiting) == set(ARCHIVED)
    assert all(evaluation.passed for evaluation in waiting.values())
    assert waiting["daily_bars"].metadata["waiting"].value == 1
    assert "of 1 there is more to archive" in (waiting["daily_bars"].description or "")
    assert {name for name, evaluation in altered.items() if not evaluation.passed} == {"daily_bars"}
    description = altered["daily_bars"].description or ""
    assert "daily_bars 2024 was altered in the database" in description
    assert "wrdata archive restore --dataset daily_bars" in description


def _archive_verdicts(pipeline: Pipeline) -> dict[str, dg.AssetCheckEvaluation]:
    result = pipeline.run("archive_verification")
    return {
        evaluation.asset_key.path[-1]: evaluation
        for evaluation in result.get_asset_check_evaluations()
    }


def test_table_and_roll_ups_follow_a_backfill_from_the_dialog(pipeline: Pipeline) -> None:
    """One ticker loaded through the partitioned door is enough, though the others are missing."""
    before = dg.evaluate_automation_conditions(definitions, pipeline.instance)
    pipeline.materialize(BY_SYMBOL["daily_bars"], ("AAPL", "AAPL"))

    ticked = dg.evaluate_automation_conditions(definitions, pipeline.instance, cursor=before.cursor)

    followers = {daily_bars_table.key, *(bars_key(interval) for interval in DAY_INTERVALS)}
    assert {key for key in followers if ticked.get_num_requested(key)} == followers


def test_no_event_of_a_run_holds_a_key_or_a_password(pipeline: Pipeline) -> None:
    """Neither success nor failure writes a secret into Dagster's storage."""
    settings = read_settings()
    pipeline.simulator.add_fault("status", symbol="MSFT", status=500)
    result = pipeline.backfill(["AAPL", "MSFT"])

    events = str(
        [
            record.event_log_entry
            for record in pipeline.instance.get_records_for_run(result.run_id).records
        ]
    )
    assert "HTTP 500" in events
    assert settings.fmp_api_key is not None
    password = settings.database_url.get_secret_value().split(":")[2].split("@")[0]
    for secret in (
        settings.fmp_api_key.get_secret_value(),
        settings.s3_secret_key.get_secret_value(),
        settings.s3_access_key.get_secret_value(),
        password,
    ):
        assert secret not in events
