"""What a scrape costs, and what it says when something is away."""

import logging

import psycopg
import pytest

from marketdata.recovery import errors
from marketdata.recovery.limits import budget_name
from monitoring.collector import DatabaseCollector
from monitoring.health import Health
from monitoring.metrics import Part
from monitoring.rota import Rota
from monitoring.server import serving
from resources.database_url import in_schema
from resources.storage.metrics.snapshots import Snapshots
from sandbox.local_world import LocalWorld
from sandbox.scratch_databases import scratch_database
from tests.monitoring.conftest import Exporters
from tests.monitoring.scraping import Answer, get, relayed, scrape
from tests.storage.conftest import UNIVERSE

SUCCESS = "wrdata_exporter_last_scrape_success"
PARTS = {part.value for part in Part}


def failed(answer: Answer) -> set[str]:
    """Return the parts that failed."""
    return {dict(labels)["part"] for labels, value in answer.values(SUCCESS).items() if not value}


@pytest.mark.usefixtures("dagster_url")
def test_without_a_database_it_answers_and_recovers_by_itself(
    exporters: Exporters, migrated_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """There, away twice, there again: one process, and one line in the log for each change."""
    caplog.set_level(logging.INFO)
    with relayed(migrated_url) as (url, relay):
        address = exporters(url, in_schema(url, "dagster"))
        there = scrape(address)
        relay.cut()
        away = [scrape(address), scrape(address)]
        relay.mend()
        back = scrape(address)

    up = [answer.value("wrdata_database_up") for answer in (there, *away, back)]
    assert up == [1, 0, 0, 1]
    assert failed(there) == failed(back) == set()
    assert failed(away[0]) == PARTS
    assert away[0].values("wrdata_table_size_bytes") == {}
    assert away[0].values("wrdata_build_info") == there.values("wrdata_build_info")
    assert caplog.text.count("metrics of database are missing") == 1
    assert caplog.text.count("metrics of database are back") == 1


def test_a_database_that_was_never_there_is_no_reason_not_to_answer(exporters: Exporters) -> None:
    """So that Prometheus tells a dead exporter from a dead database."""
    nowhere = "postgresql://user:pass@127.0.0.1:1/wrdata"
    answer = scrape(exporters(nowhere, nowhere))

    assert answer.value("wrdata_database_up") == 0
    assert failed(answer) == PARTS


def test_a_part_that_fails_costs_only_itself(
    exporter: str, migrated_url: str, dagster_url: str
) -> None:
    """A table of one part is gone: every other part is there, and says so."""
    del dagster_url
    with psycopg.connect(migrated_url, autocommit=True) as connection:
        connection.execute("alter table request_limit rename to elsewhere")
        without = scrape(exporter)
        connection.execute("alter table elsewhere rename to request_limit")
        again = scrape(exporter)

    assert failed(without) == {"budgets", "breakers"}
    assert without.value("wrdata_database_up") == 1
    assert without.values("dagster_runs")
    assert failed(again) == set()


def test_a_query_that_is_held_up_is_given_up(exporter: str, migrated_url: str) -> None:
    """A migration that locks a table for minutes stops one part, not the scrape."""
    with psycopg.connect(migrated_url) as connection:
        connection.execute("lock table dead_letter in access exclusive mode")
        held_up = scrape(exporter)
        connection.rollback()
    again = scrape(exporter)

    assert failed(held_up) == {"dead_letters"}
    assert failed(again) == set()


def test_dagster_may_keep_its_runs_in_another_database(
    exporters: Exporters, migrated_url: str, dagster_url: str
) -> None:
    """That one is away: its part is missing, ours are not; and the other way round."""
    with relayed(migrated_url) as (url, relay):
        without_dagster = exporters(migrated_url, in_schema(url, "dagster"))
        without_ours = exporters(url, dagster_url)
        relay.cut()
        answers = scrape(without_dagster), scrape(without_ours)

    assert failed(answers[0]) == {"dagster"}
    assert failed(answers[1]) == PARTS - {"dagster"}


def test_a_database_that_was_not_migrated_says_which_parts_it_lacks(
    exporters: Exporters, world: LocalWorld
) -> None:
    """It is up; nothing of ours is in it."""
    with scratch_database(world, "test") as url:
        answer = scrape(exporters(url, url))

    assert answer.value("wrdata_database_up") == 1
    assert failed(answer) == PARTS - {"tables"}


def test_within_ten_seconds_everybody_gets_the_same_answer(
    migrated_url: str, dagster_url: str
) -> None:
    """A second Prometheus costs the database nothing."""
    collector = DatabaseCollector(migrated_url, dagster_url, UNIVERSE)
    with serving("127.0.0.1", 0, collector, Health({})) as address:
        before = scrape(address)
        with psycopg.connect(migrated_url, autocommit=True) as connection:
            connection.execute(
                "insert into request_timing values ('request', 'fmp', 'ok', '', 1, 1,"
                " '{1,0,0,0,0,0,0,0,0,0}')"
            )
        after = scrape(address)
    collector.close()

    assert before.text == after.text


def test_the_exporter_cannot_write(migrated_url: str) -> None:
    """Its transactions are read-only, also for a user who may write."""
    snapshots = Snapshots(migrated_url)
    with (
        snapshots.opened() as snapshot,
        pytest.raises(errors.StorageConflictError, match="read-only"),
        snapshot.part() as connection,
    ):
        connection.execute("delete from request_timing")
    snapshots.close()


def test_no_key_and_no_password_is_in_what_it_shows(
    exporters: Exporters,
    migrated_url: str,
    dagster_url: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A budget is named by a digest of its key; an error by the server's place."""
    key, password = "a-key-that-nobody-may-see", "a-password-nobody-may-see"
    with psycopg.connect(migrated_url, autocommit=True) as connection:
        connection.execute(
            "insert into request_budget (budget, next_at, interval_s) values (%s, now(), 1)",
            [budget_name("fmp", key)],
        )
        connection.execute(
            "insert into request_limit values (%s, 'fmp', %s)",
            [budget_name("fmp", key), '[{"period": "minute", "weight": 1, "window_s": 60}]'],
        )
    shown = [
        scrape(exporters(migrated_url, dagster_url)).text,
        scrape(exporters(f"postgresql://postgres:{password}@127.0.0.1:1/x", dagster_url)).text,
        caplog.text,
    ]

    assert budget_name("fmp", key) in shown[0]
    assert "are missing" in caplog.text
    for text in shown:
        assert key not in text
        assert password not in text


def test_openmetrics_is_served_to_who_asks_for_it(exporter: str) -> None:
    """Prometheus does; a person gets plain text."""
    asked = get(f"{exporter}/metrics", accept="application/openmetrics-text; version=1.0.0")
    plain = get(f"{exporter}/metrics")

    assert asked.headers["content-type"].startswith("application/openmetrics-text")
    assert asked.text.endswith("# EOF\n")
    assert plain.headers["content-type"].startswith("text/plain")


def test_a_rota_asks_for_the_oldest_first_and_for_one_at_least() -> None:
    """Without time to spare three figures take three scrapes; a failing one holds nobody up."""
    asked: list[str] = []

    def ask(key: str) -> int:
        asked.append(key)
        if key == "b":
            raise ZeroDivisionError
        return len(asked)

    rota = Rota[str, int](0.0)
    keys = ["a", "b", "c"]
    first = rota.figures(keys, ask)
    with pytest.raises(ZeroDivisionError):
        rota.figures(keys, ask)
    third, fourth = rota.figures(keys, ask), rota.figures(["a", "c"], ask)

    assert asked == ["a", "b", "c", "a"]
    assert (first, third, fourth) == ({"a": 1}, {"a": 1, "c": 3}, {"a": 4, "c": 3})
