"""The coverage ledger on a real database."""

from datetime import date, datetime, timedelta

import pytest

from marketdata.calendars import utc_now
from marketdata.coverage import ABSENCE_STANDS_FOR, CoverageMark, CoverageState, Span
from resources.storage.ledger.coverage import CoverageLedger, apply_marks
from resources.storage.timescale import Timescale
from tests.storage.batches import DATASET, PROVIDER

DAY = date(2024, 6, 3)


def span(first: int, last: int) -> Span:
    """Return days by their distance from DAY, the last one excluded."""
    return (DAY + timedelta(days=first), DAY + timedelta(days=last))


def mark(instrument_id: int, state: CoverageState, *spans: Span) -> CoverageMark:
    """Return a mark."""
    return CoverageMark(instrument_id=instrument_id, state=state, spans=spans)


def apply(timescale: Timescale, *marks: CoverageMark, asked_at: datetime | None = None) -> int:
    """Write marks in a transaction of their own."""
    with timescale.connection() as connection:
        return apply_marks(connection, DATASET, PROVIDER, marks, asked_at=asked_at or utc_now())


def ledger_of(timescale: Timescale, instrument_id: int) -> dict[CoverageState, list[Span]]:
    """Return the ledger of one instrument."""
    return CoverageLedger(timescale).ledger(DATASET, PROVIDER, [instrument_id])[instrument_id]


def test_a_mark_takes_its_days_from_the_other_states(
    timescale: Timescale, instrument_ids: list[int]
) -> None:
    """A provisional bar becomes complete; what is left of it stays provisional."""
    share = instrument_ids[0]
    apply(timescale, mark(share, CoverageState.PROVISIONAL, span(0, 5)))
    apply(timescale, mark(share, CoverageState.COMPLETE, span(1, 3)))

    assert ledger_of(timescale, share) == {
        CoverageState.COMPLETE: [span(1, 3)],
        CoverageState.PROVISIONAL: [span(0, 1), span(3, 5)],
    }


def test_neighbouring_spans_join(timescale: Timescale, instrument_ids: list[int]) -> None:
    """A year of daily loads is one span."""
    share = instrument_ids[0]
    for day in range(5):
        apply(timescale, mark(share, CoverageState.COMPLETE, span(day, day + 1)))

    assert ledger_of(timescale, share) == {CoverageState.COMPLETE: [span(0, 5)]}


def test_a_failure_never_replaces_what_is_known(
    timescale: Timescale, instrument_ids: list[int]
) -> None:
    """It only adds the days that are in no state."""
    share = instrument_ids[0]
    apply(
        timescale,
        mark(share, CoverageState.COMPLETE, span(0, 2)),
        mark(share, CoverageState.PROVIDER_EMPTY, span(2, 4)),
    )
    apply(timescale, mark(share, CoverageState.FAILED, span(0, 6)))

    assert ledger_of(timescale, share) == {
        CoverageState.COMPLETE: [span(0, 2)],
        CoverageState.PROVIDER_EMPTY: [span(2, 4)],
        CoverageState.FAILED: [span(4, 6)],
    }


@pytest.mark.parametrize("absence", [CoverageState.PROVIDER_EMPTY])
@pytest.mark.parametrize(
    "bar", [CoverageState.COMPLETE, CoverageState.PROVISIONAL, CoverageState.ARCHIVED]
)
def test_an_absence_never_replaces_a_bar(
    timescale: Timescale, instrument_ids: list[int], bar: CoverageState, absence: CoverageState
) -> None:
    """A provider that suddenly has nothing is not a deletion; the contradiction is counted."""
    share = instrument_ids[0]
    apply(timescale, mark(share, bar, span(0, 3)))

    contradicted = apply(timescale, mark(share, absence, span(1, 5)))

    assert contradicted == 2
    assert ledger_of(timescale, share) == {bar: [span(0, 3)], absence: [span(3, 5)]}


@pytest.mark.parametrize("final", [CoverageState.COMPLETE, CoverageState.ARCHIVED])
def test_a_late_provisional_answer_never_replaces_a_final_bar(
    timescale: Timescale, instrument_ids: list[int], final: CoverageState
) -> None:
    """It was fetched before the final one, so it contradicts nothing."""
    share = instrument_ids[0]
    apply(timescale, mark(share, final, span(0, 3)))

    contradicted = apply(timescale, mark(share, CoverageState.PROVISIONAL, span(1, 5)))

    assert contradicted == 0
    assert ledger_of(timescale, share) == {
        final: [span(0, 3)],
        CoverageState.PROVISIONAL: [span(3, 5)],
    }


