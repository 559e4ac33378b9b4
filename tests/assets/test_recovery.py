"""What a load leaves behind when something fails, and how later loads settle it."""

from datetime import date

import pytest

from assets.datasets import BY_SYMBOL
from marketdata.calendars import HISTORY_START, calendar, utc_now
from marketdata.recovery.dead_letters import LetterState, Work
from resources.storage.letters import LetterFilter, StoredLetter
from tests.fixtures.pipeline import Pipeline
from usecases.instruments import UNIVERSE


def _letters(pipeline: Pipeline, *states: LetterState) -> list[StoredLetter]:
    return pipeline.stores.dead_letters.find(LetterFilter(states=states))


def _retry(pipeline: Pipeline, letters: list[StoredLetter]) -> bool:
    config = {"letters": [letter.letter_id for letter in letters]}
    return pipeline.run(
        "daily_bars", config={"curated__equity_prices__daily_bars_refresh": {"config": config}}
    ).success


def test_a_ticker_that_fails_waits_in_a_letter_until_any_load_answers_it(
    pipeline: Pipeline,
) -> None:
    """The letter names what was asked for; the next good load of it resolves the letter."""
    pipeline.simulator.add_fault("status", status=503, symbol="MSFT")

    assert pipeline.backfill(["AAPL", "MSFT"]).success

    (letter,) = _letters(pipeline)
    assert (letter.work, letter.subject, letter.state) == (
        Work.INSTRUMENT,
        "MSFT",
        LetterState.OPEN,
    )
    assert letter.span == (HISTORY_START, calendar().last_closed(utc_now()))
    assert letter.error_class == "ProviderUnavailableError"

    pipeline.simulator.clear_faults()
    assert pipeline.backfill(["MSFT"]).success

    (letter,) = _letters(pipeline)
    assert letter.state is LetterState.RESOLVED
    steps = pipeline.stores.dead_letters.transitions(letter.letter_id)
    assert [step.to_state for step in steps] == [LetterState.OPEN, LetterState.RESOLVED]
    assert all(step.by.startswith("run ") for step in steps)


def test_a_load_of_less_does_not_settle_a_letter(pipeline: Pipeline) -> None:
    """One day of a ticker does not resolve ten failed years."""
    pipeline.simulator.add_fault("status", status=503, symbol="MSFT")
    assert pipeline.backfill(["AAPL", "MSFT"]).success
    pipeline.simulator.clear_faults()

    assert pipeline.run(
        "daily_bars_by_session", partition=calendar().last_closed(utc_now()).isoformat()
    ).success

    (letter,) = _letters(pipeline)
    assert letter.state is LetterState.OPEN


def test_a_retry_asks_for_exactly_what_the_letter_waits_for(pipeline: Pipeline) -> None:
    """Also where the ledger knows all of it already, such as after a failed refetch."""
    assert pipeline.backfill(["MSFT"]).success
    pipeline.simulator.add_fault("status", status=503, symbol="MSFT")
    assert not pipeline.backfill(["MSFT"], only_missing=False).success
    pipeline.simulator.clear_faults()
    corrected = date(2024, 1, 3)
    pipeline.simulator.correct("MSFT", corrected, 1.5)
    before = utc_now()

    assert _retry(pipeline, _letters(pipeline))

    asked = [request.query for request in pipeline.simulator.requests(before)]
    assert [(query["symbol"], query["from"]) for query in asked] == [
        ("MSFT", HISTORY_START.isoformat())
    ]
    (letter,) = _letters(pipeline)
    assert letter.state is LetterState.RESOLVED
    with pipeline.stores.timescale.connection() as connection:
        restated = connection.execute("select session_date from daily_bar_version").fetchall()
    assert restated == [(corrected,)]


def test_a_permanent_failure_waits_for_a_person(pipeline: Pipeline) -> None:
    """No sensor retries a symbol that the plan does not cover."""
    pipeline.simulator.add_fault("status", status=402, symbol="MSFT")

    assert pipeline.backfill(["AAPL", "MSFT"]).success

    (letter,) = _letters(pipeline)
    assert (letter.state, letter.error_class) == (LetterState.PARKED, "NotEntitledError")


