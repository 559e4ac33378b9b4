"""People are told of failed runs and parked letters: once, and after the last attempt."""

import json
from dataclasses import replace
from datetime import timedelta

import dagster as dg
import psycopg
import pytest

from assets.failures import as_dagster_failure
from marketdata.recovery import errors
from marketdata.recovery.dead_letters import LETTER_RETRY, DeadLetter, Work
from pipelines import alert_sensors, run_failures
from pipelines.alert_messages import about_letters
from pipelines.definitions import definitions
from pipelines.run_failures import CLAIM_TAG
from resources.storage.letters import ParkedLetter
from tests.fixtures.pipeline import Pipeline
from tests.fixtures.webhook import SECRET_PATH, Webhook
from tests.pipelines.test_dead_letters import (
    fail_from_outside,
    failed_run,
    letter_about,
    letters_of,
    recorded_run,
    tick,
)

RUNS, LETTERS = alert_sensors.failed_run_messages, alert_sensors.parked_letter_messages


@pytest.fixture(autouse=True)
def configured(webhook: Webhook, pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pipeline's environment names the webhook."""
    del pipeline
    monkeypatch.setenv("WRDATA_ALERT_WEBHOOK_URL", webhook.url.get_secret_value())


def begun(pipeline: Pipeline, sensor: dg.SensorDefinition) -> str:
    """Let a sensor begin; return its cursor."""
    cursor = tick(pipeline, sensor).cursor
    assert cursor
    return cursor


def killed(pipeline: Pipeline, **tags: str) -> dg.DagsterRun:
    """Let a run of the daemon end as one does whose worker was killed."""
    run = recorded_run(
        pipeline,
        {name.replace("__", "/"): value for name, value in tags.items()},
        dg.DagsterRunStatus.STARTED,
    )
    return fail_from_outside(pipeline, run)


def parked(subject: str, dataset: str = "daily_bars") -> DeadLetter:
    """Return a letter that no machine tries."""
    letter = replace(letter_about(Work.SESSION, subject), error_class="NotEntitledError")
    return replace(letter, parked=True, dataset=dataset)


# Failed runs


def test_a_failed_run_is_told_once(pipeline: Pipeline, webhook: Webhook) -> None:
    """What failed, why, and what to do; earlier failures are history."""
    killed(pipeline)
    start = begun(pipeline, RUNS)
    run = killed(pipeline)

    first = tick(pipeline, RUNS, start)
    second = tick(pipeline, RUNS, first.cursor)

    (text,) = webhook.texts
    assert text == (
        "Run daily_bars failed: RunFailure: Run worker process unexpectedly exited\n"
        f"First: open run {run.run_id} in Dagster's UI.\n"
        "Then: docs/runbooks/pipeline.md#runs-fail"
    )
    assert (first.skip_message, second.skip_message) == (
        "1 failed runs told",
        "0 failed runs told",
    )


def test_a_run_that_dagster_repeats_is_told_after_its_last_attempt(
    pipeline: Pipeline, webhook: Webhook
) -> None:
    """The first failure is the daemon's business, the last one a person's."""
    start = begun(pipeline, RUNS)
    first = killed(pipeline, dagster__will_retry="true")
    last = killed(pipeline, dagster__parent_run_id=first.run_id, dagster__will_retry="false")

    tick(pipeline, RUNS, start)

    assert len(webhook.texts) == 1
    assert last.run_id in webhook.texts[0]


def test_a_failure_that_dagster_has_not_judged_yet_waits_for_the_next_tick(
    pipeline: Pipeline, webhook: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tag that says whether a run is repeated comes a moment after the failure."""
    start = begun(pipeline, RUNS)
    run = killed(pipeline)
    monkeypatch.setattr(dg.DagsterInstance, "run_retries_enabled", property(lambda _: True))

    undecided = tick(pipeline, RUNS, start)
    assert (undecided.cursor, webhook.texts) == (start, [])
    pipeline.instance.add_run_tags(run.run_id, {"dagster/will_retry": "false"})
    tick(pipeline, RUNS, undecided.cursor)

    assert len(webhook.texts) == 1


def test_a_run_that_tries_letters_again_is_told_by_its_letters(
    pipeline: Pipeline, webhook: Webhook
) -> None:
    """It has up to eight attempts; the letter that is parked in the end is told."""
    start = begun(pipeline, RUNS)
    run = recorded_run(pipeline, {CLAIM_TAG: "a claim"}, dg.DagsterRunStatus.STARTED)
    fail_from_outside(pipeline, run)

    assert tick(pipeline, RUNS, start).skip_message == "0 failed runs told"
    assert webhook.texts == []


def test_why_a_run_failed_is_told_without_secrets(
    pipeline: Pipeline, webhook: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keys and the webhook itself are masked, whoever wrote them into an error."""
    monkeypatch.setenv("FMP_API_KEY", "key-of-fmp")

    def leak() -> None:
        with as_dagster_failure():
            message = f"refused key-of-fmp at {webhook.url.get_secret_value()}"
            raise errors.ConfigurationError(message)

    start = begun(pipeline, RUNS)
    failed_run(pipeline, leak, {})

    tick(pipeline, RUNS, start)

    (text,) = webhook.texts
    assert "ConfigurationError: refused *** at ***" in text
    assert SECRET_PATH not in text


def test_a_message_that_is_not_delivered_is_sent_in_a_later_tick(
    pipeline: Pipeline, webhook: Webhook
) -> None:
    """The sensor skips and says why; what was delivered before is not sent again."""
    start = begun(pipeline, RUNS)
    killed(pipeline)
    delivered = tick(pipeline, RUNS, start)
    killed(pipeline)
    webhook.status = 500

    refused = tick(pipeline, RUNS, delivered.cursor)
    webhook.status = 200
    mended = tick(pipeline, RUNS, refused.cursor)

    assert refused.cursor == delivered.cursor
    assert "alert webhook message: it answers 500" in (refused.skip_message or "")
    assert mended.skip_message == "1 failed runs told"
    assert len(webhook.texts) == 3


def test_more_failures_than_fit_into_a_tick_are_told_by_the_next(
    pipeline: Pipeline, webhook: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In their order, none twice."""
    monkeypatch.setattr(run_failures, "FAILURES_AT_ONCE", 2)
    start = begun(pipeline, RUNS)
    runs = [killed(pipeline) for _ in range(3)]

    first = tick(pipeline, RUNS, start)
    tick(pipeline, RUNS, first.cursor)

    told = [next(run for run in runs if run.run_id in text) for text in webhook.texts]
    assert [run.run_id for run in told] == [run.run_id for run in runs]


# Parked letters


def test_letters_that_are_parked_are_told_in_one_message(
    pipeline: Pipeline, webhook: Webhook
) -> None:
    """The largest kind first; the next tick has nothing to say."""
    start = begun(pipeline, LETTERS)
    letters_of(pipeline).post(
        [
            *(parked(day) for day in ("2024-01-02", "2024-01-03", "2024-01-04", "2024-01-05")),
            parked("GDP", "macro_observations"),
            letter_about(Work.SESSION, "2024-01-08"),
        ],
        LETTER_RETRY,
        "a run",
    )

    first = tick(pipeline, LETTERS, start)
    second = tick(pipeline, LETTERS, first.cursor)

    (text,) = webhook.texts
    assert text == (
        "5 dead letters wait for a person: no machine tries again.\n"
        "- 4 of daily_bars, NotEntitledError: 2024-01-02, 2024-01-03, 2024-01-04 and 1 more\n"
        "- 1 of macro_observations, NotEntitledError: GDP\n"
        "First: wrdata dlq list --state parked\n"
        "Then: docs/runbooks/pipeline.md#letters-pile-up"
    )
    assert second.skip_message == "0 parked letters told"


def test_a_letter_is_told_when_its_attempts_are_used_up(
    pipeline: Pipeline, webhook: Webhook
) -> None:
    """Not while it is still tried."""
    start = begun(pipeline, LETTERS)
    once = replace(LETTER_RETRY, attempts=1)
    letters_of(pipeline).post([letter_about(Work.SESSION, "2024-01-02")], once, "a run")
    open_letter = tick(pipeline, LETTERS, start)
    assert webhook.texts == []

    with pipeline.stores.timescale.connection() as connection:
        connection.execute("update dead_letter set next_attempt_at = now()")
    (claimed,) = letters_of(pipeline).claim_due(limit=9, batch=9, by="a sensor", hold_s=60)
    assert claimed.claim
    letters_of(pipeline).fail(claimed.claim, retry=once, by="a sensor", reason="again")
    tick(pipeline, LETTERS, open_letter.cursor)

    assert len(webhook.texts) == 1
    assert webhook.texts[0].startswith("1 dead letter waits for a person")


def test_letters_of_a_slow_transaction_are_told_though_later_ones_were_seen(
    pipeline: Pipeline, webhook: Webhook, pipeline_url: str
) -> None:
    """Steps are numbered before they can be seen: the highest number is no cursor."""
    start = begun(pipeline, LETTERS)
    letters_of(pipeline).post([letter_about(Work.SESSION, "2024-01-02")], LETTER_RETRY, "a run")
    with psycopg.connect(pipeline_url) as slow:
        slow.execute("select set_config('wrdata.actor', 'a run', true)")
        slow.execute(
            "update dead_letter set state = 'parked', next_attempt_at = null, reason = 'bad'"
        )
        letters_of(pipeline).post([parked("2024-01-03")], LETTER_RETRY, "a run")
        first = tick(pipeline, LETTERS, start)
    second = tick(pipeline, LETTERS, first.cursor)
    third = tick(pipeline, LETTERS, second.cursor)

    assert ["2024-01-03" in text for text in webhook.texts] == [True, False]
    assert ["2024-01-02" in text for text in webhook.texts] == [False, True]
    assert third.skip_message == "0 parked letters told"


def test_letters_of_an_hour_without_a_daemon_are_told(pipeline: Pipeline, webhook: Webhook) -> None:
    """The cursor remembers how far the last tick looked."""
    start = json.loads(begun(pipeline, LETTERS))
    since = alert_sensors.utc_now() - timedelta(hours=1)
    letters_of(pipeline).post([parked("2024-01-02")], LETTER_RETRY, "a run")

    tick(pipeline, LETTERS, json.dumps(start | {"since": since.isoformat()}))

    assert len(webhook.texts) == 1


def test_letters_that_are_not_delivered_are_told_in_a_later_tick(
    pipeline: Pipeline, webhook: Webhook
) -> None:
    """Together with those that came meanwhile."""
    start = begun(pipeline, LETTERS)
    letters_of(pipeline).post([parked("2024-01-02")], LETTER_RETRY, "a run")
    webhook.status = 500
    refused = tick(pipeline, LETTERS, start)
    letters_of(pipeline).post([parked("2024-01-03")], LETTER_RETRY, "a run")
    webhook.status = 200

    tick(pipeline, LETTERS, refused.cursor)

    assert refused.cursor == start
    assert webhook.texts[-1].startswith("2 dead letters wait")
    assert len(webhook.texts) == 2


def test_a_message_about_many_kinds_stays_short() -> None:
    """Ten lines are read, a hundred are not."""
    letters = [
        ParkedLetter(
            transition_id=number,
            at=alert_sensors.utc_now(),
            dataset=f"dataset {number:02}",
            subject="AAPL",
            error_class="NotEntitledError",
        )
        for number in range(12)
    ]

    lines = about_letters(letters).splitlines()

    assert lines[-3] == "- and 2 further kinds"
    assert len(lines) == 14


# Both


@pytest.mark.parametrize("sensor", [RUNS, LETTERS], ids=lambda sensor: sensor.name)
def test_without_a_webhook_nobody_is_told_and_history_is_forgotten(
    sensor: dg.SensorDefinition,
    pipeline: Pipeline,
    webhook: Webhook,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A webhook that is set later is told of what comes then."""
    start = begun(pipeline, sensor)
    monkeypatch.delenv("WRDATA_ALERT_WEBHOOK_URL")
    killed(pipeline)
    letters_of(pipeline).post([parked("2024-01-02")], LETTER_RETRY, "a run")

    unset = tick(pipeline, sensor, start)
    monkeypatch.setenv("WRDATA_ALERT_WEBHOOK_URL", webhook.url.get_secret_value())
    set_again = tick(pipeline, sensor, unset.cursor)
    tick(pipeline, sensor, set_again.cursor)

    assert unset.skip_message == "WRDATA_ALERT_WEBHOOK_URL is not set: nobody is told"
    assert webhook.texts == []


@pytest.mark.parametrize("sensor", [RUNS, LETTERS], ids=lambda sensor: sensor.name)
def test_a_wrong_address_stops_no_sensor_and_is_not_shown(
    sensor: dg.SensorDefinition, pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tick is skipped with the reason, and the cursor stays."""
    start = begun(pipeline, sensor)
    monkeypatch.setenv("WRDATA_ALERT_WEBHOOK_URL", "hooks.example/secret-part")

    skipped = tick(pipeline, sensor, start)

    assert skipped.cursor == start
    assert "WRDATA_ALERT_WEBHOOK_URL: it is no address" in (skipped.skip_message or "")
    assert "secret-part" not in (skipped.skip_message or "")


def test_both_sensors_are_on_once_the_daemon_runs() -> None:
    """Nobody would notice one that was never switched on."""
    sensors = {sensor.name: sensor for sensor in definitions.get_repository_def().sensor_defs}

    for sensor in alert_sensors.ALL:
        assert sensors[sensor.name].default_status is dg.DefaultSensorStatus.RUNNING
