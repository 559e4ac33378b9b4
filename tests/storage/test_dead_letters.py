"""Dead letters in the database: allowed and refused changes, and claims."""

import secrets
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any, cast
from uuid import UUID

import psycopg
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from marketdata.ports import Asked
from marketdata.recovery import errors
from marketdata.recovery.dead_letters import (
    LETTER_RETRY,
    UNSETTLED,
    DeadLetter,
    LetterRetry,
    LetterState,
    Work,
)
from resources.storage.letters import (
    DeadLetters,
    LetterFilter,
    StoredLetter,
)
from resources.storage.letters.posting import post, resolve
from resources.storage.timescale import Timescale

OPEN, RETRYING, RESOLVED, PARKED, DISCARDED, OBSOLETE = LetterState
LEGAL = {
    None: {OPEN, PARKED},
    OPEN: {RETRYING, RESOLVED, PARKED, DISCARDED, OBSOLETE},
    RETRYING: {OPEN, RESOLVED, PARKED, OBSOLETE},
    PARKED: {OPEN, RETRYING, RESOLVED, DISCARDED, OBSOLETE},
    RESOLVED: set[LetterState](),
    DISCARDED: set[LetterState](),
    OBSOLETE: set[LetterState](),
}
AT_ONCE = LetterRetry(first_wait_s=0.0, longest_wait_s=0.0)
"""Everything is due at once; the number of attempts is the real one."""


