"""States of the coverage ledger: what is known about each day of each instrument.

Here: the states, how a provider's answer turns into states, and which days are still holes.
Not here: how the ledger is stored (resources/storage), or which days there are (day_calendars.py).
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum

from marketdata.day_calendars import DayCalendar

Span = tuple[date, date]
"""Days from the first (included) to the second (excluded)."""

SETTLE_AFTER = timedelta(hours=1)
"""Rows fetched sooner than this after their day's end are provisional: they may still change."""

ASK_AGAIN_FOR = timedelta(days=7)
"""An empty day no older than this is asked for again; an older one stands until it expires."""

ABSENCE_STANDS_FOR = timedelta(days=30)
"""An absence is believed this long, unless the key shows more before then."""

SESSIONS_ASKED_AGAIN = 5
"""Number of latest sessions that are asked for again although they are settled.

Providers correct volumes until the next morning, and sometimes for days."""

RESTATED_AFTER = (
    timedelta(0),
    timedelta(hours=1),
    timedelta(hours=4),
    timedelta(hours=16),
    timedelta(days=1),
    timedelta(days=2),
    timedelta(days=4),
    timedelta(days=7),
    timedelta(days=30),
)
"""Ages of a bar, counted from its end, by which restatements are counted."""

PLAN_STEP = timedelta(days=31)
"""If more past days than this appear at once, the key's plan has changed: no repair is so large."""


class CoverageState(StrEnum):
    """What is known about one session of one instrument.

    NOT_LISTED is read, never written: an empty session before a known day of listing.
    """

    COMPLETE = "complete"
    PROVISIONAL = "provisional"
    PROVIDER_EMPTY = "provider_empty"
    FAILED = "failed"
    QUARANTINED = "quarantined"
    NOT_LISTED = "not_listed"
    ARCHIVED = "archived"


HELD = frozenset({CoverageState.COMPLETE, CoverageState.PROVISIONAL, CoverageState.ARCHIVED})
"""States of sessions whose bar is kept, in the database or in the archive."""

SETTLED = frozenset({CoverageState.COMPLETE, CoverageState.NOT_LISTED, CoverageState.ARCHIVED})
"""States which need no further request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CoverageMark:
    """An instruction to the ledger: these spans of this instrument are now in this state."""

    instrument_id: int
    state: CoverageState
    spans: tuple[Span, ...]


def assess(
    days: DayCalendar,
    requested: Sequence[date],
    *,
    received: Collection[date],
    rejected: Collection[date],
    now: datetime,
    untold: Collection[date] = frozenset(),
    is_any_unplaced: bool = False,
) -> dict[CoverageState, list[date]]:
    """Return the requested days by the state that an answer puts them in.

    A day without a row is empty at the provider. The reason (a later listing, a plan that shows
    five years, a hole) takes evidence that no single answer has.

    Args:
        days: Knows when a day is over.
        requested: Days that the request covered.
        received: Days with an acceptable row in the answer.
        rejected: Days whose rows were refused by validation.
        now: Aware time of the answer; a day that is not over is left out unless it came with a
            row, which is then provisional.
        untold: Days that the answer says nothing about; rows of them may be only a part.
        is_any_unplaced: A row came whose day is unknown: it may be of any day without a row, so
            that such days are not empty.
    """
    states: dict[CoverageState, list[date]] = {}
    for day in requested:
        ends_at = days.ends_at(day)
        if day in received:
            is_settled = now >= ends_at + SETTLE_AFTER and day not in untold
            state = CoverageState.COMPLETE if is_settled else CoverageState.PROVISIONAL
        elif day in rejected:
            state = CoverageState.QUARANTINED
        elif ends_at > now or day in untold:
            continue
        elif is_any_unplaced:
            state = CoverageState.QUARANTINED
        else:
            state = CoverageState.PROVIDER_EMPTY
        states.setdefault(state, []).append(day)
    return states


def spans_of(days: DayCalendar, chosen: Iterable[date]) -> tuple[Span, ...]:
    """Join ``chosen`` days into spans; consecutive days give one span."""
    spans: list[Span] = []
    for day in sorted(set(chosen)):
        after = days.after(day)
        if spans and spans[-1][1] == day:
            spans[-1] = (spans[-1][0], after)
        else:
            spans.append((day, after))
    return tuple(spans)


def holes(
    expected: Sequence[date],
    ledger: Mapping[CoverageState, Sequence[Span]],
    *,
    today: date,
) -> list[date]:
    """Return the days of ``expected`` that are worth another request.

    Those are days of which nothing is known, and provisional, failed and quarantined ones. An
    empty day is asked for again within ``ASK_AGAIN_FOR``, and once its mark has expired.
    """
    settled = [span for state in SETTLED for span in ledger.get(state, ())]
    empty = ledger.get(CoverageState.PROVIDER_EMPTY, ())
    return [
        session
        for session in expected
        if not _within(session, settled)
        and not (_within(session, empty) and today - session > ASK_AGAIN_FOR)
    ]


def percent_held(sessions: Mapping[CoverageState, int], *, unknown: int = 0) -> float:
    """Return the percentage of expected days whose rows are kept, cut to two places.

    A hundred means all of them, or that none are expected.

    Args:
        sessions: Number of sessions, or other days, in each state; those before a known listing
            are not expected.
        unknown: Number of days that were never asked for: they are missing.
    """
    unlisted = sessions.get(CoverageState.NOT_LISTED, 0)
    expected = sum(sessions.values()) + unknown - unlisted
    held = sum(sessions.get(state, 0) for state in HELD)
    return held * 10_000 // expected / 100 if expected else 100.0


def _within(day: date, spans: Iterable[Span]) -> bool:
    return any(start <= day < end for start, end in spans)


def age_label(after: timedelta) -> str:
    """Return the name of an age of RESTATED_AFTER, such as ``+4h`` or ``+2d``."""
    return f"+{after.days}d" if after.days else f"+{after // timedelta(hours=1)}h"
