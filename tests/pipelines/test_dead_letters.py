"""Dead letters through Dagster: due work becomes few runs, lost runs become letters."""

import json
import sys
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import dagster as dg
import pytest
from typer.testing import CliRunner, Result

from assets.failures import as_dagster_failure, partition_results
from marketdata.calendars import HISTORY_START, calendar, utc_now
from marketdata.recovery import errors
from marketdata.recovery.dead_letters import (
    LETTER_RETRY,
    DeadLetter,
    LetterState,
    Work,
    asked_details,
)
from pipelines import run_failures, sensors
from pipelines.cli import environment, runs
from pipelines.cli.main import app
from pipelines.dagster_internals import (
    RegisteredCodeLocationOrigin,
    RemoteJobOrigin,
    RemoteRepositoryOrigin,
)
from pipelines.definitions import definitions
from pipelines.run_failures import CLAIM_TAG
from resources.storage.letters import DeadLetters, LetterFilter, StoredLetter
from tests.fixtures.dagster_internals import (
    JobPythonOrigin,
    ModuleCodePointer,
    RepositoryPythonOrigin,
    SensorExecutionData,
)
from tests.fixtures.pipeline import Pipeline
from usecases.instruments import UNIVERSE

OPEN, RETRYING, RESOLVED, PARKED, DISCARDED, OBSOLETE = LetterState


def letter_about(work: Work, subject: str, instrument_id: int | None = None) -> DeadLetter:
    """Return a letter about AAPL's January 2024, a session, or a run."""
    return DeadLetter(
        dataset="daily_bars",
        provider=None if work is Work.RUN else "fmp",
        work=work,
        subject=subject,
        instrument_id=instrument_id,
        error_class="ProviderUnavailableError",
        message=f"no answer for {subject}",
        request=f"historical-price-eod/full {subject}",
        run_id="run-1",
        raw_answers=(),
        details={"start": "2024-01-02", "end": "2024-01-31"},
        seen_at=datetime.now(UTC),
        parked=False,
    )


def lost_run(job: str, tags: Mapping[str, str], ops: Mapping[str, Any]) -> DeadLetter:
    """Return the letter of a run that died."""
    return replace(
        letter_about(Work.RUN, job), details={"job": job, "tags": dict(tags), "ops": dict(ops)}
    )


def letters_of(pipeline: Pipeline) -> DeadLetters:
    """Return the letters of the pipeline's database."""
    return pipeline.stores.dead_letters


def post_due(pipeline: Pipeline, *posted: DeadLetter) -> list[StoredLetter]:
    """Post letters and make everything that is open due."""
    letters_of(pipeline).post(posted, LETTER_RETRY, "a run")
    make_due(pipeline)
    return letters_of(pipeline).find(LetterFilter())


def make_due(pipeline: Pipeline) -> None:
    """Let the time pass that open letters wait."""
    with pipeline.stores.timescale.connection() as connection:
        connection.execute("update dead_letter set next_attempt_at = now() where state = 'open'")


def let_claims_expire(pipeline: Pipeline) -> None:
    """Let the time pass that claims are held."""
    with pipeline.stores.timescale.connection() as connection:
        connection.execute(
            "update dead_letter set claim_expires_at = now() where state = 'retrying'"
        )


def tick(
    pipeline: Pipeline, sensor: dg.SensorDefinition, cursor: str | None = None
) -> SensorExecutionData:
    """Evaluate a sensor as the daemon does."""
    context = dg.build_sensor_context(
        instance=pipeline.instance,
        cursor=cursor,
        definitions=definitions,
        sensor_name=sensor.name,
    )
    return sensor.evaluate_tick(context)


def tick_letters(pipeline: Pipeline) -> list[dg.RunRequest]:
    """Return what the dead-letter sensor asks for."""
    return list(tick(pipeline, sensors.dead_letter_retries).run_requests or ())


def instrument_of(pipeline: Pipeline, ticker: str) -> int:
    """Return the id of a member."""
    members = pipeline.stores.instruments.members(UNIVERSE)
    return next(instrument.instrument_id for instrument in members if instrument.ticker == ticker)


def launch(pipeline: Pipeline, request: dg.RunRequest) -> dg.ExecuteInProcessResult:
    """Execute what a sensor asked for."""
    assert request.job_name
    return definitions.resolve_job_def(request.job_name).execute_in_process(
        run_config=request.run_config,
        instance=pipeline.instance,
        tags=dict(request.tags),
        partition_key=request.tags.get("dagster/partition"),
        raise_on_error=False,
    )


def recorded_run(
    pipeline: Pipeline, tags: Mapping[str, str], status: dg.DagsterRunStatus
) -> dg.DagsterRun:
    """Put a run into the instance that a daemon launched and that never executed here."""
    job = definitions.resolve_job_def("daily_bars")
    repository = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("wrdata"), "__repository__")
    return pipeline.instance.create_run_for_job(
        job,
        tags=dict(tags),
        status=status,
        remote_job_origin=RemoteJobOrigin(repository, "daily_bars"),
        job_code_origin=job_code_origin(),
    )