def letter_about(subject: str, instrument_id: int | None = None, **more: Any) -> DeadLetter:
    """Return a letter with defaults for all other fields."""
    letter = DeadLetter(
        dataset="daily_bars",
        provider="fmp",
        work=Work.INSTRUMENT if instrument_id else Work.SESSION,
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
    return replace(letter, **more)


@pytest.fixture
def letters(timescale: Timescale) -> DeadLetters:
    """The letters of a fresh database: none."""
    return DeadLetters(timescale)


def only(letters: DeadLetters) -> StoredLetter:
    """Return the only letter."""
    (letter,) = letters.find(LetterFilter())
    return letter


def claim_all(letters: DeadLetters, by: str = "a sensor", hold_s: float = 60) -> list[StoredLetter]:
    """Claim what is due."""
    return letters.claim_due(limit=1000, batch=500, by=by, hold_s=hold_s)


def claim_of(letter: StoredLetter) -> UUID:
    """Return the claim that a retrying letter has."""
    assert letter.claim
    return letter.claim


def write_sql(timescale: Timescale, letter_id: int, state: LetterState) -> None:
    """Put a letter into a state by a statement that no constraint objects to."""
    with timescale.connection() as connection:
        connection.execute("select set_config('wrdata.actor', 'intruder', true)")
        connection.execute(
            """
            with wanted as (select %(state)s::letter_state as state)
            update dead_letter as letter
            set state = wanted.state,
                next_attempt_at = case when wanted.state = 'open' then now() end,
                claim = case when wanted.state = 'retrying' then gen_random_uuid() end,
                claimed_by = case when wanted.state = 'retrying' then 'x' end,
                claimed_at = case when wanted.state = 'retrying' then now() end,
                claimed_from = case when wanted.state = 'retrying' then letter.state end,
                claim_expires_at = case when wanted.state = 'retrying' then now() end
            from wanted
            where letter.letter_id = %(id)s
            """,
            {"state": state.value, "id": letter_id},
        )


class Life(RuleBasedStateMachine):
    """All transitions of the letters of a few subjects, beside a model.

    Attributes:
        timescale: Set by the test.
    """

    timescale: Timescale
    subjects = st.sampled_from(["2024-01-02", "2024-01-03"])

    @initialize()
    def begin(self) -> None:
        """Letters cannot be deleted, so each life has a dataset of its own."""
        self.letters = DeadLetters(self.timescale)
        self.dataset = secrets.token_hex(4)
        self.states: dict[str, LetterState] = {}
        self.attempts: Counter[str] = Counter()
        self.steps = 0

    def live(self, subject: str) -> StoredLetter | None:
        """Return the unsettled letter of a subject; the database holds one at most."""
        wanted = LetterFilter(states=UNSETTLED, dataset=self.dataset)
        matching = [letter for letter in self.letters.find(wanted) if letter.subject == subject]
        assert len(matching) <= 1
        return matching[0] if matching else None

    def move(self, subject: str, state: LetterState) -> None:
        """Note where the model has the subject's latest letter now."""
        if self.states.get(subject) != state:
            self.steps += 1
        self.states[subject] = state

    @rule(subject=subjects, parked=st.booleans(), deferred=st.booleans())
    def fails(self, subject: str, parked: bool, deferred: bool) -> None:
        """The work fails, by any path."""
        before = self.states.get(subject)
        letter = letter_about(subject, dataset=self.dataset, parked=parked, deferred=deferred)
        self.letters.post([letter], AT_ONCE, "a run")
        if before not in UNSETTLED:
            self.states.pop(subject, None)
            self.attempts[subject] = 0
            self.move(subject, PARKED if parked else OPEN)
            return
        used_up = before is RETRYING and not deferred and self.attempts[subject] >= 8
        self.attempts[subject] -= before is RETRYING and deferred
        self.move(subject, PARKED if parked or before is PARKED or used_up else OPEN)

    @rule()
    def the_sensor_claims(self) -> None:
        """All open letters are due here, and are claimed; no others are."""
        taken = {
            letter.subject for letter in claim_all(self.letters) if letter.dataset == self.dataset
        }
        assert taken == {name for name, state in self.states.items() if state is OPEN}
        for subject in taken:
            self.attempts[subject] += 1
            self.move(subject, RETRYING)

    @rule(subject=subjects)
    def a_person_claims(self, subject: str) -> None:
        """Open and parked letters can be taken; the one being retried cannot."""
        letter = self.live(subject)
        if letter is None:
            return
        taken = self.letters.claim([letter.letter_id], batch=500, by="me", hold_s=60)
        assert bool(taken) == (letter.state is not RETRYING)
        if taken:
            self.attempts[subject] += 1
            self.move(subject, RETRYING)

    @rule(subject=subjects, end=st.sampled_from(["fail", "give_back", "resolve"]))
    def a_claim_ends(self, subject: str, end: str) -> None:
        """By failure, without a run, or with success."""
        letter = self.live(subject)
        if letter is None or letter.claim is None:
            return
        came_from = self.letters.transitions(letter.letter_id)[-1].from_state
        if end == "fail":
            self.letters.fail(letter.claim, retry=AT_ONCE, by="a sensor", reason="no")
            parks = came_from is PARKED or self.attempts[subject] >= 8
            self.move(subject, PARKED if parks else OPEN)
        elif end == "give_back":
            self.letters.give_back(letter.claim, by="a sensor", reason="no run")
            self.attempts[subject] -= 1
            assert came_from
            self.move(subject, came_from)
        else:
            self.letters.resolve(letter.claim, works=[Work.SESSION], by="a sensor", reason="ok")
            self.move(subject, RESOLVED)

    @rule(subject=subjects)
    def a_person_discards(self, subject: str) -> None:
        """A letter being retried cannot be discarded."""
        letter = self.live(subject)
        if letter is None:
            return
        done = self.letters.discard([letter.letter_id], by="me", reason="not needed")
        assert bool(done) == (letter.state is not RETRYING)
        if done:
            self.move(subject, DISCARDED)

    @rule(subject=subjects)
    def the_work_is_found_to_be_gone(self, subject: str) -> None:
        """Whoever holds the claim; a settled letter does not change."""
        letter = self.live(subject)
        matching = self.letters.find(LetterFilter(dataset=self.dataset))
        settled = [letter for letter in matching if letter.state not in UNSETTLED]
        given = [letter.letter_id for letter in ([letter] if letter else settled)]
        self.letters.end_obsolete(dict.fromkeys(given, "it was closed"), by="a sensor")
        if letter is not None:
            self.move(subject, OBSOLETE)

    @rule()
    def an_answer_comes(self) -> None:
        """Every unsettled letter is resolved by an answer that holds what it waits for."""
        asked = Asked(
            instrument_ids=(), start=date(2024, 1, 1), end=date(2024, 2, 1), whole_sessions=True
        )
        with self.timescale.connection() as connection:
            resolve(connection, self.dataset, "fmp", asked, by="a run", reason="answered")
        for subject, state in list(self.states.items()):
            if state in UNSETTLED:
                self.move(subject, RESOLVED)

    @rule(wanted=st.sampled_from(list(LetterState)), which=st.integers(0, 100))
    def somebody_writes_sql(self, wanted: LetterState, which: int) -> None:
        """An illegal next state is refused, also by SQL."""
        everything = self.letters.find(LetterFilter(dataset=self.dataset))
        if not everything:
            return
        letter = everything[which % len(everything)]
        if wanted is letter.state or wanted in LEGAL[letter.state]:
            return
        # Where work that was settled has a new letter, the index speaks before the trigger does.
        refusal = f"cannot become {wanted}|dead_letter_unsettled_fingerprint"
        with pytest.raises(errors.StorageConflictError, match=refusal):
            write_sql(self.timescale, letter.letter_id, wanted)

    @invariant()
    def the_history_is_complete_and_legal(self) -> None:
        """The steps lead from the first state to the current one, each legal, with its actor."""
        steps = 0
        for letter in self.letters.find(LetterFilter(dataset=self.dataset)):
            state: LetterState | None = None
            for step in self.letters.transitions(letter.letter_id):
                assert step.from_state == state
                assert step.to_state in LEGAL[state]
                assert step.by
                assert step.reason
                state, steps = step.to_state, steps + 1
            assert state == letter.state
        assert steps == self.steps

    @invariant()
    def the_database_says_what_the_model_says(self) -> None:
        """States and attempts of the latest letter of each subject."""
        for subject, state in self.states.items():
            letter = self.live(subject)
            assert (letter is not None) == (state in UNSETTLED)
            if letter:
                assert letter.state is state
                assert letter.attempts == self.attempts[subject]
                assert (letter.next_attempt_at is not None) == (state is OPEN)


def test_only_legal_transitions_happen_and_each_is_on_record(timescale: Timescale) -> None:
    """In any order of events, the database agrees with a model of the rules."""

    class LifeHere(Life): ...

    LifeHere.timescale = timescale
    run_state_machine_as_test(
        LifeHere,
        settings=settings(
            max_examples=20,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=cast("list[HealthCheck]", list(HealthCheck)),
        ),
    )


def test_many_claimers_at_once_never_share_a_letter(letters: DeadLetters) -> None:
    """Six threads empty the queue together: each letter is claimed exactly once."""
    first = date(2000, 1, 1)
    many = [letter_about((first + timedelta(days=day)).isoformat()) for day in range(600)]
    letters.post(many, AT_ONCE, "a run")
    taken: list[list[int]] = [[] for _ in range(6)]
    ready = threading.Barrier(6)

    def claim(number: int) -> None:
        ready.wait()
        while got := letters.claim_due(limit=20, batch=5, by=f"daemon {number}", hold_s=60):
            taken[number] += [letter.letter_id for letter in got]

    threads = [threading.Thread(target=claim, args=[number]) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    everything = [letter for claimed in taken for letter in claimed]
    assert len(everything) == 600
    assert len(set(everything)) == 600
    assert sum(1 for claimed in taken if claimed) > 1, "one thread did it all: nothing was tried"


def test_a_person_and_the_sensor_at_once_share_no_letter(letters: DeadLetters) -> None:
    """Each letter ends up in one claim, and has been claimed once."""
    many = [letter_about(f"2024-01-{day:02}") for day in range(1, 29)]
    for _ in range(10):
        letters.post(many, AT_ONCE, "a run")
        ids = [letter.letter_id for letter in letters.find(LetterFilter(states=(OPEN,)))]
        got: list[list[StoredLetter]] = []
        ready = threading.Barrier(2)

        def person(ids: list[int] = ids, ready: threading.Barrier = ready) -> None:
            ready.wait()
            got.append(letters.claim(ids, batch=500, by="me", hold_s=60))  # noqa: B023

        def sensor(ready: threading.Barrier = ready) -> None:
            ready.wait()
            got.append(claim_all(letters))  # noqa: B023

        threads = [threading.Thread(target=target) for target in (person, sensor)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        everything = [letter.letter_id for claimed in got for letter in claimed]

        assert sorted(everything) == sorted(ids)
        for claim in letters.claims():
            letters.resolve(claim.claim, works=list(Work), by="me", reason="done")


def test_after_eight_attempts_a_letter_waits_for_a_person(letters: DeadLetters) -> None:
    """The eighth failure parks it, and no sensor claims it again."""
    for attempt in range(9):
        letters.post([letter_about("2024-01-02")], AT_ONCE, "a run")
        stored = only(letters)
        assert stored.state is (PARKED if attempt == 8 else OPEN)
        assert stored.attempts == attempt
        assert bool(claim_all(letters)) == (attempt < 8)

    assert only(letters).reason.startswith("8 attempts used up: no answer for")
    assert only(letters).occurrences == 9


def test_a_permanent_error_is_parked_at_once_and_never_taken_by_a_machine(
    letters: DeadLetters,
) -> None:
    """Also when it shows only while the letter is being retried."""
    letters.post([letter_about("2024-01-02", parked=True)], AT_ONCE, "a run")
    letters.post([letter_about("2024-01-03")], AT_ONCE, "a run")
    claim_all(letters)

    letters.post([letter_about("2024-01-03", parked=True, message="402")], AT_ONCE, "a run")

    assert letters.counts() == {"daily_bars": {PARKED: 2}}
    assert claim_all(letters) == []


def test_a_bad_row_is_never_taken_by_a_machine(
    letters: DeadLetters, instrument_ids: list[int]
) -> None:
    """Even if it was posted as open."""
    row = letter_about("AAA 2024-01-02", instrument_ids[0], work=Work.RECORD)
    letters.post([row], AT_ONCE, "a run")

    assert only(letters).state is OPEN
    assert claim_all(letters) == []


def test_a_passing_failure_does_not_hide_what_a_person_has_to_mend(letters: DeadLetters) -> None:
    """A parked letter counts later failures, and keeps saying why it is parked."""
    letters.post([letter_about("2024-01-02", parked=True, message="402")], AT_ONCE, "a run")

    letters.post([letter_about("2024-01-02", deferred=True, message="503")], AT_ONCE, "a run")

    stored = only(letters)
    assert (stored.state, stored.message, stored.occurrences) == (PARKED, "402", 2)


def test_a_deferral_uses_up_no_attempt_and_waits_as_long_as_it_was_told(
    letters: DeadLetters,
) -> None:
    """Counted from now, by the database's clock: the worker's may be two minutes wrong."""
    letters.post([letter_about("2024-01-02")], AT_ONCE, "a run")
    claim_all(letters)
    wrong_clock = datetime.now(UTC) - timedelta(minutes=2)
    deferred = letter_about(
        "2024-01-02",
        deferred=True,
        seen_at=wrong_clock,
        not_before=wrong_clock + timedelta(seconds=30),
    )

    letters.post([deferred], AT_ONCE, "a run")

    stored = only(letters)
    assert (stored.state, stored.attempts, stored.occurrences) == (OPEN, 0, 2)
    assert stored.next_attempt_at
    assert 25 < (stored.next_attempt_at - datetime.now(UTC)).total_seconds() <= 30


@pytest.mark.parametrize("attempts", [0, 1, 5, 7])
def test_pauses_grow_and_differ_by_chance_within_their_bounds(
    letters: DeadLetters, attempts: int
) -> None:
    """Between half the pause and all of it, spread over the bounds: letters do not come in step."""
    many = [letter_about(f"{2000 + year}-01-02") for year in range(40)]
    for _ in range(attempts):
        letters.post(many, AT_ONCE, "a run")
        claim_all(letters)
    letters.post(many, LETTER_RETRY, "a run")

    now = datetime.now(UTC)
    due = [letter.next_attempt_at for letter in letters.find(LetterFilter(states=(OPEN,)))]
    waits = [(at - now).total_seconds() for at in due if at]
    longest = LETTER_RETRY.longest_waits_s()[attempts]
    assert len(waits) == 40
    assert all(longest * 0.5 - 2 <= wait <= longest for wait in waits)
    assert max(waits) - min(waits) > longest * 0.2


def test_a_repeat_is_counted_and_widens_what_is_asked_for(letters: DeadLetters) -> None:
    """The days of both failures are kept, whichever came last; five at once count five times."""
    early = {"start": "2020-01-02", "end": "2020-12-31"}
    letters.post([letter_about("2024-01-02")], LETTER_RETRY, "a run")

    letters.post([letter_about("2024-01-02", details=early, message="m")] * 5, LETTER_RETRY, "b")

    stored = only(letters)
    assert stored.occurrences == 6
    assert stored.message == "m"
    assert stored.span == (date(2020, 1, 2), date(2024, 1, 31))


def test_an_answer_resolves_the_letters_that_waited_for_no_more_than_it(
    letters: DeadLetters, timescale: Timescale, instrument_ids: list[int]
) -> None:
    """Not other instruments, other days, whole sessions, or rows that it has wrong again."""
    share, other, _ = instrument_ids
    january = {"start": "2024-01-02", "end": "2024-01-31"}
    longer = {"start": "2024-01-02", "end": "2024-02-29"}
    good, bad = (
        letter_about(
            f"AAA {day}",
            share,
            work=Work.RECORD,
            parked=True,
            details={"start": day, "end": day},
        )
        for day in ("2024-01-05", "2024-01-08")
    )
    letters.post(
        [
            letter_about("AAA", share, details=january),
            letter_about("BBB", other, details=january),
            letter_about("AAA", share, details=longer, provider="polygon"),
            letter_about("2024-01-10", details={"start": "2024-01-10", "end": "2024-01-10"}),
            good,
            bad,
        ],
        LETTER_RETRY,
        "a run",
    )
    asked = Asked(
        instrument_ids=(share,), start=date(2024, 1, 1), end=date(2024, 1, 31), whole_sessions=False
    )

    with timescale.connection() as connection:
        count = resolve(
            connection, "daily_bars", "fmp", asked, still_wrong=[bad], by="run 2", reason="answered"
        )

    resolved = letters.find(LetterFilter(states=(RESOLVED,)))
    assert count == 2
    assert {letter.subject for letter in resolved} == {"AAA", "AAA 2024-01-05"}
    assert letters.transitions(resolved[0].letter_id)[-1].by == "run 2"


def test_an_answer_from_before_the_letter_does_not_resolve_it(
    letters: DeadLetters, timescale: Timescale, instrument_ids: list[int]
) -> None:
    """A replayed answer does not resolve a later failure, except its own."""
    share, other, _ = instrument_ids
    january = {"start": "2024-01-02", "end": "2024-01-31"}
    letters.post(
        [
            letter_about("AAA", share, details=january),
            letter_about("BBB", other, details=january, raw_answers=("raw/it",)),
        ],
        LETTER_RETRY,
        "a run",
    )
    asked = Asked(
        instrument_ids=(share, other),
        start=date(2024, 1, 1),
        end=date(2024, 1, 31),
        whole_sessions=False,
    )

    with timescale.connection() as connection:
        resolved = resolve(
            connection,
            "daily_bars",
            "fmp",
            asked,
            answered_at=datetime.now(UTC) - timedelta(days=3),
            raw_answers=["raw/it"],
            by="replay",
            reason="answered",
        )

    assert resolved == 1
    (left,) = letters.find(LetterFilter(states=UNSETTLED))
    assert left.subject == "AAA"


def test_a_letter_never_points_to_the_answer_of_another_request(letters: DeadLetters) -> None:
    """A later failure without an answer takes the older one's pointer away with its request."""
    letters.post(
        [letter_about("2024-01-02", request="january", raw_answers=("raw/january",))],
        LETTER_RETRY,
        "a run",
    )
    letters.post([letter_about("2024-01-02", request="half a year")], LETTER_RETRY, "a run")

    stored = only(letters)
    assert (stored.request, stored.raw_answers) == ("half a year", ())


def test_a_whole_market_day_resolves_the_letter_of_its_session(
    letters: DeadLetters, timescale: Timescale, instrument_ids: list[int]
) -> None:
    """And that of an instrument which waits for this day only."""
    day = {"start": "2024-01-10", "end": "2024-01-10"}
    letters.post(
        [
            letter_about("2024-01-10", details=day),
            letter_about("2024-01-11", details={"start": "2024-01-11", "end": "2024-01-11"}),
            letter_about("AAA", instrument_ids[0], details=day),
            letter_about("BBB", instrument_ids[1]),
        ],
        LETTER_RETRY,
        "a run",
    )
    session = date(2024, 1, 10)
    asked = Asked(
        instrument_ids=tuple(instrument_ids), start=session, end=session, whole_sessions=True
    )

    with timescale.connection() as connection:
        resolve(connection, "daily_bars", "fmp", asked, by="run 2", reason="answered")

    left = letters.find(LetterFilter(states=UNSETTLED))
    assert {letter.subject for letter in left} == {"2024-01-11", "BBB"}


def test_letters_live_and_die_with_the_loaders_transaction(
    letters: DeadLetters, timescale: Timescale
) -> None:
    """A rolled-back letter was never posted."""
    with timescale.connection() as connection:
        post(connection, [letter_about("2024-01-02")], LETTER_RETRY, "a run")
        connection.rollback()

    assert letters.find(LetterFilter()) == []


def test_an_expired_claim_is_told_and_given_back_without_an_attempt(letters: DeadLetters) -> None:
    """A letter that a person had taken from parked is parked again."""
    letters.post([letter_about("2024-01-02")], AT_ONCE, "a run")
    letters.post([letter_about("2024-01-03", parked=True)], AT_ONCE, "a run")
    parked = letters.find(LetterFilter(states=(PARKED,)))[0].letter_id
    claim_all(letters, hold_s=0)
    letters.claim([parked], batch=500, by="me", hold_s=60)

    due, claimed = sorted(letters.claims(), key=lambda claim: claim.expired, reverse=True)
    assert (due.expired, claimed.expired, claimed.claimed_by) == (True, False, "me")
    for claim in (due, claimed):
        letters.give_back(claim.claim, by="a sensor", reason="no run came of it")

    states = {
        letter.subject: (letter.state, letter.attempts) for letter in letters.find(LetterFilter())
    }
    assert states == {"2024-01-02": (OPEN, 0), "2024-01-03": (PARKED, 0)}


def test_a_bad_row_whose_run_failed_waits_for_a_person_again(
    letters: DeadLetters, instrument_ids: list[int]
) -> None:
    """A sensor would never claim it if it were open."""
    row = letter_about("AAA 2024-01-02", instrument_ids[0], work=Work.RECORD, parked=True)
    letters.post([row], LETTER_RETRY, "a run")
    (claimed,) = letters.claim([only(letters).letter_id], batch=1, by="me", hold_s=60)

    letters.fail(claim_of(claimed), retry=LETTER_RETRY, by="me", reason="the database is down")

    assert (only(letters).state, only(letters).reason) == (PARKED, "the database is down")


def test_a_claim_that_is_extended_does_not_expire(letters: DeadLetters) -> None:
    """And an extension never shortens it."""
    letters.post([letter_about("2024-01-02")], AT_ONCE, "a run")
    (letter,) = claim_all(letters, hold_s=0)

    letters.extend([claim_of(letter)], hold_s=60)
    extended = only(letters).claim_expires_at
    letters.extend([claim_of(letter)], hold_s=1)

    assert not letters.claims()[0].expired
    assert only(letters).claim_expires_at == extended


def test_histories_share_a_claim_and_other_work_does_not(
    letters: DeadLetters, instrument_ids: list[int]
) -> None:
    """Few runs: each has up to a maximum of instruments of one dataset and provider."""
    tickers = [letter_about(f"T{instrument_id}", instrument_id) for instrument_id in instrument_ids]
    elsewhere = [replace(letter, provider="polygon") for letter in tickers]
    days = [letter_about("2024-01-02"), letter_about("2024-01-03")]
    letters.post([*tickers, *elsewhere, *days], AT_ONCE, "a run")

    claimed = letters.claim_due(limit=100, batch=2, by="a sensor", hold_s=60)

    sizes = Counter(claim_of(letter) for letter in claimed)
    assert sorted(sizes.values()) == [1, 1, 1, 1, 2, 2]
    for letter in claimed:
        together = {other.provider for other in claimed if other.claim == letter.claim}
        assert together == {letter.provider}


@pytest.mark.parametrize(
    "statement",
    [
        "delete from dead_letter",
        "truncate dead_letter cascade",
        "delete from dead_letter_transition",
        "update dead_letter_transition set reason = ''",
        "truncate dead_letter_transition",
    ],
)
def test_history_is_not_rewritten(
    letters: DeadLetters, timescale: Timescale, statement: str
) -> None:
    """Letters and their steps cannot be deleted by any statement."""
    letters.post([letter_about("2024-01-02")], LETTER_RETRY, "a run")

    with (
        pytest.raises(errors.StorageConflictError, match="the history of dead letters is kept"),
        timescale.connection() as connection,
    ):
        connection.execute(statement.encode())


def test_nobody_changes_a_letter_without_saying_who(
    letters: DeadLetters, migrated_url: str
) -> None:
    """Nor in a session that set an actor in an earlier transaction."""
    letters.post([letter_about("2024-01-02")], LETTER_RETRY, "a run")
    with psycopg.connect(migrated_url, autocommit=True) as connection:
        with connection.transaction():
            connection.execute("select set_config('wrdata.actor', 'me', true)")

        with pytest.raises(psycopg.errors.CheckViolation, match="without an actor"):
            connection.execute("update dead_letter set state = 'parked', next_attempt_at = null")


def test_a_claim_is_not_taken_over_while_it_lasts(
    letters: DeadLetters, timescale: Timescale
) -> None:
    """Not even by a statement of one's own."""
    letters.post([letter_about("2024-01-02")], AT_ONCE, "a run")
    (letter,) = claim_all(letters)

    with pytest.raises(errors.StorageConflictError, match="is retrying and cannot become retrying"):
        write_sql(timescale, letter.letter_id, RETRYING)


def filters() -> list[tuple[LetterFilter, set[str]]]:
    """Return filters and what they find among the letters of the next test."""
    return [
        (LetterFilter(), {"AAA", "BBB", "2024-01-02"}),
        (LetterFilter(states=(PARKED,)), {"BBB"}),
        (LetterFilter(dataset="other"), {"2024-01-02"}),
        (LetterFilter(error_class="RateLimitedError"), {"AAA"}),
        (LetterFilter(ticker="AAA"), {"AAA"}),
        (LetterFilter(ticker="BBB", states=(OPEN,)), set()),
    ]


@pytest.mark.parametrize(("wanted", "expected"), filters())
def test_letters_are_found_by_each_of_their_properties(
    letters: DeadLetters, instrument_ids: list[int], wanted: LetterFilter, expected: set[str]
) -> None:
    """The list and the export agree."""
    letters.post(
        [
            letter_about("AAA", instrument_ids[0], error_class="RateLimitedError"),
            letter_about("BBB", instrument_ids[1], parked=True),
            letter_about("2024-01-02", dataset="other"),
        ],
        LETTER_RETRY,
        "a run",
    )

    assert {letter.subject for letter in letters.find(wanted)} == expected
    assert list(letters.export(wanted)) == letters.find(wanted)


def test_days_to_ask_for_are_those_of_all_unsettled_letters_of_an_instrument(
    letters: DeadLetters, instrument_ids: list[int]
) -> None:
    """A bad row and a failed history of one instrument are one request."""
    share, other, _ = instrument_ids
    row = letter_about(
        "AAA 2023-05-05",
        share,
        work=Work.RECORD,
        parked=True,
        details={"start": "2023-05-05", "end": "2023-05-05"},
    )
    letters.post([letter_about("AAA", share), row, letter_about("BBB", other)], LETTER_RETRY, "r")
    live = letters.find(LetterFilter())
    letters.discard(
        [letter.letter_id for letter in live if letter.subject == "BBB"], by="me", reason="no"
    )

    spans = letters.spans([letter.letter_id for letter in live])

    assert spans == {share: (date(2023, 5, 5), date(2024, 1, 31))}


def test_two_runs_that_post_and_resolve_the_same_letters_do_not_deadlock(
    letters: DeadLetters, timescale: Timescale
) -> None:
    """All statements lock in one order."""
    many = [letter_about(f"{2000 + year}-01-02") for year in range(50)]
    asked = Asked(
        instrument_ids=(), start=date(2000, 1, 1), end=date(2100, 1, 1), whole_sessions=True
    )
    failed: list[Exception] = []

    def resolve_all() -> None:
        with timescale.connection() as connection:
            resolve(connection, "daily_bars", "fmp", asked, by="b", reason="answered")

    def repeat(step: Callable[[], object]) -> None:
        try:
            for _ in range(30):
                step()
        except Exception as error:  # noqa: BLE001
            failed.append(error)

    steps: list[Callable[[], object]] = [
        lambda: letters.post(many, AT_ONCE, "a"),
        lambda: letters.post(many[::-1], AT_ONCE, "c"),
        resolve_all,
        lambda: claim_all(letters),
    ]
    threads = [threading.Thread(target=repeat, args=[step]) for step in steps]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert failed == []


def test_a_letter_that_grows_while_it_is_being_resolved_waits_on(
    letters: DeadLetters, timescale: Timescale
) -> None:
    """Its days are read under the lock: days added meanwhile were not answered."""
    short = letter_about("all at once")
    longer = replace(short, details={"start": "2024-01-02", "end": "2024-02-29"})
    asked = Asked(
        instrument_ids=(), start=date(2024, 1, 1), end=date(2024, 1, 31), whole_sessions=True
    )
    letters.post([short], LETTER_RETRY, "r")

    def resolve_january() -> int:
        with timescale.connection() as connection:
            return resolve(connection, "daily_bars", "fmp", asked, by="b", reason="answered")

    with ThreadPoolExecutor(1) as thread:
        with timescale.connection() as connection:
            post(connection, [longer], LETTER_RETRY, "r")
            resolved = thread.submit(resolve_january)
            with pytest.raises(TimeoutError):
                resolved.result(timeout=0.3)
        assert resolved.result(timeout=10) == 0

    assert only(letters).state is OPEN
