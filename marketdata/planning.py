"""Which requests a wish takes: from instruments and the ledger to the histories to ask for.

Here: pure decisions, so that a dry run and a real run cannot differ. Not here: the requests
themselves (ingest.py), or budgets in time.
"""

from collections.abc import Mapping, Sequence
from datetime import date, datetime

from marketdata.calendars import HISTORY_START, NEW_YORK_ZONE, SessionCalendar
from marketdata.coverage import HELD, CoverageState, Span, holes
from marketdata.instruments import ListedInstrument
from marketdata.ports import HistoryRequest

Ledger = Mapping[int, Mapping[CoverageState, Sequence[Span]]]
"""What is known, by instrument id: spans of days in each state."""


def plan_histories(
    calendar: SessionCalendar,
    instruments: Sequence[ListedInstrument],
    ledger: Ledger,
    *,
    now: datetime,
    only_holes: bool,
) -> list[HistoryRequest]:
    """Return one request for each instrument that needs one, in the order given.

    Args:
        calendar: The exchange's sessions.
        instruments: Whose histories are wished for.
        ledger: Their entries in the coverage ledger; an instrument without any has only holes.
        now: Aware time; sessions up to the last one that has closed are wished for.
        only_holes: Ask from the first hole to the last one, and nothing where there is none;
            otherwise ask for the whole history.
    """
    end = calendar.last_closed(now)
    expected = calendar.sessions(HISTORY_START, end)
    today = now.astimezone(NEW_YORK_ZONE).date()
    requests: list[HistoryRequest] = []
    for instrument in instruments:
        known = ledger.get(instrument.instrument_id, {})
        wanted: Sequence[date] = expected
        if only_holes:
            wanted = holes(expected, known, today=today)
        if wanted:
            requests.append(history_request(instrument, known, wanted[0], wanted[-1]))
    return requests


def history_request(
    instrument: ListedInstrument,
    known: Mapping[CoverageState, Sequence[Span]],
    start: date,
    end: date,
) -> HistoryRequest:
    """Return the request for an instrument's sessions from ``start`` to ``end``.

    Args:
        instrument: Whose history is asked for.
        known: Its entries in the coverage ledger.
        start: First session.
        end: Last session.
    """
    return HistoryRequest(
        instrument=instrument,
        start=start,
        end=end,
        from_listing=start <= HISTORY_START,
        holds_bars=any(known.get(state) for state in HELD),
    )