@pytest.mark.parametrize(
    "bar", [CoverageState.COMPLETE, CoverageState.PROVISIONAL, CoverageState.ARCHIVED]
)
def test_a_quarantined_bar_never_replaces_a_held_one(
    timescale: Timescale, instrument_ids: list[int], bar: CoverageState
) -> None:
    """The refused bar was not stored: the good one is still there. No day becomes empty."""
    share = instrument_ids[0]
    apply(timescale, mark(share, bar, span(0, 3)))

    contradicted = apply(timescale, mark(share, CoverageState.QUARANTINED, span(1, 5)))

    assert contradicted == 0
    assert ledger_of(timescale, share) == {
        bar: [span(0, 3)],
        CoverageState.QUARANTINED: [span(3, 5)],
    }


@pytest.mark.parametrize("state", [CoverageState.PROVISIONAL, CoverageState.QUARANTINED])
@pytest.mark.parametrize(
    "weaker",
    [CoverageState.PROVIDER_EMPTY, CoverageState.FAILED],
)
def test_a_bar_even_a_refused_one_replaces_its_absence(
    timescale: Timescale, instrument_ids: list[int], weaker: CoverageState, state: CoverageState
) -> None:
    """The provider has something now."""
    share = instrument_ids[0]
    apply(timescale, mark(share, weaker, span(0, 3)))
    apply(timescale, mark(share, state, span(0, 3)))

    assert ledger_of(timescale, share) == {state: [span(0, 3)]}


def test_an_absence_replaces_a_failure(timescale: Timescale, instrument_ids: list[int]) -> None:
    """An answer, even an empty one, is better than none."""
    share = instrument_ids[0]
    apply(timescale, mark(share, CoverageState.FAILED, span(0, 3)))
    apply(timescale, mark(share, CoverageState.PROVIDER_EMPTY, span(0, 3)))

    assert ledger_of(timescale, share) == {CoverageState.PROVIDER_EMPTY: [span(0, 3)]}


def list_company(timescale: Timescale, instrument_id: int, on: date | None) -> None:
    """Store a share's day of listing."""
    with timescale.connection() as connection:
        connection.execute(
            """insert into company
            (instrument_id, name, listed_on, answer, provider, ingest_id, known_from)
            values (%s, 'A company', %s, '{}', 'fmp', 1, now())""",
            (instrument_id, on),
        )


def test_an_absence_is_forgotten_after_a_while(
    timescale: Timescale, instrument_ids: list[int]
) -> None:
    """Its age is that of the oldest answer about any of its days: all of them renew it."""
    share, long_ago = instrument_ids[0], utc_now() - ABSENCE_STANDS_FOR - timedelta(hours=1)
    apply(timescale, mark(share, CoverageState.PROVIDER_EMPTY, span(0, 90)), asked_at=long_ago)
    assert ledger_of(timescale, share) == {}

    apply(timescale, mark(share, CoverageState.PROVIDER_EMPTY, span(90, 91)))
    assert ledger_of(timescale, share) == {}

    apply(timescale, mark(share, CoverageState.PROVIDER_EMPTY, span(0, 91)))
    assert ledger_of(timescale, share) == {CoverageState.PROVIDER_EMPTY: [span(0, 91)]}


def test_an_absence_is_forgotten_when_another_key_is_in_use(
    timescale: Timescale, instrument_ids: list[int]
) -> None:
    """The first key that is noted is the one that was asked."""
    share, ledger = instrument_ids[0], CoverageLedger(timescale)
    apply(timescale, mark(share, CoverageState.PROVIDER_EMPTY, span(0, 90)))
    ledger.note_key_plan(PROVIDER, "a key")
    ledger.note_key_plan(PROVIDER, "a key")
    assert ledger_of(timescale, share) == {CoverageState.PROVIDER_EMPTY: [span(0, 90)]}

    ledger.note_key_plan("another provider", "a key")
    ledger.note_key_plan("another provider", "another key")
    assert ledger_of(timescale, share) == {CoverageState.PROVIDER_EMPTY: [span(0, 90)]}

    ledger.note_key_plan(PROVIDER, "another key")
    assert ledger_of(timescale, share) == {}


@pytest.mark.parametrize(("days", "forgotten"), [(20, False), (90, True)])
def test_an_answer_that_reaches_further_back_forgets_the_absences_of_others(
    timescale: Timescale, instrument_ids: list[int], days: int, forgotten: bool
) -> None:
    """So many days at once are another plan; a few are a correction."""
    first, second, _ = instrument_ids
    for instrument_id in (first, second):
        apply(timescale, mark(instrument_id, CoverageState.PROVIDER_EMPTY, span(0, 90)))
        apply(timescale, mark(instrument_id, CoverageState.COMPLETE, span(90, 100)))

    apply(timescale, mark(first, CoverageState.COMPLETE, span(90 - days, 90)))

    absence = {} if forgotten else {CoverageState.PROVIDER_EMPTY: [span(0, 90)]}
    assert ledger_of(timescale, second) == {CoverageState.COMPLETE: [span(90, 100)], **absence}