def job_code_origin() -> JobPythonOrigin:
    """Say where the job's code is: a run that a daemon launched knows it."""
    pointer = ModuleCodePointer("pipelines.definitions", "definitions")
    repository = RepositoryPythonOrigin(executable_path=sys.executable, code_pointer=pointer)
    return JobPythonOrigin(job_name="daily_bars", repository_origin=repository)


def fail_from_outside(pipeline: Pipeline, run: dg.DagsterRun) -> dg.DagsterRun:
    """Let a run end as one does whose worker was killed."""
    pipeline.instance.report_run_failed(run, "Run worker process unexpectedly exited")
    found = pipeline.instance.get_run_by_id(run.run_id)
    assert found
    return found


def test_without_due_letters_the_sensor_says_so_and_asks_for_nothing(pipeline: Pipeline) -> None:
    """A letter that waits is not due."""
    letters_of(pipeline).post([letter_about(Work.SESSION, "2024-01-02")], LETTER_RETRY, "a run")

    said = tick(pipeline, sensors.dead_letter_retries)

    assert said.run_requests == []
    assert said.skip_message == "no dead letter is due"


def test_a_database_that_is_down_is_one_line_and_no_traceback(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both sensors skip; the one for lost runs does not move on either."""
    monkeypatch.setenv("WRDATA_DATABASE_URL", "postgresql://me:secret@127.0.0.1:9/prices")

    letters = tick(pipeline, sensors.dead_letter_retries)
    lost = tick(pipeline, sensors.lost_runs, cursor="7")

    for said in (letters, lost):
        assert said.skip_message
        assert "127.0.0.1:9" in said.skip_message
        assert "secret" not in said.skip_message
        assert "\n" not in said.skip_message
    assert lost.cursor == "7"


def test_due_letters_become_few_runs_and_are_not_asked_for_twice(pipeline: Pipeline) -> None:
    """All histories in one run, each session and each lost run in its own."""
    members = pipeline.stores.instruments.members(UNIVERSE)[:20]
    stored = post_due(
        pipeline,
        *(
            letter_about(Work.INSTRUMENT, instrument.ticker, instrument.instrument_id)
            for instrument in members
        ),
        letter_about(Work.SESSION, "2024-01-02"),
        lost_run("archive_by_month", {"dagster/partition": "2024-01"}, {}),
        lost_run("universe", {}, {"some_op": {"config": {"x": 1}}}),
    )
    histories = {letter.letter_id for letter in stored if letter.work is Work.INSTRUMENT}

    asked = {request.job_name: request for request in tick_letters(pipeline)}

    assert set(asked) == {"daily_bars", "daily_bars_by_session", "archive_by_month", "universe"}
    config = asked["daily_bars"].run_config["ops"]["curated__equity_prices__daily_bars_refresh"]
    assert set(config["config"]["letters"]) == histories
    assert asked["daily_bars_by_session"].tags["dagster/partition"] == "2024-01-02"
    assert asked["archive_by_month"].tags["dagster/partition"] == "2024-01"
    assert asked["universe"].run_config == {"ops": {"some_op": {"config": {"x": 1}}}}
    for request in asked.values():
        assert request.run_key == request.tags[CLAIM_TAG]
    assert tick_letters(pipeline) == []


def gone_work(aapl: int) -> dict[str, DeadLetter]:
    """Return letters whose work no longer exists, by what their reasons must hold."""
    history = letter_about(Work.INSTRUMENT, "AAPL", aapl)
    closed = {"start": "2025-01-09", "end": "2025-01-09"}
    day_of_mourning = {"dagster/partition": "2025-01-09"}
    return {
        "2025-01-09 is no session any more": letter_about(Work.SESSION, "2025-01-09"),
        "no session from 2025-01-09 to 2025-01-09": replace(
            history, subject="AAPL of one day", details=closed
        ),
        "no dataset tea_leaves": replace(history, dataset="tea_leaves"),
        "iex does not serve daily_bars": replace(history, provider="iex"),
        "no job 'a_job_of_last_year'": lost_run("a_job_of_last_year", {}, {}),
        "daily_bars_by_session has no partition 2025-01-09": lost_run(
            "daily_bars_by_session", day_of_mourning, {}
        ),
        "cannot be read any more (KeyError: 'job')": replace(
            letter_about(Work.RUN, "a run of nothing"), details={}
        ),
    }


def test_letters_whose_work_no_longer_exists_end_as_such_and_stop_no_others(
    pipeline: Pipeline,
) -> None:
    """A session that an override closes since, and whatever has left the vocabulary."""
    gone = gone_work(instrument_of(pipeline, "AAPL"))
    post_due(pipeline, *gone.values(), letter_about(Work.SESSION, "2024-01-02"))

    (asked,) = tick_letters(pipeline)

    assert asked.job_name == "daily_bars_by_session"
    assert asked.tags["dagster/partition"] == "2024-01-02"
    ended = letters_of(pipeline).find(LetterFilter(states=(OBSOLETE,)))
    reasons = [letter.reason for letter in ended]
    assert len(reasons) == len(gone)
    for words in gone:
        assert any(words in reason for reason in reasons), words
    assert all(letter.claim is None and letter.next_attempt_at is None for letter in ended)


def test_a_run_over_a_range_is_repeated_without_the_days_that_were_closed_since(
    pipeline: Pipeline,
) -> None:
    """What there still is of its work is done."""
    first, last = run_failures.RANGE_TAGS
    post_due(
        pipeline, lost_run("daily_bars_by_session", {first: "2025-01-07", last: "2025-01-09"}, {})
    )
    (asked,) = tick_letters(pipeline)
    assert (asked.tags[first], asked.tags[last]) == ("2025-01-07", "2025-01-08")


def test_a_letter_whose_ticker_another_carries_now_ends_in_its_run(pipeline: Pipeline) -> None:
    """FMP keeps all under today's ticker: what it would answer is the other's."""
    aapl, msft = (instrument_of(pipeline, ticker) for ticker in ("AAPL", "MSFT"))
    with pipeline.stores.timescale.connection() as connection:
        connection.execute(
            "update instrument_ticker set valid = daterange(null, '2024-01-02')"
            " where instrument_id = %s",
            [aapl],
        )
    post_due(
        pipeline,
        letter_about(Work.INSTRUMENT, "AAPL", aapl),
        letter_about(Work.INSTRUMENT, "MSFT", msft),
    )
    (asked,) = tick_letters(pipeline)

    assert launch(pipeline, asked).success
    by_subject = {letter.subject: letter for letter in letters_of(pipeline).find(LetterFilter())}
    assert by_subject["AAPL"].state is OBSOLETE
    assert "another carries its ticker now" in by_subject["AAPL"].reason
    assert by_subject["MSFT"].state is RESOLVED


def test_a_letter_of_a_pair_that_is_not_offered_any_more_ends_in_its_run(
    pipeline: Pipeline,
) -> None:
    """A venue has removed it, and so has the list of pairs."""
    ids = pipeline.stores.instruments.register(
        "pair", {"LUNA-USDT": "LUNA in USDT"}, utc_now().date()
    )
    letter = replace(
        letter_about(Work.INSTRUMENT, "LUNA-USDT from 2024-01-02", ids["LUNA-USDT"]),
        dataset="crypto_bars",
        provider="binance",
    )
    post_due(pipeline, letter)
    (asked,) = tick_letters(pipeline)

    assert launch(pipeline, asked).success
    (ended,) = letters_of(pipeline).find(LetterFilter())
    assert ended.state is OBSOLETE
    assert "LUNA-USDT" in ended.reason


def test_failed_work_is_done_by_the_next_due_run_and_its_letter_resolved(
    pipeline: Pipeline,
) -> None:
    """From the failure to the bars in the database: backfill, letter, tick, run, resolved."""
    pipeline.simulator.add_fault("status", symbol="AAPL", status=500, count=2)
    pipeline.backfill(["AAPL", "MSFT"])
    (waiting,) = letters_of(pipeline).find(LetterFilter())
    assert (waiting.subject, waiting.state) == ("AAPL", OPEN)
    make_due(pipeline)

    (request,) = tick_letters(pipeline)
    result = launch(pipeline, request)

    assert result.success
    (done,) = letters_of(pipeline).find(LetterFilter())
    steps = letters_of(pipeline).transitions(done.letter_id)
    assert [step.to_state for step in steps] == [OPEN, RETRYING, RESOLVED]
    assert steps[-1].by == f"run {result.run_id}"
    assert tick_letters(pipeline) == []


def test_a_session_that_failed_is_resolved_by_the_run_over_its_partition(
    pipeline: Pipeline,
) -> None:
    """By the whole-market route."""
    day = "2024-03-05"
    pipeline.simulator.add_fault("status", path="/stable/eod-bulk", status=500, count=2)
    pipeline.run("daily_bars_by_session", partition=day)
    (waiting,) = letters_of(pipeline).find(LetterFilter())
    assert (waiting.work, waiting.subject) == (Work.SESSION, day)
    make_due(pipeline)

    (request,) = tick_letters(pipeline)

    assert launch(pipeline, request).success
    (done,) = letters_of(pipeline).find(LetterFilter())
    assert done.state is RESOLVED


@pytest.mark.parametrize("work", [Work.SESSION, Work.RUN])
def test_a_run_that_succeeded_has_done_work_that_is_all_its_own(
    pipeline: Pipeline, work: Work
) -> None:
    """A session by the ticker route, and a lost run, are settled when their run has ended well."""
    posted = letter_about(work, "2024-01-02")
    if work is Work.RUN:
        posted = lost_run("universe", {}, {})
    post_due(pipeline, posted)
    (request,) = tick_letters(pipeline)
    run = recorded_run(pipeline, request.tags, dg.DagsterRunStatus.SUCCESS)

    tick_letters(pipeline)

    (done,) = letters_of(pipeline).find(LetterFilter())
    assert (done.state, done.reason) == (RESOLVED, f"run {run.run_id} has done the work")


def test_a_run_over_tickers_that_says_nothing_about_a_letter_counts_as_a_failed_attempt(
    pipeline: Pipeline,
) -> None:
    """Success of the run is no success of each ticker."""
    aapl = instrument_of(pipeline, "AAPL")
    post_due(pipeline, letter_about(Work.INSTRUMENT, "AAPL", aapl))
    (request,) = tick_letters(pipeline)
    recorded_run(pipeline, request.tags, dg.DagsterRunStatus.SUCCESS)

    tick_letters(pipeline)

    (left,) = letters_of(pipeline).find(LetterFilter())
    assert (left.state, left.attempts) == (OPEN, 1)
    assert "had no answer for this letter" in left.reason


@pytest.mark.parametrize(
    "status",
    [
        dg.DagsterRunStatus.NOT_STARTED,
        dg.DagsterRunStatus.STARTED,
        dg.DagsterRunStatus.CANCELING,
    ],
)
def test_a_claim_is_held_as_long_as_its_run_waits_or_works(
    pipeline: Pipeline, status: dg.DagsterRunStatus
) -> None:
    """A queue of hours makes no second run."""
    post_due(pipeline, letter_about(Work.SESSION, "2024-01-02"))
    (request,) = tick_letters(pipeline)
    recorded_run(pipeline, request.tags, status)
    let_claims_expire(pipeline)

    assert tick_letters(pipeline) == []

    assert not letters_of(pipeline).claims()[0].expired


def test_a_run_that_was_killed_gives_its_letters_back_with_the_reason(pipeline: Pipeline) -> None:
    """It uses up an attempt, and makes no second letter of its own."""
    post_due(pipeline, letter_about(Work.SESSION, "2024-01-02"))
    (request,) = tick_letters(pipeline)
    run = recorded_run(pipeline, request.tags, dg.DagsterRunStatus.STARTED)
    failed = fail_from_outside(pipeline, run)

    tick_letters(pipeline)

    (left,) = letters_of(pipeline).find(LetterFilter())
    assert (left.state, left.attempts) == (OPEN, 1)
    assert run.run_id in left.reason
    assert "unexpectedly exited" in left.reason
    assert run_failures.lost_work(pipeline.instance, failed, datetime.now(UTC)) is None


def test_a_canceled_run_gives_its_letters_back(pipeline: Pipeline) -> None:
    """Not at once: a person stopped it."""
    post_due(pipeline, letter_about(Work.SESSION, "2024-01-02"))
    (request,) = tick_letters(pipeline)
    recorded_run(pipeline, request.tags, dg.DagsterRunStatus.CANCELED)

    assert tick_letters(pipeline) == []

    (left,) = letters_of(pipeline).find(LetterFilter())
    assert left.state is OPEN
    assert "canceled" in left.reason


def test_a_run_that_dagster_repeats_keeps_its_claim_until_the_repetition_has_ended(
    pipeline: Pipeline,
) -> None:
    """The repetition carries the claim; the later of the two runs counts."""
    post_due(pipeline, letter_about(Work.SESSION, "2024-01-02"))
    (request,) = tick_letters(pipeline)
    run = recorded_run(pipeline, request.tags, dg.DagsterRunStatus.STARTED)
    fail_from_outside(pipeline, run)
    pipeline.instance.add_run_tags(run.run_id, {"dagster/will_retry": "true"})

    tick_letters(pipeline)
    (held,) = letters_of(pipeline).find(LetterFilter())
    recorded_run(pipeline, request.tags, dg.DagsterRunStatus.SUCCESS)
    tick_letters(pipeline)
    (done,) = letters_of(pipeline).find(LetterFilter())

    assert (held.state, done.state) == (RETRYING, RESOLVED)


def test_a_claim_of_which_no_run_came_is_given_back_with_its_attempt(pipeline: Pipeline) -> None:
    """A daemon that dies between the claim and the launch loses nothing; the next tick launches."""
    post_due(pipeline, letter_about(Work.SESSION, "2024-01-02"))
    (first,) = tick_letters(pipeline)
    let_claims_expire(pipeline)

    (second,) = tick_letters(pipeline)

    assert first.run_key != second.run_key
    (letter,) = letters_of(pipeline).find(LetterFilter())
    assert letter.attempts == 1


# Lost runs


def a_bug() -> None:
    """Fail as code does that nobody thought of."""
    raise KeyError("close")


def a_provider_error() -> None:
    """Fail as a run does whose provider failed."""
    with as_dagster_failure():
        raise errors.ProviderUnavailableError("HTTP 503", provider="fmp", operation="full AAPL")


def a_database_error() -> None:
    """Fail as a run does whose database is away."""
    with as_dagster_failure():
        raise errors.StorageUnavailableError("127.0.0.1:5432/prices cannot be reached")


def a_wrong_setting() -> None:
    """Fail as a run does before anything was tried."""
    with as_dagster_failure():
        raise errors.ConfigurationError("FMP_API_KEY is not set")


def named_partitions() -> None:
    """Fail as a run does that kept its failures itself."""
    context = cast("dg.AssetExecutionContext", None)
    list(partition_results(context, {}, {"AAPL": "HTTP 500"}))


def an_interruption() -> None:
    """Fail as a step does that SIGTERM ends."""
    raise dg.DagsterExecutionInterruptedError


def a_secret() -> None:
    """Fail with a text that opens a door."""
    raise ValueError("GET https://fmp.example/?apikey=" + "k" * 32 + "\nsecond line")


def failed_run(pipeline: Pipeline, fail: Any, tags: Mapping[str, str]) -> dg.DagsterRun:
    """Run a job whose only step fails in a given way."""

    @dg.op
    def step() -> None:
        fail()

    @dg.job(name="universe")
    def job() -> None:
        step()

    result = job.execute_in_process(
        instance=pipeline.instance, tags=dict(tags), raise_on_error=False
    )
    found = pipeline.instance.get_run_by_id(result.run_id)
    assert found
    return found


@pytest.mark.parametrize(
    ("fail", "tags", "expected"),
    [
        (a_bug, {}, ("KeyError", False)),
        (a_database_error, {}, ("StorageUnavailableError", False)),
        (a_wrong_setting, {}, ("ConfigurationError", True)),
        (an_interruption, {}, ("DagsterExecutionInterruptedError", False)),
        (an_interruption, {"wrdata/started_by": "command line"}, None),
        (a_provider_error, {}, None),
        (named_partitions, {}, None),
        # Dagster says so of every run, and repeats only those that it launched itself.
        (a_bug, {"dagster/will_retry": "true"}, ("KeyError", False)),
        (a_bug, {CLAIM_TAG: "a claim"}, None),
    ],
)
def test_which_failed_runs_leave_a_letter(
    pipeline: Pipeline, fail: Any, tags: Mapping[str, str], expected: tuple[str, bool] | None
) -> None:
    """Those whose work nothing else keeps; a wrong setting waits for a person."""
    run = failed_run(pipeline, fail, tags)

    letter = run_failures.lost_work(pipeline.instance, run, datetime.now(UTC))

    assert expected == ((letter.error_class, letter.parked) if letter else None)


def test_a_letter_of_a_lost_run_holds_what_the_repetition_needs_and_no_secret(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Job, configuration and partition; the message is one line."""
    monkeypatch.setenv("FMP_API_KEY", "k" * 32)
    tags = {"dagster/partition": "2024-01-02", "wrdata/lane": "scheduled", "other": "tag"}
    run = failed_run(pipeline, a_secret, tags)

    letter = run_failures.lost_work(pipeline.instance, run, datetime.now(UTC))

    assert letter
    assert letter.details["job"] == "universe"
    assert letter.details["tags"] == {
        "dagster/partition": "2024-01-02",
        "wrdata/lane": "scheduled",
    }
    assert letter.subject.startswith("universe 2024-01-02 ")
    assert "kkk" not in letter.message
    assert letter.message == "ValueError: GET https://fmp.example/?apikey=*** second line"


def test_the_same_lost_work_is_one_letter_and_other_work_another(pipeline: Pipeline) -> None:
    """Lane and run do not matter; the partition does."""
    tags = [
        {"dagster/partition": "2024-01-02", "wrdata/lane": "scheduled"},
        {"dagster/partition": "2024-01-02"},
        {"dagster/partition": "2024-01-03"},
    ]
    letters = [
        run_failures.lost_work(
            pipeline.instance, failed_run(pipeline, a_bug, tag), datetime.now(UTC)
        )
        for tag in tags
    ]

    first, repeated, next_day = (letter.fingerprint for letter in letters if letter)
    assert first == repeated != next_day


def test_a_killed_run_reaches_the_dead_letters_and_is_run_again(pipeline: Pipeline) -> None:
    """Killed worker, letter of the sensor, due, run again with the same configuration, resolved."""
    start = tick(pipeline, sensors.lost_runs)
    config = {"curated__equity_prices__daily_bars_refresh": {"config": {"symbols": ["AAPL"]}}}
    run = pipeline.instance.create_run_for_job(
        definitions.resolve_job_def("daily_bars"),
        run_config={"ops": config},
        status=dg.DagsterRunStatus.STARTED,
    )
    fail_from_outside(pipeline, run)

    first = tick(pipeline, sensors.lost_runs, start.cursor)
    second = tick(pipeline, sensors.lost_runs, first.cursor)
    (letter,) = letters_of(pipeline).find(LetterFilter())
    make_due(pipeline)
    (request,) = tick_letters(pipeline)
    result = launch(pipeline, request)
    tick_letters(pipeline)

    assert (first.skip_message, second.skip_message) == (
        "1 dead letters posted",
        "0 dead letters posted",
    )
    assert (letter.work, letter.dataset, letter.run_id) == (Work.RUN, "daily_bars", run.run_id)
    assert request.run_config == {"ops": config}
    assert result.success
    assert letters_of(pipeline).by_id([letter.letter_id])[0].state is RESOLVED
    assert pipeline.stores.quality.totals().rows > 0


def test_a_failure_that_dagster_has_not_judged_yet_is_looked_at_in_the_next_tick(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tag that says whether a run is repeated is written a moment after the failure."""
    start = tick(pipeline, sensors.lost_runs)
    fail_from_outside(pipeline, recorded_run(pipeline, {}, dg.DagsterRunStatus.STARTED))
    monkeypatch.setattr(dg.DagsterInstance, "run_retries_enabled", property(lambda _: True))

    undecided = tick(pipeline, sensors.lost_runs, start.cursor)
    run = pipeline.instance.get_runs()[0]
    pipeline.instance.add_run_tags(run.run_id, {"dagster/will_retry": "false"})
    decided = tick(pipeline, sensors.lost_runs, undecided.cursor)

    assert undecided.cursor == start.cursor
    assert decided.skip_message == "1 dead letters posted"


def test_runs_of_the_ui_are_repeated_by_the_job_that_loads_their_assets(pipeline: Pipeline) -> None:
    """A history by ticker partition, roll-ups alone, and a mixture that a person has to start."""
    chosen = {
        "daily_bars_by_symbol": ["curated/equity_prices/daily_bars"],
        "derived": ["published/equity_prices/bars_1w"],
        "__ASSET_JOB": [
            "curated/equity_prices/daily_bars",
            "curated/equity_prices/daily_bars_refresh",
        ],
    }
    found: dict[str, tuple[str, bool]] = {}
    for expected, keys in chosen.items():
        run = dg.DagsterRun(
            job_name="__ASSET_JOB",
            asset_selection=frozenset(dg.AssetKey.from_user_string(key) for key in keys),
            status=dg.DagsterRunStatus.STARTED,
        )
        pipeline.instance.add_run(run)
        failed = fail_from_outside(pipeline, run)
        letter = run_failures.lost_work(pipeline.instance, failed, datetime.now(UTC))
        assert letter
        found[expected] = (letter.details["job"], letter.parked)

    assert found == {
        "daily_bars_by_symbol": ("daily_bars_by_symbol", False),
        "derived": ("derived", False),
        "__ASSET_JOB": ("__ASSET_JOB", True),
    }


# The asset check


def test_the_check_fails_while_letters_wait_and_names_the_cure(pipeline: Pipeline) -> None:
    """Counts by state, a sample with reasons, and what to do; settled letters are no fault."""
    aapl = instrument_of(pipeline, "AAPL")
    post_due(pipeline, letter_about(Work.INSTRUMENT, "AAPL", aapl))
    red = pipeline.run("derived")
    (letter,) = letters_of(pipeline).find(LetterFilter())
    letters_of(pipeline).discard([letter.letter_id], by="me", reason="not needed")
    green = pipeline.run("derived")

    def verdict(result: dg.ExecuteInProcessResult) -> dg.AssetCheckEvaluation:
        evaluations = result.get_asset_check_evaluations()
        return next(
            evaluation for evaluation in evaluations if evaluation.check_name == "no_dead_letters"
        )

    assert red.success
    assert not verdict(red).passed
    assert verdict(red).severity is dg.AssetCheckSeverity.WARN
    assert verdict(red).metadata["open"].value == 1
    said = verdict(red).description or ""
    assert "1 dead letters (1 open, 0 retrying, 0 parked)" in said
    assert "AAPL (ProviderUnavailableError)" in said
    sample = cast("dg.TableMetadataValue", verdict(red).metadata["sample"])
    assert [row.data["reason"] for row in sample.records] == ["no answer for AAPL"]
    assert "wrdata dlq list --dataset daily_bars" in said
    assert verdict(green).passed


# The command line


class CommandLine:
    """`wrdata dlq` in this process, as main.run() calls it."""

    def __call__(self, *words: str) -> Result:
        """Run a command; its exit status is the result's return value, errors its exception."""
        return CliRunner().invoke(app, ["dlq", *words], standalone_mode=False)


@pytest.fixture
def dlq(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> CommandLine:
    """The commands on the pipeline's services, which are configured as a user's are."""
    del pipeline
    monkeypatch.setattr(environment, "enter", lambda *_, **__: None)
    monkeypatch.setattr(environment, "require_schema", lambda _: None)
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    (tmp_path / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    return CommandLine()


def test_the_list_shows_unsettled_letters_and_takes_filters(
    pipeline: Pipeline, dlq: CommandLine
) -> None:
    """JSON has every field; the table is for people."""
    aapl, msft = (instrument_of(pipeline, ticker) for ticker in ("AAPL", "MSFT"))
    gone = letter_about(Work.SESSION, "2024-01-02")
    post_due(
        pipeline,
        letter_about(Work.INSTRUMENT, "AAPL", aapl),
        letter_about(Work.INSTRUMENT, "MSFT", msft),
        gone,
    )
    (stored,) = [
        letter for letter in letters_of(pipeline).find(LetterFilter()) if not letter.instrument_id
    ]
    letters_of(pipeline).discard([stored.letter_id], by="me", reason="not needed")

    every = json.loads(dlq("list", "--json").stdout)
    aapl_only = json.loads(dlq("list", "--ticker", "aapl", "--json").stdout)
    discarded = dlq("list", "--state", "discarded", "--json")

    assert {letter["subject"] for letter in every} == {"AAPL", "MSFT"}
    assert [letter["subject"] for letter in aapl_only] == ["AAPL"]
    assert aapl_only[0]["state"] == "open"
    assert [letter["reason"] for letter in json.loads(discarded.stdout)] == ["not needed"]
    assert "MSFT" in dlq("list").stdout


def test_a_letter_is_shown_with_every_step(pipeline: Pipeline, dlq: CommandLine) -> None:
    """And with what a person can do."""
    (letter,) = post_due(pipeline, letter_about(Work.SESSION, "2024-01-02"))

    said = dlq("show", str(letter.letter_id))
    shown = json.loads(dlq("show", str(letter.letter_id), "--json").stdout)

    assert f"wrdata dlq retry {letter.letter_id}" in said.output
    assert [step["to"] for step in shown["transitions"]] == ["open"]
    assert shown["fingerprint"] == letter.fingerprint


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["show", "999"], "there is no dead letter 999"),
        (["retry", "999"], "there is no dead letter 999"),
        (["discard", "999", "--reason", "x"], "there is no dead letter 999"),
        (["retry", "1"], "is being retried by somebody else since 20"),
        (["discard", "1", "--reason", "x"], "is being retried by somebody else since 20"),
        (["retry", "2"], "is discarded (not needed)"),
        (["replay", "2"], "is discarded (not needed)"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(
    pipeline: Pipeline, dlq: CommandLine, words: list[str], expected: str
) -> None:
    """Unknown letters, letters under way, and final ones: nothing is changed."""
    stored = post_due(pipeline, letter_about(Work.SESSION, "2024-01-02"))
    letters_of(pipeline).claim([stored[0].letter_id], batch=1, by="somebody else", hold_s=60)
    post_due(pipeline, letter_about(Work.SESSION, "2024-01-03"))
    letters_of(pipeline).discard([2], by="me", reason="not needed")
    before = letters_of(pipeline).find(LetterFilter())

    result = dlq(*words)

    assert isinstance(result.exception, errors.ConfigurationError)
    assert expected in str(result.exception)
    assert "\n" not in str(result.exception)
    assert letters_of(pipeline).find(LetterFilter()) == before


def test_a_person_retries_all_letters_although_the_work_of_some_no_longer_exists(
    pipeline: Pipeline, dlq: CommandLine
) -> None:
    """No traceback: what can be done is done, the rest is told, and nothing is left to do."""
    gone = gone_work(instrument_of(pipeline, "AAPL"))
    parked = replace(letter_about(Work.SESSION, "2024-03-05"), parked=True)
    post_due(pipeline, *gone.values(), parked)

    result = dlq("retry", "--all", "--json")

    assert result.return_value == 0, result.output
    states = [letter.state for letter in letters_of(pipeline).find(LetterFilter())]
    assert sorted(states) == [OBSOLETE] * len(gone) + [RESOLVED]
    assert f"1 of {len(gone) + 1} letters resolved, {len(gone)} ended as obsolete" in result.output


def test_a_run_that_dagster_does_not_even_begin_fails_its_letter_alone(
    pipeline: Pipeline, dlq: CommandLine
) -> None:
    """A configuration of former times: the others are done, and the line says which was not."""
    strange = lost_run("universe", {}, {"some_op": {"config": {"x": 1}}})
    post_due(pipeline, strange, letter_about(Work.SESSION, "2024-03-05"))

    result = dlq("retry", "--all", "--json")

    assert result.return_value == 1
    by_subject = {letter.subject: letter for letter in letters_of(pipeline).find(LetterFilter())}
    assert by_subject["2024-03-05"].state is RESOLVED
    assert by_subject["universe"].state is OPEN
    assert "universe cannot be run" in by_subject["universe"].reason


def test_a_person_retries_a_parked_letter_now(pipeline: Pipeline, dlq: CommandLine) -> None:
    """In this process, without daemon; exit status 0 only if all are resolved."""
    aapl, msft = (instrument_of(pipeline, ticker) for ticker in ("AAPL", "MSFT"))
    parked = replace(letter_about(Work.INSTRUMENT, "AAPL", aapl), parked=True)
    post_due(pipeline, parked, letter_about(Work.INSTRUMENT, "MSFT", msft))
    pipeline.simulator.add_fault("status", symbol="MSFT", status=500)

    dry = dlq("retry", "--all", "--dry-run", "--json")
    untouched = letters_of(pipeline).counts()
    good = dlq("retry", "--ticker", "AAPL", "--json")
    bad = dlq("retry", "--all", "--json")

    assert len(json.loads(dry.stdout)) == 2
    assert untouched == {"daily_bars": {OPEN: 1, PARKED: 1}}
    assert good.return_value == 0, good.output
    assert bad.return_value == 1
    # stamina tells its retries on standard output where structlog is installed.
    (left,) = json.loads(bad.stdout[bad.stdout.index("[\n") :])
    assert (left["subject"], left["state"], left["attempts"]) == ("MSFT", "open", 1)
    (done,) = letters_of(pipeline).find(LetterFilter(states=(RESOLVED,)))
    assert "@" in letters_of(pipeline).transitions(done.letter_id)[1].by


def test_a_person_retries_a_lost_run_with_its_configuration(
    pipeline: Pipeline, dlq: CommandLine
) -> None:
    """The same job with the same partition."""
    post_due(pipeline, lost_run("daily_bars_by_session", {"dagster/partition": "2024-03-05"}, {}))

    result = dlq("retry", "--all", "--json")

    assert result.return_value == 0, result.output
    assert pipeline.stores.quality.totals().rows > 400


def test_an_interrupted_command_gives_back_what_it_had_taken(
    pipeline: Pipeline, dlq: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C in the first of two runs: both letters are what they were."""
    post_due(
        pipeline,
        letter_about(Work.SESSION, "2024-01-02"),
        replace(letter_about(Work.SESSION, "2024-01-03"), parked=True),
    )

    def interrupted(*_: Any, **__: Any) -> None:
        raise runs.RunInterruptedError("interrupted")

    monkeypatch.setattr(runs, "run_job", interrupted)
    dlq("retry", "--all")

    after = {
        letter.subject: (letter.state, letter.attempts)
        for letter in letters_of(pipeline).find(LetterFilter())
    }
    assert after == {"2024-01-02": (OPEN, 0), "2024-01-03": (PARKED, 0)}


def test_giving_up_needs_a_reason_that_is_kept(pipeline: Pipeline, dlq: CommandLine) -> None:
    """A dry run changes nothing."""
    (letter,) = post_due(pipeline, letter_about(Work.SESSION, "2024-01-02"))
    words = ["discard", str(letter.letter_id)]

    without = dlq(*words)
    dry = dlq(*words, "--reason", "delisted", "--dry-run")
    still = letters_of(pipeline).find(LetterFilter())[0].state
    done = dlq(*words, "--reason", "delisted")

    assert "reason" in str(without.exception)
    assert (dry.return_value, still, done.return_value) == (0, OPEN, 0)
    step = letters_of(pipeline).transitions(letter.letter_id)[-1]
    assert (step.to_state, step.reason) == (DISCARDED, "delisted")


def test_everything_is_exported_as_csv_and_as_json_lines(
    pipeline: Pipeline, dlq: CommandLine, tmp_path: Path
) -> None:
    """To standard output and to a file, with all fields."""
    post_due(
        pipeline, letter_about(Work.SESSION, "2024-01-02"), letter_about(Work.SESSION, "2024-01-03")
    )
    file = tmp_path / "letters.csv"

    lines = dlq("export", "--json").stdout.splitlines()
    dlq("export", "--output", str(file))

    exported = [json.loads(line) for line in lines]
    assert {letter["subject"] for letter in exported} == {"2024-01-02", "2024-01-03"}
    head, *rows = file.read_text().splitlines()
    assert set(head.split(",")) == set(exported[0])
    assert len(rows) == 2


def test_a_kept_answer_is_read_again_without_a_request(
    pipeline: Pipeline, dlq: CommandLine
) -> None:
    """A bad row whose rule has been mended: its letter is resolved, the provider not asked."""
    pipeline.backfill(["AAPL"])
    aapl = instrument_of(pipeline, "AAPL")
    with pipeline.stores.timescale.connection() as connection:
        row = connection.execute(
            "select request, raw_answers from ingest_log where instrument_id = %s", [aapl]
        ).fetchone()
    assert row
    bad = replace(
        letter_about(Work.RECORD, "AAPL 2024-01-05", aapl),
        parked=True,
        request=row[0],
        raw_answers=tuple(row[1]),
        details={
            "start": "2024-01-05",
            "end": "2024-01-05",
            "asked": asked_details("AAPL", HISTORY_START, calendar().last_closed(utc_now())),
        },
    )
    (letter,) = post_due(pipeline, bad)
    before = len(pipeline.simulator.requests())

    result = dlq("replay", str(letter.letter_id), "--json")

    assert result.return_value == 0, result.output
    assert letters_of(pipeline).by_id([letter.letter_id])[0].state is RESOLVED
    assert len(pipeline.simulator.requests()) == before


def test_a_replay_of_work_that_no_longer_exists_ends_its_letter_and_stops_no_others(
    pipeline: Pipeline, dlq: CommandLine
) -> None:
    """In the order given, the one that is gone first."""
    pipeline.backfill(["AAPL"])
    aapl = instrument_of(pipeline, "AAPL")
    with pipeline.stores.timescale.connection() as connection:
        row = connection.execute(
            "select raw_answers from ingest_log where instrument_id = %s", [aapl]
        ).fetchone()
    assert row
    asked = asked_details("AAPL", HISTORY_START, calendar().last_closed(utc_now()))
    day = {"start": "2024-01-05", "end": "2024-01-05", "asked": asked}
    good = replace(
        letter_about(Work.RECORD, "AAPL 2024-01-05", aapl),
        parked=True,
        raw_answers=tuple(row[0]),
        details=day,
    )
    gone = replace(good, dataset="tea_leaves", raw_answers=("raw/of/tea",))
    stored = {letter.dataset: letter.letter_id for letter in post_due(pipeline, gone, good)}

    result = dlq("replay", str(stored["tea_leaves"]), str(stored["daily_bars"]), "--json")

    assert result.return_value == 0, result.output
    assert "there is no dataset tea_leaves any more" in result.output
    after = {letter.dataset: letter.state for letter in letters_of(pipeline).find(LetterFilter())}
    assert after == {"tea_leaves": OBSOLETE, "daily_bars": RESOLVED}


def test_a_letter_without_a_kept_answer_cannot_be_replayed(
    pipeline: Pipeline, dlq: CommandLine
) -> None:
    """The line says what can be done instead."""
    (letter,) = post_due(pipeline, letter_about(Work.SESSION, "2024-01-02"))

    result = dlq("replay", str(letter.letter_id), "--json")

    assert result.return_value == 1
    assert "wrdata dlq retry" in result.output
