"""The oracle on a real database: nothing is wrong after a load, and each damage is found."""

from collections.abc import Callable
from dataclasses import dataclass

import psycopg
import pytest

from faults.oracle import Claim, Evidence, Oracle
from resources.storage.object_store import ObjectStore, S3Settings
from tests.fixtures.pipeline import Pipeline
from tests.fixtures.world import BucketSettings, RunningSimulators

TICKERS = ("AAPL", "BRK.B")


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """Two tickers, loaded without a fault, and their oracle."""

    connection: psycopg.Connection
    oracle: Oracle
    bucket: S3Settings

    def look(self) -> Evidence:
        return self.oracle.look([Claim(tickers=TICKERS)])


@pytest.fixture
def loaded(
    pipeline: Pipeline,
    pipeline_url: str,
    bucket: BucketSettings,
    simulators: RunningSimulators,
) -> Loaded:
    """A load through the pipeline; Dagster's own tables, elsewhere in the tests, stand empty."""
    assert pipeline.backfill(list(TICKERS)).success
    connection = psycopg.connect(pipeline_url, autocommit=True)
    connection.execute("create table dagster.runs (run_id text, status text)")
    connection.execute("create table dagster.concurrency_slots (concurrency_key text, run_id text)")
    settings = S3Settings(
        endpoint=bucket.endpoint,
        bucket=bucket.bucket,
        region=bucket.region,
        access_key=bucket.access_key,
        secret_key=bucket.secret_key,
    )
    oracle = Oracle(
        database_url=pipeline_url,
        control=simulators.control,
        bucket=settings,
        per_minute=3000,
        bulk_interval_s=2.0,
        secrets=(simulators.environment["FMP_API_KEY"],),
    )
    return Loaded(connection=connection, oracle=oracle, bucket=settings)


def test_each_damage_is_found(loaded: Loaded) -> None:
    """Each damage is mended before the next, so each finding has one cause."""
    with loaded.connection:
        evidence = loaded.look()
        assert (evidence.wrong, evidence.unfinished) == ((), ())
        assert (evidence.tickers, evidence.complete_tickers) == (2, 2)
        for damage, cure, signs in DAMAGES:
            loaded.connection.execute(damage.replace(":bar", _BAR).encode())
            evidence = loaded.look()
            findings = [*evidence.wrong, *evidence.unfinished]
            assert len(findings) == len(signs), (damage, findings)
            for sign in signs:
                assert any(sign in finding for finding in findings), (sign, findings)
            loaded.connection.execute(cure.replace(":bar", _BAR).encode())


def test_an_answer_that_is_gone_from_the_raw_zone_is_found(loaded: Loaded) -> None:
    """A bar whose origin cannot be shown is a finding even if its values are right."""
    with loaded.connection:
        store = ObjectStore(loaded.bucket)
        for entry in list(store.list("raw/")):
            store.delete(entry.key)
        findings = loaded.look().wrong
    assert len(findings) == len(TICKERS)
    assert all("a loaded answer is not in the raw zone" in finding for finding in findings)


def test_requests_over_the_limit_are_found(
    loaded: Loaded, simulators: RunningSimulators, ask: Callable[[], None]
) -> None:
    """By the simulator's own journal."""
    strict = Oracle(
        database_url=loaded.oracle.database_url,
        control=simulators.control,
        bucket=loaded.bucket,
        per_minute=2,
        bulk_interval_s=2.0,
        secrets=(),
    )
    ask()
    with loaded.connection:
        findings = strict.look([Claim(tickers=TICKERS)]).wrong
    assert any("in 60 s" in finding for finding in findings)


@pytest.fixture
def ask(pipeline: Pipeline) -> Callable[[], None]:
    """One more request to the provider."""

    def once() -> None:
        assert pipeline.backfill(["AAPL"], only_missing=False).success

    return once


_BAR = "session_date = '2020-03-02' and instrument_id = (select min(instrument_id) from daily_bar)"
DAMAGES = (
    (
        """create temp table gone as select * from daily_bar where :bar;
           delete from daily_bar where :bar""",
        "insert into daily_bar select * from gone",
        (
            "1 bars are missing without a letter",
            "held by the ledger alone",
            "the log inserted",
            "1 bars are missing",
        ),
    ),
    (
        "update daily_bar set volume = volume + 1 where :bar",
        "update daily_bar set volume = volume - 1 where :bar",
        ("1 bars differ from the truth",),
    ),
    (
        "insert into dagster.runs values ('r1', 'STARTED')",
        "delete from dagster.runs",
        ("1 runs are not ended: r1 STARTED",),
    ),
    (
        "insert into dagster.concurrency_slots values ('fmp', 'r1')",
        "delete from dagster.concurrency_slots",
        ("1 slots of Dagster's pools are taken",),
    ),
    (
        "update request_budget set paused_until = clock_timestamp() + interval '1 hour'",
        "update request_budget set paused_until = null",
        ("budgets are reserved or paused ahead",),
    ),
    (
        """insert into circuit_breaker (provider, state, failures, retry_at)
           values ('other', 'open', 5, clock_timestamp() + interval '1 hour')""",
        "delete from circuit_breaker where provider = 'other'",
        ("reject for longer than they may", "are not closed"),
    ),
    (
        "update ingest_log set raw_answers = '{}' where request like '%AAPL%'",
        "select",
        ("1 loads do not say where their answer is kept",),
    ),
)
"""A damaging statement, its repair, and a part of each finding that it causes."""