def test_days_before_a_known_listing_are_not_listed(
    timescale: Timescale, instrument_ids: list[int]
) -> None:
    """Permanently; missing days after its listing are absences."""
    share, long_ago = instrument_ids[0], utc_now() - 2 * ABSENCE_STANDS_FOR
    list_company(timescale, share, DAY + timedelta(days=60))
    apply(timescale, mark(share, CoverageState.PROVIDER_EMPTY, span(0, 90)), asked_at=long_ago)

    assert ledger_of(timescale, share) == {CoverageState.NOT_LISTED: [span(0, 60)]}

    apply(timescale, mark(share, CoverageState.PROVIDER_EMPTY, span(0, 90)))
    assert ledger_of(timescale, share) == {
        CoverageState.NOT_LISTED: [span(0, 60)],
        CoverageState.PROVIDER_EMPTY: [span(60, 90)],
    }
    sessions = [DAY + timedelta(days=offset) for offset in (0, 59, 60, 89, 90)]
    summary = CoverageLedger(timescale).summary(DATASET, PROVIDER, [share], sessions)
    assert summary.sessions == {CoverageState.NOT_LISTED: 2, CoverageState.PROVIDER_EMPTY: 2}
    assert summary.unknown == 1


@pytest.mark.parametrize("other", ["daily_bars", "minute_bars"])
def test_a_bar_from_before_the_listing_contradicts_it(
    timescale: Timescale, instrument_ids: list[int], other: str
) -> None:
    """Even another provider's bar: then nothing is proven, and the absence expires."""
    share = instrument_ids[0]
    list_company(timescale, share, DAY + timedelta(days=60))
    apply(timescale, mark(share, CoverageState.PROVIDER_EMPTY, span(0, 90)))
    bar = mark(share, CoverageState.COMPLETE, span(30, 31))
    with timescale.connection() as connection:
        apply_marks(connection, other, "tiingo", [bar], asked_at=utc_now())

    assert ledger_of(timescale, share) == {CoverageState.PROVIDER_EMPTY: [span(0, 90)]}


def test_a_company_without_a_day_of_listing_proves_nothing(
    timescale: Timescale, instrument_ids: list[int]
) -> None:
    """Null is not the beginning of time."""
    share = instrument_ids[0]
    list_company(timescale, share, None)
    apply(timescale, mark(share, CoverageState.PROVIDER_EMPTY, span(0, 90)))

    assert ledger_of(timescale, share) == {CoverageState.PROVIDER_EMPTY: [span(0, 90)]}


def test_many_instruments_are_marked_in_one_statement(
    timescale: Timescale, instrument_ids: list[int]
) -> None:
    """Marks of different instruments do not touch each other."""
    first, second, third = instrument_ids
    apply(
        timescale,
        mark(first, CoverageState.COMPLETE, span(0, 2)),
        mark(second, CoverageState.FAILED, span(0, 2)),
    )
    apply(timescale, mark(second, CoverageState.COMPLETE, span(1, 2)))

    assert CoverageLedger(timescale).ledger(DATASET, PROVIDER, [first, second, third]) == {
        first: {CoverageState.COMPLETE: [span(0, 2)]},
        second: {CoverageState.COMPLETE: [span(1, 2)], CoverageState.FAILED: [span(0, 1)]},
        third: {},
    }


def test_sessions_are_counted_by_state(timescale: Timescale, instrument_ids: list[int]) -> None:
    """Only the sessions asked for count, once for each instrument."""
    first, second, _ = instrument_ids
    sessions = [DAY + timedelta(days=offset) for offset in (0, 1, 2, 3, 4, 7)]
    apply(
        timescale,
        mark(first, CoverageState.COMPLETE, span(-30, 7)),
        mark(second, CoverageState.COMPLETE, span(0, 2), span(3, 4)),
        mark(second, CoverageState.FAILED, span(2, 3)),
    )

    summary = CoverageLedger(timescale).summary(DATASET, PROVIDER, instrument_ids, sessions)

    assert summary.sessions == {CoverageState.COMPLETE: 5 + 3, CoverageState.FAILED: 1}
    assert summary.unknown == 3 * 6 - 9


def test_holes_are_what_nothing_or_only_a_failure_is_known_of(
    timescale: Timescale, instrument_ids: list[int]
) -> None:
    """They are counted in full and listed newest first; before the first request is no hole."""
    first, second, third = instrument_ids
    apply(
        timescale,
        mark(first, CoverageState.COMPLETE, span(0, 2)),
        mark(second, CoverageState.FAILED, span(1, 2)),
        mark(third, CoverageState.COMPLETE, span(0, 1)),
    )
    sessions = [DAY + timedelta(days=offset) for offset in (-1, 0, 1)]
    coverage = CoverageLedger(timescale)

    holes = coverage.holes(DATASET, PROVIDER, instrument_ids, sessions)

    assert holes.count == 2
    assert [(missing.ticker, missing.session_date) for missing in holes.sample] == [
        ("BBB", sessions[2]),
        ("CCC", sessions[2]),
    ]
    shorter = coverage.holes(DATASET, PROVIDER, instrument_ids, sessions, limit=1)
    assert (shorter.count, len(shorter.sample)) == (2, 1)
