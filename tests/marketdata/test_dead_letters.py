"""Dead letters: which failures are about the same work, and when work is tried again."""

import re
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketdata.recovery.dead_letters import LETTER_RETRY, DeadLetter, LetterRetry, Work

LETTER = DeadLetter(
    dataset="daily_bars",
    provider="fmp",
    work=Work.INSTRUMENT,
    subject="FB",
    instrument_id=7,
    error_class="ProviderUnavailableError",
    message="no answer within 30 s",
    request="historical-price-eod/full FB",
    run_id="run-1",
    raw_answers=(),
    details={"start": "2024-01-02", "end": "2024-01-31"},
    seen_at=datetime(2024, 2, 1, tzinfo=UTC),
    parked=False,
)


@given(error=st.text(), run=st.text(), start=st.dates(), parked=st.booleans())
def test_the_same_work_is_the_same_letter_however_it_fails(
    error: str, run: str, start: datetime, parked: bool
) -> None:
    """Neither the error, nor the run, nor the span that was asked for makes another letter."""
    again = replace(
        LETTER,
        error_class=error,
        message=error,
        run_id=run,
        details={"start": start.isoformat()},
        parked=parked,
    )

    assert again.fingerprint == LETTER.fingerprint
    assert re.fullmatch("[0-9a-f]{64}", again.fingerprint)


def test_a_rename_makes_no_second_letter() -> None:
    """The instrument's id stands in the place of its ticker, in rows as well."""
    row = replace(LETTER, work=Work.RECORD, subject="FB 2022-06-08")

    assert replace(LETTER, subject="META").fingerprint == LETTER.fingerprint
    assert replace(row, subject="META 2022-06-08").fingerprint == row.fingerprint


@pytest.mark.parametrize(
    "other",
    [
        {"dataset": "minute_bars"},
        {"provider": "polygon"},
        {"work": Work.RECORD},
        {"instrument_id": 8},
        {"instrument_id": None},
        {"subject": "FB 2022-06-08"},
    ],
)
def test_other_work_is_another_letter(other: dict[str, object]) -> None:
    """Each part of the work's name counts."""
    assert replace(LETTER, **other).fingerprint != LETTER.fingerprint


def test_no_two_names_run_together() -> None:
    """A space in one part is no border between two."""
    letter = replace(LETTER, instrument_id=None, dataset="a b", provider="c")
    other = replace(LETTER, instrument_id=None, dataset="a", provider="b c")

    assert letter.fingerprint != other.fingerprint


@given(
    first=st.floats(0.1, 600),
    longest=st.floats(0.1, 86_400),
    jitter=st.floats(0, 1),
    tried=st.integers(0, 100),
    chance=st.floats(0, 1),
)
def test_a_pause_doubles_up_to_the_longest_and_is_shortened_by_chance_only(
    first: float, longest: float, jitter: float, tried: int, chance: float
) -> None:
    """The bounds hold for every policy, also past the last attempt."""
    retry = LetterRetry(first_wait_s=first, longest_wait_s=longest, jitter=jitter)
    full = min(first * 2 ** min(tried, retry.attempts - 1), longest)

    assert full * (1 - jitter) * 0.999999 <= retry.wait_s(tried, chance) <= full
    assert retry.wait_s(tried, 0.0) == full


def test_eight_attempts_take_at_most_three_hours() -> None:
    """The retries outlast an evening's outage; after that a person has to act."""
    waits = LETTER_RETRY.longest_waits_s()

    assert waits == (60, 120, 240, 480, 960, 1920, 3600, 3600)
    assert sum(waits) / 3600 == pytest.approx(3.05, abs=0.01)