def test_a_bad_bar_is_kept_and_resolved_by_a_good_one(pipeline: Pipeline) -> None:
    """What came, why it was refused, and where the whole answer lies."""
    pipeline.simulator.add_fault("malformed_rows", symbol="AAPL", count=1)

    assert pipeline.backfill(["AAPL"]).success

    letters = _letters(pipeline, LetterState.PARKED)
    assert [letter.work for letter in letters] == [Work.RECORD, Work.RECORD]
    assert any(letter.details["received"][0]["close"] is None for letter in letters)
    assert all(letter.raw_answers for letter in letters), "the whole answer is in the raw zone"

    assert pipeline.backfill(["AAPL"]).success

    assert {letter.state for letter in _letters(pipeline)} == {LetterState.RESOLVED}


def test_an_outage_puts_work_off_instead_of_failing_it_ticker_by_ticker(
    pipeline: Pipeline,
) -> None:
    """After five failures in a row nothing is sent; the rest waits for the breaker's trial."""
    members = [instrument.ticker for instrument in pipeline.stores.instruments.members(UNIVERSE)]
    pipeline.simulator.add_fault("status", status=500)
    before = utc_now()

    result = pipeline.backfill(members)

    assert not result.success, "an outage is red"
    assert len(pipeline.simulator.requests(before)) < 30
    letters = _letters(pipeline, LetterState.OPEN)
    assert len(letters) == len(members)
    assert sum(letter.deferred for letter in letters) > len(members) - 30
    (breaker,) = pipeline.stores.leases.breakers()
    assert (breaker.provider, breaker.state.value, breaker.failures >= 5) == ("fmp", "open", True)


def test_a_pause_of_an_hour_is_kept_by_every_later_run_and_work_waits_until_it_ends(
    pipeline: Pipeline,
) -> None:
    """One answer says so; later requests are not sent, and their letters say until when."""
    members = [instrument.ticker for instrument in pipeline.stores.instruments.members(UNIVERSE)]
    pipeline.simulator.add_fault("status", status=429, seconds=3600)
    pipeline.backfill(members)
    before = utc_now()

    pipeline.backfill(members)

    assert pipeline.simulator.requests(before) == []
    letters = _letters(pipeline, LetterState.OPEN)
    assert len(letters) == len(members)
    put_off = [letter for letter in letters if letter.deferred]
    assert len(put_off) > len(members) - 30
    assert {letter.error_class for letter in put_off} == {"ProviderPausedError"}
    assert all("left alone until" in letter.message for letter in put_off)
    due_in_s = [(letter.next_attempt_at or before) - before for letter in letters]
    assert all(3500 < due.total_seconds() < 3700 for due in due_in_s)


def test_an_answer_is_kept_before_anything_of_it_is_loaded(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a bucket nothing is loaded: the answer could not be replayed."""
    monkeypatch.setenv("WRDATA_ARCHIVE_BUCKET", "no-such-bucket")

    result = pipeline.backfill(["AAPL", "MSFT"])

    assert not result.success
    with pipeline.stores.timescale.connection() as connection:
        assert connection.execute("select count(*) from daily_bar").fetchone() == (0,)


def test_the_partitioned_door_tells_what_was_put_off_as_failed(pipeline: Pipeline) -> None:
    """A partition whose request was never sent is not good."""
    pipeline.simulator.add_fault("status", status=500)
    keys = pipeline.instance.get_dynamic_partitions("tickers")

    assert not pipeline.materialize(BY_SYMBOL["daily_bars"], (keys[0], keys[40])).success

    assert len(_letters(pipeline, LetterState.OPEN)) == 41


def test_days_that_a_refused_key_left_untried_wait_for_a_person(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One request is refused; the other days are not asked for, and none is forgotten."""
    monkeypatch.setenv("FMP_API_KEY", "not-a-key-of-anyone-at-all-00000")
    last = calendar().last_closed(utc_now())
    days = calendar().sessions(last.replace(day=1), last)[-4:]
    before = utc_now()

    assert not pipeline.run(
        "daily_bars_by_session", partitions=(days[0].isoformat(), days[-1].isoformat())
    ).success

    assert len(pipeline.simulator.requests(before)) == 1
    letters = _letters(pipeline, LetterState.PARKED)
    assert sorted(letter.subject for letter in letters) == [day.isoformat() for day in days]
    assert {(letter.work, letter.error_class) for letter in letters} == {
        (Work.SESSION, "KeyRefusedError")
    }
