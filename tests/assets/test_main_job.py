"""Facts about the main job as a whole: universe, roll-ups, archive, checks, secrets."""

from datetime import date

import dagster as dg

from assets.archive import daily_bars_archive
from assets.bars import bars_1mo, bars_1w
from assets.checks import archive_equals_database
from assets.partitions import TICKERS
from assets.prices import daily_bars, price_history
from assets.universe import UNIVERSE
from marketdata.bars import Interval
from pipelines.definitions import definitions
from resources import opening
from resources.settings import read_settings
from tests.fixtures.pipeline import RESOURCES, Pipeline


def _checks(result: dg.ExecuteInProcessResult) -> dict[str, bool]:
    return {one.check_name: one.passed for one in result.get_asset_check_evaluations()}


def test_a_load_brings_table_and_roll_ups_along_with_all_checks_green(pipeline: Pipeline) -> None:
    """One run: bars, weekly and monthly bars that equal a recomputation, nothing missing."""
    result = pipeline.backfill(["AAPL", "MSFT", "BRK.B"])

    assert result.success
    assert set(_checks(result).values()) == {True}
    assert len(_checks(result)) == 8
    for interval in Interval:
        assert pipeline.stores.rollups.rows(interval) > 300
        assert not pipeline.stores.rollups.recomputed_difference(interval)


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
    """A provider's slip must not end two hundred memberships."""
    before = pipeline.stores.instruments.members(UNIVERSE)
    for member in before[:150]:
        pipeline.simulator.remove_constituent(member.ticker)

    assert not pipeline.run("universe").success

    assert pipeline.stores.instruments.members(UNIVERSE) == before


def test_closed_months_are_archived_once_and_replaced_when_restated(pipeline: Pipeline) -> None:
    """New months are committed, unchanged ones upload nothing, a restated one is replaced."""
    pipeline.backfill(["AAPL", "MSFT"])
    first, last = date(2024, 1, 1), date(2024, 6, 1)
    months = (first.isoformat(), last.isoformat())

    def statuses() -> list[str]:
        result = pipeline.materialize(daily_bars_archive, months)
        assert result.success
        made = result.asset_materializations_for_node("archive__equities__daily_bars")
        return [str(one.metadata["status"].value) for one in made]

    assert statuses() == ["committed"] * 6
    assert statuses() == ["unchanged"] * 6
    pipeline.simulator.correct("AAPL", date(2024, 3, 5), 1.5)
    pipeline.backfill(["AAPL"], only_holes=False)
    assert statuses() == ["unchanged"] * 2 + ["replaced"] + ["unchanged"] * 3
    with opening.archive(read_settings()) as archive:
        assert all(one.equal for one in archive.verify(archive.months()))


def test_the_archive_check_finds_a_month_that_the_database_left_behind(
    pipeline: Pipeline,
) -> None:
    """A restated month that was not archived again is named, with the cure."""
    pipeline.backfill(["AAPL"])
    assert pipeline.materialize(daily_bars_archive, ("2024-03-01", "2024-03-01")).success
    pipeline.simulator.correct("AAPL", date(2024, 3, 5), 1.5)
    pipeline.backfill(["AAPL"], only_holes=False)

    result = dg.materialize(
        [daily_bars_archive, archive_equals_database],
        instance=pipeline.instance,
        resources=RESOURCES,
        selection=dg.AssetSelection.checks(archive_equals_database),
    )

    verdict = result.get_asset_check_evaluations()[0]
    assert not verdict.passed
    assert "2024-03" in (verdict.description or "")
    assert "wrdata archive run" in (verdict.description or "")


def test_table_and_roll_ups_follow_a_backfill_from_the_dialog(pipeline: Pipeline) -> None:
    """One ticker loaded through the partitioned door is enough, though the others are missing."""
    before = dg.evaluate_automation_conditions(definitions, pipeline.instance)
    pipeline.materialize(price_history, ("AAPL", "AAPL"))

    ticked = dg.evaluate_automation_conditions(definitions, pipeline.instance, cursor=before.cursor)

    followers = {"daily_bars", "bars_1w", "bars_1mo"}
    requested = {
        asset.key.path[-1]
        for asset in (daily_bars, bars_1w, bars_1mo)
        if ticked.get_num_requested(asset.key)
    }
    assert requested == followers


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
    password = settings.database_url.get_secret_value().split(":")[2].split("@")[0]
    for secret in (
        settings.fmp_api_key.get_secret_value(),
        settings.s3_secret_key.get_secret_value(),
        settings.s3_access_key.get_secret_value(),
        password,
    ):
        assert secret not in events
