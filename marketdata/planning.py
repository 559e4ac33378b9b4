"""Which requests a wish takes: from instruments and the ledger to the histories to ask for.

Here: pure decisions, so that a dry run and a real run cannot differ. Not here: the requests
themselves (ingest.py), or budgets in time.
"""

from collections.abc import Mapping, Sequence
from datetime import date, datetime

from marketdata.calendars import HISTORY_START, NEW_YORK_ZONE, SessionCalendar
from marketdata.coverage import HELD, PLAN_STEP, CoverageState, Span, holes
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
    probes: bool = True,
    again: int = 0,
) -> list[HistoryRequest]:
    """Return one request for each instrument that needs one, in the order given.

    Args:
        calendar: The exchange's sessions.
        instruments: Whose histories are wished for.
        ledger: Their entries in the coverage ledger; an instrument without any has only holes.
        now: Aware time; sessions up to the last one that has closed are wished for.
        only_holes: Ask from the first hole to the last one, and nothing where there is none;
            otherwise ask for the whole history.
        probes: Where the key has shown the beginning of none of the histories, one request more
            finds out whether it does now.
        again: So many of the latest sessions are asked for although they are settled; those who
            lack nothing come last.
    """
    end = calendar.last_closed(now)
    expected = calendar.sessions(HISTORY_START, end)
    today = now.astimezone(NEW_YORK_ZONE).date()
    probe = _probe(instruments, ledger, expected) if only_holes and probes else None
    requests: list[HistoryRequest] = []
    settled: list[HistoryRequest] = []
    latest = expected[-again:] if again else []
    for instrument in instruments:
        known = ledger.get(instrument.instrument_id, {})
        # A day on which it had no ticker cannot be asked for.
        wanted = [session for session in expected if instrument.has_symbol_on(session)]
        if only_holes:
            wanted = holes(wanted, known, today=today)
        if probe is not None and probe[0] == instrument:
            # From the beginning to the last of what it lacks.
            wanted = [expected[0], *(wanted or [probe[1]])]
        if wanted:
            last = latest[-1] if latest else wanted[-1]
            first = min([wanted[0], *latest[:1]])
            requests.append(history_request(instrument, known, first, last))
        elif any(instrument.has_symbol_on(session) for session in latest):
            settled.append(history_request(instrument, known, latest[0], latest[-1]))
    return [*requests, *settled]


def _probe(
    instruments: Sequence[ListedInstrument], ledger: Ledger, expected: Sequence[date]
) -> tuple[ListedInstrument, date] | None:
    """Return whose absence tells whether the key shows more of the past now, and its last day.

    That is the one whose bars begin first, unless some history begins where it is to: then the key
    shows all that is ever asked for, and what is absent has another reason.
    """
    absences: list[tuple[date, ListedInstrument]] = []
    for instrument in instruments:
        known = ledger.get(instrument.instrument_id, {})
        if any(
            start < expected[0] + PLAN_STEP for state in HELD for start, _ in known.get(state, ())
        ):
            return None
        absences += [
            (end, instrument)
            for start, end in known.get(CoverageState.PROVIDER_EMPTY, ())
            if start <= expected[0] and end - start > PLAN_STEP
        ]
    if not absences:
        return None
    end, instrument = min(absences, key=lambda absence: absence[0])
    return instrument, max(session for session in expected if session < end)


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
